"""Which collisions of a model have no collider; asked by `put_model`, before anything runs."""

import mujoco
import numpy as np
from mujoco import mjtGeom

from softsim._mjx import geom_pairs
from softsim.collision.contract import PAIRS
from softsim.collision.hulls import FLAT
from softsim.collision.meshes import colliding_meshes


def unsupported_pairs(m: mujoco.MjModel) -> list[tuple[tuple[int, int], tuple[str, str]]]:
    """Pairs of geoms that can collide but have no pair function.

    Returns:
        for each such pair the ids of the two geoms and the names of their types.
    """
    known = {(int(a), int(b)) for a, b in PAIRS}
    found = []
    for g1, g2, _ in geom_pairs(m):
        types = int(m.geom_type[g1]), int(m.geom_type[g2])
        if types not in known:
            first, second = (mjtGeom(t).name.removeprefix("mjGEOM_") for t in types)
            found.append(((int(g1), int(g2)), (first, second)))
    return found


def unsupported_meshes(m: mujoco.MjModel) -> list[tuple[int, str]]:
    """Meshes that can collide but whose convex hull no collider can use.

    Returns:
        for each such mesh the id of a geom that collides with it, and what is wrong.
    """
    reasons = [(geom, _hull_problem(m, mesh)) for mesh, geom in colliding_meshes(m).items()]
    return [(geom, reason) for geom, reason in reasons if reason]


def _hull_problem(m: mujoco.MjModel, mesh: int) -> str:
    """What is wrong with the convex hull of a mesh, or "" if nothing is."""
    if m.mesh_graphadr[mesh] < 0:
        return "a mesh without a convex hull, flat or of fewer than 4 vertices, cannot collide"
    first = m.mesh_vertadr[mesh]
    extent = np.ptp(m.mesh_vert[first : first + m.mesh_vertnum[mesh]], axis=0)
    return "a flat mesh cannot collide" if extent.min() <= FLAT * extent.max() else ""
