"""Soft argmax, argmin, max, min, sort, argsort, rank and topk along a dim, computed by JAX.

Names, order of arguments, defaults and results are those of PyTorch; what is computed, and every
argument not explained here, is that of `softjax_ops.axiswise`:

    dim: None flattens `x`, but means the last one for sort, argsort and topk.
    softness: positive; a number, or a tensor (it may be learned) with one entry or one per row:
        it broadcasts against `x` with `dim` kept as length 1. A bad number raises ValueError, a bad
        entry of a tensor gives NaN. A new value never compiles again. Not read in mode "hard".
    ot_kwargs: options of method "ot".
    return_log_probs, log_prob_eps: log of the soft index, and a floor for its probabilities in
        (0, 1]. Nothing changes where there is no soft index.
    where: boolean, broadcast to `x`: the entries that take part.

A soft index has one axis more than torch's index: its last axis holds the distribution over the n
positions. `indices` is None for the methods without a soft index (fast_soft_sort, smooth_sort and
sorting_network, in a soft mode).
"""

import ast
from collections.abc import Mapping
from typing import Any

import jax
import torch

import softjax_ops
from softjax_ops._checks import HARD_INDEX, MODES, check_mode
from softjax_ops.logprobs import check_log_probs
from softjax_ops.methods import INDEX_METHODS, METHODS, check_method
from softjax_ops.torch import bridge
from softjax_ops.torch._checks import Number, as_float, check_dtype, check_softness

Options = Mapping[str, Any] | None
HARD = ("hard", HARD_INDEX)


def _function(text: str) -> bridge.Function:
    """The JAX function behind one call: every part applied to the same x, softness, q and mask."""
    parts, extra = ast.literal_eval(text)

    def function(x: jax.Array, softness: jax.Array, *more: jax.Array) -> tuple[jax.Array, ...]:
        given = dict(zip(extra, more))
        outputs: list[jax.Array] = []
        for name, static in parts:
            arguments = dict(static) | given | {"softness": softness}
            if arguments.get("ot_kwargs") is not None:
                arguments["ot_kwargs"] = dict(arguments["ot_kwargs"])
            found = getattr(softjax_ops, name)(x, **arguments)
            outputs += [o for o in (found if isinstance(found, tuple) else (found,))]
        return tuple(o for o in outputs if o is not None)

    return function


bridge.SOURCES["softjax_ops"] = _function


def part(name: str, **static: Any) -> tuple:
    """One operator with its static arguments, as data."""
    options = static.get("ot_kwargs")
    if options is not None:
        static["ot_kwargs"] = tuple(sorted(options.items()))
    return name, tuple(static.items())


def run(x: Any, softness: Number, mode: str, *parts: tuple, **more: Any) -> tuple:
    """The outputs of all parts; integers stay integers in mode "hard" where an operator keeps them.

    Args:
        more: q (a tensor), where (a mask): arguments that are data, None to leave out.
    """
    check_mode(mode, (*MODES, HARD_INDEX))
    x = torch.as_tensor(x)
    check_dtype("x", x)
    x = x if mode == "hard" else as_float(x)
    width = torch.promote_types(x.dtype if x.is_floating_point() else torch.float32, torch.float32)
    given = {name: value for name, value in more.items() if value is not None}
    if mode in HARD:
        softness = 1.0
    softness = torch.as_tensor(check_softness(softness, x, width), dtype=width, device=x.device)
    tensors = [x, softness, *given.values()]
    return bridge.call(f"softjax_ops:{(parts, tuple(given))!r}", *tensors)


def index_method(method: str, mode: str) -> str | None:
    """The method of the soft index that comes with the values of `method`; None if it has none."""
    check_method(method, mode)
    if mode in HARD:
        return method if method in INDEX_METHODS else "softsort"
    return method if METHODS[method].top_index else None


def argmax(
    x: torch.Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    softness: Number = 0.1,
    mode: str = "smooth",
    method: str = "softsort",
    standardize: bool = True,
    ot_kwargs: Options = None,
    return_log_probs: bool = False,
    log_prob_eps: float | None = None,
    *,
    where: torch.Tensor | None = None,
) -> torch.Tensor:
    """Soft index of the largest entry, (..., {1}, ..., [n]); see the module for the arguments."""
    static = (dim, keepdim, mode, method, standardize, ot_kwargs, return_log_probs, log_prob_eps)
    return run(x, softness, mode, _arg_part("argmax", *static), where=where)[0]


def argmin(
    x: torch.Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    softness: Number = 0.1,
    mode: str = "smooth",
    method: str = "softsort",
    standardize: bool = True,
    ot_kwargs: Options = None,
    return_log_probs: bool = False,
    log_prob_eps: float | None = None,
    *,
    where: torch.Tensor | None = None,
) -> torch.Tensor:
    """Soft index of the smallest entry, (..., {1}, ..., [n]); see the module for the arguments."""
    static = (dim, keepdim, mode, method, standardize, ot_kwargs, return_log_probs, log_prob_eps)
    return run(x, softness, mode, _arg_part("argmin", *static), where=where)[0]


def _arg_part(name, dim, keepdim, mode, method, standardize, ot, log=False, eps=None) -> tuple:
    return part(
        name, axis=dim, keepdims=keepdim, mode=mode, method=method, standardize=standardize,
        ot_kwargs=ot, return_log_probs=log, log_prob_eps=eps,
    )  # fmt: skip


