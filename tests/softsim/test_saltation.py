"""Event-aware derivatives against the trend of the outcome, taken from MuJoCo C at small steps.

Never against small differences of the same steps: those are the slope of a sawtooth's teeth.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim
from softsim import Softening

STEPS = 190
# One scene, four things that are struck at speed: a floor, the stop of a slide, the stop of a
# tendon, and, by a ball that flies freely and rubs, the floor again.
SCENE = """<mujoco><option timestep="{dt}" integrator="{integrator}" cone="{cone}"/>
<default><geom contype="0" conaffinity="0" mass=".2" size=".1"/></default><worldbody>
<geom type="plane" size="5 5 1" contype="1" conaffinity="1" condim="{condim}" {contact}/>
<body pos="0 0 .1"><joint name="drop" type="slide" axis="0 0 1"/>
  <geom contype="1" conaffinity="1" condim="{condim}" {contact}/></body>
<body><joint name="stop" type="slide" axis="0 0 1" range="0 9" limited="true" {limit}/>
  <geom/></body>
<body pos="0 5 0"><joint name="wire" type="slide" axis="0 0 1"/><geom/></body>
<body pos="3 0 .1"><joint name="fly" type="free"/>
  <geom contype="1" conaffinity="1" condim="{condim}" {contact} friction=".3 .01 .001"/></body>
</worldbody>
<tendon><fixed range="0 9" limited="true"><joint joint="wire" coef="1"/></fixed></tendon>
</mujoco>"""
HEIGHTS = np.linspace(0.2, 0.34, 21)
# where in qpos each of them says how high it is, and the last how far it has slid
OUTCOMES = {"floor": 0, "stop": 1, "tendon": 2, "flight": 5, "sliding": 3}


def make(dt=0.002, integrator="Euler", cone="pyramidal", condim=3, contact="", limit=""):
    return mujoco.MjModel.from_xml_string(
        SCENE.format(
            dt=dt, integrator=integrator, cone=cone, condim=condim, contact=contact, limit=limit
        )
    )


def start(qpos, height):
    """Everything at a height, at rest but for the ball that flies, which moves along x."""
    return qpos.at[np.array([0, 1, 2])].set(height).at[5].add(height)


def program(mj_model, softening, steps=STEPS, adaptive=None, reverse=False):
    """Outcomes and their slope by the height, for a batch of heights."""
    m = softsim.put_model(mj_model)
    d = softsim.make_data(m)
    d = d.replace(qvel=d.qvel.at[3].set(1.0))

    def outcome(height):
        moved = d.replace(qpos=start(d.qpos, height))
        ctrl = jnp.zeros((steps, 0))
        end = softsim.rollout(m, moved, ctrl, softening, adaptive=adaptive)[1].qpos[-1]
        return end[np.array(list(OUTCOMES.values()))]

    if reverse:
        return jax.jit(jax.vmap(jax.jacrev(outcome)))
    return jax.jit(jax.vmap(lambda h: jax.jvp(outcome, (h,), (jnp.ones_like(h),))))


@functools.cache
def trend(contact="", duration=0.38, **settings) -> np.ndarray:
    """(heights, outcomes): differences over 2 mm of MuJoCo C at steps of 10 us."""
    mj_model = make(dt=1e-5, contact=contact, **settings)
    mj_data = mujoco.MjData(mj_model)

    def run(height):
        mujoco.mj_resetData(mj_model, mj_data)
        mj_data.qpos[:3] = height
        mj_data.qpos[5] += height
        mj_data.qvel[3] = 1.0
        mujoco.mj_step(mj_model, mj_data, round(duration / 1e-5))
        return mj_data.qpos[list(OUTCOMES.values())].copy()

    return np.stack([(run(h + 1e-3) - run(h - 1e-3)) / 2e-3 for h in HEIGHTS])


def errors(slope, truth) -> dict[str, float]:
    """Median distance from the trend, relative to the trend's size."""
    size = np.maximum(np.sqrt(np.mean(np.square(truth), axis=0)), 1e-9)  # frictionless: no slide
    return dict(zip(OUTCOMES, np.median(np.abs(np.asarray(slope) - truth), axis=0) / size))


def test_slope_of_the_outcome_at_mujocos_own_steps_and_contact():
    """Contacts, joint and tendon limits of MuJoCo's defaults, 2 ms."""
    hard, events = (program(make(), s)(HEIGHTS) for s in (Softening.hard(), Softening.saltation()))
    np.testing.assert_allclose(hard[0], events[0], rtol=0, atol=1e-12)
    before, after = errors(hard[1], trend()), errors(events[1], trend())
    for name in ("floor", "stop", "tendon", "flight"):
        assert before[name] > 0.5, (name, before)  # the oracle tells the two apart
        assert after[name] < 0.1, (name, after)
    assert after["floor"] < 0.06
    assert after["sliding"] < before["sliding"]


