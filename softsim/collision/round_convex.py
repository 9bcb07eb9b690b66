"""A cylinder or an ellipsoid against a box or the convex hull of a mesh.

Contact 0 is that of the closest points. Hard, `closest` finds them; soft, the point that is least
far outside of both shapes (see `implicit`) gives the normal, and the distance is the separation
along it. A cylinder that stands or lies on a face touches it in up to four points: its cap or the
lowest line of its side, clipped by the face. As in MuJoCo C (3.17, with its default multiccd), a
cap is a polygon of sixteen corners, and both count as level up to five degrees.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from mujoco.mjx import GeomType

import softjax_ops as sj
from softsim.collision import signed_distance as sd
from softsim.collision.clipping import face_contacts
from softsim.collision.closest import closest_points
from softsim.collision.contract import Convex, Geom, Hit, pair
from softsim.collision.convex import settled
from softsim.collision.implicit import minimiser
from softsim.collision.manifold import pick, soft_index, soft_max
from softsim.collision.minkowski import as_sum
from softsim.collision.numerics import frame, norm, soft, unit, width
from softsim.collision.patch import FaceContacts
from softsim.collision.polygon import inradius, smaller
from softsim.collision.separating import Point, blend, placed
from softsim.softening import Part

CORNERS, SOFT_CORNERS = 16, 4  # of a cap; of many almost equal ones no soft choice is steady
UPRIGHT = 0.996  # measured in MuJoCo 3.17: cosine of cap or face and normal that counts as level
LYING = 0.0888  # the same for the side: sine
_DISTANCE = {GeomType.CYLINDER: sd.cylinder, GeomType.ELLIPSOID: sd.ellipsoid_gauge}
_BELOW = 1e3  # of the smaller shape's size: below all others by this, a face does not count
_CHOICE = 2.5  # of the smaller shape's size: scale of the choice between two directions
_TANGENT = 0.05  # of the smaller shape's size: distance over which a pull to the middle is felt


class Near(NamedTuple):
    """One contact: dist (m), pos (m) and normal, world frame; the normal may be shorter than 1."""

    dist: Float[Array, ""]
    pos: Float[Array, "3"]
    normal: Float[Array, "3"]


def round_near(part: Part, kind: GeomType, shape: Geom, convex: Convex) -> Near:
    """The contact of a cylinder or ellipsoid with a convex shape at their closest points."""
    if part.mode == "hard":
        dist, on_shape, on_convex, normal = closest_points((kind, GeomType.MESH), shape, convex)
        return Near(dist, 0.5 * (on_shape + on_convex), normal)
    distance = _DISTANCE[kind]
    scale = jnp.min(shape.size[: 2 if kind == GeomType.CYLINDER else 3])
    size = smaller(inradius(convex), scale)
    turn, shift = shape.mat.T @ convex.mat, shape.mat.T @ (convex.pos - shape.pos)
    face = jnp.sum(convex.face[:, 0] * convex.face_normal, axis=1)

    def ahead(part: Part, p: Float[Array, "3"]) -> Float[Array, ""]:
        return distance(part, turn @ p + shift, shape.size)

    def outside(part: Part, p: Float[Array, "3"]) -> Float[Array, ""]:
        heights = convex.face_normal @ p - face
        real = convex.real("face")
        if real is not None:  # a maximum of equal lengths is longer
            none = jax.lax.stop_gradient(jnp.min(heights)) - _BELOW * size
            heights = jnp.where(real, heights, none)
        return sd.largest(part, heights, size)

    start = 0.5 * convex.mat.T @ (shape.pos - convex.pos)

    def overlap(part: Part, p: Float[Array, "3"]) -> Float[Array, ""]:
        both = sd.larger(part, ahead(part, p), outside(part, p), size)
        return both + 0.5 * _TANGENT * width(part) / size * jnp.sum((p - start) ** 2)

    p = minimiser(overlap, part, start, size)
    slope = jax.grad(ahead, 1)(part, p)
    if kind == GeomType.ELLIPSOID:  # the slope of a gauge is short where the ellipsoid is long
        slope = turn.T @ _ellipsoid_normal(part, turn @ p + shift, shape.size)
    mean = 0.5 * convex.mat @ (slope - jax.grad(outside, 1)(part, p))
    return _farthest(part, kind, shape, convex, mean, convex.pos + convex.mat @ p, size)


def _farthest(
    part: Part,
    kind: GeomType,
    shape: Geom,
    convex: Convex,
    mean: Float[Array, "3"],
    pos: Float[Array, "3"],
    size: Float[Array, ""],
) -> Near:
    """The direction that keeps the shapes farthest apart: the one found, or the normal of a face.

    Deep in the convex shape the point least far outside is no guide to the shortest way out.

    Args:
        part, kind, shape, convex: as for `round_near`.
        mean: the direction found, from shape to convex; may be shorter than 1.
        pos: m, the point least far outside of both shapes.
        size: m, of the smaller shape.
    """
    faces = -convex.face_normal @ convex.mat.T
    real = convex.real("face")
    if kind == GeomType.CYLINDER:
        axis = shape.mat[:, 2]
        faces = jnp.concatenate([faces, axis[None], -axis[None]])
        real = None if real is None else jnp.append(real, jnp.array([True, True]))
    normal = jnp.concatenate([settled(mean)[0][None], faces])
    ends = jax.vmap(lambda n: jnp.stack(_ends(part, kind, shape, convex, n, size)))(normal)
    dist, middle = ends[:, 1] - ends[:, 0], 0.5 * (ends[:, 0] + ends[:, 1])
    real = None if real is None else jnp.append(True, real)
    index = soft_index(part, dist, _CHOICE * size, real=real)
    between = pos + (middle - normal @ pos)[:, None] * normal
    directions = jnp.concatenate([mean[None], faces])
    return Near(pick(index, dist), pick(index, between), pick(index, directions))


def _ellipsoid_normal(
    part: Part, p: Float[Array, "3"], size: Float[Array, "3"]
) -> Float[Array, "3"]:
    """Outward normal of the scaled ellipsoid through a point; fades to 0 at the centre."""
    along = p / size**2
    return along / norm(jnp.append(along, width(part) / jnp.min(size)))


def _ends(
    part: Part,
    kind: GeomType,
    shape: Geom,
    convex: Convex,
    normal: Float[Array, "3"],
    size: Float[Array, ""],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """How far along a unit vector the round shape ends and the convex one begins, m."""
    total = as_sum(kind, shape, shape.pos)
    lean = total.axes @ normal
    # smooth where a disc is seen edge-on
    bulge = jnp.sum(lean**2) / norm(jnp.append(lean, width(part, size)))
    corners = convex.pos + convex.vert @ convex.mat.T
    end_of_shape = soft_max(part, total.vert @ normal, size) + bulge
    return end_of_shape, -soft_max(part, -corners @ normal, size, convex.real("vert"))


def _features(part: Part, cylinder: Geom, normal: Float[Array, "3"]) -> Convex:
    """The cylinder's two caps and the line of its side along a direction, as faces."""
    radius, half = cylinder.size[0], cylinder.size[1]
    axis = cylinder.mat[:, 2]
    corners = CORNERS if part.mode == "hard" else SOFT_CORNERS
    turn = 2 * np.pi * np.arange(corners) / corners
    circle = jnp.asarray(np.stack([np.cos(turn), np.sin(turn)]), axis.dtype)
    rim = cylinder.mat[:, :2] @ circle * radius
    top, bottom = (cylinder.pos + side * half * axis + rim.T for side in (1.0, -1.0))
    beside, _ = unit(normal - axis * (normal @ axis), cylinder.mat[:, 0])
    middle = cylinder.pos + radius * beside
    line = jnp.stack([middle - half * axis] + [middle + half * axis] * (corners - 1))
    return Convex(
        cylinder.pos,
        cylinder.mat,
        cylinder.size,
        vert=jnp.concatenate([top, bottom, line]),
        face=jnp.stack([top, bottom[::-1], line]),
        face_normal=jnp.stack([axis, -axis, beside]),
        edge=jnp.zeros((0, 2), int),
        edge_face_normal=jnp.zeros((0, 2, 3), axis.dtype),
    )


