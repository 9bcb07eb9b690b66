"""Study: billiards. What contact from a distance changes about a landscape, and about success.

A cue ball is shot at an object ball, which should stop at a target. Unless the balls meet, the
outcome does not depend on the shot at all: gradients of hard contacts are zero there and descent
cannot begin. Contacts that are felt from a distance (`reach`), in the derivative alone, point the
shot at the ball. The landscape over the direction of the shot is drawn for several reaches, and
Gauss-Newton steps on where the object ball ends, no longer than a trust radius, are taken from the
same random shots with each. The balls are softer than MuJoCo's default (time constant 0.04 s) and
forces begin at zero (solimp dmin 0), since those that begin with a jump have derivatives that
mislead (see the bounce). Time steps matter as much: the descents are repeated with coarse ones.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float

import softsim
from experiments import _run
from experiments._figures import COLORS, figure

XML = """
<mujoco model="billiard table">
  <option timestep="{timestep}" iterations="10" gravity="0 0 0"/>
  <default>
    <joint type="slide" damping="0.1"/>
    <geom type="sphere" size="0.05" mass="0.2" solref="0.04 0.3" solimp="0 0.95 0.01"
          condim="1"/>
  </default>
  <worldbody>
    <body name="cue"><joint axis="1 0 0"/><joint axis="0 1 0"/><geom/></body>
    <body name="object" pos="0.4 0 0"><joint axis="1 0 0"/><joint axis="0 1 0"/><geom/></body>
  </worldbody>
