"""Study: billiards. What contact from a distance changes about a landscape, and about success.

A cue ball is shot at an object ball, which should stop at a target. Unless the balls meet, the
outcome does not depend on the shot at all: gradients of hard contacts are zero there and descent
cannot begin. Contacts that are felt from a distance (`reach`), in the derivative alone, point the
shot at the ball. The landscape over the direction of the shot is drawn for several reaches, and
Adam is run from the same random shots with each, all to the side from which the target can be
reached; success is judged by hard contacts. The balls are softer than MuJoCo's default (time
constant 0.04 s), forces begin at zero (solimp dmin 0), since those that begin with a jump have
derivatives that mislead (see the bounce), and gradients are clipped: with stiff balls, coarse steps
and no clipping no reach, and no hard gradient, solved a shot.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import optax
from jaxtyping import Array, Float

import softsim
from experiments import _run
from experiments._figures import COLORS, figure

XML = """
<mujoco model="billiard table">
  <option timestep="0.006" iterations="10" gravity="0 0 0"/>
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
CLIP = 0.02  # of gradients: hits have hundreds of times those of misses, and Adam remembers them


@dataclass(frozen=True)
class Args:
    """Settings of the study."""

    out: Path = Path("runs/study_billiard")
    """folder for metrics.json, CSV and billiard.png"""
    reaches: tuple[float, ...] = (0.0, 0.1, 0.4)
    """m, contact from a distance in the derivative; 0: hard"""
    points: int = 161
    """directions in the landscape"""
    limit: float = 40.0
    """degrees, the furthest direction either way"""
    speed: float = 1.6
    """m/s, of the shots in the landscape"""
    starts: int = 12
    """random shots to begin from"""
    iterations: int = 60
    """gradient steps"""
    rate: float = 0.05
    """of Adam, in m/s, at first"""
    steps: int = 200
    """simulation steps of 0.006 s"""
    seed: int = 0
    """of the shots"""
    quick: bool = False
    """fewer directions, shots and steps"""

    def __post_init__(self) -> None:
        if not self.reaches or min(self.reaches) < 0:
            raise ValueError(f"--reaches: got {self.reaches}, expected lengths of at least 0 m")
        for name in ("points", "starts", "iterations", "steps"):
            if getattr(self, name) < 2:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected at least 2")


def make_loss(args: Args) -> Callable:
    """(shot (2,) in m/s, reach) -> distance of the object ball to the target at the end (m)."""
    m = softsim.put_model(mujoco.MjModel.from_xml_string(XML))
    d = softsim.make_data(m)

    def loss(shot: Float[Array, "2"], reach: Float[Array, ""]) -> Float[Array, ""]:
        thrown = d.replace(qvel=jnp.concatenate([shot, jnp.zeros(2)]))
        soft = softsim.Softening(reach=reach, gradient_only=True)
        end, _ = softsim.rollout(m, thrown, jnp.zeros((args.steps, 0)), soft)
        miss = end.qpos[2:] + jnp.array([0.4, 0.0]) - TARGET
        return jnp.sqrt(miss @ miss + 1e-12)

    return loss


def landscape(
    args: Args, loss: Callable, angle: Float[np.ndarray, "n"]
) -> tuple[np.ndarray, dict[float, np.ndarray]]:
    """Loss over the direction, and its derivative (m/rad) for every reach."""

    def aimed(a: Float[Array, ""], reach: Float[Array, ""]) -> Float[Array, ""]:
        return loss(args.speed * jnp.stack([jnp.cos(a), jnp.sin(a)]), reach)

    push = lambda a, reach: jax.jvp(lambda a: aimed(a, reach), (a,), (jnp.ones_like(a),))
    f = jax.jit(jax.vmap(push, in_axes=(0, None)))
    value, slopes = np.zeros(0), {}
    for reach in args.reaches:
        found, slope = f(jnp.asarray(angle), jnp.asarray(reach))
        value, slopes[reach] = np.asarray(found), np.asarray(slope)
    return value, slopes


def descend(
    args: Args, loss: Callable, starts: Float[np.ndarray, "n 2"], bar: _run.Progress
) -> dict[float, Float[np.ndarray, "iterations n"]]:
    """Best loss so far of Adam from every start, for every reach."""
    rate = optax.cosine_decay_schedule(args.rate, args.iterations)
    optimiser = optax.chain(optax.zero_nans(), optax.clip_by_global_norm(CLIP), optax.adam(rate))

    @jax.jit
    def update(x: Array, state: optax.OptState, reach: Array) -> tuple:
        def one(x: Array, state: optax.OptState) -> tuple:
            push = lambda t: jax.jvp(lambda x: loss(x, reach), (x,), (t,))
            value, slope = jax.vmap(push, out_axes=(None, 0))(jnp.eye(2))  # two inputs: forward
            change, state = optimiser.update(slope, state)
            return x + change, state, value

        return jax.vmap(one)(x, state)

    best = {}
    for reach in args.reaches:
        task = bar.add_task(f"reach {reach:g} m", total=args.iterations, status="")
        x = jnp.asarray(starts)
        state, losses = jax.vmap(optimiser.init)(x), []
        for _ in range(args.iterations):
            x, state, value = update(x, state, jnp.asarray(reach))
            losses.append(np.asarray(value))
            bar.update(task, advance=1, status=f"median {np.median(value):.3f} m")
        best[reach] = np.minimum.accumulate(np.array(losses), axis=0)
    return best


