"""The noslip solver against MuJoCo C, and its derivative against central differences."""

import itertools

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim

# a shape slides down a tilted plane with an arm whose joints have friction loss
XML = """<mujoco><option timestep=".004" noslip_iterations="{sweeps}" tolerance="1e-14"
  noslip_tolerance="{tolerance}" {cone}/>
<worldbody><geom type="plane" size="1 1 1" euler="20 5 0" condim="{dim}"/>
<body pos="0 0 {height}" euler="20 5 0"><freejoint/>
<geom type="{shape}" size=".1 .08 .06" condim="{dim}" friction=".6 .02 .01"/>
<body pos=".2 0 0"><joint axis="0 1 0" frictionloss=".3"/><joint axis="0 0 1" frictionloss=".2"/>
<geom size=".02" contype="0" conaffinity="0"/></body></body></worldbody></mujoco>"""
CONES = {"pyramidal": "", "elliptic": 'cone="elliptic" impratio="4"'}
HEIGHTS = {"box": 0.0599, "sphere": 0.0999}


def made(shape: str, cone: str, dim: int, sweeps: int, tolerance: float):
    xml = XML.format(
        sweeps=sweeps, tolerance=tolerance, cone=CONES[cone], dim=dim, shape=shape,
        height=HEIGHTS[shape],
    )  # fmt: skip
    m = mujoco.MjModel.from_xml_string(xml)
    d = mujoco.MjData(m)
    d.qvel[:] = np.random.default_rng(0).normal(size=m.nv) * 0.1
    return m, d


def compare(shape: str, cone: str, dim: int, sweeps: int, tolerance: float) -> None:
    m, d = made(shape, cone, dim, sweeps, tolerance)
    plain, without = made(shape, cone, dim, 0, tolerance)
    ours = jax.jit(softsim.step)(softsim.put_model(m), softsim.put_data(m, d))
    mujoco.mj_step(m, d)
    mujoco.mj_step(plain, without)
    assert np.abs(without.qvel - d.qvel).max() > 1e-4  # noslip matters here
    np.testing.assert_allclose(ours.qvel, d.qvel, atol=1e-8)


# a sphere has one contact: no order of contacts to differ in while the sweeps have not converged
CASES = [
    *itertools.product(("sphere",), CONES, (3, 4, 6), (3,), (0.0,)),
    *itertools.product(("sphere",), CONES, (4,), (1, 20), (0.0, 1e-3)),
    *itertools.product(("box",), CONES, (3, 4, 6), (300,), (0.0,)),
]
FAST = [("sphere", "elliptic", 4, 20, 1e-3)]


@pytest.mark.parametrize(
    "case", [c if c in FAST else pytest.param(c, marks=pytest.mark.slow) for c in CASES]
)
def test_velocity_as_in_mujoco(case):
    compare(*case)


@pytest.mark.parametrize("cone", [pytest.param("pyramidal", marks=pytest.mark.slow), "elliptic"])
def test_derivative_is_that_of_the_sweeps(cone):
    m, d = made("sphere", cone, 3, 3, 0.0)
    model, data = softsim.put_model(m), softsim.put_data(m, d)
    move = lambda v: softsim.step(model, data.replace(qvel=v)).qvel
    both = jax.jit(lambda v: (jax.jacfwd(move)(v), jax.jacrev(move)(v)))
    step = 1e-6
    shifts = step * jnp.concatenate([jnp.eye(m.nv), -jnp.eye(m.nv)])
    values = jax.jit(jax.vmap(move))(data.qvel + shifts)
    central = (values[: m.nv] - values[m.nv :]).T / (2 * step)
    for found in both(data.qvel):
        np.testing.assert_allclose(found, central, atol=1e-6)


@pytest.mark.parametrize("x64", [True, False])
def test_nothing_touches(x64):
    with jax.enable_x64(x64):
        m, d = made("sphere", "elliptic", 4, 3, 0.0)
        d.qpos[2] = 1.0
        model, data = softsim.put_model(m), softsim.put_data(m, d)
        loss = lambda v: jnp.sum(softsim.step(model, data.replace(qvel=v)).qvel)
        assert np.isfinite(jax.jit(jax.grad(loss))(data.qvel)).all()
