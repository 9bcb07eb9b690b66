"""Forward sensitivities: the derivatives of rollouts, in one sweep."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

import softsim
from experiments._parameters import make_table
from experiments._sensitivity import depending, push, sweep, vary
from tests.experiments.test_sysid import ZOO

NAMES = ("friction:box", "timeconst:box", "size:box", "inertia:box", "damping:flap", "gravity")
STEPS, STARTS = 6, 2


def test_sweep_is_the_derivative_of_a_rollout() -> None:
    """A box and a flap that slide over the floor, with all kinds of parameters."""
    mj_model = mujoco.MjModel.from_xml_string(ZOO)
    m = softsim.put_model(mj_model)
    d = softsim.make_data(m)
    table = make_table(mj_model, NAMES, {}, {}, {}, 1.0)
    u = jnp.zeros(table.size)
    generator = np.random.default_rng(0)
    lower = m.qpos0.at[2].set(0.052)
    qpos = lower + 0.01 * generator.normal(size=(STARTS, m.nq))
    qvel = jnp.asarray(generator.normal(size=(STARTS, m.nv)))
    ctrl = jnp.zeros((STARTS, STEPS, 0))
    softening = softsim.Softening(collision=softsim.Part(skin=jnp.asarray(1.0)))
    shift = jnp.asarray(generator.normal(size=(STARTS, m.nv)))  # of the start, by u[0]

    @jax.jit
    def swept(u):
        along = jnp.eye(u.size)
        model = vary(lambda u: table.insert(m, u), u, along)
        begin = lambda q, v, s: push(lambda u: (q, v + u[0] * s), (u,), (along,))
        start, tangents = jax.vmap(begin)(qpos, qvel, shift)
        return sweep(model, d, start, tangents, ctrl, softening)

    @jax.jit
    def direct(u):
        def positions(u, q, v, s):
            now = d.replace(qpos=q, qvel=v + u[0] * s)
            path = softsim.rollout(table.insert(m, u), now, ctrl[0], softening)[1].qpos
            return path, path

        derivative = jax.jacfwd(positions, has_aux=True)
        return jax.vmap(lambda *x: derivative(u, *x))(qpos, qvel, shift)

    (path, slope), (true_slope, true_path) = swept(u), direct(u)
    np.testing.assert_allclose(path, true_path, atol=1e-12)
    true_slope = jnp.moveaxis(true_slope, -1, 2)
    np.testing.assert_allclose(slope, true_slope, rtol=1e-9, atol=1e-12)
    assert np.all(np.any(np.asarray(slope) != 0, axis=(0, 1, 3)))  # every parameter matters


def test_depending_results_are_told_from_constants() -> None:
    """Through calls and constants, and where the argument itself is a result."""

    def results(x):
        return [x, jnp.ones(3), jax.jit(jnp.sin)(x) + 1.0, jnp.arange(4) * 2, 3.0]

    assert depending(jax.make_jaxpr(results)(1.0)) == [0, 2]
