"""Our environments as Brax ones, so that `brax.training` runs on them unchanged. Needs `brax`."""

import jax
import jax.numpy as jnp
from brax.envs.base import Env as Base
from brax.envs.base import State as BraxState

from envs.base import Env, State


class BraxEnv(Base):
    """One environment; Brax's own wrappers vectorise it, limit its episodes and reset it.

    `done` is failure alone: give the time limit to Brax, as `episode_length=env.episode_length`.
    """

    def __init__(self, env: Env) -> None:
        self.env = env

    def reset(self, rng: jax.Array) -> BraxState:
        return _to_brax(self.env.reset(rng), {})

    def step(self, state: BraxState, action: jax.Array) -> BraxState:
        ours, info = state.pipeline_state, state.info
        return _to_brax(self.env.step(ours, action), info)

    @property
    def observation_size(self) -> int:
        return self.env.observation_size

    @property
    def action_size(self) -> int:
        return self.env.action_size

    @property
    def backend(self) -> str:
        return "softsim"


def _to_brax(state: State, info: dict) -> BraxState:
    """Our whole state is Brax's `pipeline_state`; `info` is left to Brax's wrappers."""
    failed = state.done * (1.0 - state.info["truncation"])
    # an episode counts its steps itself; here Brax does, and may reset to any earlier state
    ours = state.replace(info=state.info | {"steps": jnp.zeros_like(state.info["steps"])})
    return BraxState(ours, ours.obs, ours.reward, failed, ours.metrics, info)
