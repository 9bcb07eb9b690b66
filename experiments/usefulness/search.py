"""Searches from many starts without a hard gradient, which begin anew where they are stuck."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree

import softsim
from experiments.cross_entropy import make_generation
from experiments.usefulness.settings import Args
from experiments.usefulness.tasks import Task

# A gradient runs a simulation once and transposes it, taken as three times the work.
GRADIENT_COST = 4
POPULATION, ELITE = 16, 4  # of CEM
CANDIDATES = 20  # random starts drawn for each that is kept
PATIENCE = 120  # simulations in which a search must halve its squared miss, or solve the task


class Step(NamedTuple):
    """One step of a search from every start at once."""

    x: Float[Array, "starts n"]
    miss: Float[Array, " starts"]
    cost: int  # simulations per start


def dead_starts(task: Task, args: Args, gradient: Callable) -> Float[Array, "all n"]:
    """Random starts from which the object does not move and the hard gradient is exactly zero,
    at least as many as are wanted.

    Raises:
        ValueError: too few were found.
    """
    shape = (CANDIDATES * args.starts, len(task.goal.mean))
    x = jax.random.normal(jax.random.key(args.seed), shape)
    _, _, slope = gradient(x, softsim.Softening.hard())
    dead = np.flatnonzero(np.all(np.asarray(slope) == 0, axis=1))
    if len(dead) < args.starts:
        raise ValueError(f"{task.goal.model}: only {len(dead)} starts without a gradient")
    return x[dead]


class Restarts:
    """Which searches are stuck, and where they begin anew."""

    def __init__(self, pool: Float[Array, "all n"], tolerance: float, seed: int) -> None:
        self.pool, self.tolerance = pool, tolerance
        self.random = np.random.default_rng(seed)
        self.spent = 0
        self.best = self.mark = np.asarray(np.inf)

    def __call__(self, miss: Float[Array, " starts"], cost: int) -> Bool[np.ndarray, " starts"]:
        """The searches that have missed and not come closer for as long as patience lasts.

        Args:
            miss: m, of the last step, which took `cost` simulations per start.
        """
        self.best = np.minimum(self.best, miss)
        self.mark = np.where(np.isinf(self.mark), miss, self.mark)
        self.spent += cost
        if self.spent < PATIENCE:
            return np.zeros(len(self.best), bool)
        stuck = (self.best > self.tolerance) & (2 * self.best**2 > self.mark**2)
        self.best = np.where(stuck, np.inf, self.best)
        self.mark, self.spent = self.best, 0  # infinite: that of the next step counts
        return stuck

    def anew(self, count: int) -> Float[Array, "count n"]:
        """Other starts."""
        return self.pool[self.random.integers(len(self.pool), size=count)]


def replaced(stuck: Bool[np.ndarray, " starts"], fresh: PyTree, old: PyTree) -> PyTree:
    """`fresh` where a search is stuck, `old` elsewhere."""
    return jax.tree.map(lambda a, b: jax.vmap(jnp.where)(stuck, a, b), fresh, old)


def gradient_of(task: Task, batch: int) -> Callable:
    """(loss, miss, gradient) from many x, in batches of one size so that it compiles once."""
    run = jax.jit(jax.vmap(jax.value_and_grad(task.loss, has_aux=True), in_axes=(0, None)))

    def evaluate(
        x: Float[Array, "n k"], soft: softsim.Softening
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = (np.arange(-(-len(x) // batch) * batch) % len(x)).reshape(-1, batch)
        parts = [run(x[row], soft) for row in rows]
        (loss, miss), slope = jax.tree.map(lambda *p: np.concatenate(p)[: len(x)], *parts)
        return loss, miss, slope

    return evaluate


def gradient_descent(
    args: Args, method: str, gradient: Callable, x: Float[Array, "starts n"], restarts: Restarts
) -> Iterator[Step]:
    """Adam from every start at once; soft steps are scored again with hard contacts, uncharged.

    Adam gets the direction of the gradient only, which changes by orders of magnitude as a contact
    comes into reach; one that is not finite counts as 0.
    """
    rate = optax.cosine_decay_schedule(args.learning_rate, args.iterations)
    optimiser = optax.chain(optax.zero_nans(), optax.adam(rate, b2=0.95))
    update = jax.jit(jax.vmap(optimiser.update))
    state = jax.vmap(optimiser.init)(x)
    for _ in range(args.iterations):
        _, miss, slope = gradient(x, softening(args, method))
        if method == "soft":
            miss = gradient(x, softsim.Softening.hard())[1]
        yield Step(x, miss, GRADIENT_COST)
        norm = np.linalg.norm(slope, axis=1, keepdims=True)
        change, state = update(jnp.asarray(slope / np.where(norm > 0, norm, 1.0)), state)
        x = x + change
        stuck = restarts(miss, GRADIENT_COST)
        fresh = restarts.anew(len(x))
        x, state = replaced(stuck, (fresh, jax.vmap(optimiser.init)(fresh)), (x, state))


def cross_entropy(
    task: Task, key: PRNGKeyArray, x: Float[Array, "starts n"], restarts: Restarts
) -> Iterator[Step]:
    """CEM around every start at once; a step is the best sample of a generation."""

    score = lambda x: task.loss(x, softsim.Softening.hard())
    generation = make_generation(score, POPULATION, ELITE)
    spread = jnp.ones_like(x)
    while True:
        key, now = jax.random.split(key)
        x, spread, best, _, miss = generation(jax.random.split(now, len(x)), x, spread)
        yield Step(best, miss, POPULATION)
        fresh = restarts.anew(len(x)), jnp.ones_like(x)
        x, spread = replaced(restarts(miss, POPULATION), fresh, (x, spread))


def softening(args: Args, method: str) -> softsim.Softening:
    """The preset of a gradient method."""
    match method:
        case "saltation":
            return softsim.Softening.saltation(args.reach)
        case "soft":
            return softsim.Softening.soft(args.softness, args.reach)
        case "straight_through":
            return softsim.Softening.straight_through(args.softness, args.reach)
    return softsim.Softening.hard()
