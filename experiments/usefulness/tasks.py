"""The tasks: a model, what is chosen, and what should come of it."""

from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

import softsim

MODELS = Path(__file__).parents[1] / "models"


class Goal(NamedTuple):
    """What is chosen and what should come of it.

    Attributes:
        model: file name in `models`.
        horizon: s.
        struck: dofs whose velocity at the start is chosen (m/s).
        knots: how many controls per actuator are chosen, each held for an equal share of the time.
        mean: what is chosen at x = 0.
        spread: its change per unit of x; starts are normal in x.
        moved: coordinates of the object.
        target: m, where these should end, at rest.
        tolerance: m, within which a task is solved.
    """

    model: str
    horizon: float
    struck: tuple[int, ...]
    knots: int
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    moved: tuple[int, ...]
    target: tuple[float, ...]
    tolerance: float


GOALS: dict[str, Goal] = {
    "billiard": Goal("pool.xml", 1.5, (0, 1), 0, (2.0, 0.0), (0.8, 0.8), (2, 3), (0.25, 0.1), 0.02),
    "throw": Goal("toss.xml", 0.8, (0, 1), 0, (1.5, 0.0), (0.6, 1.0), (2,), (0.2,), 0.02),
    "finger": Goal("finger.xml", 1.0, (), 4, (0.0,) * 8, (0.1,) * 8, (2,), (0.06,), 0.01),
}


class Task(eqx.Module):
    """A goal with its model; `x` are the numbers to choose, in spreads of the starts."""

    model: mjx.Model
    data: mjx.Data
    goal: Goal = eqx.field(static=True)
    steps: int = eqx.field(static=True)

    def run(self, x: Float[Array, " n"], soft: softsim.Softening):
        """The trajectory."""
        chosen = jnp.array(self.goal.mean) + jnp.array(self.goal.spread) * x
        struck = np.array(self.goal.struck, int)
        qvel = self.data.qvel.at[struck].set(chosen[: len(struck)])
        knots = chosen[len(struck) :].reshape(self.goal.knots, self.model.nu)
        held = np.arange(self.steps) * self.goal.knots // self.steps
        ctrl = knots[held] if self.goal.knots else jnp.zeros((self.steps, self.model.nu))
        return softsim.rollout(self.model, self.data.replace(qvel=qvel), ctrl, soft)[1]

    def loss(self, x: Float[Array, " n"], soft: softsim.Softening):
        """Squared miss, and what the object moves in a tenth of a second, in tolerances squared.

        Returns:
            The loss, and the miss (m).
        """
        end, moved = self.run(x, soft), np.array(self.goal.moved)
        miss = end.qpos[-1, moved] - jnp.array(self.goal.target)
        drift = 0.1 * end.qvel[-1, moved]
        loss = (miss @ miss + drift @ drift) / self.goal.tolerance**2
        return loss, jnp.sqrt(jax.lax.stop_gradient(miss @ miss))


def make_task(name: str) -> Task:
    """The task at its start."""
    goal = GOALS[name]
    mj_model = mujoco.MjModel.from_xml_path(str(MODELS / goal.model))
    model = softsim.put_model(mj_model)
    data = softsim.make_data(model)
    if mj_model.nkey:
        data = data.replace(qpos=jnp.asarray(mj_model.key_qpos[0], data.qpos.dtype))
    return Task(model, data, goal, round(goal.horizon / mj_model.opt.timestep))
