"""Planners against oracles: SciPy's Riccati equation, bounded quadratic programs, least squares."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize

import softsim
from softsim import planning
from softsim.planning.riccati import Expansion, Value, gains, riccati
from softsim.planning.sampling import noisy
from softsim.planning.task import actions

CART = """
<mujoco model="cart">
  <option timestep="0.05"/>
  <worldbody>
    <body> <joint name="x" type="slide" axis="1 0 0" damping="0.2"/>
      <geom type="sphere" size="0.1" mass="1"/> <site name="tip" pos="0.1 0 0"/> </body>
  </worldbody>
  <actuator>
    <motor joint="x" gear="2" ctrlrange="-0.5 1"/>
    <general joint="x" gainprm="3" dyntype="filter" dynprm="0.1" biastype="affine"/>
  </actuator>
</mujoco>
"""
STEPS = 10


@pytest.fixture(scope="module")
def cart() -> planning.Task:
    """Linear dynamics with an activation, a quadratic cost, one control in a range, one free."""
    m = softsim.put_model(mujoco.MjModel.from_xml_string(CART))
    start = softsim.make_data(m).replace(qpos=jnp.array([0.2]), qvel=jnp.array([0.5]))
    cost = lambda d, u: d.site_xpos[0, 0] ** 2 + 0.01 * u @ u + d.act @ d.act
    final = lambda d: 10 * d.qpos @ d.qpos + 10 * d.qvel @ d.qvel
    return planning.Task(m, start, cost, final, softsim.Softening.hard(), substeps=2)


def residuals(ctrl: np.ndarray) -> np.ndarray:
    """Whose squares are the cost, by MuJoCo C; affine in the controls."""
    mj_model = mujoco.MjModel.from_xml_string(CART)
    data, found = mujoco.MjData(mj_model), []
    data.qpos, data.qvel = 0.2, 0.5
    for u in ctrl:
        mujoco.mj_kinematics(mj_model, data)
        found += [data.site_xpos[0, 0], *(0.1 * u), *data.act]
        data.ctrl = u
        mujoco.mj_step(mj_model, data, 2)
    return np.array([*found, np.sqrt(10) * data.qpos[0], np.sqrt(10) * data.qvel[0]])


@pytest.fixture(scope="module")
def optimum() -> tuple[np.ndarray, float]:
    """Controls and cost of the bounded least-squares problem, by SciPy."""
    size = (STEPS, 2)
    begin = residuals(np.zeros(size))
    J = np.stack([residuals(e.reshape(size)) - begin for e in np.eye(2 * STEPS)], axis=1)
    low, high = np.tile([-0.5, -np.inf], STEPS), np.tile([1.0, np.inf], STEPS)
    found = scipy.optimize.lsq_linear(J, -begin, (low, high), tol=1e-14)
    return found.x.reshape(size), 2 * found.cost


def test_ilqr_solves_a_bounded_quadratic_program(cart, optimum) -> None:
    ctrl, cost = optimum
    assert np.any(ctrl[:, 0] < -0.49)  # the range is felt
    plan = planning.ilqr(cart, jnp.zeros((STEPS, 2)))
    np.testing.assert_allclose(plan.cost, cost, rtol=1e-6)
    np.testing.assert_allclose(plan.ctrl, ctrl, atol=2e-3)
    assert plan.converged and len(plan.history) < 20
    assert plan.ctrl[:, 0].min() >= -0.5


def test_a_plan_is_what_it_says(cart) -> None:
    """Its cost is that of its controls in MuJoCo C, and so is the path."""
    plan = planning.ilqr(cart, jnp.zeros((STEPS, 2)), iterations=2)
    found = residuals(np.asarray(plan.ctrl))
    np.testing.assert_allclose(plan.cost, np.sum(found**2), rtol=1e-10)
    path = found[:-2].reshape(STEPS, 4)
    np.testing.assert_allclose(plan.path.qpos[:-1, 0] + 0.1, path[:, 0], atol=1e-12)
    np.testing.assert_allclose(plan.path.act[:-1, 0], path[:, 3], atol=1e-12)
    np.testing.assert_allclose(np.sqrt(10) * plan.path.qvel[-1], found[-1:], atol=1e-12)
    np.testing.assert_allclose(plan.path.time, 0.1 * np.arange(STEPS + 1), atol=1e-12)
    assert len(plan.history) == 3 and plan.cost == plan.history[-1] and not plan.converged
    assert np.all(np.diff(plan.history) <= 0)


@pytest.mark.parametrize(
    ("plan", "settings", "within"),
    [
        (planning.shooting, {}, 0.05),
        (planning.cem, {"samples": 256}, 0.2),
        pytest.param(planning.mppi, {"iterations": 100}, 1.0, marks=pytest.mark.slow),
    ],
)
def test_the_others_come_near_the_optimum(cart, optimum, plan, settings, within) -> None:
    """`within`: share of the optimum; what is left of the descent from 4.6 times it."""
    found = plan(cart, jnp.zeros((STEPS, 2)), **settings)
    assert optimum[1] <= found.cost * (1 + 1e-9) and found.cost < (1 + within) * optimum[1]
    assert found.ctrl[:, 0].min() >= -0.5 and found.ctrl[:, 0].max() <= 1.0


def test_feedback_is_that_of_the_riccati_equation() -> None:
    """Far from the end of a long horizon it is the infinite-horizon regulator of SciPy."""
    A, B = np.array([[1.0, 0.1], [0.0, 0.95]]), np.array([[0.0], [0.1]])
    Q, R, steps = np.diag([1.0, 0.1]), np.array([[0.5]]), 300
    repeat = lambda x: jnp.broadcast_to(jnp.asarray(x), (steps, *np.shape(x)))
    curve = scipy.linalg.block_diag(Q, R)
    expansion = Expansion(repeat(A), repeat(B), jnp.zeros((steps, 3)), repeat(curve))
    free = jnp.full((steps, 1), jnp.inf)
    last = Value(jnp.zeros(2), jnp.zeros((2, 2)))
    _, K = jax.jit(riccati)(expansion, last, -free, free, jnp.zeros(()))
    P = scipy.linalg.solve_discrete_are(A, B, Q, R)
    wanted = -np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
    np.testing.assert_allclose(K[0], wanted, rtol=1e-6)


def test_changes_within_limits_are_those_of_scipy() -> None:
    """min 1/2 k' Q k + q' k between limits is bounded least squares with Q = L L'."""
    generator, solve = np.random.default_rng(0), jax.jit(gains)
    for _ in range(50):
        L = np.tril(generator.normal(size=(3, 3)), -1) + np.diag(generator.uniform(0.5, 2, 3))
        q = 2 * generator.normal(size=3)
        wanted = scipy.optimize.lsq_linear(L.T, -np.linalg.solve(L, q), (-1, 0.5), "bvls").x
        limits = np.full(3, -1.0), np.full(3, 0.5)
        k, K = map(np.asarray, solve(L @ L.T, q, np.ones((3, 2)), *limits))
        np.testing.assert_allclose(k, wanted, atol=1e-5)
        inside = (k > -1 + 1e-6) & (k < 0.5 - 1e-6)
        np.testing.assert_array_equal(K[~inside], 0.0)
        np.testing.assert_allclose((L @ L.T @ K)[inside], -1.0, atol=1e-4)


