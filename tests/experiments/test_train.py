"""The front door: it trains, it survives being stopped, it refuses what cannot work."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import pytest

from envs import registry
from envs.pendulum import Pendulum
from experiments import _presets, _training, shac, train
from experiments._training import Run
from experiments.train import Args
from softsim.cache import enable_compile_cache
from tests.experiments.tables import read_csv

SMALL = {
    "env": "pendulum",
    "iterations": 4,
    "num_envs": 4,
    "horizon": 3,
    "seeds": 2,
    "eval_every": 2,
    "eval_envs": 2,
    "check_episodes": 1,
}
FILES = {"checkpoint.eqx", "policy.eqx", "progress.csv", "returns.csv", "curve.png", "metrics.json"}


@pytest.fixture(autouse=True)
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    table = {"env": {"episode_length": 5}, "all": {"hidden": (8,)}}
    monkeypatch.setitem(_presets.DEFAULTS, "pendulum", table)
    enable_compile_cache()


def run(out: Path, **changes) -> None:
    train.main(Args(out=out, **(SMALL | changes)))


def train_only(out: Path, **changes) -> None:
    """Without the checks and figures that follow a training."""
    prepared, _ = train.prepare(Args(out=out, **(SMALL | changes)))
    prepared.train(prepared.resume() if changes.get("resume") else prepared.start())


class Point(Pendulum):
    """The pendulum without physics, which would take most of the test to compile."""

    def step(self, state, action):
        data = state.data.replace(qpos=state.data.qpos + 0.1 * action)
        return self.arrive(state, action, data)


class Killed(BaseException):
    """Nothing in the loop answers to it, as nothing answers to `kill -9`."""


@pytest.mark.parametrize("physics", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("algo", ["apg", pytest.param("shac", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("stop", "kept"), [(KeyboardInterrupt, ["1", "2", "3"]), (Killed, ["1", "2"])]
)
def test_stopped_and_resumed_is_bitwise_the_same(
    stop: type, kept: list, algo: str, physics: bool, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Ctrl-C loses nothing, a kill what followed the last checkpoint."""
    if not physics:
        monkeypatch.setitem(registry.ENVS, "pendulum", Point)
    train_only(tmp_path / "whole", algo=algo)

    def killed(self, iteration, row, elapsed):
        if iteration == 4:
            raise stop
        return record(self, iteration, row, elapsed)

    record = Run._record
    with monkeypatch.context() as patch:
        patch.setattr(Run, "_record", killed)
        with pytest.raises(stop):
            train_only(tmp_path / "parts", algo=algo)
    assert [row["iteration"] for row in read_csv(tmp_path / "parts" / "progress.csv")] == kept
    train_only(tmp_path / "parts", algo=algo, resume=True)

    for name in ("checkpoint.eqx", "policy.eqx"):
        whole, parts = (
            (tmp_path / folder / name).read_bytes().split(b"\n", 1)[1]
            for folder in ("whole", "parts")
        )
        assert whole == parts
    timing = ("seconds", "cpu_seconds", "steps_per_s")
    for name in ("progress.csv", "returns.csv"):
        whole, parts = (
            [{k: v for k, v in row.items() if k not in timing} for row in read_csv(path)]
            for path in (tmp_path / "whole" / name, tmp_path / "parts" / name)
        )
        assert whole == parts


def test_the_update_compiles_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(registry.ENVS, "pendulum", Point)
    prepared, _ = train.prepare(Args(out=tmp_path, **(SMALL | {"algo": "apg"})))
    state = prepared.start()
    with jax.log_compiles(), caplog.at_level("WARNING"):
        prepared.train(state)
    named = [r.getMessage().split(" with global shapes")[0] for r in caplog.records]
    assert named.count("Compiling jit(<lambda>)") == 1


