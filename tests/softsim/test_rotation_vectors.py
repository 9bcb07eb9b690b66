"""Every use of the rotation vector of a quaternion, at the identity, beside it, and at half a turn:
values against MuJoCo C, derivatives against differences of MuJoCo C.

The bodies rest, so that nothing but the rotation vectors decides.
"""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from numpy.testing import assert_allclose

import softsim
from softsim import dynamics
from softsim.integrators import integrate_pos
from softsim.rotations import quat_to_rotvec

USES = {
    "spring": 'stiffness="3"',
    "nonlinear spring": 'stiffness="3 1 .5"',
    "limit": 'limited="true" range="0 2.9" margin=".01"',
    "servo": "",
    "servo in the parent's frame": "",
    "sites": "",
    "sites, also apart": "",
    "weld": "",
}
N = len(USES)
GEOM = '<geom type="box" size=".1 .15 .2" pos=".1 .05 .02" mass="2"/>'


def _scene() -> mujoco.MjModel:
    bodies = "".join(
        f'<body name="{n}" pos="0 {i} 0"><joint name="{n}" type="ball" {joint}/>{GEOM}'
        f'<site name="{n}" pos=".1 0 .2"/></body><site name="{n} post" pos="0 {i} 0"/>'
        for i, (n, joint) in enumerate(USES.items())
    )
    servo = 'kp="9" kv="1" gear="{}"'.format
    return mujoco.MjModel.from_xml_string(f"""<mujoco>
      <option timestep=".002" integrator="implicitfast" iterations="100" tolerance="0"/>
      <default><geom contype="0" conaffinity="0"/></default>
      <worldbody>{bodies}
        <body name="free" pos="2 0 0"><joint type="free" stiffness="4 1 .5"/>{GEOM}</body>
      </worldbody>
      <equality><weld body1="weld" solref=".1 1" solimp=".9 .9 .1"/></equality>
      <actuator>
        <position joint="servo" {servo("1 2 -1 0 0 0")}/>
        <position jointinparent="servo in the parent's frame" {servo("1 2 -1 0 0 0")}/>
        <position site="sites" refsite="sites post" {servo("0 0 0 1 -2 .5")}/>
        <position site="sites, also apart" refsite="sites, also apart post"
          {servo("1 2 3 1 -2 .5")}/>
      </actuator>
      <sensor>
        <ballquat joint="spring"/>
        <framequat objtype="body" objname="limit" reftype="body" refname="weld"/>
        <framequat objtype="site" objname="sites"/>
      </sensor></mujoco>""")


# rotation vectors of all bodies
AXIS = np.array([0.48, -0.6, 0.64])
CASES = {
    "identity": 0.0 * AXIS,
    "1e-12 away": 1e-12 * AXIS,
    "1e-5 away": 1e-5 * AXIS,
    "some turn": np.array([0.7, -0.3, 0.5]),
    "almost half a turn": (np.pi - 1e-5) * AXIS,
}


def _state(mj_model: mujoco.MjModel, quat: np.ndarray, dq: np.ndarray) -> mujoco.MjData:
    mj_data = mujoco.MjData(mj_model)
    quats = np.concatenate([4 * np.arange(N), [4 * N + 3]])[:, None] + np.arange(4)
    mj_data.qpos[quats] = quat
    mujoco.mj_integratePos(mj_model, mj_data.qpos, dq, 1.0)
    mj_data.ctrl[:] = 0.3
    return mj_data


def _in_c(mj_model: mujoco.MjModel, quat: np.ndarray, dq: np.ndarray) -> list[np.ndarray]:
    mj_data = _state(mj_model, quat, dq)
    mujoco.mj_forward(mj_model, mj_data)
    mujoco.mj_energyPos(mj_model, mj_data)
    found = [mj_data.qfrc_passive.copy(), mj_data.actuator_length.copy(),
             mj_data.sensordata.copy(), mj_data.energy[:1].copy()]  # fmt: skip
    mujoco.mj_step(mj_model, mj_data)
    return [*found, mj_data.qvel / mj_model.opt.timestep]


