"""HalfCheetah-v5: a planar two-legged runner that never falls out of an episode."""

import equinox as eqx
import jax
import jax.numpy as jnp

from envs import gymnasium_models
from envs.base import Env


class HalfCheetah(Env):
    """Gymnasium's HalfCheetah-v5, on its own model.

    Observation (17): qpos without x; qvel. m, rad, m/s, rad/s.
    Action (6): torques of thigh, shin and foot, back and front, [-1, 1].
    Reward: x velocity - 0.1 |action|^2.
    Start: qpos within 0.1, qvel normal with deviation 0.1. Episodes of 1000 steps of 50 ms (5 of
        Euler).
    Contacts: as in the file: eight capsules with the floor, condim 3. Solver iterations at most 8.
    """

    frame_skip: int = eqx.field(static=True, default=5)
    forward_weight: float = 1.0
    ctrl_cost: float = 0.1
    reset_noise: float = 0.1

    @staticmethod
    def load():
        mj_model = gymnasium_models.load("half_cheetah.xml")
        gymnasium_models.limit_solver(mj_model)
        return mj_model

    def start(self, key):
        for_pos, for_vel = jax.random.split(key)
        shift = jax.random.uniform(for_pos, (self.model.nq,), minval=-1.0, maxval=1.0)
        return self.blank.replace(
            qpos=self.model.qpos0 + self.reset_noise * shift,
            qvel=self.reset_noise * jax.random.normal(for_vel, (self.model.nv,)),
        )

    def observe(self, data, info):
        return jnp.concatenate([data.qpos[1:], data.qvel])

    def reward(self, before, action, after, info):
        return {
            "forward": self.forward_weight * (after.qpos[0] - before.qpos[0]) / self.dt,
            "ctrl": gymnasium_models.cost(self.ctrl_cost, action),
        }
