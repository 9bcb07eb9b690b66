"""The package imports fast, is typed, and its pins belong together."""

import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from experiments.command import PROGRAMS

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TIMED_IMPORT = """
import time
start = time.process_time()
import jax
before = dict(jax.config.values)
import mujoco.mjx
theirs = time.process_time() - start
import softsim
print(theirs, time.process_time() - start)
assert dict(jax.config.values) == before
"""


def pins() -> dict[str, str]:
    """Names and versions that are held on this Python."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    held = [Requirement(line) for line in lines if line and not line.startswith("#")]
    wanted = [r for r in held if r.marker is None or r.marker.evaluate()]
    return {r.name: str(r.specifier).removeprefix("==") for r in wanted}


def test_import_takes_less_than_three_seconds_and_leaves_settings_alone() -> None:
    """Or, on a machine so busy that stock MJX takes most of that, little more than stock MJX."""
    best = (float("inf"), 0.0)
    for _ in range(3):
        run = subprocess.run(
            [sys.executable, "-c", TIMED_IMPORT], capture_output=True, text=True, check=True
        )
        theirs, total = map(float, run.stdout.split()[-2:])
        best = min(best, (total, theirs))
        if best[0] < 3.0:
            break
    assert best[0] < max(3.0, 1.6 * best[1])


@pytest.mark.parametrize("package", ["softsim", "softjax_ops", "envs", "experiments"])
def test_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()


def test_installed_version_is_the_one_declared() -> None:
    assert metadata.version("softsim") == PROJECT["version"]


def test_mujoco_and_mjx_are_of_one_series() -> None:
    assert pins()["mujoco"] == pins()["mujoco-mjx"]
    assert metadata.version("mujoco") == metadata.version("mujoco-mjx")


def test_every_requirement_is_pinned_within_its_range() -> None:
    extras = [r for e in ("dev", "docs", "render") for r in PROJECT["optional-dependencies"][e]]
    pinned = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins().items()}
    for text in [*PROJECT["dependencies"], *extras]:
        requirement = Requirement(text)
        assert Version(pinned[requirement.name]) in requirement.specifier, text


def test_command_answers_at_once_and_prints_nothing_else() -> None:
    """Its help loads no JAX; a wrong word is answered with the right ones."""
    code = (
        "from experiments.command import main; import sys; main(); assert 'jax' not in sys.modules"
    )
    call = lambda *words: subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT
    )
    good, bad = call("--help"), call("trian")
    assert good.returncode == 0 and good.stdout.startswith("usage: softsim") and not good.stderr
    assert bad.returncode == 2 and "train" in bad.stderr and not bad.stdout
    for module, _ in PROGRAMS.values():
        file = ROOT / "experiments" / (module.replace(".", "/") + ".py")
        assert "\ndef command() -> None:" in file.read_text()


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_supported_pythons(python: str) -> None:
    assert python in SpecifierSet(PROJECT["requires-python"])
    assert f"Programming Language :: Python :: {python}" in PROJECT["classifiers"]
