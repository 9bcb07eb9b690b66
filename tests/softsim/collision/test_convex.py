"""Boxes, meshes and height fields: hard contacts are MJX's, soft ones are smooth, all are finite.

Clipped polygons list each corner more than once, up to rounding. Where fewer than four corners
touch, the last bits decide which of them MJX repeats; so contacts are compared as sets. Prisms of a
height field share corners, and the last bits decide whose normal such a contact gets.
"""

from functools import cache

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx
from scipy.spatial.transform import Rotation

import softsim
from softsim.collision import Hit, collide
from softsim.collision.convex_convex import nearest_edges
from softsim.collision.polygon import inradius
from softsim.collision.separating import Point, placed
from softsim.collision.shapes import box
from softsim.softening import Part, Softening
from softsim.testing.contact_cases import Poses, exact_distance, model
from tests.softsim.collision.cases import (
    CONVEX_CASES,
    Case,
    check_continuity,
    check_finite,
    check_gradient,
    evaluator,
    random_poses,
)

N = 192
# gradients of the other pairs take half a minute and more to compile; stacked boxes and boxes that
# turn over are in test_manifold
QUICK_HARD = {"plane-box", "sphere-box", "capsule-box", "box-box"}
QUICK_SOFT = {"plane-box", "sphere-box"}


def cases(names: set[str], quick: set[str]) -> list:
    """The convex cases of these names; slow unless in `quick`."""
    chosen = [c for c in CONVEX_CASES if c.name in names]
    return [
        pytest.param(c, id=c.name, marks=() if c.name in quick else pytest.mark.slow)
        for c in chosen
    ]


ALL = {c.name for c in CONVEX_CASES}
every_case = pytest.mark.parametrize("case", cases(ALL, ALL))
quick_hard = pytest.mark.parametrize("case", cases(ALL, QUICK_HARD))
quick_soft = pytest.mark.parametrize("case", cases(ALL, QUICK_SOFT))
boxes = pytest.mark.parametrize("case", cases(QUICK_HARD - {"plane-box"}, QUICK_SOFT))


@cache
def engines(case: Case, x64: bool):
    """Hard contacts of both engines: (dist, pos, frame), and which of ours are there."""

    m, d = model(case, x64)

    def both(pose: Poses):
        here = m.replace(geom_size=pose.size)
        data = d.replace(geom_xpos=pose.pos, geom_xmat=pose.mat)
        ours, theirs = (
            collide(here, data, Softening.hard()),
            mjx.collision(here, data)._impl.contact,
        )
        return [(c.dist, c.pos, c.frame) for c in (ours, theirs)], ours.presence

    return jax.jit(jax.vmap(both))


def compare(case: Case, x64: bool, tol: float) -> tuple[float, float]:
    """Share of poses with a contact that the other engine has not; share of poses that touch."""
    dtype = np.float64 if x64 else np.float32
    poses = jax.tree.map(lambda x: x.astype(dtype), random_poses(case, N))
    with jax.enable_x64(x64):
        (ours, theirs), presence = jax.tree.map(np.asarray, engines(case, x64)(poses))
    parts = 2 if case.first == "hfield" else 3
    rows = [
        np.concatenate([np.reshape(part, (*x[0].shape, -1)) for part in x[:parts]], axis=-1)
        for x in (ours, theirs)
    ]
    apart = np.abs(rows[0][:, :, None] - rows[1][:, None]).max(axis=-1)
    there = np.where(presence > 0, 0, np.inf)
    lost = np.min(apart + there[:, :, None], axis=1) > tol
    extra = np.min(apart, axis=2) > tol
    different = (extra & (ours[0] + there < -tol)) | (lost & (theirs[0] < -tol))
    return float(different.any(axis=1).mean()), float((theirs[0] < 0).any(axis=1).mean())


def check_right(case: Case, good: float) -> None:
    """Derivatives are the differences in 99 % of the poses; a box in a height field misses that."""
    if case.name == "hfield-box" and 0.8 <= good < 0.99:
        pytest.xfail(
            f"{good:.2f}: deep and level with the grid more pairs of edges tie than are kept"
        )
    assert good >= 0.99


