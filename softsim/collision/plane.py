"""A plane against shapes whose lowest point is known in closed form.

The normal is the plane's, so the distance is linear in the other surface's point of contact.
"""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from mujoco.mjx import GeomType

import softjax_ops as sj
from softsim.collision.contract import Convex, Geom, Hit, OnPlane, pair
from softsim.collision.convex import plane_convex
from softsim.collision.manifold import counted, pick
from softsim.collision.numerics import frame, frame_along, soft, unit, width
from softsim.softening import Part

# softness of the tilt of a cylinder, relative to `Part.softness`: sine of an angle
_TILT = 0.2
# half the corners of a cube, one of each diagonal
_DIAGONALS = np.array([[1, 1, 1], [-1, 1, 1], [1, -1, 1], [-1, -1, 1]])
# m: MuJoCo takes a cylinder to lie on its side when its ends differ less than this in height
_ON_SIDE = 1e-3


def _touch(plane: Geom, points: Float[Array, "k 3"], one_frame: Float[Array, "3 3"]) -> Hit:
    """Contacts of a plane with given points of the other surface, all with the same frame."""
    n = plane.mat[:, 2]
    dist = (points - plane.pos) @ n
    frames = jnp.broadcast_to(one_frame, (*dist.shape, 3, 3))
    return Hit(dist, points - 0.5 * dist[:, None] * n, frames, jnp.ones_like(dist))


@pair(GeomType.PLANE, GeomType.SPHERE, ncon=1, nearest=True)
def plane_sphere(part: Part, plane: Geom, sphere: Geom) -> Hit:
    """One contact, at the sphere's lowest point."""
    n = plane.mat[:, 2]
    return _touch(plane, (sphere.pos - n * sphere.size[0])[None], frame(part, n))


@pair(GeomType.PLANE, GeomType.CAPSULE, ncon=2, nearest=True)
def plane_capsule(part: Part, plane: Geom, capsule: Geom) -> Hit:
    """Two contacts, below the capsule's two ends; tangents follow its axis where it lies.

    As in MJX the frame is aligned with the axis unless that stands within 30 degrees of the normal.
    (On a tilted plane MJX's frame is then skew; this one is orthonormal, with the same tangent up
    to its component along the normal.)
    """
    n, axis = plane.mat[:, 2], capsule.mat[:, 2]
    half = axis * capsule.size[1]
    ends = jnp.stack([capsule.pos + half, capsule.pos - half])
    return _touch(plane, ends - n * capsule.size[0], frame_along(part, n, axis))


@pair(GeomType.PLANE, GeomType.CAPSULE, ncon=2, nearest=True, follow="mujoco")
def plane_capsule_along(part: Part, plane: Geom, capsule: Geom) -> Hit:
    """The same as in MuJoCo C: tangents follow the axis however steep it stands.

    They turn by as much as the axis does over its tilt: where it is upright they jump, and only
    pyramidal friction sees it.
    """
    n, axis = plane.mat[:, 2], capsule.mat[:, 2]
    flat = plane_capsule(part, plane, capsule)
    along = frame_along(part, n, axis, shortest=0.0)
    return eqx.tree_at(lambda hit: hit.frame, flat, jnp.broadcast_to(along, flat.frame.shape))


@pair(GeomType.PLANE, GeomType.BOX, ncon=4, nearest=True, follow="mujoco")
def plane_box(part: Part, plane: Geom, box: Convex) -> Hit:
    """Four contacts, at the corners below the centre, however much they differ in depth.

    Of two opposite corners one is below: that is a sign for each diagonal, and no choice. Soft, the
    four that stand for all that touch.
    """
    if part.mode != "hard":
        return plane_convex(part, plane, box)
    n = plane.mat[:, 2]
    diagonal = box.mat @ (_DIAGONALS * box.size).T
    points = box.pos - (jnp.sign(n @ diagonal) * diagonal).T
    return _touch(plane, points, frame(part, n))


