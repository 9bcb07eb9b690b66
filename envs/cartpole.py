"""Swing a pole up by moving the cart it hangs from, and balance it."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco

from envs.base import Env

MODEL = Path(__file__).parent / "models" / "cartpole.xml"


class Cartpole(Env):
    """Cartpole swing-up; the angle is 0 upright, pi hanging.

    Observation (5): cart position (m), cos and sin of the angle, velocities (m/s, rad/s).
    Action (1): force on the cart, +-10 N.
    Reward: (1 + cos angle) / 2 - 0.05 position^2 - 0.002 (velocity of the pole)^2
        - 0.01 action^2, at most 1 per step.
    Start: hanging, everything within 0.1 of rest. Episodes of 240 steps of 1/30 s.
    Contacts: none; the rail has no ends, its middle is preferred by the reward.
    """

    frame_skip: int = eqx.field(static=True, default=2)
    episode_length: int = eqx.field(static=True, default=240)

    @staticmethod
    def load():
        return mujoco.MjModel.from_xml_path(str(MODEL))

    def start(self, key):
        noise = jax.random.uniform(key, (4,), minval=-0.1, maxval=0.1)
        return self.blank.replace(qpos=jnp.array([0.0, jnp.pi]) + noise[:2], qvel=noise[2:])

    def observe(self, data, info):
        x, angle = data.qpos
        return jnp.stack([x, jnp.cos(angle), jnp.sin(angle), *data.qvel])

    def reward(self, before, action, after, info):
        return {
            "upright": (1 + jnp.cos(after.qpos[1])) / 2,
            "centre": -0.05 * after.qpos[0] ** 2,
            "still": -0.002 * after.qvel[1] ** 2,
            "effort": -0.01 * action[0] ** 2,
        }
