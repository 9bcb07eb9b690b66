"""Search on the judged error itself, without derivatives.

After a few impacts a toss tips one way or the other. The error that a fit is judged by, the mean
over a whole trajectory, then has steep local slopes that say nothing about its trend, and a local
method stops at one of many minima. An evolution strategy sees the trend: covariance matrix
adaptation (Hansen, The CMA evolution strategy: a tutorial, arXiv:1604.00772), in the coordinates of
the fit and from its result, with MuJoCo C as the simulator.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax
import mujoco
import numpy as np
from jaxtyping import Float

from experiments._fitting import Problem
from experiments._intervals import Certainty
from experiments._mjcf import in_shape, pick, to_mujoco
from experiments._validation import Judge

MIDDLE = (0.25, 0.75)  # share of trajectories whose mean error stands for the median
UNSTABLE = 1e6  # cost of a model that does not simulate


class Generation(NamedTuple):
    """What is known after some evaluations."""

    u: Float[np.ndarray, " P"]
    cost: float
    evaluations: int


def deviation(sure: Certainty) -> Float[np.ndarray, " P"]:
    """First steps of the search: a few standard deviations of the fit, at least 1 %."""
    return np.clip(3 * np.maximum(sure.white, sure.sandwich), 0.01, 0.3)


def middle(errors: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " 2"]:
    """Mean over the middle half of trajectories: a median that changes smoothly."""
    low, high = (int(share * len(errors)) for share in MIDDLE)
    return np.sort(errors, axis=0)[low : max(high, low + 1)].mean(axis=0)


def make_cost(
    problem: Problem, mj_model: mujoco.MjModel, judge: Judge, measures: tuple[int, ...] = (0, 1)
) -> Callable[[Float[np.ndarray, " P"]], float]:
    """Log of the middle errors, distance (0) and turn (1), and the prior's share."""
    insert = jax.jit(
        lambda u: (pick(problem.table.insert(problem.model, u)), problem.table.prior(u))
    )

    def cost(u: Float[np.ndarray, " P"]) -> float:
        leaves, prior = insert(u)
        errors = judge(to_mujoco(mj_model, in_shape(leaves, mj_model)))
        if not np.isfinite(errors).all():
            return UNSTABLE
        seen = middle(errors)[list(measures)]
        prior = np.asarray(prior)
        return float(np.sum(np.log(seen[seen > 0])) + 0.5 * prior @ prior / len(errors))

    return cost


@dataclass(frozen=True)
class Rates:
    """Weights and learning rates of the strategy for P coordinates, as the tutorial has them."""

    weights: Float[np.ndarray, " parents"]
    size: int
    mass: float
    path: float
    step_path: float
    rank_one: float
    rank_many: float
    damping: float
    length: float  # expected, of a standard normal vector


def make_rates(P: int) -> Rates:
    size = 4 + int(3 * np.log(P))
    weights = np.log(size // 2 + 0.5) - np.log(np.arange(1, size // 2 + 1))
    weights /= weights.sum()
    mass = 1.0 / float(np.sum(weights**2))
    step_path = (mass + 2) / (P + mass + 5)
    rank_one = 2 / ((P + 1.3) ** 2 + mass)
    return Rates(
        weights, size, mass, (4 + mass / P) / (P + 4 + 2 * mass / P), step_path, rank_one,
        min(1 - rank_one, 2 * (mass - 2 + 1 / mass) / ((P + 2) ** 2 + mass)),
        1 + 2 * max(0.0, np.sqrt((mass - 1) / (P + 1)) - 1) + step_path,
        np.sqrt(P) * (1 - 1 / (4 * P) + 1 / (21 * P**2)),
    )  # fmt: skip


def evolve(
    cost: Callable[[Float[np.ndarray, " P"]], float],
    u: Float[np.ndarray, " P"],
    deviation: Float[np.ndarray, " P"],
    seed: int,
) -> Iterator[Generation]:
    """Generations from `u` with steps of about `deviation` at first; yields the best so far."""
    P, r = len(u), make_rates(len(u))
    generator = np.random.default_rng(seed)
    best = Generation(u, cost(u), 1)
    yield best
    mean, C, step = np.zeros(P), np.eye(P), 1.0
    path, step_path, count = np.zeros(P), np.zeros(P), 0
    while True:
        count += 1
        strength, axes = np.linalg.eigh(C)
        spread = np.sqrt(np.maximum(strength, 1e-12))
        moves = generator.normal(size=(r.size, P)) * spread @ axes.T
        tried = u + deviation * (mean + step * moves)
        costs = np.array([cost(x) for x in tried])
        order = np.argsort(costs)
        evaluations = best.evaluations + r.size
        if costs[order[0]] < best.cost:
            best = Generation(tried[order[0]], float(costs[order[0]]), evaluations)
        best = best._replace(evaluations=evaluations)
        parents = moves[order[: len(r.weights)]]
        move = r.weights @ parents
        mean = mean + step * move
        fresh = np.sqrt(r.step_path * (2 - r.step_path) * r.mass)
        step_path = (1 - r.step_path) * step_path + fresh * axes @ (axes.T @ move / spread)
        length = np.linalg.norm(step_path)
        settled = np.sqrt(1 - (1 - r.step_path) ** (2 * count))
        steady = length / settled < (1.4 + 2 / (P + 1)) * r.length
        path = (1 - r.path) * path + steady * np.sqrt(r.path * (2 - r.path) * r.mass) * move
        C = (1 - r.rank_one - r.rank_many) * C + r.rank_one * np.outer(path, path)
        C = C + r.rank_many * (parents.T * r.weights) @ parents
        step *= np.exp(r.step_path / r.damping * (length / r.length - 1))
        yield best
