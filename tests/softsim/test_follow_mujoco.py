"""`put_model(..., follow="mujoco")`: MuJoCo C's motion where MJX's differs by choice."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

import softsim
from tests.softsim.models import MIXED

_HEAD = (
    '<mujoco><option timestep="0.002" iterations="100" ls_iterations="100" tolerance="1e-20" {}/>'
)
_LINK = (
    '<geom type="capsule" size=".02" fromto="0 0 0 {} 0 0" mass="1" contype="0" conaffinity="0"/>'
)
_BOX = '<geom type="box" size=".05 .04 .03" mass="{}" contype="0" conaffinity="0"/>'

FOUR_BAR = (
    _HEAD.format("")
    + f"""<worldbody>
    <body pos="0 0 1"><joint axis="0 1 0"/>{_LINK.format(0.2)}
      <body pos=".2 0 0"><joint axis="0 1 0" damping=".01"/>{_LINK.format(0.5)}
        <body name="rod" pos=".5 0 0"><joint axis="0 1 0"/>{_LINK.format(0.3)}
          <site name="tip" pos=".3 0 0"/></body></body></body>
    <site name="pin" pos=".6 0 .6"/></worldbody>
    <equality><connect site1="tip" site2="pin"/></equality></mujoco>"""
)
MOCAP_WELD = (
    _HEAD.format("")
    + f"""<worldbody>
    <body name="hand" mocap="true" pos="0 0 1"/>
    <body name="held" pos=".05 .02 1" quat=".9 .1 .2 .3"><freejoint/>{_BOX.format(1)}
      <body pos=".1 0 0"><joint type="ball"/>{_BOX.format(0.5)}
        <site name="a" pos=".1 0 0" quat=".8 0 .6 0"/></body></body>
    <body pos=".4 .1 1"><freejoint/>{_BOX.format(0.7)}<site name="b" pos="-.05 .02 .01"/></body>
    </worldbody>
    <equality><weld body1="hand" body2="held" torquescale=".7"/>
    <weld site1="a" site2="b" torquescale="1.3" solref=".05 1"/></equality></mujoco>"""
)
TOSSED_BOX = (
    _HEAD.format('cone="{cone}"')
    + """<default><geom solref="0.02 0.8" solimp="0 0.99 0.01"/></default>
    <worldbody><geom type="plane" size="5 5 1" euler="5 3 0"/>
    <body pos="0 0 .15" euler="20 30 10"><freejoint/>
      <geom type="box" size=".05 .05 .05" mass=".5"/></body></worldbody></mujoco>"""
)
STANDING_CAPSULES = (
    _HEAD.format("")
    + """<worldbody><geom type="plane" size="5 5 1" euler="4 0 0"/>
    <body pos="0 0 .15" euler="5 9 40"><freejoint/>
      <geom type="capsule" size=".05 .1" mass=".5" friction=".4 .02 .01"/></body>
    <body pos="1 0 .15" euler="-25 9 40"><freejoint/>
      <geom type="capsule" size=".05 .1" mass=".5" condim="6" priority="1"/></body>
    <body pos="-1 0 .06" euler="85 9 40"><freejoint/>
      <geom type="capsule" size=".05 .1" mass=".5" condim="4" priority="1"/></body>
    </worldbody></mujoco>"""
)
_PRISM = " ".join(
    f"{0.1 * np.cos(t)} {0.07 * np.sin(t)} {z}" for t in (0, 0.7, 1.9, 2.6, 3.5, 4.6, 5.5)
    for z in (-0.04, 0.04)
)  # fmt: skip
MESHES_ON_A_PLANE = (
    _HEAD.format("")
    + f"""<default><geom solref="0.02 0.8" solimp="0 0.99 0.01"/></default>
    <asset><mesh name="prism" vertex="{_PRISM}"/>
    <mesh name="wedge" vertex="-.08 -.06 0 .08 -.06 0 .08 .06 0 -.08 .06 0 0 -.05 .07 0 .05 .07"/>
    </asset><worldbody><geom type="plane" size="5 5 1" euler="5 3 0"/>
    <body pos="0 0 .1" euler="8 5 10"><freejoint/><geom type="mesh" mesh="prism" mass=".5"/></body>
    <body pos="1 0 .12" euler="20 30 40"><freejoint/><geom type="mesh" mesh="wedge" mass=".5"/>
    </body></worldbody></mujoco>"""
)
_STACKED = (
    _HEAD.format('cone="{cone}"')
    + """<default><geom solref="0.02 0.8" solimp="0 0.99 0.01"/></default><worldbody>
    <geom type="plane" size="5 5 1"/>
    <body pos="0 0 .08"><freejoint/><geom type="box" size=".1 .06 .08" mass="1"/></body>
    <body pos=".02 .01 .229" euler="2 3 30"><freejoint/>
      <geom type="box" size=".05 .09 .07" mass="1"/></body></worldbody></mujoco>"""
)
_HEIGHTS = " ".join(f"{x:.4f}" for x in np.random.default_rng(0).uniform(size=49))
_ON_FIELD = (
    _HEAD.format('ccd_tolerance="1e-12" ccd_iterations="200"')
    + f"""<asset><hfield name="h" nrow="7" ncol="7" size=".3 .25 .1 .05" elevation="{_HEIGHTS}"/>
    <mesh name="shard" vertex="0 0 .06 .05 .01 -.04 -.04 .04 -.03 -.02 -.05 -.05 .01 .03 .02"/>
    </asset><worldbody><geom type="hfield" hfield="h" pos=".1 .2 .3" euler="10 5 30"/>
    {{}}</worldbody></mujoco>"""
)
_DROPPED = "<body pos='{} .2 .47' euler='30 40 50'><freejoint/><geom {} mass='1'/></body>"
# steps, and the velocity at the start: given, or random of that size
SCENES = {
    "four-bar with connect": (FOUR_BAR, 400, 3.0),
    "mocap weld, weld of sites": (MOCAP_WELD, 200, 1.0),
    "soft box on a plane": (TOSSED_BOX.format(cone="pyramidal"), 200, 1.0),
    "soft box on a plane, elliptic": (TOSSED_BOX.format(cone="elliptic"), 200, 1.0),
    "meshes on a plane": (MESHES_ON_A_PLANE, 200, 0.5),
    "stack of boxes": (_STACKED.format(cone="pyramidal"), 200, 0.5),
    "stack of boxes, elliptic": (_STACKED.format(cone="elliptic"), 200, 0.5),
    "ball and capsule on a height field": (
        _ON_FIELD.format(
            _DROPPED.format(0, 'type="sphere" size=".05" contype="0"')
            + _DROPPED.format(0.25, 'type="capsule" size=".03 .05" contype="0"')
        ),
        100,
        0.5,
    ),
    "capsules on a plane": (STANDING_CAPSULES, 100, np.tile([1.0, 0.7, -0.2, 0, 0, 0], 3)),
}


def _start(name: str):
    """Model, MuJoCo's data at the start, and the number of steps."""
    xml, steps, speed = SCENES[name]
    mj_model = mujoco.MjModel.from_xml_string(xml)
    data = mujoco.MjData(mj_model)
    random = np.random.default_rng(0).normal(size=mj_model.nv)
    data.qvel[:] = speed if np.ndim(speed) else speed * random
    if mj_model.nmocap:
        data.mocap_pos[:] += [0.02, -0.01, 0.03]
        data.mocap_quat[:] = [0.98, 0.1, 0.15, -0.05]
    return mj_model, data, steps


