"""Domain randomisation: any float leaf of the model, drawn afresh for every episode.

A randomisation maps a leaf's dotted name to a function `(key, value) -> value`:

    envs.make("hopper", randomize={"body_mass": scale(0.8, 1.2), "opt.gravity": shift(-0.5, 0.5)})
"""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float, PRNGKeyArray

Draw = Callable[[PRNGKeyArray, Float[Array, "*n"]], Float[Array, "*n"]]
Randomization = tuple[tuple[str, Draw], ...]


def scale(low: float, high: float) -> Draw:
    """Multiply every entry by its own factor, uniform in [low, high]."""
    return lambda key, x: x * jax.random.uniform(key, x.shape, x.dtype, low, high)


def shift(low: float, high: float) -> Draw:
    """Add to every entry its own offset, uniform in [low, high], in the units of the leaf."""
    return lambda key, x: x + jax.random.uniform(key, x.shape, x.dtype, low, high)
