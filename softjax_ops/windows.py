"""Sums over sorted data, O(n log n) for all rows of a soft permutation at once.

* `decay_average`: weights exp(-|u_i - u_j|), by one linear recurrence to each side;
* `window_moments`: moments of a window about a moving centre, by a disjoint sparse table;
* `window_average`: weights max(tau_i - |u_i - u_j|, 0)^e that sum to one.

No step subtracts two large prefix sums: float32 stays accurate at any n.
"""

from collections.abc import Callable, Mapping
from itertools import product
from math import comb

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from softjax_ops.projections import EXPONENT, power

Moments = Mapping[tuple[int, ...], Float[Array, "... n"]]
"""Sums over a window of w times a monomial of centred features, by exponents of the monomial."""


def _recurrence(a: Float[Array, "... n"], b: Float[Array, "... n"], reverse: bool):
    """y_i = b_i + a_i y_{i-1} (or y_{i+1}) along the last axis, |a| <= 1."""

    def combine(left, right):
        return left[0] * right[0], right[0] * left[1] + right[1]

    a, b = jnp.broadcast_arrays(a, b)
    return jax.lax.associative_scan(combine, (a, b), axis=b.ndim - 1, reverse=reverse)[1]


def linear_recurrence(
    a: Float[Array, "... n"], b: Float[Array, "... n"]
) -> Float[Array, "... n"]:
    """y_i = b_i + a_i y_{i-1} with y_{-1} = 0.

    A linear solve in JAX's sense: the derivative is another recurrence, of any order, in forward
    and in reverse mode, and costs no more memory than the value.
    """
    pad = [(0, 0)] * (a.ndim - 1)
    after = jnp.pad(a[..., 1:], [*pad, (0, 1)])

    def apply(y):
        return y - a * jnp.pad(y[..., :-1], [(0, 0)] * (y.ndim - 1) + [(1, 0)])

    return jax.lax.custom_linear_solve(
        apply,
        jnp.broadcast_to(b, jnp.broadcast_shapes(a.shape, b.shape)),
        solve=lambda _, rhs: _recurrence(a, rhs, reverse=False),
        transpose_solve=lambda _, rhs: _recurrence(after, rhs, reverse=True),
    )


def decay_sums(
    u: Float[Array, "... n"], y: Float[Array, "... c n"]
) -> tuple[Float[Array, "... c n"], Float[Array, "... c n"]]:
    """Sums over j <= i, and over j > i, of y_j exp(-|u_i - u_j|); u ascending."""
    decay = jnp.exp(-(u[..., 1:] - u[..., :-1]))[..., None, :]
    pad = [(0, 0)] * (decay.ndim - 1)
    before = linear_recurrence(jnp.pad(decay, [*pad, (1, 0)]), y)
    factor = jnp.flip(jnp.pad(decay, [*pad, (0, 1)]), axis=-1)
    after = jnp.flip(linear_recurrence(factor, jnp.flip(y, axis=-1)), axis=-1)
    return before, after - y


def decay_average(u: Float[Array, "... n"], y: Float[Array, "... n"]) -> Float[Array, "... n"]:
    """sum_j y_j exp(-|u_i - u_j|) / sum_j exp(-|u_i - u_j|) for ascending u."""
    before, after = decay_sums(u, jnp.stack([y, jnp.ones_like(y)], axis=-2))
    total = before + after
    return total[..., 0, :] / total[..., 1, :]


def _shift(moments: Moments, delta: tuple[Array, ...]) -> Moments:
    """Moments about the centre c from those about c + delta (binomial theorem)."""
    for axis, step in enumerate(delta):
        moved = {}
        for key, value in moments.items():
            for lower in range(key[axis]):
                source = (*key[:axis], lower, *key[axis + 1 :])
                raised = power(step, key[axis] - lower) * comb(key[axis], lower)
                value = value + raised * moments[source]
            moved[key] = value
        moments = moved
    return moments