_QUICK = ("four-bar with connect", "soft box on a plane")


@pytest.mark.parametrize(
    "name", [n if n in _QUICK else pytest.param(n, marks=pytest.mark.slow) for n in SCENES]
)
def test_motion_is_that_of_mujoco(name):
    mj_model, data, steps = _start(name)
    m = softsim.put_model(mj_model, follow="mujoco")
    d = softsim.put_data(mj_model, data)
    _, path = jax.jit(lambda d: softsim.rollout(m, d, jnp.zeros((steps, 0))))(d)
    want = []
    for _ in range(steps):
        mujoco.mj_step(mj_model, data)
        want.append(np.concatenate([data.qpos, data.qvel]))
    got = np.concatenate([path.qpos, path.qvel], axis=1)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


def _every_constraint(cone: str) -> mujoco.MjModel:
    dims = (3, 4, 6) if cone == "elliptic" else (1, 3, 4, 6)
    bodies = "".join(
        f"""<body pos="{0.3 * i} 2 .0985" quat=".98 .1 .05 .1"><freejoint/>
        <geom type="capsule" size=".05 .1" mass="{1 + i}" condim="{dim}"/></body>"""
        for i, dim in enumerate(dims)
    )
    floor = '<geom type="plane" size="1 1 1" condim="1"/>'
    xml = MIXED["rows"].replace('tolerance="1e-14"', f'tolerance="1e-20" cone="{cone}"')
    return mujoco.MjModel.from_xml_string(
        xml.replace("</worldbody>", floor + bodies + "</worldbody>")
    )


