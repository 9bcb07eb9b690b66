"""Pairs of shapes and their poses, random and degenerate: what collision is tested on.

A new pair is one row of `CASES`.
"""

import copy
from dataclasses import dataclass
from functools import cache

import equinox as eqx
import jax
import mujoco
import numpy as np
from jaxtyping import Float
from mujoco import mjx

TETRAHEDRON = "0 0 0.12  0.1 0 -0.05  -0.06 0.09 -0.05  -0.05 -0.1 -0.05"
PRISM = " ".join(f"0.1 0 {z}  -0.08 0.07 {z}  -0.06 -0.09 {z}" for z in (0.05, -0.05))
ASSETS = f"""
<mesh name="tetrahedron" vertex="{TETRAHEDRON}"/>
<mesh name="prism" vertex="{PRISM}"/>
<hfield name="hills" nrow="5" ncol="5" size="0.5 0.5 0.125 0.125"
  elevation="0 .2 .1 .3 0  .1 .5 .4 .2 .1  .3 .1 1 .3 .2  0 .4 .2 .1 .3  .2 0 .1 .3 0"/>
"""


@dataclass(frozen=True)
class Shape:
    """One geom: its MuJoCo attributes and how far it extends.

    Attributes:
        xml: attributes of the `<geom>`.
        half: m, half extents along the geom's axes, for placing it in contact.
    """

    xml: str
    half: tuple[float, float, float]


SHAPES = {
    "plane": Shape('type="plane" size="1 1 1"', (0.0, 0.0, 0.0)),
    "hfield": Shape('type="hfield" hfield="hills"', (0.5, 0.5, 0.06)),
    "sphere": Shape('type="sphere" size="0.1"', (0.1, 0.1, 0.1)),
    "capsule": Shape('type="capsule" size="0.05 0.1"', (0.05, 0.05, 0.15)),
    "ellipsoid": Shape('type="ellipsoid" size="0.08 0.1 0.14"', (0.08, 0.1, 0.14)),
    "cylinder": Shape('type="cylinder" size="0.07 0.1"', (0.07, 0.07, 0.1)),
    "box": Shape('type="box" size="0.08 0.1 0.06"', (0.08, 0.1, 0.06)),
    "tetrahedron": Shape('type="mesh" mesh="tetrahedron"', (0.08, 0.09, 0.08)),
    "prism": Shape('type="mesh" mesh="prism"', (0.08, 0.08, 0.05)),
}


@dataclass(frozen=True)
class Case:
    """A pair of shapes under test.

    Attributes:
        first: name of the first shape in MuJoCo's order of types.
        second: name of the second.
    """

    first: str
    second: str

    @property
    def name(self) -> str:
        return f"{self.first}-{self.second}"


ROUND_CASES = (
    Case("plane", "sphere"),
    Case("plane", "capsule"),
    Case("plane", "ellipsoid"),
    Case("plane", "cylinder"),
    Case("sphere", "sphere"),
    Case("sphere", "capsule"),
    Case("sphere", "ellipsoid"),
    Case("sphere", "cylinder"),
    Case("capsule", "capsule"),
    Case("capsule", "ellipsoid"),
    Case("capsule", "cylinder"),
    Case("ellipsoid", "ellipsoid"),
    Case("ellipsoid", "cylinder"),
    Case("cylinder", "cylinder"),
)
CONVEX_CASES = (
    Case("plane", "box"),
    Case("plane", "prism"),
    Case("sphere", "box"),
    Case("sphere", "prism"),
    Case("capsule", "box"),
    Case("capsule", "prism"),
    Case("box", "box"),
    Case("box", "tetrahedron"),
    Case("tetrahedron", "prism"),
    Case("hfield", "sphere"),
    Case("hfield", "capsule"),
    Case("hfield", "box"),
    Case("hfield", "tetrahedron"),
)
CASES = ROUND_CASES + CONVEX_CASES


class Poses(eqx.Module):
    """n poses of both geoms: world positions (m), rotations, sizes (m); numpy arrays."""

    pos: Float[np.ndarray, "n 2 3"]
    mat: Float[np.ndarray, "n 2 3 3"]
    size: Float[np.ndarray, "n 2 3"]

    def __getitem__(self, index: slice | np.ndarray) -> "Poses":
        return jax.tree.map(lambda x: x[index], self)


@cache
def mujoco_model(case: Case) -> mujoco.MjModel:
    """The two geoms alone in a world, the first fixed and the second free."""
    first, second = SHAPES[case.first].xml, SHAPES[case.second].xml
    return mujoco.MjModel.from_xml_string(f"""<mujoco>
      <option ccd_tolerance="1e-9" ccd_iterations="200"/><asset>{ASSETS}</asset><worldbody>
      <geom {first}/><body><freejoint/><inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/>
      <geom {second}/></body></worldbody></mujoco>""")


@cache
def model(case: Case, x64: bool = True) -> tuple[mjx.Model, mjx.Data]:
    """The same for MJX; float64 or float32."""
    with jax.enable_x64(x64):
        m = mjx.put_model(mujoco_model(case))
        return m, mjx.make_data(m)


