"""From the data to the scores that methods sort: mask, infinities, scale, squash, resolution.

A method never meets an infinity, a NaN or a masked entry. Such entries are not `live`: they stand
far below the live ones, out of reach of every mode, and have no influence on them.

Nor does it meet a number of the data's size. Values are counted from the row's mean in units of its
reach (the largest distance from the mean), scores lie in [-1, 1], and their softness is at most 1
and at least the resolution of the dtype. Below that the scores cannot tell a softer switch from a
harder one: operators then are as hard as the dtype can show, with finite slopes.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

FAR = 200.0
"""Distance, in units of the softness, from where an entry has no weight: exp(-200) = 0 in float32,
and the compact modes end at 5."""
RESOLUTION = 32
"""Smallest softness of scores in [-1, 1], in rounding units: a score, and so a slope, is then known
to 1/32 of a softness."""
STEEP = 256
"""Times the length of a row: the largest slope of an operator at softness 1, with some to spare.
Where a softness would make it overflow, a larger one is used."""
VARIANCE_FLOOR = 1e-6
SPREAD_OUT = 1e4
"""A reach from which on a row is not constant by any measure."""


def resolved(softness: Float[Array, "..."]) -> Float[Array, "..."]:
    """A softness in units of the reach that scores of this dtype can resolve."""
    return jnp.maximum(softness, RESOLUTION * jnp.finfo(softness.dtype).eps)


@jax.custom_jvp
def rounded(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """A product as a number of its dtype: what follows is not fused with the multiplication.

    A compiler that computes a product twice, once in a fused multiply-add, has two numbers that
    differ by a rounding. Divided by a softness near the resolution they are far apart: a maximum is
    not attained, a sum is not that of its parts. The minimum, never active, stands between.
    """
    return jnp.minimum(x, jnp.finfo(x.dtype).max)


@rounded.defjvp
def _rounded_jvp(primals: tuple, tangents: tuple) -> tuple:
    return rounded(primals[0]), tangents[0]


class Rows(NamedTuple):
    """Rows of scores along the last axis, the input of every method.

    Attributes:
        x: the values to be averaged, from the mean in units of the reach; 0 where not live.
        z: the scores to be compared, in [-1, 1]; far below where not live.
        live: finite and not masked.
        softness: in [resolution, 1], in the unit of `z`.
        width: the softness as it was given, in standard deviations, or without standardization in
            the unit of the data.
        grow: the unit of `x` in those units.
        standardize: static; whether `z` is a squashed `x`.
        mean: of the live entries, halved.
        reach: the unit of `x`, halved, so that no difference of two finite numbers overflows.
    """

    x: Float[Array, "... n"]
    z: Float[Array, "... n"]
    live: Bool[Array, "... n"]
    softness: Float[Array, "... 1"]
    width: Float[Array, "... 1"]
    grow: Float[Array, "... 1"]
    standardize: bool
    mean: Float[Array, "... 1"]
    reach: Float[Array, "... 1"]

    def frozen_scores(self) -> "Rows":
        """The same rows with a constant soft index: derivatives flow through the values only."""
        stop = jax.lax.stop_gradient
        return self._replace(z=stop(self.z), softness=stop(self.softness))

    def number(self) -> Float[Array, "... 1"]:
        """Number of live entries of each row."""
        return jnp.sum(self.live, axis=-1, keepdims=True).astype(self.z.dtype)

    @property
    def scale(self) -> Float[Array, "... 1"]:
        """1 / grow; its derivative squares no small number."""
        return jnp.exp(-jnp.log(self.grow))

    def far(self) -> Float[Array, "... 1"]:
        """A score without influence on the live ones."""
        return _far(self.softness)

    def data(self, found: Float[Array, "... k"]) -> Float[Array, "... k"]:
        """Averages of `x` in the unit of the data."""
        return 2 * (self.mean + self.reach * found)


def _far(softness: Float[Array, "... 1"]) -> Float[Array, "... 1"]:
    return jax.lax.stop_gradient(-1 - FAR * softness)


def _magnification(
    variance: Float[Array, "... 1"], reach: Float[Array, "... 1"]
) -> Float[Array, "... 1"]:
    """The reach in units of the standard deviation; for a row that is constant in those of 1.

    So equal entries get the derivative of an unscaled row and not one that is 1000 times larger.

    Args:
        variance: in units of the reach squared.
        reach: halved, in the unit of the data.
    """
    whole = jnp.maximum(reach, 1)
    part = reach / whole
    size = jnp.minimum(reach, SPREAD_OUT)
    floor = VARIANCE_FLOOR + jnp.exp(-40 * variance * size * size / VARIANCE_FLOOR)
    return part / jnp.sqrt(variance * part * part + floor / (4 * whole * whole))


@jax.custom_jvp
def _standard(
    x: Float[Array, "... n"],
    live: Bool[Array, "... n"],
    number: Float[Array, "... 1"],
    reach: Float[Array, "... 1"],
) -> tuple[Float[Array, "... n"], Float[Array, "... 1"]]:
    """(x - mean) / standard deviation of the live entries, and their variance.

    Args:
        x: from the mean, which is held constant: its part of the derivative is that of `x`; in
            units of the reach; 0 where not live.
        live: the entries that count.
        number: how many they are, at least 1.
        reach: halved, in the unit of the data; constant.
    """
    variance = jnp.sum(x * x, axis=-1, keepdims=True) / number
    return x * _magnification(variance, reach), variance


@_standard.defjvp
def _standard_jvp(primals: tuple, tangents: tuple) -> tuple:
    """Two sums over the row: the deviations sum to zero, so the mean's part of d variance is 0."""
    _, live, number, reach = primals
    u, variance = _standard(*primals)
    dx, grow = tangents[0], _magnification(variance, reach)
    dvariance = 2 * jnp.sum(u * dx, axis=-1, keepdims=True) / (grow * number)
    dgrow = jax.jvp(lambda v: _magnification(v, reach), (variance,), (dvariance,))[1]
    du = grow * (dx - jnp.sum(dx, axis=-1, keepdims=True) / number) + u * (dgrow / grow)
    return (u, variance), (jnp.where(live, du, 0), dvariance)


