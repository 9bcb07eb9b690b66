"""Settings are checked when they are given: an error names the field, its value and what fits."""

import dataclasses

import pytest

from softsim.learning import Apg, Shac, Softness

INF, NAN = float("inf"), float("nan")
COUNT, ABOVE, LEAST, SHARE = "a whole number of at", "above 0", "at least 0", "from 0 to 1"


@pytest.mark.parametrize(
    ("kind", "field", "values", "expected"),
    [
        (Shac, "iterations", (0, -1, 1.5, True, "10", None), COUNT),
        (Shac, "num_envs", (0, 2.0), COUNT),
        (Shac, "horizon", (0,), COUNT),
        (Shac, "hidden", ((0,), [64], 64, (8.0,)), "a tuple of whole numbers"),
        (Shac, "actor_rate", (0.0, -1.0, INF, NAN, "fast"), ABOVE),
        (Shac, "max_norm", (0.0, NAN), ABOVE),
        (Shac, "final_norm", (0.0, NAN), ABOVE),
        (Shac, "init_std", (0.0, INF), ABOVE),
        (Shac, "randomize", ({"body_mass": 0.0}, {"body_mass": 1.5}), "below 1"),
        (Shac, "episode", (1, 2.5), "at least 2 actions, or None"),
        (Shac, "critic_rate", (0.0, INF), ABOVE),
        (Shac, "discount", (-0.1, 1.1, NAN), SHARE),
        (Shac, "td_lambda", (-0.1, 1.1), SHARE),
        (Shac, "critic_epochs", (0,), COUNT),
        (Shac, "critic_batches", (0,), COUNT),
        (Shac, "target_keep", (1.1,), SHARE),
        (Shac, "outlier", (0.0, NAN, INF), ABOVE),
        (Shac, "averaging", (-0.1, 1.0), "from 0 to below 1"),
        (Shac, "fading", (-0.1, NAN, INF), LEAST),
        (Shac, "estimator", ("second", None), "one of first, zeroth, mixed"),
        (Shac, "groups", (0,), COUNT),
        (Shac, "softness", ("soft",), "a softsim.learning.Softness"),
        (Apg, "truncate", (0, 1.5), "at least 1 action, or None"),
        (Softness, "softening", ("mushy",), "one of hard, saltation, soft, straight_through"),
        (Softness, "softness", (0.0, INF), ABOVE),
        (Softness, "reach", (-1.0, NAN), LEAST),
        (Softness, "anneal", (0.0, 1.1), "above 0, at most 1"),
    ],
)
def test_a_bad_value_is_refused_by_name(kind, field, values, expected) -> None:
    for value in values:
        with pytest.raises(ValueError, match=rf"{kind.__name__}.{field}: got .*{expected}"):
            kind(**{field: value})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_envs": 1, "horizon": 3}, r"num_envs \* horizon: got 3 steps .*critic_batches, 4"),
        ({"estimator": "mixed", "num_envs": 4}, "groups: got 8, expected at least 2 that divide"),
        ({"estimator": "mixed", "groups": 1}, "groups: got 1, expected at least 2"),
    ],
)
def test_settings_that_do_not_fit_each_other(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=f"Shac.{message}"):
        Shac(**settings)


@pytest.mark.parametrize("kind", [Shac, Apg, Softness])
def test_settings_are_frozen_and_hashable(kind) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(kind(), dataclasses.fields(kind)[0].name, 1)
    assert hash(kind()) == hash(kind()) and kind() == kind()
