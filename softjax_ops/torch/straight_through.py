"""Straight-through operators: the hard value with the soft derivative, as in JAX.

The value is the hard one exactly; derivatives of every order and in either mode are the soft ones.
Write a composite with soft operators and a `mode` argument, and decorate the whole with `st`: the
product of two straight-through operators does not have the derivative of the soft product.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch.utils import _pytree as pytree

from softjax_ops.torch import axiswise, comparison, elementwise, quantiles


def _attach_leaf(value: Any, slope: Any) -> Any:
    """`value`, differentiated as if it were `slope`; of the dtype of `slope`."""
    if not isinstance(value, torch.Tensor) or not isinstance(slope, torch.Tensor):
        return value
    if value.shape != slope.shape:
        raise ValueError(
            f"straight-through: the hard branch returned shape {tuple(value.shape)}, "
            f"the soft branch {tuple(slope.shape)}"
        )
    nothing = torch.where(slope.isfinite(), slope - slope.detach(), 0)
    return value.detach().to(slope.dtype) + nothing


def _attach(value: Any, slope: Any) -> Any:
    leaves, tree = pytree.tree_flatten(value)
    slopes, other = pytree.tree_flatten(slope)
    if tree != other:
        raise ValueError(
            "straight-through: the hard and the soft branch must return the same structure, "
            f"got {tree} and {other}"
        )
    return pytree.tree_unflatten([_attach_leaf(v, s) for v, s in zip(leaves, slopes)], tree)


def grad_replace(fn: Callable) -> Callable:
    """The value of `fn(..., forward=True)` with the derivative of `fn(..., forward=False)`."""

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with torch.no_grad():
            value = fn(*args, **kwargs, forward=True)
        return _attach(value, fn(*args, **kwargs, forward=False))

    return wrapped


def st(fn: Callable) -> Callable:
    """The value of `fn` in mode "hard" with the derivative of `fn` in the mode asked for.

    Args:
        fn: has a parameter `mode` (or takes any keyword), by default its own or "smooth".

    Raises:
        ValueError: `fn` takes no `mode`; or, when called, its branches differ in structure.
    """
    parameters = inspect.signature(fn).parameters
    named = "mode" in parameters
    if not named and all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        raise ValueError(f"st: {fn} must take an argument `mode`")
    default = parameters["mode"].default if named else inspect.Parameter.empty
    default = "smooth" if default is inspect.Parameter.empty else default
    place = list(parameters).index("mode") if named else None

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if place is not None and len(args) > place:
            call = lambda mode: fn(*args[:place], mode, *args[place + 1 :], **kwargs)
            mode = args[place]
        else:
            mode = kwargs.get("mode", default)
            call = lambda mode: fn(*args, **{**kwargs, "mode": mode})
        with torch.no_grad():
            value = call("hard")
        return _attach(value, call(mode))

    return wrapped


abs_st = st(elementwise.abs)
clamp_st = st(elementwise.clamp)
heaviside_st = st(elementwise.heaviside)
relu_st = st(elementwise.relu)
round_st = st(elementwise.round)
sign_st = st(elementwise.sign)
eq_st = st(comparison.eq)
greater_equal_st = st(comparison.greater_equal)
greater_st = st(comparison.greater)
isclose_st = st(comparison.isclose)
less_equal_st = st(comparison.less_equal)
less_st = st(comparison.less)
not_equal_st = st(comparison.not_equal)
argmax_st = st(axiswise.argmax)
argmin_st = st(axiswise.argmin)
argsort_st = st(axiswise.argsort)
max_st = st(axiswise.max)
min_st = st(axiswise.min)
rank_st = st(axiswise.rank)
sort_st = st(axiswise.sort)
topk_st = st(axiswise.topk)
argmedian_st = st(quantiles.argmedian)
argpercentile_st = st(quantiles.argpercentile)
argquantile_st = st(quantiles.argquantile)
median_st = st(quantiles.median)
percentile_st = st(quantiles.percentile)
quantile_st = st(quantiles.quantile)
