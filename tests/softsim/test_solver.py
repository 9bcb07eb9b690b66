"""The constraint solver alone: SciPy's minimum, both methods alike, the start irrelevant."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
import scipy.optimize

import softsim
from softsim.constraint import Rows
from softsim.solver import Problem, solve

NV, NE, NF, NL, NC = 6, 2, 2, 2, 4


def problem(seed: int) -> Problem:
    """Random inertia and rows of every kind, pyramidal contacts."""
    random = np.random.default_rng(seed)
    n = NE + NF + NL + NC
    root = random.normal(size=(NV, NV))
    friction = np.zeros(n)
    friction[NE : NE + NF] = random.uniform(0.1, 2.0, NF)
    rows = Rows(
        J=random.normal(size=(n, NV)), D=random.uniform(0.1, 50.0, n),
        aref=5 * random.normal(size=n), pos=np.zeros(n), margin=np.zeros(n),
        frictionloss=friction, cone=np.zeros((0, 6)), ne=NE, nf=NF, nl=NL, cone_adr=(), cone_dim=(),
    )  # fmt: skip
    return jax.tree.map(jnp.asarray, Problem(root @ root.T + np.eye(NV), 5 * root[0], rows))


def objective(p: Problem, a: np.ndarray) -> tuple[float, np.ndarray]:
    """1/2 a'Ma - a'f + sum of s(Ja - aref) and its gradient, from the text of MuJoCo's manual."""
    rows = p.rows
    value = 0.5 * a @ p.M @ a - a @ p.qfrc_smooth
    slope = p.M @ a - p.qfrc_smooth
    for i, (J, D, aref, floss) in enumerate(zip(rows.J, rows.D, rows.aref, rows.frictionloss)):
        x = J @ a - aref
        if NE <= i < NE + NF and abs(x) > floss / D:  # Huber
            value, slope = value + floss * (abs(x) - floss / D / 2), slope + J * floss * np.sign(x)
        elif i < NE + NF or x < 0:
            value, slope = value + 0.5 * D * x**2, slope + J * D * x
    return value, slope


@pytest.mark.parametrize("method", ["Newton", "CG"])
def test_the_optimum_is_that_of_scipy_from_any_start(method: str) -> None:
    xml = f'<mujoco><option solver="{method}" iterations="200" tolerance="0"/></mujoco>'
    m = softsim.put_model(mujoco.MjModel.from_xml_string(xml))
    run = jax.jit(lambda p, smooth, start: solve(m, p, smooth, start))
    for seed in range(10):
        p = problem(seed)
        numbers = jax.tree.map(np.asarray, p)
        smooth = np.linalg.solve(numbers.M, numbers.qfrc_smooth)
        best = scipy.optimize.minimize(
            lambda a, p=numbers: objective(p, a), smooth, jac=True, method="BFGS",
            options={"gtol": 1e-9},
        ).x  # fmt: skip
        for start in (smooth, best + 3.0, np.zeros(NV)):
            found = run(p, jnp.asarray(smooth), jnp.asarray(start))
            np.testing.assert_allclose(found.qacc, best, atol=1e-6 * (1 + np.abs(best).max()))
            residual = objective(numbers, np.asarray(found.qacc))[1]
            assert np.linalg.norm(residual) < 1e-6 * np.linalg.norm(numbers.qfrc_smooth)
            force = numbers.rows.J.T @ np.asarray(found.efc_force)
            np.testing.assert_allclose(found.qfrc_constraint, force, atol=1e-9)