def _level(
    part: Part, cylinder: Geom, convex: Convex, normal: Float[Array, "3"]
) -> Float[Array, ""]:
    """Truth value: a cap or the side of the cylinder, and a face, are level with the contact."""
    cosine = sj.abs(cylinder.mat[:, 2] @ normal, **soft(part))
    upright = sj.greater(cosine, UPRIGHT - width(part), **soft(part, 0.2))
    lying = sj.less(cosine, LYING + width(part), **soft(part, 0.2))
    facing = soft_max(part, -convex.face_normal @ normal, real=convex.real("face"))
    on_face = sj.greater(facing, UPRIGHT - width(part), **soft(part, 0.2))
    return (1 - (1 - upright) * (1 - lying)) * on_face


@pair(GeomType.CYLINDER, GeomType.BOX, ncon=4)
@pair(GeomType.CYLINDER, GeomType.MESH, ncon=4)
def cylinder_convex(part: Part, cylinder: Geom, convex: Convex) -> Hit:
    """Up to four contacts of a cap or side with a face, or one (contact 0) at the closest points.

    On a face the normal is that of the face. In the frame of the convex shape.
    """
    origin, turn = jnp.zeros_like(convex.pos), jnp.eye(3, dtype=convex.mat.dtype)
    one = Geom(
        convex.mat.T @ (cylinder.pos - convex.pos), convex.mat.T @ cylinder.mat, cylinder.size
    )
    two = placed(convex, origin, turn)
    size = smaller(inradius(convex), jnp.min(cylinder.size[:2]))
    near = round_near(part, GeomType.CYLINDER, one, two)
    normal, clear = settled(near.normal)

    far = 4 * (norm(one.pos) + jnp.sum(cylinder.size[:2]) + jnp.max(norm(two.vert)))
    zero = jnp.zeros((), normal.dtype)
    faces = face_contacts(
        part, _features(part, one, normal), two, normal, zero, near.dist, size, far
    )
    facing = soft_index(part, -two.face_normal @ normal, real=two.real("face"))
    ahead = -pick(facing, two.face_normal)
    middle = faces.pos
    if part.mode == "hard":
        middle = middle - 0.5 * faces.dist[:, None] * ahead
    faces = FaceContacts(faces.dist, middle, faces.there * faces.alone, faces.alone)
    point = Point(near.dist, near.pos, jnp.ones_like(near.dist))
    level = _level(part, one, two, normal) * faces.there[0]
    dist, pos, weight = blend(part, faces, point, 1 - level, size)
    normal, _ = settled(level * ahead + (1 - level) * normal)
    frames = jnp.broadcast_to(frame(part, convex.mat @ normal), (4, 3, 3))
    return Hit(dist, convex.pos + pos @ convex.mat.T, frames, weight * clear)


@pair(GeomType.ELLIPSOID, GeomType.BOX, ncon=1, nearest=True)
@pair(GeomType.ELLIPSOID, GeomType.MESH, ncon=1, nearest=True)
def ellipsoid_convex(part: Part, ellipsoid: Geom, convex: Convex) -> Hit:
    """One contact, at the closest points."""
    near = round_near(part, GeomType.ELLIPSOID, ellipsoid, convex)
    normal, clear = settled(near.normal)
    return Hit(near.dist[None], near.pos[None], frame(part, normal)[None], clear[None])
