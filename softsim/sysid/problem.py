"""How well a model predicts windows of recordings, and the derivatives of that by its parameters.

The errors r_wk at sample k of window w are in standard deviations of the noise; they depend on the
parameters u (P,) and, if initial states are estimated too, on the offset z_w (K,) of the initial
state of the window from the measured one, likewise in standard deviations.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float
from mujoco import mjx

import softsim
from softsim.integrators import difference_pos, integrate_pos
from softsim.sysid.mjcf import pick, to_mujoco
from softsim.sysid.parameters import Table
from softsim.sysid.sensitivity import push, sweep, vary
from softsim.sysid.settings import Settings
from softsim.sysid.tracks import Windows, angular, count_substeps

# fields whose zeros are left out of a step; what is inserted takes their place
OF_JOINTS = ("dof_damping", "dof_armature", "dof_frictionloss", "jnt_stiffness")
SKIN = 1.0  # m: all touching corners, as in MuJoCo C, which judges the fit; MJX drops some
UNKNOWN = (20.0, 1e4)  # m/s and degrees/s, a velocity that was not recorded: any that is allowed


class Problem(eqx.Module):
    """A model to be fitted and how its predictions are compared with windows.

    Attributes:
        noise: (nv,), standard deviation of the measured positions, m and rad.
        state_noise: (K,), of the measured initial state, positions then velocities; K is 2 nv, or 0
            if the initial states are taken as measured.
        spread: of parameters between trajectories, in natural steps of their coordinates.
        robust: standard deviations, error of a sample from which the cost grows as its logarithm.
        substeps: steps of the model per sample.
        backward: measured velocities are means over the sample before.
    """

    model: mjx.Model
    data: mjx.Data
    table: Table = eqx.field(static=True)
    noise: Float[Array, " nv"]
    state_noise: Float[Array, " K"]
    robust: Float[Array, ""]
    spread: Float[Array, ""]
    substeps: int = eqx.field(static=True)
    backward: bool = eqx.field(static=True)

    def errors(
        self, u: Float[Array, " P"], z: Float[Array, "w K"], windows: Windows
    ) -> tuple[Float[Array, "w W nv"], Float[Array, "w W nv n"]]:
        """Errors of the prediction of windows, in standard deviations, and their derivatives.

        The n = P + K derivatives are those by u and by the z of the window. 0 where masked.
        """
        along = jnp.eye(u.size + z.shape[1], dtype=u.dtype)
        du, dz = along[:, : u.size], along[:, u.size :]
        model = vary(self.table.insert, self.model, u, du)
        first = lambda leaves, z, w: self.first_state(model.assemble(leaves), z, w)

        def begin(z: Float[Array, " K"], w: Windows) -> tuple:
            return push(
                lambda leaves, z: first(leaves, z, w), (model.leaves, z), (model.tangents, dz)
            )

        def compare(seen: Float[Array, "W nq"], w: Windows) -> Float[Array, "W nv"]:
            apart = jax.vmap(lambda a, b: difference_pos(self.model, a, b))(w.qpos, seen)
            return jnp.where(w.mask[:, None], apart / self.noise, 0.0)

        def judge(
            seen: Float[Array, "W nq"], tangents: Float[Array, "W n nq"], w: Windows
        ) -> tuple:
            tangents = jnp.moveaxis(tangents, 1, 0)
            return push(lambda seen: compare(seen, w), (seen,), (tangents,))

        windows = jax.tree.map(jnp.asarray, windows)
        ctrl = jnp.repeat(windows.ctrl, self.substeps, axis=1)
        corners = softsim.Softening(collision=softsim.Part(skin=jnp.asarray(SKIN)))
        start, tangents = jax.vmap(begin)(z, windows)
        path, slopes = sweep(model, self.data, start, tangents, ctrl, corners)
        at = slice(self.substeps - 1, None, self.substeps)
        r, J = jax.vmap(judge)(path[:, at], slopes[:, at], windows)
        return r, jnp.moveaxis(J, 1, -1)

    def first_state(
        self, m: mjx.Model, z: Float[Array, " K"], window: Windows
    ) -> tuple[Float[Array, " nq"], Float[Array, " nv"]]:
        """Position and velocity where the prediction of a window begins."""
        qpos, qvel = jnp.asarray(window.qpos0), jnp.asarray(window.qvel0)
        if self.backward:
            qvel = qvel + half_sample(m, self.substeps)
        if z.size:
            offset = z * self.state_noise
            qpos = integrate_pos(m, qpos, offset[: m.nv], jnp.ones(()))
            qvel = qvel + offset[m.nv :]
        return qpos, qvel

    def robustify(self, square: Float[Array, " W"]) -> tuple[Array, Array]:
        """rho and its derivative at squared errors of samples."""
        bound = self.noise.size * self.robust**2
        return bound * jnp.log1p(square / bound), 1.0 / (1.0 + square / bound)

    def blocks(
        self, u: Float[Array, " P"], z: Float[Array, "w K"], windows: Windows
    ) -> tuple[Array, ...]:
        """The fields of `Blocks`: value and exact Jacobian in one forward sweep."""
        r, J = self.errors(u, z, windows)
        return jax.vmap(lambda *x: self.weigh(u.size, *x))(r, J, z, jnp.asarray(windows.mask))

    def weigh(
        self,
        P: int,
        r: Float[Array, "W nv"],
        J: Float[Array, "W nv n"],
        z: Float[Array, " K"],
        mask: Bool[Array, " W"],
    ) -> tuple[Array, ...]:
        """The fields of `Blocks` for one window."""
        square = jnp.sum(jnp.square(r), axis=1)
        steep = jnp.sum(jnp.square(J[:, :, :P]), axis=(1, 2)) / self.noise.size
        variance = 1.0 + jnp.square(self.spread) * steep
        weight = self.robustify(square / variance)[1] / variance
        H = jnp.einsum("k,kvi,kvj->ij", weight, J, J)
        H = H + jnp.diag((jnp.arange(P + z.size) >= P) * 1.0)
        g = jnp.einsum("k,kvi,kv->i", weight, J, r) + jnp.concatenate([jnp.zeros(P), z])
        return (
            square, variance, z @ z, jnp.sum(weight * square) + z @ z,
            jnp.sum(mask) * self.noise.size,
            g[:P], g[P:], H[:P, :P], H[:P, P:], H[P:, P:],
        )  # fmt: skip


def make_problem(
    mj_model: mujoco.MjModel, table: Table, settings: Settings, dt: float, measured: bool
) -> Problem:
    """Model, parameters and noise.

    Args:
        dt: seconds between samples.
        measured: velocities were recorded.

    Raises:
        ValueError: the samples are not a whole number of time steps of the model apart, or the
            model has activation states.
    """
    substeps = count_substeps(mj_model, dt)
    if mj_model.na:
        raise ValueError(
            "mj_model: it has activation states, which recordings do not hold; expected actuators "
            "without dynamics"
        )
    if settings.start:  # which may bring what the model has none of, such as friction loss
        given = softsim.put_model(mj_model)
        begin = jax.jit(lambda u: pick(table.insert(given, u)))(jnp.zeros(table.size))
        mj_model = to_mujoco(mj_model, {name: begin[name] for name in OF_JOINTS})
    m = softsim.put_model(mj_model)
    turns = angular(mj_model)
    in_units = lambda pair: np.where(turns, np.radians(pair[1]), pair[0])
    noise = in_units(settings.noise)
    velocity = in_units(settings.velocity_noise if measured else UNKNOWN)
    estimated = settings.states == "estimated" or (settings.states == "auto" and not measured)
    state = np.concatenate([noise, velocity]) if estimated else np.zeros(0)
    return Problem(
        m, softsim.make_data(m), table, jnp.asarray(noise), jnp.asarray(state),
        jnp.asarray(settings.robust), jnp.asarray(settings.spread), substeps,
        settings.velocity == "backward" and measured,
    )  # fmt: skip


def half_sample(m: mjx.Model, substeps: int) -> Float[Array, " nv"]:
    """From the mean velocity over the sample before to the velocity now, for free bodies in flight.

    Gravity alone acts: g dt / 2 (1 - 1 / n) with n semi-implicit Euler steps to a sample.
    """
    free = np.flatnonzero(m.jnt_type == 0)
    at = (m.jnt_dofadr[free][:, None] + np.arange(3)).astype(int)
    change = m.opt.gravity * m.opt.timestep * (substeps - 1) / 2
    return jnp.zeros(m.nv, m.qpos0.dtype).at[at].set(change)
