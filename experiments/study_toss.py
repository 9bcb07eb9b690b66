"""Study: tosses of five shapes. Fixed steps against steps with error control.

A sphere, box, cylinder, capsule and ellipsoid are thrown on a plane. The outcome is how far each
gets; its derivative is taken with respect to the upward speed of the throw, through the bounces. A
fixed step integrates the stiff contact wrongly and its derivative is faithful to the wrong motion;
with error control both converge. The reference is the slope of the outcome itself, a central
difference with the tightest tolerance. Contact forces begin at zero (solimp dmin 0): where they
begin with a jump, as in MuJoCo's default, no step is small enough (see the bounce).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float

import softsim
from experiments import _run
from experiments._figures import COLORS, figure

SHAPES = {
    "sphere": "0.06",
    "box": "0.05 0.04 0.03",
    "cylinder": "0.05 0.04",
    "capsule": "0.04 0.04",
    "ellipsoid": "0.06 0.05 0.04",
}
XML = """
<mujoco model="toss">
  <!-- refsafe would soften contacts to twice the time step, which is not what steps do here -->
  <option cone="elliptic" iterations="50" tolerance="1e-12"> <flag refsafe="disable"/> </option>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 0.1"/>
    <body pos="0 0 0.15" quat="0.9 0.3 0.2 0.1">
      <freejoint/>
      <geom type="{shape}" size="{size}" mass="0.3" priority="1" friction="0.3 0.005 0.0001"
            solref="0.02 0.5" solimp="0 0.95 0.005"/>
    </body>
  </worldbody>
