"""Least squares: the noise, the prior beside it, what the data leave open."""

from types import SimpleNamespace

import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from softsim.sysid.arrow import Blocks, noise_variance, prior_variance
from softsim.sysid.least_squares import levenberg_marquardt
from softsim.sysid.parameters import make_table
from softsim.sysid.uncertainty import unidentified
from tests.softsim.sysid.models import ARM


def test_unidentified_directions() -> None:
    model = mujoco.MjModel.from_xml_string(ARM.format(damping=0.1, friction=0.1, mass=1))
    table = make_table(model, ("damping:elbow", "mass:fore"))
    assert unidentified(table, np.diag([1e4, 1e4]), np.eye(2)) == []
    one = unidentified(table, np.diag([1e4, 0.0]), np.eye(2))
    assert len(one) == 1 and "mass:fore not at all" in one[0]
    both = unidentified(table, 1e4 * np.array([[1.0, -1.0], [-1.0, 1.0]]), np.eye(2))
    assert len(both) == 1 and "cannot tell damping:elbow, mass:fore apart" in both[0]
    alike = unidentified(table, np.diag([1e4, 1e4]), np.array([[1.0, 0.99], [0.99, 1.0]]))
    assert "hard to tell apart" in alike[0]


def toy(generator, prior: float, noise: float, recordings: int, spread: float = 0.0):
    """Linear data of three coordinates, the last of which does nothing, and how to fit them."""
    J = generator.normal(size=(recordings, 30, 3)) * [1.0, 0.1, 0.0]
    true = np.array([1.0, -2.0, 0.0]) + spread * generator.normal(size=(recordings, 3))
    data = np.einsum("wkp,wp->wk", J, true) + noise * generator.normal(size=J.shape[:2])

    def evaluate(u: np.ndarray, z: np.ndarray, windows) -> Blocks:
        r = J @ u - data
        n, none = len(r), np.zeros((recordings, 0))
        return Blocks(
            r**2, np.ones_like(r), np.zeros(n), np.sum(r**2, axis=1), np.full(n, 30.0),
            np.einsum("wkp,wk->wp", J, r), none, np.einsum("wkp,wkq->wpq", J, J),
            np.zeros((n, 3, 0)), np.zeros((n, 0, 0)),
        )  # fmt: skip

    table = SimpleNamespace(size=3, prior=lambda u: jnp.asarray(u) / prior)
    problem = SimpleNamespace(table=table, state_noise=np.zeros(0), noise=np.ones(1), robust=np.inf)
    windows = SimpleNamespace(mask=np.ones(J.shape[:2]), recording=np.arange(recordings))
    return problem, windows, evaluate, J


@pytest.mark.parametrize("prior", [0.2, 5.0])
@pytest.mark.parametrize("recordings", [1, 3, 20])
@pytest.mark.parametrize("noise", [0.0, 1e-2, 1.0])
def test_the_prior_only_decides_what_the_data_leave_open(
    prior: float, recordings: int, noise: float
) -> None:
    generator = np.random.default_rng(recordings)
    problem, windows, evaluate, J = toy(generator, prior, noise, recordings)
    problem.robust = 1e9  # quadratic
    *_, last = levenberg_marquardt(problem, windows, evaluate)
    assert last.u[2] == 0
    flat = J.reshape(-1, 3)[:, :2]
    information = flat.T @ flat
    # not further from the least squares than its own error and the share of a prior of that weight
    error = 4 * noise * np.sqrt(np.diag(np.linalg.inv(information)))
    share = last.noise * np.linalg.solve(information, np.abs([1.0, -2.0]) / prior**2)
    assert (np.abs(last.u[:2] - [1.0, -2.0]) <= error + 2 * np.abs(share) + 1e-3).all()
    assert last.noise <= max(4 * noise**2, 1e-8)


def test_the_noise_is_that_of_the_residuals() -> None:
    generator = np.random.default_rng(0)
    _, windows, evaluate, _ = toy(generator, 1.0, 0.3, 40)
    white = evaluate(np.array([1.0, -2.0, 0.0]), None, windows)
    np.testing.assert_allclose(noise_variance(white, 3), 0.09, rtol=0.1)
    np.testing.assert_allclose(prior_variance(white, windows.recording), 0.09, rtol=0.4)


def test_recordings_that_disagree_weigh_less() -> None:
    """Their parameters differ by 0.5, far more than white noise allows for."""
    generator = np.random.default_rng(0)
    _, windows, evaluate, _ = toy(generator, 1.0, 0.01, 40, spread=0.5)
    apart = evaluate(np.array([1.0, -2.0, 0.0]), None, windows)
    assert prior_variance(apart, windows.recording) > 3 * noise_variance(apart, 3)
    alone = np.zeros(40)
    assert prior_variance(apart, alone) == noise_variance(apart, 3)
