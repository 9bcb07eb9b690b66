"""`brax.training` runs on our environments, unchanged."""

import numpy as np
import pytest

import envs

pytest.importorskip("brax")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_ppo_trains() -> None:
    from brax.training.agents.ppo import train as ppo

    from envs.brax_adapter import BraxEnv

    env = envs.make("pendulum", episode_length=50)
    seen = []
    ppo.train(
        BraxEnv(env),
        num_timesteps=2_000,
        episode_length=env.episode_length,
        num_envs=8,
        num_eval_envs=8,
        num_evals=2,
        unroll_length=10,
        batch_size=8,
        num_minibatches=2,
        num_updates_per_batch=2,
        normalize_observations=True,
        progress_fn=lambda steps, metrics: seen.append(metrics["eval/episode_reward"]),
    )
    assert len(seen) == 2 and np.isfinite(seen).all()
