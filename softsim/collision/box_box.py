"""Two boxes: the separating axis test, then faces or a pair of edges.

Each candidate axis u is a unit vector from box a to box b; its separation is
min over b of u x - max over a of u x, and the axis of largest separation is the contact normal
(Gottschalk, Lin & Manocha, OBBTree, 1996). Overlapping boxes: the six face axes and the nine cross
products of edges suffice. Apart, the direction between the closest points is a candidate too: then
the largest separation is the distance.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from mujoco.mjx import GeomType

import softjax_ops as sj
from softsim.collision.clipping import FaceContacts, face_contacts
from softsim.collision.contract import Convex, Hit, pair
from softsim.collision.convex import definite
from softsim.collision.manifold import EDGE, first_max, pick, soft_index, soft_max
from softsim.collision.numerics import frame, soft, unit, width
from softsim.collision.polygon import inradius, smaller
from softsim.softening import Part

PARALLEL = 0.99  # MJX prefers a face where an edge axis is within this cosine of its normal
NO_AXIS = 1e-6  # MJX's bound on the squared sine between two edges
ROUNDS = 3


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
    """A length no separation of the two exceeds, m; constant to derivatives."""
    return jax.lax.stop_gradient(2 * jnp.max(jnp.abs(a.vert)) + 2 * jnp.max(jnp.abs(b.vert)))


def separation(
    part: Part, a: Convex, b: Convex, axes: Float[Array, "n 3"], size: Float[Array, ""]
) -> Float[Array, " n"]:
    """How far b is in front of a along each axis, m; negative: overlap."""
    on_a = jnp.matmul(axes, a.vert.T, precision="highest")
    on_b = jnp.matmul(axes, b.vert.T, precision="highest")
    return -soft_max(part, -on_b, size) - soft_max(part, on_a, size)


def _closest(
    part: Part, a: Convex, b: Convex, size: Float[Array, ""]
) -> tuple[Float[Array, "3"], Float[Array, "3"]]:
    """About the closest points of two boxes, by projecting on one and the other in turn."""

    def project(box: Convex, point: Float[Array, "3"]) -> Float[Array, "3"]:
        local = box.mat.T @ (point - box.pos)
        return box.pos + box.mat @ sj.clip(local, -box.size, box.size, **soft(part, size))

    on_b = b.pos
    for _ in range(ROUNDS):
        on_a = project(a, on_b)
        on_b = project(b, on_a)
    return on_a, on_b


def apart(
    part: Part,
    a: Convex,
    b: Convex,
    on_a: Float[Array, "3"],
    on_b: Float[Array, "3"],
    size: Float[Array, ""],
) -> tuple[Float[Array, "1 3"], Float[Array, "1"]]:
    """The axis between two closest points and its separation (m); far below others if they meet."""
    axis, length = unit(on_b - on_a, jnp.array([1.0, 0.0, 0.0], on_a.dtype))
    real = sj.greater(length, width(part, size), **soft(part, EDGE * size))
    axis = axis[None]
    return axis, separation(part, a, b, axis, size) - 4 * extent(a, b) * (1 - real)


def _edge_axes(
    part: Part, a: Convex, b: Convex
) -> tuple[Float[Array, "9 3"], Float[Array, "9"]]:
    """Cross products of the boxes' axes, normalised, and the truth value that they are not 0."""
    cross = jnp.cross(a.mat.T, b.mat.T[:, None]).reshape(9, 3)
    axes, _ = unit(cross, jnp.array([1.0, 0.0, 0.0], cross.dtype))
    bound = NO_AXIS + width(part) ** 2
    return axes, sj.greater_equal(jnp.sum(cross**2, axis=1), bound, **soft(part, EDGE * 0.1))


def blend(
    part: Part,
    faces: FaceContacts,
    point: Point,
    at_point: Float[Array, ""],
) -> tuple[Float[Array, "4"], Float[Array, "4 3"], Float[Array, "4"]]:
    """dist, pos and weight of the four contacts: those of the faces, or one at a point.

    Soft, contact 0 is always there, so that the distance is defined in every pose.
    """
    on_face = (1 - at_point) * faces.there
    found = on_face[0] + at_point * point.there
    weight = on_face.at[0].set(jnp.maximum(found, float(part.mode != "hard")))
    take = on_face[0]
    dist = faces.dist.at[0].set(take * faces.dist[0] + (1 - take) * point.dist)
    pos = faces.pos.at[0].set(take * faces.pos[0] + (1 - take) * point.pos)
    return dist, pos, weight


def _at_point(
    part: Part,
    faces: FaceContacts,
    separation: Float[Array, ""],
    middle: Float[Array, "3"],
    bound: Float[Array, ""],
    size: Float[Array, ""],
) -> Point:
    """The contact of two edges: MJX takes the deepest contact of the faces next to them.

    Where those do not overlap: the middle of the closest points, at the separation.
    """
    deepest = soft_index(part, -faces.dist - bound * (1 - faces.there), size)
    there = pick(deepest, faces.there)
    dist = there * pick(deepest, faces.dist) + (1 - there) * separation
    pos = there * pick(deepest, faces.pos) + (1 - there) * middle
    return Point(dist, pos, there)


@pair(GeomType.BOX, GeomType.BOX, ncon=4)
def box_box(part: Part, box1: Convex, box2: Convex) -> Hit:
    """Four contacts on faces, or one (contact 0) of two edges or closest points.

    As in MJX, `pos` is on the reference face, and of a pair of axes that differ in sign the first
    decides which box gives it: the boxes' first three face normals are their three axes.
    """
    size = smaller(inradius(box1), inradius(box2))
    a = placed(box1, box2.mat.T @ (box1.pos - box2.pos), box2.mat.T @ box1.mat)
    b = placed(box2, jnp.zeros_like(box2.pos), jnp.eye(3, dtype=box2.mat.dtype))
    bound = 4 * extent(a, b)

    edges, real = _edge_axes(part, a, b)
    lines = jnp.concatenate([a.face_normal[:3], b.face_normal[:3], edges])
    axes = jnp.stack([lines, -lines], axis=1).reshape(-1, 3)
    gaps = separation(part, a, b, axes, size)
    gaps = gaps.at[12:].add(-bound * jnp.repeat(1 - real, 2))
    on_a, on_b = _closest(part, a, b, size)
    closest, gap = apart(part, a, b, on_a, on_b, size)
    axes, gaps = jnp.concatenate([axes, closest]), jnp.concatenate([gaps, gap])

    best = first_max(part, gaps, size)
    mean = pick(best, axes)
    normal, _ = unit(mean, axes[0])
    cosine = axes[12:] @ pick(first_max(part, gaps[:12], size), axes[:12])
    oblique = sj.less(cosine**2, PARALLEL**2 - width(part, 2.0), **soft(part, 2 * EDGE))
    at_point = best[12:] @ oblique

    a_refers = jnp.sum(best[::2])
    faces = face_contacts(part, a, b, normal, a_refers, size)
    point = _at_point(part, faces, pick(best, gaps), 0.5 * (on_a + on_b), bound, size)
    dist, pos, weight = blend(part, faces, point, at_point)
    frames = jnp.broadcast_to(frame(part, box2.mat @ normal), (4, 3, 3))
    return Hit(dist, box2.pos + pos @ box2.mat.T, frames, weight * definite(mean))
