"""Shooting: conjugate gradients of the whole plan, backward through the simulation."""

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from softsim.planning.planner import GRADIENT_COST, Plan, best_of, cost_of, search
from softsim.planning.task import State, Task, actions

STRETCH = np.array([0.25, 1.0, 4.0])  # of the last good length
LENGTHS = (1e-6, 1.0)  # shortest and longest step, in units of actions
FIRST_LENGTH = 0.3
SHRINK = 0.1  # of the length, after a round in which none of those tried was good


def shooting(
    task: Task, ctrl0: ArrayLike, iterations: int = 50, *, seed: int = 0, tolerance: float = 1e-6
) -> Plan:
    """Plan by gradients of the whole plan, one reverse-mode pass per iteration.

    The planner to take where states have many numbers (iLQR linearises by each of them).

    Args, errors: as for `ilqr`.
    """
    return search(task, Shooting(), ctrl0, iterations, seed=seed, tolerance=tolerance)


class Descent(NamedTuple):
    """What shooting remembers: the last good length, free gradient and direction."""

    length: Float[Array, ""]
    gradient: Float[Array, "T nu"]
    direction: Float[Array, "T nu"]


@dataclass(frozen=True)
class Shooting:
    """One step of conjugate gradients on the whole plan, of the best of three lengths.

    Directions are those of Polak and Ribiere, without the actions that are at a limit and pushed
    against it; lengths are those around the one that was best the last time.
    """

    def begin(self, plan: Float[Array, "T nu"]) -> Descent:
        zero = jnp.zeros_like(plan)
        return Descent(jnp.asarray(FIRST_LENGTH, plan.dtype), zero, zero)

    def improve(
        self,
        task: Task,
        x: State,
        plan: Float[Array, "T nu"],
        memory: Descent,
        key: PRNGKeyArray,
    ) -> tuple[Float[Array, "T nu"], Descent]:
        units = actions(task.model)
        cost, gradient = jax.value_and_grad(lambda p: cost_of(task, x, p))(plan)
        gradient = jnp.where(jnp.isfinite(gradient), gradient, 0.0)
        held = (plan <= units.low) & (gradient > 0) | (plan >= units.high) & (gradient < 0)
        gradient = jnp.where(held, 0.0, gradient)
        direction = jnp.where(held, 0.0, _conjugate(gradient, memory))
        largest = jnp.max(jnp.abs(direction))
        direction = direction / jnp.where(largest > 0, largest, 1.0)
        lengths = jnp.clip(memory.length * STRETCH, *LENGTHS)
        plans = units.clip(plan - lengths[:, None, None] * direction)
        costs = jax.vmap(lambda p: cost_of(task, x, p))(plans)
        plan, i, better = best_of(plan, cost, plans, costs)
        length = jnp.where(better, lengths[i], jnp.maximum(SHRINK * memory.length, LENGTHS[0]))
        return plan, Descent(length, gradient, jnp.where(better, direction * largest, 0.0))

    def shift(self, memory: Descent) -> Descent:
        gradient, direction = (jnp.concatenate([v[1:], 0.0 * v[:1]]) for v in memory[1:])
        return Descent(memory.length, gradient, direction)

    def simulations(self, task: Task) -> int:
        return GRADIENT_COST + len(STRETCH)


def _conjugate(gradient: Float[Array, "T nu"], last: Descent) -> Float[Array, "T nu"]:
    """The direction of Polak and Ribiere, or the gradient where that does not lead down."""
    change = jnp.sum(gradient * (gradient - last.gradient))
    square = jnp.sum(last.gradient**2)
    share = jnp.clip(change / jnp.where(square > 0, square, jnp.inf), 0.0, 2.0)
    direction = gradient + share * last.direction
    return jnp.where(jnp.sum(direction * gradient) > 0, direction, gradient)
