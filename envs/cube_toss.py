"""Throw a cube so that it comes to rest at a target on a table, after bouncing."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco

from envs.base import Env

MODEL = Path(__file__).parent / "models" / "cube_toss.xml"
SIDE = 0.1048  # m


class CubeToss(Env):
    """One action is a whole throw of the published ContactNets cube, observed 1 s later.

    Observation (2): target x and y, m.
    Action (6): at release, velocity (0.8, 0, 0.3) + action * (0.8, 0.8, 0.8) m/s in the world and
        spin action * 12 rad/s in the cube's frame.
    Reward: -(miss^2 + (0.1 s * velocity)^2) in cube sides squared, 1 s after release.
    Start: level, 0.25 m up; target uniform in x in [0.4, 0.9], y in [-0.3, 0.3]. Episodes of 1
        step.
    Contacts: one box-plane pair, condim 3, elliptic cone; 200 physics steps of 5 ms.
    """

    frame_skip: int = eqx.field(static=True, default=200)
    episode_length: int = eqx.field(static=True, default=1)
    segment: int | None = eqx.field(static=True, default=14)

    @staticmethod
    def load():
        return mujoco.MjModel.from_xml_path(str(MODEL))

    @property
    def action_size(self):
        return 6

    def task(self, key):
        low, high = jnp.array([0.4, -0.3]), jnp.array([0.9, 0.3])
        return {"target": jax.random.uniform(key, (2,), minval=low, maxval=high)}

    def start(self, key):
        return self.blank.replace(qpos=jnp.array([0.0, 0.0, 0.25, 1.0, 0.0, 0.0, 0.0]))

    def act(self, data, action, info):
        velocity = jnp.array([0.8, 0.0, 0.3]) + 0.8 * action[:3]
        return data.replace(qvel=jnp.concatenate([velocity, 12.0 * action[3:]]))

    def observe(self, data, info):
        return info["target"]

    def reward(self, before, action, after, info):
        miss = after.qpos[:3] - jnp.append(info["target"], SIDE / 2)
        drift = 0.1 * jnp.append(after.qvel[:3], SIDE * after.qvel[3:])
        return {"miss": -miss @ miss / SIDE**2, "drift": -drift @ drift / SIDE**2}
