"""One step of every integrator against MuJoCo C, without constraints; derivatives against
differences."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from numpy.testing import assert_allclose

import softsim
from softsim.integrators import integrate_pos
from tests.softsim.dynamics.oracle import random_states
from tests.softsim.dynamics.zoo import zoo

CASES = {
    "euler": {},
    "euler_explicit": {"flag": 'eulerdamp="disable"'},
    "implicitfast": {"option": 'integrator="implicitfast"'},
    "rk4": {"option": 'integrator="RK4"'},
}


SLOW = pytest.param("euler_explicit", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", ["euler", "implicitfast", "rk4", SLOW])
def test_step_equals_mujoco(name):
    mj_model = zoo(**CASES[name])
    m = softsim.put_model(mj_model)
    step = jax.jit(jax.vmap(lambda d: softsim.step(m, d)))
    states = random_states(mj_model, 3)
    after = step(
        jax.tree.map(lambda *x: jnp.stack(x), *(softsim.put_data(mj_model, s) for s in states))
    )
    for i, state in enumerate(states):
        mujoco.mj_step(mj_model, state)
        for field in ("time", "qvel", "act", "qpos"):
            want = getattr(state, field)
            assert_allclose(getattr(after, field)[i], want, rtol=1e-10, atol=1e-10, err_msg=field)


@pytest.mark.parametrize("name", ["implicitfast", pytest.param("rk4", marks=pytest.mark.slow)])
def test_gradient_equals_central_difference(name):
    mj_model = zoo(**CASES[name])
    m = softsim.put_model(mj_model)
    d = softsim.put_data(mj_model, random_states(mj_model, 1)[0])
    weight = np.random.default_rng(6).normal(size=m.nq + m.nv)

    def loss(x):
        model = m.replace(dof_damping=x["damping"]).tree_replace({"opt.timestep": x["dt"]})
        after = softsim.step(model, d.replace(qpos=x["qpos"], qvel=x["qvel"], ctrl=x["ctrl"]))
        return weight @ jnp.concatenate([after.qpos, after.qvel])

    x = {"qpos": d.qpos, "qvel": d.qvel, "ctrl": d.ctrl, "damping": m.dof_damping,
         "dt": m.opt.timestep}  # fmt: skip
    value_and_grad = jax.jit(jax.value_and_grad(loss))
    _, grad = value_and_grad(x)
    rng, h = np.random.default_rng(7), 1e-6
    for key, value in x.items():
        v = rng.normal(size=np.shape(value))
        above, below = (value_and_grad(x | {key: value + s * v})[0] for s in (h, -h))
        got = jnp.sum(grad[key] * v)
        assert_allclose(got, (above - below) / (2 * h), rtol=1e-5, atol=1e-6, err_msg=key)


def test_integrate_pos_at_rest_has_the_derivatives_of_the_exponential():
    """Zero velocity: q = (1, v/2) to first order, and w = 1 - v^2 / 8 to second."""
    mj_model = mujoco.MjModel.from_xml_string(
        '<mujoco><worldbody><body><joint type="ball"/><geom size=".1"/></body></worldbody></mujoco>'
    )
    m = softsim.put_model(mj_model)
    start = jnp.array([1.0, 0, 0, 0])
    f = lambda v: integrate_pos(m, start, v, jnp.ones(()))
    first, second = jax.jit(lambda v: (jax.jacfwd(f)(v), jax.hessian(f)(v)))(jnp.zeros(3))
    assert_allclose(first, np.eye(4, 3, -1) / 2, atol=1e-15)
    assert_allclose(second[0], -np.eye(3) / 4, atol=1e-15)


def test_integrate_pos_equals_mujoco():
    mj_model = zoo()
    m = softsim.put_model(mj_model)
    state = random_states(mj_model, 1)[0]
    move = jax.jit(lambda qpos, qvel: integrate_pos(m, qpos, qvel, jnp.asarray(0.3)))
    for scale in (1.0, 1e-3, 1e-9):
        want = state.qpos.copy()
        mujoco.mj_integratePos(mj_model, want, scale * state.qvel, 0.3)
        got = move(jnp.asarray(state.qpos), scale * jnp.asarray(state.qvel))
        assert_allclose(got, want, atol=1e-14)
