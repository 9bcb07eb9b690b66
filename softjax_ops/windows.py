"""Sums over sorted data, O(n log n) for all rows of a soft permutation at once.

* `decay_average`: weights exp(-|u_i - u_j|), by one linear recurrence to each side;
* `window_moments`: moments of a window about a moving centre, by a disjoint sparse table;
* `window_average`: weights max(tau_i - |u_i - u_j|, 0)^e that sum to one.

No step subtracts two large prefix sums: float32 stays accurate at any n.
"""

import math
from collections.abc import Callable
from itertools import product
from math import comb
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from softjax_ops.projections import EXPONENT, MAX_NEWTON, power

Moments = dict[tuple[int, ...], Float[Array, "... n"]]
"""Sums over a window of w times a monomial of centred features, by exponents of the monomial."""


def _recurrence(a: Float[Array, "... n"], b: Float[Array, "... n"]) -> Float[Array, "... n"]:
    """y_i = b_i + a_i y_{i-1}, |a| <= 1: blocks of sqrt(n) side by side, then their carries.

    Small to compile, and 2 sqrt(n) steps long.
    """
    n = b.shape[-1]
    size = math.isqrt(n - 1) + 1
    pad = [(0, 0)] * (b.ndim - 1) + [(0, size * size - n)]

    def cut(row):
        blocks = jnp.pad(jnp.broadcast_to(row, b.shape), pad).reshape(*b.shape[:-1], size, size)
        return jnp.moveaxis(blocks, -1, 0)

    def inside(carry, entry):
        total, factor = entry[1] + entry[0] * carry[0], entry[0] * carry[1]
        return (total, factor), (total, factor)

    def across(carry, block):
        total, factor = block
        return total + factor * carry, carry

    start = (jnp.zeros((*b.shape[:-1], size), b.dtype), jnp.ones((*b.shape[:-1], size), b.dtype))
    ends, (totals, factors) = jax.lax.scan(inside, start, (cut(a), cut(b)))
    ends = jax.tree.map(lambda e: jnp.moveaxis(e, -1, 0), ends)
    _, carries = jax.lax.scan(across, jnp.zeros(b.shape[:-1], b.dtype), ends)
    y = totals + factors * jnp.moveaxis(carries, 0, -1)
    return jnp.moveaxis(y, 0, -1).reshape(*b.shape[:-1], size * size)[..., :n]


def _reversed(a: Array, b: Array) -> Array:
    return jnp.flip(_recurrence(jnp.flip(a, axis=-1), jnp.flip(b, axis=-1)), axis=-1)


def linear_recurrence(a: Float[Array, "... n"], b: Float[Array, "... n"]) -> Float[Array, "... n"]:
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
        solve=lambda _, rhs: _recurrence(a, rhs),
        transpose_solve=lambda _, rhs: _reversed(after, rhs),
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
        moved: Moments = {}
        for key, value in moments.items():
            for lower in range(key[axis]):
                source = (*key[:axis], lower, *key[axis + 1 :])
                raised = power(step, key[axis] - lower) * comb(key[axis], lower)
                value = value + raised * moments[source]
            moved[key] = value
        moments = moved
    return moments


def _shear(moments: Moments, slope: Array) -> Moments:
    """Moments of (f, g + slope f) from those of (f, g)."""
    moved: Moments = {}
    for (a, b), value in moments.items():
        for j in range(1, b + 1):
            value = value + power(slope, j) * comb(b, j) * moments[(a + j, b - j)]
        moved[(a, b)] = value
    return moved


class Frame(NamedTuple):
    """Where moments are taken: about an origin, the second feature tilted by slope * first."""

    origin: tuple[Array, ...]
    slope: Array | None


def _move(moments: Moments, old: Frame, new: Frame) -> Moments:
    """Moments in the frame `new` from those in the frame `old`."""
    delta = tuple(o - n for o, n in zip(old.origin, new.origin, strict=True))
    if old.slope is not None and new.slope is not None:
        moments = _shear(moments, new.slope - old.slope)
        delta = (delta[0], delta[1] + new.slope * delta[0])
    return _shift(moments, delta)


def take_at(a: Array, index: Array, lead: int = 0) -> Array:
    """Entries of the rows of `a` at `index`.

    `index` may have more axes than `a`, after the first `lead` ones: several questions to a row.
    The row is not copied for them.
    """
    extra = index.ndim - a.ndim
    places = range(lead, lead + extra), range(-1 - extra, -1)
    together = jnp.moveaxis(index, *places)
    flat = jnp.clip(together.reshape(*a.shape[:-1], -1), 0, a.shape[-1] - 1)
    found = jnp.take_along_axis(a, flat, axis=-1, mode="promise_in_bounds")
    return jnp.moveaxis(found.reshape(together.shape), places[1], places[0])


def _take_frame(frame: Frame, index: Array) -> Frame:
    return jax.tree.map(lambda f: take_at(f, index), frame)


