"""Pairs that MJX has no collider for: hard contacts are MuJoCo C's, soft ones continuous, finite.

The pairs are cylinder and ellipsoid against box, mesh and height field; the oracle is MuJoCo's
`mj_fwdPosition` of two geoms, with its default of several contacts per pair.
"""

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from jax.typing import ArrayLike
from mujoco import mjx
from mujoco.mjx import GeomType

from softsim.collision import PAIRS
from softsim.collision.contract import Convex, Geom, HField, Hit
from softsim.collision.shapes import box
from softsim.softening import Part
from tests.softsim.collision.test_closest import rotations

RANDOM = 60
ROUND = {"cylinder": ".08 .06", "ellipsoid": ".1 .05 .08"}
OTHER = {"box": 'size=".12 .08 .1"', "mesh": 'mesh="mesh"', "hfield": 'hfield="field"'}
NAMES = [f"{a}-{b}" for b in OTHER for a in ROUND]
_CORNERS = [(0.1, 0, 0), (-0.05, 0.09, 0), (-0.05, -0.09, 0), (0, 0, 0.12), (0.04, 0.03, -0.1)]
_VERTICES = " ".join(str(x) for corner in _CORNERS for x in corner)
_HEIGHTS = np.round(np.random.default_rng(0).uniform(0, 1, (8, 8)), 3)
_OPTION = '<option ccd_tolerance="1e-12" ccd_iterations="200"/>'
QUICK = {"cylinder-box"}
every_pair = pytest.mark.parametrize(
    "name", [pytest.param(x, marks=() if x in QUICK else pytest.mark.slow) for x in NAMES]
)


@cache
def model(name: str) -> mujoco.MjModel:
    shape, other = name.split("-")
    elevation = " ".join(map(str, _HEIGHTS.ravel()))
    return mujoco.MjModel.from_xml_string(
        f'<mujoco>{_OPTION}<asset><mesh name="mesh" vertex="{_VERTICES}"/><hfield name="field" '
        f'nrow="8" ncol="8" size=".35 .35 .08 .1" elevation="{elevation}"/></asset><worldbody>'
        f'<geom type="{other}" {OTHER[other]}/><body><freejoint/><geom type="{shape}" '
        f'size="{ROUND[shape]}"/></body></worldbody></mujoco>'
    )


def _other(m: mujoco.MjModel, pos: jax.Array, mat: jax.Array) -> Geom:
    if m.geom_type[0] == GeomType.BOX:
        return box(pos, mat, jnp.asarray(m.geom_size[0], pos.dtype))
    if m.geom_type[0] == GeomType.HFIELD:
        data = jnp.asarray(m.hfield_data.reshape(8, 8).T, pos.dtype)
        return HField(pos, mat, jnp.asarray(m.hfield_size[0], pos.dtype), data, (4, 4))
    hull = _hull()
    vert, face, normal, edge_normal = (
        jnp.asarray(x, pos.dtype)
        for x in (hull.vert, hull.face, hull.face_normal, hull.edge_face_normal)
    )
    return Convex(pos, mat, vert[0], vert, face, normal, hull.edge, edge_normal)


@cache
def _hull() -> mjx.ConvexMesh:
    """Of the mesh, as MJX has it (MJX refuses the pairs under test, not a mesh on a plane)."""
    m = mujoco.MjModel.from_xml_string(
        f'<mujoco><asset><mesh name="mesh" vertex="{_VERTICES}"/></asset><worldbody>'
        '<geom type="plane" size="1 1 1"/><body><freejoint/><geom type="mesh" mesh="mesh"/></body>'
        "</worldbody></mujoco>"
    )
    with jax.ensure_compile_time_eval():
        return jax.tree.map(np.asarray, mjx.put_model(m, impl="jax")._impl.mesh_convex[0])


def _function(name: str, part: Part):
    """Hit from the pose of the round shape in the frame of the other: pos (3,), mat (3, 3)."""
    m = model(name)
    types = sorted(GeomType(int(t)) for t in m.geom_type)
    function, first = PAIRS[types[0], types[1]].function, types[0] == m.geom_type[0]

    def collide(pos: jax.Array, mat: jax.Array, softness: ArrayLike = 0.05) -> Hit:
        settings = Part(softness, part.mode) if part.mode != "hard" else part
        shape = Geom(pos, mat, jnp.asarray(m.geom_size[1], pos.dtype))
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, m.geom_quat[0])
        place = m.geom_pos[0], turn.reshape(3, 3)  # MuJoCo moves a mesh to its principal axes
        other = _other(m, *(jnp.asarray(x, pos.dtype) for x in place))
        return function(settings, *((other, shape) if first else (shape, other)))

    return collide


