"""Study: billiards. Which derivative finds the ball, and which the target?

A cue ball is shot at an object ball, which should stop at a target. Unless the balls meet, the
outcome does not depend on the shot at all: the gradient is zero there and descent cannot begin.
Contacts that are felt from a distance (`reach`), in the derivative alone, point the shot at the
ball. Once the balls meet, what counts is that they meet earlier or later: hard derivatives do not
see it, event-aware ones ("saltation") do. The derivative over the direction of the shot is compared
with the *trend* of the outcome, the slope of lines fitted to MuJoCo C at steps of 10 microseconds;
then Gauss-Newton steps on where the object ball ends, no longer than a trust radius, are taken from
the same random shots with each derivative, in fine steps and in coarse ones.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float

import softsim
from experiments import cli
from experiments.figures import COLORS, figure
from experiments.studies.trend import PAINT, Curve, Inputs, Setting, reference

XML = """
<mujoco model="billiard table">
  <option timestep="{timestep}" iterations="10" gravity="0 0 0"/>
  <default>
    <joint type="slide" damping="0.1"/>
    <geom type="sphere" size="0.05" mass="0.2" solref="0.04 0.3" condim="1"/>
  </default>
  <worldbody>
    <body name="cue"><joint axis="1 0 0"/><joint axis="0 1 0"/><geom/></body>
    <body name="object" pos="0.4 0 0"><joint axis="1 0 0"/><joint axis="0 1 0"/><geom/></body>
  </worldbody>
</mujoco>
"""
PLACE = np.array([0.4, 0.0])  # m, of the object ball
TARGET = np.array([0.8, 0.2])  # m
HIT = 0.05  # m: a ball that ends closer than its radius is on target
RADII = (0.1, 0.3)  # m/s, trust radius at first and at most
GROW, SHRINK = 1.5, 0.4
EARLY = 5  # Gauss-Newton steps
# Directions (degrees) at which the balls meet well, for the trend: 14 is a graze. Two degrees are
# some five steps' worth of arrival.
MEETING = Inputs(low=-11.0, high=11.0, spacing=0.2, half=10)


@dataclass(frozen=True)
class Args:
    """Settings of the study."""

    out: Path = Path("runs/studies/billiard")
    """folder for metrics.json, CSV and billiard.png"""
    reach: float = 0.4
    """two of the four derivatives feel contacts from this distance, m"""
    timesteps: tuple[float, ...] = (0.002, 0.006)
    """lengths of a step, s; the first is that of the landscape"""
    duration: float = 1.2
    """a shot lasts this long, s"""
    points: int = 161
    """directions in the landscape"""
    limit: float = 40.0
    """the furthest direction either way, degrees"""
    speed: float = 1.6
    """shots in the landscape have this speed, m/s"""
    starts: int = 32
    """random shots to begin from"""
    iterations: int = 30
    """Gauss-Newton steps"""
    seed: int = 0
    """random seed of the shots"""
    quick: bool = False
    """fewer directions, shots and steps"""

    def __post_init__(self) -> None:
        if not self.reach > 0:
            raise ValueError(f"--reach: got {self.reach}, expected more than 0 m")
        if not self.timesteps or not 0 < min(self.timesteps) <= max(self.timesteps) < self.duration:
            raise ValueError("--timesteps, --duration: expected positive numbers, steps shorter")
        for name in ("points", "starts", "iterations"):
            if getattr(self, name) < 2:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected at least 2")


def derivatives(args: Args) -> dict[str, softsim.Softening]:
    """The four, by name."""
    return {
        "hard": softsim.Softening.hard(),
        "reach": softsim.Softening(reach=jnp.asarray(args.reach), gradient_only=True),
        "saltation": softsim.Softening.saltation(),
        "saltation + reach": softsim.Softening.saltation(args.reach),
    }


STYLES = {
    "hard": {"color": PAINT["hard"]},
    "saltation": {"color": PAINT["saltation"]},
    "reach": {"color": COLORS[3]},
    "saltation + reach": {"color": COLORS[2]},
}


def make_miss(args: Args, timestep: float, softening: softsim.Softening) -> Callable:
    """(shots (n, 2), m/s) -> the object ball at the end, from the target (m), and its Jacobian."""
    m = softsim.put_model(mujoco.MjModel.from_xml_string(XML.format(timestep=timestep)))
    d = softsim.make_data(m)
    controls = jnp.zeros((round(args.duration / timestep), 0))

    def miss(shot: Float[Array, "2"]) -> Float[Array, "2"]:
        thrown = d.replace(qvel=jnp.concatenate([shot, jnp.zeros(2)]))
        return softsim.rollout(m, thrown, controls, softening)[0].qpos[2:] + PLACE - TARGET

    def both(shot: Float[Array, "2"]) -> tuple:
        push = lambda t: jax.jvp(miss, (shot,), (t,))
        return jax.vmap(push, out_axes=(None, -1))(jnp.eye(2))  # two inputs: forward

    f = jax.jit(jax.vmap(both))
    return lambda shots: tuple(np.nan_to_num(x) for x in f(jnp.asarray(shots)))


def shots(args: Args, degrees: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
    """Velocities of shots in these directions."""
    angle = np.radians(degrees)
    return args.speed * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def aimed(args: Args, miss: Callable, degrees: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance to the target over the direction, and its derivative (m/degree)."""
    way = shots(args, degrees)
    r, J = miss(way)
    turned = np.radians(1.0) * np.stack([-way[:, 1], way[:, 0]], axis=1)
    length = np.linalg.norm(r, axis=1)
    return length, np.einsum("ni,nij,nj->n", r, J, turned) / length


