"""NeuralSort (Grover et al., arXiv 1903.08850).

Row k of the soft permutation (k = 0 for the largest entry) is the projection of
((n - 1 - 2 k) z - A) / softness on the simplex, with A_j = sum_i |z_i - z_j| softened:

* smooth: |x| -> x tanh(x / 2 softness). Rows are formed in chunks: O(n^2) time, O(n) memory.
* c0, c1, c2: |x| -> the integral of the soft sign of that mode (c0: the Huber function). It is
  convex, so the support of a row is an interval of the sorted data, and A, values and ranks are
  sums over windows: O(n log n) time per Newton step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from softjax_ops.kernels import odd_step, ramp
from softjax_ops.methods.softsort import DIRECT, slots
from softjax_ops.projections import EXPONENT, NEVER, expectation, log_project, project
from softjax_ops.standardize import Rows, rounded
from softjax_ops.windows import Frame, WindowTable, first_true, kernel_sum, root, support, take_at

CHUNK = 16
EVEN = {
    "c0": (1 / 2, 1 / 2),
    "c1": (3 / 8, 3 / 4, -1 / 8),
    "c2": (5 / 16, 15 / 16, -5 / 16, 1 / 16),
}
"""The integral of the soft sign on |v| <= 1, v = x / (5 softness), in powers of v^2."""


def _soft_abs(x: Array, softness: Array, mode: str) -> Array:
    if mode == "smooth":
        return x * odd_step(x, softness, mode)
    return 2 * ramp(x, softness, mode) - x


def _distance_sums(rows: Rows, mode: str) -> Float[Array, "... n"]:
    """A_j for every entry, by direct summation over the live ones; O(n) memory."""

    @jax.checkpoint
    def one(z_j):
        gap = rows.z - z_j[..., None]
        return jnp.sum(jnp.where(rows.live, _soft_abs(gap, rows.softness, mode), 0), axis=-1)

    return jnp.moveaxis(jax.lax.map(one, jnp.moveaxis(rows.z, -1, 0), batch_size=CHUNK), 0, -1)


def _scores(rows: Rows, sums: Array, k: Int[Array, "... k"]) -> Float[Array, "... k n"]:
    """The scores of the rows k in the unit of `z`."""
    weight = (rows.number() - 1 - 2 * k)[..., None]
    scores = rounded(weight * rows.z[..., None, :]) - sums[..., None, :]
    return jnp.where(rows.live[..., None, :], scores, NEVER)


def index(
    rows: Rows, mode: str, first: int | Int[Array, "... 1"], count: int, log: bool = False
) -> Float[Array, "... count n"]:
    """Rows first .. first + count - 1 of the soft permutation."""
    k = slots(first, count, rows.z.shape[-1])
    scores = _scores(rows, _distance_sums(rows, mode), k)
    return (log_project if log else project)(scores, mode, rows.softness[..., None])


def _smooth_values(rows: Rows) -> Float[Array, "... n"]:
    sums, softness = _distance_sums(rows, "smooth"), rows.softness[..., None]

    @jax.checkpoint
    def one(k):
        weights = project(_scores(rows, sums, k[None]), "smooth", softness)
        return expectation(weights, rows.x)[..., 0]

    return jnp.moveaxis(jax.lax.map(one, jnp.arange(rows.z.shape[-1]), batch_size=CHUNK), 0, -1)


def _smooth_rank(rows: Rows) -> Float[Array, "... n"]:
    """Column-normalised expectation of 1 .. n."""
    n = rows.z.shape[-1]
    sums, softness = _distance_sums(rows, "smooth"), rows.softness[..., None]

    @jax.checkpoint
    def add(total, k):
        weights = project(_scores(rows, sums, k), "smooth", softness)
        weights = weights * (k < rows.number())[..., None]
        parts = jnp.stack([jnp.ones_like(k), k + 1], axis=0).astype(weights.dtype)
        return total + jnp.einsum("ck,...kn->c...n", parts, weights), None

    size = min(CHUNK, n)
    k = jnp.arange(-(-n // size) * size).reshape(-1, size)
    total, _ = jax.lax.scan(add, jnp.zeros((2, *rows.z.shape), rows.z.dtype), k)
    return total[1] / jnp.maximum(total[0], 1e-30)


class _Sorted(NamedTuple):
    """Rows in descending order. Row k has the costs slope_k u_j + a_j, smallest near j = k.

    Attributes:
        u: -z / softness; ascending.
        a: A / softness.
        rise: slope of a as a function of u; ascending, equal for equal entries.
        slope: n - 1 - 2 k, with n the number of live entries.
        live: as weights, 0 or 1.
        number: of live entries.
    """

    u: Float[Array, "... n"]
    a: Float[Array, "... n"]
    rise: Float[Array, "... n"]
    slope: Float[Array, "... n"]
    live: Float[Array, "... n"]
    number: Int[Array, "... 1"]

    def frame(self, peak: Int[Array, "... n"]) -> Frame:
        """Of each row: about its lowest cost, tilted so that feature 2 is the cost above it."""
        return Frame((take_at(self.u, peak), take_at(self.a, peak)), self.slope)


def _windowed_sums(u: Array, live: Array, mode: str) -> tuple[Array, Array]:
    """A / softness and its slope in u: a polynomial within 5 softnesses, the distance beyond."""
    n = u.shape[-1]
    i = jnp.broadcast_to(jnp.arange(n), u.shape)
    table = WindowTable.build((u,), live, 2 * len(EVEN[mode]) - 2)
    centre = jax.lax.stop_gradient(u)
    lo = first_true(lambda j: take_at(centre, j) > centre - 5, jnp.zeros_like(i), i, n)
    hi = first_true(lambda j: take_at(centre, j) >= centre + 5, i, jnp.full_like(i, n), n)
    frame = Frame((u,), None)
    windows = (jnp.zeros_like(i), lo, hi), (lo - 1, hi - 1, jnp.full_like(i, n - 1))
    lower, upper = (jnp.stack(w) for w in windows)
    moments = table.query(lower, upper, frame)
    left, near, right = ({k: v[part] for k, v in moments.items()} for part in range(3))
    inside = sum(c * near[(2 * r,)] / 5 ** (2 * r - 1) for r, c in enumerate(EVEN[mode]))
    powers = enumerate(EVEN[mode][1:], start=1)
    steep = sum(c * 2 * r * near[(2 * r - 1,)] / 5 ** (2 * r - 1) for r, c in powers)
    return inside - left[(1,)] + right[(1,)], left[(0,)] - right[(0,)] - steep


def _sorted(rows: Rows, mode: str) -> tuple[_Sorted, Int[Array, "... n"]]:
    order = jnp.argsort(-rows.z, axis=-1)
    live = jnp.take_along_axis(rows.live, order, axis=-1)
    u = -jnp.take_along_axis(rows.z, order, axis=-1) / rows.softness
    u = jnp.where(live, u - u[..., :1], 0)
    u = jnp.where(live, u, jnp.max(u, axis=-1, keepdims=True))
    weight = live.astype(u.dtype)
    count = rows.number()
    slope = count - 1 - 2 * jnp.arange(u.shape[-1])
    a, rise = _windowed_sums(u, weight, mode)
    return _Sorted(u, a, rise, slope.astype(u.dtype), weight, count.astype(int)), order


def _heights(table: WindowTable, lo: Array, hi: Array, frame: Frame) -> list[Array]:
    """Sums of w_j cost^r over the window, with the costs counted from the frame's origin."""
    moments = table.query(lo, hi, frame)
    return [m for (a, _), m in moments.items() if a == 0]


