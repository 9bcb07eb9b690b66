"""A plane or a sphere against a box or the convex hull of a mesh."""

import jax.numpy as jnp
from jaxtyping import Array, Float
from mujoco.mjx import GeomType

from softsim.collision.contract import Convex, Geom, Hit, pair
from softsim.collision.manifold import (
    BLUNT,
    counted,
    masked,
    pick,
    saturate,
    soft_max,
    standing_for,
)
from softsim.collision.numerics import frame, unit
from softsim.collision.polygon import closest_on_convex, inradius, smaller
from softsim.softening import Part


@pair(GeomType.PLANE, GeomType.BOX, ncon=4, nearest=True)
@pair(GeomType.PLANE, GeomType.MESH, ncon=4, nearest=True)
def plane_convex(part: Part, plane: Geom, convex: Convex) -> Hit:
    """Four contacts for the vertices among the deepest.

    MJX's candidates are the vertices below the plane and within a skin of the deepest one; with
    fewer than four the other contacts repeat them, with weight 0. Soft, all vertices below
    the plane count by their depth, as MuJoCo C takes them all; above it, the lowest ones.
    """
    size = inradius(convex)
    n = convex.mat.T @ plane.mat[:, 2]
    depth = (convex.mat.T @ (plane.pos - convex.pos) - convex.vert) @ n
    real = convex.real("vert")
    deepest = soft_max(part, depth, BLUNT * size, real)
    member = masked(jnp.ones_like(depth), real)
    index, dist = standing_for(part, convex.vert, depth, member, deepest, n, size)
    normal = plane.mat[:, 2]
    pos = convex.pos + pick(index, convex.vert) @ convex.mat.T - 0.5 * dist[:, None] * normal
    frames = jnp.broadcast_to(frame(part, normal), (4, 3, 3))
    return Hit(dist, pos, frames, counted(part, index))


def sphere_near(
    part: Part, sphere: Geom, convex: Convex
) -> tuple[Float[Array, ""], Float[Array, "3"], Float[Array, "3"]]:
    """Distance, position and normal of a sphere's contact with a convex shape.

    Returns:
        distance (m), position (m) and normal, all in the world frame; the normal may be shorter
        than 1, see `closest_on_convex`.
    """
    radius = sphere.size[0]
    size = smaller(inradius(convex), radius)
    center = convex.mat.T @ (sphere.pos - convex.pos)
    closest, distance, direction = closest_on_convex(part, convex, center, size)
    pos = 0.5 * (closest + center + radius * direction)
    return distance - radius, convex.mat @ pos + convex.pos, convex.mat @ direction


def settled(mean: Float[Array, "*s 3"]) -> tuple[Float[Array, "*s 3"], Float[Array, "*s"]]:
    """Contact normal from a mean of unit vectors, and its weight: 0 where they cancel.

    No unit vector follows a mean continuously through 0. So the weight is 0 from length 1/3 down,
    and there the normal turns to +x.
    """
    squared = jnp.sum(mean**2, axis=-1)
    x = jnp.array([1.0, 0.0, 0.0], mean.dtype)
    normal = mean + (1 - saturate(9 * squared))[..., None] * x
    return unit(normal, x)[0], saturate(9 * squared - 1)


@pair(GeomType.SPHERE, GeomType.BOX, ncon=1, nearest=True)
@pair(GeomType.SPHERE, GeomType.MESH, ncon=1, nearest=True)
def sphere_convex(part: Part, sphere: Geom, convex: Convex) -> Hit:
    """One contact, on the line from the centre to the closest point of the convex shape."""
    dist, pos, normal = sphere_near(part, sphere, convex)
    normal, clear = settled(normal)
    return Hit(dist[None], pos[None], frame(part, normal)[None], clear[None])