@pytest.mark.slow
@pytest.mark.parametrize("cone", ["pyramidal", "elliptic"])
def test_every_constraint_at_once(cone):
    """1e-9 after 30 steps, from MuJoCo C: MJX stops 1e-5 short of an elliptic optimum (residual of
    the forces, at any tolerance), which leaves it 2e-7 away, so it is no reference here.
    """
    mj_model = _every_constraint(cone)
    data = mujoco.MjData(mj_model)
    data.qvel[:] = 0.3 * np.random.default_rng(0).normal(size=mj_model.nv)
    m = softsim.put_model(mj_model, follow="mujoco")
    d = softsim.put_data(mj_model, data)
    end, _ = jax.jit(lambda d: softsim.rollout(m, d, jnp.zeros((30, m.nu))))(d)
    mujoco.mj_step(mj_model, data, nstep=30)
    np.testing.assert_allclose(end.qvel, data.qvel, rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "far"),
    [
        ("four-bar with connect", 1e-2),
        ("soft box on a plane", 1e-3),
        ("capsules on a plane", 1e-5),
        ("stack of boxes", 1e-5),
    ],
)
def test_models_follow_mjx_unless_told(name, far):
    """The setting matters: by default these scenes leave MuJoCo C, as they do in MJX."""
    mj_model, data, steps = _start(name)
    m = softsim.put_model(mj_model)
    d = softsim.put_data(mj_model, data)
    end, _ = jax.jit(lambda d: softsim.rollout(m, d, jnp.zeros((steps, 0))))(d)
    mujoco.mj_step(mj_model, data, nstep=steps)
    assert np.abs(end.qpos - data.qpos).max() > far


_TWO_BOXES = mujoco.MjModel.from_xml_string("""<mujoco><worldbody>
    <body><freejoint/><geom type="box" size=".1 .06 .08"/></body>
    <body><freejoint/><geom type="box" size=".05 .09 .07"/></body></worldbody></mujoco>""")


