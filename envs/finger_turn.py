"""Turn a hinged bar to a target angle with a two-joint finger."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco

from envs.base import Env

MODEL = Path(__file__).parent / "models" / "finger_turn.xml"


class FingerTurn(Env):
    """A planar finger beside a bar that turns about its middle; after the control suite's finger.

    Observation (10): finger angles, cos and sin of the bar's angle, three angular velocities / 10,
        cos and sin of the angle left to turn, and its distance from done (1 - cos) / 2.
    Action (2): torques of the finger's joints, +-1 times their gear.
    Reward: (1 + cos(angle left)) / 2 - 0.01 |action|^2 - 0.002 |velocities / 10|^2, at most 1.
    Start: bar at 0, finger within 0.3 rad of straight down; target angle uniform in [0.5, 1.5],
        away from the finger.
        Episodes of 200 steps of 0.02 s.
    Contacts: fingertip-bar, capsule-capsule, condim 3; the proximal link touches nothing.
    """

    frame_skip: int = eqx.field(static=True, default=4)
    episode_length: int = eqx.field(static=True, default=200)

    @staticmethod
    def load():
        return mujoco.MjModel.from_xml_path(str(MODEL))

    def task(self, key):
        return {"target": jax.random.uniform(key, (), minval=0.5, maxval=1.5)}

    def start(self, key):
        angles = jax.random.uniform(key, (2,), minval=-0.3, maxval=0.3)
        return self.blank.replace(qpos=self.blank.qpos.at[:2].set(angles))

    def observe(self, data, info):
        bar, left = data.qpos[2], info["target"] - data.qpos[2]
        circles = [jnp.cos(bar), jnp.sin(bar), jnp.cos(left), jnp.sin(left)]
        miss = (1 - jnp.cos(left)) / 2
        return jnp.concatenate([data.qpos[:2], jnp.stack([*circles, miss]), data.qvel / 10])

    def reward(self, before, action, after, info):
        spin = after.qvel / 10
        return {
            "turned": (1 + jnp.cos(info["target"] - after.qpos[2])) / 2,
            "effort": -0.01 * action @ action,
            "still": -0.002 * spin @ spin,
        }
