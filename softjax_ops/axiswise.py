"""Soft argmax, argmin, sort, rank and top-k along an axis.

Every operator takes, beside the arguments of its JAX namesake:

    softness: positive; a number, or an array with one value per row (it broadcasts against `x`
        with the axis kept as length 1). Traced: a new value never compiles again. A bad concrete
        value raises ValueError, a bad traced one gives NaN. Not read in mode "hard".
    mode: static; "hard", or the smoothness of the result: "smooth", "c0", "c1", "c2".
    method: static; how the soft permutation is made (see `softjax_ops.methods`). Checked in mode
        "hard" too.
    standardize: static; compare sigmoid((x - mean) / std) instead of `x`, so that the softness is
        relative to the spread of each row. Values are always averages of `x` itself.
    ot_kwargs: options of method "ot"; anything given to another method raises ValueError.
    gated_grad: static; False holds the soft index constant under differentiation.
    return_log_probs, log_prob_eps: static; log of the soft index, and a traced floor for the
        probabilities in (0, 1].
    where: boolean, broadcast to `x`: the entries that take part. Masked entries have weight 0 and
        rank 0, and a slot past the last unmasked entry has value 0 and an index of zeros.

Infinite entries are sorted exactly, and a NaN makes its row NaN. Outputs have the dtype of `x`
(integers: the default float), in mode "hard" too. A softness below the resolution of that dtype
counts as its resolution: results then are as hard as the dtype can show, with finite slopes. A bad
argument raises ValueError that names it.
"""

from collections.abc import Mapping
from typing import Any, Literal

from jaxtyping import Array, ArrayLike, Float

from softjax_ops._checks import SOFT_MODES, as_float
from softjax_ops._rows import (
    Static,
    check_options,
    put_back,
    put_back_index,
    read_input,
    reduce_back,
    reduce_back_index,
    soft_index,
    soft_rank,
    soft_values,
)
from softjax_ops._types import Mode, SoftIndex, Softness
from softjax_ops.logprobs import check_log_probs, floor_log
from softjax_ops.methods import METHODS

IndexMethod = Literal["softsort", "neuralsort", "ot", "sorting_network", "lapsum"]
ValueMethod = Literal[
    "softsort", "neuralsort", "ot", "sorting_network", "lapsum", "fast_soft_sort", "smooth_sort"
]


def _argmax(
    x, axis, keepdims, softness, where, ascending, mode, method, standardize, ot_kwargs, logs
) -> SoftIndex:
    log, eps = check_log_probs(*logs)
    static = Static(mode, method, standardize, ascending, log=log and eps is None)
    data = read_input(x, axis, softness, where, static, needs_index=True)
    static = static._replace(options=check_options(method, ot_kwargs))
    found = soft_index(data.x, data.where, data.softness, None, 1, static)[..., 0, :]
    return floor_log(reduce_back_index(found, data, keepdims), eps)


def argmax(
    x: ArrayLike,
    axis: int | None = None,
    keepdims: bool = False,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    method: IndexMethod = "softsort",
    standardize: bool = True,
    ot_kwargs: Mapping[str, Any] | None = None,
    return_log_probs: bool = False,
    log_prob_eps: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
) -> SoftIndex:
    """Soft index of the largest entry; see the module for the shared arguments.

    Returns:
        (..., {1}, ..., [n]), a distribution over the n entries on the last axis. `axis=None`
        flattens `x`.
    """
    logs = (return_log_probs, log_prob_eps)
    return _argmax(
        x, axis, keepdims, softness, where, False, mode, method, standardize, ot_kwargs, logs
    )


def argmin(
    x: ArrayLike,
    axis: int | None = None,
    keepdims: bool = False,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    method: IndexMethod = "softsort",
    standardize: bool = True,
    ot_kwargs: Mapping[str, Any] | None = None,
    return_log_probs: bool = False,
    log_prob_eps: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
) -> SoftIndex:
    """Soft index of the smallest entry; see `argmax`."""
    logs = (return_log_probs, log_prob_eps)
    return _argmax(
        x, axis, keepdims, softness, where, True, mode, method, standardize, ot_kwargs, logs
    )


def _values(x, axis, softness, where, count, static: Static, ot_kwargs):
    """The first `count` soft values (None: all), slots last, and the input they belong to."""
    data = read_input(x, axis, softness, where, static)
    static = static._replace(options=check_options(static.method, ot_kwargs))
    count = data.x.shape[-1] if count is None else count
    return soft_values(data.x, data.where, data.softness, None, count, static), data