class WindowTable(NamedTuple):
    """A disjoint sparse table: the sum over any window is one suffix plus one prefix.

    Level k cuts the row into blocks of 2^k. It holds, for every entry, the sum to the end of its
    block (in the frame of the last entry) and from its start (in the frame of the first entry).
    Any window [lo, hi] is the end of one block and the start of the next one at exactly one level.

    Attributes:
        frames: of every entry.
        sums: by monomial; side (suffix, prefix) first, the levels one after the other last, each
            as long as the row, filled up with weights of 0 to a power of two.
    """

    frames: Frame
    sums: Moments

    @classmethod
    def build(
        cls,
        features: tuple[Float[Array, "... n"], ...],
        weight: Float[Array, "... n"],
        degree: int,
        slope: Float[Array, "... n"] | None = None,
    ) -> "WindowTable":
        """The table of sums of w times monomials.

        Args:
            features: one or two rows.
            weight: w.
            degree: of the highest monomial.
            slope: with two features (f, g), the tilt of an entry's own frame: there the second
                feature is g + slope f, which keeps it small near that entry.
        """
        frames = Frame(features, slope)
        keys = [k for k in product(range(degree + 1), repeat=len(features)) if sum(k) <= degree]
        n = weight.shape[-1]
        height = _height(n)
        edges = [(0, 0)] * (weight.ndim - 1) + [(0, 2**height - n)]
        weight = jnp.pad(weight, edges)
        padded = jax.tree.map(lambda f: jnp.pad(f, edges, mode="edge"), frames)
        suffix = {k: weight if sum(k) == 0 else jnp.zeros_like(weight) for k in keys}
        levels = [(suffix, suffix)]
        for level in range(height - 1):
            levels.append(_double(padded, *levels[-1], 1 << level))
        sums = {
            k: jnp.stack([jnp.concatenate([at[i][k] for at in levels], axis=-1) for i in (0, 1)])
            for k in keys
        }
        return cls(frames, sums)

    def query(self, lo: Int[Array, "... m"], hi: Int[Array, "... m"], frame: Frame) -> Moments:
        """Sums over j = lo .. hi of w_j times monomials of the features in `frame`; 0 if empty."""
        n = self.frames.origin[0].shape[-1]
        width = 2 ** _height(n)
        valid = jnp.stack([hi > lo, hi >= lo])
        lo, hi = jnp.clip(lo, 0, n - 1), jnp.clip(hi, 0, n - 1)
        level = 31 - jax.lax.clz(jnp.maximum(lo ^ hi, 1).astype(jnp.int32))
        size = 1 << level
        old = _take_frame(self.frames, jnp.stack([lo | (size - 1), hi & ~(size - 1)]))
        place = level * width + jnp.stack([lo, hi])
        found = {k: jnp.where(valid, take_at(v, place, lead=1), 0) for k, v in self.sums.items()}
        return {k: v[0] + v[1] for k, v in _move(found, old, frame).items()}


def _height(n: int) -> int:
    """Levels of the table of a row of n entries."""
    return max((n - 1).bit_length(), 1)


def _double(frames: Frame, suffix: Moments, prefix: Moments, size: int) -> tuple[Moments, Moments]:
    """Suffix and prefix sums of blocks twice as long, from those of blocks of `size` entries.

    The entries of a first half lack the second half in their suffix, those of a second half lack
    the first half in their prefix. The row is a whole number of the longer blocks.
    """

    def halves(row: Array) -> tuple[Array, Array]:
        pairs = row.reshape(*row.shape[:-1], -1, 2, size)
        return pairs[..., 0, :], pairs[..., 1, :]

    def whole(first: Array, second: Array) -> Array:
        pairs = jnp.stack([first, second], axis=-2)
        return pairs.reshape(*pairs.shape[:-3], -1)

    def frame(half: int, entry: slice) -> Frame:
        return jax.tree.map(lambda f: halves(f)[half][..., entry], frames)

    first, last = slice(0, 1), slice(-1, None)
    after = {k: halves(v) for k, v in suffix.items()}
    before = {k: halves(v) for k, v in prefix.items()}
    moved = _move({k: v[0] for k, v in after.items()}, frame(0, last), frame(1, last))
    suffix = {k: whole(moved[k] + v[1][..., first], v[1]) for k, v in after.items()}
    moved = _move({k: v[1] for k, v in before.items()}, frame(1, first), frame(0, first))
    prefix = {k: whole(v[0], v[0][..., last] + moved[k]) for k, v in before.items()}
    return suffix, prefix


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

    found = jax.lax.fori_loop(0, length.bit_length(), halve, (lo, hi))[0]
    return jnp.minimum(found, hi)


def sides(left: Array, right: Array) -> Array:
    """Two answers side by side on a new leading axis."""
    return jnp.stack(jnp.broadcast_arrays(left, right))