def test_noise_has_its_spread_and_correlation(cart) -> None:
    """Of a first-order autoregressive process: hold to the power of the steps apart."""
    plans = noisy(cart, jnp.zeros((6, 2)), 0.1, 0.8, 20000, jax.random.key(0))[1:, :, 1]
    np.testing.assert_allclose(plans.std(axis=0), 0.1, rtol=0.03)
    apart = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    np.testing.assert_allclose(np.corrcoef(plans.T), 0.8**apart, atol=0.03)


def test_units_of_actions_are_half_ranges(cart) -> None:
    units = actions(cart.model)
    np.testing.assert_allclose(units.to_ctrl(jnp.array([1.0, 7.0])), [1.0, 7.0])
    np.testing.assert_allclose(units.to_ctrl(jnp.array([-1.0, -7.0])), [-0.5, -7.0])
    np.testing.assert_allclose(units.from_ctrl(jnp.array([0.25, 3.0])), [0.0, 3.0])
    np.testing.assert_allclose(units.from_ctrl(jnp.array([9.0, 3.0])), [1.0, 3.0])


def test_a_round_begins_from_the_best_proposal(cart) -> None:
    class Keep(planning.Ilqr):
        def improve(self, task, x, plan, memory, key):
            return plan, memory

    class Bowl(NamedTuple):
        model: object = cart.model

        def total(self, x, ctrl):
            return jnp.sum((ctrl - 0.5) ** 2)

    planner = planning.Proposing(Keep(), samples=8, spread=0.5, hold=0.5)
    plan, key = jnp.zeros((4, 2)), jax.random.key(0)
    plans = noisy(cart, plan, 0.5, 0.5, 8, key)
    costs = np.sum((np.asarray(actions(cart.model).to_ctrl(plans)) - 0.5) ** 2, axis=(1, 2))
    found, _ = planner.improve(Bowl(), None, plan, None, key)
    np.testing.assert_allclose(found, plans[np.argmin(costs)], rtol=1e-6)
    assert costs.min() < costs[0]
    assert planner.simulations(cart) == Keep().simulations(cart) + 9


