"""Humanoid-v5: a 17-joint humanoid that walks forward without falling."""

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco
from mujoco import mjx

import softsim
from envs import gymnasium_models
from envs.base import Env


class Humanoid(Env):
    """Gymnasium's Humanoid-v5, on its own model with two changes that MJX needs.

    Observation (348): qpos without x and y; qvel; of every body inertia and mass about the centre
        of mass (`cinert`), velocity (`cvel`) and external force (`cfrc_ext`); joint torques of the
        motors. Without what is read beside the state 45, by `observe_bodies=False`; with
        `contact_cost=0.0` too it is not computed.
    Action (17): torques, [-1, 1] scaled to the model's +-0.4 (Gymnasium's own actions are the
        scaled ones).
    Reward: 1.25 x velocity of the centre of mass + 5 while healthy - 0.1 |scaled action|^2
        - 5e-7 |external forces|^2, the last at most 10.
    Ends: height outside (1, 2) m.
    Start: everything within 0.01 of standing. Episodes of 1000 steps of 15 ms (5 of RK4).
    Contacts: all 17 geoms with the floor, condim 3. Changes: Newton instead of PGS, at most 8
        iterations; no contacts among the robot's own geoms (there are 120 such pairs). What is
        read beside the state belongs to the new state; Gymnasium's lags by one stage of RK4.
    """

    frame_skip: int = eqx.field(static=True, default=5)
    observe_bodies: bool = eqx.field(static=True, default=True)
    forward_weight: float = 1.25
    healthy_reward: float = 5.0
    ctrl_cost: float = 0.1
    contact_cost: float = eqx.field(static=True, default=5e-7)
    reset_noise: float = 1e-2

    @staticmethod
    def load():
        mj_model = gymnasium_models.load("humanoid.xml")
        gymnasium_models.limit_solver(mj_model)
        mj_model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
        robot = mj_model.geom_bodyid > 0
        mj_model.geom_conaffinity[robot] = 0
        return mj_model

    def start(self, key):
        for_pos, for_vel = jax.random.split(key)
        noise = {"minval": -self.reset_noise, "maxval": self.reset_noise}
        qpos = self.model.qpos0 + jax.random.uniform(for_pos, (self.model.nq,), **noise)
        return self.blank.replace(
            qpos=qpos, qvel=jax.random.uniform(for_vel, (self.model.nv,), **noise)
        )

    def finish(self, data):
        if not (self.observe_bodies or self.contact_cost):
            return softsim.kinematics(self.model, data)  # for the centre of mass
        return mjx.rne_postconstraint(self.model, softsim.forward(self.model, data))

    def observe(self, data, info):
        if not self.observe_bodies:
            return jnp.concatenate([data.qpos[2:], data.qvel])
        bodies = (data._impl.cinert, data.cvel, data._impl.cfrc_ext)
        inertia, velocity, force = (x[1:].ravel() for x in bodies)
        torque = data.qfrc_actuator[6:]
        return jnp.concatenate([data.qpos[2:], data.qvel, inertia, velocity, torque, force])

    def reward(self, before, action, after, info):
        moved = self._centre(after) - self._centre(before)
        contact = jnp.zeros(())
        if self.contact_cost:
            contact = gymnasium_models.cost(self.contact_cost, after._impl.cfrc_ext.ravel())
        return {
            "forward": self.forward_weight * moved[0] / self.dt,
            "survive": self.healthy_reward * ~self.terminated(after),
            "ctrl": gymnasium_models.cost(self.ctrl_cost, after.ctrl),
            "contact": jnp.maximum(contact, -10.0),
        }

    def margin(self, data):
        height = data.qpos[2]
        return jnp.minimum((height - 1.0) / 0.4, (2.0 - height) / 0.6)

    def _centre(self, data):
        """Centre of mass of all bodies, m."""
        mass = self.model.body_mass
        return mass @ data.xipos / jnp.sum(mass)
