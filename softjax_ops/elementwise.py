"""Elementwise operators: heaviside, round, sign, abs, relu, clip.

In mode "hard" each is the JAX function of the same name and returns its dtype; softness is not
read. In every soft mode the result is a float of the input's dtype. Softness broadcasts.
"""

import operator

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Shaped

from softjax_ops import kernels
from softjax_ops._checks import (
    MODES,
    PNORM_MODES,
    as_float,
    as_floats,
    check_mode,
    check_softness,
)
from softjax_ops._types import Mode, SoftBool, Softness

ELEMENTWISE_MODES = MODES + PNORM_MODES


def heaviside(x: ArrayLike, softness: Softness = 0.1, mode: Mode = "smooth") -> SoftBool:
    """Soft unit step; 1/2 at x = 0 in every mode. Same shape as `x`, a float."""
    check_mode(mode, ELEMENTWISE_MODES)
    x = as_float(x)
    if mode == "hard":
        return jnp.heaviside(x, 0.5)
    return kernels.step(x, check_softness(softness, x.dtype), mode)


def sign(x: ArrayLike, softness: Softness = 0.1, mode: Mode = "smooth") -> Float[Array, "..."]:
    """Soft sign, 2 heaviside(x) - 1, in [-1, 1]. Same shape as `x`, a float."""
    check_mode(mode, ELEMENTWISE_MODES)
    x = as_float(x)
    if mode == "hard":
        return jnp.sign(x)
    return kernels.odd_step(x, check_softness(softness, x.dtype), mode)


def abs(x: ArrayLike, softness: Softness = 0.1, mode: Mode = "smooth") -> Shaped[Array, "..."]:
    """Soft absolute value, x sign(x): 0 with gradient 0 at x = 0, at most |x| everywhere."""
    check_mode(mode, ELEMENTWISE_MODES)
    if mode == "hard":
        return jnp.abs(jnp.asarray(x))
    x = as_float(x)
    return x * kernels.odd_step(x, check_softness(softness, x.dtype), mode)


def relu(
    x: ArrayLike, softness: Softness = 0.1, mode: Mode = "smooth", gated: bool = False
) -> Shaped[Array, "..."]:
    """Soft max(x, 0): the ramp whose slope is `sigmoidal(x)`, or x sigmoidal(x) if `gated`."""
    check_mode(mode, ELEMENTWISE_MODES)
    if mode == "hard":
        return jax.nn.relu(jnp.asarray(x))
    x = as_float(x)
    return kernels.ramp(x, check_softness(softness, x.dtype), mode, gated)


def clip(
    x: ArrayLike,
    a: ArrayLike,
    b: ArrayLike,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    gated: bool = False,
) -> Shaped[Array, "..."]:
    """Soft clip of x to [a, b], with a <= b: a + relu(x - a) - relu(x - b).

    Far above b that is a difference of two large numbers. The kernels satisfy
    relu(z) = z + relu(-z), so from the middle upwards the same function is computed from b down:
    b - relu(b - x) + relu(a - x).

    Args:
        x: any shape.
        a: lower bound, broadcast against `x`.
        b: upper bound, broadcast against `x`.
        softness: positive; a corner is rounded over about 5 softness.
        mode: static.
        gated: static; passed on to the ramp: then the result may leave [a, b] a little.

    Returns:
        The broadcast shape; in [a, b] if not gated.
    """
    check_mode(mode, ELEMENTWISE_MODES)
    if mode == "hard":
        return jnp.clip(jnp.asarray(x), a, b)
    x, a, b = as_floats(x, a, b)
    softness = check_softness(softness, x.dtype)
    high = x - a > b - x
    near, far, away = jnp.where(high, b, a), jnp.where(high, a, b), jnp.where(high, -1, 1)
    away = away.astype(x.dtype)
    rise = kernels.ramp(away * (x - near), softness, mode, gated)
    fall = kernels.ramp(away * (x - far), softness, mode, gated)
    return near + away * (rise - fall)


def round(
    x: ArrayLike, softness: Softness = 0.1, mode: Mode = "smooth", neighbor_radius: int = 5
) -> Shaped[Array, "..."]:
    """Soft rounding to the nearest integer, a staircase of soft steps (arXiv 2504.19026).

    It is the mean of round(x + noise) where the noise has `sigmoidal` as its distribution
    function, restricted to [-neighbor_radius, neighbor_radius]. So it is normalised, continuous,
    increasing, equivariant to integer shifts at any magnitude, and tends to x (no rounding) as
    the softness grows.

    Args:
        x: any shape.
        softness: positive; in units of the distance between integers.
        mode: static.
        neighbor_radius: static, at least 1; the number of integers seen on either side. The cost
            is 2 neighbor_radius steps an entry.

    Raises:
        ValueError: `neighbor_radius` below 1.
    """
    check_mode(mode, ELEMENTWISE_MODES)
    if operator.index(neighbor_radius) < 1:
        raise ValueError(f"neighbor_radius must be at least 1, got {neighbor_radius}")
    if mode == "hard":
        return jnp.round(jnp.asarray(x))
    x = as_float(x)
    softness = check_softness(softness, x.dtype)
    nearest = jax.lax.stop_gradient(jnp.round(x))
    rest = jnp.where(jnp.isinf(x), 0, x - nearest)
    steps = jnp.arange(0.5 - neighbor_radius, neighbor_radius, dtype=x.dtype)
    passed = kernels.odd_step(rest[..., None] - steps, softness[..., None], mode)
    whole = kernels.odd_step(jnp.asarray(neighbor_radius, x.dtype), softness, mode)
    return nearest + jnp.sum(passed, axis=-1) / (2 * whole)
