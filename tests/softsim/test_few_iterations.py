"""A solver stopped short: the derivative is that of the value returned, for any `iterations`."""

from itertools import product

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim
from softsim.integrators import integrate_pos
from softsim.solver import FEW
from tests.softsim.models import mjx_model

# A trunk on legs whose feet are pressed onto the floor: servos with dry friction, two coupled hips,
# a knee near its limit. Ten steps from here meet stick and slip.
_LEG = """
<body pos="{x} {y} 0"><joint name="h{i}" axis="0 1 0" damping=".5" frictionloss=".2"/>
  <geom type="capsule" fromto="0 0 0 -.1 0 -.18" size=".025" mass=".6" class="ghost"/>
  <body pos="-.1 0 -.18"><joint name="k{i}" axis="0 1 0" damping=".5" {knee}/>
    <geom type="capsule" fromto="0 0 0 .1 0 -.18" size=".02" mass=".2" class="ghost"/>
    <geom size=".025" pos=".1 0 -.18" mass=".05"/></body></body>"""
_CORNERS = ((0.2, 0.12), (-0.2, -0.12), (0.2, -0.12), (-0.2, 0.12))
_KNEES = ('range="1 90" limited="true"', 'frictionloss=".1"', "", "")


def _robot(cone: str, solver: str, iterations: int, ls: int, legs: int = 4) -> mujoco.MjModel:
    leg = lambda i: _LEG.format(i=i, x=_CORNERS[i][0], y=_CORNERS[i][1], knee=_KNEES[i])
    servos = "".join(f'<position joint="{j}{i}" kp="60"/>' for i in range(legs) for j in "hk")
    return mujoco.MjModel.from_xml_string(
        f"""<mujoco><option timestep="0.004" cone="{cone}" solver="{solver}"
        iterations="{iterations}" ls_iterations="{ls}"/>
        <default><geom friction=".6 .02 .01" condim="3" solimp=".9 .95 .002"/>
          <default class="ghost"><geom contype="0" conaffinity="0"/></default></default>
        <worldbody><geom type="plane" size="5 5 1"/><body pos="0 0 .38"><freejoint/>
          <geom type="box" size=".25 .1 .05" mass="4" class="ghost"/>
          {"".join(map(leg, range(legs)))}</body></worldbody>
        <equality><joint joint1="h0" joint2="h1" polycoef="0 1 .2 0 0"/></equality>
        <actuator>{servos}</actuator></mujoco>"""
    )


def _check(mj_model: mujoco.MjModel, h: float = 1e-8) -> None:
    """The gradient of a loss after ten steps, by state, warm start, control and inertia, against
    central differences of the same rollout along random directions.

    A solver stopped short is a rugged function: the slopes reach 1e6, and differences need a step
    that small to stay between two kinks.
    """
    m = softsim.put_model(mj_model)
    d = softsim.make_data(m)
    rng = np.random.default_rng(0)
    sizes = [m.nv, m.nv, m.nv, m.nu, m.nbody]
    weight = jnp.asarray(rng.normal(size=m.nq + m.nv))
    qvel = jnp.asarray(rng.normal(size=m.nv) * 0.5)
    ctrl = jnp.asarray(rng.normal(size=(10, m.nu)) * 0.3)

    def loss(z: jax.Array) -> jax.Array:
        dq, dv, warm, du, dm = jnp.split(z, np.cumsum(sizes)[:-1])
        model = m.replace(body_mass=m.body_mass * jnp.exp(dm))
        start = d.replace(
            qpos=integrate_pos(m, d.qpos, dq, jnp.ones(())), qvel=qvel + dv, qacc_warmstart=warm
        )
        end, _ = softsim.rollout(model, start, ctrl + du)
        return weight @ jnp.concatenate([end.qpos, end.qvel])

    z = jnp.zeros(sum(sizes))
    directions = jnp.asarray(rng.normal(size=(6, z.size)))
    got = directions @ jax.jit(jax.grad(loss))(z)
    points = jnp.concatenate([z + h * directions, z - h * directions])
    plus, minus = jnp.split(jax.jit(jax.vmap(loss))(points), 2)
    want = (plus - minus) / (2 * h)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())


