"""The studies: their quick runs work and say what they claim; the report repeats stored results."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.optimize

from experiments.studies import (
    billiard,
    bounce,
    horizon,
    manifold,
    operators,
    recovery,
    report,
    toss,
)
from experiments.studies.trend import Inputs
from tests.experiments.tables import read_csv

MODULES = (
    billiard, bounce, horizon, manifold, operators, recovery,
    toss,
)  # fmt: skip


def test_a_trend_sees_through_teeth_and_is_exact_for_parabolas() -> None:
    """x^2 - 3 x with teeth that fall by 1 once in 0.01: their own slope is 100, the trend's 0."""
    inputs = Inputs(low=0.0, high=1.0, spacing=0.001, half=100)
    x = inputs.every()
    smooth = x**2 - 3 * x
    np.testing.assert_allclose(inputs.trend(smooth), inputs.inner(2 * x - 3), atol=1e-9)
    teeth = np.modf(x / 0.01 + 100.0005)[0]
    assert np.median(np.diff(teeth)) > 0.09
    assert np.max(np.abs(inputs.trend(smooth + 0.01 * teeth) - inputs.inner(2 * x - 3))) < 0.01


def test_straight_through_around_factors_loses_the_gradient_of_a_gap() -> None:
    trap = manifold.pitfall(0.1)
    apart = trap.gap > 0.02
    np.testing.assert_array_equal(trap.value[apart], 0.0)
    np.testing.assert_array_equal(trap.each[apart], 0.0)
    np.testing.assert_allclose(trap.whole, trap.soft)
    assert np.abs(trap.whole[apart]).max() > 1e-3


def test_steps_within_a_radius_are_those_of_scipy() -> None:
    """min |r + J s| with |s| <= radius."""
    generator = np.random.default_rng(0)
    r, J = generator.normal(size=(20, 2)), generator.normal(size=(20, 2, 2))
    radius = generator.uniform(0.1, 2.0, size=20)
    steps = billiard.shorter(r, J, radius)
    for r_i, J_i, radius_i, step in zip(r, J, radius, steps):
        inside = {"type": "ineq", "fun": lambda s, most=radius_i: most**2 - s @ s}
        square = lambda s, r=r_i, J=J_i: np.sum((r + J @ s) ** 2)
        wanted = scipy.optimize.minimize(square, np.zeros(2), constraints=[inside], tol=1e-12)
        np.testing.assert_allclose(square(step), wanted.fun, rtol=1e-4, atol=1e-8)
        assert np.linalg.norm(step) <= radius_i * (1 + 1e-6)
    np.testing.assert_array_equal(billiard.shorter(r, 0 * J, radius), 0.0)


def test_the_report_repeats_what_is_stored(tmp_path: Path) -> None:
    folder = tmp_path / "experiments" / "results" / "bounce"
    folder.mkdir(parents=True)
    made = {"cpus": 2, "devices": ["cpu"], "dtype": "float64"}
    stored = {
        "command": "python -m experiments.studies.bounce",
        "machine": made,
        "versions": {"jax": "0", "mujoco": "0"},
        "table": [{"integration": "step", "off": "1 mm"}],
        "findings": ["It was found."],
    }
    (folder / "metrics.json").write_text(json.dumps(stored))
    (tmp_path / "docs").mkdir()
    page = tmp_path / "docs" / "studies.md"
    report.main(report.Args(folder.parent, page))
    text = page.read_text()
    assert "| step | 1 mm |" in text
    assert text.count("It was found.") == 2
    assert "`toss`" in text
    with pytest.raises(ValueError, match="no study has results"):
        report.main(report.Args(tmp_path / "docs", page))


@pytest.mark.parametrize(
    ("module", "settings", "message"),
    [
        (bounce, {"low": 0.5}, "--low 0.5 --high 0.4"),
        (toss, {"shapes": ("cube",)}, "--shapes cube"),
        (billiard, {"reach": -1.0}, "--reach: got -1.0"),
        (manifold, {"points": 2}, "--points"),
        (horizon, {"horizons": (1,)}, "--horizons"),
        (recovery, {"tosses": 1}, "--tosses: got 1"),
    ],
)
def test_bad_settings_name_themselves(module, settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module.Args(**settings)


@pytest.mark.slow
@pytest.mark.parametrize("module", MODULES, ids=lambda m: m.__name__.split(".")[-1])
def test_quick_run(module, tmp_path: Path) -> None:
    module.main(module.Args(out=tmp_path, quick=True))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["table"] and metrics["findings"]
    assert list(tmp_path.glob("*.png")) and list(tmp_path.glob("*.csv"))


@pytest.mark.slow
def test_only_event_aware_derivatives_of_a_bounce_follow_the_trend(tmp_path: Path) -> None:
    small = {"low": 0.28, "high": 0.32, "spacing": 0.002}
    bounce.main(bounce.Args(tmp_path, **small, timesteps=(2e-3,), tolerances=(1e-5,)))
    rows = json.loads((tmp_path / "metrics.json").read_text())["table"]
    percent = lambda row, name: float(row[f"{name} off"].rstrip("%"))
    for row in rows[:2]:  # MuJoCo's default contact, fixed steps and error control
        assert percent(row, "saltation") < 15 < 80 < percent(row, "hard"), row
    seen = read_csv(tmp_path / "arrival.csv")
    mean = lambda name: np.mean([float(row[name]) for row in seen])
    assert abs(mean("saltation") - mean("trend")) < 0.1 * abs(mean("hard") - mean("trend"))


@pytest.mark.slow
def test_contact_from_a_distance_finds_the_ball(tmp_path: Path) -> None:
    settings = {"reach": 0.2, "timesteps": (0.004,), "points": 41, "starts": 16}
    billiard.main(billiard.Args(tmp_path, **settings, iterations=12))
    rows = read_csv(tmp_path / "shots.csv")
    share = lambda key: np.mean([float(row[key]) < billiard.HIT for row in rows])
    assert share("miss_m, reach, 4 ms") > share("miss_m, hard, 4 ms")
    assert share("miss_m, saltation + reach, 4 ms") >= share("miss_m, saltation, 4 ms")


@pytest.mark.slow
def test_known_parameters_are_recovered(tmp_path: Path) -> None:
    recovery.main(recovery.Args(tmp_path, repeats=2))
    rows = json.loads((tmp_path / "metrics.json").read_text())["table"]
    assert all(float(row["error, worst"].rstrip("%")) < 2 for row in rows)
