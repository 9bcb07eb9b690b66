"""The shared tools: folders, safe writing, errors on one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import cli
from softsim.cache import cache_folder
from tests.experiments.tables import read_csv


def test_open_folder_makes_it(tmp_path: Path) -> None:
    folder = cli.open_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert not list(folder.iterdir())


def test_open_folder_refuses_a_file(tmp_path: Path) -> None:
    file = tmp_path / "taken"
    file.write_text("kept")
    with pytest.raises(ValueError, match="taken: cannot write there"):
        cli.open_folder(file)
    assert file.read_text() == "kept"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_open_folder_refuses_what_it_may_not_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="cannot write there"):
        cli.open_folder(tmp_path / "a")


def test_json_has_no_nan(tmp_path: Path) -> None:
    data = {"a": np.float32(1.5), "b": [np.nan, np.inf, 2], "c": np.arange(3), "d": True}
    cli.write_json(tmp_path / "m.json", data)
    read = json.loads((tmp_path / "m.json").read_text())
    assert read == {"a": 1.5, "b": [None, None, 2], "c": [0, 1, 2], "d": True}


def test_csv(tmp_path: Path) -> None:
    cli.write_csv(tmp_path / "t.csv", {"x": [1, 2], "y": np.array([0.5, 0.25])})
    rows = read_csv(tmp_path / "t.csv")
    assert rows == [{"x": "1", "y": "0.5"}, {"x": "2", "y": "0.25"}]


def test_what_was_written_before_is_kept_when_writing_fails(tmp_path: Path) -> None:
    target = tmp_path / "m.json"
    cli.write_json(target, {"a": 1})
    with pytest.raises(TypeError):
        cli.write_json(target, {"a": object()})
    with pytest.raises(ValueError):
        cli.write_csv(target, {"x": [1, 2], "y": [1]})
    assert json.loads(target.read_text()) == {"a": 1}
    assert list(tmp_path.iterdir()) == [target]


def test_bad_input_is_one_line_and_writes_nothing(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = subprocess.run(
        [sys.executable, "-m", "experiments.compare_gradients"]
        + ["--model", str(tmp_path / "none.xml"), "--out", str(out)],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 2
    assert run.stderr.strip().splitlines() == [
        f"error: --model {tmp_path / 'none.xml'}: no such file"
    ]
    assert not out.exists()


def test_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "softsim" / "jax"
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
