"""Ant-v5: a four-legged robot that walks forward."""

import equinox as eqx
import jax
import jax.numpy as jnp
from mujoco import mjx

import softsim
from envs import gymnasium_models
from envs.base import Env


class Ant(Env):
    """Gymnasium's Ant-v5, on its own model.

    Observation (105): qpos without x and y; qvel; external forces on the bodies (`cfrc_ext`, N m
        and N, about the centre of mass), clipped to +-1. Without the forces 27, by
        `observe_contacts=False`; with `contact_cost=0.0` too they are not computed.
    Action (8): torques of hips and ankles, [-1, 1].
    Reward: x velocity of the torso + 1 while healthy - 0.5 |action|^2 - 0.0005 |clipped forces|^2.
    Ends: height outside [0.2, 1] m, or a state that is not finite.
    Start: qpos within 0.1, qvel normal with deviation 0.1. Episodes of 1000 steps of 50 ms (5 of
        RK4).
    Contacts: as in the file: 13 geoms with the floor, condim 3. Solver iterations at most 8. The
        forces are those of hard contacts at the new state; Gymnasium's lag by one stage of RK4.
    """

    frame_skip: int = eqx.field(static=True, default=5)
    observe_contacts: bool = eqx.field(static=True, default=True)
    forward_weight: float = 1.0
    healthy_reward: float = 1.0
    ctrl_cost: float = 0.5
    contact_cost: float = eqx.field(static=True, default=5e-4)
    reset_noise: float = 0.1

    @staticmethod
    def load():
        mj_model = gymnasium_models.load("ant.xml")
        gymnasium_models.limit_solver(mj_model)
        return mj_model

    def start(self, key):
        for_pos, for_vel = jax.random.split(key)
        shift = jax.random.uniform(for_pos, (self.model.nq,), minval=-1.0, maxval=1.0)
        return self.blank.replace(
            qpos=self.model.qpos0 + self.reset_noise * shift,
            qvel=self.reset_noise * jax.random.normal(for_vel, (self.model.nv,)),
        )

    def finish(self, data):
        if not (self.observe_contacts or self.contact_cost):
            return data  # nobody asks for the forces, which cost as much as a step
        return mjx.rne_postconstraint(self.model, softsim.forward(self.model, data))

    def observe(self, data, info):
        seen = [data.qpos[2:], data.qvel]
        if self.observe_contacts:
            seen.append(_clipped_forces(data)[1:].ravel())
        return jnp.concatenate(seen)

    def reward(self, before, action, after, info):
        return {
            "forward": self.forward_weight * (after.qpos[0] - before.qpos[0]) / self.dt,
            "survive": self.healthy_reward * ~self.terminated(after),
            "ctrl": gymnasium_models.cost(self.ctrl_cost, action),
            "contact": gymnasium_models.cost(self.contact_cost, _clipped_forces(after).ravel()),
        }

    def margin(self, data):
        height = data.qpos[2]
        finite = jnp.all(jnp.isfinite(jnp.concatenate([data.qpos, data.qvel])))
        return jnp.where(finite, jnp.minimum((height - 0.2) / 0.4, (1.0 - height) / 0.4), -1.0)


def _clipped_forces(data):
    return jnp.clip(data._impl.cfrc_ext, -1.0, 1.0)
