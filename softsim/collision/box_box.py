"""Two boxes: the separating axis test, then faces or a pair of edges (see `separating`)."""

import jax.numpy as jnp
from jaxtyping import Array, Float
from mujoco.mjx import GeomType

import softjax_ops as sj
from softsim.collision.clipping import FaceContacts, face_contacts
from softsim.collision.contract import Convex, Hit, pair
from softsim.collision.convex import settled
from softsim.collision.manifold import (
    BLUNT,
    EDGE,
    no_deeper,
    pick,
    ruled_out,
    soft_index,
    soft_max,
)
from softsim.collision.numerics import frame, soft, unit, width
from softsim.collision.polygon import inradius, smaller
from softsim.collision.separating import Point, blend, extent, gap, placed, separation
from softsim.softening import Part

PARALLEL = 0.99  # MJX prefers a face where an edge axis is within this cosine of its normal
NO_AXIS = 1e-3  # MJX's bound on the sine between two edges


def _project(part: Part, size: Float[Array, ""]):
    """Closest point of a box to a point, for `gap`."""

    def project(box: Convex, point: Float[Array, "3"]) -> Float[Array, "3"]:
        local = box.mat.T @ (point - box.pos)
        return box.pos + box.mat @ sj.clip(local, -box.size, box.size, **soft(part, size))

    return project


def _edge_axes(part: Part, a: Convex, b: Convex) -> tuple[Float[Array, "9 3"], Float[Array, "9"]]:
    """Cross products of the boxes' axes, normalised, and the truth value that they are not 0."""
    cross = jnp.cross(a.mat.T, b.mat.T[:, None]).reshape(9, 3)
    axes, sine = unit(cross, jnp.array([1.0, 0.0, 0.0], cross.dtype))
    return axes, sj.greater_equal(sine, NO_AXIS + width(part), **soft(part, EDGE))


def _at_edges(
    faces: FaceContacts, separation: Float[Array, ""], middle: Float[Array, "3"], far: Array
) -> Point:
    """Hard, the contact of two edges: MJX takes the deepest contact of the faces next to them.

    Where those do not overlap: the middle of the closest points, at the separation.
    """
    deepest = jnp.argmax(-faces.dist - far * (1 - faces.there))
    there = faces.there[deepest]
    dist = there * faces.dist[deepest] + (1 - there) * separation
    pos = there * faces.pos[deepest] + (1 - there) * middle
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
    far = extent(a, b)

    edges, real = _edge_axes(part, a, b)
    lines = jnp.concatenate([a.face_normal[:3], b.face_normal[:3], edges])
    axes = jnp.stack([lines, -lines], axis=1).reshape(-1, 3)
    gaps = separation(part, a, b, axes, size)
    gaps = gaps.at[12:].add(-ruled_out(part, jnp.repeat(real, 2), far, size))
    apart = gap(part, a, b, _project(part, size), size, rounds=10)
    axes, gaps = jnp.vstack([axes, apart.axis]), jnp.append(gaps, apart.separation)

    best = soft_index(part, gaps, size)
    normal, clear = settled(pick(best, axes))
    least = soft_max(part, gaps, BLUNT * size)
    a_refers = jnp.sum(best[::2])
    faces = face_contacts(part, a, b, normal, a_refers, least, size, far)
    point, at_point = Point(least, apart.middle, jnp.ones_like(least)), best[-1]
    if part.mode == "hard":
        cosine = axes[12:-1] @ pick(soft_index(part, gaps[:12], size), axes[:12])
        at_point = at_point + best[12:-1] @ (cosine**2 < PARALLEL**2)
        point = _at_edges(faces, least, apart.middle, far)
    dist, pos, weight = blend(part, faces, point, at_point, size)
    dist = no_deeper(part, dist, least, size)
    frames = jnp.broadcast_to(frame(part, box2.mat @ normal), (4, 3, 3))
    return Hit(dist, box2.pos + pos @ box2.mat.T, frames, weight * clear)
