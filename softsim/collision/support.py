"""Which collisions of a model have no collider; asked by `put_model`, before anything runs."""

import mujoco
import numpy as np
from mujoco import mjtGeom
from mujoco.mjx import GeomType

from softsim._mjx import geom_pairs
from softsim.collision.contract import PAIRS

MAX_HULL_FACES = 500
"""Faces of a convex hull beyond which a convex pair is refused: it tests all pairs of edges."""


def unsupported_pairs(m: mujoco.MjModel) -> list[tuple[tuple[str, str], tuple[str, str]]]:
    """Pairs of geoms that can collide but have no pair function.

    Returns:
        for each such pair the names of the two geoms (or "geom <id>") and of their types.
    """
    found = []
    for g1, g2, _ in geom_pairs(m):
        types = int(m.geom_type[g1]), int(m.geom_type[g2])
        if types not in {(int(a), int(b)) for a, b in PAIRS}:
            names = (geom_name(m, g1), geom_name(m, g2))
            found.append((names, tuple(mjtGeom(t).name.removeprefix("mjGEOM_") for t in types)))
    return found


def unsupported_meshes(m: mujoco.MjModel) -> list[tuple[str, str]]:
    """Mesh geoms that can collide but whose convex hull no collider can use.

    Returns:
        for each such geom its name (or "geom <id>") and what is wrong with its mesh.
    """
    geoms = {int(g) for g1, g2, _ in geom_pairs(m) for g in (g1, g2)}
    meshes = [g for g in sorted(geoms) if m.geom_type[g] == GeomType.MESH]
    reasons = [(geom_name(m, g), _hull_problem(m, int(m.geom_dataid[g]))) for g in meshes]
    return [(name, reason) for name, reason in reasons if reason]


def geom_name(m: mujoco.MjModel, geom: int) -> str:
    """MuJoCo's name of a geom, or "geom <id>" if it has none."""
    return mujoco.mj_id2name(m, mujoco.mjtObj.mjOBJ_GEOM, int(geom)) or f"geom {geom}"


def _hull_problem(m: mujoco.MjModel, mesh: int) -> str:
    """What is wrong with the convex hull of a mesh, or "" if nothing is."""
    name = f"mesh {m.mesh(mesh).name!r}"
    start = m.mesh_graphadr[mesh]
    if start < 0:
        return f"{name} has no convex hull: it is flat, or needs at least 4 vertices"
    faces = int(m.mesh_graph[start + 1])
    if faces > MAX_HULL_FACES:
        return f"{name} has a hull of {faces} triangles, expected at most {MAX_HULL_FACES}"
    first = m.mesh_vertadr[mesh]
    extent = np.ptp(m.mesh_vert[first : first + m.mesh_vertnum[mesh]], axis=0)
    if extent.min() <= 1e-6 * extent.max():
        return f"{name} is flat: its extent along its axes is {extent} m"
    return ""
