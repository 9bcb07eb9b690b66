"""Roots, logarithm, quotient, inverse sines and norm whose value and gradient are never infinite.

At a bad point the value below is returned and every derivative is 0. NaN in gives NaN out.

| function | bad points        | value there                                      |
|----------|-------------------|--------------------------------------------------|
| sqrt     | x <= 0            | 0                                                |
| log      | x <= 0            | 0                                                |
| div      | y = 0             | 0                                                |
| arcsin   | abs(x) >= 1       | pi/2 of the sign of x                            |
| arccos   | abs(x) >= 1       | 0 for positive x, pi for negative x              |
| norm     | all entries 0     | 0                                                |

Each replaces the argument, not only the result, so that no infinity meets a zero on the way back.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from softjax_ops._checks import as_float, as_floats


def sqrt(x: ArrayLike) -> Float[Array, "..."]:
    """Square root; 0 with derivative 0 for x <= 0."""
    x = as_float(x)
    bad = x <= 0
    return jnp.where(bad, 0, jnp.sqrt(jnp.where(bad, 1, x)))


def log(x: ArrayLike) -> Float[Array, "..."]:
    """Natural logarithm; 0 (not -inf) with derivative 0 for x <= 0."""
    x = as_float(x)
    bad = x <= 0
    return jnp.where(bad, 0, jnp.log(jnp.where(bad, 1, x)))


def div(x: ArrayLike, y: ArrayLike) -> Float[Array, "..."]:
    """x / y, broadcast; 0 with derivatives 0 where y = 0."""
    x, y = as_floats(x, y)
    bad = (y == 0) & ~jnp.isnan(x)
    return jnp.where(bad, 0, x / jnp.where(bad, 1, y))


def arcsin(x: ArrayLike) -> Float[Array, "..."]:
    """Inverse sine, rad; x is clipped to [-1, 1], with derivative 0 from there on."""
    x = as_float(x)
    bad = jnp.abs(x) >= 1
    return jnp.where(bad, jnp.sign(x) * (jnp.pi / 2), jnp.arcsin(jnp.where(bad, 0, x)))


def arccos(x: ArrayLike) -> Float[Array, "..."]:
    """Inverse cosine, rad; x is clipped to [-1, 1], with derivative 0 from there on."""
    x = as_float(x)
    bad = jnp.abs(x) >= 1
    return jnp.where(bad, jnp.where(x > 0, 0, jnp.pi), jnp.arccos(jnp.where(bad, 0, x)))


def norm(
    x: ArrayLike, axis: int | Sequence[int] | None = None, keepdims: bool = False
) -> Float[Array, "..."]:
    """Euclidean norm over `axis` (all axes if None); 0 with derivative 0 where all entries are 0.

    The entries are divided by the largest one first, so squares neither overflow nor underflow.
    Where one entry is infinite the norm is infinite, with derivative 0.
    """
    x = as_float(x)
    axes = tuple(axis) if isinstance(axis, Sequence) else axis
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(x), axes, keepdims=True, initial=0))
    bad = (largest < jnp.finfo(x.dtype).tiny) | jnp.isinf(largest)
    scale = jnp.where(bad, 1, largest)
    unit = jnp.where(bad, 1, x) / scale
    length = jnp.where(bad, largest, scale * jnp.sqrt(jnp.sum(unit * unit, axes, keepdims=True)))
    return length if keepdims else jnp.squeeze(length, axes)
