"""Whole steps: soft contact holds bodies up as hard contact does; contact from a distance.

One scene for all shapes, each on its own spot of the floor, so that it compiles once.
"""

from functools import cache

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim
from softsim import Part, Softening

HARD, SOFT, THROUGH = Softening.hard(), Softening.soft(), Softening.straight_through()
OPTION = '<option timestep="0.004" iterations="20" ls_iterations="20"/>'
FLOOR = '<geom name="floor" type="plane" size="3 3 1"/>'
BOX = '<geom type="box" size=".08 .1 .06" mass="1"/>'
HILLS = " ".join(str(round(0.5 * (x * x + y * y), 3)) for x in range(-2, 3) for y in range(-2, 3))


def body(name: str, pos: str, geom: str, mask: int, turn: str = "") -> str:
    masked = geom.replace("<geom", f'<geom contype="{mask}" conaffinity="{mask}"')
    return f'<body name="{name}" pos="{pos}" {turn}><freejoint/>{masked}</body>'


def scene(bodies: str, assets: str = "", floor: int = 1) -> mujoco.MjModel:
    ground = FLOOR.replace("<geom", f'<geom contype="{floor}" conaffinity="{floor}"')
    return mujoco.MjModel.from_xml_string(
        f"<mujoco>{OPTION}<asset>{assets}</asset><worldbody>{ground}{bodies}</worldbody></mujoco>"
    )


ASSETS = f"""<mesh name="tetrahedron" vertex=".1 0 0  -.05 .09 0  -.05 -.09 0  0 0 .14"/>
  <hfield name="bowl" nrow="5" ncol="5" size=".4 .4 .2 .05" elevation="{HILLS}"/>"""
CYLINDER = '<geom type="cylinder" size=".07 .1" mass="1"/>'
SHAPES = (
    "".join(body(f"box {i}", f"0 0 {0.06 + 0.12 * i}", BOX, 1) for i in range(3))
    + body(
        "capsule", "1 0 .05", '<geom type="capsule" size=".05 .1" mass="1"/>', 4, 'euler="90 0 0"'
    )
    + body("side", "-1 0 .07", CYLINDER, 16, 'euler="90 0 0"')
    + body("face", "-1 1 .1", CYLINDER, 32)
    + body("tetrahedron", "0 1 0", '<geom type="mesh" mesh="tetrahedron"/>', 64)
    + body("ball", "1 1 .082", '<geom type="sphere" size=".08" mass="1"/>', 8)
    + '<geom type="hfield" hfield="bowl" pos="1 1 0" contype="8" conaffinity="8"/>'
)
# mm and degrees, how far the soft body may be from the hard one during 2 s: 1 mm for each contact
# between it and the floor; the capsule rolls 1 m
LIMITS = {
    "box 0": (1.0, 0.5),
    "box 1": (2.0, 0.5),
    "box 2": (3.0, 0.5),
    "capsule": (5.0, 5.0),
    "side": (1.0, 0.5),
    "face": (1.0, 0.5),
    "tetrahedron": (1.0, 0.5),
    "ball": (1.0, 0.5),
}


def paths(m: mujoco.MjModel, qvel: np.ndarray, steps: int, *softenings: Softening) -> list:
    """Poses (steps, nq) under each softening."""
    model = softsim.put_model(m)
    d = softsim.make_data(model).replace(qvel=jnp.asarray(qvel))
    ctrl = jnp.zeros((steps, 0))
    run = jax.jit(lambda s: softsim.rollout(model, d, ctrl, s)[1].qpos)
    return [np.asarray(run(softening)) for softening in softenings]


def apart(one: np.ndarray, two: np.ndarray) -> tuple[float, float]:
    """Largest distance (mm) and angle (degrees) between two paths of a free body (steps, 7)."""
    cosine = np.abs(np.sum(one[:, 3:] * two[:, 3:], axis=1)).clip(0, 1)
    away = np.linalg.norm(one[:, :3] - two[:, :3], axis=1)
    return 1e3 * away.max(), np.degrees(2 * np.arccos(cosine)).max()


@cache
def everything() -> tuple[mujoco.MjModel, list]:
    """2 s of all shapes, hard, soft and straight-through; the capsule rolls at 0.5 m/s."""
    m = scene(SHAPES, ASSETS, floor=1 + 4 + 16 + 32 + 64)
    qvel = np.zeros(m.nv)
    start = m.body_dofadr[m.body("capsule").id]
    qvel[start], qvel[start + 5] = 0.5, -10.0
    return m, paths(m, qvel, 500, HARD, SOFT, THROUGH)


def test_flat_box_stays_where_the_hard_one_is() -> None:
    hard, soft = paths(scene(body("box", "0 0 .06", BOX, 1)), np.zeros(6), 500, HARD, SOFT)
    away, turned = apart(hard, soft)
    assert away < 1.0 and turned < 0.5, (away, turned)


@pytest.mark.slow
@pytest.mark.parametrize("name", LIMITS)
def test_soft_bodies_stay_with_the_hard_ones(name: str) -> None:
    m, (hard, soft, _) = everything()
    at = m.jnt_qposadr[m.body_jntadr[m.body(name).id]]
    away, turned = apart(hard[:, at : at + 7], soft[:, at : at + 7])
    assert away < LIMITS[name][0] and turned < LIMITS[name][1], (away, turned)


