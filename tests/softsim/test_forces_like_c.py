"""Every actuator under every limit, every transmission and passive force, by every integrator:
the next state and its derivatives against MuJoCo C, in one scene of unconnected mechanisms."""

import copy

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from numpy.testing import assert_allclose

import softsim
from softsim import dynamics
from softsim.integrators import integrate_pos
from tests.softsim.mechanisms import LIMITS, MECHANISMS, scene

slow = lambda *values, id: pytest.param(*values, id=id, marks=pytest.mark.slow)
WET = 'density="50" viscosity=".4" wind=".2 .3 0"'
SETTINGS = [
    pytest.param("implicitfast", "", "", id="implicitfast"),
    slow("implicitfast", "", WET, id="implicitfast in a fluid"),
    slow("implicitfast", 'spring="disable"', WET, id="implicitfast without springs"),
    slow("implicitfast", 'damper="disable"', WET, id="implicitfast without dampers"),
    slow("implicitfast", 'spring="disable" damper="disable"', WET, id="implicitfast, not passive"),
    slow("implicitfast", 'actuation="disable"', "", id="implicitfast without actuation"),
    slow("implicitfast", 'clampctrl="disable"', "", id="implicitfast, controls not clamped"),
    slow("Euler", "", "", id="Euler"),
    slow("Euler", 'eulerdamp="disable"', "", id="Euler, explicit"),
    slow("Euler", 'damper="disable"', "", id="Euler without dampers"),
    slow("RK4", "", "", id="RK4"),
]
STEPS = 3


def _in_c(mj_model: mujoco.MjModel, start: mujoco.MjData, z: np.ndarray, steps: int = 1):
    """State `steps` steps after a start displaced by z: (dq, dv, da, du)."""
    mj_data = mujoco.MjData(mj_model)
    sizes = np.cumsum([mj_model.nv, mj_model.nv, mj_model.na])
    dq, dv, da, du = np.split(z, sizes)
    mj_data.qpos[:] = start.qpos
    mujoco.mj_integratePos(mj_model, mj_data.qpos, dq, 1.0)
    mj_data.qvel[:], mj_data.act[:] = start.qvel + dv, start.act + da
    mj_data.ctrl[:] = start.ctrl + du
    for _ in range(steps):
        mujoco.mj_step(mj_model, mj_data)
    return np.concatenate([mj_data.qpos, mj_data.qvel, mj_data.act])


def _names(mj_model: mujoco.MjModel) -> np.ndarray:
    """Whose entry of the state each one is, to find a wrong mechanism."""
    at = np.repeat(np.arange(mj_model.njnt), np.diff(np.append(mj_model.jnt_qposadr, mj_model.nq)))
    name = lambda joint: mj_model.jnt(int(joint)).name
    act = [f"activation {i}" for i in range(mj_model.na)]
    return np.array([*map(name, at), *map(name, mj_model.dof_jntid), *act])


def _assert_close(mj_model, got, want, rtol, atol):
    wrong = ~np.isclose(got, want, rtol=rtol, atol=atol)
    worst = np.abs(np.asarray(got) - want).max()
    assert not wrong.any(), f"{sorted(set(_names(mj_model)[wrong]))}, off by up to {worst}"


def _flow(m, d, z):
    """The next state as a function of a displacement (dq, dv, da, du)."""
    dq, dv, da, du = jnp.split(z, np.cumsum([m.nv, m.nv, m.na]))
    qpos = integrate_pos(m, d.qpos, dq, jnp.ones(()))
    moved = d.replace(qpos=qpos, qvel=d.qvel + dv, act=d.act + da, ctrl=d.ctrl + du)
    after = softsim.step(m, moved)
    return jnp.concatenate([after.qpos, after.qvel, after.act])


