"""A task of thirty lines that knows nothing of softsim: a cart that is to stand at the origin."""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class State(NamedTuple):
    obs: jax.Array
    reward: jax.Array
    done: jax.Array


class Cart:
    observation_size = 2  # position (m) and velocity (m/s)
    action_size = 1  # acceleration, 2 m/s^2
    episode_length = 30  # steps of 0.1 s

    def reset(self, key):
        return State(jax.random.uniform(key, (2,), minval=-1.0, maxval=1.0), 0.0, False)

    def step(self, state, action):
        x, v = state.obs
        v = v + 0.2 * action[0]
        x = x + 0.1 * v
        reward = 1.0 - x**2 - 0.1 * v**2 - 0.01 * action[0] ** 2
        return State(jnp.stack([x, v]), reward, jnp.abs(x) > 3.0)