@pytest.mark.slow
def test_whole_command(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run(tmp_path)
    printed = capsys.readouterr().out
    assert {f.name for f in tmp_path.iterdir()} - {"strip.png"} == FILES
    assert "No images: MuJoCo cannot render here" in printed or "Images of an episode" in printed
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics["final_return"]) == {"0", "1"}
    np.testing.assert_allclose(metrics["check"]["softsim"], metrics["check"]["mujoco_c"], rtol=1e-6)


@pytest.mark.slow
def test_a_number_that_is_not_finite_stops_and_keeps_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = train.prepare

    def prepare(args):
        prepared, out = settle(args)
        broken = prepared.module.init

        def init(config, env, key):
            state = broken(config, env, key)
            speed = lambda s: s.env_state.data.qvel
            return eqx.tree_at(speed, state, speed(state).at[2].set(1e200))

        monkeypatch.setattr(shac, "init", init)
        return prepared, out

    monkeypatch.setattr(train, "prepare", prepare)
    with pytest.raises(_training.DivergedError, match=r"iteration 1: .*environment 2, step 0"):
        run(tmp_path, seeds=1)
    assert (tmp_path / "checkpoint.eqx").exists()
    assert "next state" in (tmp_path / "diagnosis.txt").read_text()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"env": "hoper"}, r"--env hoper: there are pendulum.*hopper"),
        ({"algo": "sac"}, r"--algo sac: there are shac, apg"),
        ({"algo": "apg", "estimator": "zeroth"}, "--estimator is of shac"),
        ({"seeds": 0}, "--seeds: got 0"),
    ],
)
def test_bad_arguments_name_themselves(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Args(**(SMALL | settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"softening": "mushy"}, "--softening mushy: expected one of hard, saltation, soft"),
        ({"softening": "soft", "reach": -1.0}, "--reach -1.0"),
        ({"anneal": 0.0}, "--anneal 0.0"),
        ({"estimator": "second"}, "--estimator second: expected one of first"),
        ({"estimator": "mixed"}, "groups: got 8, expected at least 2 that divide 4"),
        ({"iterations": 0}, "iterations: got 0"),
        ({"actor_rate": float("inf")}, "actor_rate: got inf, expected a finite number"),
        ({"randomize": {"body_mas": 0.1}}, "'body_mas' is no float leaf of the model; it has"),
        ({"randomize": {"body_mass": 1.5}}, "--randomize body_mass 1.5: expected a share"),
        ({"num_envs": 1}, "got 3 steps per update, expected at least 4"),
        ({"resume": True}, "--resume: no checkpoint in"),
    ],
)
def test_bad_settings_are_refused_before_training(
    tmp_path: Path, settings: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        train.prepare(Args(out=tmp_path, **(SMALL | settings)))


def test_training_varies_the_model_and_evaluation_does_not(tmp_path: Path) -> None:
    args = Args(out=tmp_path, **(SMALL | {"randomize": {"body_mass": 0.2}}))
    prepared, _ = train.prepare(args)
    assert prepared.env.randomization == ()
    nominal = np.asarray(prepared.env.model.body_mass)
    drawn = np.asarray(prepared.start().env_state.info["model"]["body_mass"])
    assert drawn.shape == (2, 4, nominal.size)
    factors = drawn[..., 1:] / nominal[1:]
    assert len(np.unique(factors)) == factors.size
    assert 0.8 <= factors.min() < factors.max() <= 1.2
    assert prepared.about["settings"]["randomize"] == "(('body_mass', 0.2),)"


def test_a_first_evaluation_without_a_score_does_not_count_as_best(tmp_path: Path) -> None:
    prepared, _ = train.prepare(Args(out=tmp_path, **SMALL))
    first = prepared.start().policy
    later = jax.tree.map(lambda x: x + 1.0, first)
    prepared._keep_best(first, np.array([np.nan, 3.0]))
    prepared._keep_best(later, np.array([-5.0, 2.0]))
    policy, record = prepared.best
    np.testing.assert_array_equal(record, [-5.0, 3.0])
    spread = policy.actor.log_std - first.actor.log_std
    np.testing.assert_allclose(spread[:, 0], [1.0, 0.0], atol=1e-6)


def test_a_checkpoint_of_something_else_is_refused(tmp_path: Path) -> None:
    prepared, _ = train.prepare(Args(out=tmp_path, **SMALL))
    path = tmp_path / "checkpoint.eqx"
    prepared._save(prepared.start(), 0)
    again = dict(SMALL, out=tmp_path)
    with pytest.raises(ValueError, match=r"holds a checkpoint; continue it with --resume"):
        train.prepare(Args(**again))
    for changes, message in (
        ({"env": "cartpole"}, "env is 'pendulum', this run has 'cartpole'"),
        ({"algo": "apg"}, "algo is 'shac', this run has 'apg'"),
        ({"horizon": 5}, r"other settings: horizon 3 \(now 5\)"),
    ):
        other, _ = train.prepare(Args(**(again | changes | {"resume": True})))
        with pytest.raises(ValueError, match=message):
            other.resume()
    header, body = path.read_bytes().split(b"\n", 1)
    path.write_bytes(header.replace(b'"softsim": "', b'"softsim": "9') + b"\n" + body)
    other, _ = train.prepare(Args(**again, resume=True))
    with pytest.raises(ValueError, match="softsim is '9"):
        other.resume()
    path.write_bytes(header + b"\n" + body[: len(body) // 2])
    with pytest.raises(ValueError, match="damaged"):
        other.resume()
    path.write_bytes(b"\x80 not a header")
    with pytest.raises(ValueError, match="not a checkpoint"):
        other.resume()


def test_a_full_disk_is_noticed_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(ValueError, match=r"0.0 MB free, checkpoints need \d"):
        run(tmp_path)


def test_every_environment_has_defaults() -> None:
    assert set(_presets.DEFAULTS) == set(train.envs.names())
    for name in train.envs.names():
        for algo in ("shac", "apg"):
            train.configure(Args(env=name, algo=algo))


@pytest.mark.slow
def test_environments_spread_over_two_devices_and_train_alike(tmp_path: Path) -> None:
    flags = "--xla_force_host_platform_device_count=2"
    command = [sys.executable, "-m", "experiments.train", "--env", "pendulum"]
    command += ["--iterations", "2", "--num-envs", "4", "--horizon", "3", "--eval-envs", "2"]
    returns = []
    for name, extra in (("one", {}), ("two", {"XLA_FLAGS": flags})):
        out = tmp_path / name
        subprocess.run(
            [*command, "--out", str(out)],
            env=os.environ | extra,
            check=True,
            capture_output=True,
            timeout=600,
        )
        returns.append([float(row["return"]) for row in read_csv(out / "returns.csv")])
    np.testing.assert_allclose(*returns, rtol=1e-3)


OWN = """
from envs.pendulum import Pendulum

class Mine(Pendulum):
    episode_length: int = 5

    def step(self, state, action):  # without physics, which would take most of the test to compile
        data = state.data.replace(qpos=state.data.qpos + 0.1 * action)
        return self.arrive(state, action, data)

class Still(Mine):
    action_size = 0

    def act(self, data, action, info):
        return data

    def reward(self, before, action, after, info):
        return {"low": -after.qpos[0] ** 2}
"""


def test_a_task_of_ones_own_trains_with_the_defaults(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tasks_to_train.py").write_text(OWN)
    args = Args(**(SMALL | {"env": "tasks_to_train:Mine", "algo": "apg", "iterations": 1}))
    prepared, out = train.prepare(args)
    assert out == Path("runs/train/tasks_to_train.Mine-apg")
    prepared.train(prepared.start())
    assert len(read_csv(out / "progress.csv")) == 1
    with pytest.raises(ValueError, match="the task has no actions"):
        train.prepare(Args(env="tasks_to_train:Still", out=tmp_path / "still"))
    with pytest.raises(ValueError, match=r"no class in tasks_to_train .*there is Pendulum, Mine"):
        Args(env="tasks_to_train:Ours")
