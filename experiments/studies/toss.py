"""Study: tosses of five shapes. Which derivative is the slope of where a toss gets?

A sphere, capsule, ellipsoid, box and cylinder are tossed on a plane, tumbling, with MuJoCo's
default contact. The outcome is how far each gets in half a second, as a function of the upward
speed of the toss. The truth is the *trend* of that outcome: the slope of a line fitted to MuJoCo C
at steps of 10 microseconds, over speeds 0.1 m/s to either side, some ten steps' worth of arrival.
The steps are differentiated exactly ("hard") and with the moments at which contacts begin and end
("saltation"). Every corner and edge that touches is a contact, as
in MuJoCo C.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

import softsim
from experiments import cli
from experiments.figures import figure
from experiments.studies.trend import (
    DERIVATIVES,
    PAINT,
    Curve,
    Inputs,
    Setting,
    columns,
    program,
    reference,
    table,
)

SIZES = {
    "sphere": "0.06",
    "capsule": "0.04 0.04",
    "ellipsoid": "0.06 0.05 0.04",
    "box": "0.05 0.04 0.03",
    "cylinder": "0.05 0.04",
}
XML = """
<mujoco model="toss">
  <!-- refsafe would soften contacts to twice the time step, which is not what steps do here -->
  <option cone="elliptic" iterations="50" tolerance="1e-12"> <flag refsafe="disable"/> </option>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 0.1"/>
    <body pos="0 0 0.15" quat="0.9 0.3 0.2 0.1">
      <freejoint/>
      <geom type="{shape}" size="{size}" mass="0.3" priority="1" friction="0.3 0.005 0.0001"/>
    </body>
  </worldbody>
