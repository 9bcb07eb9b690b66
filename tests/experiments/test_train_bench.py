"""The comparison of trainings, from curves whose answer is known."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.bench import training
from experiments.cli import write_csv
from tests.experiments.tables import read_csv

STEPS = np.arange(5) * 100


def finished(folder: Path, algo: str, returns: list[list[float]], seconds: np.ndarray) -> Path:
    """A folder as `experiments.train` or `experiments.bench.ppo` leaves it."""
    folder.mkdir()
    rows = [(s, *x) for s, curve in enumerate(returns) for x in zip(STEPS, seconds, seconds, curve)]
    names = ("seed", "env_steps", "seconds", "cpu_seconds", "return")
    write_csv(folder / "returns.csv", dict(zip(names, zip(*rows))))
    metrics = {"settings": {"env": "cartpole"}, "command": "python"}
    if algo != "ppo":
        metrics["algo"] = algo
        metrics["algorithm"] = {"softness": "Softness(softening='straight_through', reach=0.05)"}
        metrics["check"] = {"softsim": [10.0], "mujoco_c": [9.0], "mujoco_c_published": [8.0]}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def test_steps_and_time_to_the_goal_are_counted_without_the_start(tmp_path: Path) -> None:
    """The first interval takes 7 s more than the others; two seeds share the time."""
    ours = [[-50.0, 10, 20, 90, 100], [-50.0, 95, 20, 90, 100]]
    shac = finished(tmp_path / "shac", "shac", ours, np.array([0, 9, 11, 13, 15]))
    peer = finished(tmp_path / "ppo", "ppo", [[0.0, 20, 40, 100, 80]], np.arange(5) * 3)
    out = tmp_path / "out"
    training.main(training.Args(runs=[peer], out=out))
    training.main(training.Args(runs=[shac], out=out))

    rows = {row["algo"]: row for row in read_csv(out / "training.csv")}
    assert set(rows) == {"ppo", "shac straight-through, reach 0.05 m"}
    mine = rows["shac straight-through, reach 0.05 m"]
    assert float(mine["goal"]) == 90
    assert float(mine["steps to goal"]) == 200  # the median of 300 and 100
    assert float(mine["CPU s to goal"]) == 2  # of 3 and 1
    assert float(mine["CPU s of the start"]) == 7
    assert float(mine["MuJoCo C"]) == 9
    assert float(rows["ppo"]["steps to goal"]) == 300 and float(rows["ppo"]["CPU s to goal"]) == 9
    assert len(read_csv(out / "training_curves.csv")) == 15
    assert (out / "training.png").exists() and (out / "training.md").exists()


def test_a_folder_without_a_finished_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no finished run"):
        training.main(training.Args(runs=[tmp_path], out=tmp_path / "out"))
    with pytest.raises(ValueError, match="--runs: got none"):
        training.main(training.Args(out=tmp_path / "out"))
