"""The front door: every setting is a flag, bad ones are refused, its tables survive a stop."""

import json
import os
import re
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest

import envs
from envs import registry
from envs.pendulum import Pendulum
from experiments import presets, train
from experiments.curves import Log
from softsim import learning
from softsim.cache import enable_compile_cache
from tests.experiments.tables import read_csv

SMALL = ["--eval-every", "2", "--eval-envs", "2", "--check-episodes", "1", "--num-envs", "4"]
SMALL += ["--horizon", "3", "--hidden"]  # a linear policy compiles quickly


class Point(Pendulum):
    """The pendulum without physics, which would take most of the test to compile."""

    episode_length: int = 5

    def step(self, state, action):
        data = state.data.replace(qpos=state.data.qpos + 0.1 * action)
        return self.arrive(state, action, data)


@pytest.mark.parametrize(
    ("command", "env", "changed"),
    [
        ("", "cartpole", presets.PRESETS["cartpole"].shac),
        ("--env hopper", "hopper", presets.PRESETS["hopper"].shac),
        ("--env=ant apg", "ant", presets.PRESETS["ant"].apg),
        ("apg --env ant", "ant", presets.PRESETS["ant"].apg),
        ("--env pendulum --algo apg --seeds 2", "pendulum", presets.PRESETS["pendulum"].apg),
        ("--algo shac --env cartpole", "cartpole", presets.PRESETS["cartpole"].shac),
        ("--out apg", "cartpole", presets.PRESETS["cartpole"].shac),
        (
            "--env hopper shac --horizon 16 --critic-epochs 2 --seeds 3 --target-keep 0.5",
            "hopper",
            replace(
                presets.PRESETS["hopper"].shac, horizon=16, critic_epochs=2, target_keep=0.5
            ),
        ),
        (
            "--softening soft --reach 0.2 --anneal 0.1 --env pendulum --hidden 8 4 --episode None",
            "pendulum",
            replace(
                presets.PRESETS["pendulum"].shac,
                softness=learning.Softness("soft", reach=0.2, anneal=0.1),
                hidden=(8, 4),
            ),
        ),
        (
            "apg --env cartpole --randomize body_mass 0.2 opt.gravity 0.1 --truncate 9",
            "cartpole",
            replace(
                presets.PRESETS["cartpole"].apg,
                randomize={"body_mass": 0.2, "opt.gravity": 0.1},
                truncate=9,
            ),
        ),
    ],
)  # fmt: skip
def test_a_command_line_is_a_preset_with_changes(command, env, changed) -> None:
    args = train.parse(command.split())
    assert (args.env, args.algorithm) == (env, changed)


@pytest.mark.parametrize("kind", [learning.Shac, learning.Apg])
def test_every_field_is_a_flag(kind, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit):
        train.parse([kind.__name__.lower(), "--help"])
    shown = capsys.readouterr().out
    names = [f.name for f in (*fields(kind), *fields(learning.Softness))]
    flags = [f"--{name.replace('_', '-')} " for name in names if name != "softness"]
    assert not [flag for flag in (*flags, "--softness ") if flag not in shown]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("--env hoper", r"no environment 'hoper'; there are pendulum.*hopper"),
        ("--algo sac", r"--algo sac: there are shac, apg"),
        ("--seeds 0", "--seeds: got 0"),
        ("--budget 2", "--budget: got '2', expected a duration like 90s, 30m, 1h or 1h30m"),
        ("--budget 0h", "--budget: got '0h'"),
        ("--horizon 0", "Shac.horizon: got 0, expected a whole number of at least 1"),
        ("--randomize body_mass 1.5", "Shac.randomize: got 1.5 for 'body_mass'"),
        ("apg --truncate 0", "Apg.truncate: got 0"),
    ],
)
def test_bad_arguments_name_themselves(
    command, message, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """In one line, with exit status 2."""
    monkeypatch.setattr(sys, "argv", ["train", *command.split()])
    with pytest.raises(SystemExit) as stopped:
        train.cli.launch(lambda: train.parse(sys.argv[1:]), train.main, "")
    assert stopped.value.code == 2
    shown = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert re.search(message, shown), shown


def test_bad_settings_are_refused_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry.ENVS, "pendulum", Point)
    args = lambda *more: train.parse(["--env", "pendulum", "--out", str(tmp_path), *more])
    with pytest.raises(ValueError, match="'body_mas' is no float leaf of the model; it has"):
        train.start(args("--randomize", "body_mas", "0.1"))
    with pytest.raises(ValueError, match="--resume: no checkpoint in"):
        train.start(args("--resume"))
    (tmp_path / "checkpoint.eqx").touch()
    with pytest.raises(ValueError, match=r"holds a checkpoint; continue it with --resume"):
        train.start(args())


def test_every_environment_has_a_preset_that_fits_it() -> None:
    assert set(presets.PRESETS) == set(envs.names())
    for name, preset in presets.PRESETS.items():
        known = [f.name for f in fields(registry.ENVS[name])]
        assert set(preset.env) <= {"options", "geoms", "touching", *known}
        assert presets.find(name) is preset
    assert presets.PRESETS["pendulum"].published() is None
    assert presets.PRESETS["ant"].published() == {"observe_contacts": False}
    assert presets.PRESETS["humanoid"].published() == {"observe_bodies": False}


