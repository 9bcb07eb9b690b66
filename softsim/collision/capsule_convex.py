"""A capsule against a box or the convex hull of a mesh: its segment on a face or at an edge.

Two contacts. On a face: the ends of the part of the segment that lies over the face. At an edge,
when the nearest feature is an edge: contact 0 moves to the closest points of edge and segment, and
contact 1 fades out.
"""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from mujoco.mjx import GeomType

import softjax_ops as sj
from softsim.collision.contract import Convex, Geom, Hit, pair
from softsim.collision.convex import settled
from softsim.collision.manifold import BLUNT, at_least, pick, soft_index, soft_max
from softsim.collision.numerics import frame, soft
from softsim.collision.polygon import clip_segment, inradius, real_sides, rim, sides, smaller
from softsim.collision.segment import closest_of_segments
from softsim.softening import Part

PARALLEL = 0.99  # MJX prefers the face where the edge's normal is within this cosine of the face's

NO_DIRECTION = 1e-6  # m^2; MJX's bound on the squared distance of segment and edge


class Touch(eqx.Module):
    """Contacts of a capsule's segment with one feature, in the frame of the convex shape.

    Attributes:
        dist: m, signed, of the capsule's surface.
        pos: m.
        normal: from the capsule to the convex shape.
        there: truth value, whether the segment meets this feature.
    """

    dist: Float[Array, " k"]
    pos: Float[Array, "k 3"]
    normal: Float[Array, "k 3"]
    there: Float[Array, ""]


def _on_face(
    part: Part,
    ends: Float[Array, "2 3"],
    radius: Float[Array, ""],
    face: Float[Array, "k 3"],
    normal: Float[Array, "3"],
    size: Float[Array, ""],
    real: Bool[Array, " k"] | None,
) -> Touch:
    """The ends of the part of the segment over a face; `real`: which sides the face has."""
    clipped, there = clip_segment(part, ends[0], ends[1], *sides(face, normal), size, real)
    height = (clipped - face[0]) @ normal
    pos = clipped - 0.5 * (height + radius)[:, None] * normal
    return Touch(height - radius, pos, jnp.broadcast_to(-normal, (2, 3)), there)


def _at_edge(
    part: Part,
    ends: Float[Array, "2 3"],
    radius: Float[Array, ""],
    edge: Float[Array, "2 3"],
    adjacent: Float[Array, "2 3"],
    size: Float[Array, ""],
) -> Touch:
    """The closest points of segment and edge.

    It is there if the segment is in front of the edge: the direction to the edge goes into both
    faces that meet there. A direction over less than a millimetre does not count.
    """
    on_edge, on_segment = closest_of_segments(part, *edge, *ends)
    towards = on_edge - on_segment
    normal, length = rim(part, towards, jnp.zeros_like(towards), size)
    there = jnp.prod(sj.less(adjacent @ normal, 0.0, **soft(part)))
    there = there * (1 - at_least(part, NO_DIRECTION, jnp.sum(towards**2), 0.1 * size**2))
    pos = 0.5 * (on_edge + on_segment + radius * normal)
    return Touch((length - radius)[None], pos[None], normal[None], there)


def _prefers_edge(part: Part, face: Touch, edge: Touch, size: Float[Array, ""]):
    """Truth value: there is an edge contact, shallower than that of the face, and oblique to it.

    Soft, the edge's distance decides alone while the edge does not touch.
    """
    shallow, nearest = -soft_max(part, face.dist, size), -soft_max(part, -face.dist, size)
    worse = sj.greater_equal(-edge.dist[0], shallow, **soft(part, size))
    worse = worse * face.there * sj.greater(shallow, 0.0, **soft(part, size))
    cosine = jnp.sum(edge.normal[0] * face.normal[0])
    chosen = edge.there * (1 - worse) * (1 - at_least(part, cosine**2, PARALLEL**2))
    farther = face.there * sj.greater(edge.dist[0], nearest, **soft(part, size))
    apart = sj.greater(edge.dist[0], 0.0, **soft(part, size)) * (part.mode != "hard")
    return chosen + apart * (1 - farther - chosen)


def capsule_near(part: Part, capsule: Geom, convex: Convex) -> tuple[Touch, Float[Array, "2"]]:
    """The two contacts of a capsule with a convex shape and their weights, world frame.

    Hard, MJX misses contacts where an edge's normal is within 8 degrees of the face's and the
    segment is not over the face; their weight is 0. Soft, both are there and go over to the edge
    together: the end that is deeper may be either.
    """
    radius = capsule.size[0]
    size = smaller(inradius(convex), radius)
    center = convex.mat.T @ (capsule.pos - convex.pos)
    half = convex.mat.T @ capsule.mat[:, 2] * capsule.size[1]
    ends = jnp.stack([center - half, center + half])

    heights = jnp.sum((ends[:, None] - convex.face[:, 0]) * convex.face_normal, axis=-1)
    lowest = -soft_max(part, -heights.T, size)
    index = soft_index(part, lowest, size, convex.real("face"))
    real = None if convex.count is None else jax.vmap(real_sides)(convex.face)
    faces = jax.vmap(lambda f, n, r: _on_face(part, ends, radius, f, n, size, r))(
        convex.face, convex.face_normal, real
    )
    face = jax.tree.map(lambda x: pick(index, x), faces)

    segments = convex.vert[convex.edge]
    edges = jax.vmap(lambda e, n: _at_edge(part, ends, radius, e, n, size))(
        segments, convex.edge_face_normal
    )
    index = soft_index(part, -edges.dist[:, 0], size, convex.real("edge"))
    edge = jax.tree.map(lambda x: pick(index, x), edges)
    if part.mode != "hard":  # the mean of distances is more than the least
        nearest = -soft_max(part, -edges.dist[:, 0], BLUNT * size, convex.real("edge"))
        edge = replace(edge, dist=nearest[None])

    at_edge = _prefers_edge(part, face, edge, size)
    on_face = (1 - at_edge) * face.there
    found = jnp.maximum(at_edge + on_face, float(part.mode != "hard"))
    one = jnp.ones_like(on_face)
    second, there = (one, on_face) if part.mode == "hard" else (on_face, one)
    take = jnp.stack([on_face, second])
    mixed = jax.tree.map(
        lambda f, e: pick(jnp.diag(take), f) + pick((1 - take)[:, None], e),
        (face.dist, face.pos, face.normal),
        (edge.dist, edge.pos, edge.normal),
    )
    dist, pos, normal = mixed
    pos = pos @ convex.mat.T + convex.pos
    return Touch(dist, pos, normal @ convex.mat.T, face.there), jnp.stack([found, there])


@pair(GeomType.CAPSULE, GeomType.BOX, ncon=2)
@pair(GeomType.CAPSULE, GeomType.MESH, ncon=2)
def capsule_convex(part: Part, capsule: Geom, convex: Convex) -> Hit:
    """Two contacts; see the module."""
    touch, weight = capsule_near(part, capsule, convex)
    normal, clear = settled(touch.normal)
    frames = jax.vmap(lambda n: frame(part, n))(normal)
    return Hit(touch.dist, touch.pos, frames, weight * clear)
