"""Velocities integrated implicitly: the matrices of Euler's damping and of implicitfast.

Both solve (M - dt dF/dv) a = total force, each with the part of dF/dv that MuJoCo C keeps:

- Euler: the dampers of dofs, on the diagonal.
- implicitfast: actuators (those not clamped to their own force range), dampers of dofs and tendons
  and the fluid, where M has entries: between a dof and its ancestors. What couples two branches of
  a tree, or two trees, stays explicit. A body on its own that floats freely (a free joint that no
  other joint hangs from) is solved with all 6 x 6 entries and the derivative of its gyroscopic
  forces, which makes them unsymmetric.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from mujoco.mjx import Data, DisableBit, IntegratorType, Model

from softsim.dynamics.actuation import damping_of_actuators
from softsim.dynamics.inertia import inertia_pattern
from softsim.dynamics.passive import damping_rates, fluid_rate
from softsim.dynamics.tree import FREE, HIGHEST
from softsim.linear import solve_spd

Velocity = Float[Array, " nv"]


def euler_acceleration(m: Model, d: Data) -> Velocity:
    """Acceleration with dof dampers implicit, unless the model disables `eulerdamp` or dampers."""
    if m.opt.disableflags & (DisableBit.EULERDAMP | DisableBit.DAMPER):
        return d.qacc
    on_dofs, _ = damping_rates(m, d)
    mat = d._impl.M + m.opt.timestep * jnp.diag(on_dofs)
    return solve_spd(mat, d.qfrc_smooth + d.qfrc_constraint)


def implicitfast_acceleration(m: Model, d: Data) -> Velocity:
    """Acceleration with the derivatives of damping and actuators, and of floating bodies' bias."""
    force = d.qfrc_smooth + d.qfrc_constraint
    mat, alone, blocks = _implicitfast(m, d)
    if not alone.size:
        return solve_spd(mat, force)
    rest = np.setdiff1d(np.arange(m.nv), alone)
    qacc = jnp.zeros_like(force).at[alone].set(_solve_blocks(blocks, force[alone]))
    if not rest.size:
        return qacc
    return qacc.at[rest].set(solve_spd(mat[rest[:, None], rest], force[rest]))


def continuous_acceleration(m: Model, d: Data) -> Velocity:
    """The acceleration of continuous time for which one step makes `d.qacc` of the velocity.

    Raises:
        ValueError: the integrator is RK4, whose step has no such acceleration.
    """
    if m.opt.integrator == IntegratorType.RK4:
        raise ValueError("the flag invdiscrete has no meaning with the integrator RK4: disable it")
    if m.opt.integrator == IntegratorType.EULER:
        if m.opt.disableflags & (DisableBit.EULERDAMP | DisableBit.DAMPER):
            return d.qacc
        force = d._impl.M @ d.qacc + m.opt.timestep * damping_rates(m, d)[0] * d.qacc
    else:
        mat, alone, blocks = _implicitfast(m, d)
        mat = mat.at[alone[:, :, None], alone[:, None, :]].set(blocks)
        force = mat @ d.qacc
    return solve_spd(d._impl.M, force)


def _implicitfast(
    m: Model, d: Data
) -> tuple[Float[Array, "nv nv"], Int[np.ndarray, "n 6"], Float[Array, "n 6 6"]]:
    """The symmetric matrix; the dofs of bodies that float alone, and the matrices they have."""
    dt, rate = m.opt.timestep, _force_rate(m, d)
    floating = _floating_joints(m)
    alone = (m.jnt_dofadr[floating][:, None] + np.arange(6)).astype(np.int32)
    mat = d._impl.M - dt * rate * inertia_pattern(m)
    block = lambda x: x[alone[:, :, None], alone[:, None, :]]
    bodies = np.asarray(m.jnt_bodyid)[floating]
    blocks = block(d._impl.M) - dt * (block(rate) - _bias_rate(m, d, bodies))
    return mat, alone, blocks