@pytest.mark.slow
def test_straight_through_trajectories_are_the_hard_ones() -> None:
    _, (hard, _, through) = everything()
    np.testing.assert_array_equal(through, hard)


REACH, RADIUS = 0.05, 0.1


@cache
def felt():
    """Next velocity, its derivative and the contact force of a ball at rest, by gap to a floor."""
    m = scene(body("ball", "0 0 .1", f'<geom type="sphere" size="{RADIUS}" mass="1"/>', 1))
    model = softsim.put_model(m)
    d = softsim.make_data(model)

    def after(gap, reach):
        start = d.replace(qpos=d.qpos.at[2].set(RADIUS + gap))
        end = softsim.step(model, start, Softening(mask=Part(0.001, "c1"), reach=reach))
        return end.qvel[2], end.qfrc_constraint[2]

    return jax.jit(jax.vmap(jax.value_and_grad(after, has_aux=True), in_axes=(0, None)))


def test_contact_is_felt_within_reach_and_not_beyond() -> None:
    gap = np.linspace(1e-4 * REACH, 2 * REACH, 512)
    _, slope = felt()(gap, REACH)
    inside = gap < 0.999 * REACH
    assert np.all(np.asarray(slope)[inside] < 0)
    assert np.all(np.asarray(slope)[gap >= REACH] == 0)
    (velocity, _), none = felt()(gap, 0.0)
    assert np.all(np.asarray(none) == 0) and np.ptp(velocity) == 0


@pytest.mark.parametrize("around", [0.0, REACH])
def test_contact_from_a_distance_is_continuously_differentiable(around: float) -> None:
    largest = []
    for width in (1e-5, 1e-6):
        (velocity, _), slope = felt()(around + np.linspace(-width, width, 512), REACH)
        largest.append([np.abs(np.diff(x)).max() for x in (velocity, slope)])
    assert np.all(np.array(largest[1]) <= 0.2 * np.array(largest[0]) + 1e-13), largest


def test_force_at_touch_is_small() -> None:
    (_, force), _ = felt()(np.zeros(512), REACH)
    resting = 1.0 * 9.81
    assert 0 < force[0] <= 0.01 * resting


@pytest.mark.slow
def test_value_inside_value_and_grad_is_the_hard_one_to_rounding() -> None:
    m = softsim.put_model(scene(body("box", "0 0 .07", BOX, 1, 'euler="20 10 0"')))
    d = softsim.make_data(m)

    def height(speed, softening):
        thrown = d.replace(qvel=d.qvel.at[2].set(speed))
        return softsim.rollout(m, thrown, jnp.zeros((50, 0)), softening)[1].qpos[-1, 2]

    value, slope = jax.jit(jax.value_and_grad(lambda v: height(v, THROUGH)))(-1.0)
    np.testing.assert_allclose(value, jax.jit(height)(-1.0, HARD), rtol=1e-10)
    assert np.isfinite(slope) and slope != 0


@pytest.mark.slow
def test_straight_through_tangents_stay_of_the_size_of_the_hard_ones() -> None:
    """A second of landing, tumbling and rest; with a soft mask they reach 2e13, hard 19."""
    cube = """<geom type="box" size=".0524 .0524 .0524" mass=".37" friction=".18 .005 .0001"
        solref=".01 1" solimp=".95 .99 .001 .5 2"/>"""
    m = scene(body("cube", "0 0 .25", cube, 1))
    m.opt.timestep, m.opt.cone = 0.005, mujoco.mjtCone.mjCONE_ELLIPTIC
    m.geom_priority[1] = 1
    model = softsim.put_model(m)
    d = softsim.make_data(model)

    def path(speed, softening):
        qvel = jnp.array([0.9, 0.1, 0.3, 3.0, -2.0, 1.0]) * speed
        return softsim.rollout(model, d.replace(qvel=qvel), jnp.zeros((200, 0)), softening)[1].qpos

    tangent = jax.jit(lambda softening: jax.jvp(lambda v: path(v, softening), (1.0,), (1.0,))[1])
    hard, through = (float(jnp.abs(tangent(softening)).max()) for softening in (HARD, THROUGH))
    assert through < 100 * hard, (hard, through)


def test_a_vanishing_contact_has_finite_derivatives_in_float32() -> None:
    """Corners that a soft choice all but leaves out, with a strength of 1e-20, above the floor."""
    pose = [0.2, 0.0, 0.0898, 0.92696655, 0.08343395, 0.36525315, -0.01902516]
    m = scene(body("box", "0 0 .2", BOX.replace(".08 .1 .06", ".0524 .0524 .0524"), 1))
    with jax.enable_x64(False):
        model = softsim.put_model(m)
        d = softsim.make_data(model)
        after = lambda q: softsim.step(model, d.replace(qpos=q), Softening.soft(reach=0.01)).qvel
        slope = jax.jit(jax.jacfwd(after))(jnp.array(pose, jnp.float32))
    assert np.isfinite(slope).all()