def true_trend(args: Args) -> Float[np.ndarray, " n"]:
    """The trend of the distance over the direction, for `MEETING`."""

    def place(mj_data: mujoco.MjData, degrees: float) -> None:
        mj_data.qvel[:2] = shots(args, np.array([degrees]))[0]

    mj_model = mujoco.MjModel.from_xml_string(XML.format(timestep=args.timesteps[0]))
    ends = reference(mj_model, place, MEETING.every(), args.duration)
    return MEETING.trend(np.linalg.norm(ends[:, 2:] + PLACE - TARGET, axis=1))


def shorter(
    r: Float[np.ndarray, "n 2"], J: Float[np.ndarray, "n 2 2"], radius: Float[np.ndarray, " n"]
) -> Float[np.ndarray, "n 2"]:
    """Gauss-Newton steps, damped (Levenberg and Marquardt) until none is longer than its radius."""
    values, axes = np.linalg.eigh(np.swapaxes(J, 1, 2) @ J)
    slope = np.einsum("nji,nkj,nk->ni", axes, J, r)  # of r' r / 2 along the axes
    largest = values[:, -1:] + 1e-30
    low, high = 1e-12 * largest, 1e12 * largest
    for _ in range(60):  # bisection of the logarithm of the damping
        middle = np.sqrt(low) * np.sqrt(high)
        long = np.linalg.norm(slope / (values + middle), axis=1) > radius
        low, high = np.where(long[:, None], middle, low), np.where(long[:, None], high, middle)
    return -np.einsum("nij,nj->ni", axes, slope / (values + high))


def descend(
    args: Args, miss: Callable, x: Float[np.ndarray, "n 2"]
) -> Float[np.ndarray, "iterations n"]:
    """Least miss so far (m) of Gauss-Newton steps from every shot.

    A step is taken unless the ball ends further away, so that plateaus are crossed.
    """
    radius = np.full(len(x), RADII[0])
    r, J = miss(x)
    misses = [np.linalg.norm(r, axis=1)]
    for _ in range(args.iterations):
        tried = x + shorter(r, J, radius)
        r_tried, J_tried = miss(tried)
        misses.append(np.linalg.norm(r_tried, axis=1))
        ok = misses[-1] <= np.linalg.norm(r, axis=1) + 1e-9
        x, r = np.where(ok[:, None], tried, x), np.where(ok[:, None], r_tried, r)
        J = np.where(ok[:, None, None], J_tried, J)
        radius = np.where(ok, np.minimum(GROW * radius, RADII[1]), SHRINK * radius)
    return np.minimum.accumulate(np.array(misses), axis=0)


def random_shots(args: Args) -> Float[np.ndarray, "n 2"]:
    """Shots to begin from."""
    way, fast = jax.random.uniform(jax.random.key(args.seed), (2, args.starts))
    angle, speed = np.radians(args.limit) * (2 * way - 1), args.speed * (0.6 + 0.8 * fast)
    return np.asarray(speed * jnp.stack([jnp.cos(angle), jnp.sin(angle)])).T


Found = dict[str, dict[float, np.ndarray]]  # by derivative and time step, (iterations, shots)


