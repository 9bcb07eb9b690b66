"""Adaptive integration: closed forms, MuJoCo at a tiny step, derivatives, reported failures."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from numpy.testing import assert_allclose

import softsim
from softsim.adaptive import Adaptive, integrate, rotation_vector_rate

TOP = """
<mujoco><option timestep="{dt}" integrator="RK4" gravity="0 0 -9.81"/>
  <worldbody><body><joint type="ball" damping=".01"/>
    <geom type="box" size=".1 .07 .03" pos=".05 .1 .2" mass="1" contype="0" conaffinity="0"/>
    <body pos=".1 0 .2"><joint axis="0 1 0" stiffness="2"/>
      <geom size=".03" pos="0 0 .2" mass=".3" contype="0" conaffinity="0"/></body>
  </body></worldbody>
</mujoco>"""

CART = """
<mujoco><option gravity="0 0 0"/>
  <worldbody><body><joint name="x" type="slide" axis="1 0 0"/>
    <geom size=".1" mass="2" contype="0" conaffinity="0"/></body></worldbody>
  <actuator><motor joint="x"/></actuator>
</mujoco>"""


_field = softsim.forward


def _put(xml: str):
    mj_model = mujoco.MjModel.from_xml_string(xml)
    m = softsim.put_model(mj_model)
    return mj_model, m, softsim.make_data(m)


@pytest.fixture(scope="module")
def top():
    mj_model, m, d = _put(TOP.format(dt=1e-5))
    d = d.replace(qvel=jnp.array([1.0, -2.0, 9.0, 1.5]))

    @jax.jit
    def end(tol, qvel):
        config = Adaptive(tol, tol, method="tsit5")
        after = integrate(config, _field, m, d.replace(qvel=qvel), jnp.asarray(0.2), d.ctrl, d.ctrl)
        return after.qpos, after.qvel

    return mj_model, d, end


def test_converges_to_mujoco_with_the_tolerance(top):
    mj_model, d, end = top
    state = mujoco.MjData(mj_model)
    state.qvel[:] = d.qvel
    for _ in range(20000):
        mujoco.mj_step(mj_model, state)
    want = np.concatenate([state.qpos, state.qvel])
    errors = [np.abs(np.concatenate(end(tol, d.qvel)) - want).max() for tol in (1e-3, 1e-6, 1e-10)]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert errors[2] < 1e-8
    assert_allclose(jnp.linalg.norm(end(1e-3, d.qvel)[0][:4]), 1.0, rtol=1e-14)


def test_gradient_equals_central_difference(top):
    _, d, end = top
    loss = lambda v: jnp.sum(jnp.concatenate(end(1e-9, v)) ** 2)
    v, h = jnp.array([0.3, -0.5, 0.2, 0.7]), 1e-5
    want = (loss(d.qvel + h * v) - loss(d.qvel - h * v)) / (2 * h)
    assert_allclose(jax.jit(jax.grad(loss))(d.qvel) @ v, want, rtol=1e-5)


@pytest.mark.parametrize("control", ["zoh", "linear"])
def test_control_over_the_interval(control):
    """x'' = u / m: u constant, or u0 + (u1 - u0) t / T."""
    _, m, d = _put(CART)
    config = Adaptive(1e-9, 1e-9, control=control)
    u0, u1, dt, mass = 3.0, -5.0, 0.5, 2.0
    after = jax.jit(lambda a, b: integrate(config, _field, m, d, jnp.asarray(dt), a, b))(
        jnp.array([u0]), jnp.array([u1])
    )
    slope = 0.0 if control == "zoh" else (u1 - u0) / dt
    assert_allclose(after.qvel, [(u0 * dt + slope * dt**2 / 2) / mass], rtol=1e-8)
    assert_allclose(after.qpos, [(u0 * dt**2 / 2 + slope * dt**3 / 6) / mass], rtol=1e-8)
    assert_allclose(after.time, dt)


def test_too_few_steps_are_reported(top):
    mj_model, d, _ = top
    m = softsim.put_model(mj_model)
    config = Adaptive(1e-10, 1e-10, max_steps=2)
    with pytest.raises(Exception, match=r"max_steps|maximum number of solver steps"):
        after = jax.jit(
            lambda d: integrate(config, _field, m, d, jnp.asarray(0.2), d.ctrl, d.ctrl)
        )(d)
        jax.block_until_ready(after.qpos)


@pytest.mark.parametrize("angle", [0.0, 1e-3, 0.3, 3.0])
def test_rotation_vector_rate_is_the_inverse_of_the_exponential(angle):
    """exp(v(t + h)) = exp(v(t)) exp(h w), by central difference of the logarithm."""
    from softsim.rotations import quat_exp, quat_mul, quat_to_rotvec

    axis = np.array([1.0, -2.0, 2.0]) / 3
    turn, spin, h = jnp.asarray(angle * axis)[:, None], jnp.array([[0.3], [0.5], [-0.7]]), 1e-5
    log = jax.jit(lambda s: quat_to_rotvec(quat_mul(quat_exp(turn), quat_exp(s * h * spin)))[:, 0])
    want = (log(1) - log(-1)) / (2 * h)
    assert_allclose(rotation_vector_rate(turn, spin)[:, 0], want, atol=1e-9)


@pytest.mark.parametrize("bad", [{"method": "euler"}, {"control": "spline"}, {"max_steps": 0}])
def test_bad_settings_are_named(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Adaptive(**bad)


PENDULUM = """
<mujoco><option integrator="Euler"/>
  <worldbody><body><joint axis="0 1 0"/><joint type="slide" axis="1 0 0" stiffness="3"/>
    <geom size=".1" pos="0 0 -.5" mass="1" contype="0" conaffinity="0"/></body></worldbody>
