"""Derivatives of a step as matrices: `linearize`, in the layout of `mujoco.mjd_transitionFD`."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

from softsim.integrators import integrate_pos
from softsim.numerics import quat_conj, quat_mul, quat_to_rotvec
from softsim.softening import Softening
from softsim.step import step


def linearize(
    m: mjx.Model, d: mjx.Data, softening: Softening | None = None
) -> tuple[Float[Array, "n n"], Float[Array, "n nu"]]:
    """A and B of dx' = A dx + B du around one step.

    x = (position in the tangent space (nv), velocity (nv), activation (na)), as in
    `mujoco.mjd_transitionFD`, and exact instead of differenced: forward mode through `step`. The
    warm start is not part of the state.
    """
    nv, na = m.nv, m.na
    after = step(m, d, softening)

    def flow(z: Float[Array, " k"]) -> Float[Array, " n"]:
        dq, dv, da, du = jnp.split(z, np.cumsum([nv, nv, na]))
        moved = d.replace(
            qpos=integrate_pos(m, d.qpos, dq, jnp.ones(())),
            qvel=d.qvel + dv,
            act=d.act + da,
            ctrl=d.ctrl + du,
        )
        y = step(m, moved, softening)
        return jnp.concatenate([difference_pos(m, after.qpos, y.qpos), y.qvel, y.act])

    jacobian = jax.jacfwd(flow)(jnp.zeros(2 * nv + na + m.nu, d.qpos.dtype))
    return jacobian[:, : 2 * nv + na], jacobian[:, 2 * nv + na :]


def difference_pos(
    m: mjx.Model, qpos1: Float[Array, " nq"], qpos2: Float[Array, " nq"]
) -> Float[Array, " nv"]:
    """The velocity that leads from `qpos1` to `qpos2` in one unit of time.

    Rotations in the local frame of `qpos1`, as `mujoco.mj_differentiatePos`.
    """
    difference = jnp.zeros(m.nv, qpos1.dtype)
    free = np.nonzero(m.jnt_type == int(mujoco.mjtJoint.mjJNT_FREE))[0]
    ball = np.nonzero(m.jnt_type == int(mujoco.mjtJoint.mjJNT_BALL))[0]
    scalar = np.setdiff1d(np.arange(m.njnt), np.concatenate([free, ball]))
    qadr, dofadr = m.jnt_qposadr, m.jnt_dofadr
    linear_q = np.concatenate([qadr[scalar], (qadr[free][:, None] + np.arange(3)).ravel()])
    linear_v = np.concatenate([dofadr[scalar], (dofadr[free][:, None] + np.arange(3)).ravel()])
    linear_q, linear_v = linear_q.astype(int), linear_v.astype(int)
    difference = difference.at[linear_v].set(qpos2[linear_q] - qpos1[linear_q])
    quat = np.concatenate([qadr[ball], qadr[free] + 3]).astype(int)
    spin = np.concatenate([dofadr[ball], dofadr[free] + 3]).astype(int)
    q1, q2 = (q[quat[:, None] + np.arange(4)] for q in (qpos1, qpos2))
    turn = quat_to_rotvec(quat_mul(quat_conj(q1), q2))
    return difference.at[spin[:, None] + np.arange(3)].set(turn)