def name_of(reach: float) -> str:
    """How a reach is called in figures and tables."""
    return "hard" if reach == 0 else f"reach {reach:g} m"


def table(slopes: dict[float, np.ndarray], best: dict[float, np.ndarray]) -> list[dict[str, str]]:
    """Where the gradient vanishes, and how often descent succeeds."""
    return [
        {
            "derivative": name_of(reach),
            "zero gradient": f"{np.mean(np.abs(slopes[reach]) < 1e-9):.0%} of directions",
            "on target": f"{np.mean(found[-1] < HIT):.0%} of shots",
            "final miss, median": f"{1e3 * np.median(found[-1]):.0f} mm",
        }
        for reach, found in best.items()
    ]


def draw(args: Args, angle: np.ndarray, value: np.ndarray, slopes: dict, best: dict) -> None:
    """Landscape, derivatives, and success over the iterations."""
    with figure(args.out / "billiard.png", ncols=3, figsize=(11.0, 3.6)) as (_, axes):
        degrees = np.degrees(angle)
        axes[0, 0].plot(degrees, value, color="black")
        axes[0, 0].set_ylabel("object ball to target at the end (m)")
        for (reach, slope), color in zip(slopes.items(), COLORS):
            axes[0, 1].plot(degrees, slope, color=color, label=name_of(reach))
            share = np.mean(best[reach] < HIT, axis=1)
            axes[0, 2].plot(share, color=color, label=name_of(reach))
        axes[0, 1].set_yscale("symlog", linthresh=1e-2)
        axes[0, 1].set_ylabel("its derivative (m/rad)")
        for panel in axes[0, :2]:
            panel.set_xlabel("direction of the shot (degrees)")
        axes[0, 2].set_xlabel("gradient steps")
        axes[0, 2].set_ylabel("share of shots on target")
        axes[0, 2].set_ylim(0, 1)
        axes[0, 1].legend()
        axes[0, 2].legend()


def findings(slopes: dict, best: dict) -> list[str]:
    """What the numbers say."""
    success = {reach: np.mean(found[-1] < HIT) for reach, found in best.items()}
    winner = max(success, key=lambda reach: success[reach])
    said = [
        f"{name_of(reach).capitalize()}: the gradient is zero in "
        f"{np.mean(np.abs(slopes[reach]) < 1e-9):.0%} of directions, and "
        f"{share:.0%} of the shots end on target."
        for reach, share in success.items()
    ]
    return [*said, f"Best here: {name_of(winner)}. The right reach is a matter of the task."]


def main(args: Args) -> None:
    """Draw the landscapes and run the descents."""
    if args.quick:
        args = Args(args.out, reaches=(0.0, 0.2), points=41, starts=8, iterations=10)
    _run.open_folder(args.out)
    angle = np.radians(np.linspace(-args.limit, args.limit, args.points))
    with jax.enable_x64(True), _run.progress() as bar:
        made = _run.provenance(args)
        loss = make_loss(args)
        value, slopes = landscape(args, loss, angle)
        key = jax.random.split(jax.random.key(args.seed))
        way = np.radians(args.limit) * jax.random.uniform(
            key[0], (args.starts,), minval=-1.0, maxval=0.0
        )
        fast = args.speed * jax.random.uniform(key[1], (args.starts,), minval=0.6, maxval=1.4)
        starts = np.asarray(fast * jnp.stack([jnp.cos(way), jnp.sin(way)])).T
        best = descend(args, loss, starts, bar)
    rows, said = table(slopes, best), findings(slopes, best)
    columns = {"angle_deg": np.degrees(angle), "loss_m": value}
    columns |= {f"gradient, {name_of(reach)}": slope for reach, slope in slopes.items()}
    _run.write_csv(args.out / "landscape.csv", columns)
    shots = {"vx": starts[:, 0], "vy": starts[:, 1]}
    shots |= {f"miss_m, {name_of(reach)}": found[-1] for reach, found in best.items()}
    _run.write_csv(args.out / "shots.csv", shots)
    metrics = {**made, "table": rows, "findings": said}
    _run.write_json(args.out / "metrics.json", metrics)
    draw(args, angle, value, slopes, best)
    _run.print_table("Billiards with contact from a distance", rows)
    print("\n".join(said))


if __name__ == "__main__":
    _run.launch(Args, main, __doc__)