</mujoco>
"""
VELOCITY = (1.0, 0.2, 0.0, 2.0, -3.0, 1.0)  # m/s and rad/s, but for the upward speed
WINDOW = 0.1  # m/s, how far around a speed its trend is fitted


@dataclass(frozen=True)
class Args:
    """Settings of the study."""

    out: Path = Path("runs/studies/toss")
    """folder for metrics.json, toss.csv and toss.png"""
    shapes: tuple[str, ...] = tuple(SIZES)
    """some of sphere, capsule, ellipsoid, box, cylinder"""
    low: float = 0.5
    """the lowest upward speed, m/s"""
    high: float = 1.5
    """the highest upward speed, m/s"""
    spacing: float = 0.01
    """from one upward speed to the next, m/s"""
    timesteps: tuple[float, ...] = (5e-3, 2e-3, 1e-3)
    """lengths of the fixed steps, s"""
    horizon: float = 0.5
    """a toss is followed for this long, s"""
    quick: bool = False
    """two shapes, few speeds"""

    def __post_init__(self) -> None:
        for shape in self.shapes:
            if shape not in SIZES:
                raise ValueError(f"--shapes {shape}: expected some of {', '.join(SIZES)}")
        if not self.low < self.high:
            raise ValueError(f"--low {self.low} --high {self.high}: expected low < high")
        if not 0 < self.spacing <= WINDOW / 4:
            raise ValueError(f"--spacing: got {self.spacing}, expected at most {WINDOW / 4} m/s")
        if not min(*self.timesteps, self.horizon) > 0:
            raise ValueError("--timesteps, --horizon: expected positive numbers")


def tosses(mj_model: mujoco.MjModel) -> Callable:
    """(upward speed) -> model and data at the toss."""
    m = softsim.put_model(mj_model, follow="mujoco")
    d = softsim.make_data(m)

    def start(up: Float[Array, ""]) -> tuple[mjx.Model, mjx.Data]:
        return m, d.replace(qvel=jnp.array(VELOCITY).at[2].set(up))

    return start


def place(mj_data: mujoco.MjData, up: float) -> None:
    """The same toss for MuJoCo C."""
    mj_data.qvel[:] = VELOCITY
    mj_data.qvel[2] = up


def compute(args: Args, inputs: Inputs, bar: cli.Progress) -> list[Curve]:
    """Every shape with every integration."""
    chosen = [Setting(dt) for dt in args.timesteps]
    up, curves = inputs.every(), []
    for shape in args.shapes:
        task = bar.add_task(shape, total=len(chosen), status="")
        mj_model = mujoco.MjModel.from_xml_string(XML.format(shape=shape, size=SIZES[shape]))
        start = tosses(mj_model)
        true = inputs.trend(reference(mj_model, place, up, args.horizon)[:, 0])
        run = {
            name: program(start, softening, args.horizon) for name, softening in DERIVATIVES.items()
        }
        for setting in chosen:
            found = {
                name: run[name](jnp.asarray(up), jnp.asarray(setting.size)) for name in DERIVATIVES
            }
            slopes = {name: inputs.inner(np.asarray(slope)) for name, (_, slope) in found.items()}
            own = inputs.trend(np.asarray(found["hard"][0]))
            curves.append(Curve(shape, setting, own, true, slopes))
            bar.update(task, advance=1, status=setting.name)
    return curves


def draw(args: Args, x: np.ndarray, curves: list[Curve]) -> None:
    """Derivatives over the upward speed with steps of the middle length, a panel for each shape."""
    shown = args.timesteps[len(args.timesteps) // 2]
    some = [c for c in curves if c.setting.size == shown]
    size = {"ncols": len(some), "figsize": (2.6 * len(some), 3.0)}
    with figure(args.out / "toss.png", **size) as (_, axes):
        for ax, c in zip(axes[0], some):
            for name, color in PAINT.items():
                ax.plot(x, c.slopes[name], color=color, lw=1, label=name)
            ax.plot(x, c.true, "k--", label="trend (the truth)")
            middle, room = np.mean(c.true), 3 * np.sqrt(np.mean(c.true**2)) + 2 * np.ptp(c.true)
            ax.set_ylim(middle - room, middle + room)
            ax.set_title(f"{c.case}, {c.setting.name}", fontsize=9)
            ax.set_xlabel("upward speed (m/s)")
        axes[0, 0].set_ylabel("d distance / d upward speed (s)")
        axes[0, 0].legend(fontsize=7)


def findings(args: Args, curves: list[Curve]) -> list[str]:
    """What the numbers say."""

    def errors(some: list[Curve]) -> str:
        each = {name: np.median([c.off(c.slopes[name]) for c in some]) for name in DERIVATIVES}
        own = np.median([c.off(c.trend) for c in some])
        return f"{each['hard']:.0%} hard, {each['saltation']:.0%} event-aware, {own:.0%} at best"

    chosen = {c.setting: [o for o in curves if o.setting == c.setting] for c in curves}
    said = [
        f"Derivatives of tosses of {len(args.shapes)} shapes are off the trend of the outcome, in "
        "the median over the shapes, by "
        + "; ".join(f"{errors(some)} ({setting.name})" for setting, some in chosen.items())
        + ". At best means: as far as the trend of these steps is off that of small ones.",
    ]
    for shape in args.shapes:
        some = [c for c in curves if c.case == shape]
        each = ", ".join(
            f"{c.off(c.slopes['hard']):.0%} and {c.off(c.slopes['saltation']):.0%} "
            f"({c.setting.name})"
            for c in some
        )
        said.append(f"{shape.capitalize()}, hard and event-aware: {each}.")
    return said


def main(args: Args) -> None:
    """Toss every shape with every integration."""
    if args.quick:
        args = replace(args, shapes=("sphere", "box"), timesteps=(2e-3,))
        args = replace(args, low=0.9, high=1.1, spacing=0.025, horizon=0.35)
    cli.open_folder(args.out)
    inputs = Inputs(args.low, args.high, args.spacing, round(WINDOW / args.spacing))
    with jax.enable_x64(True), cli.progress() as bar:
        made = cli.provenance(args)
        curves = compute(args, inputs, bar)
    x = inputs.inner(inputs.every())
    rows, said = table(curves, "shape"), findings(args, curves)
    cli.write_csv(args.out / "toss.csv", {"upward_speed": x} | columns(curves))
    cli.write_json(args.out / "metrics.json", {**made, "table": rows, "findings": said})
    draw(args, x, curves)
    cli.print_table("Derivatives of a toss, off the trend of its outcome", rows)
    print("\n".join(said))


if __name__ == "__main__":
    cli.launch(Args, main, __doc__)
