"""What is said about gradients, on curves whose faults are known."""

import numpy as np

from experiments.compare_gradients.findings import (
    Curve,
    findings,
    intervals,
    jumped,
    typical_slope,
    vanished,
)

X = np.linspace(0.0, 2.0, 41)
RAMP = Curve(np.maximum(X - 1.0, 0.0), (X > 1.0).astype(float))  # flat, then slope 1
LINE = Curve(3 * X, np.full_like(X, 3.0))


def said(curve: Curve, differences: np.ndarray, reference: Curve) -> list[str]:
    return findings(X, {"hard": curve}, differences, reference)


def test_a_right_gradient_is_said_to_agree() -> None:
    texts = said(LINE, LINE.gradient, LINE)
    assert len(texts) == 2
    assert all("agrees" in text and "everywhere" in text for text in texts)


def test_a_flat_part_is_named() -> None:
    texts = said(RAMP, RAMP.gradient, RAMP)
    assert "hard: the gradient vanishes for 0 to 1." in texts
    assert "hard: the gradient jumps near 1.025 (by up to 1)." in texts


def test_numbers_have_units() -> None:
    texts = findings(X, {"hard": RAMP}, RAMP.gradient, RAMP, "rad/s")
    assert "hard: the gradient vanishes for 0 to 1 rad/s." in texts
    assert "hard: the gradient jumps near 1.025 rad/s (by up to 1 m per rad/s)." in texts


def test_disagreement_and_wrong_sign() -> None:
    wrong = Curve(LINE.loss, np.where(X > 1.5, -3.0, 3.0))
    texts = said(wrong, LINE.gradient, LINE)
    assert any("disagrees with finite differences" in t and "wrong sign at 24%" in t for t in texts)


def test_not_finite_is_all_that_is_said() -> None:
    broken = Curve(LINE.loss, np.where(X > 1.92, np.nan, 3.0))
    assert said(broken, LINE.gradient, LINE) == ["hard: the gradient is not finite for 1.95 to 2."]


def test_an_outcome_that_does_not_move() -> None:
    """Rounding is not a slope: nothing is said of jumps and signs, but what to watch instead."""
    still = Curve(np.ones_like(X), np.zeros_like(X))
    rounding = 1e-16 * np.cos(37 * X)
    shaken = Curve(1.0 + rounding, rounding)
    for curve in (still, shaken):
        (text,) = said(curve, curve.gradient, curve)
        assert text.startswith("The outcome does not depend on the input") and "--weights" in text


def test_smooth_gradients_do_not_jump() -> None:
    assert not jumped(np.sin(3 * X)).any()
    assert not jumped(np.ones_like(X)).any()
    assert not vanished(np.ones_like(X), typical_slope(X, LINE)).any()


def test_intervals() -> None:
    x = np.arange(6.0)
    assert intervals(x, np.array([1, 1, 0, 1, 0, 1], bool)) == "0 to 1, 3, 5"
    many = np.arange(20.0)
    assert intervals(many, many % 2 == 0).endswith("and 6 more ranges")
