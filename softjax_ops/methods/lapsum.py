"""LapSum: sums of Laplace distribution functions (Struski et al., arXiv 2503.06242).

With F the Laplace distribution function of scale `softness` and G(b) = sum_j F(b - u_j),
u = -z, the level b_k solves G(b_k) = k, and row k of the soft permutation is

    P_kj = F(b_{k+1} - u_j) - F(b_k - u_j),     b_0 = -inf, b_n = inf

It is doubly stochastic. The soft rank is G(u_i) + 1/2. G on sorted data is a pair of decaying
sums, and between two neighbours G(b) = k is a quadratic equation in exp(b): values and ranks cost
O(n log n). Only mode "smooth" (F is C1, piecewise analytic).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from softjax_ops.projections import normalize
from softjax_ops.standardize import Rows
from softjax_ops.windows import Frame, WindowTable, decay_sums, first_true, take_at

SMALLEST = 1e-30
"""Floor of a decayed product: the level between two distant groups stays between them."""
OUTSIDE = 100.0
"""Where b_0 and b_n stand, in softnesses beyond the data."""


def _cdf(t: Array) -> Array:
    """Distribution function of the Laplace distribution."""
    tail = jnp.exp(-jnp.abs(t)) / 2
    return jnp.where(t < 0, tail, 1 - tail)


def _sorted(rows: Rows) -> tuple[Array, Array]:
    """u / softness, ascending, and the order that sorts it."""
    order = jnp.argsort(-rows.z, axis=-1)
    return -jnp.take_along_axis(rows.z, order, axis=-1) / rows.softness, order


def _levels(u: Array, k: Int[Array, "... k"]) -> tuple[Array, Array]:
    """b_k, and the number of entries below it, for levels k in [0, n]."""
    n = u.shape[-1]
    before, after = (s[..., 0, :] for s in decay_sums(u, jnp.ones_like(u)[..., None, :]))
    excess = jax.lax.stop_gradient((after - before) / 2)
    inner = jnp.clip(k, 1, max(n - 1, 1))
    below = first_true(
        lambda j: (j + 1 - inner) + take_at(excess, j) > 0,
        jnp.zeros_like(inner),
        jnp.full_like(inner, n),
        n,
    )
    base, after_it = jnp.maximum(below - 1, 0), jnp.minimum(below, n - 1)
    left = jnp.where(below == 0, 0, take_at(before, base))
    right = jnp.where(below == n, 0, take_at(after + 1, after_it))
    gap = take_at(u, after_it) - take_at(u, base)
    lack = (inner - below).astype(u.dtype)
    root = jnp.sqrt(jnp.maximum(lack * lack + left * right * jnp.exp(-gap), SMALLEST))
    size = jnp.log(jnp.abs(lack) + root)
    from_right = take_at(u, after_it) + size - jnp.log(jnp.maximum(right, 1))
    from_left = take_at(u, base) - size + jnp.log(jnp.maximum(left, 1))
    level = jnp.where(lack > 0, from_right, from_left)
    level = jnp.where(k <= 0, u[..., :1] - OUTSIDE, level)
    return jnp.where(k >= n, u[..., -1:] + OUTSIDE, level), jnp.where(k >= n, n, below * (k > 0))


def _bounds(u: Array, first: int | Int[Array, "... 1"], count: int) -> tuple[Array, Array]:
    """The count + 1 levels around the slots, and the number of entries below each."""
    k = jnp.clip(first + jnp.arange(count + 1), 0, u.shape[-1])
    return _levels(u, jnp.broadcast_to(k, (*u.shape[:-1], count + 1)))


def index(
    rows: Rows, mode: str, first: int | Int[Array, "... 1"], count: int, log: bool = False
) -> Float[Array, "... count n"]:
    """Rows first .. first + count - 1 of the soft permutation."""
    levels, _ = _bounds(_sorted(rows)[0], first, count)
    below = _cdf(levels[..., None] + (rows.z / rows.softness)[..., None, :])
    found = below[..., 1:, :] - below[..., :-1, :]
    inside = (levels[..., 1:] > levels[..., :-1])[..., None]
    return normalize(jnp.where(inside, found, 1 / rows.z.shape[-1]), log)


def values(
    rows: Rows, mode: str, first: int | Int[Array, "... 1"], count: int
) -> Float[Array, "... count"]:
    """The soft values at the slots."""
    u, order = _sorted(rows)
    n = u.shape[-1]
    x = jnp.take_along_axis(rows.x, order, axis=-1)
    before, after = (s[..., 0, :] for s in decay_sums(u, x[..., None, :]))

    def tails(level, below):
        """sum_j x_j (F(level - u_j) - [j < below])"""
        base, after_it = jnp.maximum(below - 1, 0), jnp.minimum(below, n - 1)
        left = take_at(before, base) * jnp.exp(-jnp.abs(level - take_at(u, base)))
        right = take_at(after + x, after_it) * jnp.exp(-jnp.abs(level - take_at(u, after_it)))
        return (jnp.where(below == n, 0, right) - jnp.where(below == 0, 0, left)) / 2

    levels, below = _bounds(u, first, count)
    table, beyond = WindowTable.build((u,), x, 0), tails(levels, below)
    frame = Frame((jnp.zeros_like(levels[..., 1:]),), None)
    whole = table.query(below[..., :-1], below[..., 1:] - 1, frame)[(0,)]
    return whole + beyond[..., 1:] - beyond[..., :-1]


def rank(rows: Rows, mode: str) -> Float[Array, "... n"]:
    """Soft ranks, 1 for the largest; their sum is n (n + 1) / 2."""
    u, order = _sorted(rows)
    before, after = (s[..., 0, :] for s in decay_sums(u, jnp.ones_like(u)[..., None, :]))
    places = jnp.arange(1.5, u.shape[-1] + 1, dtype=u.dtype)
    return take_at(places + (after - before) / 2, jnp.argsort(order, axis=-1))