@pair(GeomType.PLANE, GeomType.MESH, ncon=4, nearest=True, follow="mujoco")
def plane_mesh(part: Part, plane: Geom, convex: OnPlane) -> Hit:
    """Up to four corners of the face on which the mesh rests; see `resting`.

    Soft, the four contacts that stand for all that touch.
    """
    if part.mode != "hard":
        return plane_convex(part, plane, convex)
    face, corner = convex.resting.face, convex.resting.corner
    n = plane.mat[:, 2]
    local = convex.mat.T @ n
    facing = jnp.where(face < 0, -2.0, -(convex.face_normal @ local)[face])
    chance = _first_max(-convex.vert @ local)[:, None] * jax.vmap(_first_max)(facing)
    corners = jax.nn.one_hot(corner, len(convex.vert), dtype=n.dtype)
    index = jnp.tensordot(chance, corners, axes=2, precision="highest")
    flat = _touch(plane, convex.pos + pick(index, convex.vert) @ convex.mat.T, frame(part, n))
    return replace(flat, weight=counted(part, index))


def _first_max(score: Float[Array, " n"]) -> Float[Array, " n"]:
    return jax.nn.one_hot(jnp.argmax(score), score.size, dtype=score.dtype)


@pair(GeomType.PLANE, GeomType.ELLIPSOID, ncon=1, nearest=True)
def plane_ellipsoid(part: Part, plane: Geom, ellipsoid: Geom) -> Hit:
    """One contact, at the ellipsoid's support point against the normal."""
    n = plane.mat[:, 2]
    scaled, _ = unit((ellipsoid.mat.T @ n) * ellipsoid.size, jnp.zeros(3, n.dtype))
    point = ellipsoid.pos - ellipsoid.mat @ (scaled * ellipsoid.size)
    return _touch(plane, point[None], frame(part, n))


@pair(GeomType.PLANE, GeomType.CYLINDER, ncon=3)
def plane_cylinder(part: Part, plane: Geom, cylinder: Geom) -> Hit:
    """Three contacts: an even triangle on the lower rim; on its side, the two ends' lowest points.

    The triangle has a corner at the lowest point of the rim, which has no direction when the
    cylinder stands: there the corner turns to the cylinder's x axis, hard as in MuJoCo or smeared
    over a small tilt. Which end is lower, and whether it lies on its side, are soft switches of
    the points; each end keeps its own contact through them, so that support never collapses.
    MuJoCo's order, the lower end first, is that of the sharp switch.
    """
    n, axis = plane.mat[:, 2], cylinder.mat[:, 2]
    radius, half = cylinder.size[0], cylinder.size[1]
    lean = jnp.dot(n, axis)
    down = _lowest_direction(part, axis * lean - n, cylinder.mat[:, 0])
    side = jnp.cross(down, axis) * (0.5 * jnp.sqrt(3.0))

    def on_rim(end: float, direction: Float[Array, "3"]) -> Float[Array, "3"]:
        return cylinder.pos + end * half * axis + radius * direction

    height = lean * half
    smear = width(part, _TILT * half)
    plus = sj.less(height, 0.0, **soft(part, _TILT * half))
    lying = sj.less(
        sj.abs(height, **soft(part, _TILT * half)),
        _ON_SIDE + 10 * smear,
        **soft(part, _TILT * half),
    )
    minus, standing = 1 - plus, 1 - lying
    first = on_rim(1, down) + minus * standing * (on_rim(-1, -0.5 * down - side) - on_rim(1, down))
    second = on_rim(-1, down) + plus * standing * (on_rim(1, side - 0.5 * down) - on_rim(-1, down))
    third = plus * on_rim(1, -0.5 * down - side) + minus * on_rim(-1, side - 0.5 * down)
    swap = (minus > 0.5) & (smear == 0)
    first, second = jnp.where(swap, second, first), jnp.where(swap, first, second)
    return _touch(plane, jnp.stack([first, second, third]), frame(part, n))


def _lowest_direction(
    part: Part, downhill: Float[Array, "3"], x: Float[Array, "3"]
) -> Float[Array, "3"]:
    """Unit vector towards the lowest point of a rim; `downhill` is as long as the tilt's sine.

    Below the smeared tilt t the direction x takes over. Both lie in the rim's plane; a field with
    one turn around t and none at 0 must vanish somewhere: opposite x, at a tilt of 0.68 t.
    """
    tilt = downhill / (width(part, _TILT) + 1e-12)
    return unit(tilt + x / (1.0 + jnp.dot(tilt, tilt)), x)[0]
