"""The cross-entropy method (de Boer et al., 2005), as the peer that needs no derivative."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

LEAST_SPREAD = 0.01  # in units of the first spread; without it a population shrinks to a point
Score = Callable[[Float[Array, " n"]], tuple[Float[Array, ""], Float[Array, ""]]]


def make_generation(score: Score, population: int, elite: int) -> Callable:
    """(keys, means, spreads) -> means, spreads, and x, loss and miss of the best, all by start.

    Args:
        score: x -> loss, which is to be small, and miss.
        population: samples of a generation, the mean among them.
        elite: samples whose mean and spread begin the next one.
    """

    @jax.jit
    @jax.vmap
    def generation(
        key: PRNGKeyArray, mean: Float[Array, " n"], spread: Float[Array, " n"]
    ) -> tuple[Array, ...]:
        sample = mean + spread * jax.random.normal(key, (population, mean.size))
        sample = sample.at[0].set(mean)
        loss, miss = jax.vmap(score)(sample)
        order = jnp.argsort(loss)
        best = sample[order[:elite]]
        middle, wide = best.mean(0), best.std(0) + LEAST_SPREAD
        return middle, wide, best[0], loss[order[0]], miss[order[0]]

    return generation
