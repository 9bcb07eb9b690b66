"""Constraint rows: the container, and how a row's stiffness, damping and impedance come about.

A row asks the acceleration `a` for `x = J a - aref >= 0` (or `= 0`), with regularisation `1 / D`.
Rows stand in MuJoCo's order: equality, friction loss, limits, contacts; the counts are static.
An inactive row keeps its place and gets `D = 0`. Reference: MuJoCo documentation, "Computation",
section "Constraint model", and "Modeling", section "Solver parameters".
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco
from jaxtyping import Array, Bool, Float
from mujoco import mjx

# keeps 0 / 0 (no strength, no inverse weight) at 0
_TINY = 1e-30
# time constant (s) and damping ratio that MuJoCo C puts in place of a mixed `solref`
DEFAULT_SOLREF = (0.02, 1.0)


class Rows(eqx.Module):
    """The constraint problem of one step.

    Attributes:
        J: (nefc, nv) Jacobian of the rows.
        D: (nefc,) inverse regularisation, 0 for an inactive row.
        aref: (nefc,) reference acceleration.
        pos: (nefc,) constraint violation, in m or rad.
        margin: (nefc,) distance at which the row becomes active.
        frictionloss: (nefc,) friction loss of friction rows, 0 elsewhere.
        cone: (ncone, 6) scale of each elliptic cone's rows: mu, then the friction coefficients.
        ne, nf, nl: static numbers of equality, friction loss and limit rows.
        cone_adr, cone_dim: static first row and number of rows of each elliptic contact.
    """

    J: Float[Array, "nefc nv"]
    D: Float[Array, " nefc"]
    aref: Float[Array, " nefc"]
    pos: Float[Array, " nefc"]
    margin: Float[Array, " nefc"]
    frictionloss: Float[Array, " nefc"]
    cone: Float[Array, "ncone 6"]
    ne: int = eqx.field(static=True)
    nf: int = eqx.field(static=True)
    nl: int = eqx.field(static=True)
    cone_adr: tuple[int, ...] = eqx.field(static=True)
    cone_dim: tuple[int, ...] = eqx.field(static=True)

    @property
    def n(self) -> int:
        """Number of rows."""
        return self.D.shape[0]


class Block(eqx.Module):
    """Rows of one kind before the reference acceleration is known (fields as in `Rows`).

    `spring` is impedance times violation, the part of `aref` that the stiffness multiplies.
    """

    J: Float[Array, "n nv"]
    D: Float[Array, " n"]
    spring: Float[Array, " n"]
    pos: Float[Array, " n"]
    margin: Float[Array, " n"]
    frictionloss: Float[Array, " n"]
    solref: Float[Array, "n 2"]
    solimp: Float[Array, "n 5"]


def impedance(solimp: Float[Array, "*n 5"], pos: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """Impedance d(|pos|) in (0, 1): the S-shaped curve of MuJoCo's `solimp`.

    Parameters out of range are put where MuJoCo C puts them (`getsolparam`, `getimpedance`): dmin,
    dmax and midpoint into [mjMINIMP, mjMAXIMP], power to at least 1; of no width, the curve is flat
    halfway between dmin and dmax. Bases of powers stay in [0, 1], so value and gradient are finite
    for any `pos`.
    """
    dmin, dmax, width, mid, power = jnp.moveaxis(solimp, -1, 0)
    dmin = jnp.clip(dmin, mujoco.mjMINIMP, mujoco.mjMAXIMP)
    dmax = jnp.clip(dmax, mujoco.mjMINIMP, mujoco.mjMAXIMP)
    mid = jnp.clip(mid, mujoco.mjMINIMP, mujoco.mjMAXIMP)
    power = jnp.maximum(power, 1.0)
    flat = width <= mujoco.mjMINVAL
    x = jnp.minimum(jnp.abs(pos) / jnp.where(flat, 1.0, width), 1.0)
    below = mid * jnp.power(jnp.minimum(x / mid, 1.0), power)
    above = 1.0 - (1.0 - mid) * jnp.power(jnp.minimum((1.0 - x) / (1.0 - mid), 1.0), power)
    y = jnp.where(flat, 0.5, jnp.where(x < mid, below, above))
    return dmin + y * (dmax - dmin)


def spring_damper(
    m: mjx.Model, solref: Float[Array, "*n 2"], solimp: Float[Array, "*n 5"]
) -> tuple[Float[Array, "*n"], Float[Array, "*n"]]:
    """Stiffness k (1/s^2) and damping b (1/s) of the reference acceleration from `solref`.

    Positive `solref` is (time constant, damping ratio), negative is (-stiffness, -damping). As in
    MuJoCo C a mix of the two is replaced by the default, a time constant is at least two time steps
    (unless `refsafe` is disabled), and no denominator is below mjMINVAL.
    """
    solref = jnp.where(is_mixed(solref)[..., None], jnp.array(DEFAULT_SOLREF), solref)
    timed = solref[..., 0] > 0
    dmax = jnp.clip(solimp[..., 1], mujoco.mjMINIMP, mujoco.mjMAXIMP)
    timeconst, dampratio = jnp.moveaxis(jnp.where(timed[..., None], solref, 1.0), -1, 0)
    if not m.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_REFSAFE:
        timeconst = jnp.maximum(timeconst, 2.0 * m.opt.timestep)
    damping = dmax * timeconst
    k = jnp.where(
        timed,
        1.0 / jnp.maximum(jnp.square(damping * dampratio), mujoco.mjMINVAL),
        -solref[..., 0] / jnp.square(dmax),
    )
    b = jnp.where(timed, 2.0 / jnp.maximum(damping, mujoco.mjMINVAL), -solref[..., 1] / dmax)
    return k, b


def is_mixed(solref: Float[Array, "*n 2"]) -> Bool[Array, "*n"]:
    """Whether one entry is positive and the other not: neither of the two formats of `solref`."""
    return (solref[..., 0] > 0) != (solref[..., 1] > 0)


def inverse_regularisation(
    invweight: Float[Array, "*n"], strength: Float[Array, "*n"]
) -> Float[Array, "*n"]:
    """D = strength / invweight, at most 1 / mjMINVAL; `strength` is imp / (1 - imp)."""
    return strength / jnp.maximum(invweight, mujoco.mjMINVAL * strength + _TINY)


def make_block(
    J: Float[Array, "n nv"],
    pos: Float[Array, " n"],
    pos_imp: Float[Array, " n"],
    invweight: Float[Array, " n"],
    solref: Float[Array, "n 2"],
    solimp: Float[Array, "n 5"],
    *,
    active: Float[Array, " n"] | float = 1.0,
    margin: Float[Array, " n"] | float = 0.0,
    frictionloss: Float[Array, " n"] | float = 0.0,
) -> Block:
    """Rows with violation `pos`, whose impedance is read at `pos_imp`.

    The two differ where several rows share one violation; `active` in [0, 1] fades a row out.
    """
    imp = impedance(solimp, pos_imp)
    fill = lambda x: jnp.broadcast_to(jnp.asarray(x, pos.dtype), pos.shape)
    return Block(
        J=J,
        D=active * inverse_regularisation(invweight, imp / (1.0 - imp)),
        spring=imp * pos,
        pos=pos + margin,
        margin=fill(margin),
        frictionloss=fill(frictionloss),
        solref=solref,
        solimp=solimp,
    )


def reference_acceleration(
    m: mjx.Model, qvel: Float[Array, " nv"], block: Block
) -> Float[Array, " n"]:
    """aref = -b J v - k imp(pos) pos: the damped spring a row wants to follow."""
    k, b = spring_damper(m, block.solref, block.solimp)
    return -b * (block.J @ qvel) - k * block.spring


def concatenate(blocks: list[Block], nv: int) -> Block:
    """All blocks stacked; zero rows when there are none."""
    z = jnp.zeros(0)
    none = Block(jnp.zeros((0, nv)), z, z, z, z, z, jnp.zeros((0, 2)), jnp.zeros((0, 5)))
    return jax.tree.map(lambda *x: jnp.concatenate(x), *blocks) if blocks else none
