"""The contract every pair of shapes keeps, hard and soft.

- A pair function `(part, g1, g2) -> Hit` handles ONE pair of geoms in the world frame; the driver
  maps it over all pairs of its kind. `g1`, `g2` are ordered by geom type, as MuJoCo orders them.
- It returns as many contacts as MJX's collider of the pair, always, in MJX's order.
- `dist`: m, signed distance between the two surfaces at the contact; negative in penetration. It
  goes on smoothly outside contact: no sentinel value, a contact that is not there has `weight` 0.
- `pos`: m, world frame, the midpoint between the two surfaces.
- `frame`: rows are orthonormal; `frame[0]` is the contact normal and points from geom 1 to geom 2.
- `weight`: in [0, 1], how much this contact is there as far as the SHAPES decide it: unique among
  the points of the manifold, an edge contact or not, a separating axis or not. The driver
  multiplies it with the mask `dist < margin`; a pair function leaves that to the driver.
- In mode "hard" every contact with weight 1 and dist < margin is MJX's: same dist, pos, frame, to
  rounding, and no other contact passes both.
- In soft modes dist, pos, frame and weight are continuously differentiable in both poses and both
  sizes, except where no such field exists: the contact normal of two coinciding centres, and the
  tangents of a frame at two isolated directions of the normal (see `numerics.frame`). There, as
  everywhere, values and gradients are finite.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int
from mujoco.mjx import GeomType

from softsim.follow import Follow
from softsim.softening import Part


class Geom(eqx.Module):
    """A geom in the world frame.

    Attributes:
        pos: m, centre.
        mat: rotation from the geom's frame to the world's.
        size: m, MuJoCo's geom_size (radius and half-lengths); of a height field, its hfield_size.
    """

    pos: Float[Array, "3"]
    mat: Float[Array, "3 3"]
    size: Float[Array, " n"]


class Convex(Geom):
    """A box, a mesh's convex hull, or a prism of a height field; all in the geom's own frame.

    Attributes:
        vert: m, vertices.
        face: m, the vertices of each face, counter-clockwise seen from outside, padded by
            repetition of the last.
        face_normal: outward unit normals.
        edge: indices into `vert`.
        edge_face_normal: the normals of the two faces an edge joins.
        count: how many vertices, faces and edges there are, if the arrays may be longer, and
            faces may have corners twice: the rest repeats the last one. None: nothing repeats.
    """

    vert: Float[Array, "v 3"]
    face: Float[Array, "f k 3"]
    face_normal: Float[Array, "f 3"]
    edge: Int[Array, "e 2"]
    edge_face_normal: Float[Array, "e 2 3"]
    count: Int[Array, "3"] | None = None

    def real(self, name: Literal["vert", "face", "edge"]) -> Bool[Array, " n"] | None:
        """Which entries of an array are not there to fill it up; None: all."""
        if self.count is None:
            return None
        return jnp.arange(len(getattr(self, name))) < self.count[_COUNTED.index(name)]


_COUNTED = ("vert", "face", "edge")


class Resting(eqx.Module):
    """The faces around each vertex, and on which of its corners a shape rests on each.

    Attributes:
        face: indices of faces; -1 where a vertex has fewer.
        corner: up to four vertices of that face, the vertex itself first, padded by repetition.
    """

    face: Int[Array, "v g"]
    corner: Int[Array, "v g 4"]


class OnPlane(Convex):
    """A mesh above a plane in a model that follows MuJoCo C: with how it rests, see `resting`."""

    resting: Resting = eqx.field(kw_only=True)


class HField(Geom):
    """A height field; `size` is (x half-length, y half-length, elevation, base), m.

    Attributes:
        data: elevations in [0, 1], indexed [column, row] as in MJX; z = data * size[2].
        subgrid: static (columns, rows), how many cells can touch the other geom at once.
    """

    data: Float[Array, "ncol nrow"]
    subgrid: tuple[int, int] = eqx.field(static=True)


class Hit(eqx.Module):
    """The k contacts of one pair of geoms, as the contract above says."""

    dist: Float[Array, " k"]
    pos: Float[Array, "k 3"]
    frame: Float[Array, "k 3 3"]
    weight: Float[Array, " k"]


def absent_added(hit: Hit, count: int) -> Hit:
    """The same contacts, filled up to `count` with some that are not there."""
    place = np.minimum(np.arange(count), hit.dist.shape[0] - 1)
    there = np.arange(count) < hit.dist.shape[0]
    weight = jnp.where(there, hit.weight[place], 0.0)
    return Hit(hit.dist[place], hit.pos[place], hit.frame[place], weight)


PairFunction = Callable[[Part, Any, Any], Hit]


@dataclass(frozen=True)
class Pair:
    """One row of the table of pairs: a function, and what its contacts are.

    Attributes:
        ncon: how many contacts it returns; with a height field that may depend on how many cells
            of it the other geom can touch.
        nearest: whether each is the nearest point of a shape, or a corner of it, so that `dist`
            changes with the velocity of that point. Others wander: on the rim of a cylinder, along
            an edge that is clipped.
    """

    function: PairFunction
    ncon: int | Callable[[tuple[int, int]], int]
    nearest: bool

    def count(self, subgrid: tuple[int, int]) -> int:
        """Number of contacts.

        Args:
            subgrid: (columns, rows) of the height field, if one of the geoms is one.
        """
        return self.ncon if isinstance(self.ncon, int) else self.ncon(subgrid)


PAIRS: dict[tuple[GeomType, GeomType], Pair] = {}
MUJOCO_PAIRS: dict[tuple[GeomType, GeomType], Pair] = {}
"""What stands in for the entry of `PAIRS` in models that follow MuJoCo C."""

NO_BROADPHASE = {GeomType.HFIELD, GeomType.PLANE}
"""Types without a bounding sphere: max_geom_pairs drops none of their pairs."""


def pair(
    type1: GeomType,
    type2: GeomType,
    ncon: int | Callable[[tuple[int, int]], int],
    nearest: bool = False,
    follow: Follow = "mjx",
) -> Callable[[PairFunction], PairFunction]:
    """Enters a function into `PAIRS`, the table the driver reads, under its two geom types.

    Args:
        type1: type of the first geom.
        type2: type of the second geom; MuJoCo's order, `type1 <= type2`.
        ncon: number of contacts in the `Hit` it returns.
        nearest: see `Pair`.
        follow: "mujoco" enters it into `MUJOCO_PAIRS` instead.
    """
    if type1 > type2:
        raise ValueError(
            f"pair: got ({type1.name}, {type2.name}), expected MuJoCo's order of types"
        )

    def enter(function: PairFunction) -> PairFunction:
        table = PAIRS if follow == "mjx" else MUJOCO_PAIRS
        table[type1, type2] = Pair(function, ncon, nearest)
        return function

    return enter


def pair_of(follow: Follow, types: tuple[GeomType, GeomType]) -> Pair:
    """The entry of two geom types, of the engine to follow where that has its own."""
    return (MUJOCO_PAIRS if follow == "mujoco" else {}).get(types, PAIRS[types])
