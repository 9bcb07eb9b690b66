"""Fuzzy logic on truth values in [0, 1]: not, and, or, xor, all, any.

The conjunction is the product (independent events). It vanishes as the number of terms grows, so
there is also the geometric mean, (x1 ... xn)^(1/n), which keeps the scale of its terms: all terms
p gives p. Its slope is infinite at 0, so its terms are floored at `epsilon`. A false term among n
therefore gives epsilon^(1/n), not 0: 1e-5 for a pair, 0.1 for n = 10 at the default 1e-10. Use the
product when one false term must decide. `any` is `all` under De Morgan: 1 - all(1 - x).
"""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from softjax_ops._checks import as_float, as_floats
from softjax_ops._types import SoftBool

Axis = int | Sequence[int] | None


def _geometric_mean(x: Float[Array, "..."], axis: Axis, epsilon: float) -> SoftBool:
    floor = jnp.maximum(jnp.asarray(epsilon, x.dtype), jnp.finfo(x.dtype).tiny)
    return jnp.exp(jnp.mean(jnp.log(jnp.maximum(x, floor)), axis))


def logical_not(x: ArrayLike) -> SoftBool:
    """1 - x."""
    return 1 - as_float(x)


def all(
    x: ArrayLike, axis: Axis = -1, epsilon: float = 1e-10, use_geometric_mean: bool = False
) -> SoftBool:
    """Soft conjunction over `axis` (the last by default, every axis if None).

    Args:
        x: truth values, any shape.
        axis: reduced; an integer, several, or None.
        epsilon: floor of a term of the geometric mean; not read by the product.
        use_geometric_mean: geometric mean in place of the product.
    """
    x = as_float(x)
    if use_geometric_mean:
        return _geometric_mean(x, axis, epsilon)
    return jnp.prod(x, axis)


def any(x: ArrayLike, axis: Axis = -1, use_geometric_mean: bool = False) -> SoftBool:
    """Soft disjunction over `axis` (the last by default, every axis if None)."""
    return 1 - all(logical_not(x), axis, use_geometric_mean=use_geometric_mean)


def _pair(x: ArrayLike, y: ArrayLike) -> Float[Array, "... 2"]:
    return jnp.stack(jnp.broadcast_arrays(*as_floats(x, y)), axis=-1)


def logical_and(x: ArrayLike, y: ArrayLike, use_geometric_mean: bool = False) -> SoftBool:
    """x y, or sqrt(x y); broadcast."""
    return all(_pair(x, y), use_geometric_mean=use_geometric_mean)


def logical_or(x: ArrayLike, y: ArrayLike, use_geometric_mean: bool = False) -> SoftBool:
    """1 - (1 - x)(1 - y), or 1 - sqrt((1 - x)(1 - y)); broadcast."""
    return any(_pair(x, y), use_geometric_mean=use_geometric_mean)


def logical_xor(x: ArrayLike, y: ArrayLike, use_geometric_mean: bool = False) -> SoftBool:
    """(x and not y) or (y and not x); broadcast."""
    one = logical_and(x, logical_not(y), use_geometric_mean)
    other = logical_and(logical_not(x), y, use_geometric_mean)
    return logical_or(one, other, use_geometric_mean)
