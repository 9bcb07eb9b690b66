"""Signed distance and closest points of every two convex shapes, against MuJoCo C.

All pairs of types are one batch of one compiled program: shapes are padded to as many vertices.
"""

import itertools
from functools import cache

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco.mjx import GeomType

from softsim.collision.closest import nearest
from softsim.collision.contract import Convex, Geom
from softsim.collision.minkowski import Difference, difference
from softsim.collision.shapes import box

KINDS = [
    GeomType.SPHERE,
    GeomType.CAPSULE,
    GeomType.ELLIPSOID,
    GeomType.CYLINDER,
    GeomType.BOX,
    GeomType.MESH,
]
PAIRS = list(itertools.combinations_with_replacement(range(6), 2))
NAMES = [f"{KINDS[a].name}-{KINDS[b].name}".lower() for a, b in PAIRS]
every_pair = pytest.mark.parametrize("pair", range(len(PAIRS)), ids=NAMES)
RANDOM = 48
VERTICES = 40


def _mesh(name: str, count: int, seed: int, radii: list[float]) -> str:
    points = np.random.default_rng(seed).normal(size=(count, 3))
    points *= np.array(radii) / np.linalg.norm(points, axis=1, keepdims=True)
    return f'<mesh name="{name}" vertex="{" ".join(f"{x:.6f}" for x in points.ravel())}"/>'


@cache
def _model() -> mujoco.MjModel:
    """Geoms 0 to 5 of each kind, and 6 to 11 of each kind in another size."""
    kinds = [
        ("sphere", ".08", ".05"),
        ("capsule", ".05 .1", ".03 .08"),
        ("ellipsoid", ".1 .05 .08", ".06 .12 .09"),
        ("cylinder", ".08 .06", ".05 .12"),
        ("box", ".1 .06 .08", ".05 .09 .07"),
    ]
    geoms = [
        "".join(f'<geom type="{kind[0]}" size="{kind[k]}"/>' for kind in kinds)
        + f'<geom type="mesh" mesh="mesh{k}"/>'
        for k in (1, 2)
    ]
    meshes = _mesh("mesh1", 12, 1, [0.1, 0.07, 0.12]) + _mesh(
        "mesh2", VERTICES, 2, [0.1, 0.1, 0.06]
    )
    return mujoco.MjModel.from_xml_string(
        f'<mujoco><option ccd_tolerance="1e-12" ccd_iterations="200"/><asset>{meshes}</asset>'
        f"<worldbody>{''.join(geoms)}</worldbody></mujoco>"
    )


def rotations(rng: np.random.Generator, n: int) -> np.ndarray:
    quats = rng.normal(size=(n, 4))
    out = np.zeros((n, 9))
    for mat, quat in zip(out, quats / np.linalg.norm(quats, axis=1, keepdims=True)):
        mujoco.mju_quat2Mat(mat, quat)
    return out.reshape(n, 3, 3)


