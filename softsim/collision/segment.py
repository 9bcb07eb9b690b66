"""Closest points of line segments, with soft clamps at their ends."""

import jax.numpy as jnp
from jaxtyping import Array, Float

import softjax_ops as sj
from softsim.collision.numerics import TINY, soft, unit, width
from softsim.softening import Part

# m^2 and dimensionless: MJX's guards against points and parallel lines, kept for equal results
_POINT = 1e-6
_PARALLEL = 1e-6

Point = Float[Array, "3"]


def closest_on_segment(part: Part, a: Point, b: Point, p: Point) -> Point:
    """The point of the segment from a to b closest to p; the clamp is relative to its length.

    A segment of length 0 gives a, with gradients of a point.
    """
    ab = b - a
    t = jnp.dot(p - a, ab) / (jnp.dot(ab, ab) + _POINT)
    return a + sj.clip(t, 0.0, 1.0, **soft(part)) * ab


def closest_of_segments(
    part: Part, a0: Point, a1: Point, b0: Point, b1: Point
) -> tuple[Point, Point]:
    """The closest points of segments a0-a1 and b0-b1, by the two lines' closest points.

    The lines' points are clamped to the segments, then each is projected on the other segment and
    the better pair is taken. The determinant of nearly parallel lines is smeared too: from the
    middle of a (parallel) to the lines' crossing (sine of the angle beyond the softness).
    """
    x = jnp.array([1.0, 0.0, 0.0], a0.dtype)
    dir_a, len_a = unit(a1 - a0, x)
    dir_b, len_b = unit(b1 - b0, x)
    half_a, half_b = 0.5 * len_a, 0.5 * len_b
    mid_a, mid_b = a0 + dir_a * half_a, b0 + dir_b * half_b

    between = mid_a - mid_b
    cosine = jnp.dot(dir_a, dir_b)
    along_a, along_b = jnp.dot(dir_a, between), jnp.dot(dir_b, between)
    determinant = 1 - cosine * cosine + _PARALLEL + width(part) ** 2
    t_a = (cosine * along_b - along_a) / determinant
    t_b = along_b + t_a * cosine
    on_a = mid_a + dir_a * sj.clip(t_a, -half_a, half_a, **soft(part, half_a + TINY))
    on_b = mid_b + dir_b * sj.clip(t_b, -half_b, half_b, **soft(part, half_b + TINY))

    new_a = closest_on_segment(part, a0, a1, on_b)
    new_b = closest_on_segment(part, b0, b1, on_a)
    scale = (half_a + half_b + TINY) ** 2
    first = sj.less(_square(new_a - on_b), _square(new_b - on_a), **soft(part, scale))
    return first * new_a + (1 - first) * on_a, first * on_b + (1 - first) * new_b


def _square(v: Point) -> Float[Array, ""]:
    return jnp.dot(v, v)
