"""From the data to the scores that methods sort: mask, infinities, scale, squash.

A method never meets an infinity, a NaN or a masked entry. Such entries are not `live`: they stand
far below the live ones, out of reach of every mode, and have no influence on them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

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


def moments(
    x: Float[Array, "... n"], live: Bool[Array, "... n"]
) -> tuple[Float[Array, "... 1"], Float[Array, "... 1"]]:
    """Mean and scale of the live entries of each row.

    The scale is the standard deviation, except for a row that is constant: there it is 1, so that
    equal entries get the derivative of an unscaled row and not one that is 1000 times larger.
    """
    number = jnp.maximum(jnp.sum(live, axis=-1, keepdims=True), 1)
    mean = jnp.sum(jnp.where(live, x, 0), axis=-1, keepdims=True) / number
    deviation = jnp.where(live, x - mean, 0)
    variance = jnp.sum(deviation**2, axis=-1, keepdims=True) / number
    constant = jnp.exp(-10 * variance / VARIANCE_FLOOR)
    return mean, jnp.sqrt(variance + VARIANCE_FLOOR + constant)


def make_rows(
    x: Float[Array, "... n"],
    where: Bool[Array, "... n"] | None,
    softness: Float[Array, "... 1"],
    standardize: bool,
) -> Rows:
    """The rows of `x`, with `where` selecting the entries that take part.

    With `standardize`, scores are sigmoid((x - mean) / scale), with the moments of the live
    entries alone: a mask or an infinity does not flatten the rest.
    """
    live = jnp.isfinite(x) if where is None else jnp.isfinite(x) & where
    x = jnp.where(live, x, 0)
    if standardize:
        mean, scale = moments(x, live)
        z, lowest = jax.nn.sigmoid((x - mean) / scale), jnp.zeros_like(mean)
    else:
        lowest = jnp.min(x, axis=-1, keepdims=True)
        z, scale = x, jnp.ones_like(lowest)
    far = jax.lax.stop_gradient(lowest - FAR * softness)
    return Rows(x, jnp.where(live, z, far), live, softness, scale, standardize)
