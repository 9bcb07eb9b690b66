"""Where two convex shapes overlap, softly: corners of the overlap of faces, along a normal.

Of the faces that look along the normal and those that look against it, the likeliest pairs are laid
over each other in the plane across the normal. Corners of their overlap are corners of either face
within the other, and crossings of two edges. Those of all pairs are ONE list, and the four contacts
stand for the list (see `manifold`).

A corner weighs by how much the outline turns there, 1 - cos(angle): a corner that is cut off goes
over into the two that replace it, and a crossing of edges in line is none. So the list may have
corners twice, or as a cloud, and its moments still move as slowly as the shapes.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import softjax_ops as sj
from softsim.collision.contract import Convex
from softsim.collision.manifold import (
    decided,
    four_points,
    leading,
    log_not,
    no_deeper,
    pick,
    pressed,
    soft_index,
)
from softsim.collision.numerics import frame, soft, unit, width
from softsim.softening import Part

PAIRS = 4
"""Pairs of faces that are laid over each other; two edges that cross join two faces each."""


class FaceContacts(eqx.Module):
    """Four contacts.

    Attributes:
        dist: m, signed.
        pos: m, midway between the surfaces; hard, on the reference face.
        there: truth value.
        alone: truth value that no earlier contact is the same.
    """

    dist: Float[Array, "4"]
    pos: Float[Array, "4 3"]
    there: Float[Array, "4"]
    alone: Float[Array, "4"]


def patch(
    part: Part,
    a: Convex,
    b: Convex,
    normal: Float[Array, "3"],
    least: Float[Array, ""],
    size: Float[Array, ""],
) -> FaceContacts:
    """Four contacts that stand for where the surfaces of two shapes overlap, midway between them.

    Args:
        part: settings of the collision part, soft.
        a: one shape; vertices, faces and normals in a frame common to both.
        b: the other.
        normal: contact normal, unit, from a to b.
        least: m, separation of the shapes along the normal; no contact is deeper.
        size: m, of the shapes.
    """
    across = frame(part, normal)[1:]
    of_a = soft_index(part, a.face_normal @ normal, real=a.real("face"))
    of_b = soft_index(part, -b.face_normal @ normal, real=b.real("face"))
    place, lead = leading(part, (of_a[:, None] * of_b).ravel(), PAIRS)
    i, j = jnp.unravel_index(place, (len(of_a), len(of_b)))

    def overlap(i: Array, j: Array) -> tuple[Array, ...]:
        x, turn, inside = _corners(part, a.face[i] @ across.T, b.face[j] @ across.T, size)
        top, bottom = (
            _height(part, shape.face[k, 0], shape.face_normal[k], normal, across, x)
            for shape, k in ((a, i), (b, j))
        )
        return x, top, bottom, turn, inside

    x, top, bottom, turn, inside = jax.vmap(overlap)(i, j)
    inside = lead[:, None] * inside
    depth = top - bottom
    press, depth = pressed(part, depth, -least, size)
    member = turn * inside * press
    middle = x.reshape(-1, 2) @ across + 0.5 * (top + bottom).reshape(-1, 1) * normal
    index = four_points(part, middle, member.ravel(), normal, size)
    dist = no_deeper(part, -pick(index, depth.ravel()), least, size)
    found = decided(2 * (1 - jnp.exp(jnp.sum(log_not(inside)))))
    one = jnp.ones_like(dist)
    return FaceContacts(dist, pick(index, middle), found * one, one)


def _height(
    part: Part,
    point: Float[Array, "3"],
    face_normal: Float[Array, "3"],
    normal: Float[Array, "3"],
    across: Float[Array, "2 3"],
    x: Float[Array, "n 2"],
) -> Float[Array, " n"]:
    """How far along the normal a face is at points of the plane, m; bounded if it is upright."""
    cosine = face_normal @ normal
    slope = across @ face_normal * cosine / (cosine**2 + width(part, 0.5) ** 2 + 1e-12)
    return point @ normal - (x - across @ point) @ slope


def _corners(
    part: Part, one: Float[Array, "k 2"], two: Float[Array, "m 2"], size: Float[Array, ""]
) -> tuple[Float[Array, "n 2"], Float[Array, " n"], Float[Array, " n"]]:
    """Corners of the overlap of two polygons, how much each counts, and truth values.

    `one` goes counter-clockwise round its inside, `two` clockwise.
    """
    edge, turn = _edges(one)
    other, other_turn = _edges(two)
    end = _ahead(one, two, _turned(other), size)
    other_end = _ahead(two, one, -_turned(edge), size)

    def past(ahead: Array) -> Array:
        return sj.greater(ahead, 0.0, **soft(part, size))

    def crossed(end: Array) -> Array:
        """Truth value that an edge's two ends are on different sides."""
        after, before = past(end), past(jnp.roll(end, 1, axis=0))
        return after * (1 - before) + before * (1 - after)

    on_one, oblique = _crossing(part, one, end, size)
    on_two, _ = _crossing(part, two, other_end, size)
    on_two = on_two.swapaxes(0, 1)
    real = (turn > 0)[:, None] * (other_turn > 0)
    # almost in line, a corner may be near the other edge's line and far from that edge
    meet = 1 / (1 + jnp.sum((on_one - on_two) ** 2, axis=2) / (width(part, size) ** 2))
    crosses = crossed(end) * crossed(other_end).T * oblique * meet * real
    angle = 1 + edge @ other.T

    within = jnp.prod(1 - past(end), axis=1), jnp.prod(1 - past(other_end), axis=1)
    points = jnp.concatenate([one, two, 0.5 * (on_one + on_two).reshape(-1, 2)])
    turns = jnp.concatenate([turn, other_turn, angle.ravel()])
    return points, turns, jnp.concatenate([*within, crosses.ravel()])


