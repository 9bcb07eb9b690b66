"""Signed distances of round shapes in their own frames: m, negative inside, smooth in soft modes.

Formulas: I. Quilez, "Distance functions". The ellipsoid's is a first-order bound, exact only at its
surface; the others are exact in mode "hard". Soft modes leave the zero level almost where it is.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

import softjax_ops as sj
from softsim.collision.numerics import norm, soft
from softsim.softening import Part

SignedDistance = Callable[[Part, Float[Array, "3"], Float[Array, "3"]], Float[Array, ""]]


def sphere(part: Part, p: Float[Array, "3"], size: Float[Array, "3"]) -> Float[Array, ""]:
    """|p| - r."""
    return _length(part, p, size[0])


def capsule(part: Part, p: Float[Array, "3"], size: Float[Array, "3"]) -> Float[Array, ""]:
    """Distance to the segment of half-length size[1] on z, less the radius size[0]."""
    on_axis = sj.clip(p[2], -size[1], size[1], **soft(part, size[1]))
    return _length(part, p.at[2].add(-on_axis), size[0])


def ellipsoid(part: Part, p: Float[Array, "3"], size: Float[Array, "3"]) -> Float[Array, ""]:
    """k (k - 1) / |grad k| with k = |p / size|, the distance to first order near the surface."""
    del part
    k0 = norm(p / size)
    k1 = norm(p / (size * size))
    return k0 * (k0 - 1.0) / (k1 + 1e-12 * (k1 == 0))


def cylinder(part: Part, p: Float[Array, "3"], size: Float[Array, "3"]) -> Float[Array, ""]:
    """Radius size[0], half-length size[1]; its edges are rounded in soft modes."""
    scale = jnp.minimum(size[0], size[1])
    beside = _length(part, p[:2], size[0])
    above = sj.abs(p[2], **soft(part, scale)) - size[1]
    outside = jnp.stack([sj.relu(beside, **soft(part, scale)), sj.relu(above, **soft(part, scale))])
    inside = larger(part, beside, above, scale)
    return inside - sj.relu(inside, **soft(part, scale)) + norm(outside)


def larger(
    part: Part, a: Float[Array, ""], b: Float[Array, ""], scale: Float[Array, ""]
) -> Float[Array, ""]:
    """Soft max(a, b) of lengths that compare on the length `scale`; at a = b it splits evenly."""
    return 0.5 * (a + b + sj.abs(a - b, **soft(part, scale)))


def _length(part: Part, p: Float[Array, " n"], radius: Float[Array, ""]) -> Float[Array, ""]:
    """|p| - radius; soft modes round the tip at p = 0 and keep the value 0 at |p| = radius."""
    return norm(p) - radius
