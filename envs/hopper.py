"""Hopper-v5: a one-legged robot that hops forward."""

import equinox as eqx
import jax
import jax.numpy as jnp

from envs import gymnasium_models
from envs.base import Env


class Hopper(Env):
    """Gymnasium's Hopper-v5, on its own model.

    Observation (11): qpos without x; qvel clipped to +-10. m, rad, m/s, rad/s.
    Action (3): torques of thigh, leg and foot, [-1, 1].
    Reward: x velocity + 1 while healthy - 0.001 |action|^2.
    Ends: height <= 0.7 m, |pitch| >= 0.2 rad, or a state outside +-100.
    Start: everything within 0.005 of standing. Episodes of 1000 steps of 8 ms (4 of RK4).
    Contacts: as in the file: four capsules with the floor and three pairs of the robot's own,
        condim 3 and 1. Solver iterations at most 8.
    """

    frame_skip: int = eqx.field(static=True, default=4)
    forward_weight: float = 1.0
    healthy_reward: float = 1.0
    ctrl_cost: float = 1e-3
    reset_noise: float = 5e-3

    @staticmethod
    def load():
        mj_model = gymnasium_models.load("hopper.xml")
        gymnasium_models.limit_solver(mj_model)
        return mj_model

    def start(self, key):
        for_pos, for_vel = jax.random.split(key)
        noise = {"minval": -self.reset_noise, "maxval": self.reset_noise}
        qpos = self.model.qpos0 + jax.random.uniform(for_pos, (self.model.nq,), **noise)
        return self.blank.replace(
            qpos=qpos, qvel=jax.random.uniform(for_vel, (self.model.nv,), **noise)
        )

    def observe(self, data, info):
        return jnp.concatenate([data.qpos[1:], jnp.clip(data.qvel, -10, 10)])

    def reward(self, before, action, after, info):
        return {
            "forward": self.forward_weight * (after.qpos[0] - before.qpos[0]) / self.dt,
            "survive": self.healthy_reward * ~self.terminated(after),
            "ctrl": gymnasium_models.cost(self.ctrl_cost, action),
        }

    def margin(self, data):
        height, pitch = data.qpos[1:3]
        bounded = 100 - jnp.abs(jnp.concatenate([data.qpos[2:], data.qvel]))
        upright = jnp.minimum((height - 0.7) / 0.55, 1 - jnp.abs(pitch) / 0.2)
        return jnp.minimum(upright, jnp.min(bounded))
