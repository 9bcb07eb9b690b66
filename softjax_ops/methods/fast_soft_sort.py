"""Fast soft sort and rank (Blondel et al., arXiv 2002.08871): isotonic regression by PAV.

With z and w ascending, y = phi(z - v), where v is the ascending sequence that keeps the sum of
phi(z - v) equal to the sum of w over every block of equal v. Where phi(z) climbs faster than w no
entries are pooled and y = w.

* values: w are the sorted entries and z an even ramp, so steps steeper than the ramp are softened.
  With `standardize`, the ramp at softness 0.1 climbs by the 4-mean of the steps of phi^-1(w).
* rank: w = 1 .. n and z the sorted scores, so entries denser than the ramp share their ranks. With
  `standardize`, softness 0.1 pools where scores are denser than an even spread over (0, 1).

phi is odd, so values keep the sum of the data and sorting commutes with a change of sign:
c0: t (Euclidean);  c1, c2: t + t^3;  smooth: sinh t. In every mode the result is piecewise smooth.
PAV is one loop over all rows laid end to end, also under `jax.vmap`: linear in the data.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from softjax_ops.methods.softsort import slots
from softjax_ops.standardize import Rows
from softjax_ops.windows import take_at

DEFAULT_SOFTNESS = 0.1
STEEPEST = 64
"""Below this over the root of the largest number the square of 1 / softness overflows."""


class Shape(NamedTuple):
    """What one phi needs.

    Attributes:
        phi: odd and increasing.
        inverse: of phi.
        start: (z, w) -> statistics of one entry, stacked on a last axis of length 4.
        merge: statistics of two neighbouring blocks -> those of their union.
        root: statistics -> v.
        solve: (z, w, total) -> z - v of every entry, `total` summing over blocks; differentiable.
            z may be counted from any point of its block.
    """

    phi: Callable
    inverse: Callable
    start: Callable
    merge: Callable
    root: Callable
    solve: Callable


def _cubic_root(p: Array, q: Array) -> Array:
    """The real root m of m^3 + p m + q = 0, p >= 1."""
    scale = jnp.sqrt(p / 3)
    return -2 * scale * jnp.sinh(jnp.arcsinh(q / (2 * scale**3)) / 3)


def _mean_start(z, w):
    one = jnp.ones_like(z)
    return jnp.stack([one, z - w, 0 * one, 0 * one], axis=-1)


def _mean_merge(a, b):
    n = a[..., 0] + b[..., 0]
    mean = (a[..., 0] * a[..., 1] + b[..., 0] * b[..., 1]) / n
    return jnp.stack([n, mean, 0 * n, 0 * n], axis=-1)


def _sinh_start(z, w):
    return jnp.stack([z, -z, w, 0 * w], axis=-1)


def _sinh_merge(a, b):
    up, down = (jnp.logaddexp(a[..., i], b[..., i]) for i in (0, 1))
    return jnp.stack([up, down, a[..., 2] + b[..., 2], 0 * up], axis=-1)


def _sinh_root(s):
    up, down, w = s[..., 0], s[..., 1], s[..., 2]
    return (up - down) / 2 - jnp.arcsinh(w * jnp.exp(-(up + down) / 2))


def _sinh_solve(z, w, total):
    z = z - jax.lax.stop_gradient(total(z) / total(jnp.ones_like(z)))
    up, down = total(jnp.exp(z)), total(jnp.exp(-z))
    return z - jnp.log(up / down) / 2 + jnp.arcsinh(total(w) / jnp.sqrt(up * down))


def _cubic_start(z, w):
    return jnp.stack([jnp.ones_like(z), z, jnp.zeros_like(z), -w], axis=-1)


def _cubic_merge(a, b):
    """Count, mean, second central moment; third central moment minus the sum of w."""
    (n, m, v, t), (k, l, u, r) = (tuple(s[..., i] for i in range(4)) for s in (a, b))
    both, d = n + k, l - m
    mean = m + d * k / both
    second = v + u + d * d * n * k / both
    skew = d**3 * n * k * (n - k) / both**2 + 3 * d * (n * u - k * v) / both
    return jnp.stack([both, mean, second, t + r + skew], axis=-1)


def _cubic_root_of(s):
    n, mean, second, rest = (s[..., i] for i in range(4))
    return mean - _cubic_root(1 + 3 * second / n, rest / n)


def _cubic_solve(z, w, total):
    n = total(jnp.ones_like(z))
    d = z - total(z) / n
    return d + _cubic_root(1 + 3 * total(d * d) / n, total(d**3 - w) / n)


_LINEAR = Shape(
    lambda t: t,
    lambda w: w,
    _mean_start,
    _mean_merge,
    lambda s: s[..., 1],
    lambda z, w, total: z - total(z - w) / total(jnp.ones_like(z)),
)
_CUBIC = Shape(
    lambda t: t + t**3,
    lambda w: _cubic_root(jnp.ones_like(w), -w),
    _cubic_start,
    _cubic_merge,
    _cubic_root_of,
    _cubic_solve,
)
_SINH = Shape(jnp.sinh, jnp.arcsinh, _sinh_start, _sinh_merge, _sinh_root, _sinh_solve)
SHAPES = {"smooth": _SINH, "c0": _LINEAR, "c1": _CUBIC, "c2": _CUBIC}


def _pool(mode: str, z: Array, w: Array, cut: Array) -> Int[Array, " n"]:
    """The first entry of the block of every entry; `cut` marks entries that start a new row."""
    shape, n = SHAPES[mode], z.shape[0]
    entries = shape.start(z, w)
    levels = shape.root(entries)

    def push(i, state):
        top, floor, begin, stats, level = state
        floor = jnp.where(cut[i], top, floor)

        def clash(block):
            top, _, value = block
            return (top > floor) & (level[jnp.maximum(top - 1, 0)] >= value)

        def merge(block):
            top, stat, _ = block
            union = shape.merge(stats[top - 1], stat)
            return top - 1, union, shape.root(union)

        place, stat, value = jax.lax.while_loop(clash, merge, (top, entries[i], levels[i]))
        first = jnp.where(place < top, begin[jnp.minimum(place, n - 1)], i)
        return (
            place + 1,
            floor,
            begin.at[place].set(first),
            stats.at[place].set(stat),
            level.at[place].set(value),
        )

    zero = jnp.zeros((), jnp.int32)
    state = (zero, zero, jnp.zeros(n, jnp.int32), jnp.zeros_like(entries), jnp.zeros_like(z))
    top, _, begin, _, _ = jax.lax.fori_loop(0, n, push, state)
    used = jnp.where(jnp.arange(n) < top, begin, n)
    starts = jnp.zeros(n, jnp.int32).at[used].set(used, mode="drop")
    return jax.lax.cummax(starts)


def _blocks(mode: str, z: Array, w: Array, cut: Array) -> Int[Array, "... n"]:
    """`_pool` on rows: all batch axes, and those of `vmap`, end in one loop."""

    @jax.custom_batching.custom_vmap
    def pool(z, w, cut):
        cut = cut.at[..., 0].set(True)
        first = _pool(mode, z.ravel(), w.ravel(), cut.ravel()).reshape(z.shape)
        return first

    @pool.def_vmap
    def pool_batch(axis_size, batched, z, w, cut):
        full = [
            a if b else jnp.broadcast_to(a, (axis_size, *a.shape))
            for a, b in zip((z, w, cut), batched, strict=True)
        ]
        return _blocks(mode, *full), True

    return pool(z, w, cut)


def _isotonic(
    z: Float[Array, "... n"], w: Float[Array, "... n"], live: Bool[Array, "... n"], mode: str
) -> Float[Array, "... n"]:
    """y = phi(z - v); entries that are not live make a block apart."""
    stop = jax.lax.stop_gradient
    edge = jnp.concatenate([live[..., :1], live[..., 1:] ^ live[..., :-1]], axis=-1)
    block = _blocks(mode, stop(z), stop(w), edge)
    block = block - block[..., :1]

    def total(a):
        def one(row, ids):
            return jnp.zeros_like(row).at[ids].add(row)[ids]

        return jnp.vectorize(one, signature="(n),(n)->(n)")(a, block)

    shape = SHAPES[mode]
    begin = jnp.vectorize(lambda row, ids: row[ids], signature="(n),(n)->(n)")(z, block)
    return shape.phi(shape.solve(z - stop(begin), w, total))


def values(
    rows: Rows, mode: str, first: int | Int[Array, "... 1"], count: int
) -> Float[Array, "... count"]:
    """The soft values at the slots."""
    key = jnp.where(rows.live, -rows.x, jnp.inf)
    order = jnp.argsort(key, axis=-1)
    live = jnp.take_along_axis(rows.live, order, axis=-1)
    number = jnp.maximum(rows.number(), 1)
    mean = jnp.sum(rows.x, axis=-1, keepdims=True) / number
    w = (mean - jnp.take_along_axis(rows.x, order, axis=-1)) * rows.grow
    w = jnp.where(live, w, 0)
    even = SHAPES[mode].inverse(w)
    steps = jnp.where(live[..., 1:], even[..., 1:] - even[..., :-1], 0)
    pairs = jnp.maximum(number - 1, 1)
    width = jnp.maximum(rows.width, STEEPEST * float(jnp.finfo(w.dtype).max) ** -0.5)
    if rows.standardize:
        fourth = jnp.sum(steps**4, axis=-1, keepdims=True) / pairs
        pitch = (fourth + 1e-16) ** 0.25 * DEFAULT_SOFTNESS / width
    else:
        pitch = 1 / (pairs * width)
    ramp = (jnp.arange(w.shape[-1]) - (number - 1) / 2) * pitch
    y = mean - rows.scale * _isotonic(jnp.where(live, ramp, 0), w, live, mode)
    return take_at(y, jnp.broadcast_to(slots(first, count, y.shape[-1]), (*y.shape[:-1], count)))


def rank(rows: Rows, mode: str) -> Float[Array, "... n"]:
    """Soft ranks, 1 for the largest."""
    order = jnp.argsort(-rows.z, axis=-1)
    live = jnp.take_along_axis(rows.live, order, axis=-1)
    unit = DEFAULT_SOFTNESS if rows.standardize else 1.0
    z = -jnp.take_along_axis(rows.z, order, axis=-1) * unit / rows.softness
    number = jnp.maximum(rows.number(), 1)
    middle, span = (number + 1) / 2, jnp.maximum(number - 1, 1)
    w = (jnp.arange(1, z.shape[-1] + 1) - middle) / span
    y = _isotonic(jnp.where(live, z, 0), jnp.where(live, w, 0), live, mode)
    return take_at(middle + span * y, jnp.argsort(order, axis=-1))
