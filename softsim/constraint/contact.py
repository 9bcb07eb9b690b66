"""Contact rows: frictionless, pyramidal and elliptic, with the soft mask and contact at a distance.

A contact with violation p = dist - includemargin, presence u and mask W (both in [0, 1]) is two
damped springs in parallel, MuJoCo's own and one that is felt from a distance (G(i) = i / (1 - i)):

    near: strength u W G(imp(p)),          spring  imp(p) p
    far:  strength u (1 - W) G(far(p)),    spring -far(p) (reach - p)

so D = (near + far) / invweight and aref = -b J v - k (the strength-weighted mean of the springs).
The far spring pushes as if penetrated by reach - p; its impedance falls from FAR_IMPEDANCE at touch
to 0 at `reach` along a smoothstep, so force and first derivative are continuous at p = 0 and at
p = reach. A hard contact has W in {0, 1} and reach = 0: MuJoCo's contact alone.
"""

import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

from softsim.collision import Contact
from softsim.constraint.rows import Block, impedance, inverse_regularisation, is_mixed
from softsim.dynamics import relative_jacobians

# Impedance of a contact that just touches, felt from a distance: the force at touch stays below 1 %
# of the force at rest, since the spring term adds to it.
FAR_IMPEDANCE = 0.005
# A contact weaker than this has no spring: below it, the square that the derivative of the mean of
# the springs divides by would vanish in float32.
ABSENT = 1e-15


def contact_blocks(
    m: mjx.Model, d: mjx.Data, contact: Contact, reach: Float[Array, ""]
) -> list[Block]:
    """Rows of all contacts, grouped by condim as the contacts are."""
    elliptic = m.opt.cone == mujoco.mjtCone.mjCONE_ELLIPTIC
    frictional = _elliptic if elliptic else _pyramidal
    blocks = []
    for dim in (1, 3, 4, 6):
        ids = np.nonzero(np.asarray(contact.dim) == dim)[0]
        if ids.size:
            group = contact.select(ids)
            J = _contact_jacobian(m, d, group, dim)
            make = _frictionless if dim == 1 else frictional
            blocks.append(make(m, group, J, reach))
    return blocks


def _contact_jacobian(
    m: mjx.Model, d: mjx.Data, contact: Contact, dim: int
) -> Float[Array, "n dim nv"]:
    """Velocity of geom 2 relative to geom 1 at the contact, in the contact frame, per dof.

    Rows: normal, two tangents, spin about the normal, two rolling directions.
    """
    body = jnp.asarray(m.geom_bodyid)[contact.geom]
    linear, angular = relative_jacobians(m, d, contact.pos, body[:, 0], body[:, 1])
    J = jnp.einsum("nij,njv->niv", contact.frame, linear)
    if dim > 3:
        spin = jnp.einsum("nij,njv->niv", contact.frame, angular)
        J = jnp.concatenate([J, spin], axis=1)
    return J[:, :dim]


def _invweight(m: mjx.Model, contact: Contact) -> Float[Array, " n"]:
    body = jnp.asarray(m.geom_bodyid)[contact.geom]
    return m.body_invweight0[body[:, 0], 0] + m.body_invweight0[body[:, 1], 0]


def _far_impedance(pos: Float[Array, " n"], reach: Float[Array, ""]) -> Float[Array, " n"]:
    """FAR_IMPEDANCE at touch, 0 from `reach` on, with zero slope at both ends."""
    x = jnp.clip(1.0 - pos / jnp.where(reach > 0, reach, 1.0), 0.0, 1.0)
    return jnp.where(reach > 0, FAR_IMPEDANCE * x * x * (3.0 - 2.0 * x), 0.0)


