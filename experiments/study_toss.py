"""Study: tosses of five shapes. Fixed steps against steps with error control.

A sphere, box, cylinder, capsule and ellipsoid are thrown on a plane. The outcome is how far each
gets; its derivative is taken with respect to the upward speed of the throw, through the bounces. A
fixed step integrates the stiff contact wrongly and its derivative is faithful to the wrong motion;
with error control both converge, if forces do not jump. Contact forces begin at zero here (solimp
dmin 0; for MuJoCo's default, see the bounce), but where contact points are chosen, a choice that
changes makes them jump all the same: a box in MJX is touched by the corners within 1 mm of its
deepest (`skin`), a cylinder by an end or by its side. Those two are thrown again with a skin that
takes every corner, and with soft choices. The reference is the slope of the same outcome, a central
difference with the tightest tolerance.
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

SIZES = {
    "sphere": "0.06",
    "capsule": "0.04 0.04",
    "ellipsoid": "0.06 0.05 0.04",
    "box": "0.05 0.04 0.03",
    "cylinder": "0.05 0.04",
}
EVERY_CORNER = softsim.Softening(collision=softsim.Part(skin=jnp.asarray(1.0)))


class Throw(NamedTuple):
    """What is thrown, and how its contacts are found."""

    shape: str
    contacts: str
    softening: softsim.Softening

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"{self.shape}, {self.contacts}" if self.contacts else self.shape


HARD = {shape: Throw(shape, "", softsim.Softening.hard()) for shape in SIZES}
CHOSEN = (  # shapes whose contact points are chosen among more
    Throw("box", "every corner", EVERY_CORNER),
    Throw("box", "soft", softsim.Softening.soft()),
    Throw("cylinder", "soft", softsim.Softening.soft()),
)
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
    shapes: tuple[str, ...] = tuple(SIZES)
    """some of sphere, capsule, ellipsoid, box, cylinder"""
    timesteps: tuple[float, ...] = (1e-2, 3e-3, 1e-3, 3e-4)
    """lengths of the fixed steps, s"""
    tolerances: tuple[float, ...] = (1e-3, 1e-5, 1e-7)
    """tolerances of the steps with error control; the last is the reference"""
    horizon: float = 0.4
    """a toss is followed for this long, s"""
    quick: bool = False
    """two shapes, few steps"""

    def __post_init__(self) -> None:
        for shape in self.shapes:
            if shape not in SIZES:
                raise ValueError(f"--shapes {shape}: expected some of {', '.join(SIZES)}")
        if not min(*self.timesteps, *self.tolerances, self.horizon) > 0:
            raise ValueError("--timesteps, --tolerances, --horizon: expected positive numbers")


class Outcome(NamedTuple):
    """Of one throw with one integration."""

    throw: str
    method: str
    setting: float  # time step or tolerance
    distance: float  # m
    gradient: float  # m per m/s
    slope: float  # central difference over 2 mm/s, m per m/s
    seconds: float  # of value and gradient, compiled before


def thrown(shape: str) -> tuple:
    """Model and data of a throw, without its upward speed."""
    xml = XML.format(shape=shape, size=SIZES[shape])
    m = softsim.put_model(mujoco.MjModel.from_xml_string(xml))
    d = softsim.make_data(m)
    return m, d.replace(qvel=jnp.array([1.0, 0.2, 0.0, 2.0, -3.0, 1.0]))


def fixed(throw: Throw) -> Callable:
    """(upward speed, time step, steps) -> (distance, derivative), any number of steps."""
    m, d = thrown(throw.shape)

    def run(up: Float[Array, ""], dt: Float[Array, ""], steps: Array) -> Float[Array, ""]:
        model = m.tree_replace({"opt.timestep": dt})

        def advance(_: int, s: tuple) -> tuple:
            at = d.replace(qpos=s[0], qvel=s[1], qacc_warmstart=s[2])
            at = softsim.step(model, at, throw.softening)
            return at.qpos, at.qvel, at.qacc_warmstart

        start = (d.qpos, d.qvel.at[2].set(up), d.qacc_warmstart)
        return jax.lax.fori_loop(0, steps, advance, start)[0][0]

    return forward(run)


def controlled(throw: Throw, horizon: float) -> Callable:
    """(upward speed, tolerance) -> (distance, derivative)."""
    m, d = thrown(throw.shape)
    intervals = 10
    m = m.tree_replace({"opt.timestep": jnp.asarray(horizon / intervals)})

    def run(up: Float[Array, ""], tolerance: Float[Array, ""]) -> Float[Array, ""]:
        adaptive = softsim.Adaptive(tolerance, tolerance, max_steps=4096, derivative="forward")
        at = d.replace(qvel=d.qvel.at[2].set(up))
        ctrl = jnp.zeros((intervals, 0))
        return softsim.rollout(m, at, ctrl, throw.softening, adaptive=adaptive)[0].qpos[0]

    return forward(run)


def forward(run: Callable) -> Callable:
    """Value and derivative with respect to the first argument, compiled."""

    def both(up: Float[Array, ""], *args: Array) -> tuple:
        return jax.jvp(lambda u: run(u, *args), (up,), (jnp.ones_like(up),))

    return jax.jit(both)


def timed(f: Callable, up: float, *args: float) -> tuple[float, float, float, float]:
    """Value, derivative, central difference, and seconds of a run that is not the first."""
    low, high = (float(f(up + sign * WIDE, *args)[0]) for sign in (-1, 1))
    begin = time.perf_counter()
    value, gradient = jax.block_until_ready(f(up, *args))
    seconds = time.perf_counter() - begin
    return float(value), float(gradient), (high - low) / (2 * WIDE), seconds


def throws(args: Args) -> list[Throw]:
    """Every shape as it is, then those with other contacts."""
    return [HARD[shape] for shape in args.shapes] + [t for t in CHOSEN if t.shape in args.shapes]


def compute(args: Args, bar: _run.Progress) -> list[Outcome]:
    """Every throw with every integration."""
    outcomes = []
    for throw in throws(args):
        total = len(args.timesteps) + len(args.tolerances)
        task = bar.add_task(throw.name, total=total, status="")
        f = fixed(throw)
        for dt in args.timesteps:
            steps = round(args.horizon / dt)
            found = timed(f, 1.0, args.horizon / steps, steps)
            outcomes.append(Outcome(throw.name, "fixed", dt, *found))
            bar.update(task, advance=1, status=f"step {dt:g} s")
        g = controlled(throw, args.horizon)
        for tolerance in args.tolerances:
            found = timed(g, 1.0, tolerance)
            outcomes.append(Outcome(throw.name, "controlled", tolerance, *found))
            bar.update(task, advance=1, status=f"tolerance {tolerance:g}")
    return outcomes


def reference(outcomes: list[Outcome], throw: str) -> Outcome:
    """The tightest tolerance."""
    some = [o for o in outcomes if o.throw == throw and o.method == "controlled"]
    return min(some, key=lambda o: o.setting)


def off(outcomes: list[Outcome], o: Outcome) -> float:
    """Relative error of a gradient."""
    true = reference(outcomes, o.throw).slope
    return abs(o.gradient - true) / abs(true)


def table(outcomes: list[Outcome]) -> list[dict[str, str]]:
    """Relative error of the gradient (and seconds): throws down, integrations across."""
    rows: dict[str, dict[str, str]] = {}
    for o in outcomes:
        name = f"{'step' if o.method == 'fixed' else 'tol'} {o.setting:g}"
        row = rows.setdefault(o.throw, {"throw": o.throw})
        row[name] = f"{off(outcomes, o):.1e} ({o.seconds:.2g} s)"
    return list(rows.values())


def draw(args: Args, outcomes: list[Outcome]) -> None:
    """Error of the gradient over the setting, one panel per method."""
    with figure(args.out / "toss.png", ncols=2, figsize=(9.0, 3.8), sharey=True) as (_, axes):
        colors = dict(zip(args.shapes, COLORS))
        styles = {"": "o-", "every corner": "s--", "soft": "^:"}
        for panel, method in zip(axes[0], ("fixed", "controlled")):
            for throw in throws(args):
                some = [o for o in outcomes if o.throw == throw.name and o.method == method]
                errors = [max(off(outcomes, o), 1e-9) for o in some]
                style = {"color": colors[throw.shape], "label": throw.name}
                panel.loglog([o.setting for o in some], errors, styles[throw.contacts], **style)
            panel.invert_xaxis()
        axes[0, 0].set_xlabel("time step (s)")
        axes[0, 1].set_xlabel("tolerance")
        axes[0, 0].set_ylabel("relative error of the gradient")
        axes[0, 1].legend(bbox_to_anchor=(1.02, 1.0), loc="upper left")


def findings(args: Args, outcomes: list[Outcome]) -> list[str]:
    """What the numbers say."""
    chosen = {t.shape for t in CHOSEN}
    plain = [shape for shape in args.shapes if shape not in chosen]

    def errors(method: str, setting: float) -> str:
        some = [
            o for o in outcomes if (o.method, o.setting) == (method, setting) and o.throw in plain
        ]
        error = np.median([off(outcomes, o) for o in some])
        return f"{error:.1%} in {np.median([o.seconds for o in some]):.2g} s"

    said = []
    ends = [(t, reference(outcomes, t.name)) for t in throws(args) if t.shape in chosen]
    if ends:
        each = "; ".join(
            f"{t.shape}, {t.contacts or 'hard'}: {o.gradient:.4f} for {o.slope:.4f} m per m/s "
            f"({off(outcomes, o):.1%} off)"
            for t, o in ends
        )
        said.append(
            "Where contact points are chosen, a hard choice makes the force jump, and the gradient "
            f"is wrong however small the tolerance; at {min(args.tolerances):g}, {each}."
        )
    if plain:
        steps = "; ".join(f"steps of {dt:g} s: {errors('fixed', dt)}" for dt in args.timesteps)
        tight = "; ".join(f"tolerance {t:g}: {errors('controlled', t)}" for t in args.tolerances)
        said += [
            f"Error of the gradient where no contact point is chosen ({', '.join(plain)}, their "
            f"median), with fixed {steps}.",
            f"With error control, {tight}.",
        ]
    return [
        *said,
        "Times are of one throw on this machine, value and derivative in forward mode; only their "
        "ratios mean something.",
    ]


def main(args: Args) -> None:
    """Throw every shape with every integration."""
    if args.quick:
        args = Args(args.out, ("sphere", "ellipsoid"), (1e-2, 1e-3), (1e-3, 1e-5), horizon=0.3)
    _run.open_folder(args.out)
    with jax.enable_x64(True), _run.progress() as bar:
        made = _run.provenance(args)
        outcomes = compute(args, bar)
    rows, said = table(outcomes), findings(args, outcomes)
    fields = Outcome._fields
    _run.write_csv(args.out / "toss.csv", dict(zip(fields, zip(*outcomes))))
    metrics = {**made, "table": rows, "findings": said}
    _run.write_json(args.out / "metrics.json", metrics)
    draw(args, outcomes)
    _run.print_table("Relative error of the gradient of a toss", rows)
    print("\n".join(said))


if __name__ == "__main__":
    _run.launch(Args, main, __doc__)
