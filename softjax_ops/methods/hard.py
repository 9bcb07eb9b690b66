"""The hard limit of every method: JAX's own sort, with masks. Ties keep their order."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from softjax_ops._checks import float_dtype


def order(
    x: Shaped[Array, "... n"], where: Bool[Array, "... n"] | None, ascending: bool
) -> Int[Array, "... n"]:
    """Positions of the entries in sorted order, masked entries last."""
    by_value = jnp.argsort(x, axis=-1, descending=not ascending)
    if where is None:
        return by_value
    masked = jnp.take_along_axis(~where, by_value, axis=-1)
    return jnp.take_along_axis(by_value, jnp.argsort(masked, axis=-1), axis=-1)


def _positions(x, where, first, count, ascending):
    """Positions of the slots first .. first + count - 1 of each row."""
    extreme = isinstance(first, int) and first == 0 and count == 1
    if extreme and where is None:
        best = jnp.argmin if ascending else jnp.argmax
        return best(x, axis=-1, keepdims=True)
    if isinstance(first, int) and first == 0 and not ascending and where is None:
        return jax.lax.top_k(x, count)[1]
    slots = jnp.clip(first + jnp.arange(count), 0, x.shape[-1] - 1)
    places = order(x, where, ascending)
    slots = jnp.broadcast_to(slots, (*x.shape[:-1], count))
    return jnp.take_along_axis(places, slots, axis=-1)


def _filled(where, first, count):
    """Whether a slot holds an unmasked entry."""
    return first + jnp.arange(count) < jnp.sum(where, axis=-1, keepdims=True)


def index(
    x: Shaped[Array, "... n"],
    where: Bool[Array, "... n"] | None,
    first: int | Int[Array, "... 1"],
    count: int,
    ascending: bool,
) -> Float[Array, "... count n"]:
    """One-hot rows of the float type of `x`; a slot past the unmasked entries is 0."""
    places = _positions(x, where, first, count, ascending)
    rows = jax.nn.one_hot(places, x.shape[-1], dtype=float_dtype(x))
    return rows if where is None else rows * _filled(where, first, count)[..., None]


def values(
    x: Shaped[Array, "... n"],
    where: Bool[Array, "... n"] | None,
    first: int | Int[Array, "... 1"],
    count: int,
    ascending: bool,
) -> Shaped[Array, "... count"]:
    """The entries at the slots, of the type of `x`; a slot past the unmasked entries is 0."""
    places = _positions(x, where, first, count, ascending)
    found = jnp.take_along_axis(x, places, axis=-1)
    return found if where is None else jnp.where(_filled(where, first, count), found, 0)


def rank(
    x: Float[Array, "... n"], where: Bool[Array, "... n"] | None, ascending: bool
) -> Float[Array, "... n"]:
    """Ranks from 1, by position among ties; 0 where masked."""
    ranks = jnp.argsort(order(x, where, ascending), axis=-1).astype(x.dtype) + 1
    return ranks if where is None else jnp.where(where, ranks, 0)