@cache
def poses() -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Position of shape 2 from shape 1 and both rotations: random ones, then aligned ones."""
    rng = np.random.default_rng(0)
    away = rng.normal(size=(RANDOM, 3))
    away *= rng.uniform(0.02, 0.35, (RANDOM, 1)) / np.linalg.norm(away, axis=1, keepdims=True)
    mat1, mat2 = rotations(rng, RANDOM), rotations(rng, RANDOM)
    turns = [np.eye(3), np.eye(3)[[1, 2, 0]], np.eye(3)[[2, 0, 1]]]
    half = np.sqrt(0.5)
    turns.append(np.array([[half, -half, 0], [half, half, 0], [0, 0, 1]]))
    turns.append(turns[3][[1, 2, 0]])
    offsets = [np.zeros(3)] + [np.eye(3)[k] * z for k in range(3) for z in (0.05, -0.13, 0.25)]
    offsets += [np.array([0.02, 0.03, 0.12]), np.array([0.1, 0.1, 0.1]), np.array([0.2, 0.2, 0])]
    aligned = list(itertools.product(offsets, turns))
    pos = np.concatenate([away, [offset for offset, _ in aligned]])
    return (
        pos,
        np.concatenate([mat1, [np.eye(3)] * len(aligned)]),
        np.concatenate([mat2, [turn for _, turn in aligned]]),
        len(pos),
    )


def _shape(geom: int, pos: jax.Array, mat: jax.Array, size: jax.Array) -> Geom:
    m = _model()
    if m.geom_type[geom] == GeomType.BOX:
        return box(pos, mat, size)
    if m.geom_type[geom] != GeomType.MESH:
        return Geom(pos, mat, size)
    start = m.mesh_vertadr[m.geom_dataid[geom]]
    vert = m.mesh_vert[start : start + m.mesh_vertnum[m.geom_dataid[geom]]]
    none = jnp.zeros((1, 3), pos.dtype)
    edge = jnp.zeros((1, 2), int)
    return Convex(pos, mat, size, jnp.asarray(vert, pos.dtype), none[None], none, edge, none[None])


def _turned(mat: jax.Array, w: jax.Array) -> jax.Array:
    """mat turned by a small rotation vector, to second order."""
    zero = jnp.zeros_like(w[0])
    cross = jnp.array([[zero, -w[2], w[1]], [w[2], zero, -w[0]], [-w[1], w[0], zero]])
    return mat @ (jnp.eye(3) + cross + 0.5 * cross @ cross).astype(mat.dtype)


def _padded(pair: Difference) -> Difference:
    """The same shapes with `VERTICES` vertices: the last one is repeated."""

    def pad(shape):
        count = VERTICES - shape.vert.shape[0]
        vert = jnp.concatenate([shape.vert, jnp.repeat(shape.vert[-1:], count, axis=0)])
        return type(shape)(vert, shape.axes, shape.radius)

    return Difference(pad(pair.one), pad(pair.two), pair.scale, pair.thin)


@cache
def _builder(pair: int):
    """Compiled: the pair at all poses, moved by t along directions, and the derivative by t."""
    m, (a, b) = _model(), PAIRS[pair]

    def build(t, p, r1, r2, v):
        size1, size2 = (jnp.asarray(m.geom_size[g], p.dtype) for g in (a, 6 + b))
        one = _shape(a, jnp.zeros_like(p), _turned(r1, t * v[3:6]), size1 + t * v[9:12])
        two = _shape(6 + b, p + t * v[:3], _turned(r2, t * v[6:9]), size2 + t * v[12:15])
        return _padded(difference((KINDS[a], KINDS[b]), one, two))

    def moved(t, *pose):
        return jax.jvp(lambda t: build(t, *pose), (t,), (jnp.ones_like(t),))

    return jax.jit(jax.vmap(moved, (None, 0, 0, 0, 0)))


@cache
def pairs_at(shift: float) -> tuple[Difference, Difference]:
    """Every pair at every pose, moved along a fixed direction, and the derivative along it."""
    pos, mat1, mat2, count = poses()
    rng = np.random.default_rng(1)
    parts = []
    for pair in range(len(PAIRS)):
        direction = rng.normal(size=(count, 15)) * ([1.0] * 9 + [0.2] * 6)
        parts.append(_builder(pair)(*map(jnp.asarray, (shift, pos, mat1, mat2, direction))))
    return jax.tree.map(lambda *x: jnp.stack(x), *parts)


@cache
def results() -> tuple[np.ndarray, ...]:
    """Distance, points, normal of every pair (axis 0) at every pose (axis 1), m."""
    pair, _ = pairs_at(0.0)
    found = _program()(pair)
    return tuple(np.asarray(x) for x in _in_metres(pair, found))


@cache
def _program():
    return jax.jit(jax.vmap(jax.vmap(nearest)))


def _in_metres(pair: Difference, found: tuple) -> tuple:
    scale = pair.scale
    return found[0] * scale, found[1] * scale[..., None], found[2] * scale[..., None], found[3]


@cache
def reference(pair: int) -> tuple[np.ndarray, np.ndarray]:
    """mj_geomDistance and its two points, relative to shape 2."""
    m, (pos, mat1, mat2, count) = _model(), poses()
    d = mujoco.MjData(m)
    mujoco.mj_kinematics(m, d)
    a, b = PAIRS[pair]
    distance, points = np.zeros(count), np.zeros((count, 6))
    for k in range(count):
        d.geom_xpos[a], d.geom_xpos[6 + b] = -pos[k], 0
        d.geom_xmat[a], d.geom_xmat[6 + b] = mat1[k].ravel(), mat2[k].ravel()
        distance[k] = mujoco.mj_geomDistance(m, d, a, 6 + b, 10.0, points[k])
    return distance, points


def _separation(pair: Difference, n: np.ndarray) -> np.ndarray:
    """How far apart the shapes are along unit vectors (..., 3), from their definition."""
    ahead = np.min(n @ np.swapaxes(pair.two.vert, -1, -2), axis=-1)
    reach = np.max(n @ np.swapaxes(pair.one.vert, -1, -2), axis=-1)
    for shape in (pair.one, pair.two):
        reach = reach + np.linalg.norm(n @ np.swapaxes(shape.axes, -1, -2), axis=-1)
    return (ahead - reach - (pair.one.radius + pair.two.radius)[:, None]) * pair.scale[:, None]


@every_pair
def test_distance_is_that_of_mujoco(pair: int) -> None:
    """Where they differ it is C's search that ended early: see the next test.

    C has 0 where the centres coincide, and its own collider of capsule and box in penetration,
    whose depth is not the least.
    """
    distance = results()[0][pair]
    expected, _ = reference(pair)
    valid = np.linalg.norm(poses()[0], axis=1) > 0
    if NAMES[pair] == "capsule-box":
        valid &= expected > 0
    error = np.abs(distance - expected)
    assert np.mean(error[valid] < 1e-8) > 0.85
    assert np.max(error[valid]) < 1e-4
    assert np.max(error[:RANDOM][valid[:RANDOM]]) < 5e-6


@every_pair
def test_no_direction_separates_more(pair: int) -> None:
    """The distance is the separation along the normal, and no other direction has a greater one."""
    distance, _, _, normal = (x[pair] for x in results())
    shapes = jax.tree.map(lambda x: np.asarray(x[pair]), pairs_at(0.0)[0])
    along = _separation(shapes, normal[:, None])[:, 0]
    np.testing.assert_allclose(along, distance, atol=1e-12)
    rng = np.random.default_rng(2)
    everywhere = rng.normal(size=(2000, 3))
    near = normal[:, None] + 0.03 * rng.normal(size=(len(normal), 200, 3))
    others = np.concatenate([np.broadcast_to(everywhere, (len(normal), 2000, 3)), near], axis=1)
    others /= np.linalg.norm(others, axis=-1, keepdims=True)
    assert np.all(_separation(shapes, others) <= distance[:, None] + 1e-12)


@every_pair
def test_points_are_on_the_surfaces_and_that_far_apart(pair: int) -> None:
    distance, one, two, normal = (x[pair] for x in results())
    np.testing.assert_allclose(two - one, distance[:, None] * normal, atol=1e-6)
    assert np.mean(np.abs(two - one - distance[:, None] * normal) < 1e-12) > 0.95
    expected, points = reference(pair)
    off = np.maximum(np.abs(one - points[:, :3]).max(1), np.abs(two - points[:, 3:]).max(1))
    unique = np.arange(len(off)) < RANDOM
    if NAMES[pair] == "capsule-box":
        unique &= expected > 0
    assert np.max(off[unique]) < 1e-5


def _slopes(shift: float) -> np.ndarray:
    """(pairs, poses, 10): distance, points and normal when moved by `shift` along the direction."""
    pair, _ = pairs_at(shift)
    found = _in_metres(pair, _program()(pair))
    return np.concatenate([np.asarray(found[0])[..., None], *map(np.asarray, found[1:])], axis=-1)


@cache
def differences() -> tuple[np.ndarray, np.ndarray]:
    """Central differences, and by how much those of the two sides differ."""
    h = 2e-6
    here, ahead, behind = _slopes(0.0), _slopes(h), _slopes(-h)
    kink = np.abs(ahead - 2 * here + behind) / h
    return (ahead - behind) / (2 * h), kink


@cache
def derivatives() -> tuple[np.ndarray, np.ndarray]:
    """Along the direction: forward mode, and reverse mode of a sum with fixed weights."""
    pair, moved = pairs_at(0.0)
    forward = jax.jit(jax.vmap(jax.vmap(lambda p, v: jax.jvp(nearest, (p,), (v,))[1])))
    tangent = _in_metres(pair, forward(pair, moved))
    tangent = np.concatenate([np.asarray(tangent[0])[..., None], *map(np.asarray, tangent[1:])], -1)
    weights = jnp.asarray(WEIGHTS)

    def total(p: Difference) -> jax.Array:
        distance, one, two, n = nearest(p)
        return (
            jnp.concatenate([p.scale * distance[None], p.scale * one, p.scale * two, n]) @ weights
        )

    reverse = jax.jit(jax.vmap(jax.vmap(jax.grad(total))))(pair)
    slope = jax.tree.map(lambda g, v: jnp.sum(g * v, axis=tuple(range(2, g.ndim))), reverse, moved)
    return tangent, np.asarray(sum(jax.tree.leaves(slope)))


WEIGHTS = np.random.default_rng(3).normal(size=10)


@pytest.mark.slow
@every_pair
def test_derivatives_are_the_differences(pair: int) -> None:
    """Of distance, points and normal, in both modes, in positions, rotations and sizes."""
    central, kink = (x[pair] for x in differences())
    forward, reverse = (x[pair] for x in derivatives())
    assert np.all(np.isfinite(forward)) and np.all(np.isfinite(reverse))
    np.testing.assert_allclose(forward @ WEIGHTS, reverse, rtol=1e-4, atol=1e-6)
    smooth = kink.max(axis=1) < 1e-4 * (1 + np.abs(central).max(axis=1))
    off = np.abs(forward - central).max(axis=1) / (1 + np.abs(central).max(axis=1))
    assert np.mean(smooth[:RANDOM]) > 0.85
    assert np.all(off[:RANDOM][smooth[:RANDOM]] < 1e-6)
    # aligned faces and edges leave the points open, but not the distance
    level = kink[:, 0] < 1e-4 * (1 + np.abs(central[:, 0]))
    assert np.all(np.abs(forward - central)[level, 0] < 1e-4 * (1 + np.abs(central[level, 0])))


@pytest.mark.slow
def test_float32_is_finite_and_as_near() -> None:
    pair, moved = (jax.tree.map(lambda x: x.astype(np.float32), p) for p in pairs_at(0.0))
    both = jax.jit(jax.vmap(jax.vmap(lambda p, v: jax.jvp(nearest, (p,), (v,)))))
    found, slope = both(pair, moved)
    assert all(np.all(np.isfinite(x)) for x in (*found, *slope))
    error = np.abs(np.asarray(found[0] * pair.scale) - results()[0])
    assert np.quantile(error, 0.99) < 2e-6
    assert np.max(error) < 1e-3
