"""Soft quantiles, percentiles and medians along a dim, computed by JAX; see `axiswise`.

The median is the lower one of the middle two, and `interpolation="nearest"` rounds half to even, as
in PyTorch. All other arguments are those of `softjax_ops.quantiles`.
"""

from typing import Any

import torch

from softjax_ops.logprobs import check_log_probs
from softjax_ops.torch._checks import Number, as_float, check_axis
from softjax_ops.torch.axiswise import Options, index_method, part, run


def _levels(q: Any, x: torch.Tensor, top: float, name: str) -> torch.Tensor:
    """q / top beside `x`; a number or a list is checked, a bad entry of a tensor gives NaN."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    levels = torch.as_tensor(q, dtype=dtype, device=x.device)
    if levels.ndim > 1:
        shape = tuple(levels.shape)
        raise ValueError(f"{name} must be scalar or 1-D, got {name} with shape {shape}")
    if not isinstance(q, torch.Tensor):
        numbers = [q] if levels.ndim == 0 else list(q)
        if not all(0 <= number <= top for number in numbers):
            raise ValueError(f"{name} must be in [0, {top:g}], got {q}")
    return levels / top


def _half_to_even(
    q: torch.Tensor, x: torch.Tensor, dim: int | None, where: torch.Tensor | None
) -> torch.Tensor:
    """The level of the slot nearest to q, so that a tie goes to the even slot."""
    last = x.numel() - 1 if dim is None else x.shape[check_axis(dim, x.ndim)] - 1
    if where is not None or last < 1:
        return q
    return torch.round(q * last) / last


def _run(x, q, top, name, dim, softness, mode, rule, where, *parts) -> tuple:
    x = as_float(x)
    levels = _levels(q, x, top, name)
    if rule == "nearest":
        levels = _half_to_even(levels, x, dim, where)
    return run(x, softness, mode, *parts, q=levels, where=where)


def _index(dim, keepdim, mode, method, rule, standardize, ot, log=False, eps=None) -> tuple:
    return part(
        "argquantile", axis=dim, keepdims=keepdim, mode=mode, method=method, quantile_method=rule,
        standardize=standardize, ot_kwargs=ot, return_log_probs=log, log_prob_eps=eps,
    )  # fmt: skip


def _quantile(
    x, q, top, name, dim, keepdim, softness, mode, method, rule, standardize, ot, with_index, gated,
    where, log=False, eps=None,
) -> tuple:  # fmt: skip
    """Value and soft index; None for an index that is not asked for or not there."""
    check_log_probs(log, eps)
    values = part(
        "quantile", axis=dim, keepdims=keepdim, mode=mode, method=method, quantile_method=rule,
        standardize=standardize, ot_kwargs=ot, gated_grad=gated,
    )  # fmt: skip
    arguments = x, q, top, name, dim, softness, mode, rule, where, values
    method = index_method(method, mode) if with_index else None
    if method is None:
        return *_run(*arguments), None
    return _run(*arguments, _index(dim, keepdim, mode, method, rule, standardize, ot, log, eps))


def argquantile(
    x: torch.Tensor,
    q: Number,
    dim: int | None = None,
    keepdim: bool = False,
    softness: Number = 0.1,
    mode: str = "smooth",
    method: str = "neuralsort",
    interpolation: str = "linear",
    standardize: bool = True,
    ot_kwargs: Options = None,
    return_log_probs: bool = False,
    log_prob_eps: float | None = None,
    *,
    where: torch.Tensor | None = None,
) -> torch.Tensor:
    """Soft index of the q-quantile, (k?, ..., {1}, ..., [n]).

    Args:
        q: in [0, 1], scalar or (k,); may be a tensor that is learned.
        interpolation: "linear", "lower", "higher", "nearest" or "midpoint".
    """
    index = _index(
        dim, keepdim, mode, method, interpolation, standardize, ot_kwargs, return_log_probs,
        log_prob_eps,
    )  # fmt: skip
    return _run(x, q, 1.0, "q", dim, softness, mode, interpolation, where, index)[0]


def quantile(
    x: torch.Tensor,
    q: Number,
    dim: int | None = None,
    keepdim: bool = False,
    softness: Number = 0.1,
    mode: str = "smooth",
    method: str = "neuralsort",
    interpolation: str = "linear",
    standardize: bool = True,
    ot_kwargs: Options = None,
    return_argquantile: bool = False,
    gated_grad: bool = True,
    return_log_probs: bool = False,
    log_prob_eps: float | None = None,
    *,
    where: torch.Tensor | None = None,
) -> Any:
    """Soft q-quantile (k?, ..., {1}, ...), with its soft index if `return_argquantile`."""
    if return_argquantile and index_method(method, mode) is None:
        raise ValueError(
            f"return_argquantile=True is not supported for method={method!r}: it has no soft index"
        )
    found = _quantile(
        x, q, 1.0, "q", dim, keepdim, softness, mode, method, interpolation, standardize, ot_kwargs,
        return_argquantile, gated_grad, where, return_log_probs, log_prob_eps,
    )  # fmt: skip
    return tuple(found) if return_argquantile else found[0]


def argpercentile(
    x: torch.Tensor,
    p: Number,
    dim: int | None = None,
    keepdim: bool = False,
    softness: Number = 0.1,
    mode: str = "smooth",
    method: str = "neuralsort",
    interpolation: str = "linear",
    standardize: bool = True,
    ot_kwargs: Options = None,
    return_log_probs: bool = False,
    log_prob_eps: float | None = None,
    *,
    where: torch.Tensor | None = None,
) -> torch.Tensor:
    """Soft index of the p-th percentile, p in [0, 100]; see `argquantile`."""
    index = _index(
        dim, keepdim, mode, method, interpolation, standardize, ot_kwargs, return_log_probs,
        log_prob_eps,
    )  # fmt: skip
    return _run(x, p, 100.0, "p", dim, softness, mode, interpolation, where, index)[0]


def percentile(
    x: torch.Tensor,
    p: Number,
    dim: int | None = None,
    keepdim: bool = False,
    softness: Number = 0.1,
    mode: str = "smooth",
    method: str = "neuralsort",
    interpolation: str = "linear",
    standardize: bool = True,
    ot_kwargs: Options = None,
    gated_grad: bool = True,
    *,
    where: torch.Tensor | None = None,
) -> torch.Tensor:
    """Soft p-th percentile, p in [0, 100], (k?, ..., {1}, ...); see `quantile`."""
    return _quantile(
        x, p, 100.0, "p", dim, keepdim, softness, mode, method, interpolation, standardize,
        ot_kwargs, False, gated_grad, where,
    )[0]  # fmt: skip


def argmedian(
    x: torch.Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    softness: Number = 0.1,
    mode: str = "smooth",
    method: str = "neuralsort",
    standardize: bool = True,
    ot_kwargs: Options = None,
    return_log_probs: bool = False,
    log_prob_eps: float | None = None,
    *,
    where: torch.Tensor | None = None,
) -> torch.Tensor:
    """Soft index of the lower median, (..., {1}, ..., [n])."""
    return argquantile(
        x, 0.5, dim, keepdim, softness, mode, method, "lower", standardize, ot_kwargs,
        return_log_probs, log_prob_eps, where=where,
    )  # fmt: skip


def median(
    x: torch.Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    softness: Number = 0.1,
    mode: str = "smooth",
    method: str = "neuralsort",
    standardize: bool = True,
    ot_kwargs: Options = None,
    gated_grad: bool = True,
    return_log_probs: bool = False,
    log_prob_eps: float | None = None,
    *,
    where: torch.Tensor | None = None,
) -> Any:
    """Soft lower median: a scalar without `dim`, else `torch.return_types.median`.

    Raises:
        ValueError: `keepdim` without `dim`, as `torch.median`.
    """
    if dim is None and keepdim:
        raise ValueError("keepdim=True needs a dim")
    found = _quantile(
        x, 0.5, 1.0, "q", dim, keepdim, softness, mode, method, "lower", standardize, ot_kwargs,
        dim is not None, gated_grad, where, return_log_probs, log_prob_eps,
    )  # fmt: skip
    return found[0] if dim is None else torch.return_types.median(found)
