"""Convex hulls of meshes as a collider needs them, with no more vertices than it can afford.

A hull of too many vertices becomes the hull of a few of them: from a tetrahedron, the vertex that
is farthest outside is added until there are as many as allowed. So the simplified hull lies inside
the original one, its vertices are the original's, and it never touches where the original does not.
Its error is the greatest distance (m) of an original vertex from it: the Hausdorff distance of the
two shapes.
"""

from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import ConvexHull

FLAT = 1e-6
"""Of the hull's extent: triangles this near to one plane are one face (meshes are in float32)."""
CHUNK = 64
"""Points whose distances are computed at once, so that memory stays small."""


class Hull(NamedTuple):
    """A convex hull with polygons as faces, in the mesh's frame.

    Attributes:
        vert: m, vertices.
        face: indices into `vert`, counter-clockwise seen from outside, each face padded by
            repetition of its last vertex.
        face_normal: outward unit normals.
        edge: indices into `vert`, one row for each edge.
        edge_face_normal: the normals of the two faces that an edge joins.
        error: m, how far a vertex of the mesh is outside of this hull at most.
        original: number of vertices before the hull was simplified.
    """

    vert: Float[np.ndarray, "v 3"]
    face: Int[np.ndarray, "f k"]
    face_normal: Float[np.ndarray, "f 3"]
    edge: Int[np.ndarray, "e 2"]
    edge_face_normal: Float[np.ndarray, "e 2 3"]
    error: float
    original: int


def mesh_hull(m: mujoco.MjModel, mesh: int, max_vertices: int) -> Hull:
    """The convex hull of a mesh with at most `max_vertices` (at least 4; -1: all of them)."""
    vert, triangles = _mujoco_hull(m, mesh)
    original, error = len(vert), 0.0
    if -1 < max_vertices < original:
        vert, triangles, error = simplified(vert, max_vertices)
    return Hull(vert, *_polygons(vert, triangles), error, original)


def _mujoco_hull(
    m: mujoco.MjModel, mesh: int
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "t 3"]]:
    """Vertices (m) and triangles of the hull that MuJoCo's compiler made.

    The layout of `mesh_graph` is in the comment of that field in mujoco's mjmodel.h.
    """
    start = m.mesh_graphadr[mesh]
    nvert, nface = (int(n) for n in m.mesh_graph[start : start + 2])
    used = start + 2 + nvert
    vertex_id = m.mesh_graph[used : used + nvert]
    faces = used + 2 * nvert + 3 * nface
    triangles = m.mesh_graph[faces : faces + 3 * nface].reshape(-1, 3)
    local = np.zeros(m.mesh_vertnum[mesh], int)
    local[vertex_id] = np.arange(nvert)
    vert = m.mesh_vert[m.mesh_vertadr[mesh] + vertex_id]
    return vert.astype(float), local[triangles]


def simplified(
    points: Float[np.ndarray, "n 3"], count: int
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "t 3"], float]:
    """At most `count` of the points, the triangles of their hull, and its error (m)."""
    resolution = FLAT * np.ptp(points, axis=0).max()
    chosen = _tetrahedron(points)
    while True:
        hull = ConvexHull(points[chosen])
        outside = np.max(points @ hull.equations[:, :3].T + hull.equations[:, 3], axis=1)
        farthest = int(np.argmax(outside))
        if len(chosen) >= count or outside[farthest] <= resolution:
            break
        chosen.append(farthest)
    kept = points[chosen]
    triangles = _outward(kept, hull.simplices, hull.equations[:, :3])
    error = float(np.max(_distance(points[outside > 0], kept[triangles]), initial=0.0))
    return kept, triangles, error


def _tetrahedron(points: Float[np.ndarray, "n 3"]) -> list[int]:
    """Four points that span a volume: two ends, the farthest from their line, and from a plane."""
    axis = int(np.argmax(np.ptp(points, axis=0)))
    a, b = int(np.argmin(points[:, axis])), int(np.argmax(points[:, axis]))
    normals = np.cross(points - points[a], points[b] - points[a])
    c = int(np.argmax(np.sum(normals**2, axis=1)))
    d = int(np.argmax(np.abs((points - points[a]) @ normals[c])))
    return [a, b, c, d]


