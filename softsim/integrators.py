"""From accelerations to the next state: Euler, implicitfast and Runge-Kutta 4, all differentiated.

Reference: MuJoCo documentation, "Computation", section "Numerical integration".
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco.mjx import Data, IntegratorType, Model

from softsim.dynamics import next_activation
from softsim.dynamics.tree import spread, tree
from softsim.implicit_velocity import euler_acceleration, implicitfast_acceleration
from softsim.rotations import normalize, pure, quat_conj, quat_exp, quat_mul, quat_to_rotvec

Velocity = Float[Array, " nv"]
Forward = Callable[[Data], Data]


class Stages(NamedTuple):
    """When a step evaluates accelerations, and what each does to the state after it.

    Attributes:
        node: the time of each evaluation, in steps.
        velocity: the share of its acceleration in the change of velocity, in steps.
        position: the same in the change of position, in steps squared.
    """

    node: np.ndarray
    velocity: np.ndarray
    position: np.ndarray


SEMI_IMPLICIT = Stages(*np.array([[0.0], [1.0], [1.0]]))
RK4 = Stages(*np.array([[0, 1 / 2, 1 / 2, 1], [1 / 6, 1 / 3, 1 / 3, 1 / 6], [1 / 6] * 3 + [0]]))


def stages_of(m: Model) -> Stages:
    """Those of the model's integrator."""
    return RK4 if m.opt.integrator == IntegratorType.RK4 else SEMI_IMPLICIT


def advance(m: Model, d: Data, forward: Forward) -> tuple[Data, Data]:
    """The state one `m.opt.timestep` later, by the integrator of the model.

    Args:
        d: the state to start from.
        forward: accelerations, and whatever else is wanted, at a state.

    Returns:
        `forward(d)` with the new time, qpos, qvel, act and warm start. All other fields keep the
        values of the start of the step. Beside it what `forward` gave at each of the integrator's
        `Stages`, with an axis for them in front of every array.
    """
    if m.opt.integrator == IntegratorType.RK4:
        return rk4(m, d, forward)
    at = forward(d)
    after = implicitfast if m.opt.integrator == IntegratorType.IMPLICITFAST else euler
    return after(m, at), jax.tree.map(lambda x: jnp.asarray(x)[None], at)


def euler(m: Model, d: Data) -> Data:
    """Semi-implicit Euler; the damping of dofs is integrated implicitly unless the model's
    `eulerdamp` flag is disabled: (M + dt D) a = total force.
    """
    return _semi_implicit(m, d, euler_acceleration(m, d))


def implicitfast(m: Model, d: Data) -> Data:
    """Velocity integrated implicitly with the derivatives of damping and actuator forces:
    (M - dt dF/dv) a = total force, Coriolis terms left out but for single floating bodies.
    """
    return _semi_implicit(m, d, implicitfast_acceleration(m, d))


def rk4(m: Model, d: Data, forward: Forward) -> tuple[Data, Data]:
    """The classical Runge-Kutta method, rotations on their manifold, activations clamped at the
    end of the step. The warm start is the acceleration of the last stage.

    All stages are one loop, so that the dynamics are compiled once.
    """
    dt = m.opt.timestep

    def stage(carry: tuple, nodes: tuple) -> tuple[tuple, Data]:
        (qvel, qacc, act_dot), total, _ = carry
        node, weight = nodes
        h = node * dt
        after = forward(
            d.replace(
                qpos=integrate_pos(m, d.qpos, qvel, h),
                qvel=d.qvel + h * qacc,
                act=d.act + h * act_dot,
                time=d.time + h,
            )
        )
        rate = (after.qvel, after.qacc, after.act_dot)
        total = jax.tree.map(lambda s, r: s + weight * r, total, rate)
        return (rate, total, after.qacc), after

    rest = jax.tree.map(jnp.zeros_like, (d.qvel, d.qacc, d.act))
    nodes = tuple(jnp.asarray(x, d.qpos.dtype) for x in (RK4.node, RK4.velocity))
    carry, stages = jax.lax.scan(stage, (rest, rest, d.qacc), nodes)
    _, (qvel, qacc, act_dot), warmstart = carry
    start = jax.tree.map(lambda x: x[0], stages)
    # servos of rotations wrap their activation about the angle at the last stage, as in MuJoCo
    end = start.replace(qacc=warmstart, actuator_length=stages.actuator_length[-1])
    end = _update(m, end, qvel, qacc, act_dot)
    return end.replace(qacc=start.qacc, actuator_length=start.actuator_length), stages


def integrate_pos(
    m: Model, qpos: Float[Array, " nq"], qvel: Velocity, dt: Float[Array, ""]
) -> Float[Array, " nq"]:
    """Coordinates after moving for `dt` s at constant velocity, as `mj_integratePos`.

    Rotations stay on their manifold: q exp(dt w / 2), w in rad/s in the frame of the body.
    """
    t = tree(m)
    moved = qpos + dt * spread(qvel, t.dof_qpos)
    if t.quat_address.size == 0:
        return moved
    turn = quat_exp(dt * qvel[t.spin_address].T)
    quat = normalize(quat_mul(qpos[t.quat_address].T, turn))
    return moved.at[t.quat_address].set(quat.T)


def position_rate(m: Model, qpos: Float[Array, " nq"], qvel: Velocity) -> Float[Array, " nq"]:
    """How fast coordinates change at a velocity, per second; linear in `qvel`."""
    t = tree(m)
    rate = spread(qvel, t.dof_qpos)
    if t.quat_address.size == 0:
        return rate
    spin = qvel[t.spin_address].T
    turning = quat_mul(qpos[t.quat_address].T, pure(spin) / 2)
    return rate.at[t.quat_address].add(turning.T)


def difference_pos(
    m: Model, qpos1: Float[Array, " nq"], qpos2: Float[Array, " nq"]
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
    q1, q2 = (q[quat + np.arange(4)[:, None]] for q in (qpos1, qpos2))
    turn = quat_to_rotvec(quat_mul(quat_conj(q1), q2)).T
    return difference.at[spin[:, None] + np.arange(3)].set(turn)


def velocity_change(m: Model, d: Data, qacc: Velocity) -> Velocity:
    """How much one step changes the velocity for an acceleration more: what is integrated
    implicitly resists it. Linear in `qacc`; `d` is a step's result, at the start of that step.
    """
    force = d._impl.M @ qacc
    d = d.replace(qacc=qacc, qfrc_constraint=force, qfrc_smooth=jnp.zeros_like(force))
    if m.opt.integrator == IntegratorType.EULER:
        qacc = euler_acceleration(m, d)
    elif m.opt.integrator == IntegratorType.IMPLICITFAST:
        qacc = implicitfast_acceleration(m, d)
    return m.opt.timestep * qacc


def _semi_implicit(m: Model, d: Data, qacc: Velocity) -> Data:
    """The next state at the new velocity."""
    return _update(m, d, d.qvel + m.opt.timestep * qacc, qacc, d.act_dot)


def _update(
    m: Model, d: Data, qvel: Velocity, qacc: Velocity, act_dot: Float[Array, " na"]
) -> Data:
    """The next state: position moved at `qvel`, velocity changed by `qacc`."""
    dt = m.opt.timestep
    return d.replace(
        time=d.time + dt,
        qpos=integrate_pos(m, d.qpos, qvel, dt),
        qvel=d.qvel + dt * qacc,
        act=next_activation(m, d, act_dot),
        qacc_warmstart=d.qacc,
    )