@pytest.fixture(scope="module")
def scene():
    mj_model = _scene()
    m = softsim.put_model(mj_model)

    def parts(d, dq):
        d = d.replace(qpos=integrate_pos(m, d.qpos, dq, jnp.ones(())))
        after = softsim.step(m, d)  # all but the state is of the start of the step
        energy = dynamics.potential_energy(m, after.replace(qpos=d.qpos))[None]
        qacc = after.qvel / m.opt.timestep
        return after.qfrc_passive, after.actuator_length, after.sensordata, energy, qacc

    zero = jnp.zeros(mj_model.nv)
    push = jax.jit(lambda d, v: jax.jvp(lambda dq: parts(d, dq), (zero,), (v,)))
    weigh = lambda found: sum(jnp.sum(jnp.sin(jnp.arange(x.size)) * x) for x in found)
    pull = jax.jit(jax.grad(lambda dq, d: weigh(parts(d, dq))))
    blank = softsim.make_data(m)

    def data(quat):
        state = _state(mj_model, quat, np.zeros(mj_model.nv))
        return blank.replace(qpos=jnp.asarray(state.qpos), ctrl=jnp.asarray(state.ctrl))

    return mj_model, data, push, lambda d: pull(zero, d), weigh


def _quat(case: str) -> np.ndarray:
    turn, quat = CASES[case], np.zeros(4)
    angle = np.linalg.norm(turn)
    mujoco.mju_axisAngle2Quat(quat, turn / angle if angle else AXIS, angle)
    return quat


@pytest.mark.parametrize("case", CASES)
def test_value_and_derivative_equal_mujoco(scene, case):
    mj_model, data, push, *_ = scene
    quat, h = _quat(case), 1e-6
    v = np.random.default_rng(4).normal(size=mj_model.nv)
    value, slope = push(data(quat), v)
    above, below = (_in_c(mj_model, quat, s * v) for s in (h, -h))
    for got, want in zip(value, _in_c(mj_model, quat, 0 * v)):
        assert_allclose(got, want, rtol=1e-8, atol=1e-9)
    for got, up, down in zip(slope, above, below):
        assert_allclose(got, (up - down) / (2 * h), rtol=1e-5, atol=1e-5)


def test_at_half_a_turn_the_derivatives_are_of_one_side(scene):
    """There the rotation vector jumps from pi to -pi; back towards the identity it does not."""
    mj_model, data, push, *_ = scene
    quat, h = np.concatenate([[0.0], AXIS]), 1e-6
    v = np.tile(-AXIS, N + 2)
    v[3 * N : 3 * N + 3] = 0.1
    value, slope = push(data(quat), v)
    here, back = _in_c(mj_model, quat, 0 * v), _in_c(mj_model, quat, h * v)
    for got, want in zip(value, here):
        assert_allclose(got, want, rtol=1e-8, atol=1e-9)
    for got, start, end in zip(slope, here, back):
        assert_allclose(got, (end - start) / h, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_reverse_mode_equals_forward_mode(scene, case):
    mj_model, data, push, pull, weigh = scene
    d, v = data(_quat(case)), np.random.default_rng(4).normal(size=mj_model.nv)
    assert_allclose(pull(d) @ v, weigh(push(d, v)[1]), rtol=1e-8)


def test_series_and_closed_form_meet():
    """Value, gradient and curvature of the rotation vector on both sides of the seam, and at 0."""
    axis = jnp.asarray(AXIS)
    quat = lambda x: jnp.concatenate([jnp.cos(x / 2)[None], jnp.sin(x / 2) * axis])
    turn = lambda x: quat_to_rotvec(3.0 * quat(x)) @ axis  # of any length
    all_of = jax.jit(jax.vmap(lambda x: (turn(x), jax.grad(turn)(x), jax.hessian(turn)(x))))
    x = jnp.asarray([0.0, 1e-12, 1e-6, 0.0199, 0.0200, 0.0201, 0.3, 3.0])
    value, first, second = all_of(x)
    assert_allclose(value, x, rtol=1e-14, atol=1e-16)
    assert_allclose(first, 1.0, rtol=1e-12)
    assert_allclose(second, 0.0, atol=1e-10)
