"""Public pieces of mechanics against the MuJoCo functions that their docstrings name."""

import functools
import itertools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim

VALUE = 1e-9

# a little of everything that derived constants follow from
PARTS = """<mujoco><option timestep=".004" tolerance="1e-14"><flag invdiscrete="{}"/></option>
<default><geom contype="0" conaffinity="0"/></default>
<worldbody><camera name="eye" pos="0 0 2" mode="track"/>
<body name="a" pos="0 0 1"><joint name="j1" axis="0 1 0" damping=".3" stiffness="2"/>
  <geom name="upper" type="capsule" size=".05" fromto="0 0 0 .4 0 0"/>
  <site name="elbow" pos=".4 0 0"/>
  <camera pos="0 0 1" mode="trackcom"/>
  <body name="b" pos=".4 0 0" euler="0 30 0"><joint name="j2" axis="0 1 0" armature=".02"
    frictionloss=".4" range="-60 10" limited="true"/>
    <geom name="lower" type="box" size=".2 .03 .02" pos=".2 0 0"/>
    <site name="hand" pos=".4 .02 .01" euler="10 20 30"/></body></body>
<body name="c" pos=".5 .3 1"><freejoint/>
  <geom name="free" type="ellipsoid" size=".1 .08 .06"/></body>
<body name="e" pos="0 .6 1"><joint type="ball"/>
  <geom type="cylinder" size=".04 .1" pos=".1 .02 -.05"/></body></worldbody>
<equality><connect body1="b" body2="c" anchor=".1 0 .05"/></equality>
<tendon><fixed name="t"><joint joint="j1" coef="1"/><joint joint="j2" coef="-.5"/></fixed>
<spatial><site site="elbow"/><site site="hand"/></spatial></tendon>
<actuator><motor tendon="t" gear="3"/><position joint="j2" kp="9"/></actuator></mujoco>"""


@functools.cache
def case(xml: str = PARTS.format("disable")):
    """A model in a moving state, and MuJoCo's forward pass there."""
    mj_model = mujoco.MjModel.from_xml_string(xml)
    mj_data = mujoco.MjData(mj_model)
    rng = np.random.default_rng(1)
    qpos = mj_data.qpos.copy()
    mujoco.mj_integratePos(mj_model, qpos, rng.normal(size=mj_model.nv) * 0.2, 1.0)
    mj_data.qpos[:], mj_data.qvel[:] = qpos, rng.normal(size=mj_model.nv)
    mj_data.ctrl[:] = rng.normal(size=mj_model.nu)
    mujoco.mj_forward(mj_model, mj_data)
    return mj_model, mj_data, softsim.put_model(mj_model), softsim.put_data(mj_model, mj_data)


def close(ours, theirs, tolerance: float = VALUE) -> None:
    theirs = np.reshape(theirs, np.shape(ours))
    np.testing.assert_allclose(ours, theirs, rtol=tolerance, atol=tolerance)


def test_poses_inertia_bias_and_jacobians_like_mujoco():
    mj_model, mj_data, m, d = case()

    @jax.jit
    def pieces(d):
        jacobians = [
            softsim.jacobian(m, d, body="b"),
            softsim.jacobian(m, d, geom="lower"),
            softsim.jacobian(m, d, site="hand"),
            softsim.jacobian(m, d, body="b", point=jnp.array([0.1, 0.2, 0.3])),
        ]
        y = softsim.kinematics(m, d)
        return y, softsim.mass_matrix(m, d), softsim.bias(m, d), jacobians

    y, M, bias, jacobians = pieces(d)
    for field in ("xpos", "xmat", "geom_xpos", "site_xmat", "cam_xpos", "cam_xmat", "ten_length"):
        close(getattr(y, field), getattr(mj_data, field))
    full = np.zeros((mj_model.nv, mj_model.nv))
    mujoco.mj_fullM(mj_model, mj_data, full)
    close(M, full)
    close(bias, mj_data.qfrc_bias)
    theirs = [np.zeros((2, 3, mj_model.nv)) for _ in jacobians]
    mujoco.mj_jacBody(mj_model, mj_data, *theirs[0], mj_model.body("b").id)
    mujoco.mj_jacGeom(mj_model, mj_data, *theirs[1], mj_model.geom("lower").id)
    mujoco.mj_jacSite(mj_model, mj_data, *theirs[2], mj_model.site("hand").id)
    point = np.array([0.1, 0.2, 0.3])
    mujoco.mj_jac(mj_model, mj_data, *theirs[3], point, mj_model.body("b").id)
    for ours, want in zip(jacobians, theirs):
        close(np.stack(ours), want)


