"""A solver stopped short: the derivative is that of the value returned, for any `iterations`."""

import dataclasses
from itertools import product
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim
from softsim import notice
from softsim.convergence import stopped_short
from softsim.integrators import integrate_pos
from softsim.linear import solve_spd
from softsim.solver import FEW, Problem, solve
from tests.softsim.models import mjx_model
from tests.softsim.test_forces import _rows as every_row

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
        f"""<mujoco model="few"><option timestep="0.004" cone="{cone}" solver="{solver}"
        iterations="{iterations}" ls_iterations="{ls}" tolerance="1e-14"/>
        <default><geom friction=".6 .02 .01" condim="3" solimp=".9 .95 .002"/>
          <default class="ghost"><geom contype="0" conaffinity="0"/></default></default>
        <worldbody><geom type="plane" size="5 5 1"/><body pos="0 0 .38"><freejoint/>
          <geom type="box" size=".25 .1 .05" mass="4" class="ghost"/>
          {"".join(map(leg, range(legs)))}</body></worldbody>
        <equality><joint joint1="h0" joint2="h1" polycoef="0 1 .2 0 0"/></equality>
        <actuator>{servos}</actuator></mujoco>"""
    )


def _check(mj_model: mujoco.MjModel) -> None:
    """The gradient of a loss after ten steps, by state, warm start, control and inertia, against
    central differences of the same rollout along random directions.

    A solver stopped short is a rugged function: slopes reach 1e8, and a difference must stay within
    a small change of the outcome. (Robots here have a small tolerance: where it is met, and how far
    a line search goes, values jump by up to it.)
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

    # off the symmetric pose, where limits and shapes meet exactly
    z = 0.02 * jnp.asarray(rng.normal(size=sum(sizes)))
    directions = jnp.asarray(rng.normal(size=(6, z.size)))
    got = directions @ jax.jit(jax.grad(loss))(z)
    h = float(np.clip(1e-2 / np.abs(got).max(), 1e-11, 1e-7))
    points = jnp.concatenate([z + h * directions, z - h * directions])
    plus, minus = jnp.split(jax.jit(jax.vmap(loss))(points), 2)
    want = (plus - minus) / (2 * h)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())


@pytest.mark.slow
def test_gradient_of_a_rollout():
    _check(_robot("pyramidal", "Newton", iterations=1, ls=5, legs=2))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cone", "solver", "iterations", "ls"),
    list(product(("pyramidal", "elliptic"), ("Newton", "CG"), (1, 2, 5), (8, 50))),
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


NV = 5


def _problem(z: jax.Array) -> tuple[Problem, jax.Array]:
    """Rows of every kind and a warm start, all of them functions of z (16,)."""
    rng = np.random.default_rng(2)
    given = every_row()
    n = given.n
    scale = jnp.exp(z[0] * rng.normal(size=n))
    # rows of one cone keep their ratios
    for adr, dim in zip(given.cone_adr, given.cone_dim):
        scale = scale.at[adr : adr + dim].set(scale[adr])
    rows = dataclasses.replace(
        given,
        J=jnp.asarray(rng.normal(size=(n, NV))) + z[1] * rng.normal(size=(n, NV)),
        D=3.0 * given.D * scale,
        aref=jnp.asarray(rng.normal(size=n)) + z[2] * rng.normal(size=n),
        frictionloss=given.frictionloss * (1 + z[3]),
    )
    root = jnp.asarray(rng.normal(size=(NV, NV))) + z[4] * rng.normal(size=(NV, NV))
    force = 4.0 * rng.normal(size=NV) + z[5 : 5 + NV]
    problem = Problem(root @ root.T + jnp.eye(NV), force, rows)
    return problem, jnp.asarray(rng.normal(size=NV)) + z[5 + NV : 5 + 2 * NV]


def _solve(solver: str, iterations: int, ls: int):
    opt = SimpleNamespace(
        solver=getattr(mujoco.mjtSolver, f"mjSOL_{solver}"),
        iterations=iterations,
        ls_iterations=ls,
        tolerance=1e-8,
        ls_tolerance=0.01,
        disableflags=0,
    )

    def run(z: jax.Array) -> jax.Array:
        problem, warm = _problem(z)
        smooth = solve_spd(problem.M, problem.qfrc_smooth)
        return solve(SimpleNamespace(opt=opt), problem, smooth, warm).qacc

    return run


ZERO = jnp.zeros(5 + 2 * NV)


@pytest.mark.parametrize(
    ("solver", "iterations", "ls"),
    [
        ("NEWTON", 1, 3),
        pytest.param("NEWTON", 2, 50, marks=pytest.mark.slow),
        pytest.param("CG", 3, 4, marks=pytest.mark.slow),
        pytest.param("CG", 3, 12, marks=pytest.mark.slow),
        ("CG", 2, 50),
    ],
)
def test_derivative_by_all_that_a_solve_depends_on(solver, iterations, ls):
    """Every leaf of the problem and the warm start, forward and reverse, against differences."""
    run = _solve(solver, iterations, ls)
    h = 1e-7
    points = jnp.vstack([h * jnp.eye(ZERO.size), -h * jnp.eye(ZERO.size)])
    values = jax.jit(jax.vmap(run))(points)
    want = ((values[: ZERO.size] - values[ZERO.size :]) / (2 * h)).T
    forward, value = jax.jit(jax.jacfwd(lambda z: (run(z), run(z)), has_aux=True))(ZERO)
    np.testing.assert_allclose(value, jax.jit(run)(ZERO), rtol=1e-12)
    np.testing.assert_allclose(forward, want, atol=1e-6 * np.abs(want).max())
    np.testing.assert_allclose(jax.jit(jax.jacrev(run))(ZERO), forward, rtol=1e-8, atol=1e-9)


@pytest.mark.slow
def test_second_derivatives():
    run = _solve("NEWTON", 2, 3)
    loss = lambda z: jnp.sum(jnp.sin(run(z)))
    hessian = jax.jit(jax.hessian(loss))(ZERO)
    gradient = jax.jit(jax.vmap(jax.grad(loss)))
    h = 1e-6
    shift = h * jnp.eye(ZERO.size)
    want = (gradient(shift) - gradient(-shift)) / (2 * h)
    np.testing.assert_allclose(hessian, want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_the_rule_at_the_optimum_takes_over():
    """Above `FEW` rounds the derivative is the optimum's, and a converged solve has one answer."""
    few, many = (jax.jit(jax.jacfwd(_solve("NEWTON", n, 10)))(ZERO) for n in (FEW, FEW + 1))
    np.testing.assert_allclose(few, many, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("solver", "ls"),
    [
        ("NEWTON", 4),
        ("CG", 4),
        *(pytest.param(s, 12, marks=pytest.mark.slow) for s in ("NEWTON", "CG")),
    ],
)
def test_float32_is_finite_at_the_optimum_and_far_from_it(solver, ls):
    """Starting from the optimum, where every search direction is rounding, and from far away."""
    with jax.enable_x64(False):
        zero = jnp.zeros(ZERO.size)
        run = _solve(solver, 5, ls)
        start = _solve("NEWTON", 30, 30)(zero) - _problem(zero)[1]
        far = (1e3 * jnp.ones_like(zero)).at[:5].set(0.0)
        points = jnp.stack([zero.at[5 + NV :].set(start), zero, far])
        gradient = jax.jit(jax.vmap(jax.jacrev(run)))(points)
        assert np.isfinite(gradient).all()


