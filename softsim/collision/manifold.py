"""Which points of two touching surfaces become contacts: four that stand for all that touch.

Hard, the choice is MJX's chain: a the first point of the touching ones, b the one furthest from a,
c the one furthest from the line ab, d the one furthest from the lines ac and bc.

Soft, no point is chosen. The four contacts have the mean and the second moment of all touching
points, so that springs at the four feel the same force and moment as springs at all of them would,
however the body tilts. With the share w_i of point x_i, the mean m and the covariance C in the
plane, the contacts are m + C^(1/2) u_k for the corners u_k of the square (+-1, +-1): of a rectangle
along the tangents its own corners, of an edge its ends, of a single point that point, four times.
As an index over the points that is

    w_i (1 + (x_i - m)' C^(-1/2) u_k),

linear in whatever is known at the points. A polygon's contacts may be outside of it (a square's, at
45 degrees to the tangents, by 40 % of its half-length), but span about its area.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

import softjax_ops as sj
from softsim.collision.numerics import frame, soft, width
from softsim.softening import Part

PLATEAU, EDGE = 2.0, 0.4
"""Length of a plateau and of the switch at its end, relative to the width of a plain switch."""

NARROW = 0.05
"""Of the shapes' size: patches narrower than this are lines or points."""

BLUNT = 0.02
"""Of the width of a switch: by how much the deepest point of a shape is rounded off."""

CLIP = 0.001
"""The same for contacts that would be deeper than the shapes."""

TOUCH = 0.3
"""Of the width of a switch: by how much touching from not touching is rounded off."""

OUT = 20.0
"""Widths of a choice by which a false candidate is behind; the weight of 10 is a tenth of a mil."""

NONE = 1e-9

CORNERS = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])


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


def decided(truth: Float[Array, "*s"], tail: float = 0.05) -> Float[Array, "*s"]:
    """A truth value without its tails: exactly 0 below `tail` and exactly 1 above 1 - `tail`.

    What it multiplies may then jump where it is false, as a choice among nothing does.
    """
    return saturate((truth - tail) / (1 - 2 * tail))


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


def ruled_out(
    part: Part, truth: Float[Array, "*s"], far: Float[Array, ""], size: Float[Array, ""]
) -> Float[Array, "*s"]:
    """By how much (m) to lower the score of a candidate: not at all if it is rather true.

    Hard, a false one by `far`. Soft, by no more than decides the choice: a truth value that changes
    slowly would otherwise sweep through the width of the choice within a hundredth of its change.
    """
    lowest = far if part.mode == "hard" else OUT * width(part, size)
    return lowest * (1 - saturate(2 * truth))


def log_not(truth: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """log(1 - truth), finite; sums of it are products that compile quickly."""
    return jnp.log(jnp.maximum(1 - truth, 1e-30))


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
    narrow: float = NARROW,
) -> Float[Array, "4 n"]:
    """Indices of four contacts that stand for the members; each sums to 1 (see the module).

    Args:
        part: settings of the collision part.
        points: m, in any one frame.
        member: truth values, which points touch.
        normal: of the plane in which the points are seen.
        size: m, of the shapes.
        narrow: of the size, below which what differs between points counts as equal.
    """
    if part.mode == "hard":  # a choice has no derivative, which XLA would find out slowly
        return _furthest(*jax.lax.stop_gradient((points, member, normal, size)))
    _, t1, t2 = frame(part, normal)
    share = member / jnp.maximum(jnp.sum(member), NONE)
    x = jnp.matmul(points, jnp.stack([t1, t2], axis=1), precision="highest")
    x = x - share @ x
    least = (narrow * size) ** 2 * jnp.eye(2, dtype=x.dtype)
    root = _inverse_root(jnp.matmul(x.T * share, x, precision="highest") + least)
    return share * (1 + jnp.asarray(CORNERS, x.dtype) @ root @ x.T)


def _inverse_root(m: Float[Array, "2 2"]) -> Float[Array, "2 2"]:
    """m^(-1/2) of a positive definite matrix, by Cayley and Hamilton."""
    trace, root = m[0, 0] + m[1, 1], jnp.sqrt(m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0])
    return ((trace + root) * jnp.eye(2, dtype=m.dtype) - m) / (root * jnp.sqrt(trace + 2 * root))