def _crossing(
    part: Part, polygon: Float[Array, "k 2"], end: Float[Array, "k m"], size: Float[Array, ""]
) -> tuple[Float[Array, "k m 2"], Float[Array, "k m"]]:
    """Where each edge crosses lines, m, and how oblique to them it is: 0 if parallel, at most 1.

    Args:
        part: settings of the collision part.
        polygon: m, corners; an edge ends in each.
        end: m, how far each corner is beyond the lines.
        size: m, of the shapes.
    """
    start = jnp.roll(end, 1, axis=0)
    way = end - start
    oblique = way**2 / (way**2 + width(part, size) ** 2)  # parallel edges cross nowhere
    t = jnp.clip(0.5 - 0.5 * oblique * (end + start) / jnp.where(way == 0, 1.0, way), 0.0, 1.0)
    begin = jnp.roll(polygon, 1, axis=0)[:, None]
    return begin + t[..., None] * (polygon[:, None] - begin), oblique


def _edges(polygon: Float[Array, "k 2"]) -> tuple[Float[Array, "k 2"], Float[Array, " k"]]:
    """Directions of the edges that end in each corner, and by how much the outline turns there.

    A corner that repeats the one before ends no edge and does not turn.
    """
    along, length = unit(polygon - jnp.roll(polygon, 1, axis=0), jnp.zeros(2, polygon.dtype))
    after = jnp.roll(along, -1, axis=0)
    after = jnp.where((jnp.roll(length, -1) > 0)[:, None], after, along[0])
    return along, (length > 0) * (1 - jnp.sum(along * after, axis=1))


def _turned(v: Float[Array, "k 2"]) -> Float[Array, "k 2"]:
    """Vectors turned by a quarter, counter-clockwise."""
    return jnp.stack([-v[:, 1], v[:, 0]], axis=1)


def _ahead(
    points: Float[Array, "k 2"],
    polygon: Float[Array, "m 2"],
    outward: Float[Array, "m 2"],
    size: Float[Array, ""],
) -> Float[Array, "k m"]:
    """How far points are beyond the sides of a polygon, m; far behind a side without length."""
    beyond = points @ outward.T - jnp.sum(polygon * outward, axis=1)
    return beyond - 10 * size * jnp.all(outward == 0, axis=1)
