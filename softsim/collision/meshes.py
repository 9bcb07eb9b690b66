"""The meshes of a model that can collide, and their hulls as `mjx.Model` keeps them."""

import logging

import jax.numpy as jnp
import mujoco
from mujoco import mjx
from mujoco.mjx import GeomType

from softsim._mjx import geom_pairs
from softsim.collision.hulls import Hull, mesh_hull
from softsim.elements import element

MAX_HULL_VERTICES = 64
"""Vertices of a hull, by default."""


def colliding_meshes(m: mujoco.MjModel) -> dict[int, int]:
    """Meshes of geoms that can collide: the mesh's id, and the first such geom."""
    geoms = sorted({int(g) for g1, g2, _ in geom_pairs(m) for g in (g1, g2)}, reverse=True)
    return {int(m.geom_dataid[g]): g for g in geoms if m.geom_type[g] == GeomType.MESH}


def convex_meshes(m: mujoco.MjModel, max_vertices: int) -> tuple[mjx.ConvexMesh | None, ...]:
    """What `mjx.Model` keeps of its meshes for collisions: the hulls of those that can collide.

    Logs one line if hulls had to be simplified: how many, and the largest error.
    """
    hulls = {mesh: mesh_hull(m, mesh, max_vertices) for mesh in colliding_meshes(m)}
    changed = {mesh: hull for mesh, hull in hulls.items() if len(hull.vert) < hull.original}
    if changed:
        worst = max(changed, key=lambda mesh: changed[mesh].error)
        logging.getLogger("softsim").warning(
            "put_model: %d of %d colliding meshes have hulls of more than maxhullvert=%d vertices "
            "(up to %d); simplified, they are at most %.2g mm smaller (%s)",
            len(changed),
            len(hulls),
            max_vertices,
            max(hull.original for hull in changed.values()),
            1e3 * changed[worst].error,
            element(m, mujoco.mjtObj.mjOBJ_MESH, worst),
        )
    return tuple(_as_mjx(hulls[mesh]) if mesh in hulls else None for mesh in range(m.nmesh))


def _as_mjx(hull: Hull) -> mjx.ConvexMesh:
    return mjx.ConvexMesh(
        vert=jnp.asarray(hull.vert),
        face=jnp.asarray(hull.vert[hull.face]),
        face_normal=jnp.asarray(hull.face_normal),
        edge=jnp.asarray(hull.edge),
        edge_face_normal=jnp.asarray(hull.edge_face_normal),
    )