def test_a_controller_holds_its_goal_against_a_push(cart) -> None:
    """In closed loop the cart comes to rest at x = -0.1, where the site is at 0."""
    controller = planning.Controller(cart, planning.Ilqr())
    run = jax.jit(lambda: planning.control(controller, controller.begin(jnp.zeros((12, 2))), 40))
    made = run()
    np.testing.assert_allclose(made.path.qpos[-1], 0.0, atol=0.12)
    assert made.costs[-1] < 0.05 * made.costs[0]
    assert made.ctrl.shape == (40, 2) and made.path.qvel.shape == (41, 1)
    assert made.ctrl[:, 0].min() >= -0.5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"substeps": 0}, "substeps: got 0"),
        ({"cost": lambda d, u: u}, r"cost: returned float64 of shape \(2,\)"),
        ({"final": lambda d: 1}, "final: returned int"),
    ],
)
def test_a_task_names_what_is_wrong(cart, change, message) -> None:
    settings = {"model": cart.model, "start": cart.start, "cost": cart.cost}
    with pytest.raises(ValueError, match=message):
        planning.Task(**settings | change)


def test_a_model_without_actuators_is_refused() -> None:
    mj_model = mujoco.MjModel.from_xml_string("<mujoco><worldbody/></mujoco>")
    with pytest.raises(ValueError, match="no actuator"):
        planning.Task(mj_model, mujoco.MjData(mj_model), lambda d, u: d.time)


@pytest.mark.parametrize("plan", [planning.ilqr, planning.shooting, planning.mppi, planning.cem])
def test_bad_controls_are_refused(cart, plan) -> None:
    with pytest.raises(ValueError, match=r"ctrl0: got shape \(10,\), expected \(T, 2\)"):
        plan(cart, jnp.zeros(STEPS))
    with pytest.raises(ValueError, match="ctrl0"):
        plan(cart, jnp.full((STEPS, 2), jnp.nan))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: planning.Mppi(samples=0), "samples: got 0"),
        (lambda: planning.Mppi(temperature=0.0), "temperature: got 0.0"),
        (lambda: planning.Cem(spread=-1.0), "spread: got -1.0"),
        (lambda: planning.Cem(elite=2.0), "elite: got 2.0"),
        (lambda: planning.Proposing(planning.Ilqr(), hold=1.0), "hold: got 1.0"),
    ],
)
def test_settings_of_planners_name_themselves(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()
