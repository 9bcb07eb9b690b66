"""Identification from outside: an arm that MuJoCo C simulated, its parameters known."""

from pathlib import Path

import jax
import mujoco
import numpy as np
import pytest

from softsim import sysid
from tests.softsim.sysid.models import ARM, swings

TRUTH = {"damping:shoulder": 0.3, "frictionloss:elbow": 0.12, "mass:fore": 0.7}
IDLE = "friction:upper"  # of a link that touches nothing
LENGTHS = (60, 60, 45, 60)


def arm(damping: float, friction: float, mass: float) -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(ARM.format(damping=damping, friction=friction, mass=mass))


@pytest.fixture(scope="module")
def recordings() -> list[sysid.Recording]:
    """Without velocities; one is shorter."""
    found = swings(arm(0.3, 0.12, 0.7), LENGTHS, 0.02)
    return [sysid.Recording(qpos=r.qpos, ctrl=r.ctrl, dt=r.dt) for r in found]


@pytest.fixture(scope="module")
def fit(recordings: list[sysid.Recording]) -> sysid.Fit:
    """From a model with no friction in the elbow, in a session of single precision."""
    with jax.enable_x64(False):
        found = sysid.identify(
            arm(0.1, 0.0, 1.1), recordings, [*TRUTH, IDLE],
            start={"frictionloss:elbow": 0.02}, window=60,
        )  # fmt: skip
        assert jax.numpy.zeros(1).dtype == np.float32
    return found


def test_an_arm_is_recovered(fit: sysid.Fit, tmp_path: Path) -> None:
    """Exact data, from six times off: to a thousandth, and the intervals hold the truth."""
    assert fit.converged
    for name, truth in TRUTH.items():
        assert fit.values[name] == pytest.approx(truth, rel=1e-3)
        assert fit.intervals[name][0] <= truth <= fit.intervals[name][1]
    assert fit.values[IDLE] == 1.0 and len(fit.sure.weak) == 1
    report = fit.report()
    assert "The data determine friction:upper not at all" in report
    assert all(name in report for name in fit.values)
    assert fit.errors().max() < 0.1 < np.median(fit.errors(fit.given)[:, 1])  # degrees
    assert fit.model.body("fore").mass[0] == fit.values["mass:fore"]
    fit.to_mjcf(tmp_path / "fitted.xml")
    written = mujoco.MjModel.from_xml_path(str(tmp_path / "fitted.xml"))
    np.testing.assert_allclose(written.dof_frictionloss[1], 0.12, rtol=1e-3)


@pytest.mark.parametrize("noise", [3e-4, 3e-3])
def test_noise_is_seen_and_allowed_for(
    fit: sysid.Fit, recordings: list[sysid.Recording], noise: float
) -> None:
    """By one compiled program; the prior is the default one."""
    generator = np.random.default_rng(3)
    noisy = [
        sysid.Recording(
            qpos=r.qpos + noise * generator.normal(size=r.qpos.shape), ctrl=r.ctrl, dt=r.dt
        )
        for r in recordings
    ]
    again = sysid.refit(fit, noisy)
    assert again.converged and not again.point.stalled
    sure, truth = again.sure, np.array(list(TRUTH.values()))
    assert ((sure.low[:3] <= truth) & (truth <= sure.high[:3])).all(), sure
    off = np.abs(np.log(sure.values[:3] / truth))
    assert (off < 4 * np.maximum(sure.white, sure.sandwich)[:3]).all()
    # a multiple of the assumed 2 degrees; samples weigh less where parameters may differ (`spread`)
    assert 0.5 * noise < sure.noise * np.radians(2) < 1.1 * noise + 1e-5
    with pytest.raises(ValueError, match=r"recordings\[0\].dt: got 0.01 s, expected 0.02 s"):
        sysid.refit(fit, [sysid.Recording(qpos=noisy[0].qpos, ctrl=noisy[0].ctrl, dt=0.01)])


@pytest.mark.slow
@pytest.mark.parametrize("servo", [False, True])
@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_other_arms(servo: bool, noise: float) -> None:
    """Motors and position servos, velocities recorded with noise, many parameters."""
    motors = '<motor name="shoulder" joint="shoulder"/><motor name="elbow" joint="elbow"/>'
    servos = """<position name="shoulder" joint="shoulder" kp="{kp}" kv="1"/>
        <position name="elbow" joint="elbow" kp="20" kv="1"/>"""
    truth = {"damping:elbow": 0.15, "armature:shoulder": 0.02, "inertia:fore": 0.004}
    truth |= {"kp:shoulder": 30.0} if servo else {"mass:fore": 0.7, "gear:elbow": -1.0}

    def model(armature: float, kp: float, damping: float) -> mujoco.MjModel:
        xml = ARM.format(damping=0.3, friction=0.12, mass=0.7)
        xml = xml.replace(motors, servos.format(kp=kp)) if servo else xml
        assert servo is False or "position" in xml
        found = mujoco.MjModel.from_xml_string(xml)
        found.dof_damping[1], found.dof_armature[0] = damping, armature
        return found

    real = model(0.02, 30.0, 0.15)
    real.body("fore").inertia *= 0.004 / real.body("fore").inertia[0]
    mujoco.mj_setConst(real, mujoco.MjData(real))
    guess = model(0.03, 20.0, 0.08)
    if not servo:
        real.actuator("elbow").gear[0], guess.actuator("elbow").gear[0] = -1.0, -1.5
        guess.body("fore").mass *= 1.4
    generator = np.random.default_rng(0)
    noisy = lambda x, deviation: x + deviation * generator.normal(size=x.shape)
    recordings = [
        sysid.Recording(qpos=noisy(r.qpos, noise), qvel=noisy(r.qvel, 10 * noise), ctrl=r.ctrl,
                        dt=r.dt)
        for r in swings(real, (300, 200, 400), 0.01)
    ]  # fmt: skip
    fit = sysid.identify(guess, recordings, list(truth))
    for name, value in truth.items():
        assert fit.values[name] == pytest.approx(value, rel=0.02 if noise else 1e-3), fit.report()
        assert fit.intervals[name][0] <= value <= fit.intervals[name][1], fit.report()