@cache
def poses(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Random poses around the surface, then aligned ones."""
    rng = np.random.default_rng(4)
    if name.endswith("hfield"):
        pos = rng.uniform([-0.2, -0.2, 0.02], [0.2, 0.2, 0.12], (RANDOM, 3))
        return pos, rotations(rng, RANDOM)
    away = rng.normal(size=(RANDOM, 3))
    away *= rng.uniform(0.08, 0.2, (RANDOM, 1)) / np.linalg.norm(away, axis=1, keepdims=True)
    turns = [np.eye(3), np.eye(3)[[1, 2, 0]], np.eye(3)[[2, 0, 1]]]
    half = np.sqrt(0.5)
    turns.append(np.array([[half, -half, 0], [half, half, 0], [0, 0, 1]]))
    turns.append(turns[3][[1, 2, 0]])
    turns += [_tilt(0.01), _tilt(0.06), turns[1] @ _tilt(0.02), _tilt(0.6)]
    offsets = [np.zeros(3), np.array([0, 0, 0.15]), np.array([0.02, 0.03, 0.155])]
    offsets += [np.array([0.1, 0, 0.155]), np.array([0.18, 0, 0]), np.array([0.13, 0.13, 0])]
    aligned = list(itertools.product(offsets, turns))
    pos = np.concatenate([away, [offset for offset, _ in aligned]])
    return pos, np.concatenate([rotations(rng, RANDOM), [turn for _, turn in aligned]])


def _tilt(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


@cache
def hard(name: str) -> Hit:
    found = jax.jit(jax.vmap(_function(name, Part())))(*map(jnp.asarray, poses(name)))
    return jax.tree.map(np.asarray, found)


def contacts(
    name: str, pos: np.ndarray, mat: np.ndarray
) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """C's contacts: dist, pos and normal from the geom of smaller type."""
    m = model(name)
    d = mujoco.MjData(m)
    mujoco.mj_kinematics(m, d)
    d.qpos[:3] = pos
    mujoco.mju_mat2Quat(d.qpos[3:7], mat.ravel())
    mujoco.mj_fwdPosition(m, d)
    return [(c.dist, c.pos.copy(), c.frame[:3].copy()) for c in d.contact]


@every_pair
def test_contacts_are_those_of_mujoco(name: str) -> None:
    """Where C has one contact: the same. Several: with the same normal, about as deep.

    Which four of the sixteen corners of a cap C takes is up to its search, so depths of several
    contacts differ by their tilt; and beside an edge of a box C clips by a face across the normal,
    centimetres less deep than the shapes are. At coinciding centres C has no contact. Each
    contact with a height field is one of C's, which has one per prism; where C would push sideways
    through the wall of a prism, ours pushes up, as MJX's do.
    """
    pos, mat = poses(name)
    hit = hard(name)
    touching = (hit.weight > 0.5) & (hit.dist < 0)
    assert np.all(np.isfinite(np.concatenate([hit.dist, hit.weight])))
    agree = []
    for k in np.where(np.linalg.norm(pos, axis=1) > 0)[0]:
        theirs = contacts(name, pos[k], mat[k])
        ours = list(zip(hit.dist[k], hit.pos[k], hit.frame[k, :, 0]))
        ours = [contact for contact, real in zip(ours, touching[k]) if real]
        assert bool(ours) == bool(theirs), k
        if len(theirs) > 1 and "hfield" not in name:
            deepest = min(c[0] for c in ours) - min(c[0] for c in theirs)
            assert deepest < 2e-3, (k, deepest)
            agree.append(np.abs(ours[0][2] - theirs[0][2]).max() < 1e-4)
            continue
        for contact in ours:
            # a prism's upright wall: see hfield
            off = [np.abs(np.append(*_compared(contact, c, name))).max() for c in theirs]
            agree.append(min(off) < 2e-4 if abs(contact[0]) < 1e-4 else min(off) < 1e-5)
    assert np.mean(agree) > 0.9, np.where(~np.array(agree))


def _compared(ours: tuple, theirs: tuple, name: str) -> tuple[float, np.ndarray]:
    """Differences in distance and position, and in the normal unless C's is horizontal."""
    wall = "hfield" in name and abs(theirs[2][2]) < 1e-6
    normal = (ours[2] - theirs[2]) * (not wall)
    return ours[0] - theirs[0], np.append(ours[1] - theirs[1], normal)


def _flat(hit: Hit) -> jax.Array:
    """Distance, position and normal of contact 0."""
    return jnp.concatenate([hit.dist[:1], hit.pos[0], hit.frame[0, 0]])


def _along(name: str, part: Part):
    """`_flat` of a pose moved by t along (velocity, angular velocity)."""
    collide = _function(name, part)

    def moved(t: jax.Array, pos: jax.Array, mat: jax.Array, v: jax.Array) -> jax.Array:
        w = t * v[3:]
        zero = jnp.zeros_like(t)
        cross = jnp.array([[zero, -w[2], w[1]], [w[2], zero, -w[0]], [-w[1], w[0], zero]])
        turn = jnp.eye(3) + cross + 0.5 * cross @ cross
        return _flat(collide(pos + t * v[:3], (mat @ turn).astype(mat.dtype)))

    return moved


@pytest.mark.parametrize("mode", ["hard", pytest.param("smooth", marks=pytest.mark.slow)])
@every_pair
def test_derivatives_are_the_differences(name: str, mode: str) -> None:
    """Forward and reverse mode, finite in every pose and right where there is no kink."""
    pos, mat = map(jnp.asarray, poses(name))
    v = jnp.asarray(np.random.default_rng(5).normal(size=(len(pos), 6)))
    moved = _along(name, Part(mode=mode))
    weights = jnp.asarray(np.random.default_rng(6).normal(size=7))
    batch = (None, 0, 0, 0)

    def both(t, *pose):
        value, forward = jax.jvp(lambda t: moved(t, *pose), (t,), (jnp.ones_like(t),))
        return value, forward, jax.grad(lambda t: moved(t, *pose) @ weights)(t)

    program, h = jax.jit(jax.vmap(both, batch)), 1e-6
    here, forward, reverse = program(0.0, pos, mat, v)
    ahead, behind = (program(t, pos, mat, v)[0] for t in (h, -h))
    assert np.all(np.isfinite(forward)) and np.all(np.isfinite(reverse))
    np.testing.assert_allclose(forward @ weights, reverse, rtol=1e-4, atol=1e-6)
    central, bend = (ahead - behind) / (2 * h), np.abs(ahead - 2 * here + behind) / h
    smooth = np.all(bend < 1e-3 * (1 + np.abs(central)), axis=1)
    off = np.max(np.abs(forward - central) / (1 + np.abs(central)), axis=1)
    assert np.mean(smooth[:RANDOM]) > 0.8
    assert np.mean(off[smooth] < 1e-5) > 0.97


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["hard", "smooth", "c0", "c1", "c2"])
@every_pair
def test_float32_is_finite(name: str, mode: str) -> None:
    with jax.enable_x64(False):
        pos, mat = (jnp.asarray(x, jnp.float32) for x in poses(name))
        collide = _function(name, Part(0.05, mode))

        def total(pos: jax.Array, mat: jax.Array) -> tuple[jax.Array, Hit]:
            hit = collide(pos, mat)
            return sum(jnp.sum(x * x) for x in jax.tree.leaves(hit)), hit

        found = jax.jit(jax.vmap(jax.grad(total, (0, 1), has_aux=True)))(pos, mat)
        found = [np.asarray(x) for x in jax.tree.leaves(found)]
    assert all(x.dtype == np.float32 and np.all(np.isfinite(x)) for x in found)