def max(
    x: ArrayLike,
    axis: int | None = None,
    keepdims: bool = False,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    method: ValueMethod = "softsort",
    standardize: bool = True,
    ot_kwargs: Mapping[str, Any] | None = None,
    gated_grad: bool = True,
    *,
    where: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """Soft maximum, shape (..., {1}, ...); see the module for the shared arguments."""
    static = Static(mode, method, standardize, False, gated_grad)
    found, data = _values(x, axis, softness, where, 1, static, ot_kwargs)
    return reduce_back(found[..., 0], data, keepdims)


def min(
    x: ArrayLike,
    axis: int | None = None,
    keepdims: bool = False,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    method: ValueMethod = "softsort",
    standardize: bool = True,
    ot_kwargs: Mapping[str, Any] | None = None,
    gated_grad: bool = True,
    *,
    where: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """Soft minimum, shape (..., {1}, ...); see the module for the shared arguments."""
    static = Static(mode, method, standardize, True, gated_grad)
    found, data = _values(x, axis, softness, where, 1, static, ot_kwargs)
    return reduce_back(found[..., 0], data, keepdims)


def argsort(
    x: ArrayLike,
    axis: int | None = None,
    descending: bool = False,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    method: IndexMethod = "neuralsort",
    standardize: bool = True,
    ot_kwargs: Mapping[str, Any] | None = None,
    return_log_probs: bool = False,
    log_prob_eps: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
) -> SoftIndex:
    """Soft permutation that sorts `x`; see the module for the shared arguments.

    Returns:
        (..., n, ..., [n]); slot i of the sorted axis is the distribution of the i-th smallest
        (`descending`: largest) entry. `axis=None` flattens `x`.
    """
    log, eps = check_log_probs(return_log_probs, log_prob_eps)
    static = Static(mode, method, standardize, not descending, log=log and eps is None)
    data = read_input(x, axis, softness, where, static, needs_index=True)
    static = static._replace(options=check_options(method, ot_kwargs))
    found = soft_index(data.x, data.where, data.softness, None, data.x.shape[-1], static)
    return floor_log(put_back_index(found, data), eps)


def sort(
    x: ArrayLike,
    axis: int | None = None,
    descending: bool = False,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    method: ValueMethod = "neuralsort",
    standardize: bool = True,
    ot_kwargs: Mapping[str, Any] | None = None,
    gated_grad: bool = True,
    *,
    where: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """Softly sorted values, shape of `x` ((n,) for `axis=None`, which flattens `x`).

    See the module for the shared arguments. Masked entries come last in either order.
    """
    static = Static(mode, method, standardize, not descending, gated_grad)
    found, data = _values(x, axis, softness, where, None, static, ot_kwargs)
    return put_back(found, data)


def rank(
    x: ArrayLike,
    axis: int | None = None,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    method: ValueMethod = "neuralsort",
    descending: bool = True,
    standardize: bool = True,
    ot_kwargs: Mapping[str, Any] | None = None,
    *,
    where: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """Soft ranks in [1, n]: 1 is the largest entry (`descending=False`: the smallest).

    See the module for the shared arguments. Shape of `x`, (n,) for `axis=None`.
    """
    static = Static(mode, method, standardize, not descending)
    data = read_input(as_float(x), axis, softness, where, static)
    static = static._replace(options=check_options(method, ot_kwargs))
    return put_back(soft_rank(data.x, data.where, data.softness, static), data)


def top_k(
    x: ArrayLike,
    k: int,
    axis: int | None = -1,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    method: ValueMethod = "neuralsort",
    standardize: bool = True,
    ot_kwargs: Mapping[str, Any] | None = None,
    gated_grad: bool = True,
    return_log_probs: bool = False,
    log_prob_eps: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
) -> tuple[Float[Array, "..."], SoftIndex | None]:
    """The k largest values in descending order, and their soft index.

    Args:
        x: any shape; see the module for the shared arguments.
        k: static, in [1, n].

    Returns:
        Values (..., k, ...) and index (..., k, ..., [n]). The index is None for the methods
        fast_soft_sort, smooth_sort and sorting_network in a soft mode.
    """
    log, eps = check_log_probs(return_log_probs, log_prob_eps)
    static = Static(mode, method, standardize, False, gated_grad)
    data = read_input(x, axis, softness, where, static)
    static = static._replace(options=check_options(method, ot_kwargs))
    if k <= 0:
        raise ValueError(f"k must be positive, got k={k}")
    if k > data.x.shape[-1]:
        raise ValueError(f"k={k} exceeds dimension size {data.x.shape[-1]} along axis={axis}")
    arrays = (data.x, data.where, data.softness, None, k)
    values = put_back(soft_values(*arrays, static), data)
    if mode in SOFT_MODES and not METHODS[method].top_index:
        if log:
            raise ValueError(f"return_log_probs=True: method={method!r} has no soft index")
        return values, None
    index = soft_index(*arrays, static._replace(log=log and eps is None))
    return values, floor_log(put_back_index(index, data), eps)
