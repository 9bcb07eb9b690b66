"""What all planners have in common: a round that improves a plan, and the loop over rounds.

A plan is a sequence of T actions (T, nu), controls in units of their ranges (`task.Actions`). What
a planner learns about the problem (lengths of steps, dampings, spreads) it keeps in a memory, from
round to round and, in closed loop, from one control to the next.
"""

from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from softsim.planning.task import State, Task, actions

GRADIENT_COST = 4  # simulations: forward once, backward about three times the work


class Planner(Protocol):
    """A way to improve plans; hashable, its settings are static."""

    def begin(self, plan: Float[Array, "T nu"]) -> Any:
        """The memory before the first round."""

    def improve(
        self, task: Task, x: State, plan: Float[Array, "T nu"], memory: Any, key: PRNGKeyArray
    ) -> tuple[Float[Array, "T nu"], Any]:
        """A better plan from the state x on, and the memory."""

    def shift(self, memory: Any) -> Any:
        """The memory one control later, when the plan has moved on by one action."""

    def simulations(self, task: Task) -> int:
        """How many simulations of a plan one round is worth; a gradient counts as four."""


class Plan(NamedTuple):
    """What a planner found.

    Attributes:
        ctrl: controls, within the actuators' ranges.
        path: the state before each control, and the last; fields as in `planning.State`.
        cost: sum over the plan, final cost included.
        history: cost before the first round and the best after each.
        converged: whether the last rounds improved nothing worth counting; if not, more
            `iterations` may.
        simulations: simulated plans that the search was worth; a gradient counts as four.
    """

    ctrl: Float[Array, "T nu"]
    path: State
    cost: float
    history: Float[np.ndarray, " n"]
    converged: bool
    simulations: int


def search(
    task: Task,
    planner: Planner,
    ctrl0: ArrayLike,
    iterations: int,
    *,
    seed: int = 0,
    tolerance: float = 1e-6,
    patience: int = 5,
) -> Plan:
    """The best plan of some rounds of a planner, from the controls `ctrl0` (T, nu) on.

    The search ends early when `patience` rounds in a row improved the cost by less than the share
    `tolerance` of it.

    Raises:
        ValueError: `ctrl0` has the wrong shape or is not finite, or the simulation from it is not.
    """
    ctrl0 = jnp.asarray(ctrl0, task.model.qpos0.dtype)
    if ctrl0.ndim != 2 or ctrl0.shape[1] != task.model.nu or not len(ctrl0):
        raise ValueError(f"ctrl0: got shape {ctrl0.shape}, expected (T, {task.model.nu}), T > 0")
    if iterations < 0:
        raise ValueError(f"iterations: got {iterations}, expected at least 0")
    plan = best = actions(task.model).from_ctrl(ctrl0)
    history = [float(_cost(task, plan))]
    if not np.isfinite(history[0]):
        raise ValueError(f"ctrl0: the plan to begin with costs {history[0]}, expected a number")
    memory, key, idle = planner.begin(plan), jax.random.key(seed), 0
    for i in range(iterations):
        plan, memory, made = _round(planner, task, plan, memory, jax.random.fold_in(key, i))
        last, cost = history[-1], float(made)
        idle = 0 if cost < last - tolerance * abs(last) else idle + 1
        best = plan if cost < last else best
        history.append(cost if cost < last else last)
        if idle >= patience:
            break
    ctrl, path = actions(task.model).to_ctrl(best), _path(task, best)
    worth = (len(history) - 1) * planner.simulations(task)
    return Plan(ctrl, path, history[-1], np.array(history), idle >= patience, worth)


def cost_of(task: Task, x: State, plan: Float[Array, "T nu"]) -> Float[Array, ""]:
    """Cost of a plan from a state on."""
    return task.total(x, actions(task.model).to_ctrl(plan))


@eqx.filter_jit
def _cost(task: Task, plan: Array) -> Array:
    return cost_of(task, task.state, plan)


@eqx.filter_jit
def _path(task: Task, plan: Array) -> State:
    return task.simulate(task.state, actions(task.model).to_ctrl(plan))[0]


@eqx.filter_jit
def _round(
    planner: Planner, task: Task, plan: Array, memory: Any, key: PRNGKeyArray
) -> tuple[Array, Any, Array]:
    plan, memory = planner.improve(task, task.state, plan, memory, key)
    return plan, memory, cost_of(task, task.state, plan)


def best_of(
    plan: Float[Array, "T nu"],
    cost: Float[Array, ""],
    plans: Float[Array, "n T nu"],
    costs: Float[Array, " n"],
) -> tuple[Float[Array, "T nu"], Array, Array]:
    """The cheapest plan, its index among `plans`, and whether it is cheaper than the one there was.

    If it is not, the plan there was; what is not finite is never the cheapest.
    """
    i = jnp.argmin(jnp.where(jnp.isfinite(costs), costs, jnp.inf))
    better = costs[i] < cost
    return jnp.where(better, plans[i], plan), i, better
