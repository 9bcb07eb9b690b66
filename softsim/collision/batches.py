"""Which pairs of geoms share one program: those of a kind, whatever their meshes.

A program is compiled for arrays of one length, so the meshes of a batch are filled up to the
largest of them. That costs arithmetic: a pair of meshes tests all pairs of edges. Where
all batches of a kind would do more than `WASTE` times the work of their pairs, they are divided.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int
from mujoco import mjx
from mujoco.mjx import GeomType

from softsim._mjx import FunctionKey

WASTE = 2.0
_SMALL = {GeomType.BOX: 8, GeomType.HFIELD: 7}
"""A mesh with fewer vertices comes before a box, or a prism of a height field, in their tests."""


class Batch(NamedTuple):
    """p pairs of geoms for one program.

    Attributes:
        types: of the two geoms.
        data_ids: meshes or height fields of the two geoms; one height field in all pairs.
        place: of each pair among all pairs of the model.
        swapped: whether the pair's second geom comes first here, as the smaller of two meshes does.
        subgrid: cells of a height field to test, in x and in y.
    """

    types: tuple[GeomType, GeomType]
    data_ids: Int[np.ndarray, "p 2"]
    place: Int[np.ndarray, " p"] = np.zeros(1, int)
    swapped: Bool[np.ndarray, " p"] = np.zeros(1, bool)
    subgrid: tuple[int, int] = (-1, -1)


def batches(m: mjx.Model, keys: list[FunctionKey], counts: list[int]) -> Iterator[Batch]:
    """All pairs of a model, those of equal keys one after the other, sorted into batches.

    Args:
        m: model, JAX implementation.
        keys: MJX's groups of pairs.
        counts: how many pairs each of them has.
    """
    first = np.cumsum([0, *counts])
    kinds: dict[tuple, list[int]] = {}
    for group, key in enumerate(keys):
        kinds.setdefault(_kind(m, key), []).append(group)
    for groups in kinds.values():
        place = np.concatenate([np.arange(first[g], first[g + 1]) for g in groups])
        repeats = [counts[g] for g in groups]
        data_ids = np.repeat([keys[g].data_ids for g in groups], repeats, axis=0)
        size = np.repeat([_sizes(m, keys[g]) for g in groups], repeats, axis=0)
        key = keys[groups[0]]
        types = GeomType(key.types[0]), GeomType(key.types[1])
        swapped = (size[:, 0] > size[:, 1]) & (types == (GeomType.MESH, GeomType.MESH))
        order = np.where(swapped[:, None], [1, 0], [0, 1])
        data_ids, size = (np.take_along_axis(x, order, axis=1) for x in (data_ids, size))
        for some in _affordable(size):
            yield Batch(types, data_ids[some], place[some], swapped[some], tuple(key.subgrid_size))


def _kind(m: mjx.Model, key: FunctionKey) -> tuple:
    """What the pairs of a batch have in common: of two convex shapes, which one comes first too.

    That is the one with fewer vertices, before any are filled up.
    """
    field = key.data_ids[0] if key.types[0] == GeomType.HFIELD else -1
    small = _vertices(m, key, 1) < _SMALL.get(GeomType(key.types[0]), 0)
    return (*key.types, field, *key.subgrid_size, small)


def _vertices(m: mjx.Model, key: FunctionKey, i: int) -> int:
    return len(m._impl.mesh_convex[key.data_ids[i]].vert) if key.types[i] == GeomType.MESH else 0


def _sizes(m: mjx.Model, key: FunctionKey) -> tuple[int, int]:
    """Vertices of the two meshes; 1 for other shapes."""
    return max(_vertices(m, key, 0), 1), max(_vertices(m, key, 1), 1)


def _affordable(size: Int[np.ndarray, "p 2"]) -> list[Int[np.ndarray, " q"]]:
    """Few parts of the pairs that, filled up, do at most `WASTE` times the work of all.

    Work goes with the product of the two sizes. Begins with one part and divides the most wasteful
    one where that saves most.
    """

    def filled(part: Int[np.ndarray, " q"]) -> int:
        return len(part) * int(np.prod(np.max(size[part], axis=0)))

    def wasted(part: Int[np.ndarray, " q"]) -> int:
        return filled(part) - int(np.sum(np.prod(size[part], axis=1)))

    work = np.sum(np.prod(size, axis=1))
    parts = [np.arange(len(size))]
    while sum(map(filled, parts)) > WASTE * work:
        parts.sort(key=wasted)
        part = parts.pop()
        sizes = size[part]
        small = [sizes[:, i] <= bound for i in (0, 1) for bound in np.unique(sizes[:, i])]
        halves = [[part[x], part[~x]] for x in small if not x.all()]
        parts += min(halves, key=lambda two: sum(map(filled, two)))
    return parts