def _contact_block(
    contact: Contact,
    reach: Float[Array, ""],
    J: Float[Array, "n k nv"],
    invweight: Float[Array, " n"],
    share: Float[Array, "n k"],
    solref: Float[Array, "n k 2"],
    sprung: Float[Array, " k"],
) -> Block:
    """k rows per contact under the law at the top.

    Args:
        invweight: of the contact; `share` times its D is that of each row.
        sprung: 1 for rows that feel the violation.
    """
    pos = contact.dist - contact.includemargin
    near_imp, far_imp = impedance(contact.solimp, pos), _far_impedance(pos, reach)
    near = contact.weight * near_imp / (1.0 - near_imp)
    far = contact.presence * (1.0 - contact.mask) * far_imp / (1.0 - far_imp)
    total = near + far
    pull = near * near_imp * pos - far * far_imp * (reach - pos)
    felt = total > ABSENT
    spring = jnp.where(felt, pull / jnp.where(felt, total, 1.0), 0.0)
    D = share * inverse_regularisation(invweight, total)[:, None]
    k = J.shape[1]
    rep = lambda x: jnp.repeat(x, k, axis=0)
    return Block(
        J=J.reshape(-1, J.shape[-1]),
        D=D.reshape(-1),
        spring=(spring[:, None] * sprung).reshape(-1),
        pos=rep(contact.dist),
        margin=rep(contact.includemargin),
        frictionloss=jnp.zeros(D.size, D.dtype),
        solref=solref.reshape(-1, 2),
        solimp=rep(contact.solimp),
    )


def _frictionless(
    m: mjx.Model, contact: Contact, J: Float[Array, "n 1 nv"], reach: Float[Array, ""]
) -> Block:
    whole, solref = jnp.ones_like(contact.dist)[:, None], contact.solref[:, None]
    return _contact_block(contact, reach, J, _invweight(m, contact), whole, solref, jnp.ones(1))


def _pyramidal(
    m: mjx.Model, contact: Contact, J: Float[Array, "n dim nv"], reach: Float[Array, ""]
) -> Block:
    """Two opposing edges, normal +- friction * tangent, per friction direction."""
    dim = J.shape[1]
    friction = contact.friction[:, : dim - 1]
    slopes = jnp.stack([friction, -friction], axis=-1).reshape(-1, 2 * (dim - 1))
    edges = J[:, :1] + slopes[..., None] * jnp.repeat(J[:, 1:], 2, axis=1)
    mu2 = jnp.square(friction[:, 0])
    k = edges.shape[1]
    share = jnp.repeat((0.5 * _impratio(m) / mu2)[:, None], k, axis=1)
    solref = jnp.repeat(contact.solref[:, None], k, axis=1)
    invweight = _invweight(m, contact) * (1.0 + mu2)
    return _contact_block(contact, reach, edges, invweight, share, solref, jnp.ones(k))


def _elliptic(
    m: mjx.Model, contact: Contact, J: Float[Array, "n dim nv"], reach: Float[Array, ""]
) -> Block:
    """Normal and friction directions; the cone couples them in the solver."""
    dim = J.shape[1]
    friction = contact.friction[:, : dim - 1]
    share = _impratio(m) * jnp.square(friction / friction[:, :1])
    share = jnp.concatenate([jnp.ones_like(share[:, :1]), share], axis=1)
    given = jnp.any(contact.solreffriction != 0, axis=1) & ~is_mixed(contact.solreffriction)
    solreffriction = jnp.where(given[:, None], contact.solreffriction, contact.solref)
    solref = jnp.concatenate(
        [contact.solref[:, None], jnp.repeat(solreffriction[:, None], dim - 1, axis=1)], axis=1
    )
    sprung = jnp.asarray(np.eye(dim)[0], J.dtype)
    return _contact_block(contact, reach, J, _invweight(m, contact), share, solref, sprung)


def _impratio(m: mjx.Model) -> Float[Array, ""]:
    return jnp.maximum(m.opt.impratio, mujoco.mjMINVAL)


def elliptic_cones(
    m: mjx.Model, contact: Contact
) -> tuple[tuple[int, ...], Float[Array, "ncone 6"]]:
    """Dimensions (static) and row scales (mu, friction) of the elliptic contacts.

    In rows scaled so, the friction cone is circular: normal >= mu |tangent|.
    """
    dims = np.asarray(contact.dim)
    ids = np.nonzero(dims > 1)[0]
    if m.opt.cone != mujoco.mjtCone.mjCONE_ELLIPTIC or not ids.size:
        return (), jnp.zeros((0, 6))
    friction = contact.friction[ids]
    mu = friction[:, :1] / jnp.sqrt(_impratio(m))
    used = (np.arange(6) < dims[ids][:, None]).astype(float)
    return tuple(int(k) for k in dims[ids]), jnp.concatenate([mu, friction], axis=1) * used