def _force_rate(m: Model, d: Data) -> Float[Array, "nv nv"]:
    """dF/dv of actuators, dampers and fluid, all entries."""
    on_dofs, on_tendons = damping_rates(m, d)
    ids, on_actuators = damping_of_actuators(m, d)
    rows = jnp.concatenate([d._impl.actuator_moment[ids], d._impl.ten_J])
    weight = jnp.concatenate([on_actuators, -on_tendons])
    rate = jnp.matmul(rows.T * weight, rows, precision=HIGHEST) - jnp.diag(on_dofs)
    both = DisableBit.SPRING | DisableBit.DAMPER
    if m.opt._impl.has_fluid_params and (m.opt.disableflags & both) != both:
        rate += fluid_rate(m, d)
    return rate


def _floating_joints(m: Model) -> Int[np.ndarray, " n"]:
    """The free joints that are alone in their kinematic tree."""
    free = np.flatnonzero(m.jnt_type == FREE)
    in_tree = np.bincount(np.asarray(m.dof_treeid), minlength=1)
    return free[in_tree[m.dof_treeid[m.jnt_dofadr[free]]] == 6]


def _bias_rate(m: Model, d: Data, body: Int[np.ndarray, " n"]) -> Float[Array, "n 6 6"]:
    """d qfrc_bias / d qvel of rigid bodies on free joints, as six columns each.

    With w the angular velocity, s the way from the joint to the centre of mass and I the inertia
    about it, the bias is the force f = m w x (w x s), and the torque s x f + w x I w in the axes of
    the body, neither of which feels the linear velocity.
    """
    s = (d.subtree_com[body] - d.xpos[body])[:, None]
    w = d.cvel[body, None, :3]
    axes = d.xmat[body].swapaxes(1, 2)  # one row per angular velocity of `qvel`
    xx, yy, zz, xy, xz, yz = d._impl.crb[body, :6].T
    inertia = jnp.stack([xx, xy, xz, xy, yy, yz, xz, yz, zz], axis=1).reshape(-1, 3, 3)
    times = lambda x: jnp.matmul(x, inertia, precision=HIGHEST)
    mass = d._impl.crb[body, 9][:, None, None]
    force = mass * (jnp.cross(axes, jnp.cross(w, s)) + jnp.cross(w, jnp.cross(axes, s)))
    torque = jnp.cross(s, force) + jnp.cross(axes, times(w)) + jnp.cross(w, times(axes))
    in_body = jnp.matmul(torque, d.xmat[body], precision=HIGHEST)
    columns = jnp.concatenate([force, in_body], axis=2)
    return jnp.concatenate([jnp.zeros_like(columns), columns], axis=1).swapaxes(1, 2)


def _solve_blocks(A: Float[Array, "n 6 6"], b: Float[Array, "n 6"]) -> Float[Array, "n 6"]:
    """A^-1 b for matrices with a symmetric positive definite leading 3 x 3 block.

    In closed form: jaxlib's batched factorisations may wait forever on a CPU (see `linear`).
    """
    times = lambda x, y: jnp.matmul(x, y, precision=HIGHEST)
    P, X, Y, Z = A[:, :3, :3], A[:, :3, 3:], A[:, 3:, :3], A[:, 3:, 3:]
    inverse = _inverse(P)
    first, second = b[:, :3, None], b[:, 3:, None]
    turning = times(
        _inverse(Z - times(Y, times(inverse, X))), second - times(Y, times(inverse, first))
    )
    moving = times(inverse, first - times(X, turning))
    return jnp.concatenate([moving, turning], axis=1)[..., 0]


def _inverse(A: Float[Array, "n 3 3"]) -> Float[Array, "n 3 3"]:
    """Inverses by cross products of the columns (Cramer's rule)."""
    a, b, c = jnp.moveaxis(A, 2, 0)
    rows = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=1)
    return rows / jnp.sum(a * rows[:, 0], axis=1)[:, None, None]
