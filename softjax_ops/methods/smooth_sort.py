"""SmoothSort: infinitely differentiable sorting by means of elementary symmetric polynomials.

With e_k the k-th elementary symmetric polynomial of exp(x / tau) divided by its number of terms,
tau log e_k is a soft sum of the k largest entries (up to a constant), and

    y_k = tau log(e_{k+1} / e_k),  k = 0 .. n - 1

is a soft sort. By Newton's and Maclaurin's inequalities it is ordered and stays within the data;
it keeps the sum; its Jacobian P = dy/dx is doubly stochastic, and P' (1 .. n) is the soft rank.
tau is the softness times the standard deviation of the row (`standardize`), or the softness.
O(n^2) time, O(n^1.5) memory for gradients. Only mode "smooth".
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from softjax_ops.methods.softsort import slots
from softjax_ops.standardize import Rows, resolved
from softjax_ops.windows import take_at

EMPTY = -1e30
"""Logarithm of a polynomial without terms; finite, so that derivatives stay so."""


def _log_means(v: Float[Array, "... n"], live: Bool[Array, "... n"]) -> Float[Array, "... m"]:
    """log of the mean of the products of k of exp(v), k = 0 .. n; one entry joins at a time."""
    n = v.shape[-1]
    k = jnp.arange(n + 1, dtype=v.dtype)

    def join(carry, entry):
        logs, m = carry
        value, used = (a[..., None] for a in entry)
        m = m + used
        some = jnp.maximum(m, 1)
        with_it = jnp.where((k > 0) & (k <= m), jnp.log(jnp.maximum(k, 1) / some), EMPTY)
        without = jnp.where(k < m, jnp.log(jnp.maximum(m - k, 1) / some), EMPTY)
        shifted = jnp.concatenate([jnp.full_like(logs[..., :1], EMPTY), logs[..., :-1]], axis=-1)
        joined = jnp.logaddexp(with_it + value + shifted, without + logs)
        return (jnp.where(used, jnp.maximum(joined, EMPTY), logs), m), None

    @jax.checkpoint
    def block(carry, entries):
        return jax.lax.scan(join, carry, entries)

    size = math.isqrt(n - 1) + 1
    pad = [(0, 0)] * (v.ndim - 1) + [(0, size * size - n)]
    entries = tuple(
        jnp.moveaxis(jnp.pad(a, pad), -1, 0).reshape(size, size, *a.shape[:-1]) for a in (v, live)
    )
    logs = jnp.where(k == 0, 0, jnp.full((*v.shape[:-1], n + 1), EMPTY, v.dtype))
    start = (logs, jnp.zeros((*v.shape[:-1], 1), v.dtype))
    return jax.lax.scan(block, start, entries)[0][0]


def _temperature(rows: Rows) -> Float[Array, "... 1"]:
    """tau in units of the reach, where float numbers resolve it: beyond, a row is its mean."""
    tau = resolved(rows.width * rows.scale)
    return jnp.minimum(tau, float(jnp.finfo(tau.dtype).eps) ** -0.5)


def _sorted(v: Array, live: Array) -> Array:
    """Soft sort at temperature 1, descending; 0 past the live entries."""
    logs = _log_means(v, live)
    filled = jnp.arange(v.shape[-1]) < jnp.sum(live, axis=-1, keepdims=True)
    return jnp.where(filled, logs[..., 1:] - logs[..., :-1], 0)


def values(
    rows: Rows, mode: str, first: int | Int[Array, "... 1"], count: int
) -> Float[Array, "... count"]:
    """The soft values at the slots."""
    tau = _temperature(rows)
    found = tau * _sorted(rows.x / tau, rows.live)
    places = slots(first, count, found.shape[-1])
    return take_at(found, jnp.broadcast_to(places, (*found.shape[:-1], count)))


def rank(rows: Rows, mode: str) -> Float[Array, "... n"]:
    """Soft ranks, 1 for the largest: the positions sent back through the Jacobian of the sort."""
    places = jnp.arange(1, rows.z.shape[-1] + 1, dtype=rows.z.dtype)

    def weighted(v):
        return jnp.sum(places * _sorted(v, rows.live))

    return jax.grad(weighted)(rows.x / _temperature(rows))