def draw(args: Args, columns: dict[str, np.ndarray], curve: Curve, found: Found) -> None:
    """Landscape, derivatives where the balls meet, and success over the iterations."""
    with figure(args.out / "billiard.png", ncols=3, figsize=(11.0, 3.6)) as (_, axes):
        landscape, slopes, success = axes[0]
        landscape.plot(columns["direction_deg"], columns["distance_m"], color="black")
        landscape.set_ylabel("object ball to target at the end (m)")
        for name, slope in curve.slopes.items():
            slopes.plot(MEETING.inner(MEETING.every()), slope, label=name, **STYLES[name])
        slopes.plot(MEETING.inner(MEETING.every()), curve.true, "k--", label="trend (the truth)")
        slopes.set_ylabel("its derivative (m per degree)")
        for panel in (landscape, slopes):
            panel.set_xlabel("direction of the shot (degrees)")
        for name, by_step in found.items():
            for (timestep, best), line in zip(by_step.items(), ("-", "--", ":", "-.")):
                label = f"{name}, {1e3 * timestep:g} ms"
                success.plot(np.mean(best < HIT, axis=1), line, label=label, **STYLES[name])
        success.set(xlabel="Gauss-Newton steps", ylabel="share of shots on target", ylim=(0, 1))
        slopes.legend(fontsize=7)
        success.legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.0, 1.0))


def report(
    args: Args, zero: dict[str, float], curve: Curve, found: Found
) -> tuple[list[dict], list[str]]:
    """The table, and what the numbers say."""
    rows = []
    for name, by_step in found.items():
        row = {"derivative": name, "zero": f"{zero[name]:.0%} of directions"}
        row["off the trend where balls meet"] = f"{curve.off(curve.slopes[name]):.0%}"
        for timestep, best in by_step.items():
            row[f"on target, {1e3 * timestep:g} ms"] = f"{np.mean(best[-1] < HIT):.0%}"
        rows.append(row)
    off = ", ".join(f"{curve.off(slope):.0%} ({name})" for name, slope in curve.slopes.items())
    said = [f"In billiards, where the balls meet, derivatives are off the trend by {off}."]
    for timestep in next(iter(found.values())):
        each = ", ".join(f"{np.mean(f[timestep][-1] < HIT):.0%} ({n})" for n, f in found.items())
        said.append(f"In steps of {1e3 * timestep:g} ms, shots on target: {each}.")
    first = args.timesteps[0]
    soon = {n: f"{np.mean(f[first][EARLY] < HIT):.0%} ({n})" for n, f in found.items()}
    return rows, [
        *said,
        f"After {EARLY} of them, in steps of {1e3 * first:g} ms: {', '.join(soon.values())}.",
        "Contact from a distance finds the ball; events make the derivative right and the search "
        "quick in fine steps. They do not make it end better, and in coarse steps worse, probably "
        "since a step is taken only if the ball ends closer, which the teeth of the outcome can "
        "forbid in the right direction.",
    ]


def main(args: Args) -> None:
    """Draw the landscape and run the descents."""
    if args.quick:
        args = replace(args, timesteps=(0.006,), duration=0.6, points=41, starts=8, iterations=6)
    cli.open_folder(args.out)
    degrees = np.linspace(-args.limit, args.limit, args.points)
    columns, zero = {"direction_deg": degrees}, {}
    found: Found = {}
    with jax.enable_x64(True), cli.progress() as bar:
        made = cli.provenance(args)
        starts = random_shots(args)
        own, slopes = np.zeros(0), {}
        for name, softening in derivatives(args).items():
            task = bar.add_task(name, total=len(args.timesteps), status="compiling")
            for timestep in args.timesteps:
                miss = make_miss(args, timestep, softening)
                if timestep == args.timesteps[0]:
                    columns["distance_m"], slope = aimed(args, miss, degrees)
                    columns[f"gradient, {name}"], zero[name] = slope, np.mean(np.abs(slope) < 1e-9)
                    value, slope = aimed(args, miss, MEETING.every())
                    own, slopes[name] = MEETING.trend(value), MEETING.inner(slope)
                best = descend(args, miss, starts)
                found.setdefault(name, {})[timestep] = best
                share = f"{np.mean(best[-1] < HIT):.0%} on target"
                bar.update(task, advance=1, status=share)
        curve = Curve("billiard", Setting(args.timesteps[0]), own, true_trend(args), slopes)
    rows, said = report(args, zero, curve, found)
    cli.write_csv(args.out / "landscape.csv", columns)
    misses = {
        f"miss_m, {name}, {1e3 * timestep:g} ms": best[-1]
        for name, by_step in found.items()
        for timestep, best in by_step.items()
    }
    cli.write_csv(args.out / "shots.csv", {"vx": starts[:, 0], "vy": starts[:, 1]} | misses)
    cli.write_json(args.out / "metrics.json", {**made, "table": rows, "findings": said})
    draw(args, columns, curve, found)
    cli.print_table("Billiards, by derivative", rows)
    print("\n".join(said))


if __name__ == "__main__":
    cli.launch(Args, main, __doc__)
