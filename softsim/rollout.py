"""Many steps: only the state is carried and saved; memory is kept by recomputing."""

import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

from softsim.adaptive import Adaptive
from softsim.model import STATE, check_inputs, refuse_not_finite
from softsim.softening import Softening
from softsim.step import kinematics, next_state


class Trajectory(NamedTuple):
    """States after each of T steps."""

    qpos: Float[Array, "T nq"]
    qvel: Float[Array, "T nv"]
    act: Float[Array, "T na"]
    time: Float[Array, " T"]


def rollout(
    m: mjx.Model,
    d: mjx.Data,
    ctrl: Float[Array, "T nu"],
    softening: Softening | None = None,
    *,
    segment: int | None = None,
    truncate: int | None = None,
    adaptive: Adaptive | None = None,
) -> tuple[mjx.Data, Trajectory]:
    """T steps from `d`, one row of `ctrl` per step.

    Between steps only the state is carried (time, qpos, qvel, act, warm start); forces, mocap poses
    and the other inputs stay those of `d`. For a batch, `jax.vmap` over `d` or `ctrl`.

    Memory of a reverse-mode gradient, with S floats of state and R floats of intermediate results
    per step (R is in the thousands of S): T R without checkpoints; with `segment=n` the state at
    every n-th step and the n states of the segment in work, (T / n + n) S + R, at the price of one
    or, for n > 1, two more forward passes. n near sqrt(T) is the least: 2 sqrt(T) S + R.

    Args:
        ctrl: controls, in the units of each actuator; shape (T, 0) for a model without actuators.
        segment: static; steps between stored states, None to store all intermediate results.
        truncate: static; derivatives do not flow back over more than this many steps (short-horizon
            policy gradients). None to keep them all.
        adaptive: integrate each step with error control, instead of by the model's integrator.

    Returns:
        `d` with the state after the last step and the poses there (all that `kinematics` fills),
        and the states after every step. What needs more than positions (velocities of bodies,
        forces, contacts, sensors) is NaN, so that nothing of another time is read by mistake: call
        `forward(m, end)` for it, and `poses` for poses along the way.

    Raises:
        ValueError: `ctrl` is not (T, nu), or `d` as in `step`.
    """
    check_inputs(m, d)
    ctrl = jnp.asarray(ctrl, d.qpos.dtype)
    if ctrl.ndim != 2 or ctrl.shape[1] != m.nu or not ctrl.shape[0]:
        raise ValueError(f"ctrl: got shape {ctrl.shape}, expected (T, {m.nu}) with T > 0")
    if not isinstance(ctrl, jax.core.Tracer):
        refuse_not_finite("ctrl", np.asarray(ctrl))
    for name, value in (("segment", segment), ("truncate", truncate)):
        if value is not None and value < 1:
            raise ValueError(f"{name}: got {value}, expected at least 1 step")
    steps = ctrl.shape[0]

    def advance(state: dict, x: tuple) -> tuple[dict, Trajectory]:
        u, next_u, i = x
        if truncate is not None:
            keep = i % truncate != 0
            state = jax.tree.map(lambda s: jnp.where(keep, s, jax.lax.stop_gradient(s)), state)
        after = next_state(m, d.replace(**state, ctrl=u), softening, adaptive, next_u)
        state = {name: getattr(after, name) for name in STATE}
        return state, Trajectory(after.qpos, after.qvel, after.act, after.time)

    state = {name: getattr(d, name) for name in STATE}
    following = jnp.concatenate([ctrl[1:], ctrl[-1:]])
    inputs = (ctrl, following, jnp.arange(steps))
    state, trajectory = _scan(advance, state, inputs, segment)
    return with_poses(m, d.replace(**state, ctrl=ctrl[-1])), trajectory


def with_poses(m: mjx.Model, d: mjx.Data) -> mjx.Data:
    """`kinematics(m, d)`, with NaN in what needs more than positions, so that nothing of another
    time is read by mistake."""
    unknown = {name: jnp.full_like(operator.attrgetter(name)(d), jnp.nan) for name in UNKNOWN}
    if m.opt._impl.has_fluid_params:
        unknown["qfrc_fluid"] = jnp.full_like(d.qfrc_fluid, jnp.nan)
    return kinematics(m, d.tree_replace(unknown))


# what a step computes from more than the positions, and a rollout does not keep
UNKNOWN = (
    "qacc", "act_dot", "sensordata", "cvel", "cdof_dot", "qfrc_bias", "qfrc_gravcomp",
    "qfrc_passive", "qfrc_actuator", "actuator_force", "qfrc_smooth", "qacc_smooth",
    "qfrc_constraint", "_impl.ten_velocity", "_impl.actuator_velocity", "_impl.efc_J",
    "_impl.efc_pos", "_impl.efc_D", "_impl.efc_aref", "_impl.efc_force", "_impl.contact.dist",
    "_impl.contact.pos", "_impl.contact.frame",
)  # fmt: skip


def _scan(
    body: Callable, state: dict, inputs: tuple, segment: int | None
) -> tuple[dict, Trajectory]:
    """`lax.scan`, checkpointed by segments; steps that only fill up the last one change nothing."""
    if segment is None:
        return jax.lax.scan(body, state, inputs)
    body = jax.checkpoint(body, prevent_cse=False)
    steps = inputs[-1].shape[0]
    if segment == 1 or segment >= steps:
        return jax.lax.scan(body, state, inputs)

    def masked(state: dict, x: tuple) -> tuple[dict, Trajectory]:
        after, saved = body(state, x)
        return jax.tree.map(lambda a, b: jnp.where(x[-1] < steps, a, b), after, state), saved

    padding = -steps % segment
    index = jnp.arange(steps + padding).reshape(-1, segment)
    u, following = (x[jnp.minimum(index, steps - 1)] for x in inputs[:2])
    inner = jax.checkpoint(
        lambda state, xs: jax.lax.scan(masked if padding else body, state, xs), prevent_cse=False
    )
    n = steps + padding
    state, saved = jax.lax.scan(inner, state, (u, following, index))
    return state, jax.tree.map(lambda x: x.reshape(n, *x.shape[2:])[:steps], saved)
