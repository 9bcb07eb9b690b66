"""The comparison of planners in closed loop: its findings, its settings, tasks of one's own."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.mpc import __main__ as mpc
from experiments.mpc.__main__ import Args
from experiments.mpc.findings import Record, compare
from experiments.mpc.tasks import PROBLEMS, find


def test_a_finding_says_how_many_steps_the_same_cost_takes() -> None:
    runs = [
        Record("t", "mppi", 16, 1, 5.0, 0.0, 1000, 0.1, 1.0),
        Record("t", "mppi", 16, 2, 5.5, 0.0, 2000, 0.2, 1.0),
        Record("t", "mppi", 16, 4, 3.0, 0.0, 4000, 0.4, 1.0),
        Record("t", "shooting", 0, 1, 4.0, 0.0, 200, 0.1, 1.0),
        Record("t", "shooting", 0, 2, 2.9, 0.0, 400, 0.2, 1.0),
        Record("t", "ilqr", 7, 1, 3.5, 0.0, 100, 0.1, 1.0),
    ]
    said = compare(runs)
    assert said[0].endswith("for its simulated steps: 5 (1000 steps), 3 (4000 steps).")
    assert "shooting reaches them with 0.20, 0.10 of the steps" in said[1]
    assert "ilqr reaches them with 0.10, none of the steps (none: not with" in said[2]
    assert (
        "best costs within 100 ms per control step: shooting 4, ilqr with 7 proposals 3.5, mppi 5;"
        in said[3]
    )


@pytest.mark.slow
def test_quick_run(tmp_path: Path) -> None:
    mpc.main(Args(tmp_path, quick=True))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert {run["method"] for run in metrics["runs"]} == {"shooting", "ilqr", "mppi", "cem"}
    assert all(np.isfinite(run["cost"]) and run["real_time"] > 0 for run in metrics["runs"])
    files = {file.name for file in tmp_path.iterdir()} - {"cartpole.gif"}  # needs OpenGL
    assert files == {"metrics.json", "mpc.csv", "mpc.png"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"tasks": ()}, "--tasks"), ({"rounds": (0,)}, "--rounds"), ({"samples": (0,)}, "--samples")],
)
def test_bad_settings_name_themselves(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Args(**settings)


@pytest.mark.parametrize(
    "name", ["arm", "no_module:problem", "experiments.mpc:main_", "json:dumps"]
)
def test_a_task_that_is_none_is_named(name: str) -> None:
    with pytest.raises(ValueError, match="--tasks"):
        find(name)


def test_a_task_of_ones_own_is_found_by_its_module() -> None:
    assert find("experiments.mpc.tasks:cartpole").horizon == find("cartpole").horizon
    assert len(PROBLEMS) == 3
