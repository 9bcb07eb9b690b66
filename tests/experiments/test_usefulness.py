"""`python -m experiments.usefulness`: what counts as solved, and that it runs."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.usefulness import __main__ as usefulness
from experiments.usefulness.results import Result
from experiments.usefulness.search import PATIENCE, Restarts, Step
from experiments.usefulness.settings import Args


def test_solved_counts_the_best_miss_so_far() -> None:
    found = Result("billiard", "hard")
    for misses in ([0.5, 0.01], [0.001, 0.4]):
        found.steps.append(Step(np.zeros((2, 2)), np.array(misses), cost=4))
    np.testing.assert_array_equal(found.solved(), [0.5, 1.0])
    np.testing.assert_array_equal(found.cost(), [4, 8])


def test_a_search_that_comes_no_closer_begins_anew() -> None:
    """One halves its squared miss, one does not, one has solved the task."""
    pool = np.arange(6.0).reshape(3, 2)
    restarts = Restarts(pool, tolerance=0.02, seed=0)
    miss = np.array([0.3, 0.3, 0.01])
    while not restarts.spent + 40 >= PATIENCE:
        assert not restarts(miss, 40).any()
    np.testing.assert_array_equal(restarts(np.array([0.2, 0.25, 0.5]), 40), [False, True, False])
    assert all(start in pool.tolist() for start in restarts.anew(8).tolist())
    # the new search is judged by its own misses: the first check sees one that halves, one that not
    for near in (0.9, 0.9, 0.89):
        stuck = restarts(np.array([0.1, near, 0.5]), 40)
    np.testing.assert_array_equal(stuck, [False, True, False])


@pytest.mark.parametrize("bad", [{"reach": 0.0}, {"starts": -1}, {"tasks": ()}])
def test_bad_settings_are_refused_by_name(bad: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        Args(**bad)


@pytest.mark.slow
def test_writes_numbers_and_figures(tmp_path: Path) -> None:
    usefulness.main(Args(tmp_path, tasks=("billiard",), quick=True))
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["tasks"]["billiard"]["hard"]["solved"] == 0
    for name in ("misses.csv", "landscapes.csv", "success.png", "landscapes.png"):
        assert (tmp_path / name).stat().st_size > 0
