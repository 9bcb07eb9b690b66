"""Shoot one ball at another so that it rolls to a target, cushions allowed."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco

from envs.base import Env

MODEL = Path(__file__).parent / "models" / "billiard.xml"


class Billiard(Env):
    """One action is a whole shot, observed 2 s later.

    Observation (4): object ball x and y, target x and y, m. The cue ball starts at (-0.5, 0).
    Action (2): velocity of the cue ball, (1, 0) + action * (1, 1) m/s.
    Reward: -|object ball - target|^2 in m^2, 2 s after the shot.
    Start: object ball uniform within 5 cm of (0, 0); target within 0.3 m of (0.5, 0).
        Episodes of 1 step.
    Contacts: sphere-sphere and eight sphere-plane pairs (cushions), condim 1: balls slide, and a
        shot that misses has no gradient unless contacts reach out. 400 physics steps of 5 ms.
    """

    frame_skip: int = eqx.field(static=True, default=400)
    episode_length: int = eqx.field(static=True, default=1)
    segment: int | None = eqx.field(static=True, default=20)

    @staticmethod
    def load():
        return mujoco.MjModel.from_xml_path(str(MODEL))

    @property
    def action_size(self):
        return 2

    def task(self, key):
        near = jax.random.uniform(key, (2,), minval=-0.3, maxval=0.3)
        return {"target": jnp.array([0.5, 0.0]) + near}

    def start(self, key):
        ball = jax.random.uniform(key, (2,), minval=-0.05, maxval=0.05)
        return self.blank.replace(qpos=jnp.concatenate([jnp.array([-0.5, 0.0]), ball]))

    def act(self, data, action, info):
        velocity = jnp.array([1.0, 0.0]) + action
        return data.replace(qvel=data.qvel.at[:2].set(velocity))

    def observe(self, data, info):
        return jnp.concatenate([data.qpos[2:4], info["target"]])

    def reward(self, before, action, after, info):
        return {"miss": -jnp.sum((after.qpos[2:4] - info["target"]) ** 2)}
