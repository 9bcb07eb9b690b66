"""Soft contact varies slowly: along turns in shallow contact, and in the points it stands for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from softsim.collision.contract import Convex
from softsim.collision.manifold import four_points
from softsim.collision.patch import patch
from softsim.collision.shapes import box
from softsim.softening import Part
from softsim.testing.contact_cases import Case, random_poses
from softsim.testing.contact_checks import contacts_of
from softsim.testing.contact_smoothness import (
    ANGLE,
    LENGTH,
    TURNINGS,
    felt,
    ratios,
    roughness,
    turns,
)

QUICK = {"plane-box", "plane-cylinder lying", "box-box"}
# hard contacts of a standing cylinder do not jump: see the test after the next
RAGGED = [
    pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)
    for name in TURNINGS
    if name != "plane-cylinder standing"
]
SOFT = Part(0.1, "smooth")
UP = jnp.array([0.0, 0.0, 1.0])


@pytest.mark.parametrize("name", RAGGED)
def test_soft_contact_is_a_seventh_as_ragged_as_hard_and_a_tenth_as_steep(name: str) -> None:
    turning = TURNINGS[name]
    paths = list(turns(turning, 8, 600))
    hard, soft = (
        [felt(contacts_of(turning.case, mode)(0.1, path), path.pos[:, 1]) for path in paths]
        for mode in ("hard", "smooth")
    )
    ragged, steep = ratios(hard, soft)
    assert ragged < 0.15 and steep < 0.1, (ragged, steep)


@pytest.mark.parametrize("second", ["box", pytest.param("prism", marks=pytest.mark.slow)])
def test_a_capsule_that_leaves_an_edge_for_a_face_stays_in_contact(second: str) -> None:
    """The deeper end of the part over the face may be either: contact is as deep throughout."""
    case = Case("capsule", second)
    start = random_poses(case, 1, seed=11, apart=(1.2, 1.2))
    t = np.linspace(0.0, 1.0, 60)
    poses = start[np.zeros(60, int)]
    poses.pos[:, 1] -= 0.5 * t[:, None] * (start.pos[:, 1] - start.pos[:, 0])
    poses.mat[:, 1] = (
        Rotation.from_rotvec(1.7 * t[:, None] * [0, 0, 1]).as_matrix() @ poses.mat[:, 1]
    )
    depth = {}
    for mode in ("hard", "smooth"):
        hit = contacts_of(case, mode)(0.02, poses)
        depth[mode] = np.max(hit.weight * -hit.dist, axis=1)
    touching = depth["hard"] > 0.002
    assert touching.sum() > 20
    assert np.all(depth["smooth"][touching] > 0.8 * depth["hard"][touching])


def test_what_a_standing_cylinder_feels_does_not_jump() -> None:
    """Neither hard nor soft: the three corners of an even triangle feel no direction of tilt.

    A step of a turn by d moves a point of the cylinder by d times its distance from the centre at
    most, and three springs feel that; the hard contacts of a lying cylinder change by more.
    """
    steepest = {}
    for name in ("plane-cylinder standing", "plane-cylinder lying"):
        for mode in ("hard", "smooth"):
            run = contacts_of(TURNINGS[name].case, mode)
            paths = turns(TURNINGS[name], 4, 600)
            felts = [felt(run(0.1, path), path.pos[:, 1]) for path in paths]
            steepest[name.split()[1], mode] = max(roughness(path)[1] for path in felts)
    reach = np.hypot(0.07, 0.1)
    motion = 3 * np.radians(ANGLE / 600) * reach * np.hypot(1, reach / LENGTH)
    assert steepest["standing", "hard"] < motion and steepest["standing", "smooth"] < motion
    assert steepest["lying", "hard"] > 3 * motion > 3 * steepest["lying", "smooth"]


def test_roughness_is_that_of_a_known_path() -> None:
    """A ramp that ends, and a jump."""
    t = np.arange(11.0)
    ramp, jump = np.minimum(t, 5.0)[:, None], (t > 4)[:, None] * 3.0
    assert roughness(ramp) == (1.0, 1.0)
    assert roughness(jump) == (6.0, 3.0)


POINTS = np.random.default_rng(0).normal(size=(9, 3)) * [0.1, 0.07, 0.0]
SETS = {
    "cloud": (POINTS, np.linspace(0.1, 1, 9)),
    "corners": (np.array([[0.1, 0.2, 0], [-0.1, 0.2, 0], [-0.1, -0.2, 0], [0.1, -0.2, 0]]), 1.0),
    "slanted edge": (np.array([[0.1, 0.2, 0], [-0.2, -0.1, 0]]), 1.0),
    "point": (np.array([[0.1, 0.2, 0.0]]), 1.0),
}


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("mode", ["smooth", "c1"])
def test_four_contacts_have_the_moments_of_all_that_touch(name: str, mode: str) -> None:
    points, member = SETS[name]
    share = np.broadcast_to(member, len(points)) / np.sum(np.broadcast_to(member, len(points)))
    part, size = Part(0.05, mode), jnp.array(0.05)
    index = jax.jit(four_points)(part, jnp.asarray(points), jnp.asarray(share), UP, size)
    np.testing.assert_allclose(index.sum(axis=1), 1.0, atol=1e-12)
    contacts, mean = np.asarray(index @ points), share @ points
    np.testing.assert_allclose(contacts.mean(axis=0), mean, atol=1e-12)
    covariance = (points - mean).T @ ((points - mean) * share[:, None])
    found = (contacts - mean).T @ (contacts - mean) / 4
    # patches narrower than a twentieth of the shapes count as a little narrower
    np.testing.assert_allclose(found, covariance, atol=(0.05 * 0.05) ** 2)
    if name == "corners":
        assert np.abs(contacts[:, None] - points).max(axis=2).min(axis=1).max() < 1e-4


def square(turn: jax.Array, half: jax.Array, height: float) -> Convex:
    """A box that stands at `height` and is turned about the vertical."""
    s, c = jnp.sin(turn), jnp.cos(turn)
    mat = jnp.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    shape = box(jnp.array([0.0, 0.0, height]), mat, half)
    arrays = (shape.vert, shape.face)
    vert, face = (shape.pos + x @ mat.T for x in arrays)
    return Convex(
        shape.pos,
        mat,
        half,
        vert,
        face,
        shape.face_normal @ mat.T,
        shape.edge,
        shape.edge_face_normal,
    )


def test_overlap_of_two_squares_is_wide_however_they_are_turned() -> None:
    """Their corners move, meet and part; what the contacts span goes with the overlap."""

    @jax.jit
    def contacts(turn: jax.Array) -> tuple[jax.Array, jax.Array]:
        half = jnp.array([0.1, 0.1, 0.05])
        lower, upper = square(jnp.array(0.0), half, -0.05), square(turn, half, 0.049)
        found = patch(SOFT, lower, upper, UP, jnp.array(-1e-3), jnp.array(0.05))
        return found.pos, found.dist

    angle = np.append([0.0, 1e-9, 1e-3], np.linspace(0.01, np.pi / 4, 40))
    pos, dist = jax.vmap(contacts)(jnp.asarray(angle))
    a, b = pos[:, 2] - pos[:, 0], pos[:, 3] - pos[:, 1]
    spanned = 0.5 * np.abs(np.asarray(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]))
    overlap = 0.04 * 2 / (1 + np.sin(angle) + np.cos(angle))
    # no quadrilateral in a regular octagon has more than 0.707 of its area
    assert np.all(spanned > 0.7 * overlap) and np.all(spanned < 1.02 * overlap)
    np.testing.assert_allclose(dist, -1e-3, atol=1e-4)
    steps = np.linalg.norm(np.diff(np.asarray(pos), axis=0), axis=2).max(axis=1)
    assert steps[:2].max() < 1e-3