def _furthest(
    points: Float[Array, "n 3"],
    member: Float[Array, " n"],
    normal: Float[Array, "3"],
    size: Float[Array, ""],
) -> Float[Array, "4 n"]:
    """MJX's four points; one that is no distance away is the first again."""

    def from_line(p: Float[Array, "3"], q: Float[Array, "3"]) -> Float[Array, " n"]:
        return jnp.abs((points - p) @ jnp.cross(normal, p - q))

    def chosen(distance: Float[Array, " n"], a: Int[Array, ""]) -> Int[Array, ""]:
        distance = distance * member
        return jnp.where(jnp.max(distance) > (1e-6 * size) ** 2, jnp.argmax(distance), a)

    a = jnp.argmax(member)
    p = points[a]
    b = chosen(jnp.sum((points - p) ** 2, axis=1), a)
    c = chosen(from_line(p, points[b]), a)
    d = chosen(from_line(points[b], points[c]) + from_line(p, points[c]), a)
    return jax.nn.one_hot(jnp.stack([a, b, c, d]), len(points), dtype=points.dtype)


def pressed(
    part: Part, depth: Float[Array, "*s"], deepest: Float[Array, ""], size: Float[Array, ""]
) -> tuple[Float[Array, "*s"], Float[Array, "*s"]]:
    """How much points count in soft contact, by depth below touch, or below the deepest if apart;
    and their depth, none above that (m).

    So a point that leaves the surface has faded before, and the contacts that stand for it stay
    where something touches. The deepest point is as deep as it is, and others are less: rounded
    up together, all would be as deep in shallow contact, and a body could tilt freely there.
    """
    options = soft(part, TOUCH * size)
    touch = deepest - sj.relu(deepest, **options)
    below, most = (sj.relu(x - touch, **options) for x in (depth, deepest))
    return below / size, deepest - (most - below)


def standing_for(
    part: Part,
    points: Float[Array, "n 3"],
    depth: Float[Array, " n"],
    member: Float[Array, " n"],
    deepest: Float[Array, ""],
    normal: Float[Array, "3"],
    size: Float[Array, ""],
) -> tuple[Float[Array, "4 n"], Float[Array, "4"]]:
    """Indices of four contacts that stand for all points that touch, and their distances (m).

    Hard, points touch as much as the deepest within the skin. Soft, each counts by its depth.

    Args:
        part: settings of the collision part.
        points: m, in any one frame.
        depth: m, of each.
        member: truth value of each.
        deepest: m, depth of the deepest member.
        normal: of the plane in which the points are seen.
        size: m, of the shapes.
    """
    if part.mode == "hard":
        near = depth >= deepest - within_skin(part, deepest, size)
        index = four_points(part, points, member * near, normal, size)
        return index, -pick(index, depth)
    press, depth = pressed(part, depth, deepest, size)
    index = four_points(part, points, member * press, normal, size)
    dist = no_deeper(part, -pick(index, depth), -deepest, size)
    # where many touch, the deepest of the four is as deep as they are
    return index, dist - deepest + soft_max(part, -dist, BLUNT * size)


def unique(index: Float[Array, "k n"]) -> Float[Array, " k"]:
    """Truth value for each index that no earlier one is the same."""
    same = jnp.tril(jnp.matmul(index, index.T, precision="highest") > 0.5, -1)
    return 1.0 - jnp.any(same, axis=1)


def counted(part: Part, index: Float[Array, "k n"]) -> Float[Array, " k"]:
    """Weights of contacts: hard, those that repeat an earlier one do not count; soft, all do.

    All soft contacts together are as stiff as four, also where they coincide.
    """
    return unique(index) if part.mode == "hard" else jnp.ones_like(index[:, 0])


def no_deeper(
    part: Part, dist: Float[Array, "*s"], least: Float[Array, ""], size: Float[Array, ""]
) -> Float[Array, "*s"]:
    """Distances (m), none below the least one of the shapes; hard they are as they were.

    Soft, by up to 5 rounded edges below, so that distances equal to the least one stay.
    """
    if part.mode == "hard":
        return dist
    least = least - 5 * CLIP * width(part, size)
    return least + sj.relu(dist - least, **soft(part, CLIP * size))
