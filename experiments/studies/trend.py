"""The trend of an outcome: what a derivative of simulated steps is judged by.

Steps make an outcome a smooth trend plus a sawtooth, whose teeth are as wide as the change of input
that moves an event by one step. Differences over less than many teeth measure the teeth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

import softsim
from experiments.figures import COLORS

DERIVATIVES = {"hard": softsim.Softening.hard(), "saltation": softsim.Softening.saltation()}
PAINT = dict(zip(DERIVATIVES, (COLORS[1], COLORS[0])))
FINE = 1e-5  # s, steps of MuJoCo C that count as continuous time
INTERVALS = 6  # into which error control divides an outcome


def trend(values: Float[np.ndarray, " n"], spacing: float, half: int) -> Float[np.ndarray, " m"]:
    """Slopes of the lines fitted to 2 half + 1 neighbouring values, for the m = n - 2 half middles.

    Args:
        values: outcomes at inputs that are `spacing` apart.
        half: neighbours on each side; together they should span many teeth.
    """
    offsets = np.arange(-half, half + 1)
    return np.correlate(values, offsets, mode="valid") / (spacing * np.sum(offsets**2))


@dataclass(frozen=True)
class Inputs:
    """Inputs from `low` to `high`, and as many beyond as a trend reads, `half` on each side."""

    low: float
    high: float
    spacing: float
    half: int

    def every(self) -> Float[np.ndarray, " n"]:
        """All at which outcomes are computed."""
        count = round((self.high - self.low) / self.spacing)
        return self.low + self.spacing * np.arange(-self.half, count + self.half + 1)

    def inner(self, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
        """Those from `low` to `high`, of values at every input."""
        return values[self.half : -self.half]

    def trend(self, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " m"]:
        """The trend from `low` to `high`, of values at every input."""
        return trend(values, self.spacing, self.half)


class Setting(NamedTuple):
    """Fixed steps of a length in s, or error control to a tolerance."""

    size: float
    controlled: bool = False

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"tolerance {self.size:g}" if self.controlled else f"steps of {1e3 * self.size:g} ms"


def program(
    start: Callable[..., tuple[mjx.Model, mjx.Data]],
    softening: softsim.Softening,
    horizon: float,
    controlled: bool = False,
) -> Callable:
    """(inputs (n,), size of a `Setting`, given...) -> the first coordinate `horizon` s later, and
    its derivative by the input, (n,) each.

    Args:
        start: (input, given...) -> model and data.
    """

    def run(x: Float[Array, ""], size: Float[Array, ""], *given: Array) -> Float[Array, ""]:
        m, d = start(x, *given)
        if controlled:
            m = m.tree_replace({"opt.timestep": jnp.asarray(horizon / INTERVALS)})
            tight = softsim.Adaptive(size, size, max_steps=4096, derivative="forward")
            ctrl = jnp.zeros((INTERVALS, 0))
            return softsim.rollout(m, d, ctrl, softening, adaptive=tight)[0].qpos[0]
        steps = jnp.round(horizon / size).astype(int)
        m = m.tree_replace({"opt.timestep": horizon / steps})

        def advance(_: int, s: tuple) -> tuple:
            at = d.replace(qpos=s[0], qvel=s[1], qacc_warmstart=s[2])
            after = softsim.step(m, at, softening)
            return after.qpos, after.qvel, after.qacc_warmstart

        return jax.lax.fori_loop(0, steps, advance, (d.qpos, d.qvel, d.qacc_warmstart))[0][0]

    def both(x: Float[Array, ""], *rest: Array) -> tuple:
        return jax.jvp(lambda x: run(x, *rest), (x,), (jnp.ones_like(x),))

    return jax.jit(lambda x, *rest: jax.vmap(lambda x: both(x, *rest))(x))


def reference(
    mj_model: mujoco.MjModel,
    place: Callable[[mujoco.MjData, float], None],
    x: Float[np.ndarray, " n"],
    horizon: float,
) -> Float[np.ndarray, "n nq"]:
    """The coordinates after `horizon` s, by MuJoCo C at steps of `FINE`."""
    mj_model.opt.timestep = FINE
    mj_data = mujoco.MjData(mj_model)
    ends = []
    for value in x:
        mujoco.mj_resetData(mj_model, mj_data)
        place(mj_data, value)
        mujoco.mj_step(mj_model, mj_data, round(horizon / FINE))
        ends.append(mj_data.qpos.copy())
    return np.array(ends)


class Curve(NamedTuple):
    """Over the inputs: the trend of an outcome, the true one, and the outcome's derivatives."""

    case: str
    setting: Setting
    trend: Float[np.ndarray, " n"]
    true: Float[np.ndarray, " n"]
    slopes: dict[str, Float[np.ndarray, " n"]]

    def off(self, slope: Float[np.ndarray, " n"]) -> float:
        """Median distance from the true trend, relative to its size (root mean square)."""
        return float(np.median(np.abs(slope - self.true)) / np.sqrt(np.mean(self.true**2)))


def table(curves: Sequence[Curve], kind: str) -> list[dict[str, str]]:
    """How far each derivative, and the outcome's own trend, are from the true trend."""
    return [
        {
            kind: c.case,
            "integration": c.setting.name,
            "its own trend off": f"{c.off(c.trend):.1%}",
            **{f"{name} off": f"{c.off(slope):.1%}" for name, slope in c.slopes.items()},
        }
        for c in curves
    ]


def columns(curves: Sequence[Curve]) -> dict[str, Float[np.ndarray, " n"]]:
    """All curves, named, for a CSV file."""
    made: dict[str, np.ndarray] = {}
    for c in curves:
        name = f"{c.case}, {c.setting.name}"
        made |= {f"{c.case}: true trend": c.true, f"{name}: trend": c.trend}
        made |= {f"{name}: {which}": slope for which, slope in c.slopes.items()}
    return made
