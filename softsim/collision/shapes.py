"""Builds the `Geom` a pair function sees from a model's arrays."""

import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from mujoco import mjx
from mujoco.mjx import GeomType

from softsim.collision.batches import Batch
from softsim.collision.contract import Convex, Geom, HField, OnPlane
from softsim.collision.resting import resting
from softsim.follow import follows

Pose = tuple[Float[Array, "3"], Float[Array, "3 3"], Float[Array, "3"]]
"""Position (m), rotation and size (m) of a geom in the world frame."""

# corners of the cube in binary order, and its faces counter-clockwise seen from outside
_CORNERS = np.array(list(itertools.product((-1.0, 1.0), repeat=3)))
_FACES = np.array(
    [[0, 4, 5, 1], [0, 2, 6, 4], [6, 7, 5, 4], [2, 3, 7, 6], [1, 5, 7, 3], [0, 1, 3, 2]], np.int32
)
_NORMALS = _CORNERS[_FACES].mean(axis=1)


def _cube_edges() -> tuple[np.ndarray, np.ndarray]:
    """Edges of the cube in the order in which its faces meet them, and their two faces' normals."""
    faces_of: dict[tuple[int, int], list[int]] = {}
    for f, face in enumerate(_FACES):
        for start, end in zip(face, np.roll(face, 1)):
            faces_of.setdefault((min(start, end), max(start, end)), []).append(f)
    return np.array(list(faces_of), np.int32), _NORMALS[np.array(list(faces_of.values()))]


_EDGES, _EDGE_NORMALS = _cube_edges()


def box(pos: Array, mat: Array, size: Array) -> Convex:
    """A box as a convex shape; vertices and faces follow `size`, so size has a gradient."""
    corners = jnp.asarray(_CORNERS, size.dtype) * size
    return Convex(
        pos,
        mat,
        size,
        vert=corners,
        face=corners[_FACES],
        face_normal=jnp.asarray(_NORMALS, size.dtype),
        edge=jnp.asarray(_EDGES),
        edge_face_normal=jnp.asarray(_EDGE_NORMALS, size.dtype),
    )


def builder(m: mjx.Model, batch: Batch, i: int) -> tuple[Callable[..., Geom], tuple[Any, ...]]:
    """How to build geom i (0 or 1) of each pair of a batch.

    Returns:
        a function of one geom's pos (3,), mat (3, 3), size (3,) and more, and what these are: their
        leaves have the batch's pairs first, over which it is to be mapped.
    """
    kind, data_ids = batch.types[i], batch.data_ids[:, i]
    if kind == GeomType.BOX:
        return box, ()
    if kind == GeomType.MESH:
        rows = hulls(m, data_ids)
        if follows(m) == "mujoco" and batch.types[0] == GeomType.PLANE:
            rests = resting(m, data_ids)
            on_plane = lambda pos, mat, size, hull, rests: OnPlane(
                pos, mat, size, **hull, resting=rests
            )
            return on_plane, (rows, rests)
        return lambda pos, mat, size, hull: Convex(pos, mat, size, **hull), (rows,)
    if kind == GeomType.HFIELD:
        field = int(data_ids[0])
        nrow, ncol = m.hfield_nrow[field], m.hfield_ncol[field]
        start = m.hfield_adr[field]
        data = m.hfield_data[start : start + nrow * ncol].reshape(nrow, ncol).T
        extent = jnp.asarray(m.hfield_size[field], data.dtype)
        return lambda pos, mat, size: HField(pos, mat, extent, data, batch.subgrid), ()
    return Geom, ()


def hulls(m: mjx.Model, meshes: Int[np.ndarray, " p"]) -> dict[str, Array]:
    """The fields of `Convex` of the hulls of some meshes, one row each, filled up to one length."""
    used, place = np.unique(meshes, return_inverse=True)
    found = [m._impl.mesh_convex[mesh] for mesh in used]
    count = np.array([(len(x.vert), len(x.face), len(x.edge)) for x in found])
    vertices, faces, edges = (_filled(n)[place] for n in count.T)

    corners = np.array([x.face.shape[1] for x in found])
    first = np.cumsum(count[:, 1] * corners) - count[:, 1] * corners
    face = np.minimum(np.arange(count[:, 1].max()), count[:, 1:2] - 1) * corners[:, None]
    corner = np.minimum(np.arange(corners.max()), corners[:, None] - 1)
    of_faces = first[:, None, None] + face[:, :, None] + corner[:, None]
    flat = [x.face.reshape(-1, 3) for x in found]
    return {
        "vert": jnp.concatenate([x.vert for x in found])[vertices],
        "face": jnp.concatenate(flat)[of_faces[place]],
        "face_normal": jnp.concatenate([x.face_normal for x in found])[faces],
        "edge": jnp.concatenate([x.edge for x in found])[edges],
        "edge_face_normal": jnp.concatenate([x.edge_face_normal for x in found])[edges],
        "count": jnp.asarray(count[place]),
    }


def _filled(count: Int[np.ndarray, " n"]) -> Int[np.ndarray, "n m"]:
    """Where the entries of n arrays are in all of them together, each filled up with its last."""
    first = np.cumsum(count) - count
    return first[:, None] + np.minimum(np.arange(count.max()), count[:, None] - 1)


def shape(m: mjx.Model, d: mjx.Data, geom: int) -> Geom:
    """One geom of a model, which is no height field, at its pose in `d`.

    Raises:
        ValueError: it is a mesh whose hull the model does not hold, since it collides with nothing.
    """
    kind, data_id = GeomType(int(m.geom_type[geom])), int(m.geom_dataid[geom])
    if kind == GeomType.MESH and m._impl.mesh_convex[data_id] is None:
        raise ValueError(
            f"geom {geom}: its mesh has no convex hull in this model, since it collides with "
            "nothing; give it a contype and a conaffinity"
        )
    build, rows = builder(m, Batch((kind, kind), np.array([[data_id, data_id]])), 0)
    pose = d.geom_xpos[geom], d.geom_xmat[geom], m.geom_size[geom]
    return build(*pose, *jax.tree.map(lambda x: x[0], rows))
