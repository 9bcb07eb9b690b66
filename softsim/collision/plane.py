"""A plane against shapes whose lowest point is known in closed form.

The normal is the plane's, so distances are linear in the contact's point on the other surface.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float
from mujoco.mjx import GeomType

from softsim.collision.contract import Geom, Hit, pair
from softsim.collision.numerics import frame
from softsim.softening import Part


def _touch(plane: Geom, points: Float[Array, "k 3"], frames: Float[Array, "k 3 3"]) -> Hit:
    """Contacts of a plane with given points of the other surface."""
    n = plane.mat[:, 2]
    dist = (points - plane.pos) @ n
    return Hit(dist, points - 0.5 * dist[:, None] * n, frames, jnp.ones_like(dist))


@pair(GeomType.PLANE, GeomType.SPHERE, ncon=1)
def plane_sphere(part: Part, plane: Geom, sphere: Geom) -> Hit:
    """One contact, at the sphere's lowest point."""
    n = plane.mat[:, 2]
    return _touch(plane, (sphere.pos - n * sphere.size[0])[None], frame(part, n)[None])
