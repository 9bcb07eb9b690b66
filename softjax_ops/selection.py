"""Selection by a soft truth value or a soft index: the expectation of the hard selection.

Inside an expectation an infinite or NaN entry of weight 0 counts as 0, as it would if the hard
index passed it by; with any weight it stays visible.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from softjax_ops._checks import as_float, as_floats, check_axis
from softjax_ops._types import SoftBool, SoftIndex


def expectation(soft_index: SoftIndex, x: Float[Array, "... n"]) -> Float[Array, "..."]:
    """Mean of `x` under `soft_index` over the last axis, the other axes broadcast."""
    finite = jnp.isfinite(x)
    visible = jnp.where((soft_index != 0) & ~finite, x, 0)
    mean = jnp.einsum("...n,...n->...", soft_index, jnp.where(finite, x, 0))
    return mean + jax.lax.stop_gradient(jnp.sum(visible, axis=-1))


def where(condition: SoftBool, x: ArrayLike, y: ArrayLike) -> Float[Array, "..."]:
    """x condition + y (1 - condition), broadcast.

    A branch that is not finite and has weight 0 is left out, as `jnp.where` would.
    """
    c, x, y = as_floats(condition, x, y)
    x = jnp.where((c == 0) & ~jnp.isfinite(x), 0, x)
    y = jnp.where((c == 1) & ~jnp.isfinite(y), 0, y)
    return x * c + y * (1 - c)


def take_along_axis(
    x: ArrayLike, soft_index: SoftIndex, axis: int | None = -1
) -> Float[Array, "..."]:
    """Soft `jnp.take_along_axis`.

    Args:
        x: (..., n, ...), n at `axis`; raveled if `axis` is None.
        soft_index: (..., k, ..., [n]), k at `axis`; the other axes broadcast. (k, [n]) for None.
        axis: of `x`.

    Returns:
        (..., k, ...).

    Raises:
        ValueError: the number of dimensions, n or `axis` do not fit.
    """
    x, index = as_floats(x, soft_index)
    if axis is None:
        x, axis = x.ravel(), 0
    if index.ndim != x.ndim + 1:
        raise ValueError(
            f"soft_index must have one dimension more than x ({x.ndim}), got {index.ndim}"
        )
    axis = check_axis(axis, x.ndim)
    _check_length(index, x.shape[axis])
    rows = jnp.moveaxis(index, axis, -2)
    values = expectation(rows, jnp.moveaxis(x, axis, -1)[..., None, :])
    return jnp.moveaxis(values, -1, axis)


def take(x: ArrayLike, soft_index: SoftIndex, axis: int | None = None) -> Float[Array, "..."]:
    """Soft `jnp.take`: the same k soft indices for every other axis.

    Args:
        x: (..., n, ...), n at `axis`; raveled if `axis` is None.
        soft_index: (k, [n]).
        axis: of `x`.

    Returns:
        (..., k, ...).

    Raises:
        ValueError: `soft_index` is not two-dimensional, or n or `axis` do not fit.
    """
    x, index = as_floats(x, soft_index)
    if axis is None:
        x, axis = x.ravel(), 0
    if index.ndim != 2:
        raise ValueError(f"soft_index must have shape (k, [n]), got {index.shape}")
    axis = check_axis(axis, x.ndim)
    _check_length(index, x.shape[axis])
    values = expectation(index, jnp.moveaxis(x, axis, -1)[..., None, :])
    return jnp.moveaxis(values, -1, axis)


def choose(soft_index: SoftIndex, choices: ArrayLike) -> Float[Array, "..."]:
    """Soft `jnp.choose`.

    Args:
        soft_index: (..., [n]).
        choices: (n, ...), with as many dimensions as `soft_index`.

    Returns:
        The broadcast shape of the "..." of both.

    Raises:
        ValueError: the number of dimensions or n do not fit.
    """
    index, choices = as_floats(soft_index, choices)
    if index.ndim != choices.ndim or index.ndim == 0:
        raise ValueError(
            f"soft_index (..., [n]) and choices (n, ...) must have as many dimensions, "
            f"got {index.shape} and {choices.shape}"
        )
    _check_length(index, choices.shape[0])
    return expectation(index, jnp.moveaxis(choices, 0, -1))


def dynamic_index_in_dim(
    x: ArrayLike, soft_index: SoftIndex, axis: int = 0, keepdims: bool = True
) -> Float[Array, "..."]:
    """Soft `lax.dynamic_index_in_dim`: one soft index ([n],) along `axis`.

    Raises:
        ValueError: `soft_index` is not one distribution over n positions, or a bad `axis`.
    """
    x, index = as_floats(x, soft_index)
    axis = check_axis(axis, x.ndim)
    _check_vector(index, x.shape[axis])
    value = expectation(index, jnp.moveaxis(x, axis, -1))
    return jnp.expand_dims(value, axis) if keepdims else value


def dynamic_slice_in_dim(
    x: ArrayLike, soft_start_index: SoftIndex, slice_size: int, axis: int = 0
) -> Float[Array, "..."]:
    """Soft `lax.dynamic_slice_in_dim`: the mean of the slices under the soft start.

    A start beyond the last full slice counts as that last one: it is clamped, as in lax.

    Args:
        x: (..., n, ...), n at `axis`.
        soft_start_index: ([n],).
        slice_size: static, 0 < slice_size <= n.
        axis: of `x`.

    Returns:
        (..., slice_size, ...). Memory is O(n slice_size).

    Raises:
        ValueError: a bad size, shape or axis.
    """
    x, start = as_floats(x, soft_start_index)
    axis = check_axis(axis, x.ndim)
    n = x.shape[axis]
    _check_vector(start, n)
    if not 0 < slice_size <= n:
        raise ValueError(f"slice_size must be in (0, {n}], got {slice_size}")
    last = n - slice_size
    clamped = jnp.append(start[:last], jnp.sum(start[last:]))
    windows = jnp.arange(slice_size)[:, None] + jnp.arange(last + 1)
    values = expectation(clamped, jnp.moveaxis(x, axis, -1)[..., windows])
    return jnp.moveaxis(values, -1, axis)


def dynamic_slice(
    x: ArrayLike, soft_start_indices: Sequence[SoftIndex], slice_sizes: Sequence[int]
) -> Float[Array, "..."]:
    """Soft `lax.dynamic_slice`: one soft start and one size for each axis of `x`.

    Raises:
        ValueError: not one start and one size per axis, or as `dynamic_slice_in_dim`.
    """
    x = as_float(x)
    if len(soft_start_indices) != x.ndim or len(slice_sizes) != x.ndim:
        raise ValueError(
            f"len(soft_start_indices) and len(slice_sizes) must be {x.ndim}, the number of "
            f"dimensions of x, got {len(soft_start_indices)} and {len(slice_sizes)}"
        )
    for axis, (start, size) in enumerate(zip(soft_start_indices, slice_sizes, strict=True)):
        x = dynamic_slice_in_dim(x, start, size, axis)
    return x


def _check_length(index: SoftIndex, n: int) -> None:
    if index.shape[-1] != n:
        raise ValueError(f"soft_index must be over {n} positions, got {index.shape[-1]}")


def _check_vector(index: SoftIndex, n: int) -> None:
    if index.shape != (n,):
        raise ValueError(f"soft index must have shape ({n},), got {index.shape}")
