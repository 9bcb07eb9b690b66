"""Builds the `Geom` a pair function sees from a model's arrays."""

import itertools
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx
from mujoco.mjx import GeomType

from softsim._mjx import FunctionKey
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


def builder(m: mjx.Model, key: FunctionKey, i: int) -> Callable[..., Geom]:
    """How to build geom i (0 or 1) of a group of pairs from its (pos, mat, size).

    Args:
        m: model, JAX implementation.
        key: the group: types, mesh or height field ids, cells of a height field to test.
        i: first or second geom of the pair.

    Returns:
        a function of one geom's pos (3,), mat (3, 3), size (3,), to be mapped over the group.
    """
    kind, data_id = key.types[i], key.data_ids[i]
    if kind == GeomType.BOX:
        return box
    if kind == GeomType.MESH:
        hull = m._impl.mesh_convex[data_id]
        parts = {name: getattr(hull, name) for name in ("vert", "face", "face_normal")}
        parts |= {"edge": hull.edge, "edge_face_normal": hull.edge_face_normal}
        if follows(m) == "mujoco" and key.types[0] == GeomType.PLANE:
            rests = resting(m, data_id, len(hull.vert))
            return lambda pos, mat, size: OnPlane(pos, mat, size, **parts, resting=rests)
        return lambda pos, mat, size: Convex(pos, mat, size, **parts)
    if kind == GeomType.HFIELD:
        nrow, ncol = m.hfield_nrow[data_id], m.hfield_ncol[data_id]
        start = m.hfield_adr[data_id]
        data = m.hfield_data[start : start + nrow * ncol].reshape(nrow, ncol).T
        extent = jnp.asarray(m.hfield_size[data_id], data.dtype)
        return lambda pos, mat, size: HField(pos, mat, extent, data, key.subgrid_size)
    return Geom


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
    key = FunctionKey((kind, kind), (data_id, data_id), 3, (-1, -1))
    return builder(m, key, 0)(d.geom_xpos[geom], d.geom_xmat[geom], m.geom_size[geom])
