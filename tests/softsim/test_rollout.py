"""Rollouts: same as steps, checkpointed or not, truncated where asked."""

import functools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim

CART = """<mujoco><option timestep=".02"/><worldbody>
<body><joint name="slide" type="slide" axis="1 0 0" damping=".1"/><geom size=".1" mass="1"/>
<body pos="0 0 .1"><joint type="hinge" axis="0 1 0"/><geom type="capsule" size=".02"
fromto="0 0 0 0 0 .5" mass=".1"/></body></body></worldbody>
<actuator><motor joint="slide"/></actuator></mujoco>"""
STEPS = 10


@pytest.fixture(scope="module")
def cart():
    m = softsim.put_model(mujoco.MjModel.from_xml_string(CART))
    d = softsim.make_data(m).replace(qpos=jnp.array([0.0, 0.3]))
    ctrl = jnp.asarray(np.random.default_rng(0).normal(size=(STEPS, 1)))
    return m, d, ctrl


def loss(m, d, ctrl, **options):
    final, trajectory = softsim.rollout(m, d, ctrl, **options)
    return jnp.sum(trajectory.qpos**2) + jnp.sum(final.qvel**2)


def test_rollout_is_repeated_steps(cart):
    m, d, ctrl = cart
    final, trajectory = jax.jit(softsim.rollout)(m, d, ctrl)
    step = jax.jit(softsim.step)
    for t in range(STEPS):
        d = step(m, d.replace(ctrl=ctrl[t]))
        np.testing.assert_allclose(trajectory.qpos[t], d.qpos, rtol=1e-12)
    np.testing.assert_allclose(trajectory.time, m.opt.timestep * (1 + np.arange(STEPS)))
    np.testing.assert_allclose(final.qvel, d.qvel, rtol=1e-12)


@pytest.fixture(scope="module")
def value_and_grad(cart):
    """Value and gradient in the controls, by options of the rollout; each compiled once."""
    m, d, ctrl = cart

    @functools.cache
    def by_segment(segment):
        run = jax.value_and_grad(lambda u: loss(m, d, u, segment=segment))
        return jax.jit(run)(ctrl)

    return by_segment


SLOW = [pytest.param(n, marks=pytest.mark.slow) for n in (1, 5, 100)]


@pytest.mark.parametrize("segment", [4, *SLOW])
def test_checkpoints_change_memory_not_values(value_and_grad, segment):
    (a, da), (b, db) = value_and_grad(None), value_and_grad(segment)
    np.testing.assert_allclose(a, b, rtol=1e-12)
    np.testing.assert_allclose(da, db, rtol=1e-10)


def test_truncation_stops_the_flow_back(cart):
    m, d, ctrl = cart
    last = lambda u, **o: softsim.rollout(m, d, u, **o)[0].qpos[1]
    grad = jax.jit(jax.grad(lambda u: last(u, truncate=4)))(ctrl)
    assert not np.any(grad[:8]) and np.all(grad[8:])


def test_batches_by_vmap(cart):
    m, d, ctrl = cart
    batch = jnp.stack([ctrl, 2 * ctrl])
    _, both = jax.jit(jax.vmap(softsim.rollout, in_axes=(None, None, 0)))(m, d, batch)
    _, one = jax.jit(softsim.rollout)(m, d, 2 * ctrl)
    np.testing.assert_allclose(both.qpos[1], one.qpos, rtol=1e-10)


@pytest.mark.parametrize(
    "ctrl, options, message",
    [
        (np.zeros((3, 2)), {}, r"ctrl: got shape \(3, 2\), expected \(T, 1\)"),
        (np.zeros(3), {}, r"ctrl: got shape \(3,\)"),
        (np.zeros((0, 1)), {}, r"ctrl: got shape \(0, 1\)"),
        (np.full((3, 1), np.nan), {}, r"ctrl, entry 0, is nan"),
        (np.zeros((3, 1)), {"segment": 0}, "segment: got 0, expected at least 1"),
        (np.zeros((3, 1)), {"truncate": -1}, "truncate: got -1"),
    ],
)
def test_bad_input(cart, ctrl, options, message):
    m, d, _ = cart
    with pytest.raises(ValueError, match=message):
        softsim.rollout(m, d, ctrl, **options)
