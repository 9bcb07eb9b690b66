"""Planners: iLQR converges on a linear quadratic problem, all improve a plan, work is counted."""

import json
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
import scipy.linalg
import scipy.optimize

import softsim
from envs import Env
from experiments import mpc
from experiments._controllers import (
    Expansion,
    Planner,
    Task,
    X,
    _gains,
    _noisy,
    cem,
    ilqr,
    mppi,
    proposing,
    riccati,
    shooting,
)
from experiments.mpc import Args, Record

CART = """
<mujoco model="cart">
  <option timestep="0.05"/>
  <worldbody>
    <body> <joint name="x" type="slide" axis="1 0 0" damping="0.2"/>
      <geom type="sphere" size="0.1" mass="1"/> </body>
  </worldbody>
  <actuator> <motor joint="x" gear="3" ctrllimited="true" ctrlrange="-1 1"/> </actuator>
</mujoco>
"""


class Cart(Env):
    """A mass on a line, pulled by a motor."""

    @staticmethod
    def load() -> mujoco.MjModel:
        return mujoco.MjModel.from_xml_string(CART)


def quadratic(env: Env, x: X, action, goal):
    return x.qpos @ x.qpos + 0.1 * x.qvel @ x.qvel + 0.01 * action @ action


def make_task(horizon: int = 12) -> tuple[Task, X]:
    soft = softsim.Softening.hard()
    task = Task(Cart.create(), quadratic, jnp.zeros(1), horizon, soft)
    return task, X(jnp.array([0.2]), jnp.zeros(1), jnp.zeros(1))


def test_feedback_is_that_of_the_riccati_equation() -> None:
    """Far from the end of a long horizon it is the infinite-horizon regulator of SciPy."""
    A, B = np.array([[1.0, 0.1], [0.0, 0.95]]), np.array([[0.0], [0.1]])
    Q, R, steps = np.diag([1.0, 0.1]), np.array([[0.5]]), 300
    H = scipy.linalg.block_diag(Q, R)
    repeat = lambda x: jnp.broadcast_to(jnp.asarray(x), (steps, *np.shape(x)))
    expansion = Expansion(repeat(A), repeat(B), jnp.zeros((steps, 3)), repeat(H))
    _, K = riccati(expansion, jnp.zeros((steps, 1)), jnp.zeros(()))
    # the cost of a step is on the state it leads to, so the state of the regulator comes after it
    P = scipy.linalg.solve_discrete_are(A, B, Q, R)
    wanted = -np.linalg.solve(R + B.T @ P @ B, B.T @ P @ A)
    np.testing.assert_allclose(K[0], wanted, rtol=5e-3)


def test_changes_within_limits_are_those_of_scipy() -> None:
    """min 1/2 k' Q k + q' k between limits is bounded least squares with Q = L L'."""
    generator, gains = np.random.default_rng(0), jax.jit(_gains)
    for _ in range(50):
        L = np.tril(generator.normal(size=(3, 3)), -1) + np.diag(generator.uniform(0.5, 2, 3))
        q = 2 * generator.normal(size=3)
        wanted = scipy.optimize.lsq_linear(L.T, -np.linalg.solve(L, q), (-1, 0.5), "bvls").x
        limits = np.full(3, -1.0), np.full(3, 0.5)
        k, K = map(np.asarray, gains(L @ L.T, q, np.ones((3, 2)), *limits))
        np.testing.assert_allclose(k, wanted, atol=1e-5)
        inside = (k > -1 + 1e-6) & (k < 0.5 - 1e-6)
        np.testing.assert_array_equal(K[~inside], 0.0)
        np.testing.assert_allclose((L @ L.T @ K)[inside], -1.0, atol=1e-4)


def test_noise_has_its_spread_and_correlation() -> None:
    """Of a first-order autoregressive process: hold to the power of the steps apart."""
    plans = _noisy(jnp.zeros((6, 1)), 0.1, 0.8, 20000, jax.random.key(0))[1:, :, 0]
    np.testing.assert_allclose(plans.std(axis=0), 0.1, rtol=0.03)
    apart = np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
    np.testing.assert_allclose(np.corrcoef(plans.T), 0.8**apart, atol=0.03)