</mujoco>"""


@pytest.fixture(scope="module")
def swing():
    """Where a pendulum on a sprung slide is after a quarter of a second, by forward mode."""
    _, m, d = _put(PENDULUM)
    config = Adaptive(1e-11, 1e-11, method="dopri5", derivative="forward")

    def end(qvel, dt, mass):
        heavier = m.replace(body_mass=m.body_mass.at[1].set(mass))
        return integrate(config, _field, heavier, d.replace(qvel=qvel), dt, d.ctrl, d.ctrl).qpos

    return end, (jnp.array([2.0, -0.5]), jnp.asarray(0.25), jnp.asarray(1.0))


def test_forward_mode_equals_central_differences(swing):
    """With respect to state, length of the interval and a leaf of the model, many at once."""
    end, at = swing
    run, h = jax.jit(end), 1e-5
    got = jax.jit(jax.jacfwd(end, argnums=(0, 1, 2)))(*at)
    got = jnp.concatenate([got[0], got[1][:, None], got[2][:, None]], axis=1)
    for i, (dv, dt, dm) in enumerate([((h, 0), 0, 0), ((0, h), 0, 0), ((0, 0), h, 0),
                                      ((0, 0), 0, h)]):  # fmt: skip
        ends = [run(at[0] + s * jnp.array(dv), at[1] + s * dt, at[2] + s * dm) for s in (1, -1)]
        assert_allclose(got[:, i], (ends[0] - ends[1]) / (2 * h), rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_forward_mode_to_second_order(swing):
    end, (qvel, *rest) = swing
    slope = jax.jit(jax.jacfwd(lambda v: end(v, *rest)))
    got = jax.jit(jax.jacfwd(jax.jacfwd(lambda v: end(v, *rest))))(qvel)
    for i, h in enumerate(1e-4 * np.eye(2)):
        want = (slope(qvel + h) - slope(qvel - h)) / 2e-4
        assert_allclose(got[:, :, i], want, rtol=1e-5, atol=1e-7)


def test_derivatives_do_not_change_the_steps(swing):
    """Error control looks at the state alone: the value is the same, bit for bit or nearly."""
    end, at = swing
    value, _ = jax.jit(lambda v: jax.jvp(lambda v: end(v, *at[1:]), (v,), (v,)))(at[0])
    assert_allclose(value, jax.jit(end)(*at), rtol=1e-14)