def support(
    cost: Callable[[Int[Array, "... n"]], Array],
    heights: Callable[[Array, Array], list[Array]],
    peak: Int[Array, "... n"],
    end: Int[Array, "... n"],
    length: int,
) -> tuple[Int[Array, "... n"], Int[Array, "... n"]]:
    """First and last entry with a positive weight max(tau - cost, 0)^e, for each row.

    Newton's method on the convex function |max(tau - cost, 0)|_e = 1 of tau: it starts above the
    root and falls to it (for e = 1: Michelot's algorithm). The entries below tau are searched for.

    Args:
        cost: of the entry j of each row; it falls up to `peak`, where it is 0, then it rises.
        heights: sums of cost^r over the entries lo .. hi of each row, r = 0 .. e.
        peak: the entry of lowest cost; its weight is 1.
        end: one past the last entry that may take part.
        length: of a row.
    """
    start = sides(jnp.zeros_like(peak), peak + 1)
    stop = sides(peak, end)
    right = jnp.arange(2).reshape(2, *(1,) * peak.ndim) == 1

    def window(tau):
        found = first_true(lambda j: (cost(j) < tau) ^ right, start, stop, length)
        return found[0], found[1] - 1

    def falls(state):
        count, tau, previous = state
        return (count < MAX_NEWTON) & jnp.any(tau < previous * (1 - 4 * jnp.finfo(tau.dtype).eps))

    def newton(state):
        count, tau, _ = state
        sums = heights(*window(tau))
        e = len(sums) - 1
        norm = jnp.maximum(kernel_sum(tau, sums), 1) ** (1 / e)
        slope = kernel_slope(tau, sums)
        step = e * (norm - 1) * power(norm, e - 1) / jnp.where(slope > 0, slope, 1)
        return count + 1, tau - step, tau

    above = jnp.ones_like(cost(peak))
    return window(jax.lax.while_loop(falls, newton, (0, above, 2 * above))[1])


def kernel_sum(tau: Array, sums: list[Array]) -> Array:
    """sum_j w_j (tau - d_j)^e from the moments of the costs d."""
    e = len(sums) - 1
    return sum(
        ((-1) ** k * comb(e, k) * power(tau, e - k) * s for k, s in enumerate(sums)),
        jnp.zeros_like(tau),
    )


def kernel_slope(tau: Array, sums: list[Array]) -> Array:
    """Derivative of `kernel_sum` with respect to tau."""
    return (len(sums) - 1) * kernel_sum(tau, sums[:-1])


@jax.custom_jvp
def root(sums: list[Array]) -> Array:
    """tau with sum_j (tau - d_j)^e = 1, all d_j <= tau: Newton's method, monotone from above."""
    e = len(sums) - 1
    some = jnp.where(sums[0] > 0, sums[0], 1)
    upper = (1 + sums[1]) / some if e == 1 else sums[1] / some + some ** (-1 / e)

    def step(_, tau):
        slope = kernel_slope(tau, sums)
        return tau - (kernel_sum(tau, sums) - 1) / jnp.where(slope > 0, slope, 1)

    return upper if e == 1 else jax.lax.fori_loop(0, 8, step, upper)


@root.defjvp
def root_jvp(primals, tangents):
    (sums,), (dsums,) = primals, tangents
    tau = root(sums)
    slope = kernel_slope(tau, sums)
    return tau, -kernel_sum(tau, dsums) / jnp.where(slope > 0, slope, 1)


def _distances(table: WindowTable, u: Array, lo: Array, hi: Array, i: Array) -> list[Array]:
    """Sums of w_j |u_i - u_j|^k over the window [lo_i, hi_i] around each i, for k = 0 .. degree."""
    shape = (2, *lo.shape)
    first, last = (jnp.broadcast_to(a, shape) for a in (sides(lo, i + 1), sides(i, hi)))
    moments = table.query(first, last, Frame((u,), None))
    return [(-1) ** k[0] * v[0] + v[1] for k, v in moments.items()]


def window_average(
    u: Float[Array, "... n"], y: Float[Array, "... n"], mode: str
) -> Float[Array, "... n"]:
    """sum_j P_ij y_j with P_i the projection of -|u_i - u| on the simplex; u ascending.

    `mode` is c0, c1 or c2. The support is a window of the sorted row: found by a few
    Newton steps with a search of O(log n) in each, summed in two.
    """
    e, n = EXPONENT[mode], u.shape[-1]
    i = jnp.broadcast_to(jnp.arange(n), u.shape)
    ones = WindowTable.build((u,), jnp.ones_like(u), e)
    table, centre = jax.tree.map(jax.lax.stop_gradient, (ones, u))
    lo, hi = support(
        lambda j: jnp.abs(take_at(centre, j) - centre),
        lambda lo, hi: _distances(table, centre, lo, hi, i),
        i,
        jnp.full_like(i, n),
        n,
    )
    sums = _distances(ones, u, lo, hi, i)
    tau = root(sums)
    weighted = _distances(WindowTable.build((u,), y, e), u, lo, hi, i)
    return kernel_sum(tau, weighted) / kernel_sum(tau, sums)
