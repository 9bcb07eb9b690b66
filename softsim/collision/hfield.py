"""A height field against a sphere, capsule, box or mesh: one convex prism per triangle of the grid.

The prisms under the geom's bounding sphere collide one by one; of all their contacts the manifold
takes four among the deepest. The window of grid cells moves in whole cells: soft, a cell fades in
and out at the window's rim, so that nothing jumps.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from mujoco.mjx import GeomType

import softjax_ops as sj
from softsim.collision.capsule_convex import capsule_near
from softsim.collision.contract import Convex, Geom, HField, Hit, pair
from softsim.collision.convex import settled, sphere_near
from softsim.collision.convex_convex import convex_near
from softsim.collision.manifold import (
    BLUNT,
    counted,
    decided,
    four_points,
    pick,
    saturate,
    soft_max,
    standing_for,
)
from softsim.collision.numerics import frame, soft, unit
from softsim.collision.polygon import inradius
from softsim.collision.round_convex import round_near
from softsim.softening import Part

G = TypeVar("G", bound=Geom)
Contacts = tuple[Float[Array, " k"], Float[Array, "k 3"], Float[Array, "k 3"], Float[Array, " k"]]
"""dist (m), pos (m), normal (away from the geom) and weight of k contacts with one prism."""

# corners 0 to 2 are the triangle on the base, 3 to 5 the one on the surface
_FACES = np.array([[0, 1, 2, 0], [3, 4, 5, 3], [0, 3, 5, 1], [0, 2, 4, 3], [2, 1, 5, 4]], np.int32)
_EDGES = np.array(
    [[0, 1], [1, 2], [0, 2], [3, 4], [3, 5], [4, 5], [0, 3], [1, 5], [2, 4]], np.int32
)
_FACES_OF_EDGE = np.array(
    [[0, 2], [0, 4], [0, 3], [1, 3], [1, 2], [1, 4], [2, 3], [2, 4], [3, 4]], np.int32
)
_SURFACE = 1
FACING = 0.25
"""Of the prisms' size: over less, the contacts' normals do not turn from that of their mean."""

# grid corners of the two triangles of a cell, as (column, row), counter-clockwise from above
TRIANGLES = np.array([[[0, 0], [1, 1], [0, 1]], [[0, 0], [1, 0], [1, 1]]], np.int32)


def _cells(
    part: Part, field: HField, center: Float[Array, "3"], radius: Float[Array, ""]
) -> tuple[Int[Array, "w 2"], Float[Array, " w"]]:
    """The cells of a window of static shape that starts at `center - radius`.

    Beyond the rim of the field the window repeats the cells at the rim.

    Returns:
        (column, row) of each, and the truth value that it is in the window: soft, 0 where the
        window takes it in and lets it go.
    """
    count = jnp.array(field.data.shape) - 1
    step = 2 * field.size[:2] / count
    start = jnp.clip((center[:2] - radius + field.size[:2]) / step, -count, count)
    columns, rows = field.subgrid
    window = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    cells = jnp.floor(start).astype(int) + window
    after = cells - start
    to_rim = jnp.stack([after + 1, np.array(field.subgrid) - 1 - after]) * step / radius
    inside = jnp.prod(saturate(saturate(4 * to_rim)), axis=(0, 2))
    truth = jnp.maximum(inside, float(part.mode == "hard"))
    return jnp.clip(cells, 0, count - 1), truth


def prism(field: HField, corners: Int[Array, "3 2"]) -> Convex:
    """The prism between the base and the triangle of three grid points, about its centroid."""
    step = 2 * field.size[:2] / (jnp.array(field.data.shape) - 1)
    flat = step * corners - field.size[:2]
    height = field.data[corners[:, 0], corners[:, 1]] * field.size[2]
    top = jnp.concatenate([flat, height[:, None]], axis=1)
    base = jnp.concatenate([flat, jnp.full_like(height[:, None], -field.size[3])], axis=1)
    vert = jnp.concatenate([base[jnp.array([0, 2, 1])], top])
    center = jnp.mean(vert, axis=0)
    vert = vert - center
    face = vert[_FACES]
    normal = jnp.cross(face[:, 2] - face[:, 1], face[:, 0] - face[:, 1])
    normal, _ = unit(normal, jnp.array([0.0, 0.0, 1.0], normal.dtype))
    return Convex(
        center,
        jnp.eye(3, dtype=vert.dtype),
        jnp.ones_like(center),
        vert,
        face,
        normal,
        jnp.asarray(_EDGES),
        normal[_FACES_OF_EDGE],
    )


def _collide(
    part: Part,
    field: HField,
    geom: G,
    touch: Callable[[G, Convex], Contacts],
    radius: Float[Array, ""],
) -> Hit:
    """Four contacts of a geom with the prisms near it.

    Args:
        part: settings of the collision part.
        field: the height field.
        geom: the other geom, world frame.
        touch: its contacts with one prism, all in the frame of the height field.
        radius: m, half width of the window of cells.
    """
    center, turn = field.mat.T @ (geom.pos - field.pos), field.mat.T @ geom.mat
    geom = replace(geom, pos=center, mat=turn)
    field = jax.tree.map(lambda x: x.astype(geom.pos.dtype), field)
    cells, inside = _cells(part, field, center, radius)
    corners = (cells[None, :, None] + TRIANGLES[:, None]).reshape(-1, 3, 2)
    prisms = jax.vmap(lambda c: prism(field, c))(corners)
    dist, pos, normal, weight = jax.vmap(lambda p: touch(geom, p))(prisms)

    # MJX: a contact that would push down, through a crack between prisms, pushes up the surface
    normal, up = -normal, field.mat[2]
    upward = sj.greater_equal(normal @ up, 1e-6, **soft(part))[..., None]
    normal = upward * normal + (1 - upward) * prisms.face_normal[:, None, _SURFACE]

    # nothing may notice a prism that the window is about to let go
    inside = jnp.tile(inside, 2)
    weight = weight * inside[:, None]
    across = jnp.mean(inside[:, None, None] * normal, axis=(0, 1))
    size = (inside @ jax.vmap(inradius)(prisms) ** -2 / jnp.sum(inside)) ** -0.5
    depth, pos, normal, weight = (
        -dist.ravel(),
        pos.reshape(-1, 3),
        normal.reshape(-1, 3),
        weight.ravel(),
    )
    # contacts that are not there have any depth
    far = 4 * (jnp.sum(field.size) + radius)
    deepest = soft_max(part, depth - far * (1 - saturate(2 * weight)), BLUNT * size)
    index, dist = standing_for(part, pos, depth, weight, deepest, across, size)

    facing = index
    if part.mode != "hard":  # points side by side, on two prisms, may have any two normals
        facing = four_points(part, pos, jnp.mean(index, axis=0), across, size, FACING)
    normal, clear = settled(pick(facing, normal) @ field.mat.T)
    frames = jax.vmap(lambda n: frame(part, n))(normal)
    there = decided(2 * pick(index, weight)) * counted(part, index) * clear
    return Hit(dist, field.pos + pick(index, pos) @ field.mat.T, frames, there)


def _bounding(part: Part, half: Float[Array, "3"]) -> Float[Array, ""]:
    """Half width of the window for a box of these half-lengths, m.

    MJX takes the largest half-length and so misses contacts of corners that reach further.
    """
    return jnp.where(part.mode == "hard", jnp.max(half), jnp.sqrt(jnp.sum(half**2)))


@pair(GeomType.HFIELD, GeomType.SPHERE, ncon=4)
def hfield_sphere(part: Part, field: HField, sphere: Geom) -> Hit:
    """Four contacts, one for each of the prisms chosen."""

    def touch(sphere: Geom, prism: Convex) -> Contacts:
        dist, pos, normal = sphere_near(part, sphere, prism)
        return dist[None], pos[None], normal[None], jnp.ones_like(dist)[None]

    return _collide(part, field, sphere, touch, sphere.size[0])


@pair(GeomType.HFIELD, GeomType.CAPSULE, ncon=4)
def hfield_capsule(part: Part, field: HField, capsule: Geom) -> Hit:
    """Four contacts among two for each prism."""

    def touch(capsule: Geom, prism: Convex) -> Contacts:
        near, weight = capsule_near(part, capsule, prism)
        return near.dist, near.pos, near.normal, weight

    return _collide(part, field, capsule, touch, capsule.size[0] + capsule.size[1])


def _round(part: Part, field: HField, kind: GeomType, shape: Geom, radius: Array) -> Hit:
    """Contacts at the closest points of a cylinder or ellipsoid and the prisms, one for each."""

    def touch(shape: Geom, prism: Convex) -> Contacts:
        near = round_near(part, kind, shape, prism)
        return near.dist[None], near.pos[None], near.normal[None], jnp.ones_like(near.dist)[None]

    return _collide(part, field, shape, touch, radius)


@pair(GeomType.HFIELD, GeomType.CYLINDER, ncon=4)
def hfield_cylinder(part: Part, field: HField, cylinder: Geom) -> Hit:
    """Four contacts, one for each of the prisms chosen."""
    radius = jnp.sqrt(jnp.sum(cylinder.size[:2] ** 2))
    return _round(part, field, GeomType.CYLINDER, cylinder, radius)


@pair(GeomType.HFIELD, GeomType.ELLIPSOID, ncon=4)
def hfield_ellipsoid(part: Part, field: HField, ellipsoid: Geom) -> Hit:
    """Four contacts, one for each of the prisms chosen."""
    return _round(part, field, GeomType.ELLIPSOID, ellipsoid, jnp.max(ellipsoid.size))


@pair(GeomType.HFIELD, GeomType.BOX, ncon=4)
@pair(GeomType.HFIELD, GeomType.MESH, ncon=4)
def hfield_convex(part: Part, field: HField, convex: Convex) -> Hit:
    """Four contacts among four for each prism."""

    def touch(convex: Convex, prism: Convex) -> Contacts:
        dist, pos, normal, weight = convex_near(part, convex, prism)
        return dist, pos, jnp.broadcast_to(normal, pos.shape), weight

    return _collide(part, field, convex, touch, _bounding(part, convex.size))
