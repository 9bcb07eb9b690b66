"""Four contacts: a box lying flat keeps its corners, and nothing jumps while it turns over."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial import ConvexHull

from softsim.collision import Geom, Hit
from softsim.collision.box_box import box_box
from softsim.collision.contract import Convex
from softsim.collision.convex import plane_convex
from softsim.collision.manifold import four_points, unique
from softsim.collision.shapes import box
from softsim.softening import Part

HALF = jnp.array([0.08, 0.1, 0.06])
SOFT = Part(0.05, "smooth")


def turned(angle: jax.Array, axis: int) -> jax.Array:
    """Rotation about the x, y or z axis."""
    s, c = jnp.sin(angle), jnp.cos(angle)
    i, j = (axis + 1) % 3, (axis + 2) % 3
    return jnp.eye(3).at[[i, i, j, j], [i, j, i, j]].set(jnp.stack([c, -s, s, c]))


def resting(angle: jax.Array, spin: jax.Array, part: Part = SOFT, depth: float = 1e-3) -> Hit:
    """A box that leans on a plane by `angle` about x, its lowest corner `depth` m deep."""
    mat = turned(spin, 2) @ turned(angle, 0)
    pos = jnp.array([0.0, 0.0, jnp.sum(jnp.abs(mat[2]) * HALF) - depth])
    return plane_convex(part, Geom(jnp.zeros(3), jnp.eye(3), jnp.ones(3)), box(pos, mat, HALF))


rest = jax.jit(resting)


@jax.jit
def stacked(offset: jax.Array, spin: jax.Array, size: jax.Array, depth: float = 1e-3) -> Hit:
    """A box on a box of half-lengths `size`."""
    pos = jnp.array([offset[0], offset[1], size[2] + HALF[2] - depth])
    below = box(jnp.zeros(3), jnp.eye(3), size)
    return box_box(SOFT, below, box(pos, turned(spin, 2), HALF))


@jax.jit
def chosen(part: Part, points: jax.Array, member: jax.Array) -> jax.Array:
    """Four of the members in the plane z = 0."""
    return four_points(part, points, member, jnp.array([0.0, 0.0, 1.0]), jnp.asarray(1.0))


def area(hit: Hit) -> float:
    """m^2, support area of the contacts that are there."""
    points = np.asarray(hit.pos)[np.asarray(hit.weight) > 0.9, :2]
    return float(ConvexHull(points).volume)


@pytest.mark.parametrize("angle", [0.0, np.pi / 2, np.pi, 1e-9, 1e-4, -2e-3])
@pytest.mark.parametrize("spin", [0.0, 0.3])
def test_box_lying_flat_keeps_four_corners(angle: float, spin: float) -> None:
    hit = rest(angle, spin)
    face = 4 * HALF[0] * (HALF[2] if abs(angle - np.pi / 2) < 0.1 else HALF[1])
    assert area(hit) > 0.95 * face
    assert np.asarray(hit.weight).min() > 0.9
    np.testing.assert_allclose(hit.dist, -1e-3, atol=5e-4)


@pytest.mark.parametrize("below", ["plane", "box"])
def test_shallow_contact_resists_tilting(below: str) -> None:
    """As springs at the four corners do: 4 a^2 per radian, a half the face's length.

    Depths are from a tenth of the width over which touching is rounded off (1 mm) to a half of it,
    and the upper corners are just in touch, halfway or nearly as deep as the lower ones.
    """

    @jax.jit
    @jax.vmap
    def moment(angle: jax.Array, depth: jax.Array) -> jax.Array:
        if below == "plane":
            hit = resting(angle, jnp.array(0.0), depth=depth)
        else:
            mat = turned(angle, 0)
            height = HALF[2] + jnp.sum(jnp.abs(mat[2]) * HALF) - depth
            under = box(jnp.zeros(3), jnp.eye(3), jnp.array([0.2, 0.2, HALF[2]]))
            hit = box_box(SOFT, under, box(jnp.array([0.0, 0.0, height]), mat, HALF))
        return -jnp.sum(hit.weight * jnp.maximum(-hit.dist, 0) * hit.pos[:, 1])

    depth = np.repeat([1e-4, 2e-4, 5e-4], 3)
    angle = np.tile([0.1, 0.5, 0.95], 3) * depth / (2 * HALF[1])
    stiffness = np.abs(moment(angle, depth)) / (4 * HALF[1] ** 2 * angle)
    assert np.all((stiffness > 0.6) & (stiffness < 1.2)), stiffness


@pytest.mark.parametrize("spin", [0.0, 1e-6, 0.1, np.pi / 2])
@pytest.mark.parametrize("size", [(0.08, 0.1, 0.06), (0.3, 0.3, 0.1)])
def test_stacked_boxes_keep_four_corners(spin: float, size: tuple[float, ...]) -> None:
    hit = stacked(jnp.zeros(2), spin, jnp.array(size))
    overlap = 4 * HALF[0] * (HALF[0] if size[0] < 0.1 and spin > 1 else HALF[1])
    assert area(hit) > 0.9 * overlap * (0.9 if spin == 0.1 and size[0] < 0.1 else 1.0)
    np.testing.assert_allclose(hit.dist, -1e-3, atol=1e-4)


@pytest.mark.slow
def test_deepest_corner_is_there_while_a_box_turns_over_its_edge() -> None:
    angle = jnp.linspace(-0.2, np.pi / 2 + 0.2, 400)
    hit = jax.jit(jax.vmap(lambda a: resting(a, 0.2)))(angle)
    lowest = np.min(np.where(hit.weight > 0.5, hit.dist, np.inf), axis=1)
    np.testing.assert_allclose(lowest, -1e-3, atol=5e-4)


def test_turning_over_an_edge_is_continuous() -> None:
    turn = jax.jit(jax.vmap(lambda angle: resting(angle, 0.2).pos))
    low, high, largest = -0.1, 0.1, []
    for _ in range(5):  # look closer and closer at the steepest place: a jump would stay
        angle = np.linspace(low, high, 2001)
        step = np.linalg.norm(np.diff(turn(angle), axis=0), axis=-1).max(axis=1)
        largest.append(step.max())
        reach = (high - low) / 100
        low, high = angle[step.argmax()] - reach, angle[step.argmax()] + reach
    assert largest[-1] < 1e-4
    assert largest[-1] < 0.1 * largest[-2]


def test_hard_box_has_the_corners_of_the_lower_edge() -> None:
    hit = jax.jit(lambda angle: resting(angle, 0.0, Part(mode="hard")))(0.3)
    assert np.asarray(hit.weight).tolist() == [1.0, 1.0, 0.0, 0.0]
    np.testing.assert_allclose(np.asarray(hit.dist)[:2], -1e-3, atol=1e-12)
    assert abs(float(hit.pos[0, 0] - hit.pos[1, 0])) == pytest.approx(2 * HALF[0])


@pytest.mark.parametrize(
    "mode",
    ["hard", "smooth", *(pytest.param(m, marks=pytest.mark.slow) for m in ("c0", "c1", "c2"))],
)
def test_polygon_keeps_its_area(mode: str) -> None:
    angle = np.linspace(0, 2 * np.pi, 13)[:-1]
    points = jnp.stack([jnp.cos(angle), 0.7 * jnp.sin(angle), 0 * angle], axis=1)
    index = chosen(Part(0.05, mode), points, jnp.ones(12))
    best = 2 * 0.7  # the largest quadrilateral in an ellipse
    assert ConvexHull(np.asarray(index @ points)[:, :2]).volume > 0.85 * best
    np.testing.assert_allclose(unique(index), 1.0, atol=0.05)


def test_coinciding_points_are_one_contact() -> None:
    points = jnp.zeros((6, 3)).at[0].set(jnp.array([0.5, 0.0, 0.0]))
    member = jnp.array([0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    index = chosen(Part(mode="hard"), points, member)
    assert np.asarray(unique(index)).tolist() == [1.0, 0.0, 0.0, 0.0]


@pytest.mark.slow
def test_mesh_of_a_box_rests_like_a_box() -> None:
    cube = box(jnp.array([0.0, 0.0, 0.059]), jnp.eye(3), HALF)
    order = jnp.array([5, 2, 7, 0, 3, 6, 1, 4])
    shuffled = Convex(
        cube.pos,
        cube.mat,
        cube.size,
        cube.vert[order],
        cube.face,
        cube.face_normal,
        cube.edge,
        cube.edge_face_normal,
    )
    plane = Geom(jnp.zeros(3), jnp.eye(3), jnp.ones(3))
    assert area(jax.jit(plane_convex)(SOFT, plane, shuffled)) > 0.95 * 4 * HALF[0] * HALF[1]
