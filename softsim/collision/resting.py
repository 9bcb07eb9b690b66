"""On which corners a mesh rests on a plane in MuJoCo C: a table for each vertex and face around it.

Found by experiment with MuJoCo 3.17: contacts are at the vertices below the plane of one face, the
one around the deepest vertex that looks most along the plane's normal, and of its corners at most
four. These span a large quadrilateral: its first corner is the deepest vertex, the others start at
the next three and move on round the face, the last one first, as long as the area grows. So they
depend on the shape and on the deepest vertex alone.
"""

import mujoco
import numpy as np
from jaxtyping import Float
from mujoco import mjx

from softsim.collision.contract import Resting
from softsim.collision.hulls import mesh_hull


def resting(m: mujoco.MjModel | mjx.Model, mesh: int, vertices: int) -> Resting:
    """The table of a mesh's hull with that many vertices."""
    hull = mesh_hull(m, mesh, vertices)
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
    return Resting(face, corner)


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
