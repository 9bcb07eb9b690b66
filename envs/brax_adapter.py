"""Our environments as Brax ones, so that `brax.training` runs on them unchanged.

Needs `softsim[brax]`.
"""

import jax
import jax.numpy as jnp
from brax.envs.base import Env as Base
from brax.envs.base import State as BraxState

from envs.base import Env, State

if not hasattr(jax, "device_put_replicated"):
    # Brax up to 0.14 calls what JAX 0.10 has removed: a copy on every device, on a new first axis.
    replicate = lambda tree, devices: jax.tree.map(
        lambda x: jnp.broadcast_to(x, (len(devices), *jnp.shape(x))), tree
    )
    setattr(jax, "device_put_replicated", replicate)  # noqa: B010


class BraxEnv(Base):
    """One environment; Brax's own wrappers vectorise it, limit its episodes and reset it.

    `done` is failure alone: give the time limit to Brax, as `episode_length=env.episode_length`.
    """

    def __init__(self, env: Env) -> None:
        self.env = env

    def reset(self, rng: jax.Array) -> BraxState:
        return _to_brax(self.env.reset(rng), {}, {})

    def step(self, state: BraxState, action: jax.Array) -> BraxState:
        ours = self.env.step(state.pipeline_state, action)
        return _to_brax(ours, state.info, state.metrics)

    @property
    def observation_size(self) -> int:
        return self.env.observation_size

    @property
    def action_size(self) -> int:
        return self.env.action_size

    @property
    def backend(self) -> str:
        return "softsim"


def _to_brax(state: State, info: dict, metrics: dict) -> BraxState:
    """Our whole state is Brax's `pipeline_state`; Brax's wrappers keep their own in the rest."""
    failed = state.done * (1.0 - state.truncation)
    # an episode counts its steps itself; here Brax does, and may reset to any earlier state
    ours = state.replace(steps=jnp.zeros_like(state.steps))
    return BraxState(ours, ours.obs, ours.reward, failed, metrics | ours.metrics, info)
