"""Comparisons: greater, greater_equal, less, less_equal, equal, not_equal, isclose.

Each returns a truth value in [0, 1] of the broadcast shape and of the float dtype of its arguments,
in mode "hard" too (0 or 1). In the soft modes `greater` and `less` are sigmoidal steps of x - y,
1/2 at x = y up to `epsilon`, which is there to break the tie as the hard comparison does when
softness is much smaller than it. Two equal infinities have difference 0.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from softjax_ops import kernels
from softjax_ops._checks import as_floats, check_mode, check_softness
from softjax_ops._types import Mode, SoftBool, Softness
from softjax_ops.elementwise import ELEMENTWISE_MODES


def _difference(x: Float[Array, "..."], y: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.where(jnp.isinf(x) & (x == y), 0, x - y)


def _above(x: ArrayLike, y: ArrayLike, shift: ArrayLike, softness: Softness, mode: Mode):
    """Soft x - y + shift > 0."""
    x, y = as_floats(x, y)
    z = _difference(x, y) + jnp.asarray(shift, x.dtype)
    return kernels.step(z, check_softness(softness, x.dtype), mode)


def _hard(test, x: ArrayLike, y: ArrayLike, **tolerance: ArrayLike) -> SoftBool:
    """JAX's own comparison on the arguments as they are (integers exactly), as a float."""
    return test(jnp.asarray(x), jnp.asarray(y), **tolerance).astype(as_floats(x, y)[0].dtype)


def greater(
    x: ArrayLike,
    y: ArrayLike,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    epsilon: ArrayLike = 1e-10,
) -> SoftBool:
    """Soft x > y: sigmoidal(x - y - epsilon)."""
    check_mode(mode, ELEMENTWISE_MODES)
    if mode == "hard":
        return _hard(jnp.greater, x, y)
    return _above(x, y, -jnp.asarray(epsilon), softness, mode)


def greater_equal(
    x: ArrayLike,
    y: ArrayLike,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    epsilon: ArrayLike = 1e-10,
) -> SoftBool:
    """Soft x >= y: sigmoidal(x - y + epsilon)."""
    check_mode(mode, ELEMENTWISE_MODES)
    if mode == "hard":
        return _hard(jnp.greater_equal, x, y)
    return _above(x, y, epsilon, softness, mode)


def less(
    x: ArrayLike,
    y: ArrayLike,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    epsilon: ArrayLike = 1e-10,
) -> SoftBool:
    """Soft x < y: greater(y, x), which is 1 - greater_equal(x, y)."""
    return greater(y, x, softness, mode, epsilon)


def less_equal(
    x: ArrayLike,
    y: ArrayLike,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    epsilon: ArrayLike = 1e-10,
) -> SoftBool:
    """Soft x <= y: greater_equal(y, x), which is 1 - greater(x, y)."""
    return greater_equal(y, x, softness, mode, epsilon)


def _within(
    distance: Float[Array, "..."],
    tolerance: Float[Array, "..."],
    softness: Float[Array, "..."],
    mode: Mode,
) -> SoftBool:
    """Soft distance <= tolerance for distance >= 0: 1 at distance 0, decreasing to 0."""
    whole = kernels.step(tolerance, softness, mode)
    return kernels.step(tolerance - distance, softness, mode) / whole


def equal(
    x: ArrayLike,
    y: ArrayLike,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    epsilon: ArrayLike = 1e-10,
) -> SoftBool:
    """Soft x == y: isclose with absolute tolerance `epsilon` alone.

    With d = softjax_ops.abs(x - y) and g the step of the mode it is g(epsilon - d) / g(epsilon):
    1 at x = y, and 2 g(-d) for softness much above epsilon.
    """
    if mode == "hard":
        return _hard(jnp.equal, x, y)
    return isclose(x, y, softness, rtol=0.0, atol=0.0, mode=mode, epsilon=epsilon)


def not_equal(
    x: ArrayLike,
    y: ArrayLike,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    epsilon: ArrayLike = 1e-10,
) -> SoftBool:
    """Soft x != y: 1 - equal(x, y)."""
    return 1 - equal(x, y, softness, mode, epsilon)


def isclose(
    x: ArrayLike,
    y: ArrayLike,
    softness: Softness = 0.1,
    rtol: ArrayLike = 1e-05,
    atol: ArrayLike = 1e-08,
    mode: Mode = "smooth",
    epsilon: ArrayLike = 1e-10,
) -> SoftBool:
    """Soft |x - y| <= atol + rtol |y|, the absolute values soft too.

    With d = abs(x - y), tol = atol + rtol abs(y) + epsilon and g the step of the mode it is
    g(tol - d) / g(tol): 1 at x = y, decreasing in d, in [0, 1] for every softness.

    Args:
        x: any shape.
        y: broadcast against `x`; the reference that `rtol` refers to. An infinite `y` is close to
            the same infinity only.
        softness: positive, in the unit of `x`.
        rtol: relative tolerance.
        atol: absolute tolerance, in the unit of `x`.
        mode: static. Mind that `rtol` and `atol` come before it.
        epsilon: added to the tolerance in the soft modes.
    """
    check_mode(mode, ELEMENTWISE_MODES)
    if mode == "hard":
        return _hard(jnp.isclose, x, y, rtol=rtol, atol=atol)
    x, y = as_floats(x, y)
    softness = check_softness(softness, x.dtype)

    def soft_abs(z: Float[Array, "..."]) -> Float[Array, "..."]:
        return z * kernels.odd_step(z, softness, mode)

    rtol, atol, epsilon = (jnp.asarray(e, x.dtype) for e in (rtol, atol, epsilon))
    size = soft_abs(jnp.where(jnp.isinf(y), 0, y))
    return _within(soft_abs(_difference(x, y)), atol + rtol * size + epsilon, softness, mode)