</mujoco>
"""
TARGET = np.array([0.8, 0.2])  # m
HIT = 0.05  # m: a ball that ends closer than its radius is on target
RADII = (0.1, 0.3)  # m/s, trust radius at first and at most
GROW, SHRINK = 1.5, 0.4


@dataclass(frozen=True)
class Args:
    """Settings of the study."""

    out: Path = Path("runs/study_billiard")
    """folder for metrics.json, CSV and billiard.png"""
    reaches: tuple[float, ...] = (0.0, 0.1, 0.4)
    """derivatives feel contacts from these distances, m; 0: hard"""
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
        if not self.reaches or min(self.reaches) < 0:
            raise ValueError(f"--reaches: got {self.reaches}, expected lengths of at least 0 m")
        if not self.timesteps or not 0 < min(self.timesteps) <= max(self.timesteps) < self.duration:
            raise ValueError("--timesteps, --duration: expected positive numbers, steps shorter")
        for name in ("points", "starts", "iterations"):
            if getattr(self, name) < 2:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected at least 2")


def make_miss(args: Args, timestep: float) -> Callable:
    """(shot (2,) in m/s, reach) -> the object ball at the end, from the target (m)."""
    m = softsim.put_model(mujoco.MjModel.from_xml_string(XML.format(timestep=timestep)))
    d = softsim.make_data(m)
    controls = jnp.zeros((round(args.duration / timestep), 0))

    def miss(shot: Float[Array, "2"], reach: Float[Array, ""]) -> Float[Array, "2"]:
        thrown = d.replace(qvel=jnp.concatenate([shot, jnp.zeros(2)]))
        soft = softsim.Softening(reach=reach, gradient_only=True)
        end, _ = softsim.rollout(m, thrown, controls, soft)
        return end.qpos[2:] + jnp.array([0.4, 0.0]) - TARGET

    return miss


def landscape(
    args: Args, miss: Callable, angle: Float[np.ndarray, " n"]
) -> tuple[np.ndarray, dict[float, np.ndarray]]:
    """Distance to the target over the direction, and its derivative (m/rad) for every reach."""

    def aimed(a: Float[Array, ""], reach: Float[Array, ""]) -> Float[Array, ""]:
        away = miss(args.speed * jnp.stack([jnp.cos(a), jnp.sin(a)]), reach)
        return jnp.sqrt(away @ away + 1e-12)

    push = lambda a, reach: jax.jvp(lambda a: aimed(a, reach), (a,), (jnp.ones_like(a),))
    f = jax.jit(jax.vmap(push, in_axes=(0, None)))
    value, slopes = np.zeros(0), {}
    for reach in args.reaches:
        found, slope = f(jnp.asarray(angle), jnp.asarray(reach))
        value, slopes[reach] = np.asarray(found), np.asarray(slope)
    return value, slopes


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
    args: Args, miss: Callable, starts: Float[np.ndarray, "n 2"], bar: _run.Progress, name: str
) -> dict[float, Float[np.ndarray, "iterations n"]]:
    """Least miss so far (m) of Gauss-Newton steps from every start, for every reach.

    A step is taken unless the ball ends further away, so that plateaus are crossed.
    """

    def both(shot: Float[Array, "2"], reach: Float[Array, ""]) -> tuple:
        push = lambda t: jax.jvp(lambda x: miss(x, reach), (shot,), (t,))
        return jax.vmap(push, out_axes=(None, -1))(jnp.eye(2))  # two inputs: forward

    f = jax.jit(jax.vmap(both, in_axes=(0, None)))
    evaluate = lambda x, reach: tuple(map(np.nan_to_num, f(jnp.asarray(x), jnp.asarray(reach))))
    best = {}
    for reach in args.reaches:
        task = bar.add_task(f"{name}, {name_of(reach)}", total=args.iterations, status="")
        x, radius = starts, np.full(len(starts), RADII[0])
        r, J = evaluate(x, reach)
        misses = [np.linalg.norm(r, axis=1)]
        for _ in range(args.iterations):
            tried = x + shorter(r, J, radius)
            r_tried, J_tried = evaluate(tried, reach)
            ok = np.linalg.norm(r_tried, axis=1) <= np.linalg.norm(r, axis=1) + 1e-9
            x, r = np.where(ok[:, None], tried, x), np.where(ok[:, None], r_tried, r)
            J = np.where(ok[:, None, None], J_tried, J)
            radius = np.where(ok, np.minimum(GROW * radius, RADII[1]), SHRINK * radius)
            misses.append(np.linalg.norm(r_tried, axis=1))
            bar.update(task, advance=1, status=f"median {np.median(misses[-1]):.3f} m")
        best[reach] = np.minimum.accumulate(np.array(misses), axis=0)
    return best


def name_of(reach: float) -> str:
    """How a reach is called in figures and tables."""
    return "hard" if reach == 0 else f"reach {reach:g} m"


Found = dict[float, dict[float, np.ndarray]]  # by time step and reach, (iterations, shots)


def table(slopes: dict[float, np.ndarray], found: Found) -> list[dict[str, str]]:
    """Where the gradient vanishes, and how often descent succeeds."""
    rows = []
    for reach, slope in slopes.items():
        row = {"derivative": name_of(reach)}
        row["zero gradient"] = f"{np.mean(np.abs(slope) < 1e-9):.0%} of directions"
        for timestep, best in found.items():
            last = best[reach][-1]
            row[f"on target, steps of {1e3 * timestep:g} ms"] = f"{np.mean(last < HIT):.0%}"
            row[f"median miss, steps of {1e3 * timestep:g} ms"] = f"{1e3 * np.median(last):.0f} mm"
        rows.append(row)
    return rows


def draw(args: Args, angle: np.ndarray, value: np.ndarray, slopes: dict, found: Found) -> None:
    """Landscape, derivatives, and success over the iterations."""
    with figure(args.out / "billiard.png", ncols=3, figsize=(11.0, 3.8)) as (_, axes):
        degrees = np.degrees(angle)
        axes[0, 0].plot(degrees, value, color="black")
        axes[0, 0].set_ylabel("object ball to target at the end (m)")
        for (reach, slope), color in zip(slopes.items(), COLORS):
            axes[0, 1].plot(degrees, slope, color=color, label=name_of(reach))
            for (timestep, best), style in zip(found.items(), ("-", "--", ":", "-.")):
                share = np.mean(best[reach] < HIT, axis=1)
                label = f"{name_of(reach)}, {1e3 * timestep:g} ms"
                axes[0, 2].plot(share, style, color=color, label=label)
        axes[0, 1].set_yscale("symlog", linthresh=1e-2)
        axes[0, 1].set_ylabel("its derivative (m/rad)")
        for panel in axes[0, :2]:
            panel.set_xlabel("direction of the shot (degrees)")
        axes[0, 2].set_xlabel("Gauss-Newton steps")
        axes[0, 2].set_ylabel("share of shots on target")
        axes[0, 2].set_ylim(0, 1)
        axes[0, 1].legend(fontsize=7)
        axes[0, 2].legend(fontsize=7)


def findings(slopes: dict, found: Found, starts: np.ndarray) -> list[str]:
    """What the numbers say."""

    def shares(best: dict[float, np.ndarray], some: np.ndarray) -> str:
        hit = {reach: np.mean(misses[-1][some] < HIT) for reach, misses in best.items()}
        return ", ".join(f"{share:.0%} ({name_of(reach)})" for reach, share in hit.items())

    every, fine = np.ones(len(starts), bool), next(iter(found.values()))
    said = [
        f"Billiards in time steps of {1e3 * timestep:g} ms, shots on target: {shares(best, every)}."
        for timestep, best in found.items()
    ]
    right = starts[:, 1] < 0
    said.append(
        "Of the shots to the side from which the target can be reached, with fine steps: "
        f"{shares(fine, right)}; of the others: {shares(fine, ~right)}."
    )
    zero = ", ".join(
        f"{np.mean(np.abs(slope) < 1e-9):.0%} ({name_of(reach)})" for reach, slope in slopes.items()
    )
    return [*said, f"The gradient is zero in {zero} of the directions."]


def main(args: Args) -> None:
    """Draw the landscapes and run the descents."""
    if args.quick:
        args = Args(args.out, (0.0, 0.2), (0.006,), points=41, starts=8, iterations=6)
    _run.open_folder(args.out)
    angle = np.radians(np.linspace(-args.limit, args.limit, args.points))
    found: Found = {}
    with jax.enable_x64(True), _run.progress() as bar:
        made = _run.provenance(args)
        key = jax.random.split(jax.random.key(args.seed))
        way = np.radians(args.limit) * jax.random.uniform(
            key[0], (args.starts,), minval=-1.0, maxval=1.0
        )
        fast = args.speed * jax.random.uniform(key[1], (args.starts,), minval=0.6, maxval=1.4)
        starts = np.asarray(fast * jnp.stack([jnp.cos(way), jnp.sin(way)])).T
        for timestep in args.timesteps:
            miss = make_miss(args, timestep)
            if not found:
                value, slopes = landscape(args, miss, angle)
            found[timestep] = descend(args, miss, starts, bar, f"{1e3 * timestep:g} ms")
    rows, said = table(slopes, found), findings(slopes, found, starts)
    columns = {"angle_deg": np.degrees(angle), "loss_m": value}
    columns |= {f"gradient, {name_of(reach)}": slope for reach, slope in slopes.items()}
    _run.write_csv(args.out / "landscape.csv", columns)
    shots = {"vx": starts[:, 0], "vy": starts[:, 1]}
    for timestep, best in found.items():
        for reach, misses in best.items():
            shots[f"miss_m, {name_of(reach)}, {1e3 * timestep:g} ms"] = misses[-1]
    _run.write_csv(args.out / "shots.csv", shots)
    _run.write_json(args.out / "metrics.json", {**made, "table": rows, "findings": said})
    draw(args, angle, value, slopes, found)
    _run.print_table("Billiards with contact from a distance", rows)
    print("\n".join(said))


if __name__ == "__main__":
    _run.launch(Args, main, __doc__)
