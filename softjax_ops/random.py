"""Relaxed draws with the call of `jax.random`: differentiable in p, logits and values.

Noise is drawn first, as `jax.random` draws it, and a soft operator replaces the comparison or the
argmax that follows. So in mode "_hard" (and, for bernoulli, rademacher and categorical, in mode
"hard") a draw is bit for bit the one of `jax.random` for the same key, and near it for small
softness. In mode "hard" the others call `jax.random` themselves, which uses other algorithms.

A soft draw is not unbiased: a soft Bernoulli draw of p = 0.9 has mean 0.87 at softness 0.1.
The `_st` forms have hard values and the derivative of the soft draw from the same noise.

Arguments common to all:
    key: PRNG key.
    shape: of the result (of the draws, for categorical and choice); the least shape that the other
        arguments broadcast to if None.
    rng_mode: static; passed to `jax.random`: "high" resolves probabilities below 1e-7.
    softness: positive; in units of probability for bernoulli, rademacher and binomial, else the
        temperature of the perturbed logits.
    mode: static.
    method, standardize, ot_kwargs: of `softjax_ops.argmax` (of argsort for permutation).
    noise: static; what is drawn, "uniform" or "gumbel". There is one kind for each function.

All raise ValueError for a bad mode, method, noise, softness or axis, and for a `shape` that does
not fit the other arguments; TypeError for a shape that is not made of integers.
"""

import math
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped

from softjax_ops import axiswise, comparison, safe, selection
from softjax_ops._checks import HARD_INDEX, MODES, as_float, check_axis, check_mode
from softjax_ops._types import Mode, SoftBool, SoftIndex, Softness
from softjax_ops.straight_through import with_forward

Shape = int | Sequence[int]


def bernoulli(
    key: Array,
    p: ArrayLike = 0.5,
    shape: Shape | None = None,
    rng_mode: str = "low",
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    noise: str = "uniform",
) -> SoftBool:
    """Soft u < p for uniform u.

    Returns:
        In [0, 1], of the float dtype of `p`, in the hard modes too.
    """
    _check(mode, noise, "uniform")
    if rng_mode not in ("high", "low"):
        raise ValueError(f"got {rng_mode=}, expected 'high' or 'low'")
    p = as_float(p)
    shape = _broadcast_shape("p", shape, p.shape)
    if rng_mode == "high":
        coarse, fine = jax.random.uniform(key, (2, *shape), p.dtype)
        u, p = fine * 2.0 ** -jnp.finfo(p.dtype).nmant, p - coarse
    else:
        u = jax.random.uniform(key, shape, p.dtype)
    return comparison.less(u, p, softness, "hard" if mode == HARD_INDEX else mode)


def rademacher(
    key: Array,
    shape: Shape = (),
    dtype: Any = None,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    noise: str = "uniform",
) -> Float[Array, "..."]:
    """2 bernoulli(1/2) - 1, in [-1, 1].

    Raises:
        ValueError: an integer `dtype` in a soft mode.
    """
    sample = 2 * bernoulli(key, 0.5, _shape(shape), "low", softness, mode, noise) - 1
    return _cast(sample, dtype, mode)


def binomial(
    key: Array,
    n: int,
    p: ArrayLike,
    shape: Shape | None = None,
    dtype: Any = None,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    noise: str = "uniform",
) -> Float[Array, "..."]:
    """Sum of n soft Bernoulli draws, in [0, n]. Memory is n times that of the result.

    Raises:
        NotImplementedError: `n` is not a static scalar (in a mode other than "hard").
        ValueError: `n` is negative or fractional, or an integer `dtype` in a soft mode.
    """
    _check(mode, noise, "uniform")
    p = as_float(p)
    if mode == "hard":
        shape = None if shape is None else _shape(shape)
        return jax.random.binomial(key, jnp.asarray(n, p.dtype), p, shape, dtype or p.dtype)
    shape = _broadcast_shape("p", shape, p.shape)
    keys = jax.random.split(key, _count(n))
    draws = jax.vmap(lambda k: bernoulli(k, p, shape, "low", softness, mode))(keys)
    return _cast(jnp.sum(draws, axis=0), dtype, mode)


