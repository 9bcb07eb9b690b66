"""Throw a ball so that, after a bounce, it is at a target."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco

from envs.base import Env

MODEL = Path(__file__).parent / "models" / "ball_toss.xml"


class BallToss(Env):
    """One action is a whole throw: released 1 m above the ground, observed 1 s later.

    Observation (2): target x and y, m.
    Action (3): velocity at release, (2, 0, 1) + action * (2, 2, 2) m/s.
    Reward: -|position - target|^2 in m^2, horizontally, 1 s after release.
    Start: target uniform in x in [1, 2.5], y in [-1, 1]. Episodes of 1 step.
    Contacts: one sphere-plane pair, condim 3; 200 physics steps of 5 ms.
    """

    frame_skip: int = eqx.field(static=True, default=200)
    episode_length: int = eqx.field(static=True, default=1)
    segment: int | None = eqx.field(static=True, default=14)

    @staticmethod
    def load():
        return mujoco.MjModel.from_xml_path(str(MODEL))

    @property
    def action_size(self):
        return 3

    def task(self, key):
        low, high = jnp.array([1.0, -1.0]), jnp.array([2.5, 1.0])
        return {"target": jax.random.uniform(key, (2,), minval=low, maxval=high)}

    def start(self, key):
        return self.blank.replace(qpos=jnp.array([0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0]))

    def act(self, data, action, info):
        velocity = jnp.array([2.0, 0.0, 1.0]) + 2.0 * action
        return data.replace(qvel=data.qvel.at[:3].set(velocity))

    def observe(self, data, info):
        return info["target"]

    def reward(self, before, action, after, info):
        return {"miss": -jnp.sum((after.qpos[:2] - info["target"]) ** 2)}
