"""SoftSort (Prillo & Eisenschlos, arXiv 2006.16038).

Row k of the soft permutation is the projection of -|x_(k) - x| / softness, with x_(k) the k-th
largest entry. On sorted data the kernel is a two-sided decay ("smooth") or a window (c0, c1, c2),
so values and ranks cost O(n log n) time (the compact modes per Newton step) and O(n) memory.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from softjax_ops.projections import expectation, log_project, project
from softjax_ops.standardize import Rows
from softjax_ops.windows import decay_average, window_average

DIRECT = 32
"""Up to this many slots, forming their rows is cheaper than sorting."""


def slots(first: int | Int[Array, "... 1"], count: int, length: int) -> Int[Array, "... count"]:
    """The slots first .. first + count - 1, clipped to the row."""
    return jnp.clip(first + jnp.arange(count), 0, length - 1)


def _anchors(rows: Rows, first: int | Int[Array, "... 1"], count: int) -> Float[Array, "... count"]:
    """The scores at the slots, in descending order."""
    z = rows.z
    if isinstance(first, int) and first == 0 and count <= DIRECT:
        return jax.lax.top_k(z, count)[0]
    places = jnp.broadcast_to(slots(first, count, z.shape[-1]), (*z.shape[:-1], count))
    return jnp.take_along_axis(-jnp.sort(-z, axis=-1), places, axis=-1)


def index(
    rows: Rows, mode: str, first: int | Int[Array, "... 1"], count: int, log: bool = False
) -> Float[Array, "... count n"]:
    """Rows first .. first + count - 1 of the soft permutation."""
    if isinstance(first, int) and first == 0 and count == 1:
        scores = rows.z[..., None, :]
    else:
        scores = -jnp.abs(_anchors(rows, first, count)[..., None] - rows.z[..., None, :])
    return (log_project if log else project)(scores, mode, rows.softness[..., None])


def _average(rows: Rows, y: Float[Array, "... n"], mode: str) -> Float[Array, "... n"]:
    """sum_j P_ij y_j at each position i; all in descending order of the scores."""
    u = -rows.z / rows.softness
    if mode == "smooth":
        return decay_average(u, y)
    return window_average(u, y, mode)


def values(
    rows: Rows, mode: str, first: int | Int[Array, "... 1"], count: int
) -> Float[Array, "... count"]:
    """The soft values at the slots."""
    if count <= DIRECT:
        return expectation(index(rows, mode, first, count), rows.x)
    order = jnp.argsort(-rows.z, axis=-1)
    z, x, live = (jnp.take_along_axis(a, order, axis=-1) for a in (rows.z, rows.x, rows.live))
    average = _average(rows._replace(z=z, x=x, live=live), x, mode)
    if isinstance(first, int) and first == 0:
        return average[..., :count]
    places = jnp.broadcast_to(slots(first, count, z.shape[-1]), (*z.shape[:-1], count))
    return jnp.take_along_axis(average, places, axis=-1)


def rank(rows: Rows, mode: str) -> Float[Array, "... n"]:
    """Soft ranks, 1 for the largest: each entry spread over the sorted entries near it."""
    order = jnp.argsort(-rows.z, axis=-1)
    z = jnp.take_along_axis(rows.z, order, axis=-1)
    places = jnp.broadcast_to(jnp.arange(1, z.shape[-1] + 1, dtype=z.dtype), z.shape)
    average = _average(rows._replace(z=z), places, mode)
    return jnp.take_along_axis(average, jnp.argsort(order, axis=-1), axis=-1)