@pytest.mark.parametrize("discrete", ["disable", pytest.param("enable", marks=pytest.mark.slow)])
def test_inverse_dynamics_like_mujoco_and_its_derivative(discrete):
    """Away from connect, whose velocity term MuJoCo has and the default follows MJX in."""
    xml = PARTS.format(discrete).replace("<connect", '<connect active="false"')
    mj_model, mj_data, m, d = case(xml)
    qacc = np.random.default_rng(2).normal(size=mj_model.nv)
    inverse = jax.jit(lambda d, a: softsim.inverse(m, d, a))

    def mujocos(qacc, qvel):
        mj_data.qacc[:], mj_data.qvel[:] = qacc, qvel
        mujoco.mj_inverse(mj_model, mj_data)
        return mj_data.qfrc_inverse.copy()

    close(inverse(d, jnp.asarray(qacc)), mujocos(qacc, d.qvel))
    h, way = 1e-6, np.random.default_rng(3).normal(size=mj_model.nv)
    slope = jax.jit(
        lambda a, v: jax.jvp(lambda a, v: inverse(d.replace(qvel=v), a), (a, v), (way, way))[1]
    )
    difference = mujocos(qacc + h * way, d.qvel + h * way) - mujocos(
        qacc - h * way, d.qvel - h * way
    )
    close(slope(jnp.asarray(qacc), d.qvel), difference / (2 * h), 1e-5)


FIELDS = (
    "body_subtreemass", "dof_M0", "body_invweight0", "dof_invweight0", "tendon_length0",
    "tendon_invweight0", "eq_data", "actuator_acc0", "cam_pos0", "cam_poscom0", "cam_mat0",
)  # fmt: skip


def test_derived_constants_follow_the_model_like_mj_setconst():
    """After a change of masses, anchors and lengths; bounding radii as the compiler makes them."""
    mj_model, _, m, _ = case()
    changed = mujoco.MjModel.from_xml_string(PARTS.format("disable"))
    changed.body_mass[:] *= np.linspace(0.5, 2, mj_model.nbody)
    changed.eq_data[:, :3] += 0.07
    changed.body_pos[2] += 0.1
    mujoco.mj_setConst(changed, mujoco.MjData(changed))

    @jax.jit
    def derive(mass, anchor, pos):
        moved = m.replace(
            body_mass=mass,
            eq_data=m.eq_data.at[:, :3].set(anchor),
            body_pos=m.body_pos.at[2].set(pos),
        )
        return softsim.set_const(moved)

    const = derive(changed.body_mass, changed.eq_data[:, :3], changed.body_pos[2])
    for field in FIELDS:
        close(getattr(const, field), getattr(changed, field), 1e-10)
    close(const.geom_rbound, changed.geom_rbound)


SLIDERS = """<mujoco><worldbody>
<body><joint type="slide" axis="0 0 1"/><geom size=".1" mass="2"/></body>
<body><joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 1 0" armature=".5"/>
<geom type="box" size=".1 .2 .3" mass="3"/></body>
<body><joint type="slide" axis="1 0 1"/><geom size=".1" mass="2"/></body>
<body><joint type="slide"/><geom size=".1" pos=".1 0 0" mass="2"/></body>
<body><joint type="slide"/><geom size=".1" mass="2"/><body pos=".1 0 0"><joint axis="1 0 0"/>
<geom size=".1" pos="0 .1 0" mass="2"/><body><geom size=".1" mass=".3"/></body></body></body>
<body><joint type="ball"/><geom size=".1" mass="2"/></body><body><geom size=".1"/></body>
<body mocap="true"><geom size=".1"/></body></worldbody></mujoco>"""


def test_weights_of_sliding_bodies_are_those_of_mujoco():
    mj_model = mujoco.MjModel.from_xml_string(SLIDERS)
    const = jax.jit(softsim.set_const)(softsim.put_model(mj_model))
    for field in ("body_invweight0", "dof_invweight0", "body_subtreemass"):
        close(getattr(const, field), getattr(mj_model, field), 1e-10)


def test_poses_along_a_trajectory():
    mj_model, mj_data, m, d = case()
    rng = np.random.default_rng(4)
    path = np.stack([mj_data.qpos] * 3)
    for q in path:
        mujoco.mj_integratePos(mj_model, q, rng.normal(size=mj_model.nv), 0.3)
    pose = jax.jit(lambda q: softsim.poses(m, d, q, site="hand"))(path.reshape(3, 1, -1))
    assert pose.pos.shape == (3, 1, 3) and pose.mat.shape == (3, 1, 3, 3)
    other = mujoco.MjData(mj_model)
    for i, q in enumerate(path):
        other.qpos[:] = q
        mujoco.mj_kinematics(mj_model, other)
        close(pose.pos[i, 0], other.site("hand").xpos)
        close(pose.mat[i, 0], other.site("hand").xmat)


SHAPES = {
    "plane": 'type="plane" size="1 1 1"',
    "sphere": 'size=".1"',
    "capsule": 'type="capsule" size=".06 .1"',
    "ellipsoid": 'type="ellipsoid" size=".12 .08 .06"',
    "cylinder": 'type="cylinder" size=".08 .1"',
    "box": 'type="box" size=".1 .07 .05"',
    "mesh": 'type="mesh" mesh="hull"',
}
TWO = """<mujoco><asset>
<mesh name="hull" vertex=".1 0 0 -.05 .09 0 -.05 -.09 0 0 0 .14 0 .1 .1"/></asset>
<worldbody><geom name="one" {}/><body><freejoint/><geom name="two" {} mass="1"/></body></worldbody>
</mujoco>"""
FAST = {("plane", "cylinder"), ("capsule", "box")}
PAIRS = [
    pytest.param(a, b, marks=() if (a, b) in FAST else pytest.mark.slow)
    for a, b in itertools.combinations_with_replacement(SHAPES, 2)
    if b != "plane"
]


