"""Which points of two touching surfaces become contacts: the four that span the largest area.

The choice is a chain, as in MJX: a the first point of the touching ones, b the one furthest from
a, c the one furthest from the line ab, d the one furthest from the lines ac and bc. Each is a soft
index, a distribution over the points; the contact is the expectation of point and distance.

Equal scores are the common case: seen from one corner of a square, c and d are equally far. A plain
soft argmax would return their mean and the support area would collapse. So ties go to the first
point, soft and hard. With a truth value m_i in [0, 1] for "point i is among the best", the first
of the best is

    w_i = m_i (1 - m_1) ... (1 - m_(i-1)),

which is smooth in every m, and the hard first index where m is 0 or 1. Soft, all
within two widths of the largest score are best, so that a tie is far from any change of m.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import softjax_ops as sj
from softsim.collision.numerics import div, soft, width
from softsim.softening import Part

PLATEAU, EDGE = 2.0, 0.4
"""Length of a plateau and of the switch at its end, relative to the width of a plain switch."""

SHARP, WIDE = 0.25, 1.0
"""Width of the switch between two points, relative to the largest distance.

Of a long rectangle the opposite corner is hardly further than the next one: b needs a sharp switch.
The distances that choose c and d are areas, at most half as large for other corners of any
parallelogram: wide switches keep the chain from getting steeper link by link.
"""

NONE = 1e-9


def soft_index(
    part: Part, score: Float[Array, "*s n"], scale: Float[Array, ""] | float = 1.0
) -> Float[Array, "*s n"]:
    """Soft argmax over the last axis; equal scores share the weight. `scale`: of the scores."""
    options = soft(part, scale)
    return sj.argmax(score, axis=-1, method=part.method, standardize=False, **options)


def soft_max(
    part: Part, score: Float[Array, "*s n"], scale: Float[Array, ""] | float = 1.0
) -> Float[Array, "*s"]:
    """Soft maximum over the last axis. `scale`: of the scores."""
    options = soft(part, scale)
    return sj.max(score, axis=-1, method=part.method, standardize=False, **options)


def pick(index: Float[Array, "*s n"], x: Float[Array, "n ..."]) -> Float[Array, "..."]:
    """Expectation of the rows of x under a soft index; full precision on every device."""
    return jnp.tensordot(index, x, axes=1, precision="highest")


def saturate(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """C1 step from 0 at x <= 0 to exactly 1 at x >= 1."""
    t = jnp.clip(x, 0.0, 1.0)
    return t * t * (3 - 2 * t)


def decided(truth: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """A truth value without its tails: exactly 0 below 0.05 and exactly 1 above 0.95.

    What it multiplies may then jump where it is false, as a choice among nothing does.
    """
    return saturate((truth - 0.05) / 0.9)


def at_least(
    part: Part,
    x: Float[Array, "*s"] | float,
    bound: Float[Array, "*s"] | float,
    scale: Float[Array, "*s"] | float = 1.0,
) -> Float[Array, "*s"]:
    """x >= bound with a plateau: soft, x = bound is well inside; it fades out below.

    Args:
        part: settings of the collision part.
        x: compared with `bound`.
        bound: broadcast against x.
        scale: of x, in its unit.
    """
    return sj.greater_equal(x, bound - PLATEAU * width(part, scale), **soft(part, EDGE * scale))


def ruled_out(truth: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """How far a candidate is to be kept from being chosen: not at all if it is rather true."""
    return 1 - saturate(2 * truth)


def first(member: Float[Array, " n"]) -> Float[Array, " n"]:
    """Soft index of the first of the members; sums to less than 1 if there are none."""
    before = jnp.cumprod(1 - member)
    index = member * jnp.concatenate([jnp.ones_like(before[:1]), before[:-1]])
    return index / jnp.maximum(jnp.sum(index), NONE)


def first_max(
    part: Part, score: Float[Array, " n"], scale: Float[Array, ""] | float = 1.0
) -> Float[Array, " n"]:
    """Soft argmax whose ties go to the first; `scale` is that of the scores."""
    return first(at_least(part, score, soft_max(part, score, scale), scale))


def peak(x: Float[Array, " n"]) -> Float[Array, ""]:
    """Smooth maximum of non-negative x that needs no scale: sum x^5 / sum x^4."""
    largest = jax.lax.stop_gradient(jnp.max(x))
    r = div(x, jnp.broadcast_to(largest, x.shape))
    return largest * div(jnp.sum(r**5), jnp.sum(r**4))


def four_points(
    part: Part,
    points: Float[Array, "n 3"],
    member: Float[Array, " n"],
    normal: Float[Array, "3"],
    size: Float[Array, ""],
) -> Float[Array, "4 n"]:
    """Soft indices of the four members that span about the largest area (see the module).

    Args:
        part: settings of the collision part.
        points: m, in any one frame.
        member: truth values, which points touch.
        normal: unit, of the plane in which the area is measured.
        size: m, of the shapes; points closer than a width count as one.
    """
    tiny = (1e-4 * size + width(part, 2 * size)) ** 2

    def furthest(distance: Float[Array, " n"], share: float) -> Float[Array, " n"]:
        # where all distances are 0 the members still win; elsewhere this adds nothing
        inside = (distance + tiny * jnp.exp(-distance / tiny)) * member
        return first_max(part, inside, share * (peak(inside) + NONE * tiny))

    # a outlives the other points when the touching face changes: they are in place when a moves
    index_a = first(1 - (1 - member) ** 4)
    a = pick(index_a, points)
    index_b = furthest(jnp.sum((points - a) ** 2, axis=1), SHARP)
    b = pick(index_b, points)
    scale = jnp.sum((a - b) ** 2) + tiny

    def from_line(p: Float[Array, "3"], q: Float[Array, "3"]) -> Float[Array, " n"]:
        return sj.abs((points - p) @ jnp.cross(normal, p - q), **soft(part, scale))

    index_c = furthest(from_line(a, b), WIDE)
    c = pick(index_c, points)
    index_d = furthest(from_line(b, c) + from_line(a, c), WIDE)
    return jnp.stack([index_a, index_b, index_c, index_d])


def unique(index: Float[Array, "k n"]) -> Float[Array, " k"]:
    """Truth value for each soft index that no earlier one is the same."""
    same = index @ index.T
    return jnp.prod(1 - jnp.tril(same, -1), axis=1)