@pytest.mark.slow
def test_float32_is_finite_pressed_touching_and_out_of_reach():
    with jax.enable_x64(False):
        m = softsim.put_model(
            mujoco.MjModel.from_xml_string(
                """<mujoco><option iterations="5" ls_iterations="6" cone="elliptic"/><worldbody>
                <geom type="plane" size="1 1 1"/><body pos="0 0 .1"><freejoint/><geom size=".1"/>
                </body></worldbody></mujoco>"""
            )
        )
        d = softsim.make_data(m)

        def loss(x: jax.Array) -> jax.Array:
            start = d.replace(qpos=d.qpos.at[2].add(x[0]), qvel=x[1:])
            return jnp.sum(softsim.rollout(m, start, jnp.zeros((2, 0)))[0].qvel)

        points = jnp.array([[dz, 0, 0, vz, 0, 0, w] for dz in (-1e-3, 0.0, 1.0)
                            for vz in (0.0, -0.1) for w in (0.0, 1.0)])  # fmt: skip
        assert np.isfinite(jax.jit(jax.vmap(jax.grad(loss)))(points)).all()


def test_the_doctor_names_an_unfinished_solve_first():
    m = softsim.put_model(_robot("pyramidal", "Newton", iterations=1, ls=5, legs=2))
    d = softsim.make_data(m)
    (said,) = stopped_short(m, d, softsim.Softening.hard(), steps=3)
    assert said.startswith("the solver stopped at 1 of 1 iterations in 3 of 3 steps, residual")
    assert "set iterations=" in said
    finished = m.replace(opt=m.opt.replace(iterations=30))
    assert stopped_short(finished, d, softsim.Softening.hard(), steps=3) == ()


def test_put_model_says_once_that_iterations_are_few(caplog):
    mj_model = _robot("pyramidal", "Newton", iterations=1, ls=7, legs=2)
    with caplog.at_level("WARNING", logger="softsim"):
        notice._told.clear()
        for _ in range(2):
            softsim.put_model(mj_model)
    (record,) = caplog.records
    assert "model few: iterations=1 is likely to stop" in record.getMessage()
