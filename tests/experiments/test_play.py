"""Stored policies play in Gymnasium's own environments, without our physics."""

from pathlib import Path

import pytest

from experiments import play
from softsim import learning

BODIES = ("cinert", "cvel", "qfrc_actuator", "cfrc_ext")
POLICIES = Path(play.__file__).parent / "results" / "policies"


@pytest.mark.parametrize(
    ("file", "env", "least", "options"),
    [
        ("hopper", "Hopper-v5", 3000.0, {}),
        ("walker2d", "Walker2d-v5", 3500.0, {}),
        ("half_cheetah", "HalfCheetah-v5", 6000.0, {}),
        ("ant", "Ant-v5", 4000.0, {"include_cfrc_ext_in_observation": False}),
        ("humanoid", "Humanoid-v5", 5000.0, {f"include_{b}_in_observation": False for b in BODIES}),
    ],
)
def test_a_stored_policy_runs_in_mujoco_c(
    file: str, env: str, least: float, options: dict[str, bool]
) -> None:
    policy = learning.load_policy(POLICIES / f"{file}.npz")
    (total, length), *_ = play.play(env, policy, [7], **options)
    assert total > least and length == 1000


def test_a_policy_of_another_task_is_refused() -> None:
    policy = learning.load_policy(POLICIES / "hopper.npz")
    with pytest.raises(ValueError, match=r"Walker2d-v5: observes \(17,\), .* expects \(11,\)"):
        play.play("Walker2d-v5", policy, [7])
