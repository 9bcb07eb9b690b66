"""On which corners a mesh rests on a plane in MuJoCo C: a table for each vertex and face around it.

Found by experiment with MuJoCo 3.17: contacts are at the vertices below the plane of one face, the
one around the deepest vertex that looks most along the plane's normal, and of its corners at most
four. These span a large quadrilateral: its first corner is the deepest vertex, the others start at
the next three and move on round the face, the last one first, as long as the area grows. So they
depend on the shape and on the deepest vertex alone.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from mujoco import mjx

from softsim.collision.contract import Resting
from softsim.collision.hulls import mesh_hull


def resting(m: mjx.Model, meshes: Int[np.ndarray, " p"]) -> Resting:
    """The tables of some meshes' hulls, one row each, filled up to one length."""
    used, place = np.unique(meshes, return_inverse=True)
    tables = [_table(m, int(mesh)) for mesh in used]
    v, g = np.max([face.shape for face, _ in tables], axis=0)
    faces, corners = np.full((len(used), v, g), -1), np.zeros((len(used), v, g, 4), int)
    for row, (face, corner) in enumerate(tables):
        faces[row, : face.shape[0], : face.shape[1]] = face
        corners[row, : face.shape[0], : face.shape[1]] = corner
    return Resting(jnp.asarray(faces[place]), jnp.asarray(corners[place]))


def _table(m: mjx.Model, mesh: int) -> tuple[Int[np.ndarray, "v g"], Int[np.ndarray, "v g 4"]]:
    """The faces around each vertex of a mesh's hull, and the corners on each of them."""
    hull = mesh_hull(m, mesh, len(m._impl.mesh_convex[mesh].vert))
    loops = [list(dict.fromkeys(face.tolist())) for face in hull.face]
    around: list[list[tuple[int, list[int]]]] = [[] for _ in hull.vert]
    for index, loop in enumerate(loops):
        for place, vertex in enumerate(loop):
            turned = loop[place:] + loop[:place]
            around[vertex].append((index, [turned[i] for i in _quadrilateral(hull.vert[turned])]))
    width = max(map(len, around))
    face = np.full((len(around), width), -1)
    corner = np.zeros((len(around), width, 4), int)
    for vertex, faces in enumerate(around):
        for place, (index, four) in enumerate(faces):
            face[vertex, place], corner[vertex, place] = index, four
    return face, corner


def _quadrilateral(loop: Float[np.ndarray, "k 3"]) -> list[int]:
    """Places of four corners of a polygon, the first one among them; a triangle repeats it."""
    if len(loop) == 3:
        return [0, 1, 2, 0]
    corners = [0, 1, 2, 3]

    def area(places: list[int]) -> float:
        a, b, c, d = loop[places]
        return float(np.linalg.norm(np.cross(c - a, d - b)))

    def grows(which: int) -> bool:
        moved = corners.copy()
        moved[which] += 1
        if moved[which] == (corners[1:] + [len(loop)])[which] or area(moved) <= area(corners):
            return False
        corners[:] = moved
        return True

    while grows(3):
        while grows(2):
            pass
        while grows(1):
            pass
    return corners
