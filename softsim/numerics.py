"""Delicate numerics in one place: every function states its bad point, value and gradient there."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def default_float(x: Array | float) -> Float[Array, ""]:
    """In the default float dtype and not weakly typed, so that no value ever recompiles."""
    return jnp.asarray(x, jnp.zeros(()).dtype)


def safe_norm(x: Float[Array, "*b n"]) -> Float[Array, "*b"]:
    """Euclidean norm over the last axis; at x = 0 the value is 0 and the gradient is 0."""
    square = jnp.sum(jnp.square(x), axis=-1)
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def safe_normalize(x: Float[Array, "*b n"]) -> Float[Array, "*b n"]:
    """x / |x| over the last axis; at x = 0 the value is 0 and the gradient is 0."""
    norm = safe_norm(x)[..., None]
    positive = norm > 0
    return jnp.where(positive, x / jnp.where(positive, norm, 1.0), 0.0)


def clamp(
    x: Float[Array, "*b"], lower: Float[Array, "*b"] | float, upper: Float[Array, "*b"] | float
) -> Float[Array, "*b"]:
    """x, moved into [lower, upper]; at a bound the slope is that from inside, 1."""
    return jnp.where(x < lower, lower, jnp.where(x > upper, upper, x))
