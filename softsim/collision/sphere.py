"""Spheres and spheres swept along a segment (capsules): contacts between two centres."""

import jax.numpy as jnp
from jaxtyping import Array, Float
from mujoco.mjx import GeomType

from softsim.collision.contract import Geom, Hit, pair
from softsim.collision.numerics import frame, unit
from softsim.collision.segment import closest_of_segments, closest_on_segment
from softsim.softening import Part


def between_centres(
    part: Part,
    centre1: Float[Array, "3"],
    radius1: Float[Array, ""],
    centre2: Float[Array, "3"],
    radius2: Float[Array, ""],
) -> Hit:
    """The one contact of two spheres; coinciding centres get the normal +x, as in MuJoCo."""
    n, length = unit(centre2 - centre1, jnp.array([1.0, 0.0, 0.0], centre1.dtype))
    dist = length - (radius1 + radius2)
    pos = centre1 + n * (radius1 + 0.5 * dist)
    return Hit(dist[None], pos[None], frame(part, n)[None], jnp.ones_like(dist)[None])


def ends(capsule: Geom) -> tuple[Float[Array, "3"], Float[Array, "3"]]:
    """The two ends of the segment a capsule is swept along."""
    half = capsule.mat[:, 2] * capsule.size[1]
    return capsule.pos - half, capsule.pos + half


@pair(GeomType.SPHERE, GeomType.SPHERE, ncon=1, nearest=True)
def sphere_sphere(part: Part, one: Geom, two: Geom) -> Hit:
    """One contact on the line of centres."""
    return between_centres(part, one.pos, one.size[0], two.pos, two.size[0])


@pair(GeomType.SPHERE, GeomType.CAPSULE, ncon=1, nearest=True)
def sphere_capsule(part: Part, sphere: Geom, capsule: Geom) -> Hit:
    """One contact, with the sphere of the capsule nearest to the sphere's centre."""
    centre = closest_on_segment(part, *ends(capsule), sphere.pos)
    return between_centres(part, sphere.pos, sphere.size[0], centre, capsule.size[0])


@pair(GeomType.CAPSULE, GeomType.CAPSULE, ncon=1, nearest=True)
def capsule_capsule(part: Part, one: Geom, two: Geom) -> Hit:
    """One contact, at the closest points of the two segments."""
    centre1, centre2 = closest_of_segments(part, *ends(one), *ends(two))
    return between_centres(part, centre1, one.size[0], centre2, two.size[0])