def _box_poses(kind: str, count: int) -> np.ndarray:
    """Poses (count, 14) of two boxes that touch."""
    rng = np.random.default_rng(2)
    quat = lambda spread: (
        (q := np.eye(4)[0] + rng.normal(size=(count, 4)) * spread)
        / (np.linalg.norm(q, axis=1, keepdims=True))
    )
    away = rng.normal(size=(count, 3))
    away *= rng.uniform(0.02, 0.16, (count, 1)) / np.linalg.norm(away, axis=1, keepdims=True)
    above = np.column_stack([rng.uniform(-0.1, 0.1, (count, 2)), np.full(count, 0.148)])
    turned = quat([1.0, 0.005, 0.005, 1.0])
    zero, upright = np.zeros((count, 3)), quat(0.0)
    if kind == "any":
        return np.column_stack([zero, quat([5.0] * 4), away, quat([5.0] * 4)])
    if kind == "nearly aligned":
        return np.column_stack([zero, upright, above, turned])
    if kind == "nearly aligned, the other way":
        return np.column_stack([above, turned, zero, upright])
    quarter = np.array([[1, 0, 0, 0], [0.5**0.5, 0, 0, 0.5**0.5], [0.5] * 4, [0, 1, 0, 0]])
    grid = np.column_stack([rng.choice([0, 0.05, -0.03, 0.15], (count, 2)), np.full(count, 0.1)])
    return np.column_stack([zero, upright, grid, quarter[np.arange(count) % 4]])


def _contacts(poses: np.ndarray, mj_model: mujoco.MjModel) -> list[np.ndarray]:
    """MuJoCo's contacts at each pose: dist, pos, frame (k, 13)."""
    data, found = mujoco.MjData(mj_model), []
    for pose in poses:
        data.qpos[:] = pose
        mujoco.mj_kinematics(mj_model, data)
        mujoco.mj_collision(mj_model, data)
        contact = data.contact
        rows = [contact.dist[:, None], contact.pos, contact.frame.reshape(-1, 9)]
        found.append(np.concatenate(rows, axis=1))
    return found


def _both(mj_model: mujoco.MjModel, poses: np.ndarray):
    """Ours and MuJoCo's contacts at each pose, without those that only just touch."""
    m = softsim.put_model(mj_model, follow="mujoco")
    d = softsim.make_data(m)
    run = lambda q: softsim.collide(m, d.replace(qpos=q))
    found = jax.jit(lambda q: jax.lax.map(run, q, batch_size=50))(jnp.asarray(poses))
    rows = np.concatenate(
        [found.dist[..., None], found.pos, found.frame.reshape(*found.dist.shape, 9)], axis=-1
    )
    for ours, weight, theirs in zip(rows, np.asarray(found.weight), _contacts(poses, mj_model)):
        yield ours[(weight == 1) & (ours[:, 0] < -1e-12)], theirs[theirs[:, 0] < -1e-12]