@pytest.mark.parametrize("integrator, flag, option", SETTINGS)
def test_steps_equal_mujoco(integrator, flag, option):
    mj_model, start = scene(integrator, flag, option)
    m, d = softsim.put_model(mj_model), softsim.put_data(mj_model, start)
    step = jax.jit(lambda d: softsim.step(m, d))
    zero = np.zeros(2 * mj_model.nv + mj_model.na + mj_model.nu)
    for steps in range(1, STEPS + 1):
        d = step(d)
        state = np.concatenate([d.qpos, d.qvel, d.act])
        _assert_close(mj_model, state, _in_c(mj_model, start, zero, steps), 1e-10, 1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("integrator, flag, option", SETTINGS)
def test_derivatives_equal_mujoco(integrator, flag, option):
    mj_model, start = scene(integrator, flag, option)
    m, d = softsim.put_model(mj_model), softsim.put_data(mj_model, start)
    zero = np.zeros(2 * mj_model.nv + mj_model.na + mj_model.nu)
    # one direction for all mechanisms: they do not feel each other
    v = np.random.default_rng(0).normal(size=zero.size)
    slope = jax.jit(lambda v: jax.jvp(lambda z: _flow(m, d, z), (zero,), (v,))[1])(v)
    # fourth order: stiff servos curve a second-order difference by more than rounding
    h = 2e-6
    c = lambda x: _in_c(mj_model, start, x * h * v)
    want = (8 * (c(1) - c(-1)) - (c(2) - c(-2))) / (12 * h)
    _assert_close(mj_model, slope, want, 1e-6, 1e-6)


@pytest.mark.slow
def test_reverse_mode_equals_forward_mode():
    mj_model, start = scene("implicitfast", option=WET)
    m, d = softsim.put_model(mj_model), softsim.put_data(mj_model, start)
    rng = np.random.default_rng(1)
    zero = jnp.zeros(2 * mj_model.nv + mj_model.na + mj_model.nu)
    v, w = rng.normal(size=zero.size), rng.normal(size=mj_model.nq + mj_model.nv + mj_model.na)
    slope = jax.jit(lambda v: jax.jvp(lambda z: _flow(m, d, z), (zero,), (v,))[1])(v)
    pull = jax.jit(jax.grad(lambda z: w @ _flow(m, d, z)))(zero)
    assert_allclose(pull @ v, w @ slope, rtol=1e-12)


def test_potential_energy_equals_mujoco():
    mj_model, start = scene("Euler")
    m, d = softsim.put_model(mj_model), softsim.put_data(mj_model, start)

    @jax.jit
    def energy(d):
        d = dynamics.com_pos(m, dynamics.kinematics(m, d))
        return dynamics.potential_energy(m, dynamics.tendon(m, d))

    mujoco.mj_fwdPosition(mj_model, start)
    mujoco.mj_energyPos(mj_model, start)
    assert_allclose(energy(d), start.energy[0], rtol=1e-13)


def test_every_limit_is_active():
    """The table is of limits that act: without them C moves elsewhere."""
    for limit in LIMITS[1:]:
        table = {n: x for n, x in MECHANISMS.items() if n.endswith(f" {limit}")}
        mj_model, start = scene("implicitfast", mechanisms=table)
        free = _unlimited(mj_model)
        zero = np.zeros(2 * mj_model.nv + mj_model.na + mj_model.nu)
        moved = np.abs(_in_c(mj_model, start, zero, 2) - _in_c(free, start, zero, 2)) > 1e-9
        names = _names(mj_model)
        for name in table:
            assert moved[names == name].any(), name


def _unlimited(mj_model: mujoco.MjModel) -> mujoco.MjModel:
    free = copy.copy(mj_model)
    for field in ("actuator_ctrllimited", "actuator_actlimited", "actuator_forcelimited",
                  "jnt_actfrclimited", "tendon_actfrclimited"):  # fmt: skip
        getattr(free, field)[:] = 0
    return free


SERVO = """<mujoco><option timestep=".002" integrator="{}"/><worldbody><body>
  <joint name="j" axis="0 1 0" {}/><geom type="capsule" size=".05" fromto="0 0 0 .4 0 0" mass="2"/>
  <body pos=".4 0 0"><joint name="k" axis="0 1 0"/><geom size=".05" mass=".5"/></body></body>
  </worldbody><actuator><position joint="j" kp="4500" kv="450" {}/>
  <general joint="k" dyntype="filter" dynprm=".1" gainprm="3" biastype="affine"
    biasprm="0 -2 -40"/></actuator></mujoco>"""
LIMITED = [("", 'forcerange="-87 87"'), slow('actuatorfrcrange="-87 87"', "", id="joint")]


@pytest.mark.parametrize("integrator", ["implicitfast", slow("Euler", id="Euler")])
@pytest.mark.parametrize("joint, servo", LIMITED)
def test_linearization_of_a_saturated_servo_equals_mujoco(integrator, joint, servo):
    mj_model = mujoco.MjModel.from_xml_string(SERVO.format(integrator, joint, servo))
    start = mujoco.MjData(mj_model)
    start.ctrl[:], start.qpos[:], start.qvel[:] = [0.5, 0.4], [0.1, -0.3], [0.2, 0.7]
    m, d = softsim.put_model(mj_model), softsim.put_data(mj_model, start)
    got = jax.jit(softsim.linearize)(m, d)
    n = 2 * mj_model.nv + mj_model.na
    want = np.zeros((n, n)), np.zeros((n, mj_model.nu))
    mujoco.mjd_transitionFD(mj_model, start, 1e-6, True, *want, None, None)
    for found, expected in zip(got, want):
        assert_allclose(found, expected, rtol=1e-6, atol=1e-7)


@pytest.mark.slow
def test_derivatives_at_rest_in_the_default_pose_equal_mujoco():
    """Where all start: zero velocity, springs and transmissions at the identity. Not of muscles:
    there the slope of their force over velocity has a kink.
    """
    table = {n: x for n, x in MECHANISMS.items() if "muscle" not in n}
    mj_model, start = scene("implicitfast", option=WET, mechanisms=table)
    start.qpos[:], start.qvel[:], start.ctrl[:], start.act[:] = mj_model.qpos0, 0, 0.2, 0.1
    m, d = softsim.put_model(mj_model), softsim.put_data(mj_model, start)
    zero, h = np.zeros(2 * mj_model.nv + mj_model.na + mj_model.nu), 1e-6
    v = np.random.default_rng(0).normal(size=zero.size)
    slope = jax.jit(lambda v: jax.jvp(lambda z: _flow(m, d, z), (zero,), (v,))[1])(v)
    want = (_in_c(mj_model, start, h * v) - _in_c(mj_model, start, -h * v)) / (2 * h)
    _assert_close(mj_model, slope, want, 1e-5, 1e-5)