def _halves(a: Array, size: int, length: int) -> tuple[Array, Array]:
    """Left and right blocks of `size` of each pair of blocks."""
    pairs = a.reshape(*a.shape[:-1], length // (2 * size), 2, size)
    return pairs[..., 0, :], pairs[..., 1, :]


def _join(left: Array, right: Array, length: int) -> Array:
    shape = jnp.broadcast_shapes(left.shape, right.shape)
    both = jnp.stack([jnp.broadcast_to(left, shape), jnp.broadcast_to(right, shape)], axis=-2)
    return both.reshape(*both.shape[:-3], length)


@jax.tree_util.register_pytree_node_class
class WindowTable:
    """A disjoint sparse table: the sum over any window is one suffix plus one prefix.

    Level k cuts the row into blocks of 2^k. It holds, for every entry, the sum from the start of
    its block (about the first entry) and to the end of its block (about the last entry).
    Any window [lo, hi] is the end of one block and the start of the next one at exactly one level.
    """

    def __init__(
        self,
        features: tuple[Float[Array, "... n"], ...],
        weight: Float[Array, "... n"],
        degree: int,
    ):
        n = weight.shape[-1]
        self.levels = max((n - 1).bit_length(), 1)
        self.length = length = 2**self.levels
        pad = [(0, 0)] * (weight.ndim - 1) + [(0, length - n)]
        self.features = tuple(jnp.pad(f, pad, mode="edge") for f in features)
        weight = jnp.pad(weight, pad)
        keys = [k for k in product(range(degree + 1), repeat=len(features)) if sum(k) <= degree]
        prefix = {k: weight if sum(k) == 0 else jnp.zeros_like(weight) for k in keys}
        suffix = prefix
        stack = [(prefix, suffix)]
        for level in range(self.levels - 1):
            prefix, suffix = self._grow(prefix, suffix, 2**level)
            stack.append((prefix, suffix))
        self.prefix = {k: jnp.concatenate([p[k] for p, _ in stack], axis=-1) for k in keys}
        self.suffix = {k: jnp.concatenate([s[k] for _, s in stack], axis=-1) for k in keys}

    def tree_flatten(self):
        return (self.features, self.prefix, self.suffix), (self.levels, self.length)

    @classmethod
    def tree_unflatten(cls, static, leaves):
        table = object.__new__(cls)
        table.levels, table.length = static
        table.features, table.prefix, table.suffix = leaves
        return table

    def _grow(self, prefix: Moments, suffix: Moments, size: int) -> tuple[Moments, Moments]:
        """The tables of blocks of 2 `size` from those of `size`."""
        n = self.length
        cut = [_halves(f, size, n) for f in self.features]
        starts = tuple(right[..., :1] - left[..., :1] for left, right in cut)
        ends = tuple(left[..., -1:] - right[..., -1:] for left, right in cut)
        p = {k: _halves(v, size, n) for k, v in prefix.items()}
        s = {k: _halves(v, size, n) for k, v in suffix.items()}
        moved = _shift({k: right for k, (_, right) in p.items()}, starts)
        prefix = {k: _join(p[k][0], moved[k] + p[k][0][..., -1:], n) for k in p}
        moved = _shift({k: left for k, (left, _) in s.items()}, ends)
        suffix = {k: _join(moved[k] + s[k][1][..., :1], s[k][1], n) for k in s}
        return prefix, suffix

    def query(
        self,
        lo: Int[Array, "... m"],
        hi: Int[Array, "... m"],
        centre: tuple[Float[Array, "... m"], ...],
    ) -> Moments:
        """Sums over j = lo .. hi of w_j times monomials of (feature_j - centre); 0 if hi < lo."""
        several, some = hi > lo, hi >= lo
        lo, hi = jnp.clip(lo, 0, self.length - 1), jnp.clip(hi, 0, self.length - 1)
        differ = jnp.maximum(lo ^ hi, 1).astype(jnp.int32)
        level = 31 - jax.lax.clz(differ)
        size = 1 << level
        last, start = lo | (size - 1), hi & ~(size - 1)
        left = self._gather(self.suffix, level, lo, last, centre, several)
        right = self._gather(self.prefix, level, hi, start, centre, some)
        return {k: left[k] + right[k] for k in left}

    def _gather(self, table, level, entry, origin, centre, valid):
        delta = tuple(
            jnp.take_along_axis(f, origin, axis=-1) - c
            for f, c in zip(self.features, centre, strict=True)
        )
        found = {
            k: jnp.where(valid, jnp.take_along_axis(v, level * self.length + entry, axis=-1), 0)
            for k, v in table.items()
        }
        return _shift(found, delta)


def first_true(
    holds: Callable[[Int[Array, "... m"]], Array],
    lo: Int[Array, "... m"],
    hi: Int[Array, "... m"],
    length: int,
) -> Int[Array, "... m"]:
    """The first index in [lo, hi) from which on `holds` is true; `hi` if there is none."""

    def halve(_, bracket):
        lo, hi = bracket
        middle = (lo + hi) // 2
        yes = holds(jnp.minimum(middle, length - 1)) | (lo >= hi)
        return jnp.where(yes, lo, middle + 1), jnp.where(yes, middle, hi)

    lo, hi = jnp.broadcast_arrays(lo, hi)
    found = jax.lax.fori_loop(0, length.bit_length(), halve, (lo, hi))[0]
    return jnp.minimum(found, hi)


def _at(a: Array, index: Array) -> Array:
    return jnp.take_along_axis(a, jnp.clip(index, 0, a.shape[-1] - 1), axis=-1)


def _distances(table: WindowTable, u: Array, lo: Array, hi: Array) -> list[Array]:
    """Sums of w_j |u_i - u_j|^k over the window [lo_i, hi_i] around each i, for k = 0 .. degree."""
    i = jnp.broadcast_to(jnp.arange(u.shape[-1]), lo.shape)
    left, right = table.query(lo, i, (u,)), table.query(i + 1, hi, (u,))
    return [(-1) ** k[0] * left[k] + right[k] for k in left]


def _kernel_sum(tau: Array, sums: list[Array]) -> Array:
    """sum_j w_j (tau - d_j)^e from the moments of the distances d."""
    e = len(sums) - 1
    return sum(
        ((-1) ** k * comb(e, k) * power(tau, e - k) * s for k, s in enumerate(sums)),
        jnp.zeros_like(tau),
    )


def _support(table: WindowTable, u: Float[Array, "... n"]) -> tuple[Array, Array]:
    """The window of entries with a positive weight, for each i.

    An entry at distance d takes part if and only if sum_j max(d - |u_i - u_j|, 0)^e < 1.
    """
    n = u.shape[-1]
    i = jnp.broadcast_to(jnp.arange(n), u.shape)
    zero, end = jnp.zeros_like(i), jnp.full_like(i, n)

    def left_of(d):
        return first_true(lambda j: _at(u, j) > u - d, zero, i, n)

    def right_of(d):
        return first_true(lambda j: _at(u, j) >= u + d, i + 1, end, n) - 1

    def right_excluded(r):
        d = _at(u, r) - u
        return _kernel_sum(d, _distances(table, u, left_of(d), r)) >= 1

    def left_included(l):
        d = u - _at(u, l)
        return _kernel_sum(d, _distances(table, u, l, right_of(d))) < 1

    return first_true(left_included, zero, i, n), first_true(right_excluded, i + 1, end, n) - 1


@jax.custom_jvp
def _root(sums: list[Array]) -> Array:
    """tau with sum_j (tau - d_j)^e = 1, all d_j <= tau: Newton's method, monotone from above."""
    e = len(sums) - 1
    upper = (1 + sums[1]) / sums[0] if e == 1 else sums[1] / sums[0] + sums[0] ** (-1 / e)

    def step(_, tau):
        slope = _slope(tau, sums)
        return tau - (_kernel_sum(tau, sums) - 1) / jnp.where(slope > 0, slope, 1)

    return upper if e == 1 else jax.lax.fori_loop(0, 8, step, upper)


def _slope(tau: Array, sums: list[Array]) -> Array:
    e = len(sums) - 1
    return e * _kernel_sum(tau, sums[:-1])


@_root.defjvp
def _root_jvp(primals, tangents):
    (sums,), (dsums,) = primals, tangents
    tau = _root(sums)
    e = len(sums) - 1
    change = sum((-1) ** k * comb(e, k) * power(tau, e - k) * d for k, d in enumerate(dsums))
    slope = _slope(tau, sums)
    return tau, -change / jnp.where(slope > 0, slope, 1)


def window_average(
    u: Float[Array, "... n"], y: Float[Array, "... n"], mode: str
) -> Float[Array, "... n"]:
    """sum_j P_ij y_j with P_i the projection of -|u_i - u| on the simplex; u ascending.

    `mode` is c0, c1 or c2. The support is a window of the sorted row: searched for in
    O(log^2 n) steps, summed in two.
    """
    e = EXPONENT[mode]
    ones = WindowTable((u,), jnp.ones_like(u), e)
    lo, hi = _support(jax.tree.map(jax.lax.stop_gradient, ones), jax.lax.stop_gradient(u))
    tau = _root(_distances(ones, u, lo, hi))
    total = _kernel_sum(tau, _distances(ones, u, lo, hi))
    return _kernel_sum(tau, _distances(WindowTable((u,), y, e), u, lo, hi)) / total