def categorical(
    key: Array,
    logits: ArrayLike,
    axis: int = -1,
    shape: Shape | None = None,
    replace: bool = True,
    rng_mode: str | None = None,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    method: str = "softsort",
    noise: str = "gumbel",
    standardize: bool = False,
    ot_kwargs: dict | None = None,
    return_log_probs: bool = False,
    log_prob_eps: float | None = None,
) -> SoftIndex:
    """Soft argmax of logits + Gumbel noise (Gumbel-softmax), or soft top-k without replacement.

    Jang et al. 2017 (arXiv 1611.01144), Maddison et al. 2017 (1611.00712); without replacement
    Kool et al. 2019 (1903.06059).

    Args:
        logits: log probabilities up to a constant along `axis`; -inf is never drawn.
        axis: of `logits` that holds the n categories.
        shape: of the draws, ending in `logits.shape` without `axis` (which is the default).
        replace: static; False: the leading entries of `shape` are draws without replacement.
        return_log_probs: static; return the logarithm of the soft index.
        log_prob_eps: floor of the probabilities under that logarithm.

    Returns:
        shape + ([n],).

    Raises:
        ValueError: more draws than categories without replacement.
    """
    _check(mode, noise, "gumbel")
    logits = as_float(logits)
    axis = check_axis(axis, logits.ndim)
    n = logits.shape[axis]
    batch = logits.shape[:axis] + logits.shape[axis + 1 :]
    shape = _broadcast_shape("logits", shape, batch)
    prefix, tail = shape[: len(shape) - len(batch)], shape[len(shape) - len(batch) :]
    options: dict[str, Any] = {
        "softness": softness,
        "mode": mode,
        "method": method,
        "standardize": standardize,
        "ot_kwargs": ot_kwargs,
        "return_log_probs": return_log_probs,
        "log_prob_eps": log_prob_eps,
    }
    if replace:
        full = prefix + tail[:axis] + (n,) + tail[axis:]
        scores = jax.random.gumbel(key, full, logits.dtype, mode=rng_mode) + logits
        return axiswise.argmax(scores, len(prefix) + axis, **options)
    draws = math.prod(prefix)
    if draws > n:
        raise ValueError(f"{draws} draws without replacement cannot exceed the {n} categories")
    scores = jax.random.gumbel(key, logits.shape, logits.dtype, mode=rng_mode) + logits
    _, index = axiswise.top_k(scores, draws, axis, **options)
    if index is None:
        raise ValueError(
            f"Invalid method: {method!r} has no soft top-k index, needed without replacement"
        )
    return jnp.moveaxis(index, axis, 0).reshape((*shape, n))


def choice(
    key: Array,
    a: int | ArrayLike,
    shape: Shape = (),
    replace: bool = True,
    p: ArrayLike | None = None,
    axis: int = 0,
    rng_mode: str | None = None,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    method: str = "softsort",
    noise: str = "gumbel",
    standardize: bool = False,
    ot_kwargs: dict | None = None,
) -> Shaped[Array, "..."]:
    """Mean of `a` along `axis` under a soft categorical index with logits log(p).

    Args:
        a: (..., n, ...), n at `axis`; an integer n stands for arange(n).
        shape: of the draws.
        replace: static; draw with replacement.
        p: (n,) probabilities, uniform if None. An entry 0 is never drawn and has gradient 0.
        axis: of `a`.

    Returns:
        a.shape[:axis] + shape + a.shape[axis + 1:].

    Raises:
        ValueError: more draws than n without replacement, or `p` of another shape.
    """
    _check(mode, noise, "gumbel")
    shape = _shape(shape)
    array = jnp.arange(_length(a)) if np.ndim(a) == 0 else jnp.asarray(a)
    axis = check_axis(axis, array.ndim)
    n, draws = array.shape[axis], math.prod(shape)
    result = array.shape[:axis] + shape + array.shape[axis + 1 :]
    if draws == 0:
        return jnp.zeros(result, array.dtype)
    if not replace and draws > n:
        raise ValueError(f"{draws} draws without replacement cannot exceed the size {n} of a")
    if p is not None and jnp.shape(p) != (n,):
        raise ValueError(f"p must have shape ({n},), got {jnp.shape(p)}")
    if mode == "hard":
        return jax.random.choice(key, array, shape, replace, p, axis, mode=rng_mode)
    array = as_float(array)
    logits = jnp.zeros(n, array.dtype) if p is None else _log_probability(p)
    options: dict[str, Any] = {
        "rng_mode": rng_mode,
        "softness": softness,
        "mode": mode,
        "method": method,
        "standardize": standardize,
        "ot_kwargs": ot_kwargs,
    }
    index = categorical(key, logits, shape=shape, replace=replace, **options)
    return selection.take(array, index.reshape(-1, n), axis).reshape(result)


def permutation(
    key: Array,
    x: int | ArrayLike,
    axis: int = 0,
    independent: bool = False,
    *,
    out_sharding: Any = None,
    rng_mode: str | None = None,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    method: str = "neuralsort",
    noise: str = "gumbel",
    standardize: bool = False,
    ot_kwargs: dict | None = None,
) -> Shaped[Array, "..."]:
    """`x` under the soft permutation that sorts Gumbel noise.

    Args:
        x: (..., n, ...), n at `axis`; an integer n stands for arange(n).
        axis: of `x`.
        independent: static; another permutation for every line along `axis`.
        out_sharding: mode "hard" only.

    Returns:
        The shape of `x`.

    Raises:
        TypeError: `x` is a scalar that is not an integer.
        NotImplementedError: `out_sharding` in a mode other than "hard".
    """
    _check(mode, noise, "gumbel")
    array = jnp.asarray(x)
    if array.ndim == 0:
        if not jnp.issubdtype(array.dtype, jnp.integer):
            raise TypeError("x must be an integer or at least 1-dimensional.")
        array = jnp.arange(int(array))
    axis = check_axis(axis, array.ndim)
    if mode == "hard":
        return jax.random.permutation(key, array, axis, independent, out_sharding=out_sharding)
    if out_sharding is not None:
        raise NotImplementedError(f"out_sharding is served by mode 'hard' only, got mode {mode!r}")
    n = array.shape[axis]
    if array.size == 0:
        return array
    array = as_float(array)
    lines = array.shape if independent else (n,)
    scores = jax.random.gumbel(key, lines, array.dtype, mode=rng_mode)
    options: dict[str, Any] = {
        "softness": softness,
        "mode": mode,
        "method": method,
        "standardize": standardize,
        "ot_kwargs": ot_kwargs,
    }
    index = axiswise.argsort(scores, axis if independent else 0, descending=True, **options)
    select = selection.take_along_axis if independent else selection.take
    return select(array, index, axis)


