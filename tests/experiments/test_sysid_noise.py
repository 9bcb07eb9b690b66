"""The prior against the noise: it decides what the data leave open, and nothing else."""

from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

from experiments._arrow import Blocks, noise_variance, prior_variance
from experiments._fitting import levenberg_marquardt, make_evaluator
from experiments._intervals import certainty
from experiments._trajectories import cut, make_recording
from experiments.sysid import Args, make_problem

ARM = """<mujoco><option timestep="0.005" integrator="implicitfast"/>
<default><joint axis="0 1 0" armature=".01"/></default><worldbody>
<body><joint name="shoulder" damping="{damping}" frictionloss=".1"/>
<geom type="capsule" fromto="0 0 0 0 0 -.4" size=".03" mass="1.2"/>
<body name="fore" pos="0 0 -.4"><joint name="elbow" damping=".15" frictionloss="{friction}"/>
<geom type="capsule" fromto="0 0 0 0 0 -.3" size=".025" mass="{mass}"/></body></body>
</worldbody><actuator><motor joint="shoulder"/><motor joint="elbow"/></actuator></mujoco>"""
NAMES = ("damping:shoulder", "frictionloss:elbow", "mass:fore")
TRUTH = {"damping": 0.3, "friction": 0.12, "mass": 0.7}
START = {"damping": 0.1, "friction": 0.02, "mass": 1.1}
COUNT, SAMPLES, SUBSTEPS = 4, 60, 4


@pytest.fixture(scope="module")
def fit():
    """Fits to swings with noise (rad), all by one compiled program and the default prior."""
    model = mujoco.MjModel.from_xml_string(ARM.format(**TRUTH))
    generator, rows = np.random.default_rng(3), []
    for _ in range(COUNT):
        data = mujoco.MjData(model)
        data.qpos[:] = generator.uniform(-1, 1, 2)
        phase, rate = generator.uniform(0, 6, 2), generator.uniform(1, 5, 2)
        for k in range(SAMPLES):
            data.ctrl[:] = [3.0, 1.0] * np.sin(rate * 0.02 * k + phase)
            rows.append(np.concatenate([data.qpos, data.qvel, data.ctrl]))
            mujoco.mj_step(model, data, SUBSTEPS)
    qpos, _, ctrl = np.split(np.array(rows), [2, 4], axis=1)
    wrong = mujoco.MjModel.from_xml_string(ARM.format(**START))
    args = Args(Path("arm.npz"), parameters=NAMES, velocity="instant")
    program = {}

    def run(noise: float):
        columns = {"qpos": qpos + noise * generator.normal(size=qpos.shape), "ctrl": ctrl}
        columns |= {"start": SAMPLES * np.arange(COUNT), "length": np.full(COUNT, SAMPLES)}
        recording = make_recording(columns | {"dt": np.array(0.02)}, wrong)
        problem = make_problem(args, wrong, recording)
        windows = cut(recording, np.arange(COUNT), SAMPLES)
        evaluate = program.setdefault("evaluate", make_evaluator(problem))
        *_, last = levenberg_marquardt(problem, windows, evaluate)
        assert last.done and not last.stalled
        return certainty(problem, last, windows.trajectory)

    return run


@pytest.mark.parametrize("noise", [0.0, 3e-4, 3e-3])
def test_an_arm_is_recovered_at_any_noise_by_the_default_prior(fit, noise: float) -> None:
    """Only positions are recorded, so that the first velocities are unknowns too."""
    sure, truth = fit(noise), np.array(list(TRUTH.values()))
    assert not sure.weak
    assert ((sure.low <= truth * 1.001) & (truth * 0.999 <= sure.high)).all(), sure
    off = np.abs(np.log(sure.values / truth))
    assert (off < (1e-3 if not noise else 4 * np.maximum(sure.white, sure.sandwich))).all()
    # a multiple of the assumed 2 degrees; samples weigh less where parameters may differ (`spread`)
    level = sure.noise * np.radians(2)
    assert 0.5 * noise < level < 1.1 * noise + 1e-5


def toy(generator, prior: float, noise: float, trajectories: int, spread: float = 0.0):
    """Linear data of three coordinates, the last of which does nothing, and how to fit them."""
    J = generator.normal(size=(trajectories, 30, 3)) * [1.0, 0.1, 0.0]
    true = np.array([1.0, -2.0, 0.0]) + spread * generator.normal(size=(trajectories, 3))
    data = np.einsum("wkp,wp->wk", J, true) + noise * generator.normal(size=J.shape[:2])

    def evaluate(u: np.ndarray, z: np.ndarray, windows) -> Blocks:
        r = J @ u - data
        n, none = len(r), np.zeros((trajectories, 0))
        return Blocks(
            r**2, np.ones_like(r), np.zeros(n), np.sum(r**2, axis=1), np.full(n, 30.0),
            np.einsum("wkp,wk->wp", J, r), none, np.einsum("wkp,wkq->wpq", J, J),
            np.zeros((n, 3, 0)), np.zeros((n, 0, 0)),
        )  # fmt: skip

    table = SimpleNamespace(size=3, prior=lambda u: jnp.asarray(u) / prior)
    problem = SimpleNamespace(table=table, state_noise=np.zeros(0), noise=np.ones(1), robust=np.inf)
    windows = SimpleNamespace(mask=np.ones(J.shape[:2]), trajectory=np.arange(trajectories))
    return problem, windows, evaluate, J


@pytest.mark.parametrize("prior", [0.2, 5.0])
@pytest.mark.parametrize("trajectories", [1, 3, 20])
@pytest.mark.parametrize("noise", [0.0, 1e-2, 1.0])
def test_the_prior_only_decides_what_the_data_leave_open(
    prior: float, trajectories: int, noise: float
) -> None:
    generator = np.random.default_rng(trajectories)
    problem, windows, evaluate, J = toy(generator, prior, noise, trajectories)
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
    np.testing.assert_allclose(prior_variance(white, windows.trajectory), 0.09, rtol=0.4)


def test_trajectories_that_disagree_weigh_less() -> None:
    """Their parameters differ by 0.5, far more than white noise allows for."""
    generator = np.random.default_rng(0)
    _, windows, evaluate, _ = toy(generator, 1.0, 0.01, 40, spread=0.5)
    apart = evaluate(np.array([1.0, -2.0, 0.0]), None, windows)
    assert prior_variance(apart, windows.trajectory) > 3 * noise_variance(apart, 3)
    alone = np.zeros(40)
    assert prior_variance(apart, alone) == noise_variance(apart, 3)
