"""Forward sensitivities: the derivatives of rollouts, in one sweep."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

import softsim
from softsim.sysid.mjcf import pick, to_mujoco
from softsim.sysid.parameters import make_table
from softsim.sysid.sensitivity import push, sweep, vary
from tests.softsim.sysid.models import ZOO

NAMES = ("friction:box", "timeconst:box", "size:box", "inertia:box", "damping:hinge", "gravity")
STEPS, STARTS, STEP = 6, 2, 1e-5


def test_sweep_is_the_derivative_of_rollouts_in_mujoco() -> None:
    """A box and a flap that slide over the floor; central differences of MuJoCo C."""
    mj_model = mujoco.MjModel.from_xml_string(ZOO.split("<actuator>")[0] + "</mujoco>")
    m = softsim.put_model(mj_model)
    d = softsim.make_data(m)
    table = make_table(mj_model, NAMES)
    generator = np.random.default_rng(0)
    qpos = np.array(m.qpos0) + 0.01 * generator.normal(size=(STARTS, m.nq))
    qpos[:, 2] = 0.052
    qpos[:, 3:7] /= np.linalg.norm(qpos[:, 3:7], axis=1, keepdims=True)
    qvel = generator.normal(size=(STARTS, m.nv))
    ctrl = np.zeros((STARTS, STEPS, 0))
    shift = generator.normal(size=(STARTS, m.nv))  # of the start, by u[0]

    @jax.jit
    def swept(u):
        along = jnp.eye(u.size)
        model = vary(table.insert, m, u, along)
        begin = lambda q, v, s: push(lambda u: (q, v + u[0] * s), (u,), (along,))
        start, tangents = jax.vmap(begin)(qpos, qvel, shift)
        skin = softsim.Softening(collision=softsim.Part(skin=jnp.asarray(1.0)))
        return sweep(model, d, start, tangents, jnp.asarray(ctrl), skin)

    leaves = jax.jit(lambda u: pick(table.insert(m, u)))

    def simulated(u):
        model = to_mujoco(mj_model, leaves(u))
        path = np.zeros((STARTS, STEPS, m.nq))
        for i in range(STARTS):
            data = mujoco.MjData(model)
            data.qpos, data.qvel = qpos[i], qvel[i] + u[0] * shift[i]
            for k in range(STEPS):
                mujoco.mj_step(model, data)
                path[i, k] = data.qpos
        return path

    path, slope = swept(jnp.zeros(table.size))
    np.testing.assert_allclose(path, simulated(np.zeros(table.size)), atol=1e-9)
    for i, step in enumerate(STEP * np.eye(table.size)):
        difference = (simulated(step) - simulated(-step)) / (2 * STEP)
        scale = np.abs(difference).max()
        assert scale > 0  # every parameter matters
        np.testing.assert_allclose(slope[:, :, i], difference, atol=1e-4 * scale)