def deepest(dist: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.min(np.where(weight > 0.5, dist, np.inf), axis=1)


def soft(case: Case, poses: Poses, softness: float) -> Hit:
    return evaluator(case, "smooth")(np.zeros((N, 18)), poses, softness)[1]


@quick_hard
def test_hard_contacts_are_those_of_mjx(case: Case) -> None:
    different, touching = compare(case, x64=True, tol=1e-10)
    assert touching > 0.3
    assert different == 0


@pytest.mark.slow
@every_case
def test_hard_contacts_are_those_of_mjx_in_float32(case: Case) -> None:
    different, _ = compare(case, x64=False, tol=1e-6)
    assert different <= 0.02


@quick_soft
def test_soft_contacts_and_gradients_are_finite_and_right(case: Case) -> None:
    assert check_finite(case, N, "smooth") == 1.0
    result = check_gradient(case, N, "smooth")
    check_right(case, result["good"])


@quick_soft
def test_soft_contacts_are_continuous_along_sweeps(case: Case) -> None:
    result = check_continuity(case, "smooth", n=250, sweeps=6)
    assert result["contacts"] < 0.55, result


@quick_soft
def test_soft_contacts_approach_the_depth_of_the_shapes(case: Case) -> None:
    """By MuJoCo C's convex collider; MJX's hard contacts can be centimetres deeper.

    Never deeper; in one pose of ten less deep, as four contacts with the moments of more points may
    have the deepest of these between them. A capsule has contacts at its ends, as in MJX, where C
    has another collider, so it is compared with the hard ones, which jump by a millimetre.
    """
    poses = random_poses(case, N, seed=5)
    at_ends = "capsule" in (case.first, case.second)
    if at_ends:
        (hard, _), presence = engines(case, True)(poses)
        goal = deepest(*map(np.asarray, (hard[0], presence)))
    else:
        goal = exact_distance(case, poses)
    hit = soft(case, poses, 0.002)
    error = (deepest(hit.dist, hit.weight) - goal)[goal < 0]
    assert np.median(np.abs(error)) < 1e-6
    assert np.min(error) > (-1e-3 if at_ends else -1e-4)
    assert np.mean(error > 1e-4) < 0.12


def test_edges_that_support_neither_shape_are_no_contact() -> None:
    """Almost parallel edges on opposite sides of two boxes that overlap are far apart."""
    part, size = Part(0.05, "smooth"), jnp.array([0.08, 0.1, 0.06])

    def between(shift: jax.Array, mat: jax.Array) -> Point:
        a, b = box(jnp.zeros(3), jnp.eye(3), size), box(shift, mat, size)
        return nearest_edges(part, a, placed(b, shift, mat), inradius(a)).point

    rng = np.random.default_rng(0)
    shift, turn = rng.uniform(-0.02, 0.02, (256, 3)), rng.uniform(-0.3, 0.3, (256, 3))
    point = jax.jit(jax.vmap(between))(shift, Rotation.from_rotvec(turn).as_matrix())
    there = np.asarray(point.there) > 0
    assert there.any()
    assert np.all(np.asarray(point.dist)[there] < 0)


@boxes
def test_soft_distance_goes_on_outside_contact(case: Case) -> None:
    poses = random_poses(case, N, seed=6, apart=(1.2, 4.0))
    hit = soft(case, poses, 0.01)
    exact = exact_distance(case, poses)
    error = np.abs(np.min(np.where(hit.weight > 0.1, hit.dist, np.inf), axis=1) - exact)
    assert exact.max() > 0.5
    assert np.median(error) < 1e-3
    # closer than two widths of a switch, 1.2 mm here, faces are preferred to edges and corners
    assert np.all(error < 0.1 * np.abs(exact) + 2e-3)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["hard", "smooth", "c0", "c1", "c2"])
@every_case
def test_float32_is_finite_in_every_mode(case: Case, mode: str) -> None:
    assert check_finite(case, N, mode, x64=False) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["c1", "c2"])
@every_case
def test_piecewise_modes_have_right_gradients(case: Case, mode: str) -> None:
    assert check_finite(case, N, mode) == 1.0
    check_right(case, check_gradient(case, N, mode)["good"])


def test_a_long_skin_touches_all_the_corners_that_mujoco_does() -> None:
    """A cube whose contacts give way by centimetres, over a whole toss."""
    mj_model = mujoco.MjModel.from_xml_string("""<mujoco>
      <option timestep="0.002" iterations="20" cone="elliptic"/><worldbody>
      <geom type="plane" size="1 1 1" solref="0.02 0.8" solimp="0 0.95 0.01 0.5 2"/>
      <body pos="0 0 0.055"><freejoint/><geom type="box" size=".05 .05 .05" mass="0.4"/>
      </body></worldbody></mujoco>""")
    d = mujoco.MjData(mj_model)
    d.qpos[3:] = np.array([1.0, 0.02, 0.0, 0.0]) / np.linalg.norm([1.0, 0.02])
    d.qvel[:] = 1.0, 0.0, -0.6, 1.0, 1.0, 0.0
    with jax.enable_x64(True):
        m = softsim.put_model(mj_model)
        soft = Softening(collision=Part(skin=0.1))
        step = jax.jit(lambda d: softsim.step(m, d, soft))
        ours, touching = softsim.put_data(mj_model, d), set()
        for _ in range(150):
            mujoco.mj_step(mj_model, d)
            ours = step(ours)
            touching.add(d.ncon)
    assert {2, 4} <= touching
    # the solver stops at its tolerance; MJX's skin of 1 mm leaves a difference of 1e-2 m
    np.testing.assert_allclose(ours.qpos, d.qpos, atol=1e-5)