def test_a_round_begins_from_the_best_proposal() -> None:
    class Bowl(NamedTuple):
        steps: int = 20

        def total(self, x: None, plan: jax.Array) -> jax.Array:
            return jnp.sum((plan - 0.5) ** 2)

    keep = Planner(
        lambda task: None, lambda task, x, plan, memory, key: (plan, memory), lambda m: m,
        lambda task: 5,
    )  # fmt: skip
    task, planner = Bowl(), proposing(keep, 8, 0.5, 0.5)
    plan, key = jnp.zeros((4, 1)), jax.random.key(0)
    costs = jax.vmap(lambda p: task.total(None, p))(_noisy(plan, 0.5, 0.5, 8, key))
    found, _ = planner.improve(task, None, plan, None, key)
    np.testing.assert_allclose(task.total(None, found), costs.min(), rtol=1e-6)
    assert costs.min() < costs[0]
    assert planner.work(task) == 9 * 20 + 5


@pytest.mark.slow
def test_every_planner_improves_a_plan_and_ilqr_converges_on_it() -> None:
    task, x = make_task()
    plan = jnp.zeros((task.horizon, 1))
    key = jax.random.key(0)
    planners = {"shooting": shooting(), "ilqr": ilqr(), "mppi": mppi(32, 0.3), "cem": cem(32, 0.3)}
    start = float(task.total(x, plan))
    cost = {}
    for name, planner in planners.items():
        improve = jax.jit(lambda p, s, k, f=planner.improve: f(task, x, p, s, k))
        first, memory = improve(plan, planner.start(task), key)
        cost[name] = float(task.total(x, first))
        assert cost[name] < start, name
        assert planner.work(task) > 0
        if name == "ilqr":  # the damping falls by a factor of ten per round
            for _ in range(4):
                last, (first, memory) = cost[name], improve(first, memory, key)
                cost[name] = float(task.total(x, first))
            np.testing.assert_allclose(cost[name], last, rtol=1e-3)
    assert cost["ilqr"] == min(cost.values())


def test_a_finding_says_how_many_steps_the_same_cost_takes() -> None:
    runs = [
        Record("t", "mppi", 16, 1, 5.0, 0.0, 1000, 0.1, 1.0),
        Record("t", "mppi", 16, 2, 5.5, 0.0, 2000, 0.2, 1.0),
        Record("t", "mppi", 16, 4, 3.0, 0.0, 4000, 0.4, 1.0),
        Record("t", "shooting", 0, 1, 4.0, 0.0, 200, 0.1, 1.0),
        Record("t", "shooting", 0, 2, 2.9, 0.0, 400, 0.2, 1.0),
        Record("t", "ilqr", 7, 1, 3.5, 0.0, 100, 0.1, 1.0),
    ]
    said = mpc.compare(Args(), runs)
    assert said[0].endswith("for its simulated steps: 5 (1000 steps), 3 (4000 steps).")
    assert "shooting reaches them with 0.20, 0.10 of the steps" in said[1]
    assert "ilqr reaches them with 0.10, inf of the steps" in said[2]
    assert (
        "at most 100 ms per control step, costs are shooting 4, ilqr with 7 proposals 3.5, mppi 5;"
        in said[3]
    )


@pytest.mark.slow
def test_quick_run(tmp_path: Path) -> None:
    mpc.main(Args(tmp_path, quick=True))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert {run["method"] for run in metrics["runs"]} == {"shooting", "ilqr", "mppi", "cem"}
    assert all(np.isfinite(run["cost"]) and run["real_time"] > 0 for run in metrics["runs"])
    assert {"metrics.json", "mpc.csv", "mpc.png"} == {file.name for file in tmp_path.iterdir()}


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"tasks": ()}, "--tasks"), ({"rounds": (0,)}, "--rounds"), ({"samples": (0,)}, "--samples")],
)
def test_bad_settings_name_themselves(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Args(**settings)
