"""The script for an accelerator: a dry run of all of it, its clock, and what it goes on with."""

import json
from pathlib import Path

import jax
import pytest

from experiments.bench import gpu
from experiments.bench.gpu_checks import checks


@pytest.fixture
def settings():
    """The benchmark switches the compile cache off, for itself alone."""
    before = jax.config.jax_enable_compilation_cache
    yield
    jax.config.update("jax_enable_compilation_cache", before)


@pytest.mark.slow
def test_a_dry_run_measures_everything(tmp_path: Path, settings) -> None:
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


def test_what_is_stored_is_not_measured_again_and_the_clock_is_kept(tmp_path: Path) -> None:
    report = gpu.Report(gpu.Args(out=tmp_path, minutes=1.0))
    fails = lambda: 1 / 0
    report.measure("a, 4: softsim forward", "a", lambda: {"steps per second": 30.0})
    report.measure("a, 4: mjx forward", "a", lambda: {"steps per second": 20.0})
    report.measure("b", "b", fails)
    assert report.rows["b"] == {"error": "division by zero"}
    assert gpu.compared(report.rows)[0]["4, times MJX's"] == "1.50"

    again = gpu.Report(gpu.Args(out=tmp_path, minutes=1.0))
    again.measure("a, 4: mjx forward", "a", fails)  # is there already
    assert again.rows["a, 4: mjx forward"] == {"steps per second": 20.0}
    again.measure("b", "b", lambda: {"ms": 1.0})  # was not
    assert again.rows["b"] == {"ms": 1.0}
    again.took["c"] = 100.0
    again.measure("c", "c", fails)  # would take longer than there is time
    assert again.left_out == ["c"] and "c" not in again.rows
