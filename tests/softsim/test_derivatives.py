"""`linearize` and the gradient doctor, against MuJoCo's finite differences and planted faults."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim
from softsim.integrators import difference_pos
from tests.softsim.models import MIXED

BALL = """<mujoco><option timestep=".004"/><worldbody><geom type="plane" size="1 1 1"/>
<body pos="0 0 {height}"><joint name="z" type="slide" axis="0 0 1"/>
<geom size=".1" mass="1"/></body>
</worldbody><actuator><motor joint="z"/></actuator></mujoco>"""


def ball(height: float):
    m = softsim.put_model(mujoco.MjModel.from_xml_string(BALL.format(height=height)))
    return m, softsim.make_data(m)


@pytest.mark.parametrize("name", ["pyramidal", pytest.param("elliptic", marks=pytest.mark.slow)])
def test_linearize_like_mujoco(name):
    mj_model = mujoco.MjModel.from_xml_string(MIXED[name])
    mj_data = mujoco.MjData(mj_model)
    m = softsim.put_model(mj_model)
    linearize = jax.jit(softsim.linearize)
    n = 2 * mj_model.nv
    for _ in range(5):
        mujoco.mj_step(mj_model, mj_data, 3)
        assert mj_data.ncon > 0
        A, B = linearize(m, softsim.put_data(mj_model, mj_data))
        want = np.zeros((n, n))
        mujoco.mjd_transitionFD(mj_model, mj_data, 1e-6, True, want, None, None, None)
        assert np.linalg.norm(A - want) < 1e-4 * np.linalg.norm(want)
        assert B.shape == (n, 0)


def test_difference_pos_like_mujoco():
    mj_model = mujoco.MjModel.from_xml_string(MIXED["rows"])
    m = softsim.put_model(mj_model)
    rng = np.random.default_rng(0)
    q1, q2 = mj_model.qpos0.copy(), mj_model.qpos0.copy()
    mujoco.mj_integratePos(mj_model, q1, rng.normal(size=mj_model.nv), 1.0)
    mujoco.mj_integratePos(mj_model, q2, rng.normal(size=mj_model.nv), 1.0)
    want = np.zeros(mj_model.nv)
    mujoco.mj_differentiatePos(mj_model, want, 1.0, q1, q2)
    got = jax.jit(lambda a, b: difference_pos(m, a, b))(jnp.asarray(q1), jnp.asarray(q2))
    np.testing.assert_allclose(got, want, atol=1e-12)
    zero = jax.jit(jax.jacfwd(lambda q: difference_pos(m, jnp.asarray(q1), q)))(jnp.asarray(q1))
    assert np.isfinite(zero).all()


def test_doctor_finds_a_resting_ball_healthy():
    m, d = ball(0.0995)
    report = softsim.check_gradients(m, d)
    assert report.healthy, str(report)
    verdicts = {(f.stage, f.wrt): f.verdict for f in report.findings}
    assert verdicts["next state", "control"] == "ok"
    assert verdicts["poses", "velocity"] == "zero"
    assert "solimp[0] is 0.9" in str(report)


def test_doctor_sees_that_no_contact_is_felt():
    m, d = ball(0.3)
    report = softsim.check_gradients(m, d)
    assert any("nearest is 0.2 m away" in advice for advice in report.advice)


def test_doctor_sees_a_jump():
    """Exactly touching: the default solimp switches the force on with a jump."""
    m, d = ball(0.1)
    d = d.replace(qvel=jnp.array([-1.0]))
    report = softsim.check_gradients(m, d)
    assert not report.healthy
    assert any(f.verdict == "jump nearby" and f.stage == "acceleration" for f in report.findings)
    assert any("just touch" in advice for advice in report.advice)
