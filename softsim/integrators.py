"""From accelerations to the next state: Euler, implicitfast and Runge-Kutta 4, all differentiated.

Reference: MuJoCo documentation, "Computation", section "Numerical integration".
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from mujoco.mjx import Data, DisableBit, IntegratorType, Model

from softsim import _mjx
from softsim.dynamics.rotation import normalize, quat_exp, quat_mul
from softsim.dynamics.tree import spread, tree
from softsim.linear import solve_spd

Velocity = Float[Array, " nv"]
Forward = Callable[[Data], Data]

RK4_NODES = np.array([0, 1 / 2, 1 / 2, 1])
RK4_WEIGHTS = np.array([1 / 6, 1 / 3, 1 / 3, 1 / 6])


def advance(m: Model, d: Data, forward: Forward) -> Data:
    """The state one `m.opt.timestep` later, by the integrator of the model.

    Args:
        d: the state to start from.
        forward: accelerations, and whatever else is wanted, at a state.

    Returns:
        `forward(d)` with the new time, qpos, qvel, act and warm start. All other fields keep the
        values of the start of the step.
    """
    if m.opt.integrator == IntegratorType.RK4:
        return rk4(m, d, forward)
    if m.opt.integrator == IntegratorType.IMPLICITFAST:
        return implicitfast(m, forward(d))
    return euler(m, forward(d))


def euler(m: Model, d: Data) -> Data:
    """Semi-implicit Euler; joint damping is integrated implicitly unless the model's `eulerdamp`
    flag is disabled: (M + dt D) a = total force.
    """
    if m.opt.disableflags & DisableBit.EULERDAMP:
        return _update(m, d, d.qvel + m.opt.timestep * d.qacc, d.qacc, d.act_dot)
    return _implicit(m, d, jnp.diag(m.dof_damping))


def implicitfast(m: Model, d: Data) -> Data:
    """Velocity integrated implicitly with the derivatives of damping and actuator forces:
    (M - dt dF/dv) a = total force, Coriolis terms left out.
    """
    derivative = _mjx.deriv_smooth_vel(m, d)
    if derivative is None:
        return _update(m, d, d.qvel + m.opt.timestep * d.qacc, d.qacc, d.act_dot)
    return _implicit(m, d, -derivative)


def rk4(m: Model, d: Data, forward: Forward) -> Data:
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
    nodes = tuple(jnp.asarray(x, d.qpos.dtype) for x in (RK4_NODES, RK4_WEIGHTS))
    carry, stages = jax.lax.scan(stage, (rest, rest, d.qacc), nodes)
    _, (qvel, qacc, act_dot), warmstart = carry
    start = jax.tree.map(lambda x: x[0], stages)
    return _update(m, start.replace(qacc=warmstart), qvel, qacc, act_dot).replace(qacc=start.qacc)


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


def _implicit(m: Model, d: Data, damping: Float[Array, "nv nv"]) -> Data:
    """Euler with the acceleration of (M + dt damping) a = total force."""
    mat = d._impl.M + m.opt.timestep * damping
    qacc = solve_spd(mat, d.qfrc_smooth + d.qfrc_constraint)
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
        act=_mjx.next_activation(m, d, act_dot),
        qacc_warmstart=d.qacc,
    )