@pytest.mark.parametrize("faster", [{}, {"options": {"timestep": 0.05}, "frame_skip": 1}])
def test_what_counts_are_the_published_physics(
    faster: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For the curve, for which policy is best, and in the end, where training is on others."""
    preset = presets.Preset({"episode_length": 4, **faster})
    monkeypatch.setitem(presets.PRESETS, "pendulum", preset)
    args = train.parse(["--env", "pendulum", "--out", str(tmp_path), "--seeds", "2", *SMALL])
    asked = {}
    monkeypatch.setattr(learning, "train", lambda *_, **named: asked.update(named))
    env, _ = train.start(args)
    judge = asked["judge"]
    assert env.mj_model.opt.timestep == (0.05 if faster else 0.025)
    for seed in args.all_seeds:
        policy = learning.new_policy(3, 1, (), key=jax.random.key(seed))
        policy.save(tmp_path / f"policy_{seed}.npz")
    scores = train.check(args, env)
    assert all(len(x) == 2 for x in scores.values())
    np.testing.assert_allclose(scores["softsim"], scores["mujoco_c"], rtol=1e-6)
    if not faster:
        assert judge is None and set(scores) == {"softsim", "mujoco_c"}
        return
    assert judge.env.mj_model.opt.timestep == 0.025 and judge.env.frame_skip == 2
    assert set(scores) == {"softsim", "mujoco_c", "mujoco_c_published"}
    assert not np.isclose(scores["mujoco_c"], scores["mujoco_c_published"], rtol=1e-4).any()


def report(iteration: int, every: int = 2) -> learning.Report:
    """As a training would give it, two seeds."""
    returns = np.arange(4.0).reshape(2, 2) + iteration
    due = iteration % every == 0
    metrics = {"reward": 0.1 * iteration}
    clock = float(iteration)
    ends = np.full((2, 2), 5)
    return learning.Report(
        iteration, 12 * iteration, clock, clock, metrics, returns, ends, due, returns[:, 0],
        None, None,
    )  # fmt: skip


@pytest.mark.parametrize("back", [2, 3])
def test_tables_of_a_resumed_training_are_those_of_a_whole_one(back: int, tmp_path: Path) -> None:
    for folder, starts in (("whole", [0]), ("parts", [0, back])):
        (tmp_path / folder).mkdir()
        for start, end in zip(starts, [*starts[1:], 4]):
            log = Log(tmp_path / folder, resume=start > 0)
            for iteration in range(start, max(end, 3) + 1):  # a kill after what is resumed from
                log.add(report(iteration), (7, 8))
            log.write()
    for name in ("progress.csv", "returns.csv"):
        tables = [read_csv(tmp_path / folder / name) for folder in ("whole", "parts")]
        whole, parts = (
            [{k: v for k, v in r.items() if k != "steps_per_s"} for r in t] for t in tables
        )
        assert whole == parts
    assert [(r["iteration"], r["seed"], r["return"]) for r in whole[:3]] == [
        ("0", "7", "0.5"), ("0", "8", "2.5"), ("2", "7", "2.5")
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2h5s", 7205)]
)
def test_a_budget_ends_a_training(
    text: str, seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the first report after it is spent."""
    clock = iter([100.0, 100.0 + seconds - 1, 100.0 + seconds + 1])
    monkeypatch.setattr(train, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    args = train.parse(["--budget", text, "--out", str(tmp_path)])
    reports = (report(i, every=100) for i in range(1, 9))
    last, _ = train.run(args, reports, (7, 8))
    assert last.iteration == 2


def test_a_folder_is_one_training_s(tmp_path: Path) -> None:
    with train.cli.lock(tmp_path), pytest.raises(ValueError, match="another process writes there"):
        train.main(train.parse(["--out", str(tmp_path)]))
    with train.cli.lock(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


OWN = """
from tests.experiments.test_train import Point

class Mine(Point):
    pass

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
    args = train.parse(["apg", "--env", "tasks_to_train:Mine", "--iterations", "1", *SMALL])
    assert args.algorithm == replace(learning.Apg(), num_envs=4, iterations=1, horizon=3, hidden=())
    _, reports = train.start(args)
    last, _ = train.run(args, reports, args.all_seeds)
    out = Path("runs/train/tasks_to_train.Mine-apg")
    assert len(read_csv(out / "progress.csv")) == 1 and len(read_csv(out / "returns.csv")) == 2
    policy, newest = (learning.load_policy(out / f"{name}_0.npz") for name in ("policy", "last"))
    same = jax.tree.map(np.array_equal, (policy, newest), (last.best[0], last.policy[0]))
    assert all(jax.tree.leaves(same))
    with pytest.raises(ValueError, match=r"Still has no actions"):
        train.start(train.parse(["--env", "tasks_to_train:Still"]))
    with pytest.raises(ValueError, match=r"no class in tasks_to_train .*there is Point, Mine"):
        train.parse(["--env", "tasks_to_train:Ours"])


@pytest.mark.slow
def test_whole_command(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    enable_compile_cache()
    preset = presets.Preset({"episode_length": 5})
    monkeypatch.setitem(presets.PRESETS, "pendulum", preset)
    command = [
        "--env",
        "pendulum",
        "--out",
        str(tmp_path),
        "--seeds",
        "2",
        "--iterations",
        "4",
        *SMALL,
    ]
    train.main(train.parse(command))
    printed = capsys.readouterr().out
    files = {"checkpoint.eqx", "policy_0.npz", "policy_1.npz", "progress.csv", "returns.csv"}
    files |= {"curve.png", "metrics.json", "last_0.npz", "last_1.npz"}
    assert {f.name for f in tmp_path.iterdir()} - {"strip.png", "episode.gif"} == files
    assert "No images: MuJoCo cannot render here" in printed or "Images of an episode" in printed
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert set(metrics["final_return"]) == {"0", "1"}
    np.testing.assert_allclose(metrics["check"]["softsim"], metrics["check"]["mujoco_c"], rtol=1e-6)


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
