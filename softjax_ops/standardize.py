"""From the data to the scores that methods sort: mask, infinities, scale, squash.

A method never meets an infinity, a NaN or a masked entry. Such entries are not `live`: they stand
far below the live ones, out of reach of every mode, and have no influence on them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

FAR = 200.0
"""Distance, in units of the softness, from where an entry has no weight: exp(-200) = 0 in float32,
and the compact modes end at 5."""
VARIANCE_FLOOR = 1e-6


class Rows(NamedTuple):
    """Rows of scores along the last axis, the input of every method.

    Attributes:
        x: the values to be averaged; 0 where not live.
        z: the scores to be compared, finite; far below the others where not live.
        live: finite and not masked.
        softness: positive, in the unit of `z`.
        scale: the unit of `x`: its standard deviation, or 1 without standardization.
        standardize: static; whether `z` is a squashed `x` (in (0, 1)) or `x` itself.
    """

    x: Float[Array, "... n"]
    z: Float[Array, "... n"]
    live: Bool[Array, "... n"]
    softness: Float[Array, "... 1"]
    scale: Float[Array, "... 1"]
    standardize: bool

    def frozen_scores(self) -> "Rows":
        """The same rows with a constant soft index: derivatives flow through the values only."""
        stop = jax.lax.stop_gradient
        return self._replace(z=stop(self.z), softness=stop(self.softness), scale=stop(self.scale))

    def number(self) -> Float[Array, "... 1"]:
        """Number of live entries of each row."""
        return jnp.sum(self.live, axis=-1, keepdims=True).astype(self.z.dtype)


def _scale(variance: Float[Array, "... 1"]) -> Float[Array, "... 1"]:
    """The standard deviation; for a row that is constant 1.

    So equal entries get the derivative of an unscaled row and not one that is 1000 times larger.
    """
    return jnp.sqrt(variance + VARIANCE_FLOOR + jnp.exp(-10 * variance / VARIANCE_FLOOR))


@jax.custom_jvp
def _standard(
    x: Float[Array, "... n"],
    live: Bool[Array, "... n"],
    number: Int[Array, "... 1"],
    total: Float[Array, "... 1"],
) -> tuple[Float[Array, "... n"], Float[Array, "... 1"]]:
    """(x - mean) / scale of the live entries (0 for others), and their variance.

    Args:
        x: 0 where not live.
        live: the entries that count.
        number: how many they are.
        total: the sum of `x`, held constant: its part of the derivative is that of `x`.
    """
    number = jnp.maximum(number, 1).astype(x.dtype)
    mean = total / number
    deviation = jnp.where(live, x - mean, 0)
    variance = jnp.sum(deviation**2, axis=-1, keepdims=True) / number
    return deviation / _scale(variance), variance


@_standard.defjvp
def _standard_jvp(primals: tuple, tangents: tuple) -> tuple:
    """Two sums over the row: the deviations sum to zero, so the mean's part of d variance is 0."""
    x, live, number, total = primals
    u, variance = _standard(x, live, number, total)
    number = jnp.maximum(number, 1).astype(x.dtype)
    dx = jnp.where(live, tangents[0], 0)
    dvariance = 2 * _scale(variance) * jnp.sum(u * dx, axis=-1, keepdims=True) / number
    scale, dscale = jax.jvp(_scale, (variance,), (dvariance,))
    du = (dx - jnp.sum(dx, axis=-1, keepdims=True) / number - u * dscale) / scale
    return (u, variance), (jnp.where(live, du, 0), dvariance)


def make_rows(
    x: Float[Array, "... n"],
    where: Bool[Array, "... n"] | None,
    softness: Float[Array, "... 1"],
    standardize: bool,
    number: Int[Array, "... 1"],
    total: Float[Array, "... 1"],
) -> Rows:
    """The rows of `x`, with `where` selecting the entries that take part.

    There are `number` finite ones; `total` is their sum.

    With `standardize`, scores are sigmoid((x - mean) / scale), with the moments of the live
    entries alone: a mask or an infinity does not flatten the rest.
    """
    live = jnp.isfinite(x) if where is None else jnp.isfinite(x) & where
    x = jnp.where(live, x, 0)
    if standardize:
        u, variance = _standard(x, live, number, total)
        z, scale, lowest = jax.nn.sigmoid(u), _scale(variance), jnp.zeros_like(variance)
    else:
        lowest = jnp.min(x, axis=-1, keepdims=True)
        z, scale = x, jnp.ones_like(lowest)
    far = jax.lax.stop_gradient(lowest - FAR * softness)
    return Rows(x, jnp.where(live, z, far), live, softness, scale, standardize)
