"""Soft quantiles, percentiles and medians along an axis.

The quantile q sits at position p = q (n - 1) of the sorted row; `quantile_method` says how the two
slots around p are mixed, as in `jax.numpy.quantile`: "linear", "lower", "higher", "nearest" (ties
down) or "midpoint" (one slot if p is an integer). The median is the midpoint at q = 1/2. All other
arguments are those of `softjax_ops.axiswise`; masked and NaN entries do not count.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from softjax_ops._rows import (
    Input,
    Static,
    check_options,
    read_input,
    reduce_back,
    reduce_back_index,
    soft_index,
    soft_values,
)
from softjax_ops._types import Mode, SoftIndex, Softness
from softjax_ops.axiswise import IndexMethod, ValueMethod
from softjax_ops.logprobs import check_log_probs, floor_log

QuantileMethod = Literal["linear", "lower", "higher", "nearest", "midpoint"]
QUANTILE_METHODS = ("linear", "lower", "higher", "nearest", "midpoint")


def _check_q(q: ArrayLike, name: str, top: float, method: str) -> Array:
    """q in [0, 1], scalar or 1-D; a bad traced value is NaN."""
    if method not in QUANTILE_METHODS:
        accepted = ", ".join(QUANTILE_METHODS)
        raise ValueError(f"Unknown quantile_method={method!r}, expected one of {accepted}")
    if np.ndim(q) > 1:
        raise ValueError(f"{name} must be scalar or 1-D, got {name} with shape {np.shape(q)}")
    if not isinstance(q, jax.core.Tracer):
        given = np.asarray(q, np.float64)
        if not np.all((given >= 0) & (given <= top)):
            raise ValueError(f"{name} must be in [0, {top:g}], got {q}")
    levels = jnp.asarray(q, jnp.result_type(float)) / top
    return jnp.where((levels >= 0) & (levels <= 1), levels, jnp.nan)


def _position(
    q: Float[Array, ""], number: Int[Array, "... 1"], method: str
) -> tuple[Int[Array, "... 1"], Float[Array, "... 1"]]:
    """The slot k (ascending) and the weight a of slot k + 1."""
    p = q * jnp.maximum(number - 1, 0)
    lower = jnp.floor(p)
    part = p - lower
    if method == "lower":
        part = jnp.zeros_like(p)
    elif method == "higher":
        part = jnp.where(part > 0, 1, 0).astype(p.dtype)
    elif method == "nearest":
        part = jnp.where(part > 0.5, 1, 0).astype(p.dtype)
    elif method == "midpoint":
        part = jnp.where(part > 0, 0.5, 0.0).astype(p.dtype)
    bad = jnp.where(jnp.isnan(q), jnp.nan, 0)
    return jnp.nan_to_num(lower).astype(int), part + bad


def _number(data: Input) -> Int[Array, "... 1"]:
    """How many entries of each row count."""
    if data.where is None:
        return jnp.full((*data.x.shape[:-1], 1), data.x.shape[-1])
    return jnp.sum(data.where, axis=-1, keepdims=True)


@partial(jax.jit, static_argnames=("method", "static"))
def _quantile_values(data: Input, q: Array, method: str, static: Static) -> Array:
    def one(level):
        first, part = _position(level, _number(data), method)
        found = soft_values(data.x, data.where, data.softness, first, 2, static)
        part = part[..., 0].astype(found.dtype)
        low = jnp.where(part == 1, found[..., 1], found[..., 0])
        high = jnp.where(part == 0, found[..., 0], found[..., 1])
        nan = jnp.isnan(data.x) if data.where is None else jnp.isnan(data.x) & data.where
        mixed = (1 - part) * low + part * high
        return jnp.where(jnp.any(nan, axis=-1), jnp.nan, mixed)

    return jax.vmap(one)(q) if q.ndim == 1 else one(q)


@partial(jax.jit, static_argnames=("method", "static"))
def _quantile_index(data: Input, q: Array, method: str, static: Static) -> Array:
    def one(level):
        first, part = _position(level, _number(data), method)
        found = soft_index(data.x, data.where, data.softness, first, 2, static)
        part = part.astype(found.dtype)
        low, high = found[..., 0, :], found[..., 1, :]
        if not static.log:
            return (1 - part) * low + part * high
        one_side = (part == 0) | (part == 1)
        inner = jnp.where(one_side, 0.5, part)
        both = jnp.logaddexp(jnp.log1p(-inner) + low, jnp.log(inner) + high)
        return jnp.where(one_side, jnp.where(part == 0, low, high), both)

    return jax.vmap(one)(q) if q.ndim == 1 else one(q)


def _argquantile(
    x, q, top, name, axis, keepdims, softness, where, mode, method, rule, standardize, ot, logs
) -> SoftIndex:
    log, eps = check_log_probs(*logs)
    levels = _check_q(q, name, top, rule)
    static = Static(mode, method, standardize, True, log=log and eps is None)
    data = read_input(x, axis, softness, where, static, needs_index=True)
    static = static._replace(options=check_options(method, ot))
    found = _quantile_index(data.arrays(), levels, rule, static)
    return floor_log(reduce_back_index(found, data, keepdims), eps)


def _quantile(
    x, q, top, name, axis, keepdims, softness, where, mode, method, rule, standardize, ot, gated
) -> Float[Array, "..."]:
    levels = _check_q(q, name, top, rule)
    static = Static(mode, method, standardize, True, gated)
    data = read_input(x, axis, softness, where, static, as_floats=True)
    static = static._replace(options=check_options(method, ot))
    return reduce_back(_quantile_values(data.arrays(), levels, rule, static), data, keepdims)


def argquantile(
    x: ArrayLike,
    q: ArrayLike,
    axis: int | None = None,
    keepdims: bool = False,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    method: IndexMethod = "neuralsort",
    quantile_method: QuantileMethod = "linear",
    standardize: bool = True,
    ot_kwargs: Mapping[str, Any] | None = None,
    return_log_probs: bool = False,
    log_prob_eps: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
) -> SoftIndex:
    """Soft index of the q-quantile.

    Args:
        x: any shape; see the modules for the shared arguments.
        q: in [0, 1], scalar or (k,), traced; a bad concrete value raises ValueError, a bad traced
            one gives NaN.
        quantile_method: static; how two slots are mixed.

    Returns:
        (k?, ..., {1}, ..., [n]); a vector q prepends its axis.
    """
    logs = (return_log_probs, log_prob_eps)
    return _argquantile(
        x,
        q,
        1.0,
        "q",
        axis,
        keepdims,
        softness,
        where,
        mode,
        method,
        quantile_method,
        standardize,
        ot_kwargs,
        logs,
    )


def quantile(
    x: ArrayLike,
    q: ArrayLike,
    axis: int | None = None,
    keepdims: bool = False,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    method: ValueMethod = "neuralsort",
    quantile_method: QuantileMethod = "linear",
    standardize: bool = True,
    ot_kwargs: Mapping[str, Any] | None = None,
    gated_grad: bool = True,
    *,
    where: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """Soft q-quantile, shape (k?, ..., {1}, ...); see `argquantile`."""
    return _quantile(
        x,
        q,
        1.0,
        "q",
        axis,
        keepdims,
        softness,
        where,
        mode,
        method,
        quantile_method,
        standardize,
        ot_kwargs,
        gated_grad,
    )


def argpercentile(
    x: ArrayLike,
    p: ArrayLike,
    axis: int | None = None,
    keepdims: bool = False,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    method: IndexMethod = "neuralsort",
    quantile_method: QuantileMethod = "linear",
    standardize: bool = True,
    ot_kwargs: Mapping[str, Any] | None = None,
    return_log_probs: bool = False,
    log_prob_eps: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
) -> SoftIndex:
    """Soft index of the p-th percentile, p in [0, 100]; see `argquantile`."""
    logs = (return_log_probs, log_prob_eps)
    return _argquantile(
        x,
        p,
        100.0,
        "p",
        axis,
        keepdims,
        softness,
        where,
        mode,
        method,
        quantile_method,
        standardize,
        ot_kwargs,
        logs,
    )


def percentile(
    x: ArrayLike,
    p: ArrayLike,
    axis: int | None = None,
    keepdims: bool = False,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    method: ValueMethod = "neuralsort",
    quantile_method: QuantileMethod = "linear",
    standardize: bool = True,
    ot_kwargs: Mapping[str, Any] | None = None,
    gated_grad: bool = True,
    *,
    where: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """Soft p-th percentile, p in [0, 100], shape (k?, ..., {1}, ...); see `argquantile`."""
    return _quantile(
        x,
        p,
        100.0,
        "p",
        axis,
        keepdims,
        softness,
        where,
        mode,
        method,
        quantile_method,
        standardize,
        ot_kwargs,
        gated_grad,
    )


def argmedian(
    x: ArrayLike,
    axis: int | None = None,
    keepdims: bool = False,
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
    """Soft index of the median (mean of the middle two), shape (..., {1}, ..., [n])."""
    logs = (return_log_probs, log_prob_eps)
    return _argquantile(
        x,
        0.5,
        1.0,
        "q",
        axis,
        keepdims,
        softness,
        where,
        mode,
        method,
        "midpoint",
        standardize,
        ot_kwargs,
        logs,
    )


def median(
    x: ArrayLike,
    axis: int | None = None,
    keepdims: bool = False,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    method: ValueMethod = "neuralsort",
    standardize: bool = True,
    ot_kwargs: Mapping[str, Any] | None = None,
    gated_grad: bool = True,
    *,
    where: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """Soft median (mean of the middle two), shape (..., {1}, ...)."""
    return _quantile(
        x,
        0.5,
        1.0,
        "q",
        axis,
        keepdims,
        softness,
        where,
        mode,
        method,
        "midpoint",
        standardize,
        ot_kwargs,
        gated_grad,
    )
