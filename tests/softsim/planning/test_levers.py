"""Servos with limited forces: iLQR plans them as well as motors of the same forces."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim
from softsim import planning
from softsim.planning.levers import SHARE, levers

GOAL, STEPS = 0.1, 40  # m; 0.8 s, in which 1 N moves 1 kg from rest to rest by 0.16 m
BODY = """<body pos="0 {0} 0"><joint name="j{0}" type="slide" axis="1 0 0" {1}/>
<geom size=".1" mass="1"/></body>"""
LIMITED = 'actuatorfrcrange="-1 1"'
ACTUATORS = (
    '<motor joint="j0" ctrlrange="-1 1"/>',
    '<position joint="j1" kp="1000" kv="5" forcerange="-1 1"/>',
    '<position joint="j2" kp="500" ctrlrange="-1 1" forcerange="-1 1"/>',
    '<position joint="j3" kp="800" gear="-2" ctrlrange="-1 1" forcerange="-.5 .5"/>',
    '<position joint="j4" kp="900" gear=".5" kv="3"/>',  # its joint is limited
    '<velocity joint="j5" kv="3" forcerange="-1 1"/>',
    '<general joint="j6" gainprm="700" biastype="affine" biasprm=".3 -600 -2" forcerange="-1 1"/>',
)
MODEL = f"""<mujoco><option timestep="0.02" gravity="0 0 0" integrator="implicitfast"/><worldbody>
{"".join(BODY.format(i, LIMITED if i == 4 else "") for i in range(len(ACTUATORS)))}</worldbody>
<actuator>{"".join(ACTUATORS)}</actuator></mujoco>"""


@pytest.fixture(scope="module")
def m():
    return softsim.put_model(mujoco.MjModel.from_xml_string(MODEL))


def test_actions_of_servos_are_their_forces(m) -> None:
    """Against `actuator_force`, times the gear; and controls become what they were."""
    lever = levers(m)
    np.testing.assert_array_equal(lever.servos, np.arange(1, len(ACTUATORS)))
    d = softsim.make_data(m)
    d = d.replace(qpos=0.05 * jnp.arange(m.nq), qvel=0.1 * jnp.cos(jnp.arange(m.nv)))
    x = planning.Task(model=m, start=d, cost=lambda d, u: 0.0 * u[0]).state
    action = jnp.linspace(-0.9, 0.9, m.nu)
    ctrl = lever.asked(x, action)
    np.testing.assert_allclose(lever.from_ctrl(x, ctrl), action, atol=1e-12)
    force = jax.jit(softsim.forward)(m, d.replace(ctrl=lever.to_ctrl(x, action))).qfrc_actuator
    expected = action * jnp.array([1, *[SHARE * s for s in (1, 1, -1, 1, 1, 1)]])
    np.testing.assert_allclose(force, expected, atol=1e-12)


def test_servos_are_planned_as_well_as_a_motor(m) -> None:
    task = planning.Task(
        model=m,
        start=softsim.make_data(m),
        cost=lambda d, u: 1e-4 * d.qvel @ d.qvel,
        final=lambda d: 100 * jnp.sum((d.qpos - GOAL) ** 2) + 10 * d.qvel @ d.qvel,
    )
    plan = planning.ilqr(task, jnp.zeros((STEPS, m.nu)), iterations=30)
    c = mujoco.MjModel.from_xml_string(MODEL)
    data = mujoco.MjData(c)
    for ctrl in np.asarray(plan.ctrl):
        data.ctrl[:] = ctrl
        mujoco.mj_step(c, data)
    assert abs(data.qpos[0] - GOAL) < 1e-3 and abs(data.qvel[0]) < 1e-2
    np.testing.assert_allclose(data.qpos, GOAL, atol=1e-3)
    np.testing.assert_allclose(data.qvel, 0.0, atol=1e-2)