def _extreme(
    name, x, dim, keepdim, softness, mode, method, standardize, ot, gated, log, eps, where
) -> tuple:  # fmt: skip
    """Value and, along a dim, soft index of the largest or smallest entry."""
    check_log_probs(log, eps)
    keep = keepdim and dim is not None
    values = part(
        name, axis=dim, keepdims=keep, mode=mode, method=method, standardize=standardize,
        ot_kwargs=ot, gated_grad=gated,
    )  # fmt: skip
    with_index = None if dim is None else index_method(method, mode)
    if with_index is None:
        return *run(x, softness, mode, values, where=where), None
    index = _arg_part(f"arg{name}", dim, keep, mode, with_index, standardize, ot, log, eps)
    return run(x, softness, mode, values, index, where=where)


def max(
    x: torch.Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    softness: Number = 0.1,
    mode: str = "smooth",
    method: str = "softsort",
    standardize: bool = True,
    ot_kwargs: Options = None,
    gated_grad: bool = True,
    return_log_probs: bool = False,
    log_prob_eps: float | None = None,
    *,
    where: torch.Tensor | None = None,
) -> Any:
    """Soft maximum.

    Returns:
        Without `dim` a scalar (`keepdim` is not read, as in `torch.max`); along a dim
        `torch.return_types.max`: values (..., {1}, ...) and indices (..., {1}, ..., [n]).
    """
    found = _extreme(
        "max", x, dim, keepdim, softness, mode, method, standardize, ot_kwargs, gated_grad,
        return_log_probs, log_prob_eps, where,
    )  # fmt: skip
    return found[0] if dim is None else torch.return_types.max(found)


def min(
    x: torch.Tensor,
    dim: int | None = None,
    keepdim: bool = False,
    softness: Number = 0.1,
    mode: str = "smooth",
    method: str = "softsort",
    standardize: bool = True,
    ot_kwargs: Options = None,
    gated_grad: bool = True,
    return_log_probs: bool = False,
    log_prob_eps: float | None = None,
    *,
    where: torch.Tensor | None = None,
) -> Any:
    """Soft minimum, `torch.return_types.min` along a dim; see `max`."""
    found = _extreme(
        "min", x, dim, keepdim, softness, mode, method, standardize, ot_kwargs, gated_grad,
        return_log_probs, log_prob_eps, where,
    )  # fmt: skip
    return found[0] if dim is None else torch.return_types.min(found)


def argsort(
    x: torch.Tensor,
    dim: int | None = -1,
    descending: bool = False,
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
    """Soft permutation (..., n, ..., [n]); slot i: distribution of the i-th smallest entry."""
    index = part(
        "argsort", axis=-1 if dim is None else dim, descending=descending, mode=mode, method=method,
        standardize=standardize, ot_kwargs=ot_kwargs, return_log_probs=return_log_probs,
        log_prob_eps=log_prob_eps,
    )  # fmt: skip
    return run(x, softness, mode, index, where=where)[0]


def sort(
    x: torch.Tensor,
    dim: int | None = -1,
    descending: bool = False,
    softness: Number = 0.1,
    mode: str = "smooth",
    method: str = "neuralsort",
    standardize: bool = True,
    ot_kwargs: Options = None,
    gated_grad: bool = True,
    return_indices: bool = True,
    return_log_probs: bool = False,
    log_prob_eps: float | None = None,
    *,
    where: torch.Tensor | None = None,
) -> Any:
    """Softly sorted values and their soft permutation.

    Args:
        return_indices: the soft permutation has n entries for each value: without it sorting takes
            O(n log n) time and O(n) memory for most methods.

    Returns:
        `torch.return_types.sort`: values of the shape of `x`, indices (..., n, ..., [n]) or None.
    """
    check_log_probs(return_log_probs, log_prob_eps)
    axis = -1 if dim is None else dim
    static = {"axis": axis, "descending": descending, "mode": mode, "standardize": standardize}
    static["ot_kwargs"] = ot_kwargs
    parts = [part("sort", **static, method=method, gated_grad=gated_grad)]
    with_index = index_method(method, mode) if return_indices else None
    if with_index is not None:
        logs = {"return_log_probs": return_log_probs, "log_prob_eps": log_prob_eps}
        parts.append(part("argsort", **static, method=with_index, **logs))
    found = run(x, softness, mode, *parts, where=where)
    return torch.return_types.sort((found[0], found[1] if len(found) > 1 else None))


def rank(
    x: torch.Tensor,
    dim: int | None = None,
    softness: Number = 0.1,
    mode: str = "smooth",
    method: str = "neuralsort",
    descending: bool = True,
    standardize: bool = True,
    ot_kwargs: Options = None,
    *,
    where: torch.Tensor | None = None,
) -> torch.Tensor:
    """Soft ranks in [1, n]: 1 is the largest entry (`descending=False`: the smallest).

    Shape of `x`, (n,) for `dim=None`.
    """
    ranks = part(
        "rank", axis=dim, mode=mode, method=method, descending=descending, standardize=standardize,
        ot_kwargs=ot_kwargs,
    )  # fmt: skip
    return run(as_float(x), softness, mode, ranks, where=where)[0]


def topk(
    x: torch.Tensor,
    k: int,
    dim: int | None = None,
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
    """The k largest values in descending order, and their soft index.

    Returns:
        `torch.return_types.topk`: values (..., k, ...), indices (..., k, ..., [n]) or None.
    """
    check_log_probs(return_log_probs, log_prob_eps)
    if index_method(method, mode) is None:
        return_log_probs, log_prob_eps = False, None
    best = part(
        "top_k", k=k, axis=-1 if dim is None else dim, mode=mode, method=method,
        standardize=standardize, ot_kwargs=ot_kwargs, gated_grad=gated_grad,
        return_log_probs=return_log_probs, log_prob_eps=log_prob_eps,
    )  # fmt: skip
    found = run(x, softness, mode, best, where=where)
    return torch.return_types.topk((found[0], found[1] if len(found) > 1 else None))
