"""Push a box on a table to a target pose with a round finger."""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco

from envs.base import Env
from softsim.numerics import safe_norm

MODEL = Path(__file__).parent / "models" / "planar_push.xml"


class PlanarPush(Env):
    """A box that resists like one on a table (dry friction), pushed by a velocity-driven finger.

    Observation (13): box x and y, cos and sin of its angle, velocities of finger and box (m/s,
        rad/s), finger to box, box to target (m). The target angle is 0.
    Action (2): velocity asked of the finger, +-0.5 m/s.
    Reward: -distance of the box to the target (m) * 4 - (1 - cos angle) / 2
        - 0.5 * distance of the finger to the box - 0.01 |action|^2.
    Start: box within 5 cm and 0.3 rad of the origin, finger 0.15 m to its left, target within
        0.15 m of (0.3, 0). Episodes of 100 steps of 0.04 s.
    Contacts: one sphere-box pair, condim 3. Friction with the table is `frictionloss` of the box's
        joints, so that no contact patch has to be resolved.
    """

    frame_skip: int = eqx.field(static=True, default=4)
    episode_length: int = eqx.field(static=True, default=100)

    @staticmethod
    def load():
        return mujoco.MjModel.from_xml_path(str(MODEL))

    def task(self, key):
        near = jax.random.uniform(key, (2,), minval=-0.15, maxval=0.15)
        return {"target": jnp.array([0.3, 0.0]) + near}

    def start(self, key):
        spread = jnp.array([0.05, 0.05, 0.3])
        box = spread * jax.random.uniform(key, (3,), minval=-1.0, maxval=1.0)
        finger = box[:2] + jnp.array([-0.15, 0.0])
        return self.blank.replace(qpos=jnp.concatenate([finger, box]))

    def observe(self, data, info):
        finger, box, angle = data.qpos[:2], data.qpos[2:4], data.qpos[4]
        turned = jnp.stack([jnp.cos(angle), jnp.sin(angle)])
        relative = jnp.concatenate([box - finger, info["target"] - box])
        return jnp.concatenate([box, turned, data.qvel, relative])

    def reward(self, before, action, after, info):
        finger, box, angle = after.qpos[:2], after.qpos[2:4], after.qpos[4]
        return {
            "place": -4.0 * safe_norm(box - info["target"]),
            "turn": -(1 - jnp.cos(angle)) / 2,
            "reach": -0.5 * safe_norm(finger - box),
            "effort": -0.01 * action @ action,
        }
