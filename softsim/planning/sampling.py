"""Sampling: MPPI and the cross-entropy method, and gradients that begin from sampled plans."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from softsim.planning.planner import Plan, Planner, best_of, cost_of, search
from softsim.planning.task import State, Task, actions

PATIENCE = 20  # rounds without improvement before a search ends: samples are luck


def mppi(
    task: Task,
    ctrl0: ArrayLike,
    iterations: int = 50,
    *,
    seed: int = 0,
    tolerance: float = 1e-6,
    samples: int = 64,
    spread: float = 0.3,
    temperature: float = 0.02,
    hold: float = 0.8,
) -> Plan:
    """Plan by model-predictive path integral control (Williams et al., ICRA 2017).

    Every round averages noisy plans, weighted by their costs; no derivative is asked for.

    Args:
        ctrl0, iterations: as for `ilqr`.
        seed: decides the noise.
        tolerance: as for `ilqr`, of twenty rounds in a row.
        samples, spread, temperature, hold: as for `Mppi`.

    Raises:
        ValueError: an argument is outside of its range, or as for `ilqr`.
    """
    planner = Mppi(samples, spread, temperature, hold)
    return search(
        task, planner, ctrl0, iterations, seed=seed, tolerance=tolerance, patience=PATIENCE
    )


def cem(
    task: Task,
    ctrl0: ArrayLike,
    iterations: int = 50,
    *,
    seed: int = 0,
    tolerance: float = 1e-6,
    samples: int = 64,
    spread: float = 0.3,
    elite: float = 0.1,
    hold: float = 0.8,
) -> Plan:
    """Plan by the cross-entropy method (de Boer et al., 2005): the mean of the best noisy plans.

    Args:
        ctrl0, iterations: as for `ilqr`.
        seed: decides the noise.
        tolerance: as for `ilqr`, of twenty rounds in a row.
        samples, spread, elite, hold: as for `Cem`.

    Raises:
        ValueError: an argument is outside of its range, or as for `ilqr`.
    """
    planner = Cem(samples, spread, elite, hold)
    return search(
        task, planner, ctrl0, iterations, seed=seed, tolerance=tolerance, patience=PATIENCE
    )


@dataclass(frozen=True)
class Mppi:
    """One round of MPPI; it remembers nothing.

    Attributes:
        samples: noisy plans in a round; the plan itself is one more.
        spread: standard deviation of the noise, in units of actions (half a range, or the unit of
            the control where it has none).
        temperature: of the weights, relative to the median cost above the lowest of the round.
        hold: correlation of the noise on neighbouring actions, in [0, 1).
    """

    samples: int = 64
    spread: float = 0.3
    temperature: float = 0.02
    hold: float = 0.8

    def __post_init__(self) -> None:
        _check(self.samples, self.spread, self.hold)
        if not self.temperature > 0:
            raise ValueError(f"temperature: got {self.temperature}, expected a positive number")

    def begin(self, plan: Float[Array, "T nu"]) -> None:
        return None

    def improve(
        self, task: Task, x: State, plan: Float[Array, "T nu"], memory: None, key: PRNGKeyArray
    ) -> tuple[Float[Array, "T nu"], None]:
        plans = noisy(task, plan, self.spread, self.hold, self.samples, key)
        costs = _costs(task, x, plans)
        low = jnp.min(costs)
        scale = self.temperature * (jnp.median(costs) - low)
        ahead = jnp.where(costs > low, (low - costs) / jnp.where(scale > 0, scale, 1.0), 0.0)
        return jnp.tensordot(jax.nn.softmax(ahead), plans, axes=1), None

    def shift(self, memory: None) -> None:
        return None

    def simulations(self, task: Task) -> int:
        return self.samples + 1


@dataclass(frozen=True)
class Cem:
    """One round of the cross-entropy method; it remembers the spread of the last best plans.

    Attributes:
        samples, spread, hold: as for `Mppi`; `spread` is that of the first round.
        elite: the share of the plans whose mean is the next plan, two plans at least.
    """

    samples: int = 64
    spread: float = 0.3
    elite: float = 0.1
    hold: float = 0.8

    def __post_init__(self) -> None:
        _check(self.samples, self.spread, self.hold)
        if not 0 < self.elite <= 1:
            raise ValueError(f"elite: got {self.elite}, expected a share in (0, 1]")

    def begin(self, plan: Float[Array, "T nu"]) -> Float[Array, "T nu"]:
        return jnp.full_like(plan, self.spread)

    def improve(
        self, task: Task, x: State, plan: Float[Array, "T nu"], memory: Array, key: PRNGKeyArray
    ) -> tuple[Float[Array, "T nu"], Float[Array, "T nu"]]:
        plans = noisy(task, plan, memory, self.hold, self.samples, key)
        best = jnp.argsort(_costs(task, x, plans))
        elites = plans[best[: max(2, round(self.elite * self.samples))]]
        return jnp.mean(elites, axis=0), jnp.std(elites, axis=0)

    def shift(self, memory: Float[Array, "T nu"]) -> Float[Array, "T nu"]:
        return jnp.full_like(memory, self.spread)

    def simulations(self, task: Task) -> int:
        return self.samples + 1


@dataclass(frozen=True)
class Proposing:
    """Every round of a planner begins from the best of a few noisy plans, the plan among them.

    Derivatives lead to the bottom of the valley in which a plan is; samples find other valleys.

    Attributes:
        planner: the planner that goes on from there.
        samples, spread, hold: as for `Mppi`.
    """

    planner: Planner
    samples: int = 8
    spread: float = 0.3
    hold: float = 0.8

    def __post_init__(self) -> None:
        _check(self.samples, self.spread, self.hold)

    def begin(self, plan: Float[Array, "T nu"]) -> Any:
        return self.planner.begin(plan)

    def improve(
        self, task: Task, x: State, plan: Float[Array, "T nu"], memory: Any, key: PRNGKeyArray
    ) -> tuple[Float[Array, "T nu"], Any]:
        plans = noisy(task, plan, self.spread, self.hold, self.samples, key)
        costs = _costs(task, x, plans)
        best, _, _ = best_of(plan, costs[0], plans, costs)
        return self.planner.improve(task, x, best, memory, key)

    def shift(self, memory: Any) -> Any:
        return self.planner.shift(memory)

    def simulations(self, task: Task) -> int:
        return self.planner.simulations(task) + self.samples + 1


def noisy(
    task: Task,
    plan: Float[Array, "T nu"],
    spread: Array | float,
    hold: float,
    samples: int,
    key: PRNGKeyArray,
) -> Float[Array, "n T nu"]:
    """The plan, and plans with noise of a spread, correlated over time as hold^(steps apart)."""
    after = jnp.arange(len(plan))[:, None] - jnp.arange(len(plan))
    fresh = jnp.where(jnp.arange(len(plan)) > 0, jnp.sqrt(1.0 - hold**2), 1.0)
    mix = jnp.where(after >= 0, jnp.asarray(hold, plan.dtype) ** jnp.maximum(after, 0), 0.0) * fresh
    drawn = jax.random.normal(key, (samples, *plan.shape), plan.dtype)
    noise = spread * jnp.einsum("ij,sjk->sik", mix.astype(plan.dtype), drawn)
    return actions(task.model).clip(jnp.concatenate([plan[None], plan + noise]))


def _costs(task: Task, x: State, plans: Float[Array, "n T nu"]) -> Float[Array, " n"]:
    """Costs of plans; infinite where the simulation is not finite."""
    costs = jax.vmap(lambda p: cost_of(task, x, p))(plans)
    return jnp.where(jnp.isfinite(costs), costs, jnp.inf)


def _check(samples: int, spread: float, hold: float) -> None:
    if samples < 1:
        raise ValueError(f"samples: got {samples}, expected at least 1")
    if not spread > 0:
        raise ValueError(f"spread: got {spread}, expected a positive number")
    if not 0 <= hold < 1:
        raise ValueError(f"hold: got {hold}, expected a correlation in [0, 1)")