@pytest.mark.slow
@every_pair
def test_soft_contacts_are_continuous_and_near_the_hard_ones(name: str) -> None:
    """Along straight sweeps halving the step halves the change; the distance is off by little.

    Of four soft contacts with a height field none is the nearest: the deepest is compared.
    """
    rng = np.random.default_rng(7)
    collide = jax.jit(jax.vmap(_function(name, Part(mode="smooth")), (0, 0, None)))
    start, mat = (x[:6] for x in poses(name))
    end = start * 0.7 if "hfield" not in name else start - [0.02, 0.03, 0.04]
    w = 0.5 * rng.normal(size=(6, 3))
    largest = []
    for count in (1000, 2000):
        t = np.linspace(0, 1, count + 1)
        changes = []
        for k in range(6):
            turns = np.array([_expm(s * w[k]) for s in t])
            hit = collide(start[k] + t[:, None] * (end[k] - start[k]), mat[k] @ turns, 0.05)
            there = np.asarray(hit.weight)[..., None]
            rows = [
                hit.weight,
                hit.dist * hit.weight,
                (hit.pos * there),
                hit.frame[:, :, 0] * there,
            ]
            changes.append([np.abs(np.diff(x, axis=0)).max() for x in rows])
        largest.append(changes)
    ratio = (np.array(largest[1]) + 1e-9) / (np.array(largest[0]) + 2e-9)
    assert np.mean(ratio < 0.75) > 0.99, ratio
    pos, mat = poses(name)
    soft = collide(pos[:RANDOM], mat[:RANDOM], 0.005)
    deepest = (lambda x: x.min(axis=1)) if "hfield" in name else (lambda x: x[:, 0])
    error = np.abs(deepest(soft.dist) - deepest(hard(name).dist[:RANDOM]))
    assert np.median(error) < 2e-4


def _expm(w: np.ndarray) -> np.ndarray:
    angle = np.linalg.norm(w) + 1e-30
    quat, out = np.append(np.cos(angle / 2), np.sin(angle / 2) * w / angle), np.zeros(9)
    mujoco.mju_quat2Mat(out, quat)
    return out.reshape(3, 3)
