"""Signed distances of round shapes in their own frames: m, negative inside, convex, hard and soft.

Formulas: I. Quilez, "Distance functions". The ellipsoid's is exact only to first order at its
surface. Soft modes round tips and edges over a length of softness times the shape's size, and keep
the surface where it is except at a cylinder's edges.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

import softjax_ops as sj
from softsim.collision.numerics import norm, soft, width
from softsim.softening import Part

Scalar = Float[Array, ""]
SignedDistance = Callable[[Part, Float[Array, "3"], Float[Array, "3"]], Scalar]


def sphere(part: Part, p: Float[Array, "3"], size: Float[Array, "3"]) -> Scalar:
    """|p| - size[0]."""
    return _beyond(part, p, size[0])


def capsule(part: Part, p: Float[Array, "3"], size: Float[Array, "3"]) -> Scalar:
    """Distance to the segment of half-length size[1] on z, less the radius size[0]."""
    z, half = p[2], size[1]
    beyond = sj.relu(jnp.stack([z - half, -z - half]), **soft(part, half))
    return _beyond(part, jnp.stack([p[0], p[1], beyond[0] - beyond[1]]), size[0])


def ellipsoid(part: Part, p: Float[Array, "3"], size: Float[Array, "3"]) -> Scalar:
    """k (k - 1) / |grad k| / k with k = |p / size|: the distance to first order at the surface.

    At the centre the hard value depends on the direction; soft modes give minus the smallest size.
    """
    round_off = width(part)
    k0 = _hypot(p / size, round_off)
    k1 = _hypot(p / (size * size), round_off / jnp.min(size))
    return k0 * (k0 - _hypot(jnp.ones(1, p.dtype), round_off)) / (k1 + 1e-12 * (k1 == 0))


def ellipsoid_gauge(part: Part, p: Float[Array, "3"], size: Float[Array, "3"]) -> Scalar:
    """min(size) (|p / size| - 1): convex, 0 on the surface; elsewhere at most the distance.

    `ellipsoid` is closer to the distance but not convex: along a long one it has two minima
    against a plane, and the deeper one may change places in a jump.
    """
    round_off = width(part)
    whole = _hypot(jnp.ones(1, p.dtype), round_off)
    return jnp.min(size) * (_hypot(p / size, round_off) - whole)


def cylinder(part: Part, p: Float[Array, "3"], size: Float[Array, "3"]) -> Scalar:
    """Radius size[0], half-length size[1] along z."""
    scale = jnp.minimum(size[0], size[1])
    beside = _beyond(part, p[:2], size[0])
    above = 2 * sj.relu(p[2], **soft(part, scale)) - p[2] - size[1]  # a convex soft |z| - size[1]
    inside = -larger(part, beside, above, scale)
    parts = sj.relu(jnp.stack([beside, above, inside]), **soft(part, scale))
    return norm(parts[:2]) - parts[2]


def larger(part: Part, a: Scalar, b: Scalar, scale: Scalar) -> Scalar:
    """Soft max(a, b) of lengths: at least as large, convex, the smear relative to `scale`."""
    upper, lower = jnp.where(a > b, a, b), jnp.where(a > b, b, a)
    return upper + sj.relu(lower - upper, **soft(part, scale))


def largest(part: Part, x: Float[Array, " n"], scale: Scalar) -> Scalar:
    """Soft maximum of lengths, convex and monotonous in each: `larger` in rounds of a tournament.

    `manifold.soft_max`, a mean under a soft index, is neither: what it says of a shape with faces
    has dents, in which a minimum may sit until it jumps.
    """
    while x.size > 1:
        half = x.size // 2
        x = jnp.append(larger(part, x[:half], x[half : 2 * half], scale), x[2 * half :])
    return x[0]


def _beyond(part: Part, p: Float[Array, " n"], radius: Scalar) -> Scalar:
    """|p| - radius with a rounded tip at p = 0; still 0 at |p| = radius."""
    round_off = width(part, radius)
    return _hypot(p, round_off) - _hypot(radius[None], round_off)


def _hypot(p: Float[Array, " n"], extra: Scalar) -> Scalar:
    return norm(jnp.append(p, extra))
