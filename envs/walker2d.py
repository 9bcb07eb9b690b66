"""Walker2d-v5: a planar biped that walks forward."""

import jax.numpy as jnp

from envs import gymnasium_models
from envs.hopper import Hopper


class Walker2d(Hopper):
    """Gymnasium's Walker2d-v5, on its own model (`walker2d_v5.xml`).

    Observation (17): qpos without x; qvel clipped to +-10. m, rad, m/s, rad/s.
    Action (6): torques of thigh, leg and foot, right and left, [-1, 1].
    Reward: x velocity + 1 while healthy - 0.001 |action|^2.
    Ends: height outside (0.8, 2) m or |pitch| >= 1 rad.
    Start: everything within 0.005 of standing. Episodes of 1000 steps of 8 ms (4 of RK4).
    Contacts: as in the file: seven capsules with the floor, condim 3. Solver iterations at most 8.
    """

    @staticmethod
    def load():
        mj_model = gymnasium_models.load("walker2d_v5.xml")
        gymnasium_models.limit_solver(mj_model)
        return mj_model

    def margin(self, data):
        height, pitch = data.qpos[1:3]
        upright = jnp.minimum((height - 0.8) / 0.45, 1 - jnp.abs(pitch))
        return jnp.minimum(upright, (2.0 - height) / 0.75)
