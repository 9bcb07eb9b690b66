"""Study: a ball that bounces once, in one dimension. When is the gradient of a bounce right?

The outcome is the height of the ball 0.38 s after it is let go, as a function of the height from
which it falls. The truth is the *trend* of that outcome: the slope of a line fitted to MuJoCo C at
steps of 10 microseconds, over drops 2 cm to either side. Fixed steps and steps with error control
are differentiated exactly ("hard") and with the moments at which contact begins and ends
("saltation"). The contacts are MuJoCo's default, a bouncing one, and the bouncing one with a
force that begins at zero (solimp dmin 0) and not with a jump.
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

XML = """
<mujoco model="bounce">
  <!-- refsafe would soften contacts to twice the time step, which is not what steps do here -->
  <option timestep="0.002" iterations="30" tolerance="1e-10"> <flag refsafe="disable"/> </option>
  <worldbody>
    <geom name="floor" type="plane" size="1 1 0.1"/>
    <body pos="0 0 0.05">
      <joint name="height" type="slide" axis="0 0 1"/>
      <geom type="sphere" size="0.05" mass="0.2" condim="1" priority="1"/>
    </body>
  </worldbody>
</mujoco>
"""
GRAVITY = 9.81
CONTACTS = {  # solref; dmin, dmax and width of solimp
    "default": ((0.02, 1.0), (0.9, 0.95, 0.001)),
    "bouncing": ((0.05, 0.2), (0.9, 0.95, 0.01)),
    "bouncing, no jump": ((0.05, 0.2), (0.0, 0.95, 0.01)),
}
WINDOW = 0.02  # m, how far around a drop its trend is fitted: five teeth of steps of 2 ms
LOOK = Setting(0.002), 0.3, 4  # a look at single teeth: steps, drop (m), how many
LOOKED_AT = "bouncing"


@dataclass(frozen=True)
class Args:
    """Settings of the study."""

    out: Path = Path("runs/studies/bounce")
    """folder for metrics.json, CSV and bounce.png"""
    low: float = 0.2
    """the lowest drop, m"""
    high: float = 0.4
    """the highest drop, m"""
    spacing: float = 0.001
    """from one drop to the next, m"""
    horizon: float = 0.38
    """a drop is followed for this long, s"""
    timesteps: tuple[float, ...] = (5e-3, 2e-3, 1e-3)
    """lengths of the fixed steps, s"""
    tolerances: tuple[float, ...] = (1e-3, 1e-5)
    """tolerances of the steps with error control"""
    quick: bool = False
    """fewer drops and steps"""

    def __post_init__(self) -> None:
        if not WINDOW < self.low < self.high:
            raise ValueError(f"--low {self.low} --high {self.high}: expected {WINDOW} < low < high")
        if not 0 < self.spacing <= WINDOW / 4:
            raise ValueError(f"--spacing: got {self.spacing}, expected at most {WINDOW / 4} m")
        if not min(*self.timesteps, *self.tolerances, self.horizon) > 0:
            raise ValueError("--timesteps, --tolerances, --horizon: expected positive numbers")


def programs(args: Args) -> dict[tuple[str, bool], Callable]:
    """For every derivative, with fixed steps and with error control."""
    m = softsim.put_model(mujoco.MjModel.from_xml_string(XML))
    d = softsim.make_data(m)

    def start(height: Float[Array, ""], solref: Array, solimp: Array) -> tuple[mjx.Model, mjx.Data]:
        model = m.replace(
            geom_solref=m.geom_solref.at[1].set(solref),
            geom_solimp=m.geom_solimp.at[1, :3].set(solimp),
        )
        return model, d.replace(qpos=height[None])

    return {
        (name, controlled): program(start, softening, args.horizon, controlled)
        for name, softening in DERIVATIVES.items()
        for controlled in (False, True)
    }


def true_outcome(args: Args, contact: str, heights: np.ndarray) -> np.ndarray:
    """Heights at the end by MuJoCo C at small steps."""
    mj_model = mujoco.MjModel.from_xml_string(XML)
    mj_model.geom_solref[1], mj_model.geom_solimp[1, :3] = CONTACTS[contact]

    def place(mj_data: mujoco.MjData, height: float) -> None:
        mj_data.qpos[0] = height

    return reference(mj_model, place, heights, args.horizon)[:, 0]


def compute(args: Args, inputs: Inputs, run: dict, bar: cli.Progress) -> list[Curve]:
    """For each contact, every fixed step and tolerance."""
    chosen = [Setting(dt) for dt in args.timesteps]
    chosen += [Setting(tolerance, controlled=True) for tolerance in args.tolerances]
    task = bar.add_task("dropping", total=len(CONTACTS) * len(chosen), status="")
    heights, curves = inputs.every(), []
    for contact, parameters in CONTACTS.items():
        true = inputs.trend(true_outcome(args, contact, heights))
        for setting in chosen:
            given = [jnp.asarray(x) for x in (setting.size, *parameters)]
            found = {
                name: run[name, setting.controlled](jnp.asarray(heights), *given)
                for name in DERIVATIVES
            }
            slopes = {name: inputs.inner(np.asarray(slope)) for name, (_, slope) in found.items()}
            own = inputs.trend(np.asarray(found["hard"][0]))
            curves.append(Curve(contact, setting, own, true, slopes))
            bar.update(task, advance=1, status=f"{contact}, {setting.name}")
    return curves


def look(args: Args, run: dict) -> dict[str, np.ndarray]:
    """Outcome and derivatives over the moment within a step at which the ball arrives."""
    setting, height, length = LOOK
    first = np.round(np.sqrt(2 * height / GRAVITY) / setting.size)
    arrival = np.linspace(0.0, length, 40 * length + 1)
    x = 0.5 * GRAVITY * (setting.size * (first + arrival)) ** 2
    given = [jnp.asarray(x) for x in (setting.size, *CONTACTS[LOOKED_AT])]
    found = {"arrival_steps": arrival, "drop_m": x}
    for name in DERIVATIVES:
        value, slope = run[name, False](jnp.asarray(x), *given)
        found |= {"height_m": np.asarray(value), name: np.asarray(slope)}
    return found


def draw(path: Path, curves: list[Curve], seen: dict[str, np.ndarray]) -> None:
    """Outcome and derivatives over the moment of arrival; errors over the integrations."""
    with figure(path, ncols=3, figsize=(11.0, 3.6)) as (_, axes):
        outcome, slopes, errors = axes[0]
        outcome.plot(seen["arrival_steps"], 1e3 * seen["height_m"], color="0.4")
        outcome.set_ylabel("height at the end (mm)")
        outcome.set_title(f"A bounce in {LOOK[0].name} ({LOOKED_AT})", fontsize=9)
        for name, color in PAINT.items():
            slopes.plot(seen["arrival_steps"], seen[name], color=color, label=name)
        slopes.plot(seen["arrival_steps"], seen["trend"], "k--", label="trend (the truth)")
        slopes.set_ylabel("d height at the end / d drop")
        slopes.set_title("Its derivative", fontsize=9)
        slopes.legend(fontsize=8)
        for panel in (outcome, slopes):
            panel.set_xlabel("moment of arrival (steps)")
        for contact, marker in zip(CONTACTS, "os^"):
            some = [c for c in curves if c.case == contact]
            for name, color in PAINT.items():
                error = [100 * c.off(c.slopes[name]) for c in some]
                label, names = f"{name}, {contact}", [c.setting.name for c in some]
                errors.semilogy(names, error, f"{marker}:", color=color, label=label)
        errors.set_title("How far derivatives are off the trend (%)", fontsize=9)
        errors.tick_params(axis="x", rotation=30)
        errors.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def findings(curves: list[Curve], seen: dict[str, np.ndarray]) -> list[str]:
    """What the numbers say."""

    def errors(c: Curve) -> str:
        hard, saltation = (c.off(c.slopes[name]) for name in DERIVATIVES)
        return f"{hard:.0%} hard and {saltation:.1%} event-aware ({c.setting.name})"

    hard, saltation = (seen[name] - seen["trend"] for name in DERIVATIVES)
    each = {
        contact: ", ".join(errors(c) for c in curves if c.case == contact) for contact in CONTACTS
    }
    return [
        "The derivative of a bounce in fixed steps is the slope of a sawtooth; neither smaller "
        "steps nor error control mend it where the force begins with a jump. With MuJoCo's default "
        f"contact it is off the trend of the outcome by {each['default']}.",
        f"Bouncing contact: {each['bouncing']}.",
        f"A force that begins at zero: {each['bouncing, no jump']}. Little begins at once here, so "
        "that there is little for event-aware derivatives to add: what is left is that the force "
        "changes much within a step, which smaller steps or error control mend.",
        f"Over the moment within a step at which the ball arrives ({LOOKED_AT}, {LOOK[0].name}), "
        f"the trend is {np.mean(seen['trend']):.2f}; hard derivatives differ from it by "
        f"{np.mean(hard):.2f} +- {np.std(hard):.2f}, event-aware ones by {np.mean(saltation):.2f} "
        f"+- {np.std(saltation):.2f}.",
    ]


def main(args: Args) -> None:
    """Sweep the drop height with every integration and compare."""
    if args.quick:
        args = replace(args, low=0.28, high=0.32, spacing=0.004)
        args = replace(args, timesteps=(2e-3,), tolerances=(1e-4,))
    cli.open_folder(args.out)
    inputs = Inputs(args.low, args.high, args.spacing, round(WINDOW / args.spacing))
    with jax.enable_x64(True), cli.progress() as bar:
        made = cli.provenance(args)
        run = programs(args)
        curves = compute(args, inputs, run, bar)
        seen = look(args, run)
    x = inputs.inner(inputs.every())
    true = next(c.true for c in curves if c.case == LOOKED_AT)
    seen["trend"] = np.interp(seen["drop_m"], x, true)
    rows, said = table(curves, "contact"), findings(curves, seen)
    cli.write_csv(args.out / "bounce.csv", {"drop_m": x} | columns(curves))
    cli.write_csv(args.out / "arrival.csv", seen)
    cli.write_json(args.out / "metrics.json", {**made, "table": rows, "findings": said})
    draw(args.out / "bounce.png", curves, seen)
    cli.print_table("Derivatives of a bounce, off the trend of its outcome", rows)
    print("\n".join(said))


if __name__ == "__main__":
    cli.launch(Args, main, __doc__)
