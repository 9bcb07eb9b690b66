"""What is thrown, from where, and how far it comes to rest from its target."""

from pathlib import Path

import equinox as eqx
import jax.numpy as jnp
import mujoco
from jaxtyping import Array, Float
from mujoco import mjx

import softsim
from experiments.trajopt.settings import BODIES, SIDE, Args

MODEL = Path(__file__).parents[1] / "models" / "cube.xml"


class Throw(eqx.Module):
    """A body ready for release, and where it should go."""

    model: mjx.Model
    data: mjx.Data
    target: Float[Array, "2"]
    heights: Float[Array, " h"]
    steps: int = eqx.field(static=True)

    def release(self, x: Float[Array, "6"]) -> Float[Array, "6"]:
        """Velocity (m/s, world frame) and spin (rad/s, body frame) of a throw `x`; x is normal."""
        mean = jnp.array([0.8, 0.0, 0.3, 0.0, 0.0, 0.0])
        spread = jnp.array([0.4, 0.4, 0.4, 6.0, 6.0, 6.0])
        return mean + spread * x

    def fly(self, x: Float[Array, "6"], soft: softsim.Softening):
        """The trajectory of a throw."""
        ctrl = jnp.zeros((self.steps, self.model.nu))
        return softsim.rollout(self.model, self.data.replace(qvel=self.release(x)), ctrl, soft)[1]

    def residuals(self, x: Float[Array, "6"], soft: softsim.Softening) -> Float[Array, "9"]:
        """The miss, and what motion is left in a tenth of a second, in cube sides.

        A body may lie on any side: it should be as high as it would be on the nearest.
        """
        end = self.fly(x, soft)
        place, height = end.qpos[-1, :2], end.qpos[-1, 2]
        lying = self.heights[jnp.argmin(jnp.abs(self.heights - height))]
        miss = jnp.append(place - self.target, height - lying)
        drift = 0.1 * end.qvel[-1, :3], 0.1 * SIDE * end.qvel[-1, 3:]
        return jnp.concatenate([miss, *drift]) / SIDE

    def score(self, residuals: Float[Array, "9"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The loss, and the distance (m) between the body's centre and where it should rest."""
        miss = jnp.sqrt(jnp.sum(jnp.square(residuals[:3])))
        return jnp.sum(jnp.square(residuals)), SIDE * miss


def make_model(body: str) -> mujoco.MjModel:
    """The model of the cube, or of another body in its place, of the same mass and friction."""
    if body == "cube":
        return mujoco.MjModel.from_xml_path(str(MODEL))
    spec = mujoco.MjSpec.from_file(str(MODEL))
    cube, geom = spec.body("cube"), spec.geom("cube")
    cube.explicitinertial = False
    geom.mass = cube.mass
    geom.type = getattr(mujoco.mjtGeom, f"mjGEOM_{body.upper()}")
    geom.size[: len(BODIES[body])] = BODIES[body]
    return spec.compile()


def make_throw(args: Args) -> Throw:
    """The body, level and at rest above the table."""
    mj_model = make_model(args.body)
    # every corner that touches, as in MuJoCo C: MJX drops some, and the cube turns otherwise
    model = softsim.put_model(mj_model, follow="mujoco")
    pose = jnp.array([0.0, 0.0, args.height, 1.0, 0.0, 0.0, 0.0])
    data = softsim.make_data(model).replace(qpos=pose)
    steps = max(2, round(args.horizon / mj_model.opt.timestep))
    return Throw(model, data, jnp.array(args.target), jnp.array(BODIES[args.body]), steps)
