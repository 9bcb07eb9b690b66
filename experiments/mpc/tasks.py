"""The tasks of model-predictive control: each is one object, yours as well as these.

A `Problem` from a module of yours runs by `python -m experiments.mpc --tasks my_module:problem`:

    def task(key):  # one start; the same model and costs for every key
        return planning.Task(model=m, start=..., cost=lambda d, u: ..., final=lambda d: ...)

    problem = Problem(task, horizon=20, length=60)
"""

import importlib
import inspect
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import mujoco
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray
from mujoco import mjx

import envs
from envs import Env
from softsim import planning


class Problem(NamedTuple):
    """A control problem for closed loops.

    Attributes:
        task: key of a random start -> the task from that start on.
        horizon: controls in a plan.
        length: controls in a run.
        spread: of the noise of sampled plans, standard deviation in units of half a control range.
        hold: correlation of that noise on neighbouring controls.
        mj_model: draws a film of the cheapest run; None draws none.
    """

    task: Callable[[PRNGKeyArray], planning.Task]
    horizon: int
    length: int
    spread: float = 0.5
    hold: float = 0.8
    mj_model: mujoco.MjModel | None = None


def from_env(
    env: Env, cost: Callable[[Array, mjx.Data], Array], effort: float, goal: Array
) -> Callable[[PRNGKeyArray], planning.Task]:
    """The task of an environment whose actions are controls.

    Args:
        cost: (goal, data) -> cost of a state.
        effort: cost of an action at its limit.
        goal: what `cost` needs beside the state, where the environment draws no "target".
    """
    half = jnp.diff(env.model.actuator_ctrlrange)[:, 0] / 2

    def task(key: PRNGKeyArray) -> planning.Task:
        begin = env.reset(key)
        last = Partial(cost, begin.info.get("target", goal))
        stage = lambda d, u: last(d) + effort * jnp.sum((u / half) ** 2)
        return planning.Task(env.model, begin.data, stage, last, substeps=env.frame_skip)

    return task


def cartpole() -> Problem:
    """Swing the pole up."""

    def cost(_: Array, d: mjx.Data) -> Float[Array, ""]:
        """Upright (angle 0), in the middle, at rest."""
        rest = 0.05 * d.qpos[0] ** 2 + 0.005 * d.qvel[1] ** 2 + 0.005 * d.qvel[0] ** 2
        return 1.0 - jnp.cos(d.qpos[1]) + rest

    env = envs.make("cartpole")
    task = from_env(env, cost, 0.005, jnp.zeros(1))
    return Problem(task, 40, length=90, spread=1.0, hold=0.9, mj_model=env.mj_model)


def planar_push() -> Problem:
    """Push a box to a place on the table."""

    def length(x: Float[Array, "2"]) -> Float[Array, ""]:
        """Of a vector, m, without its kink: quadratic below 1 cm."""
        return jnp.sqrt(x @ x + 1e-4) - 1e-2

    def cost(goal: Array, d: mjx.Data) -> Float[Array, ""]:
        """The box at the goal, unturned; the finger just behind it."""
        finger, box, angle = d.qpos[:2], d.qpos[2:4], d.qpos[4]
        miss = goal - box
        behind = box - 0.1 * miss / (length(miss) + 0.02)
        place = 4.0 * length(miss) + 0.5 * (1.0 - jnp.cos(angle))
        return place + 0.5 * length(finger - behind)

    env = envs.make("planar_push")
    task = from_env(env, cost, 0.01, jnp.zeros(2))
    return Problem(task, 20, length=60, spread=0.5, hold=0.8, mj_model=env.mj_model)


def hopper() -> Problem:
    """Hop forward."""

    def cost(goal: Array, d: mjx.Data) -> Float[Array, ""]:
        """Forward at goal[0] m/s, the torso above goal[1] m and upright."""
        low = jnp.maximum(goal[1] - d.qpos[1], 0.0)
        return 0.5 * (d.qvel[0] - goal[0]) ** 2 + 10.0 * low**2 + 2.0 * d.qpos[2] ** 2

    options = {"timestep": 0.005, "integrator": "implicitfast"}
    env = envs.make("hopper", frame_skip=4, options=options)
    task = from_env(env, cost, 0.01, jnp.array([1.0, 1.2]))
    return Problem(task, 20, length=30, spread=0.4, hold=0.8, mj_model=env.mj_model)


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "cartpole": cartpole,
    "planar_push": planar_push,
    "hopper": hopper,
}


def find(name: str) -> Problem:
    """The problem of a name, or "module:name" of a `Problem` or a function that makes one."""
    if name in PROBLEMS:
        return PROBLEMS[name]()
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"--tasks: got {name!r}, expected one of {', '.join(PROBLEMS)}, or module:name of a "
            f"Problem ({error})"
        ) from None
    if inspect.isfunction(found) and not inspect.signature(found).parameters:
        found = found()
    if not isinstance(found, Problem):
        raise ValueError(f"--tasks {name}: got {type(found).__name__}, expected a Problem")
    return found
