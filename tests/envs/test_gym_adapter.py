"""Gymnasium's own checks of our adapters."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

import envs
from envs.gym_adapter import GymEnv, GymVectorEnv


@pytest.mark.filterwarnings("ignore:.*Not able to test alternative render modes")
@pytest.mark.filterwarnings("ignore:.*(minimum|maximum) value.*infinity")
def test_single_environment_passes_the_checker() -> None:
    check_env(GymEnv(envs.make("pendulum")))


@pytest.fixture(scope="module")
def vector() -> GymVectorEnv:
    return GymVectorEnv(envs.make("pendulum", episode_length=3), 4)


def test_vector_environment_resets_in_the_step_that_ends_an_episode(vector: GymVectorEnv) -> None:
    assert isinstance(vector, gymnasium.vector.VectorEnv)
    assert vector.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    obs, _ = vector.reset(seed=0)
    assert vector.observation_space.contains(obs)
    for i in range(3):
        obs, reward, terminated, truncated, info = vector.step(vector.action_space.sample())
        assert vector.observation_space.contains(obs)
        assert reward.shape == (4,) and reward.dtype == np.float64
        assert not terminated.any()
        assert truncated.all() == (i == 2)
    assert info["_final_obs"].all()
    assert not np.allclose(info["final_obs"], obs)


def test_same_seed_same_episode(vector: GymVectorEnv) -> None:
    first, second = vector.reset(seed=7)[0], vector.reset(seed=7)[0]
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first[0], first[1])


def test_gymnasium_wrappers_work(vector: GymVectorEnv) -> None:
    counted = gymnasium.wrappers.vector.RecordEpisodeStatistics(vector)
    counted.reset(seed=0)
    for _ in range(3):
        *_, info = counted.step(vector.action_space.sample())
    assert (info["episode"]["l"] == 3).all()
