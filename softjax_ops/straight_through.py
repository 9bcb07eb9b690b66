"""Straight-through operators: the hard value with the soft derivative.

The value is the hard one bit for bit; only the derivative rule sees the soft one. Both
forward- and reverse-mode follow from that one rule. Under jit the soft branch is compiled away
unless a derivative is taken.

A product of two straight-through operators does not have the derivative of the soft product: its
product rule multiplies each soft slope by the other factor's hard value. Write the composite with
soft operators and a `mode` argument, and decorate the whole with `st`.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Shaped

from softjax_ops import axiswise, comparison, elementwise, quantiles


@jax.custom_jvp
def _attach(value: Shaped[Array, "..."], slope: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
    """`value`, differentiated as if it were `slope`; of the dtype of `slope`."""
    return value.astype(slope.dtype)


@_attach.defjvp
def _attach_jvp(primals, tangents):
    return _attach(*primals), tangents[1]


def _is_none(leaf: Any) -> bool:
    return leaf is None


def _attach_leaf(value: Any, slope: Any) -> Any:
    if value is None or slope is None:
        return value
    value, slope = jnp.asarray(value), jnp.asarray(slope)
    if value.shape != slope.shape:
        raise ValueError(
            f"straight-through: the hard branch returned shape {value.shape}, "
            f"the soft branch {slope.shape}"
        )
    return _attach(value, slope)


def _attach_tree(value: Any, slope: Any) -> Any:
    """Leafwise; where either leaf is None the leaf of `value` is returned as it is."""
    tree_value: Any = jax.tree.structure(value, is_leaf=_is_none)
    tree_slope: Any = jax.tree.structure(slope, is_leaf=_is_none)
    if tree_value != tree_slope:
        raise ValueError(
            "straight-through: the hard and the soft branch must return the same pytree, "
            f"got {tree_value} and {tree_slope}"
        )
    return jax.tree.map(_attach_leaf, value, slope, is_leaf=_is_none)


def _constant(tree: Any) -> Any:
    """The arrays in `tree` with their derivatives cut."""
    return jax.tree.map(
        lambda leaf: jax.lax.stop_gradient(leaf) if isinstance(leaf, jax.Array) else leaf, tree
    )


def grad_replace(fn: Callable) -> Callable:
    """The value of `fn(..., forward=True)` with the derivative of `fn(..., forward=False)`.

    Args:
        fn: takes the keyword `forward`; both calls return the same pytree of the same shapes.
    """

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        args_value, kwargs_value = _constant((args, kwargs))
        value = fn(*args_value, **kwargs_value, forward=True)
        return _attach_tree(value, fn(*args, **kwargs, forward=False))

    return wrapped


def st(fn: Callable) -> Callable:
    """The value of `fn` in mode "hard" with the derivative of `fn` in the mode asked for.

    Args:
        fn: has a parameter `mode` (or takes any keyword). Arguments may be given in any way `fn`
            accepts them; without a mode it is the default of `fn`, or "smooth" if there is none.

    Returns:
        A function called like `fn`; its result is of the dtype of the soft branch.

    Raises:
        ValueError: `fn` takes no `mode`; or, when called, its branches differ in structure.
    """
    return with_forward(fn, "hard")


def with_forward(fn: Callable, forward: str) -> Callable:
    """`st` with any mode `forward` as that of the value."""
    signature = inspect.signature(fn)
    parameters = signature.parameters
    named = "mode" in parameters
    if not named and all(p.kind is not p.VAR_KEYWORD for p in parameters.values()):
        raise ValueError(f"st: {fn} must take an argument `mode`")
    default = parameters["mode"].default if named else inspect.Parameter.empty

    def call(mode: str, args: tuple, kwargs: dict) -> Any:
        if not named:
            return fn(*args, **{**kwargs, "mode": mode})
        bound = signature.bind_partial(*args, **kwargs)
        bound.arguments["mode"] = mode
        ordered = {name: bound.arguments[name] for name in parameters if name in bound.arguments}
        bound.arguments = ordered
        return fn(*bound.args, **bound.kwargs)

    @functools.wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind_partial(*args, **kwargs).arguments if named else kwargs
        mode = given.get("mode", "smooth" if default is inspect.Parameter.empty else default)
        args_value, kwargs_value = _constant((args, kwargs))
        value = call(forward, args_value, kwargs_value)
        return _attach_tree(value, call(mode, args, kwargs))

    return wrapped


abs_st = st(elementwise.abs)
clip_st = st(elementwise.clip)
equal_st = st(comparison.equal)
greater_equal_st = st(comparison.greater_equal)
greater_st = st(comparison.greater)
heaviside_st = st(elementwise.heaviside)
isclose_st = st(comparison.isclose)
less_equal_st = st(comparison.less_equal)
less_st = st(comparison.less)
not_equal_st = st(comparison.not_equal)
relu_st = st(elementwise.relu)
round_st = st(elementwise.round)
sign_st = st(elementwise.sign)
argmax_st = st(axiswise.argmax)
argmin_st = st(axiswise.argmin)
argsort_st = st(axiswise.argsort)
max_st = st(axiswise.max)
min_st = st(axiswise.min)
rank_st = st(axiswise.rank)
sort_st = st(axiswise.sort)
top_k_st = st(axiswise.top_k)
argmedian_st = st(quantiles.argmedian)
argpercentile_st = st(quantiles.argpercentile)
argquantile_st = st(quantiles.argquantile)
median_st = st(quantiles.median)
percentile_st = st(quantiles.percentile)
quantile_st = st(quantiles.quantile)