@pytest.mark.parametrize(
    ("cone", "solver", "iterations", "ls"),
    [("pyramidal", "Newton", 1, 5), ("elliptic", "CG", 3, 4)],
)
def test_gradient_of_a_rollout(cone, solver, iterations, ls):
    _check(_robot(cone, solver, iterations, ls, legs=2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cone", "solver", "iterations", "ls"),
    list(product(("pyramidal", "elliptic"), ("Newton", "CG"), (1, 2, 5), (4, 50))),
)
def test_gradient_of_a_quadruped(cone, solver, iterations, ls):
    _check(_robot(cone, solver, iterations, ls))


@pytest.mark.slow
@pytest.mark.parametrize("iterations", [1, 2, 5])
@pytest.mark.parametrize("name", ["humanoid/humanoid.xml", "barkour_v0/assets/barkour_v0_mjx.xml"])
def test_gradient_of_a_robot(name, iterations):
    mj_model = mjx_model(name)
    mj_model.opt.iterations, mj_model.opt.ls_iterations = iterations, 6
    _check(mj_model)


_SLIDER = """<mujoco><option timestep="0.004" iterations="{}" ls_iterations="{}" cone="{}"/>
<worldbody><geom type="plane" size="1 1 1"/><body pos="0 0 {}"><freejoint/><geom size=".1"/></body>
</worldbody></mujoco>"""


def _slide(iterations: int, ls: int, cone: str, height: float):
    xml = _SLIDER.format(iterations, ls, cone, height)
    m = softsim.put_model(mujoco.MjModel.from_xml_string(xml))
    d = softsim.make_data(m)

    def after(qvel: jax.Array) -> jax.Array:
        end, _ = softsim.rollout(m, d.replace(qvel=qvel), jnp.zeros((2, 0)))
        return end.qvel

    return after


def test_second_derivatives_and_modes():
    """Forward, reverse and mixed modes agree, to second order."""
    after = _slide(2, 3, "elliptic", 0.099)
    loss = lambda v: jnp.sum(jnp.sin(3 * after(v)))
    v = jnp.array([0.5, 0.1, -0.2, 0.3, 1.0, 0.2])
    forward, back = (jax.jit(f(after))(v) for f in (jax.jacfwd, jax.jacrev))
    np.testing.assert_allclose(forward, back, atol=1e-9)
    hessian = jax.jit(jax.hessian(loss))(v)
    gradient = jax.jit(jax.vmap(jax.grad(loss)))
    h = 1e-6
    want = (gradient(v + h * jnp.eye(6)) - gradient(v - h * jnp.eye(6))) / (2 * h)
    np.testing.assert_allclose(hessian, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("height", [0.099, 0.1, 0.3])
def test_values_do_not_depend_on_being_differentiated(height):
    """Pressed, just touching and out of reach: the same value, finite derivatives, float32 too."""
    after = _slide(3, 4, "pyramidal", height)
    v = jnp.array([0.5, 0.1, 0.0, 0.3, 1.0, 0.2])
    plain = jax.jit(after)(v)
    value, tangent = jax.jit(lambda v: jax.jvp(after, (v,), (jnp.ones(6),)))(v)
    np.testing.assert_allclose(plain, value, rtol=1e-12, atol=1e-12)
    assert np.isfinite(tangent).all()


def test_float32_is_finite():
    with jax.enable_x64(False):
        after = _slide(5, 6, "elliptic", 0.1)
        gradient = jax.jit(jax.grad(lambda v: jnp.sum(after(v))))
        for v in (jnp.zeros(6), jnp.array([0, 0, -0.1, 0, 0, 0.0]), jnp.ones(6)):
            assert np.isfinite(gradient(v)).all()


def test_the_rule_at_the_optimum_takes_over():
    """Above `FEW` rounds the derivative is the optimum's, and a converged solve has one answer."""
    v = jnp.array([0.5, 0.1, -0.2, 0.3, 1.0, 0.2])
    few, many = (jax.jit(jax.jacfwd(_slide(n, 10, "pyramidal", 0.099)))(v) for n in (FEW, FEW + 1))
    np.testing.assert_allclose(few, many, rtol=1e-7, atol=1e-9)
