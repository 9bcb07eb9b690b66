"""From arguments to rows and back: the one path of every axiswise operator.

checks -> axis last -> rows of scores -> the method's function -> infinities, masks and NaN put
back -> axis in place. The numerical part is compiled once per shape and static argument; the
softness is an array, so a new value never compiles again.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Shaped

from softjax_ops._checks import (
    HARD_INDEX,
    MODES,
    as_float,
    check_axis,
    check_mode,
    check_softness,
)
from softjax_ops._types import Softness
from softjax_ops.methods import METHODS, check_method, hard
from softjax_ops.standardize import Rows, make_rows


class Static(NamedTuple):
    """The arguments that select code: a new value compiles again."""

    mode: str
    method: str
    standardize: bool
    ascending: bool
    gated_grad: bool = True
    log: bool = False
    options: Any = None

    @property
    def hard(self) -> bool:
        return self.mode in ("hard", HARD_INDEX)

    def extra(self) -> dict[str, Any]:
        return {} if self.options is None else {"options": self.options}


class Input(NamedTuple):
    """Checked arguments with the axis moved to the end.

    Attributes:
        x: (..., n).
        where: broadcast to `x`, or None.
        softness: (..., 1), or scalar in mode "hard".
        axis: where the axis was, None if `x` was flattened.
        shape: of the argument.
    """

    x: Shaped[Array, "... n"]
    where: Bool[Array, "... n"] | None
    softness: Float[Array, "..."]
    axis: int | None
    shape: tuple[int, ...]

    def arrays(self) -> "Input":
        """Without the static part, to be passed to compiled code."""
        return self._replace(axis=None, shape=())


def check_options(method: str, options: Mapping[str, Any] | None) -> Any:
    """The options of optimal transport, as a hashable object; None for other methods."""
    parse = METHODS[method].options
    if parse is not None:
        return parse(options)
    if options:
        raise ValueError(f"ot_kwargs: got {dict(options)} with method={method!r}, expected none")
    return None


def _softness_rows(softness: Array, shape: tuple[int, ...], axis: int | None) -> Array:
    """The softness with a last axis of length 1: one number, or one per row."""
    if softness.size == 1:
        return softness.reshape((1,))
    kept = () if axis is None else (*shape[:axis], 1, *shape[axis + 1 :])
    try:
        if axis is None or jnp.broadcast_shapes(softness.shape, kept) != kept:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"softness must be a scalar or broadcast to {kept} (one value per row), "
            f"got shape {softness.shape}"
        ) from None
    padded = softness.reshape((1,) * (len(shape) - softness.ndim) + softness.shape)
    return jnp.moveaxis(padded, axis or 0, -1)


def _mask(where: ArrayLike, shape: tuple[int, ...]) -> Array:
    mask = jnp.asarray(where)
    if mask.dtype != bool:
        raise ValueError(f"where must be boolean, got dtype {mask.dtype}")
    try:
        return jnp.broadcast_to(mask, shape)
    except ValueError:
        raise ValueError(f"where must broadcast to {shape}, got shape {mask.shape}") from None


def read_input(
    x: ArrayLike,
    axis: int | None,
    softness: Softness,
    where: ArrayLike | None,
    static: Static,
    needs_index: bool = False,
    as_floats: bool = False,
) -> Input:
    """Check the arguments all axiswise operators share, and move the axis to the end."""
    check_mode(static.mode, (*MODES, HARD_INDEX))
    check_method(static.method, static.mode, needs_index)
    if not static.gated_grad and not METHODS[static.method].expectation:
        raise ValueError(f"gated_grad=False is not supported by method={static.method!r}")
    x = jnp.asarray(x) if static.mode == "hard" and not as_floats else as_float(x)
    shape = x.shape
    axis = None if axis is None else check_axis(axis, x.ndim)
    mask = None if where is None else _mask(where, shape)
    if not static.hard:
        width = jnp.promote_types(x.dtype, jnp.float32)
        softness = _softness_rows(check_softness(softness, width), shape, axis)
    else:
        softness = jnp.ones((1,))
    if axis is None:
        x, mask = x.ravel(), None if mask is None else mask.ravel()
    else:
        x = jnp.moveaxis(x, axis, -1)
        mask = None if mask is None else jnp.moveaxis(mask, axis, -1)
    if x.shape[-1] == 0:
        raise ValueError(f"x must have at least one entry along axis={axis}, got shape {shape}")
    return Input(x, mask, softness, axis, shape)


LIVE, TOP, BOTTOM, MASKED = range(4)
"""What a slot holds: a finite entry, +inf, -inf, or nothing (past the last unmasked entry)."""


class _Ends(NamedTuple):
    """The entries beside the finite ones: they are sorted exactly, and a NaN spoils its row.

    Attributes:
        top: number of entries at +inf.
        live: number of finite entries.
        bottom: number of entries at -inf.
        poison: 0, or NaN if an entry is NaN.
        mean: of the finite entries.
    """

    top: Int[Array, "... 1"]
    live: Int[Array, "... 1"]
    bottom: Int[Array, "... 1"]
    poison: Float[Array, "... 1"]
    mean: Float[Array, "... 1"]

    def kind_at(self, slots: Int[Array, "... k"]) -> Int[Array, "... k"]:
        """What a slot holds."""
        lower = self.top + self.live
        kind = jnp.where(slots < lower + self.bottom, BOTTOM, MASKED)
        kind = jnp.where(slots < lower, LIVE, kind)
        return jnp.where(slots < self.top, TOP, kind)


def _ends(x: Array, where: Array | None) -> _Ends:
    """What stands beside the finite entries; masked entries of `x` are 0.

    Counts are sums of floats, which are exact up to 2^24 in float32 and faster than those of
    integers. The mean is that of a row divided by its length: it does not overflow.
    """
    x, n = jax.lax.stop_gradient(x), x.shape[-1]

    def total(a):
        return jnp.sum(a, axis=-1, keepdims=True)

    def count(there):
        return total(there.astype(x.dtype)).astype(int)

    top, bottom = count(x == jnp.inf), count(x == -jnp.inf)
    used = n if where is None else jnp.sum(where, axis=-1, keepdims=True)
    live = used - top - bottom
    share = total(jnp.where(jnp.isinf(x), 0, x / n))
    poison = jnp.where(jnp.isnan(share), jnp.nan, 0).astype(x.dtype)
    mean = jnp.where(jnp.isnan(share), 0, share) * (n / jnp.maximum(live, 1).astype(x.dtype))
    return _Ends(top, live, bottom, poison, mean)


def _rows(x, where, softness, static: Static) -> tuple[Rows, _Ends, Array]:
    """The rows, what stands beside their finite entries, and the data in descending order."""
    y = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    y = -y if static.ascending else y
    y = y if where is None else jnp.where(where, y, 0)
    ends = _ends(y, where)
    moments = ends.live, ends.mean
    return make_rows(y, where, softness, static.standardize, *moments, x.dtype), ends, y


def _move_down(found: Array, ends: _Ends, first: Array | None, axis: int) -> Array:
    """Slots of the finite entries to slots of the row: +inf entries come first."""
    if first is not None or found.shape[axis] == 1:
        return found

    def roll(found):
        places = jnp.arange(found.shape[axis]) - ends.top
        places = jnp.maximum(places, 0)
        places = places if axis == -1 else places[..., None]
        return jnp.take_along_axis(found, places, axis=axis)

    return jax.lax.cond(jnp.any(ends.top > 0), roll, lambda found: found, found)


@partial(jax.jit, static_argnames=("count", "static"))
def soft_index(
    x: Shaped[Array, "... n"],
    where: Bool[Array, "... n"] | None,
    softness: Float[Array, "... 1"],
    first: Int[Array, "... 1"] | None,
    count: int,
    static: Static,
) -> Float[Array, "... count n"]:
    """The distributions at slots first .. first + count - 1 (None: 0); log if static.log."""
    start = 0 if first is None else first
    if static.hard:
        found = hard.index(x, where, start, count, static.ascending)
        return jnp.log(found) if static.log else found
    rows, ends, y = _rows(x, where, softness, static)
    begin = 0 if first is None else first - ends.top
    method = METHODS[static.method]
    found = method.index(rows, static.mode, begin, count, static.log, **static.extra())
    found = _move_down(found, ends, first, axis=-2)
    kind = ends.kind_at(start + jnp.arange(count))
    number = jnp.where(kind == TOP, ends.top, ends.bottom)
    share = 1 / jnp.maximum(number, 1).astype(found.dtype)
    share, nothing = (jnp.log(share), -jnp.inf) if static.log else (share, 0.0)
    end = jnp.where(kind == TOP, jnp.inf, jnp.where(kind == BOTTOM, -jnp.inf, jnp.nan))
    there = y[..., None, :] == end.astype(y.dtype)[..., None]
    other = jnp.where(there, share[..., None], nothing)
    found = jnp.where(rows.live[..., None, :] & (kind == LIVE)[..., None], found, other)
    return (found + ends.poison[..., None]).astype(x.dtype)


@partial(jax.jit, static_argnames=("count", "static"))
def soft_values(
    x: Shaped[Array, "... n"],
    where: Bool[Array, "... n"] | None,
    softness: Float[Array, "... 1"],
    first: Int[Array, "... 1"] | None,
    count: int,
    static: Static,
) -> Float[Array, "... count"]:
    """The soft values at slots first .. first + count - 1 (None: 0)."""
    start = 0 if first is None else first
    if static.hard:
        return hard.values(x, where, start, count, static.ascending)
    rows, ends, _ = _rows(x, where, softness, static)
    rows = rows if static.gated_grad else rows.frozen_scores()
    begin = 0 if first is None else first - ends.top
    found = METHODS[static.method].values(rows, static.mode, begin, count, **static.extra())
    found = _move_down(rows.data(found), ends, first, axis=-1)
    kind = ends.kind_at(start + jnp.arange(count))
    found = jnp.where(kind == LIVE, found, 0)
    found = jnp.where(kind == TOP, jnp.inf, jnp.where(kind == BOTTOM, -jnp.inf, found))
    return ((-found if static.ascending else found) + ends.poison).astype(x.dtype)


@partial(jax.jit, static_argnames=("static",))
def soft_rank(
    x: Shaped[Array, "... n"],
    where: Bool[Array, "... n"] | None,
    softness: Float[Array, "... 1"],
    static: Static,
) -> Float[Array, "... n"]:
    """The soft ranks, from 1; equal infinities share their mean rank, masked entries get 0."""
    if static.hard:
        return hard.rank(x, where, static.ascending)
    rows, ends, y = _rows(x, where, softness, static)
    found = METHODS[static.method].rank(rows, static.mode, **static.extra()) + ends.top
    last = ends.top + ends.live + (ends.bottom + 1) / 2
    found = jnp.where(y == jnp.inf, (ends.top + 1) / 2, found)
    found = jnp.where(y == -jnp.inf, last, found)
    found = found if where is None else jnp.where(where, found, 0)
    return (found + ends.poison).astype(x.dtype)


def put_back(found: Float[Array, "... k"], data: Input) -> Array:
    """One value per slot, the slots at the place of the axis."""
    return found if data.axis is None else jnp.moveaxis(found, -1, data.axis)


def put_back_index(found: Float[Array, "... k n"], data: Input) -> Array:
    """One distribution per slot, the slots at the place of the axis."""
    return found if data.axis is None else jnp.moveaxis(found, -2, data.axis)


def reduce_back(found: Float[Array, "..."], data: Input, keepdims: bool) -> Array:
    """One value per row; the axis dropped, or kept with length 1."""
    if not keepdims:
        return found
    if data.axis is None:
        return found.reshape(found.shape + (1,) * len(data.shape))
    return jnp.expand_dims(found, found.ndim - (len(data.shape) - 1) + data.axis)


def reduce_back_index(found: Float[Array, "... n"], data: Input, keepdims: bool) -> Array:
    """One distribution per row; the axis dropped, or kept with length 1."""
    if not keepdims:
        return found
    if data.axis is None:
        return found.reshape(found.shape[:-1] + (1,) * len(data.shape) + found.shape[-1:])
    return jnp.expand_dims(found, found.ndim - len(data.shape) + data.axis)
