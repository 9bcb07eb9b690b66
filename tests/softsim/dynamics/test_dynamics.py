"""Every quantity of the smooth dynamics against MuJoCo C, in float64."""

import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from numpy.testing import assert_allclose

import softsim
from softsim import dynamics
from tests.softsim.dynamics.oracle import FIELDS, full_mass_matrix, random_states, stages
from tests.softsim.dynamics.zoo import zoo
from tests.softsim.models import GYMNASIUM, gymnasium_model, mjx_model

TOLERANCE = 1e-10
MODELS = {
    "zoo": zoo,
    "no_gravity": functools.partial(zoo, flag='gravity="disable"'),
    **{name: functools.partial(gymnasium_model, name) for name in ("hopper", "ant", "humanoid")},
    "barkour": functools.partial(mjx_model, "barkour_v0/assets/barkour_v0_mjx.xml"),
    "convex": functools.partial(mjx_model, "convex.xml"),
    "constraints": functools.partial(mjx_model, "constraints.xml"),
}
SLOW = {
    name: functools.partial(mjx_model, name)
    for name in (
        "humanoid/humanoid.xml",
        "shadow_hand/scene_right.xml",
        "actuator/arm26.xml",
        "tendon/tendon.xml",
        "pendula.xml",
    )
} | {name: functools.partial(gymnasium_model, name) for name in GYMNASIUM if name not in MODELS}


def _load(build) -> mujoco.MjModel:
    """The model with a solver MJX accepts and without contacts: neither is used here.

    MuJoCo neglects offsets of some nm, left over from compiling a mesh; they are taken away.
    """
    mj_model = build()
    mj_model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    for offset in (mj_model.body_ipos, mj_model.geom_pos):
        offset[np.abs(offset) < 1e-7] = 0
    mj_model.geom_contype[:] = 0
    mj_model.geom_conaffinity[:] = 0
    return mj_model


def _check(build) -> None:
    mj_model = _load(build)
    states = random_states(mj_model, 3)
    m = softsim.put_model(mj_model)
    batch = [softsim.put_data(mj_model, state) for state in states]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *batch)
    points = np.random.default_rng(1).normal(size=(mj_model.nbody, 3))
    body = np.arange(mj_model.nbody)

    def everything(d):
        d = stages(m, d)
        return d, dynamics.point_jacobians(m, d, jnp.asarray(points), body)

    out, jacobians = jax.jit(jax.vmap(everything))(batch)
    for i, state in enumerate(states):
        d, (jacp, jacr) = jax.tree.map(lambda x, i=i: np.asarray(x[i]), (out, jacobians))
        scale = max(1.0, np.abs(state.qfrc_bias).max(initial=0), np.abs(state.xpos).max())
        close = functools.partial(assert_allclose, rtol=0, atol=TOLERANCE * scale)
        for name in FIELDS:
            want = np.asarray(getattr(state, name))
            close(getattr(d, name).reshape(want.shape), want, err_msg=name)
        close(d._impl.cinert[1:], state.cinert[1:], err_msg="cinert")
        close(d._impl.crb[1:], state.crb[1:], err_msg="crb")
        mass = full_mass_matrix(mj_model, state)
        close(d._impl.M, mass, err_msg="M")
        want_p, want_r = np.zeros((2, 3, mj_model.nv))
        for b in body:
            mujoco.mj_jac(mj_model, state, want_p, want_r, points[b], b)
            close(jacp[b], want_p, err_msg="jacp")
            close(jacr[b], want_r, err_msg="jacr")


@pytest.mark.parametrize("name", MODELS)
def test_equals_mujoco(name):
    _check(MODELS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_equals_mujoco_more_models(name):
    _check(SLOW[name])


def test_relative_jacobian_is_a_difference():
    mj_model = zoo()
    m = softsim.put_model(mj_model)
    d = softsim.put_data(mj_model, random_states(mj_model, 1)[0])
    points = jnp.asarray(np.random.default_rng(2).normal(size=(3, 3)))
    body1, body2 = np.array([0, 2, 5]), np.array([1, 4, 7])

    def both(d, traced1, traced2):
        d = dynamics.com_pos(m, dynamics.kinematics(m, d))
        one = dynamics.point_jacobians(m, d, points, body1)
        two = dynamics.point_jacobians(m, d, points, traced2)
        return dynamics.relative_jacobians(m, d, points, traced1, body2), one, two

    relative, one, two = jax.jit(both)(d, jnp.asarray(body1), jnp.asarray(body2))
    for r, a, b in zip(relative, one, two):
        assert_allclose(r, b - a, rtol=0, atol=1e-14)


def test_energy_equals_mujoco():
    mj_model = zoo()
    m = softsim.put_model(mj_model)
    state = random_states(mj_model, 1)[0]
    mujoco.mj_energyPos(mj_model, state)
    mujoco.mj_energyVel(mj_model, state)

    def energy(d):
        d = dynamics.mass_matrix(m, dynamics.com_pos(m, dynamics.kinematics(m, d)))
        d = d.replace(ten_length=jnp.asarray(state.ten_length))
        return dynamics.potential_energy(m, d), dynamics.kinetic_energy(m, d)

    got = jax.jit(energy)(softsim.put_data(mj_model, state))
    assert_allclose(got, state.energy, rtol=1e-12)


def test_quaternions_come_back_normalised_and_zero_counts_as_identity():
    mj_model = zoo()
    m = softsim.put_model(mj_model)
    d = softsim.make_data(m)
    start = int(m.jnt_qposadr[np.flatnonzero(m.jnt_type == mujoco.mjtJoint.mjJNT_BALL)[0]])
    long = d.replace(qpos=d.qpos.at[3:7].multiply(3.0).at[start : start + 4].set(0.0))
    qpos = jax.jit(lambda d: dynamics.kinematics(m, d).qpos)(long)
    assert_allclose(qpos[3:7], d.qpos[3:7], atol=1e-15)
    assert_allclose(qpos[start : start + 4], [1, 0, 0, 0], atol=0)


@pytest.mark.parametrize("x64", [True, False])
def test_dtype_follows_the_switch(x64):
    with jax.enable_x64(x64):
        m = softsim.put_model(zoo())
        out = jax.eval_shape(lambda d: stages(m, d), softsim.make_data(m))
        want = jnp.zeros(()).dtype
        for name in (*FIELDS, "qpos"):
            assert getattr(out, name).dtype == want, name
        assert out._impl.M.dtype == out._impl.cinert.dtype == want
