"""Swing a pendulum up and hold it, with a torque too weak to lift it directly."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco

from envs.base import Env

MODEL = Path(__file__).parent / "models" / "pendulum.xml"


class Pendulum(Env):
    """Torque-limited pendulum; the angle is 0 upright.

    Observation (3): cos and sin of the angle, angular velocity / (8 rad/s).
    Action (1): torque, +-2 N m.
    Reward: (1 + cos angle) / 2 - 0.005 velocity^2 - 0.005 torque^2, at most 1 per step.
    Start: any angle, |velocity| < 1 rad/s. Episodes of 200 steps of 0.05 s.
    Contacts: none.
    """

    frame_skip: int = eqx.field(static=True, default=2)
    episode_length: int = eqx.field(static=True, default=200)

    @staticmethod
    def load():
        return mujoco.MjModel.from_xml_path(str(MODEL))

    def start(self, key):
        low, high = jnp.array([-jnp.pi, -1.0]), jnp.array([jnp.pi, 1.0])
        q, v = jax.random.uniform(key, (2,), minval=low, maxval=high)
        return self.blank.replace(qpos=q[None], qvel=v[None])

    def observe(self, data, info):
        return jnp.concatenate([jnp.cos(data.qpos), jnp.sin(data.qpos), data.qvel / 8])

    def reward(self, before, action, after, info):
        return {
            "upright": (1 + jnp.cos(after.qpos[0])) / 2,
            "velocity": -0.005 * after.qvel[0] ** 2,
            "effort": -0.005 * after.ctrl[0] ** 2,
        }