@pytest.mark.parametrize(("one", "two"), PAIRS)
def test_distance_like_mj_geomdistance_apart_and_in_penetration(one, two):
    mj_model = mujoco.MjModel.from_xml_string(TWO.format(SHAPES[one], SHAPES[two]))
    mj_data, m = mujoco.MjData(mj_model), softsim.put_model(mj_model)
    d = softsim.make_data(m)
    rng = np.random.default_rng(5)
    pos = rng.normal(size=(24, 3))
    pos *= np.linspace(0.03, 0.5, 24)[:, None] / np.linalg.norm(pos, axis=1, keepdims=True)
    quat = rng.normal(size=(24, 4))
    qpos = np.concatenate([pos, quat / np.linalg.norm(quat, axis=1, keepdims=True)], axis=1)
    between = lambda q: softsim.distance(m, d.replace(qpos=q), "two", "one")
    found, slope = jax.jit(
        jax.vmap(lambda q: (between(q), jax.grad(lambda q: between(q).dist)(q)))
    )(jnp.asarray(qpos))

    def theirs(q, segment=None):
        mj_data.qpos[:] = q
        mujoco.mj_kinematics(mj_model, mj_data)
        return mujoco.mj_geomDistance(mj_model, mj_data, 1, 0, 10.0, segment)

    want, segment = [], np.zeros(6)
    for i, q in enumerate(qpos):
        want.append(theirs(q, segment))
        ends = np.concatenate([found.point1[i], found.point2[i]])
        if want[-1] > 0.01:  # the points of deep penetration are not unique
            np.testing.assert_allclose(ends, segment, atol=2e-4)
    assert min(want) < 0 < max(want)
    # deeper, MuJoCo's own functions of some pairs (capsule-box) do not give the shortest way out
    shallow = np.array(want) > -0.01
    np.testing.assert_allclose(found.dist[shallow], np.array(want)[shallow], atol=1e-6)
    np.testing.assert_allclose(
        np.linalg.norm(found.point2 - found.point1, axis=1), np.abs(found.dist), atol=1e-9
    )
    shift = 1e-4 * rng.normal(size=3)
    for i in np.flatnonzero(np.array(want) > 0.01)[:6]:
        difference = theirs(qpos[i] + np.r_[shift, np.zeros(4)]) - theirs(
            qpos[i] - np.r_[shift, np.zeros(4)]
        )
        assert float(slope[i, :3] @ shift) == pytest.approx(difference / 2, abs=1e-6)


def test_errors_name_the_argument():
    _, _, m, d = case()
    for call, message in (
        (lambda: softsim.jacobian(m, d), "got none, expected exactly one of body, geom, site"),
        (
            lambda: softsim.jacobian(m, d, body="nose"),
            "body: got 'nose', expected one of: world, a",
        ),
        (lambda: softsim.poses(m, d, d.qpos[:3], site="hand"), r"qpos: got shape \(3,\)"),
        (lambda: softsim.inverse(m, d, d.qpos), r"qacc: got shape \(13,\), expected \(11,\)"),
        (lambda: softsim.distance(m, d, "upper", 99), "geom: got id 99, expected 0 <= id < 4"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_four_bar_feels_its_anchor_as_a_recompiled_model_does():
    """The other half of `connect` follows the first (mujoco #1607)."""
    xml = """<mujoco><option timestep=".002" tolerance="1e-14"/><worldbody>
    <body name="crank"><joint axis="0 1 0"/><geom size=".02" pos=".1 0 0" mass="1"/></body>
    <body name="rocker" pos=".4 0 0"><joint axis="0 1 0" damping=".1"/>
    <geom size=".02" pos="-.1 0 .1" mass="1"/></body></worldbody>
    <equality><connect body1="crank" body2="rocker" anchor="{} 0 .1"/></equality></mujoco>"""
    mj_model = mujoco.MjModel.from_xml_string(xml.format(0.2))
    m = softsim.put_model(mj_model)
    d = softsim.make_data(m).replace(qvel=jnp.array([0.5, 0.0]))

    @jax.jit
    def angle(m, x):
        moved = softsim.set_const(m.replace(eq_data=m.eq_data.at[0, 0].set(x)))
        return softsim.rollout(moved, d, jnp.zeros((60, 0)))[0].qpos[0]

    h, recompiled = 1e-5, []
    for x in (0.2 + h, 0.2 - h):
        other = mujoco.MjModel.from_xml_string(xml.format(repr(x)))
        recompiled.append(angle(softsim.put_model(other), x))
    slope = jax.jit(jax.jacfwd(lambda x: angle(m, x)))(0.2)
    assert float(slope) == pytest.approx(float(recompiled[0] - recompiled[1]) / (2 * h), rel=1e-4)
