"""Every pair of shapes: hard contacts are MJX's, soft ones are smooth, all are finite.

The full tables (1000 and 10,000 poses, all modes) come from `python -m experiments.bench contact`.
"""

import pytest

from tests.softsim.collision.cases import (
    ROUND_CASES,
    Case,
    check_continuity,
    check_convergence,
    check_finite,
    check_gradient,
    check_hard_parity,
)

N = 192
# MJX's descent on cylinder distances branches on ties: in some poses its last bits decide, more
# often than the few nudges by a rounding error that tell stable poses can find
DESCENT = {"sphere-cylinder", "capsule-cylinder", "ellipsoid-cylinder", "cylinder-cylinder"}
ELLIPSOIDS = {"sphere-ellipsoid", "capsule-ellipsoid", "ellipsoid-ellipsoid"}
QUICK = {"sphere-cylinder"}


def param(case: Case):
    """Round pairs take long to compile; one is in the fast suite."""
    quick = case.name in QUICK or case.name not in DESCENT | ELLIPSOIDS
    return pytest.param(case, marks=() if quick else pytest.mark.slow, id=case.name)


every_case = pytest.mark.parametrize("case", [param(case) for case in ROUND_CASES])


@every_case
def test_hard_contacts_are_those_of_mjx(case: Case) -> None:
    result = check_hard_parity(case, N)
    assert result["touching"] > 0.3
    least = 0.98 if case.name in DESCENT else 1.0
    assert result["good_of_stable"] >= least, result
    assert result["unstable"] == 0 or case.name in DESCENT, result


@every_case
def test_soft_contacts_and_gradients_are_finite_and_right(case: Case) -> None:
    assert check_finite(case, N, "smooth") == 1.0
    result = check_gradient(case, N, "smooth")
    assert result["good"] >= 0.999, result


@every_case
def test_soft_contacts_are_smooth_along_sweeps(case: Case) -> None:
    result = check_continuity(case, "smooth", n=250, sweeps=6)
    assert result["contacts"] < 0.55, result
    assert result["gradient"] < 0.55, result


@every_case
def test_hard_gradients_are_finite_in_every_pose(case: Case) -> None:
    assert check_finite(case, N, "hard") == 1.0


@every_case
def test_soft_contacts_approach_hard_ones(case: Case) -> None:
    result = check_convergence(case, "smooth", N)
    assert result["order"] > 0.4, result
    # MJX's descent leaves an error of 1 mm where the soft minimiser is exact
    assert min(result["dist_to_hard"], result["dist_to_exact"]) < 2e-4, result


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["hard", "smooth", "c0", "c1", "c2"])
@every_case
def test_float32_is_finite_in_every_mode(case: Case, mode: str) -> None:
    assert check_finite(case, N, mode, x64=False) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["c1", "c2"])
@every_case
def test_piecewise_modes_have_right_gradients(case: Case, mode: str) -> None:
    assert check_finite(case, N, mode) == 1.0
    assert check_gradient(case, N, mode)["good"] >= 0.999


@pytest.mark.slow
@every_case
def test_hard_contacts_are_those_of_mjx_in_float32(case: Case) -> None:
    result = check_hard_parity(case, N, x64=False)
    good = result["good_of_stable"]
    if case.name == "capsule-cylinder" and 0.98 <= good < 0.99:
        pytest.xfail(f"{good:.3f}: in one pose of a hundred MJX's descent is chaotic in float32")
    assert good >= 0.99, result
