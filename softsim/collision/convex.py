"""A plane or a sphere against a box or the convex hull of a mesh."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from mujoco.mjx import GeomType

import softjax_ops as sj
from softsim.collision.contract import Convex, Geom, Hit, pair
from softsim.collision.manifold import (
    at_least,
    four_points,
    pick,
    saturate,
    soft_index,
    soft_max,
    unique,
)
from softsim.collision.numerics import frame, soft
from softsim.collision.polygon import closest_on_face, inradius, smaller
from softsim.softening import Part

SKIN = 1e-3  # m; MJX takes the vertices this close to the deepest one


@pair(GeomType.PLANE, GeomType.BOX, ncon=4)
@pair(GeomType.PLANE, GeomType.MESH, ncon=4)
def plane_convex(part: Part, plane: Geom, convex: Convex) -> Hit:
    """Four contacts, at vertices among the deepest that span the largest area.

    MJX's candidates are the vertices below the plane and within a skin of the deepest one. Soft,
    the skin is wider by a width of the shape and the deepest vertex is a candidate above the plane
    too. With fewer than four candidates the other contacts repeat them, with weight 0.
    """
    size = inradius(convex)
    n = convex.mat.T @ plane.mat[:, 2]
    depth = (convex.mat.T @ (plane.pos - convex.pos) - convex.vert) @ n
    deepest = soft_max(part, depth, size)
    skin = sj.clip(deepest, 0.0, SKIN, **soft(part, size))
    index = four_points(part, convex.vert, at_least(part, depth, deepest - skin, size), n, size)

    dist = -pick(index, depth)
    normal = plane.mat[:, 2]
    pos = convex.pos + pick(index, convex.vert) @ convex.mat.T - 0.5 * dist[:, None] * normal
    frames = jnp.broadcast_to(frame(part, normal), (4, 3, 3))
    return Hit(dist, pos, frames, unique(index))


def sphere_near(
    part: Part, sphere: Geom, convex: Convex
) -> tuple[Float[Array, ""], Float[Array, "3"], Float[Array, "3"]]:
    """Distance, position and normal of a sphere's contact with a convex shape.

    The closest point of the face whose plane is furthest out; soft, the mean over the faces
    of closest point, distance and direction. Where two faces share the weight outside the shape,
    they share the closest point.

    Returns:
        distance (m), position (m) and normal, all in the world frame; the normal is shorter than 1
        where opposite faces are equally near, deep inside.
    """
    radius = sphere.size[0]
    size = smaller(inradius(convex), radius)
    center = convex.mat.T @ (sphere.pos - convex.pos)
    height = jnp.sum((center - convex.face[:, 0]) * convex.face_normal, axis=1)
    face = soft_index(part, height, size)
    near = jax.vmap(lambda f, n: closest_on_face(part, f, n, center, size))
    closest, distance, direction = near(convex.face, convex.face_normal)
    normal = pick(face, direction)
    pos = 0.5 * pick(face, closest + center + radius * direction)
    return (
        pick(face, distance) - radius,
        convex.mat @ pos + convex.pos,
        convex.mat @ normal,
    )


def definite(normal: Float[Array, "3"]) -> Float[Array, ""]:
    """Weight of a contact whose normal is a mean of unit vectors: 0 where they cancel."""
    return saturate(4 * jnp.sum(normal**2))


@pair(GeomType.SPHERE, GeomType.BOX, ncon=1)
@pair(GeomType.SPHERE, GeomType.MESH, ncon=1)
def sphere_convex(part: Part, sphere: Geom, convex: Convex) -> Hit:
    """One contact, on the line from the centre to the closest point of the convex shape."""
    dist, pos, normal = sphere_near(part, sphere, convex)
    return Hit(dist[None], pos[None], frame(part, normal)[None], definite(normal)[None])