def _outward(
    points: Float[np.ndarray, "n 3"],
    triangles: Int[np.ndarray, "t 3"],
    normals: Float[np.ndarray, "t 3"],
) -> Int[np.ndarray, "t 3"]:
    """The triangles with their vertices counter-clockwise about their outward normals."""
    a, b, c = points[triangles].transpose(1, 0, 2)
    clockwise = np.sum(np.cross(b - a, c - a) * normals, axis=1) < 0
    return np.where(clockwise[:, None], triangles[:, ::-1], triangles)


def _distance(
    points: Float[np.ndarray, "n 3"], corners: Float[np.ndarray, "t 3 3"]
) -> Float[np.ndarray, " n"]:
    """m, from each point to the nearest of the triangles with these corners."""
    along = np.roll(corners, -1, axis=1) - corners
    normal = np.cross(along[:, 0], along[:, 1])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    inward = np.cross(normal[:, None], along)
    nearest = [np.zeros(0)]
    for some in np.array_split(points, len(points) // CHUNK + 1):
        offset = some[:, None, None] - corners
        inside = np.all(np.sum(offset * inward, axis=-1) >= 0, axis=-1)
        height = np.abs(np.sum(offset[:, :, 0] * normal, axis=-1))
        share = np.sum(offset * along, axis=-1) / np.sum(along * along, axis=-1)
        to_edges = np.linalg.norm(offset - np.clip(share, 0, 1)[..., None] * along, axis=-1)
        nearest.append(np.where(inside, height, to_edges.min(axis=-1)).min(axis=-1))
    return np.concatenate(nearest)


def _polygons(
    vert: Float[np.ndarray, "v 3"], triangles: Int[np.ndarray, "t 3"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """face, face_normal, edge and edge_face_normal of `Hull`: coplanar triangles made polygons."""
    a, b, c = vert[triangles].transpose(1, 0, 2)
    areas = np.cross(b - a, c - a)
    loops, normals = [], []
    for members, loop in _faces(vert, triangles.tolist(), areas):
        normal = areas[members].sum(axis=0)
        loops.append(loop)
        normals.append(normal / np.linalg.norm(normal))
    sides: dict[tuple[int, int], list[int]] = {}
    for f, loop in enumerate(loops):
        for start, end in _edges(loop):
            sides.setdefault((min(start, end), max(start, end)), []).append(f)
    width = max(map(len, loops))
    face = np.array([loop + loop[-1:] * (width - len(loop)) for loop in loops], np.int32)
    face_normal = np.array(normals)
    return face, face_normal, np.array(list(sides), np.int32), face_normal[list(sides.values())]


def _faces(
    vert: Float[np.ndarray, "v 3"], triangles: list[list[int]], areas: Float[np.ndarray, "t 3"]
) -> list[tuple[list[int], list[int]]]:
    """The triangles of each face and the loop of vertices around it; single triangles first.

    A face grows over the triangles in the plane of its largest one, so that no chain of almost
    coplanar triangles bends around a corner.
    """
    owner = {edge: t for t, triangle in enumerate(triangles) for edge in _edges(triangle)}
    size = np.linalg.norm(areas, axis=1)
    tolerance = FLAT * np.ptp(vert, axis=0).max()
    free = np.ones(len(triangles), bool)
    faces = []
    for seed in np.argsort(-size, kind="stable").tolist():
        if not free[seed]:
            continue
        height = (vert - vert[triangles[seed][0]]) @ (areas[seed] / size[seed])
        level = np.abs(height) <= tolerance
        members = [seed]
        for t in members:  # grows while it is walked
            for a, b in _edges(triangles[t]):
                other = owner[b, a]
                if free[other] and other not in members and level[triangles[other]].all():
                    members.append(other)
        loop = _loop([triangles[t] for t in members])
        if not loop:  # not a disc: rounding of the vertices left a hole in the face
            members, loop = [seed], triangles[seed]
        free[members] = False
        faces.append((members, loop))
    return sorted(faces, key=lambda face: (len(face[0]) > 1, min(face[0])))


def _edges(loop: list[int]) -> list[tuple[int, int]]:
    """The directed edges of a loop of vertices."""
    return list(zip(loop, loop[1:] + loop[:1]))


def _loop(triangles: list[list[int]]) -> list[int]:
    """The vertices around connected triangles, or none if that is not one simple loop."""
    edges = {edge for triangle in triangles for edge in _edges(triangle)}
    following = {a: b for a, b in edges if (b, a) not in edges}
    boundary = sum((b, a) not in edges for a, b in edges)
    loop = [next(a for triangle in triangles for a in triangle if a in following)]
    while (after := following[loop[-1]]) != loop[0]:
        loop.append(after)
    return loop if len(loop) == boundary else []