def _support(s: _Sorted, table: WindowTable) -> tuple[Array, Array, Array]:
    """Lowest cost, first and last entry with a positive weight, of each row."""
    n = s.u.shape[-1]
    zero, end = jnp.zeros(s.u.shape, int), jnp.broadcast_to(s.number, s.u.shape)

    last = jnp.maximum(end - 1, 0)
    peak = first_true(lambda j: s.slope + take_at(s.rise, j) >= 0, zero, last, n)

    def absolute(j):
        return s.slope * take_at(s.u, j) + take_at(s.a, j)

    previous = jnp.maximum(peak - 1, 0)
    peak = jnp.where(absolute(previous) < absolute(peak), previous, peak)
    frame = s.frame(peak)

    def cost(j):
        u, a = (take_at(f, j) - o for f, o in zip((s.u, s.a), frame.origin, strict=True))
        return s.slope * u + a

    return peak, *support(cost, lambda lo, hi: _heights(table, lo, hi, frame), peak, end, n)


def _solve(s: _Sorted, mode: str) -> tuple[Array, Array, Array, list[Array]]:
    """Of each row: lowest cost, window, and the moments of its costs."""
    table = WindowTable.build((s.u, s.a), s.live, EXPONENT[mode], s.slope)
    frozen = jax.tree.map(jax.lax.stop_gradient, (s, table))
    peak, lo, hi = _support(*frozen)
    return peak, lo, hi, _heights(table, lo, hi, s.frame(peak))