def _apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Greatest difference of two sets of contacts; infinite if one has more."""
    if len(ours) != len(theirs):
        return np.inf
    each = np.abs(ours[:, None] - theirs).max(axis=-1)
    return max(each.min(axis=0).max(), each.min(axis=1).max()) if len(ours) else 0.0


_KINDS = ("any", "nearly aligned", "nearly aligned, the other way", "aligned")


def test_two_boxes_have_all_contacts_of_mujoco():
    poses = np.concatenate([_box_poses(kind, 600 if kind == "any" else 200) for kind in _KINDS])
    sets = list(_both(_TWO_BOXES, poses))
    assert {len(theirs) for _, theirs in sets} == set(range(9))
    assert max(_apart(*both) for both in sets) < 1e-6


_SHAPES = {
    "sphere": ('type="sphere" size=".07"', 1e-6),
    "capsule": ('type="capsule" size=".04 .08"', 1e-6),
    "ellipsoid": ('type="ellipsoid" size=".09 .05 .07"', 1e-4),
    "cylinder": ('type="cylinder" size=".05 .07"', 1e-4),
    "box": ('type="box" size=".06 .05 .07"', None),
    "mesh": ('type="mesh" mesh="shard"', None),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", _SHAPES)
def test_a_height_field_has_a_contact_for_each_prism_as_in_mujoco(name):
    """MuJoCo searches until the depth settles: where shapes curve, it knows the normal to its root.

    It finds less than the depth of boxes and meshes (3.17): for them only the number is its own,
    and the depth is at least MuJoCo's.
    """
    shape, bound = _SHAPES[name]
    mj_model = mujoco.MjModel.from_xml_string(_ON_FIELD.format(_DROPPED.format(0, shape)))
    data, rng = mujoco.MjData(mj_model), np.random.default_rng(1)
    mujoco.mj_kinematics(mj_model, data)
    place = rng.uniform([-0.32, -0.27, 0.05], [0.32, 0.27, 0.15], (100, 3))
    place = data.geom_xpos[0] + place @ data.geom_xmat[0].reshape(3, 3).T
    quat = rng.normal(size=(100, 4))
    quat /= np.linalg.norm(quat, axis=1, keepdims=True)
    counts = set()
    for ours, theirs in _both(mj_model, np.column_stack([place, quat])):
        counts.add(len(theirs))
        assert len(ours) == len(theirs)
        if bound is None:
            assert np.all(np.sort(ours[:, 0]) < np.sort(theirs[:, 0]) + 1e-6)
        else:
            assert _apart(ours[:, :7], theirs[:, :7]) < bound
            np.testing.assert_allclose(*(np.sort(x[:, 0]) for x in (ours, theirs)), atol=1e-8)
    assert {0, 2, 3, 5} <= counts


def test_data_with_room_for_the_contacts_of_mjx_steps_too():
    """It keeps its shape in a loop; its contacts are NaN, as not all of them fit in."""
    mj_model, data, _ = _start("stack of boxes")
    m = softsim.put_model(mj_model, follow="mujoco")
    ends = []
    for d in (softsim.put_data(mj_model, data), softsim.put_data(m, data)):
        assert isinstance(d._impl.ncon, int)  # MJX asks for it while it traces
        steps = lambda d: jax.lax.fori_loop(0, 20, lambda _, d: softsim.step(m, d), d)
        ends.append(jax.jit(steps)(d))
    np.testing.assert_allclose(ends[0].qpos, ends[1].qpos, rtol=0, atol=1e-14)
    assert len(ends[0]._impl.contact.dist) == 12 and np.isnan(ends[0]._impl.contact.dist).all()
    assert np.isnan(ends[0]._impl.efc_force).all()
    assert len(ends[1]._impl.contact.dist) == 16 and np.isfinite(ends[1]._impl.contact.dist).all()
    mujoco.mj_step(mj_model, data, nstep=20)
    np.testing.assert_allclose(ends[0].qpos, data.qpos, rtol=0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["mocap weld, weld of sites", "soft box on a plane", "capsules on a plane", "stack of boxes"],
)
def test_derivative_against_differences(name):
    mj_model, data, _ = _start(name)
    m = softsim.put_model(mj_model, follow="mujoco")
    d = softsim.put_data(mj_model, data)

    def end(v: jax.Array) -> jax.Array:
        return softsim.rollout(m, d.replace(qvel=d.qvel + v), jnp.zeros((40, 0)))[0].qpos

    rng = np.random.default_rng(1)
    directions, h = jnp.asarray(rng.normal(size=(3, m.nv))), 1e-6
    tangents = jax.vmap(lambda v: jax.jvp(end, (jnp.zeros(m.nv),), (v,))[1])
    got = jax.jit(tangents)(directions)
    plus, minus = jnp.split(
        jax.jit(jax.vmap(end))(jnp.vstack([h * directions, -h * directions])), 2
    )
    want = (plus - minus) / (2 * h)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6 * np.abs(want).max())


def test_follow_is_checked_and_kept():
    mj_model, _, _ = _start("four-bar with connect")
    with pytest.raises(ValueError, match="follow: got 'c', expected one of mjx, mujoco"):
        softsim.put_model(mj_model, follow="c")
    m = softsim.put_model(mj_model, follow="mujoco")
    changed = jax.tree.map(lambda x: x, m.replace(body_mass=2 * m.body_mass))
    assert changed.follow == "mujoco" and isinstance(changed, mjx.Model)
    assert jax.tree.structure(changed) == jax.tree.structure(m)