def make_rows(
    x: Float[Array, "... n"],
    where: Bool[Array, "... n"] | None,
    softness: Float[Array, "... 1"],
    standardize: bool,
    number: Int[Array, "... 1"],
    mean: Float[Array, "... 1"],
    dtype: Any,
) -> Rows:
    """The rows of `x`, with `where` selecting the entries that take part.

    There are `number` finite ones, and `mean` is their mean. `dtype` is that of the argument, whose
    resolution counts; `x` has at least float32.

    With `standardize`, scores are sigmoid((x - mean) / deviation) - 1/2, with the moments of the
    live entries alone: a mask or an infinity does not flatten the rest.
    """
    stop = jax.lax.stop_gradient
    live = jnp.isfinite(x) if where is None else jnp.isfinite(x) & where
    number = jnp.maximum(number, 1).astype(x.dtype)
    mean = stop(mean) / 2
    half = jnp.where(live, x / 2 - mean, 0)
    reach = stop(jnp.max(jnp.abs(half), axis=-1, keepdims=True))
    reach = jnp.where(reach > 0, reach, 0.5)
    x = rounded(half / reach)
    fine, steep = float(jnp.finfo(dtype).eps), STEEP * x.shape[-1] / float(jnp.finfo(dtype).max)
    softness = jnp.maximum(softness, min(fine, steep))
    if standardize:
        u, variance = _standard(x, live, number, reach)
        grow = _magnification(variance, reach)
        unit = jnp.maximum(jnp.tanh(stop(grow) / 2) / 2, stop(softness))
        z, relative = jnp.tanh(u / 2) * (0.5 / unit), softness / unit
    else:
        grow, half_unit = 2 * reach, jnp.maximum(reach, stop(softness) / 2)
        z, relative = x * (reach / half_unit), softness / 2 / half_unit
    relative = jnp.maximum(resolved(relative), fine)
    return Rows(
        x,
        jnp.where(live, rounded(z), _far(relative)),
        live,
        relative,
        softness,
        grow,
        standardize,
        mean,
        reach,
    )
