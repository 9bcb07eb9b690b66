"""A height field in MuJoCo C: one contact for each prism of the grid that the other geom enters.

Facts of MuJoCo 3.17 (`engine_collision_convex.c`): the prisms are those of the cells under the
geom's bounding box in the field's frame, row by row; each is a convex shape down to the base, and
its contact lies between the two points that move apart on the shortest way out of it. Of a pair at
most 50 are kept, the first ones.
"""

from dataclasses import replace

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco.mjx import GeomType

from softsim.collision.closest import closest_points
from softsim.collision.contract import PAIRS, Geom, HField, Hit, absent_added, pair
from softsim.collision.hfield import TRIANGLES, prism
from softsim.collision.minkowski import as_sum
from softsim.collision.numerics import frame, norm
from softsim.softening import Part


def _count(subgrid: tuple[int, int]) -> int:
    """Contacts of a pair whose geom is above no more than these columns and rows of cells."""
    return min(2 * subgrid[0] * subgrid[1], mujoco.mjMAXCONPAIR)


def _lowest(kind: GeomType, geom: Geom) -> Float[Array, "3"]:
    """The least x, y and z (m) of a geom."""
    total = as_sum(kind, geom, geom.pos)
    return jnp.min(total.vert, axis=0) - norm(total.axes.T) - total.radius


def _of_prisms(part: Part, field: HField, kind: GeomType, geom: Geom) -> Hit:
    count = _count(field.subgrid)
    if part.mode != "hard":  # four slowly varying ones
        return absent_added(PAIRS[GeomType.HFIELD, kind].function(part, field, geom), count)
    geom = replace(geom, pos=field.mat.T @ (geom.pos - field.pos), mat=field.mat.T @ geom.mat)
    cells = jnp.array(field.data.shape) - 1
    step = 2 * field.size[:2] / cells
    start = jax.lax.stop_gradient(jnp.floor((_lowest(kind, geom)[:2] + field.size[:2]) / step))
    columns, rows = field.subgrid
    window = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)
    cell = jnp.maximum(start.astype(int), 0) + window
    exists = jnp.repeat(jnp.all(cell < cells, axis=1), 2)
    corners = jnp.minimum(cell, cells - 1)[:, None, None] + TRIANGLES
    prisms = jax.vmap(lambda c: prism(field, c))(corners.reshape(-1, 3, 2))

    near = lambda one: closest_points((GeomType.MESH, kind), one, geom)
    dist, on_field, on_geom, normal = jax.vmap(near)(prisms)
    first = jnp.argsort(~(exists & (dist < 0)), stable=True)[:count]
    dist, normal, exists = dist[first], normal[first], exists[first]
    pos = 0.5 * (on_field + on_geom)[first]
    frames = jax.vmap(lambda n: frame(part, n))(normal @ field.mat.T)
    return Hit(dist, field.pos + pos @ field.mat.T, frames, exists.astype(dist.dtype))


def _enter(kind: GeomType) -> None:
    @pair(GeomType.HFIELD, kind, ncon=_count, follow="mujoco")
    def hfield_prisms(part: Part, field: HField, geom: Geom) -> Hit:
        return _of_prisms(part, field, kind, geom)


for _kind in (
    GeomType.SPHERE, GeomType.CAPSULE, GeomType.ELLIPSOID, GeomType.CYLINDER, GeomType.BOX,
    GeomType.MESH,
):  # fmt: skip
    _enter(_kind)
