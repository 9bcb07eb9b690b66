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

A later choice depends on the earlier points themselves, never on their mean: it is made for each of
the likeliest earlier ones, and the mean taken over the outcomes. A mean that moves would carry the
next choice through its whole switch on a fraction of the way, steeper from link to link.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

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

BRANCHES = 2
"""Points per choice in soft modes for which the following choices are made."""


def soft_index(
    part: Part,
    score: Float[Array, "*s n"],
    scale: Float[Array, ""] | float = 1.0,
    real: Bool[Array, " n"] | None = None,
) -> Float[Array, "*s n"]:
    """Soft argmax over the last axis; equal scores share the weight.

    Args:
        part: settings of the collision part.
        score: of each entry.
        scale: of the scores.
        real: entries that count; the others repeat earlier ones, which a hard choice prefers.
    """
    options = soft(part, scale) | {"where": _where(part, real), "standardize": False}
    return sj.argmax(score, axis=-1, method="softsort", **options)


def soft_max(
    part: Part,
    score: Float[Array, "*s n"],
    scale: Float[Array, ""] | float = 1.0,
    real: Bool[Array, " n"] | None = None,
) -> Float[Array, "*s"]:
    """Soft maximum over the last axis; arguments as for `soft_index`."""
    options = soft(part, scale) | {"where": _where(part, real), "standardize": False}
    return sj.max(score, axis=-1, method="softsort", **options)


def _where(part: Part, real: Bool[Array, " n"] | None) -> Bool[Array, " n"] | None:
    return None if part.mode == "hard" else real


def masked(truth: Float[Array, "*s n"], real: Bool[Array, " n"] | None) -> Float[Array, "*s n"]:
    """A truth value of each entry; 0 where the entry repeats an earlier one."""
    return truth if real is None else truth * real


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


def within_skin(part: Part, deepest: Float[Array, ""], size: Float[Array, ""]) -> Float[Array, ""]:
    """How much less deep than the deepest a touching point may be: the skin, or touch itself."""
    return sj.clip(deepest, 0.0, part.skin.astype(deepest.dtype), **soft(part, size))


def ruled_out(truth: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """How far a candidate is to be kept from being chosen: not at all if it is rather true."""
    return 1 - saturate(2 * truth)


def log_not(truth: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log(1 - truth), finite; sums of it are products that compile quickly."""
    return jnp.log(jnp.maximum(1 - truth, 1e-30))


def first(member: Float[Array, "*s n"]) -> Float[Array, "*s n"]:
    """Soft index of the first of the members; sums to less than 1 if there are none."""
    earlier = np.tri(member.shape[-1], k=-1).T.astype(member.dtype)
    before = jnp.matmul(log_not(member), earlier, precision="highest")
    index = member * jnp.exp(before)
    return index / jnp.maximum(jnp.sum(index, axis=-1, keepdims=True), NONE)


def first_max(
    part: Part,
    score: Float[Array, " n"],
    scale: Float[Array, ""] | float = 1.0,
    real: Bool[Array, " n"] | None = None,
) -> Float[Array, " n"]:
    """Soft argmax whose ties go to the first; arguments as for `soft_index`."""
    if part.mode == "hard":  # the same, and cheaper to compile
        return jax.nn.one_hot(jnp.argmax(score), score.size, dtype=score.dtype)
    best = at_least(part, score, soft_max(part, score, scale, real), scale)
    return first(masked(best, real))


def peak(x: Float[Array, " n"]) -> Float[Array, ""]:
    """Smooth maximum of non-negative x that needs no scale: sum x^5 / sum x^4."""
    largest = jax.lax.stop_gradient(jnp.max(x))
    r = div(x, jnp.broadcast_to(largest, x.shape))
    return largest * div(jnp.sum(r**5), jnp.sum(r**4))


def leading(
    part: Part, index: Float[Array, " n"], count: int
) -> tuple[Int[Array, " k"], Float[Array, " k"]]:
    """The likeliest entries of a soft index, in their order, and by how much they lead the rest.

    Hard that is one entry, with 1. Soft it is `count`; their lead is continuous where an entry
    overtakes another, since the last one leads by 0 then. Unlikely entries count as 0: then the
    lead is smooth as well, unless more than `count` are likely.
    """
    index = index * saturate((index - 0.05) / 0.15)
    count = 1 if part.mode == "hard" else min(count, index.size - 1)
    rest, places = index, []
    for _ in range(count):  # much cheaper than `top_k`, which sorts all
        places.append(jnp.argmax(rest))
        rest = jnp.where(jnp.arange(index.size) == places[-1], -1.0, rest)
    place = jnp.sort(jnp.stack(places))
    return place, index[place] - jnp.max(rest)


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
    if part.mode == "hard":  # a hard choice has no derivative, which XLA would find out slowly
        points, member, normal, size = jax.lax.stop_gradient((points, member, normal, size))
    tiny = (1e-6 * size + width(part, 2 * size)) ** 2

    def furthest(distance: Float[Array, " n"], share: float) -> Float[Array, " n"]:
        """Of the members; where they are no distance away, a."""
        inside = distance * member
        index = first_max(part, inside, share * (peak(inside) + NONE * tiny))
        away = 1 - jnp.exp(jnp.sum(log_not(member * saturate(distance / tiny - 1))))
        return away * index + (1 - away) * a

    def from_line(p: Float[Array, "3"], q: Float[Array, "3"]) -> Float[Array, " n"]:
        scale = jnp.sum((p - q) ** 2) + tiny
        return sj.abs((points - p) @ jnp.cross(normal, p - q), **soft(part, scale))

    def likely(index: Float[Array, " n"]) -> tuple[Float[Array, "k 3"], Float[Array, " k"]]:
        place, lead = leading(part, index, BRANCHES)
        share = lead**2  # C1 where the last one is overtaken
        return points[place], share / jnp.maximum(jnp.sum(share), NONE)

    def second(p: Float[Array, "3"]) -> Float[Array, "3 n"]:
        b = furthest(jnp.sum((points - p) ** 2, axis=1), SHARP)
        ends, chance = likely(b)
        return jnp.vstack([b[None], pick(chance, jax.vmap(lambda q: third(p, q))(ends))])

    def third(p: Float[Array, "3"], q: Float[Array, "3"]) -> Float[Array, "2 n"]:
        c = furthest(from_line(p, q), WIDE)
        ends, chance = likely(c)
        return jnp.stack([c, pick(chance, jax.vmap(lambda r: fourth(p, q, r))(ends))])

    def fourth(p: Float[Array, "3"], q: Float[Array, "3"], r: Float[Array, "3"]):
        return furthest(from_line(q, r) + from_line(p, r), WIDE)

    # a outlives the other points when the touching face changes: they are in place when a moves
    a = first(1 - (1 - member) ** 4)
    ends, chance = likely(a)
    return jnp.vstack([a[None], pick(chance, jax.vmap(second)(ends))])


def unique(index: Float[Array, "k n"]) -> Float[Array, " k"]:
    """Truth value for each soft index that no earlier one is the same."""
    same = index @ index.T
    return jnp.prod(1 - jnp.tril(same, -1), axis=1)
