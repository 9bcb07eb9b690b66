"""Which bodies meet, against MuJoCo C; contacts of some bodies alone, against MJCF's <exclude>."""

import importlib

import jax
import mujoco
import numpy as np
import pytest

import softsim
from softsim import sysid

SCENE = """<mujoco><option timestep="0.005"/><worldbody><geom type="plane" size="1 1 .1"/>
<body name="a" pos="0 0 .3"><joint type="slide" axis="0 0 1"/><geom size=".1"/></body>
<body name="b" pos=".05 0 .1"><freejoint/><geom type="box" size=".2 .2 .1"/></body>
<body name="c" pos="2 0 .5"><joint type="slide" axis="0 0 1"/>
<geom type="capsule" size=".05 .1" margin=".02"/></body>
</worldbody></mujoco>"""
BALL = """<mujoco><option timestep="0.005"/><worldbody><geom type="plane" size="1 1 .1"/>
<body name="ball" pos="0 0 .1"><joint name="up" type="slide" axis="0 0 1"/>
<geom size=".1" solref="-4000 -2" mass="1"/></body></worldbody>
<actuator><motor name="push" joint="up" gear="{}"/></actuator></mujoco>"""


def test_bodies_that_come_near() -> None:
    """a rests on b, b on the floor; c hangs 0.35 m above it, 0.02 of which are its margin."""
    mj_model = mujoco.MjModel.from_xml_string(SCENE)
    rest = mj_model.qpos0[None]
    near = lambda within: softsim.encounters(mj_model, rest, within)
    assert near(0.0) == {(0, 2), (1, 2)}
    assert near(0.15) == near(0.0)
    assert near(0.34) - near(0.32) == {(0, 3)}
    lower = rest.copy()
    lower[0, -1] = -0.35
    both = softsim.encounters(mj_model, np.concatenate([rest, lower]))
    assert both == {(0, 2), (1, 2), (0, 3)}


def test_a_step_with_some_contacts_is_that_with_others_excluded() -> None:
    spec = mujoco.MjSpec.from_string(SCENE)
    m = softsim.put_model(spec.compile())
    fewer = softsim.keep_contacts(m, [(2, 1), (0, 3)])
    for one, other in (("world", "a"), ("world", "b"), ("a", "c"), ("b", "c")):
        spec.add_exclude(bodyname1=one, bodyname2=other)
    excluded = softsim.put_model(spec.compile())
    step = jax.jit(softsim.step)
    found, expected = (step(x, softsim.make_data(x)) for x in (fewer, excluded))
    assert found._impl.efc_J.shape == expected._impl.efc_J.shape
    np.testing.assert_array_equal(found.qvel, expected.qvel)
    with pytest.raises(
        ValueError, match=r"bodies: got \(0, 4\), expected pairs of ids of bodies, fr"
    ):
        softsim.keep_contacts(m, [(0, 4)])


def test_a_fit_gets_the_contacts_that_only_its_prediction_meets(monkeypatch) -> None:
    """As if nobody had seen in the recordings that the ball comes near the floor."""
    module = importlib.import_module("softsim.sysid.identify")
    monkeypatch.setattr(module, "encounters", lambda *_: frozenset())
    true, guess = (mujoco.MjModel.from_xml_string(BALL.format(gear)) for gear in (2.0, 1.5))
    data, rows = mujoco.MjData(true), []
    data.qpos[:], data.ctrl[:] = 0.2, 1.0
    for _ in range(60):
        rows.append(np.concatenate([data.qpos, data.qvel]))
        mujoco.mj_step(true, data, 2)
    qpos, qvel = np.split(np.array(rows), 2, axis=1)
    assert qpos.min() < 0
    recording = sysid.Recording(qpos=qpos, qvel=qvel, ctrl=np.ones((60, 1)), dt=0.01)
    fit = sysid.identify(guess, [recording], ["gear:push"], window=0)
    assert fit.evaluate.bodies == {(0, 1)}
    assert abs(fit.values["gear:push"] / 2.0 - 1) < 1e-3