</mujoco>
"""
WIDE = 1e-3  # m/s, step of the central differences


@dataclass(frozen=True)
class Args:
    """Settings of the study."""

    out: Path = Path("runs/study_toss")
    """folder for metrics.json, toss.csv and toss.png"""
    shapes: tuple[str, ...] = tuple(SHAPES)
    """which of sphere, box, cylinder, capsule, ellipsoid"""
    timesteps: tuple[float, ...] = (1e-2, 3e-3, 1e-3, 3e-4)
    """s, of the fixed steps"""
    tolerances: tuple[float, ...] = (1e-3, 1e-5, 1e-7)
    """of the steps with error control; the last is the reference"""
    horizon: float = 0.4
    """s"""
    quick: bool = False
    """two shapes, few steps"""

    def __post_init__(self) -> None:
        for shape in self.shapes:
            if shape not in SHAPES:
                raise ValueError(f"--shapes {shape}: expected some of {', '.join(SHAPES)}")
        if not min(*self.timesteps, *self.tolerances, self.horizon) > 0:
            raise ValueError("--timesteps, --tolerances, --horizon: expected positive numbers")


class Outcome(NamedTuple):
    """Of one shape with one integration."""

    shape: str
    method: str
    setting: float  # time step or tolerance
    distance: float  # m
    gradient: float  # m per m/s
    slope: float  # central difference over 2 mm/s, m per m/s
    seconds: float  # of value and gradient, compiled before


def thrown(shape: str) -> tuple:
    """Model and data of a throw, without its upward speed."""
    xml = XML.format(shape=shape, size=SHAPES[shape])
    m = softsim.put_model(mujoco.MjModel.from_xml_string(xml))
    d = softsim.make_data(m)
    return m, d.replace(qvel=jnp.array([1.0, 0.2, 0.0, 2.0, -3.0, 1.0]))


def fixed(shape: str) -> Callable:
    """(upward speed, time step, steps) -> (distance, derivative), any number of steps."""
    m, d = thrown(shape)

    def run(up: Float[Array, ""], dt: Float[Array, ""], steps: Array) -> Float[Array, ""]:
        model = m.tree_replace({"opt.timestep": dt})

        def advance(_: int, s: tuple) -> tuple:
            at = softsim.step(model, d.replace(qpos=s[0], qvel=s[1], qacc_warmstart=s[2]))
            return at.qpos, at.qvel, at.qacc_warmstart

        start = (d.qpos, d.qvel.at[2].set(up), d.qacc_warmstart)
        return jax.lax.fori_loop(0, steps, advance, start)[0][0]

    def both(up: Float[Array, ""], dt: Float[Array, ""], steps: Array) -> tuple:
        return jax.jvp(lambda u: run(u, dt, steps), (up,), (jnp.ones_like(up),))

    return jax.jit(both)


def controlled(shape: str, horizon: float) -> Callable:
    """(upward speed, tolerance) -> (distance, derivative)."""
    m, d = thrown(shape)
    intervals = 10
    m = m.tree_replace({"opt.timestep": jnp.asarray(horizon / intervals)})

    def run(up: Float[Array, ""], tolerance: Float[Array, ""]) -> Float[Array, ""]:
        adaptive = softsim.Adaptive(tolerance, tolerance, max_steps=4096)
        at = d.replace(qvel=d.qvel.at[2].set(up))
        end, _ = softsim.rollout(m, at, jnp.zeros((intervals, 0)), adaptive=adaptive)
        return end.qpos[0]

    return jax.jit(jax.value_and_grad(run))


def timed(f: Callable, up: float, *args: float) -> tuple[float, float, float, float]:
    """Value, derivative, central difference, and seconds of a run that is not the first."""
    low, high = (float(f(up + sign * WIDE, *args)[0]) for sign in (-1, 1))
    begin = time.perf_counter()
    value, gradient = jax.block_until_ready(f(up, *args))
    seconds = time.perf_counter() - begin
    return float(value), float(gradient), (high - low) / (2 * WIDE), seconds


def compute(args: Args, bar: _run.Progress) -> list[Outcome]:
    """Every shape with every integration."""
    outcomes = []
    for shape in args.shapes:
        task = bar.add_task(shape, total=len(args.timesteps) + len(args.tolerances), status="")
        f = fixed(shape)
        for dt in args.timesteps:
            steps = round(args.horizon / dt)
            found = timed(f, 1.0, args.horizon / steps, steps)
            outcomes.append(Outcome(shape, "fixed", dt, *found))
            bar.update(task, advance=1, status=f"step {dt:g} s")
        g = controlled(shape, args.horizon)
        for tolerance in args.tolerances:
            outcomes.append(Outcome(shape, "controlled", tolerance, *timed(g, 1.0, tolerance)))
            bar.update(task, advance=1, status=f"tolerance {tolerance:g}")
    return outcomes


def reference(outcomes: list[Outcome], shape: str) -> Outcome:
    """The tightest tolerance."""
    some = [o for o in outcomes if o.shape == shape and o.method == "controlled"]
    return min(some, key=lambda o: o.setting)


def off(outcomes: list[Outcome], o: Outcome) -> float:
    """Relative error of a gradient."""
    true = reference(outcomes, o.shape).slope
    return abs(o.gradient - true) / abs(true)


def table(args: Args, outcomes: list[Outcome]) -> list[dict[str, str]]:
    """Relative error of the gradient (and seconds): shapes down, integrations across."""
    rows = []
    for shape in args.shapes:
        row = {"shape": shape}
        for o in outcomes:
            if o.shape == shape:
                name = f"{'step' if o.method == 'fixed' else 'tol'} {o.setting:g}"
                row[name] = f"{off(outcomes, o):.1e} ({o.seconds:.2g} s)"
        rows.append(row)
    return rows


def draw(args: Args, outcomes: list[Outcome]) -> None:
    """Error of the gradient over the time it takes, one panel per method."""
    with figure(args.out / "toss.png", ncols=2, figsize=(9.0, 3.8), sharey=True) as (_, axes):
        for panel, method in zip(axes[0], ("fixed", "controlled")):
            for shape, color in zip(args.shapes, COLORS):
                some = [o for o in outcomes if o.shape == shape and o.method == method]
                errors = [max(off(outcomes, o), 1e-9) for o in some]
                panel.loglog([o.setting for o in some], errors, "o-", color=color, label=shape)
            panel.invert_xaxis()
        axes[0, 0].set_xlabel("time step (s)")
        axes[0, 1].set_xlabel("tolerance")
        axes[0, 0].set_ylabel("relative error of the gradient")
        axes[0, 1].legend()


def findings(args: Args, outcomes: list[Outcome]) -> list[str]:
    """What the numbers say."""
    median = lambda some: float(np.median([off(outcomes, o) for o in some]))
    said = []
    for dt in args.timesteps:
        some = [o for o in outcomes if o.method == "fixed" and o.setting == dt]
        seconds = np.median([o.seconds for o in some])
        said.append(f"steps of {dt:g} s: {median(some):.1%} in {seconds:.2g} s")
    controlled = []
    for tolerance in args.tolerances:
        some = [o for o in outcomes if o.method == "controlled" and o.setting == tolerance]
        seconds = np.median([o.seconds for o in some])
        controlled.append(f"tolerance {tolerance:g}: {median(some):.1%} in {seconds:.2g} s")
    return [
        f"Error of the gradient, median over the shapes, with fixed {'; '.join(said)}.",
        f"With error control, {'; '.join(controlled)}.",
        "Times are of one throw on this machine, forward mode for fixed steps and reverse mode for "
        "error control; only their ratios mean something.",
    ]


def main(args: Args) -> None:
    """Throw every shape with every integration."""
    if args.quick:
        args = Args(args.out, ("sphere", "ellipsoid"), (1e-2, 1e-3), (1e-3, 1e-5), horizon=0.3)
    _run.open_folder(args.out)
    with jax.enable_x64(True), _run.progress() as bar:
        made = _run.provenance(args)
        outcomes = compute(args, bar)
    rows, said = table(args, outcomes), findings(args, outcomes)
    fields = Outcome._fields
    _run.write_csv(args.out / "toss.csv", dict(zip(fields, zip(*outcomes))))
    metrics = {**made, "table": rows, "findings": said}
    _run.write_json(args.out / "metrics.json", metrics)
    draw(args, outcomes)
    _run.print_table("Relative error of the gradient of a toss", rows)
    print("\n".join(said))


if __name__ == "__main__":
    _run.launch(Args, main, __doc__)