def exact_distance(case: Case, poses: Poses) -> Float[np.ndarray, " n"]:
    """m, signed distance of the two geoms by MuJoCo's own convex collider.

    Of a height field it is that of the deepest contact with any of its prisms, 0.5 m away at most:
    `mj_geomDistance` ignores the relief.
    """
    m = copy.copy(mujoco_model(case))
    d = mujoco.MjData(m)
    mujoco.mj_forward(m, d)
    m.geom_rbound[:] = 1.0
    m.geom_margin[:] = 0.25
    found = np.zeros(len(poses.pos))
    for i in range(len(found)):
        m.geom_size[:] = poses.size[i]
        d.geom_xpos[:] = poses.pos[i]
        d.geom_xmat[:] = poses.mat[i].reshape(2, 9)
        if case.first == "hfield":
            mujoco.mj_collision(m, d)
            found[i] = np.min(d.contact.dist, initial=0.5)
        else:
            found[i] = mujoco.mj_geomDistance(m, d, 0, 1, 100.0, np.zeros(6))
    return found


def random_poses(
    case: Case, n: int, seed: int = 0, apart: tuple[float, float] = (0.3, 1.2)
) -> Poses:
    """n poses at random; `apart`: range of distances relative to the extents of the two shapes."""
    rng = np.random.default_rng(seed)
    mat = _rotations(rng, 2 * n).reshape(n, 2, 3, 3)
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    if case.first in ("plane", "hfield"):
        direction = mat[:, 0, :, 2]
    reach = _extent(case.first, mat[:, 0], direction) + _extent(case.second, mat[:, 1], direction)
    sideways = rng.uniform(-0.05, 0.05, (n, 3))
    offset = direction * (reach * rng.uniform(*apart, n))[:, None] + sideways
    size = sizes(case) * rng.uniform(0.8, 1.2, (n, 2, 1))
    pos = rng.uniform(-0.3, 0.3, (n, 1, 3)) + np.stack([np.zeros_like(offset), offset], axis=1)
    return Poses(pos, mat, size)


def degenerate_poses(case: Case, n: int, seed: int = 0) -> Poses:
    """n special poses: coinciding centres, aligned axes, exact touch of faces and edges, ..."""
    rng = np.random.default_rng(seed)
    half = np.array([SHAPES[case.first].half, SHAPES[case.second].half])
    poses = random_poses(case, n, seed)
    pos, mat = np.zeros((n, 2, 3)), poses.mat.copy()
    for i in range(n):
        kind = i % len(DEGENERATE)
        turn, scale, axes = DEGENERATE[kind]
        one = np.eye(3) if rng.random() < 0.5 else _quarter_turn(rng)
        two = {"random": mat[i, 1], "aligned": one @ _quarter_turn(rng), "same": one}[turn]
        mat[i] = one, two
        touch = np.abs(one) @ half[0] + np.abs(two) @ half[1]
        chosen = rng.permutation(3)[:axes]
        pos[i, 1, chosen] = scale * touch[chosen] * rng.choice([-1.0, 1.0], axes)
    size = np.broadcast_to(sizes(case), (n, 2, 3)).copy()
    return Poses(pos, mat, size)


# rotation of the second geom relative to the first, offset relative to touching boxes, along axes
DEGENERATE = (
    ("random", 0.0, 1),
    ("same", 0.0, 1),
    ("aligned", 0.0, 1),
    ("same", 1.0, 1),
    ("aligned", 1.0, 1),
    ("aligned", 1.0, 2),
    ("aligned", 1.0, 3),
    ("same", 0.5, 1),
    ("aligned", 0.5, 2),
    ("random", 0.5, 1),
    ("aligned", 0.99, 1),
    ("random", 10.0, 1),
    ("same", 10.0, 3),
)


def mixed_poses(case: Case, n: int, seed: int = 0) -> Poses:
    """n poses, a third of them degenerate."""
    few = n // 3
    parts = random_poses(case, n - few, seed), degenerate_poses(case, few, seed)
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def _rotations(rng: np.random.Generator, n: int) -> np.ndarray:
    q, r = np.linalg.qr(rng.normal(size=(n, 3, 3)))
    q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]
    return q * np.sign(np.linalg.det(q))[:, None, None]


def _quarter_turn(rng: np.random.Generator) -> np.ndarray:
    """One of the 24 rotations of the cube."""
    matrix = np.eye(3)[rng.permutation(3)] * rng.choice([-1.0, 1.0], 3)[:, None]
    matrix[0] *= np.sign(np.linalg.det(matrix))
    return matrix


def _extent(name: str, mat: np.ndarray, direction: np.ndarray) -> np.ndarray:
    local = np.einsum("nij,ni->nj", mat, direction) * np.array(SHAPES[name].half)
    return np.linalg.norm(local, axis=1)


def sizes(case: Case) -> np.ndarray:
    return np.asarray(model(case)[0].geom_size)
