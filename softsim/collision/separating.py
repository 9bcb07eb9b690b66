"""Candidate axes between two convex shapes, and the choice between faces and a single point.

Each candidate u is a unit vector from shape a to shape b; its separation is
min over b of u x - max over a of u x, and the axis of largest separation is the contact normal
(Gottschalk, Lin & Manocha, OBBTree, 1996). Overlapping: face normals and cross products of edges
suffice. Apart, the direction between the closest points is a candidate too: with it the largest
separation is the distance, and without it a lower bound.
"""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import softjax_ops as sj
from softsim.collision.contract import Convex
from softsim.collision.manifold import BLUNT, EDGE, at_least, decided, masked, ruled_out, soft_max
from softsim.collision.numerics import soft, unit, width
from softsim.collision.patch import FaceContacts
from softsim.softening import Part


class Point(eqx.Module):
    """A contact at one point: dist (m, signed), pos (m), and truth value."""

    dist: Float[Array, ""]
    pos: Float[Array, "3"]
    there: Float[Array, ""]


def placed(convex: Convex, pos: Float[Array, "3"], mat: Float[Array, "3 3"]) -> Convex:
    """The same shape with its arrays in a frame in which its own frame is at (pos, mat)."""
    return dataclasses.replace(
        convex,
        pos=pos,
        mat=mat,
        vert=pos + convex.vert @ mat.T,
        face=pos + convex.face @ mat.T,
        face_normal=convex.face_normal @ mat.T,
        edge_face_normal=convex.edge_face_normal @ mat.T,
    )


def extent(a: Convex, b: Convex) -> Float[Array, ""]:
    """A length, m, that exceeds the difference of any two separations; vertices not all 0."""
    of_a, of_b = (jnp.sum(masked(jnp.sum(x.vert**2, axis=1), x.real("vert"))) for x in (a, b))
    return 4 * (jnp.sqrt(of_a) + jnp.sqrt(of_b))


def separation(
    part: Part, a: Convex, b: Convex, axes: Float[Array, "n 3"], size: Float[Array, ""]
) -> Float[Array, " n"]:
    """How far b is in front of a along each axis, m; negative: overlap."""
    on_a = jnp.matmul(axes, a.vert.T, precision="highest")
    on_b = jnp.matmul(axes, b.vert.T, precision="highest")
    least = -soft_max(part, -on_b, BLUNT * size, b.real("vert"))
    return least - soft_max(part, on_a, BLUNT * size, a.real("vert"))


class Gap(eqx.Module):
    """About the closest points of two shapes that are apart.

    Attributes:
        middle: m, between them.
        axis: from the first to the second.
        separation: m, along it; far below that of any axis if the shapes meet.
    """

    middle: Float[Array, "3"]
    axis: Float[Array, "3"]
    separation: Float[Array, ""]


def gap(
    part: Part,
    a: Convex,
    b: Convex,
    project: Callable[[Convex, Float[Array, "3"]], Float[Array, "3"]],
    size: Float[Array, ""],
    rounds: int,
) -> Gap:
    """Closest points of two convex shapes by projecting on one and the other in turn.

    Args:
        part: settings of the collision part.
        a: one shape.
        b: the other, in the same frame.
        project: closest point of a shape to a point; the point itself if inside.
        size: m, of the shapes.
        rounds: of projections on one shape and on the other.
    """

    def turn(_: Array, points: tuple[Array, Array]) -> tuple[Array, Array]:
        on_a = project(a, points[1])
        return on_a, project(b, on_a)

    on_a, on_b = jax.lax.fori_loop(0, rounds, turn, (a.pos, b.pos))
    axis, _ = unit(on_b - on_a, jnp.array([1.0, 0.0, 0.0], on_a.dtype))
    separated = separation(part, a, b, axis[None], size)[0]
    meet = at_least(part, 0.0, separated, size)
    return Gap(0.5 * (on_a + on_b), axis, separated - ruled_out(part, 1 - meet, extent(a, b), size))


def blend(
    part: Part,
    faces: FaceContacts,
    point: Point,
    at_point: Float[Array, ""],
    size: Float[Array, ""],
) -> tuple[Float[Array, "4"], Float[Array, "4 3"], Float[Array, "4"]]:
    """dist, pos and weight of the four contacts: those of the faces, or one at a point.

    Soft, contact 0 is always there, so that the distance is defined in every pose. The others
    join it where they are not there, or where the shapes are apart and nearer beside the faces.
    """
    nearest = -soft_max(part, -faces.dist, size)
    beside = sj.greater(nearest - point.dist, width(part, 2 * size), **soft(part, EDGE * size))
    apart = sj.greater(point.dist, 0.0, **soft(part, size)) * (part.mode != "hard")
    at_point = decided(1 - (1 - at_point) * (1 - beside * apart))
    on_face = (1 - at_point) * faces.there
    found = on_face[0] + at_point * point.there
    weight = on_face.at[0].set(found) if part.mode == "hard" else jnp.ones_like(on_face)
    dist = on_face * faces.dist + (1 - on_face) * point.dist
    pos = on_face[:, None] * faces.pos + (1 - on_face)[:, None] * point.pos
    return dist, pos, weight