def test_values_are_those_of_hard_steps_bit_for_bit():
    m = softsim.put_model(make())
    d = softsim.make_data(m)
    d = d.replace(qpos=start(d.qpos, -1e-3), qvel=d.qvel - 0.3)
    hard, events = (
        jax.jit(lambda d, s=s: softsim.step(m, d, s))(d)
        for s in (Softening.hard(), Softening.saltation())
    )
    for name in ("qpos", "qvel", "qacc"):
        np.testing.assert_array_equal(getattr(events, name), getattr(hard, name))


@pytest.mark.slow
def test_forward_and_reverse_mode_agree():
    slopes = program(make(), Softening.saltation(), reverse=True)(HEIGHTS)
    forward = program(make(), Softening.saltation())(HEIGHTS)[1]
    np.testing.assert_allclose(slopes, forward, rtol=1e-9, atol=1e-12)


BOUNCY = 'solref=".05 .2" solimp=".9 .95 .01"'


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "bound"),
    [
        ({"cone": "elliptic"}, 0.1),
        ({"cone": "elliptic", "condim": 1}, 0.1),
        ({"condim": 6}, 0.1),
        ({"integrator": "implicitfast"}, 0.1),
        # how fast a stage falls is guessed where the stages before it have met the floor already
        ({"integrator": "RK4"}, 0.2),
    ],
)
def test_slope_of_the_outcome_of_every_cone_and_integrator(settings, bound):
    slope = program(make(**settings), Softening.saltation())(HEIGHTS)[1]
    found = errors(slope, trend(**{k: v for k, v in settings.items() if k != "integrator"}))
    for name in ("floor", "stop", "tendon", "flight"):
        assert found[name] < bound, (name, found)


@pytest.mark.slow
def test_a_bouncing_contact_needs_its_release_too():
    """solref 0.05 0.2 at 1 ms: autodiff alone is off by seven times the slope."""
    mj_model = make(dt=0.001, contact=BOUNCY, limit='solreflimit=".05 .2" solimplimit=".9 .95 .01"')
    slope = program(mj_model, Softening.saltation(), steps=500)(HEIGHTS)[1]
    truth = trend(BOUNCY, 0.5, limit='solreflimit=".05 .2" solimplimit=".9 .95 .01"')
    found = errors(slope, truth)
    assert found["floor"] < 0.15 and found["stop"] < 0.15, found


@pytest.mark.slow
def test_a_contact_that_the_steps_do_not_resolve_keeps_its_plain_derivative():
    """A contact of two steps (solref 0.01 at 5 ms) has no trend: the guard goes back."""
    mj_model = make(dt=0.005, contact='solref=".01 1"')
    few = HEIGHTS[::4]
    hard, events = (
        program(mj_model, s, steps=76)(few)[1] for s in (Softening.hard(), Softening.saltation())
    )
    size = np.sqrt(np.mean(np.square(hard[:, 0])))
    assert np.max(np.abs(hard - events)[:, 0]) < 0.2 * size
    assert np.isfinite(events).all()


@pytest.mark.slow
@pytest.mark.parametrize("derivative", ["forward", "reverse"])
def test_adaptive_steps_see_events(derivative):
    """However tight the tolerance, without events the derivative stays as far off as it is."""
    mj_model = make(dt=0.02)
    mj_model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_REFSAFE
    adaptive = softsim.Adaptive(1e-5, 1e-5, derivative=derivative)
    reverse = derivative == "reverse"
    run = program(mj_model, Softening.saltation(), 19, adaptive, reverse)
    slope = run(HEIGHTS) if reverse else run(HEIGHTS)[1]
    assert errors(slope, trend())["floor"] < 0.02


def test_events_combine_with_straight_through():
    """The value is the hard step's, and the derivative finite, in float32 too."""
    with jax.enable_x64(False):
        soft = dataclasses.replace(Softening.straight_through(reach=0.01), events=True)
        m = softsim.put_model(make())
        d = softsim.make_data(m)
        height = jnp.float32(1e-4)
        step = lambda h, s: softsim.step(m, d.replace(qpos=start(d.qpos, h - 2e-3)), s).qvel[:4]
        value, slope = jax.jit(
            lambda h: jax.jvp(lambda h: step(h, soft), (h,), (jnp.ones_like(h),))
        )(height)
        np.testing.assert_array_equal(value, jax.jit(lambda h: step(h, Softening.hard()))(height))
    assert np.isfinite(slope).all()
