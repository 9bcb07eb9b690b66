"""Derivatives of the smooth dynamics: finite everywhere, and equal to central differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import softsim
from softsim import dynamics
from softsim.linear import solve_spd
from tests.softsim.dynamics.oracle import random_states, stages
from tests.softsim.dynamics.zoo import zoo

LEAVES = (
    "qpos0", "body_pos", "body_quat", "body_ipos", "body_iquat", "body_mass", "body_inertia",
    "jnt_pos", "jnt_axis", "dof_armature", "geom_pos", "geom_quat", "site_pos", "site_quat",
)  # fmt: skip
STATE = ("qpos", "qvel", "mocap_pos", "mocap_quat")
OUTPUTS = (
    "xquat", "xmat", "geom_xpos", "geom_xmat", "site_xpos", "xanchor", "xaxis", "subtree_com",
    "cdof", "cvel", "cdof_dot", "qfrc_bias",
)  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return softsim.put_model(zoo())


@pytest.fixture(scope="module")
def loss(model):
    """A scalar that weighs every output differently, of all inputs by name."""
    blank = softsim.make_data(model)
    rng = np.random.default_rng(3)
    points = jnp.asarray(rng.normal(size=(3, 3)))
    force = jnp.asarray(rng.normal(size=model.nv))

    def outputs(inputs):
        m = model.replace(**{name: inputs[name] for name in LEAVES})
        m = m.tree_replace({"opt.gravity": inputs["gravity"]})
        d = stages(m, blank.replace(**{name: inputs[name] for name in STATE}))
        jacobians = dynamics.relative_jacobians(m, d, points, np.array([0, 2, 4]), np.arange(3) + 3)
        energy = dynamics.potential_energy(m, d) + dynamics.kinetic_energy(m, d)
        qacc = solve_spd(d._impl.M, force)
        return [getattr(d, name) for name in OUTPUTS] + [d._impl.M, *jacobians, energy, qacc]

    shapes = jax.eval_shape(outputs, _inputs(model, blank))
    weights = [jnp.asarray(rng.normal(size=x.shape)) for x in shapes]
    return lambda inputs: sum(jnp.sum(w * x) for w, x in zip(weights, outputs(inputs)))


def _inputs(m, d) -> dict:
    inputs = {name: getattr(m, name) for name in LEAVES} | {"gravity": m.opt.gravity}
    return inputs | {name: getattr(d, name) for name in STATE}


@pytest.fixture(scope="module")
def value_and_grad(loss):
    return jax.jit(jax.value_and_grad(loss))


def _difference(f, h: float = 1e-4) -> float:
    """f'(0) by central differences of fourth order."""
    return (8 * (f(h) - f(-h)) - (f(2 * h) - f(-2 * h))) / (12 * h)


def test_gradients_equal_central_differences(model, value_and_grad):
    mj_model = zoo()
    inputs = _inputs(model, softsim.put_data(mj_model, random_states(mj_model, 1)[0]))
    _, grad = value_and_grad(inputs)
    rng = np.random.default_rng(4)
    for name, x in inputs.items():
        direction = rng.normal(size=x.shape)
        direction /= np.linalg.norm(direction)
        want = _difference(
            lambda h, name=name, x=x, v=direction: value_and_grad(inputs | {name: x + h * v})[0]
        )
        assert_allclose(jnp.sum(grad[name] * direction), want, rtol=2e-7, atol=2e-7, err_msg=name)


def test_gradients_are_finite_at_rest_and_without_mass(model, value_and_grad):
    inputs = _inputs(model, softsim.make_data(model))
    mass = inputs["body_mass"]
    for change in ({}, {"body_mass": mass.at[-1].set(0.0).at[4].set(0.0)}):
        for name, g in value_and_grad(inputs | change)[1].items():
            assert np.isfinite(g).all(), name


def test_second_derivatives_equal_central_differences(model, loss):
    mj_model = zoo()
    inputs = _inputs(model, softsim.put_data(mj_model, random_states(mj_model, 1)[0]))
    tangent = np.random.default_rng(5).normal(size=model.nq)

    def slope(qpos):
        """Forward mode inside; reverse mode outside."""
        f = lambda q: loss(inputs | {"qpos": q})
        return jax.jvp(f, (qpos,), (jnp.asarray(tangent),))[1]

    slope_and_grad = jax.jit(jax.value_and_grad(slope))
    qpos = inputs["qpos"]
    _, second = slope_and_grad(qpos)
    want = _difference(lambda h: slope_and_grad(qpos + h * tangent)[0])
    assert_allclose(second @ tangent, want, rtol=1e-6)