def _compact_values(rows: Rows, mode: str) -> Float[Array, "... n"]:
    s, order = _sorted(rows, mode)
    peak, lo, hi, heights = _solve(s, mode)
    tau = root(heights)
    x = jnp.take_along_axis(rows.x, order, axis=-1)
    table = WindowTable.build((s.u, s.a), s.live * x, EXPONENT[mode], s.slope)
    weighted = kernel_sum(tau, _heights(table, lo, hi, s.frame(peak)))
    return weighted / kernel_sum(tau, heights)


def _compact_rank(rows: Rows, mode: str) -> Float[Array, "... n"]:
    """Column-normalised expectation of 1 .. n: sums over the rows whose window holds a column.

    Seen from the column j, the rows i are points (slope_i, -theta_i) with the tilt u_j: the dual
    of the picture seen from a row.
    """
    s, order = _sorted(rows, mode)
    peak, lo, hi, heights = _solve(s, mode)
    origin = s.frame(peak).origin
    theta = root(heights) + s.slope * origin[0] + origin[1]
    lo = jax.lax.cummin(lo, axis=lo.ndim - 1, reverse=True)
    hi = jax.lax.cummax(hi, axis=hi.ndim - 1)
    j = jnp.broadcast_to(jnp.arange(s.u.shape[-1]), lo.shape)
    n = s.u.shape[-1]
    zero, end = jnp.zeros_like(j), jnp.broadcast_to(s.number, j.shape)
    first = first_true(lambda i: take_at(hi, i) >= j, zero, end, n)
    last = first_true(lambda i: take_at(lo, i) > j, zero, end, n) - 1
    tau = theta - s.slope * s.u - s.a
    frame = Frame((s.slope, -theta), s.u)

    def total(weight):
        table = WindowTable.build((s.slope, -theta), s.live * weight, EXPONENT[mode], s.u)
        return kernel_sum(tau, _heights(table, first, last, frame))

    places = (j + 1).astype(tau.dtype)
    mass, weighted = jax.vmap(total)(jnp.stack([jnp.ones_like(tau), places]))
    reached = mass > jnp.finfo(mass.dtype).eps
    ranks = jnp.where(reached, weighted / jnp.where(reached, mass, 1), places)
    return jnp.take_along_axis(ranks, jnp.argsort(order, axis=-1), axis=-1)


def values(
    rows: Rows, mode: str, first: int | Int[Array, "... 1"], count: int
) -> Float[Array, "... count"]:
    """The soft values at the slots."""
    n = rows.z.shape[-1]
    if count <= DIRECT and (mode == "smooth" or n <= DIRECT):
        return expectation(index(rows, mode, first, count), rows.x)
    found = _smooth_values(rows) if mode == "smooth" else _compact_values(rows, mode)
    return take_at(found, jnp.broadcast_to(slots(first, count, n), (*found.shape[:-1], count)))


def rank(rows: Rows, mode: str) -> Float[Array, "... n"]:
    """Soft ranks, 1 for the largest."""
    return _smooth_rank(rows) if mode == "smooth" else _compact_rank(rows, mode)