def multinomial(
    key: Array,
    n: int,
    p: ArrayLike,
    *,
    shape: Shape | None = None,
    dtype: Any = None,
    unroll: int = 1,
    softness: Softness = 0.1,
    mode: Mode = "smooth",
    method: str = "softsort",
    noise: str = "gumbel",
    standardize: bool = False,
    ot_kwargs: dict | None = None,
) -> Float[Array, "..."]:
    """Sum of n soft categorical draws: soft counts of the outcomes on the last axis, of sum n.

    Args:
        n: static number of draws.
        p: (..., k) probabilities.
        shape: of the result, k included.
        dtype: of the result; that of `p` if None.
        unroll: of the scan of `jax.random.multinomial`; mode "hard" only.

    Raises:
        NotImplementedError: `n` is not a static scalar (in a mode other than "hard").
        ValueError: `n` is negative or fractional.
    """
    _check(mode, noise, "gumbel")
    p = as_float(p)
    shape = _broadcast_shape("p", shape, p.shape)
    if mode == "hard":
        count, dtype = jnp.asarray(n, p.dtype), dtype or p.dtype
        # not by its `shape`, which holds k before jax 0.12 and does not from there on
        p = jnp.broadcast_to(p, shape)
        return jax.random.multinomial(key, count, p, dtype=dtype, unroll=unroll)
    keys = jax.random.split(key, _count(n))
    logits = _log_probability(jnp.broadcast_to(p, shape))

    options: dict[str, Any] = {
        "softness": softness,
        "mode": mode,
        "method": method,
        "standardize": standardize,
        "ot_kwargs": ot_kwargs,
    }
    draws = jax.vmap(lambda k: categorical(k, logits, **options))(keys)
    return _cast(jnp.sum(draws, axis=0), dtype, mode)


def _log_probability(p: ArrayLike) -> Float[Array, "..."]:
    """log(p), -inf with derivative 0 where p is 0."""
    p = as_float(p)
    return jnp.where(p == 0, -jnp.inf, safe.log(p))


def _check(mode: str, noise: str, expected: str) -> None:
    check_mode(mode, (*MODES, HARD_INDEX))
    if noise != expected:
        raise ValueError(f"Invalid noise: {noise!r}, expected noise={expected!r}")


def _shape(shape: Shape) -> tuple[int, ...]:
    sizes = shape if isinstance(shape, Sequence) else (shape,)
    try:
        sizes = tuple(operator.index(size) for size in sizes)
    except TypeError:
        raise TypeError(f"shape must be of integer type, got {shape}") from None
    if any(size < 0 for size in sizes):
        raise ValueError(f"shape must not be negative, got {shape}")
    return sizes


def _broadcast_shape(name: str, shape: Shape | None, least: tuple[int, ...]) -> tuple[int, ...]:
    """`shape`, or `least` if None; an error unless `least` broadcasts to it."""
    if shape is None:
        return least
    shape = _shape(shape)
    try:
        fits = np.broadcast_shapes(shape, least) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"shape must be broadcast-compatible with the {least} of {name}, got {shape}"
        )
    return shape


def _length(a: Any) -> int:
    """The n of an integer that stands for arange(n)."""
    try:
        return operator.index(a)
    except TypeError:
        raise TypeError(f"a must be an integer or at least 1-dimensional, got {a}") from None


def _count(n: int) -> int:
    if isinstance(n, jax.core.Tracer) or np.ndim(n) != 0:
        raise NotImplementedError(f"n: soft modes need scalar static counts, got {n}")
    if n < 0 or n != int(n):
        raise ValueError(f"n must be a non-negative integer, got {n}")
    return int(n)


def _cast(sample: Float[Array, "..."], dtype: Any, mode: str) -> Shaped[Array, "..."]:
    if dtype is None:
        return sample
    if mode not in ("hard", HARD_INDEX) and not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype must be a float in mode {mode!r}, got {dtype}")
    return sample.astype(dtype)


bernoulli_st = with_forward(bernoulli, HARD_INDEX)
binomial_st = with_forward(binomial, HARD_INDEX)
categorical_st = with_forward(categorical, HARD_INDEX)
choice_st = with_forward(choice, HARD_INDEX)
multinomial_st = with_forward(multinomial, HARD_INDEX)
permutation_st = with_forward(permutation, HARD_INDEX)
rademacher_st = with_forward(rademacher, HARD_INDEX)
