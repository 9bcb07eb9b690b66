"""Our environments as Gymnasium ones, single and vectorised. Needs the `gymnasium` package."""

from typing import Any

import gymnasium
import jax
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from envs.base import Env, State, reset_where_done


def _spaces(env: Env) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Box]:
    """Observations without bounds, actions in [-1, 1]."""
    observation = gymnasium.spaces.Box(-np.inf, np.inf, (env.observation_size,), np.float64)
    return observation, gymnasium.spaces.Box(-1.0, 1.0, (env.action_size,), np.float32)


def _obs(state: State) -> NDArray[np.float64]:
    return np.asarray(state.obs, np.float64)


def _seed(generator: np.random.Generator) -> int:
    return int(generator.integers(2**31))


class GymEnv(gymnasium.Env):
    """One environment. It ends by `terminated` (failure) or `truncated` (time limit)."""

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 (Gymnasium's contract)

    def __init__(self, env: Env) -> None:
        self.env = env
        self.observation_space, self.action_space = _spaces(env)
        self._reset, self._step = jax.jit(env.reset), jax.jit(env.step)
        self._state: State | None = None

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        self._state = self._reset(jax.random.key(_seed(self.np_random)))
        return _obs(self._state), {}

    def step(self, action: NDArray):
        if self._state is None:
            raise RuntimeError("step before reset")
        self._state = state = self._step(self._state, np.asarray(action, state_dtype(self._state)))
        truncated = bool(state.truncation)
        terminated = bool(state.done) and not truncated
        metrics = {name: float(value) for name, value in state.metrics.items()}
        return _obs(state), float(state.reward), terminated, truncated, metrics


class GymVectorEnv(VectorEnv):
    """Many environments in one compiled step, reset in the step that ends them.

    The last observations of ended episodes are in `info["final_obs"]`, valid where
    `info["_final_obs"]`.
    """

    def __init__(self, env: Env, num_envs: int) -> None:
        self.env = env
        self.num_envs = num_envs
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.single_observation_space, self.single_action_space = _spaces(env)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self._reset = jax.jit(jax.vmap(env.reset))
        self._step = jax.jit(jax.vmap(self._step_and_reset))
        self._state: State | None = None

    def _step_and_reset(self, state: State, action: jax.Array) -> tuple[State, State]:
        after = self.env.step(state, action)
        return after, reset_where_done(self.env, after)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        keys = jax.random.split(jax.random.key(_seed(self.np_random)), self.num_envs)
        self._state = self._reset(keys)
        return _obs(self._state), {}

    def step(self, actions: NDArray):
        if self._state is None:
            raise RuntimeError("step before reset")
        after, self._state = self._step(self._state, np.asarray(actions, state_dtype(self._state)))
        done = np.asarray(after.done) > 0
        truncated = np.asarray(after.truncation) > 0
        info = {name: np.asarray(value) for name, value in after.metrics.items()}
        if done.any():
            info |= {"final_obs": _obs(after), "_final_obs": done}
        reward = np.asarray(after.reward, np.float64)
        return _obs(self._state), reward, done & ~truncated, truncated, info


def state_dtype(state: State) -> np.dtype:
    """The float dtype of the physics."""
    return state.obs.dtype
