"""The script for an accelerator: a dry run of all of it, its clock, and what it goes on with."""

import json
import os
import time
from functools import partial
from pathlib import Path

import pytest

from experiments.bench import gpu
from experiments.bench.gpu_checks import checks
from experiments.bench.gpu_programs import Waiting, compile_all, operator


@pytest.mark.slow
def test_a_dry_run_measures_everything(tmp_path: Path) -> None:
    gpu.main(gpu.Args(out=tmp_path, quick=True, minutes=60))
    [stored] = tmp_path.glob("gpu_*.json")
    report = json.loads(stored.read_text())
    rows = report["rows"]
    assert report["left out"] == [] and report["machine"]["devices"]
    assert [key for key, row in rows.items() if "error" in row or not row.get("ok", True)] == []
    assert {check.name for check in checks(("hopper",))} <= rows.keys()
    for program in ("softsim forward", "softsim gradient", "mjx forward", "mjx gradient"):
        row = rows[f"hopper, 2: {program}"]
        assert row["finite"] and row["steps per second"] > 0 and row["compile s"] > 0
    assert "hopper, gradient" in stored.with_suffix(".md").read_text()


def test_what_is_stored_is_not_measured_again(tmp_path: Path) -> None:
    report = gpu.Report(gpu.Args(out=tmp_path, minutes=1.0))
    report.store("a, 4: softsim forward", {"steps per second": 30.0})
    report.store("a, 4: mjx forward", {"steps per second": 20.0})
    report.store("b", {"error": "out of memory"})
    assert gpu.compared(report.rows)[0]["4, times MJX's"] == "1.50"

    again = gpu.Report(gpu.Args(out=tmp_path, minutes=1.0))
    assert not again.lacks("a, 4: mjx forward")
    assert again.lacks("b") and again.lacks("c")
    fresh = gpu.Report(gpu.Args(out=tmp_path, minutes=1.0, fresh=True))
    assert fresh.lacks("a, 4: mjx forward")


def sleeps(seconds: float) -> dict[str, float]:
    """A task that takes so long."""
    time.sleep(seconds)
    return {"slept": seconds}


@pytest.mark.slow
def test_tasks_share_the_processes_until_the_deadline() -> None:
    """A program is compiled and timed on request; errors and deaths are rows; the slow is left."""
    tasks = {
        "sort": partial(operator, "sort", "softsort", 8),
        "sleeps": partial(sleeps, 0.0),
        "refused": partial(operator, "sort", "no such method", 8),
        "dies": partial(os._exit, 1),
        "hangs": partial(sleeps, 3600.0),
    }
    found = {}
    for name, result in compile_all(tasks, 3, time.perf_counter() + 40.0):
        found[name] = result
        if len(found) == 4:
            break  # what runs is stopped
    assert found.keys() == tasks.keys() - {"hangs"}
    assert found["sleeps"] == {"slept": 0.0}
    assert "no such method" in found["refused"]["error"] and "died" in found["dies"]["error"]
    assert isinstance(found["sort"], Waiting) and found["sort"].took > 0
    row = found["sort"].time(2, 30.0)
    assert row["finite"] and row["ms"] > 0 and row["compile s"] == found["sort"].took
