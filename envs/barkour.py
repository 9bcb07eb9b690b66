"""Barkour v0: a 12-joint quadruped that follows a commanded velocity."""

from importlib.util import find_spec
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco

from envs.base import Env
from softsim.rotations import quat_conj, quat_rotate

STANDING = (0.0, 0.5, 1.0) * 4  # rad: abduction, hip, knee of every leg
SWING = 0.3  # rad, of the servos' targets by an action of 1
HEIGHT = 0.21  # m, of the chassis when standing


class Barkour(Env):
    """Joystick walking with the Barkour v0 model that ships with mujoco-mjx, on flat ground.

    Observation (45): angular velocity of the chassis (rad/s, its own frame), direction of gravity
        (its own frame), command (m/s, m/s, rad/s), joint angles from standing (rad), joint
        velocities / 10, last action.
    Action (12): targets of the position servos, standing + 0.3 rad * action.
    Reward: per step of 20 ms, times dt: 1.5 exp(-|velocity error|^2 / 0.25)
        + 0.8 exp(-(yaw rate error)^2 / 0.25) - 2 (vertical velocity)^2 - 0.05 |roll, pitch rate|^2
        - 5 |tilt|^2 - 0.0002 |torque|^2 - 0.01 |change of action|^2.
    Ends: upside down by more than 60 degrees, or the chassis below 8 cm.
    Start: standing; command uniform in [-0.6, 1.5] m/s, +-0.8 m/s, +-0.7 rad/s. Episodes of 500
        steps.
    Contacts: four spheres at the feet with a plane, condim 3, in place of the file's height field;
        Newton with 4 iterations (the file's single one leaves the solve unfinished).
    """

    frame_skip: int = eqx.field(static=True, default=5)
    episode_length: int = eqx.field(static=True, default=500)

    @staticmethod
    def load():
        origin = find_spec("mujoco.mjx").origin
        folder = Path(origin).parent / "test_data" / "barkour_v0" / "assets"
        spec = mujoco.MjSpec.from_file(str(folder / "barkour_v0_mjx.xml"))
        spec.delete(spec.geom("hfield_floor"))
        spec.delete(spec.hfield("rand_uniform"))
        floor = spec.worldbody.add_geom(name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE)
        floor.size, floor.contype, floor.conaffinity = [0, 0, 0.05], 0, 1
        floor.material = "groundplane"
        spec.option.timestep = 0.004
        spec.option.iterations, spec.option.ls_iterations = 4, 8
        return spec.compile()

    def task(self, key):
        low, high = jnp.array([-0.6, -0.8, -0.7]), jnp.array([1.5, 0.8, 0.7])
        return {"command": jax.random.uniform(key, (3,), minval=low, maxval=high)}

    def start(self, key):
        noise = jax.random.uniform(key, (12,), minval=-0.05, maxval=0.05)
        base = jnp.array([0.0, 0.0, HEIGHT, 1.0, 0.0, 0.0, 0.0])
        standing = jnp.array(STANDING)
        return self.blank.replace(qpos=jnp.concatenate([base, standing + noise]), ctrl=standing)

    def act(self, data, action, info):
        return data.replace(ctrl=jnp.array(STANDING) + SWING * action)

    def observe(self, data, info):
        joints = data.qpos[7:] - jnp.array(STANDING)
        down = _into_body(data.qpos[3:7], jnp.array([0.0, 0.0, -1.0]))
        last = _action(data.ctrl)
        seen = (data.qvel[3:6], down, info["command"], joints, data.qvel[6:] / 10, last)
        return jnp.concatenate(seen)

    def reward(self, before, action, after, info):
        velocity = _into_body(after.qpos[3:7], after.qvel[:3])
        spin = after.qvel[3:6]
        tilt = _into_body(after.qpos[3:7], jnp.array([0.0, 0.0, 1.0]))[:2]
        error = info["command"] - jnp.stack([velocity[0], velocity[1], spin[2]])
        change = action - _action(before.ctrl)
        effort = self._torque(after)
        terms = {
            "velocity": 1.5 * jnp.exp(-error[:2] @ error[:2] / 0.25),
            "yaw_rate": 0.8 * jnp.exp(-(error[2] ** 2) / 0.25),
            "bounce": -2.0 * velocity[2] ** 2,
            "wobble": -0.05 * spin[:2] @ spin[:2],
            "tilt": -5.0 * tilt @ tilt,
            "effort": -0.0002 * effort @ effort,
            "smooth": -0.01 * change @ change,
        }
        return {name: self.dt * term for name, term in terms.items()}

    def margin(self, data):
        up = _into_body(data.qpos[3:7], jnp.array([0.0, 0.0, 1.0]))[2]
        return jnp.minimum((up - 0.5) / 0.5, (data.qpos[2] - 0.08) / 0.12)

    def _torque(self, data):
        """N m, of the servos at the end of the step."""
        gain = self.model.actuator_gainprm[:, 0]
        bias = self.model.actuator_biasprm
        order = self.model.actuator_trnid[:, 0] - 1  # joint 0 is the free one
        force = (
            gain * data.ctrl + bias[:, 1] * data.qpos[7:][order] + bias[:, 2] * data.qvel[6:][order]
        )
        return jnp.clip(force, *self.model.actuator_forcerange.T)


def _action(ctrl):
    """The action that gave these targets of the servos."""
    return (ctrl - jnp.array(STANDING)) / SWING


def _into_body(quat, vector):
    """A world vector in the frame of a body with orientation `quat`."""
    return quat_rotate(quat_conj(quat), vector)
