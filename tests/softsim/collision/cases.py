"""Shared cases of collision: pairs of shapes, random and degenerate poses, and the five checks.

A new pair is one row of `CASES`. Every check returns plain numbers, so that the tests assert on
them and the benchmark tabulates them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Float
from mujoco import mjx
from mujoco.mjx import GeomType

from softsim._mjx import geom_groups
from softsim.collision import PAIRS, Hit, collide, shapes
from softsim.softening import Part, Softening

TETRAHEDRON = "0 0 0.12  0.1 0 -0.05  -0.06 0.09 -0.05  -0.05 -0.1 -0.05"
PRISM = " ".join(f"0.1 0 {z}  -0.08 0.07 {z}  -0.06 -0.09 {z}" for z in (0.05, -0.05))
ASSETS = f"""
<mesh name="tetrahedron" vertex="{TETRAHEDRON}"/>
<mesh name="prism" vertex="{PRISM}"/>
<hfield name="hills" nrow="5" ncol="5" size="0.4 0.4 0.1 0.1"
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
    "hfield": Shape('type="hfield" hfield="hills"', (0.4, 0.4, 0.05)),
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


CASES = (
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


class Poses(eqx.Module):
    """n poses of both geoms: world positions (m), rotations, sizes (m); numpy arrays."""

    pos: Float[np.ndarray, "n 2 3"]
    mat: Float[np.ndarray, "n 2 3 3"]
    size: Float[np.ndarray, "n 2 3"]

    def __getitem__(self, index: slice | np.ndarray) -> "Poses":
        return jax.tree.map(lambda x: x[index], self)


@cache
def model(case: Case, x64: bool = True) -> tuple[mjx.Model, mjx.Data]:
    """The two geoms alone in a world, the first fixed and the second free; float64 or float32."""
    first, second = SHAPES[case.first].xml, SHAPES[case.second].xml
    xml = f"""<mujoco><asset>{ASSETS}</asset><worldbody><geom {first}/>
      <body><freejoint/><inertial pos="0 0 0" mass="1" diaginertia="1 1 1"/><geom {second}/></body>
      </worldbody></mujoco>"""
    with jax.enable_x64(x64):
        m = mjx.put_model(mujoco.MjModel.from_xml_string(xml))
        return m, mjx.make_data(m)


def random_poses(case: Case, n: int, seed: int = 0) -> Poses:
    """n poses at random, near contact more often than not."""
    rng = np.random.default_rng(seed)
    mat = _rotations(rng, 2 * n).reshape(n, 2, 3, 3)
    direction = rng.normal(size=(n, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    if case.first in ("plane", "hfield"):
        direction = mat[:, 0, :, 2]
    reach = _extent(case.first, mat[:, 0], direction) + _extent(case.second, mat[:, 1], direction)
    sideways = rng.uniform(-0.05, 0.05, (n, 3))
    offset = direction * (reach * rng.uniform(0.3, 1.2, n))[:, None] + sideways
    size = _sizes(case) * rng.uniform(0.8, 1.2, (n, 2, 1))
    pos = rng.uniform(-0.3, 0.3, (n, 1, 3)) + np.stack([np.zeros_like(offset), offset], axis=1)
    return Poses(pos, mat, size)


def degenerate_poses(case: Case, n: int, seed: int = 0) -> Poses:
    """n special poses: coinciding centres, aligned axes, exact touch of faces and edges, ..."""
    rng = np.random.default_rng(seed)
    half = np.array([SHAPES[case.first].half, SHAPES[case.second].half])
    poses = random_poses(case, n, seed)
    pos, mat = np.zeros((n, 2, 3)), poses.mat.copy()
    for i in range(n):
        kind = i % len(_KINDS)
        turn, scale, axes = _KINDS[kind]
        one = np.eye(3) if rng.random() < 0.5 else _quarter_turn(rng)
        two = {"random": mat[i, 1], "aligned": one @ _quarter_turn(rng), "same": one}[turn]
        mat[i] = one, two
        touch = np.abs(one) @ half[0] + np.abs(two) @ half[1]
        chosen = rng.permutation(3)[:axes]
        pos[i, 1, chosen] = scale * touch[chosen] * rng.choice([-1.0, 1.0], axes)
    size = np.broadcast_to(_sizes(case), (n, 2, 3)).copy()
    return Poses(pos, mat, size)


# rotation of the second geom relative to the first, offset relative to touching boxes, along axes
_KINDS = (
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


def _sizes(case: Case) -> np.ndarray:
    return np.asarray(model(case)[0].geom_size)


Evaluate = Callable[[np.ndarray, Poses, np.ndarray], tuple[np.ndarray, Hit, np.ndarray]]


@cache
def evaluator(case: Case, mode: str, x64: bool = True) -> Evaluate:
    """The pair function of a case and the gradient of a fixed random projection of its contacts.

    Returns:
        a function of (shift (n, 18), poses, softness) giving phi (n,), the contacts with leaves
        (n, k, ...), and d phi / d shift (n, 18). A shift moves both geoms: two displacements (m),
        two rotation vectors (rad), two changes of size (m).
    """
    m, _ = model(case, x64)
    (key,) = geom_groups(m)
    entry = PAIRS[tuple(GeomType(t) for t in key.types)]
    build = [shapes.builder(m, key, i) for i in (0, 1)]
    rng = np.random.default_rng(1)
    k = entry.ncon
    weights = rng.normal(size=k), rng.normal(size=(k, 3)), rng.normal(size=(k, 3, 3))
    weight_w = 0.1 * rng.normal(size=k)

    def phi(shift, pose, softness):
        move, turn, grow = shift.reshape(3, 2, 3)
        pos, size = pose.pos + move, pose.size + grow
        mat = jax.vmap(_turn)(turn, pose.mat)
        one, two = (build[i](pos[i], mat[i], size[i]) for i in (0, 1))
        hit = entry.function(Part(softness, mode), one, two)
        a, b, c = (jnp.asarray(w, shift.dtype) for w in weights)
        value = jnp.sum(a * hit.dist) + jnp.sum(b * hit.pos) + 0.1 * jnp.sum(c * hit.frame)
        return value + jnp.sum(jnp.asarray(weight_w, shift.dtype) * hit.weight), hit

    run = jax.jit(jax.vmap(jax.value_and_grad(phi, has_aux=True), in_axes=(0, 0, None)))

    def evaluate(shift, poses, softness):
        dtype = np.float64 if x64 else np.float32
        args = jax.tree.map(lambda x: np.asarray(x, dtype), (shift, poses))
        with jax.enable_x64(x64):
            outs = [
                run(*jax.tree.map(lambda x, rows=rows: x[rows], args), dtype(softness))
                for rows in _chunks(len(shift))
            ]
        outs = jax.tree.map(lambda *x: np.concatenate(x)[: len(shift)], *outs)
        (value, hit), slope = outs
        return value, hit, slope

    return evaluate


CHUNK = 256


def _chunks(n: int) -> list[np.ndarray]:
    """Row numbers in chunks of one size, so that one compilation serves any n."""
    rows = np.arange(-(-n // CHUNK) * CHUNK) % n
    return list(rows.reshape(-1, CHUNK))


def _turn(rotation, mat):
    """mat turned by a small rotation vector, to second order."""
    x, y, z = rotation
    o = jnp.zeros_like(x)
    cross = jnp.array([[o, -z, y], [z, o, -x], [-y, x, o]])
    return (jnp.eye(3, dtype=mat.dtype) + cross + 0.5 * cross @ cross) @ mat


@cache
def _compare(case: Case, x64: bool):
    """Both engines' contacts at given poses, and MJX's at poses moved by one rounding error."""
    m, d = model(case, x64)
    rounding = 2.0 * np.finfo(np.float64 if x64 else np.float32).eps

    def both(poses: Poses):
        here = m.replace(geom_size=poses.size)
        data = d.replace(geom_xpos=poses.pos, geom_xmat=poses.mat)
        nudged = data.replace(geom_xpos=poses.pos * (1 + rounding))
        theirs = [mjx.collision(here, data)._impl.contact for data in (data, nudged)]
        return collide(here, data, Softening.hard()), [(c.dist, c.pos, c.frame) for c in theirs]

    return jax.jit(jax.vmap(both))


def check_hard_parity(case: Case, n: int, x64: bool = True, seed: int = 0) -> dict[str, float]:
    """Hard contacts against `mjx.collision`: share of poses within tolerance, largest difference.

    Frames are compared where MJX's is orthonormal (its plane-capsule frame is not always). A pose
    is stable when moving it by a rounding error moves MJX's own answer less than the tolerance;
    largest differences are over the stable poses.
    """
    tol = 1e-10 if x64 else 1e-6
    dtype = np.float64 if x64 else np.float32
    poses = jax.tree.map(lambda x: x.astype(dtype), random_poses(case, n, seed))
    with jax.enable_x64(x64):
        parts = [_compare(case, x64)(poses[rows]) for rows in _chunks(n)]
    ours, theirs = jax.tree.map(lambda *x: np.concatenate(x)[:n], *parts)
    (dist, pos, frame), nudged = theirs
    active, expected = (ours.dist < 0) & (ours.presence > 0.5), dist < 0
    proper = np.abs(frame @ frame.swapaxes(-1, -2) - np.eye(3)).max(axis=(-1, -2)) < 1e-3

    def differences(a: tuple, b: tuple, where: np.ndarray) -> np.ndarray:
        apart = [np.abs(x - y).reshape(*x.shape[:2], -1).max(axis=-1) for x, y in zip(a, b)]
        apart[2] = apart[2] * proper
        return np.max(np.stack(apart, axis=1) * where[:, None], axis=2)

    stable = (differences((dist, pos, frame), nudged, expected) < tol).all(axis=1)
    stable &= ((dist < 0) == (nudged[0] < 0)).all(axis=1)
    errors = differences((dist, pos, frame), (ours.dist, ours.pos, ours.frame), active & expected)
    flipped = (active != expected) & (np.abs(np.where(expected, dist, ours.dist)) > tol)
    good = (errors < tol).all(axis=1) & ~flipped.any(axis=1)
    largest = errors[stable].max(axis=0)
    return {
        "good": float(good.mean()),
        "good_of_stable": float(good[stable].mean()),
        "unstable": float(1 - stable.mean()),
        "touching": float(expected.any(axis=1).mean()),
        "median": float(np.median(errors.max(axis=1))),
        "dist": float(largest[0]),
        "pos": float(largest[1]),
        "frame": float(largest[2]),
    }


def check_finite(case: Case, n: int, mode: str, x64: bool = True, softness: float = 0.05) -> float:
    """Share of poses, a third degenerate, where all contacts and gradients are finite."""
    poses = mixed_poses(case, n)
    value, hit, slope = evaluator(case, mode, x64)(np.zeros((n, 18)), poses, softness)
    fine = np.isfinite(value) & np.isfinite(slope).all(axis=1)
    for leaf in jax.tree.leaves(hit):
        fine &= np.isfinite(leaf.reshape(n, -1)).all(axis=1)
    return float(fine.mean())


def check_gradient(case: Case, n: int, mode: str, softness: float = 0.05) -> dict[str, float]:
    """Gradient against central differences along random directions, float64, all poses of a mix.

    The step is the best of three per pose: differences lose digits to curvature or to rounding.
    The error is relative to the larger of the two and of the gradient's length over 10.
    """
    poses, rng = mixed_poses(case, n), np.random.default_rng(2)
    run, zero = evaluator(case, mode), np.zeros((n, 18))
    direction = rng.normal(size=(n, 18)) / np.sqrt(18)
    _, _, slope = run(zero, poses, softness)
    exact = np.sum(slope * direction, axis=1)
    error = np.full(n, np.inf)
    for h in (1e-4, 1e-5, 1e-6, 1e-7):
        up, down = (run(sign * h * direction, poses, softness)[0] for sign in (1, -1))
        wide = (
            run(2 * h * direction, poses, softness)[0] - run(-2 * h * direction, poses, softness)[0]
        )
        difference = (8 * (up - down) - wide) / (12 * h)
        scale = np.maximum(np.abs(difference), 0.1 * np.linalg.norm(slope, axis=1)) + 1e-3
        error = np.minimum(error, np.abs(difference - exact) / scale)
    return {
        "good": float(np.mean(error < 1e-4)),
        "median": float(np.median(error)),
        "steepest": float(np.linalg.norm(slope, axis=1).max()),
        "median_slope": float(np.median(np.linalg.norm(slope, axis=1))),
    }


def check_continuity(
    case: Case, mode: str, n: int = 1000, sweeps: int = 20, softness: float = 0.05
) -> dict[str, float]:
    """Largest change along random sweeps at n and 2 n steps: the ratio is 1/2 where smooth.

    Returns:
        median and worst ratio over the sweeps, of the contacts and of the gradient.
    """
    ends = random_poses(case, 2 * sweeps, seed=3)
    rng = np.random.default_rng(4)
    direction = rng.normal(size=(sweeps, 18)) * np.repeat([0.05, 0.5, 0.005], 6)
    worst = []
    for steps in (n, 2 * n):
        t = np.linspace(-1, 1, steps + 1)
        shift = (t[None, :, None] * direction[:, None]).reshape(-1, 18)
        poses = ends[np.repeat(np.arange(sweeps), steps + 1)]
        _, hit, slope = evaluator(case, mode)(shift, poses, softness)
        rows = np.concatenate([hit.dist, hit.pos.reshape(len(shift), -1)], axis=1)
        worst.append([_largest_change(x.reshape(sweeps, steps + 1, -1)) for x in (rows, slope)])
    ratio = np.array(worst[1]) / np.maximum(np.array(worst[0]), 1e-12)
    return {
        "contacts": float(np.median(ratio[0])),
        "contacts_worst": float(ratio[0].max()),
        "gradient": float(np.median(ratio[1])),
        "gradient_worst": float(ratio[1].max()),
    }


def _largest_change(path: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(path, axis=1), axis=-1).max(axis=1)


def check_convergence(case: Case, mode: str, n: int) -> dict[str, float]:
    """Median error of soft against hard contacts at softness 0.02, 0.01, 0.005, and its order."""
    poses, zero = random_poses(case, n, seed=5), np.zeros((n, 18))
    hard = evaluator(case, "hard")(zero, poses, 1.0)[1]
    errors = []
    for softness in (0.02, 0.01, 0.005):
        soft = evaluator(case, mode)(zero, poses, softness)[1]
        errors.append(np.maximum(_farthest(hard, soft), _farthest(soft, hard)))
    median = np.maximum(np.median(errors, axis=1), 1e-16)
    return {
        "error": float(median[-1]),
        "error_90": float(np.quantile(errors[-1], 0.9)),
        "order": float(np.log2(median[1] / median[2])),
    }


def _farthest(hits: Hit, others: Hit) -> np.ndarray:
    """How far (dist and pos, m) a present contact is, at worst, from the other set's nearest."""
    rows = [np.concatenate([h.dist[..., None], h.pos], axis=-1) for h in (hits, others)]
    apart = np.abs(rows[0][:, :, None] - rows[1][:, None]).max(axis=-1)
    apart = np.where(others.weight[:, None] > 0.5, apart, 1.0).min(axis=2)
    return np.max(apart * (hits.weight > 0.5), axis=1)
