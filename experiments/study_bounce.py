"""Study: a ball that bounces once, in one dimension. When is the gradient of a bounce right?

The outcome is the height of the ball 0.38 s after it is let go, as a function of the height from
which it falls. An ideal, instantaneous bounce with a coefficient of restitution has a closed form.
MuJoCo's contact is a penalty: a stiff damped spring. It is stepped coarsely, finely, and with error
control; each is differentiated exactly, and by central differences.
"""

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

XML = """
<mujoco model="bounce">
  <!-- refsafe would soften contacts to twice the time step, which is not what steps do here -->
  <option timestep="0.01" iterations="30" tolerance="1e-10"> <flag refsafe="disable"/> </option>
  <worldbody>
    <geom name="floor" type="plane" size="1 1 0.1"/>
    <body pos="0 0 0.05">
      <joint name="height" type="slide" axis="0 0 1"/>
      <geom type="sphere" size="0.05" mass="0.2" condim="1" solref="{timeconst} {dampratio}"
            priority="1"/>
    </body>
  </worldbody>
</mujoco>
"""
GRAVITY = 9.81


@dataclass(frozen=True)
class Args:
    """Settings of the study."""

    out: Path = Path("runs/study_bounce")
    """folder for metrics.json, bounce.csv and bounce.png"""
    points: int = 25
    """drop heights"""
    low: float = 0.2
    """m, the lowest drop"""
    high: float = 0.4
    """m, the highest drop"""
    horizon: float = 0.38
    """s"""
    timesteps: tuple[float, ...] = (1e-2, 3e-3, 1e-3, 3e-4)
    """s, of the fixed steps"""
    tolerances: tuple[float, ...] = (1e-3, 1e-5, 1e-7)
    """of the steps with error control"""
    timeconst: float = 0.05
    """s, of the contact"""
    dampratio: float = 0.2
    """of the contact"""
    quick: bool = False
    """fewer heights and steps"""

    def __post_init__(self) -> None:
        if not 0 < self.low < self.high:
            raise ValueError(f"--low {self.low} --high {self.high}: expected 0 < low < high")
        if self.points < 5:
            raise ValueError(f"--points: got {self.points}, expected at least 5")
        if not min(*self.timesteps, *self.tolerances, self.horizon) > 0:
            raise ValueError("--timesteps, --tolerances, --horizon: expected positive numbers")


class Curve(NamedTuple):
    """Outcome, its derivative and its central difference over the drop heights."""

    name: str
    value: Float[np.ndarray, "n"]
    gradient: Float[np.ndarray, "n"]
    differences: Float[np.ndarray, "n"]


def ideal(height: Float[Array, ""], restitution: float, horizon: float) -> Float[Array, ""]:
    """Height after an instantaneous bounce, and on the way up or down from it."""
    fall = jnp.sqrt(2 * height / GRAVITY)
    left = horizon - fall
    return restitution * GRAVITY * fall * left - 0.5 * GRAVITY * left**2


def ball(args: Args) -> tuple:
    """Model and data of the ball."""
    text = XML.format(timeconst=args.timeconst, dampratio=args.dampratio)
    m = softsim.put_model(mujoco.MjModel.from_xml_string(text))
    return m, softsim.make_data(m)


def fixed(args: Args) -> Callable:
    """(drop heights, number of steps) -> heights at the end and their derivatives."""
    m, d = ball(args)

    def run(height: Float[Array, ""], steps: Array) -> Float[Array, ""]:
        model = m.tree_replace({"opt.timestep": args.horizon / steps})

        def advance(_: int, s: tuple) -> tuple:
            at = softsim.step(model, d.replace(qpos=s[0], qvel=s[1], qacc_warmstart=s[2]))
            return at.qpos, at.qvel, at.qacc_warmstart

        start = (d.qpos.at[0].set(height), d.qvel, d.qacc_warmstart)
        return jax.lax.fori_loop(0, steps, advance, start)[0][0]

    push = lambda h, n: jax.jvp(lambda h: run(h, n), (h,), (jnp.ones_like(h),))
    return jax.jit(jax.vmap(push, in_axes=(0, None)))


def controlled(args: Args) -> Callable:
    """(drop heights, tolerance) -> heights at the end and their derivatives."""
    m, d = ball(args)
    intervals = 6
    m = m.tree_replace({"opt.timestep": jnp.asarray(args.horizon / intervals)})

    def run(height: Float[Array, ""], tolerance: Float[Array, ""]) -> Float[Array, ""]:
        adaptive = softsim.Adaptive(tolerance, tolerance, max_steps=4096)
        at = d.replace(qpos=d.qpos.at[0].set(height))
        end, _ = softsim.rollout(m, at, jnp.zeros((intervals, 0)), adaptive=adaptive)
        return end.qpos[0]

    return jax.jit(jax.vmap(jax.value_and_grad(run), in_axes=(0, None)))


def curve(name: str, f: Callable, x: Float[np.ndarray, "n"]) -> Curve:
    """Value, exact derivative and central difference (1e-6 m)."""
    value, gradient = (np.asarray(y) for y in f(jnp.asarray(x)))
    low, high = (np.asarray(f(jnp.asarray(x + step))[0]) for step in (-1e-6, 1e-6))
    return Curve(name, value, gradient, (high - low) / 2e-6)


def restitution(args: Args, x: np.ndarray, reference: Curve) -> float:
    """Of the ideal bounce that comes closest to the finest simulation."""
    trial = np.linspace(0.05, 0.99, 400)
    f = jax.vmap(jax.vmap(lambda h, e: ideal(h, e, args.horizon), (0, None)), (None, 0))
    apart = np.asarray(f(jnp.asarray(x), jnp.asarray(trial))) - reference.value
    return float(trial[np.argmin(np.sum(apart**2, axis=1))])


def compute(args: Args, x: np.ndarray, bar: _run.Progress) -> list[Curve]:
    """Every fixed step, then every tolerance."""
    task = bar.add_task("stepping", total=len(args.timesteps) + len(args.tolerances), status="")
    curves = []
    f, g = fixed(args), controlled(args)
    for dt in args.timesteps:
        steps = jnp.asarray(round(args.horizon / dt))
        curves.append(curve(f"step {dt:g} s", lambda h, n=steps: f(h, n), x))
        bar.update(task, advance=1, status=curves[-1].name)
    for tolerance in args.tolerances:
        t = jnp.asarray(tolerance)
        curves.append(curve(f"tolerance {tolerance:g}", lambda h, t=t: g(h, t), x))
        bar.update(task, advance=1, status=curves[-1].name)
    return curves


def table(curves: list[Curve], limit: Curve) -> list[dict[str, str]]:
    """How far each gradient is from its own differences, and from the gradient in the limit."""
    scale = np.sqrt(np.mean(limit.gradient**2))
    share = lambda a, b: np.median(np.abs(a - b)) / scale
    return [
        {
            "integration": c.name,
            "height off by": f"{1e3 * np.median(np.abs(c.value - limit.value)):.3g} mm",
            "gradient off its differences": f"{share(c.gradient, c.differences):.1e}",
            "gradient off the limit": f"{share(c.gradient, limit.gradient):.1e}",
            "worst": f"{np.max(np.abs(c.gradient - limit.gradient)) / scale:.1e}",
        }
        for c in curves
    ]


def draw(path: Path, x: np.ndarray, curves: list[Curve], exact: Curve, shown: list[str]) -> None:
    """Outcome and gradient over the drop height; error over step size is in the table."""
    with figure(path, ncols=2, figsize=(9.0, 3.8)) as (_, axes):
        some = [c for c in curves if c.name in shown]
        for c, color in zip(some, COLORS):
            axes[0, 0].plot(x, c.value, color=color, label=c.name)
            axes[0, 1].plot(x, c.gradient, color=color, label=c.name)
        axes[0, 0].plot(x, exact.value, "k:", label=exact.name)
        axes[0, 1].plot(x, exact.gradient, "k:", label=exact.name)
        axes[0, 0].set_ylabel("height at the end (m)")
        axes[0, 1].set_ylabel("d height at the end / d drop height")
        for panel in axes[0]:
            panel.set_xlabel("drop height (m)")
        span = np.ptp(exact.gradient) + np.abs(exact.gradient).max()
        axes[0, 1].set_ylim(exact.gradient.min() - span, exact.gradient.max() + span)
        axes[0, 0].legend()


def findings(curves: list[Curve], limit: Curve, exact: Curve, e: float) -> list[str]:
    """What the numbers say."""
    scale = np.sqrt(np.mean(limit.gradient**2))
    off = {c.name: np.median(np.abs(c.gradient - limit.gradient)) / scale for c in curves}
    own = {c.name: np.median(np.abs(c.gradient - c.differences)) / scale for c in curves}
    coarse = curves[0].name
    fixed = [c.name for c in curves if c.name.startswith("step")]
    ideal_off = np.median(np.abs(exact.gradient - limit.gradient)) / scale
    return [
        f"With {coarse} the gradient agrees with central differences of the same simulation to "
        f"{own[coarse]:.0e} and is still {off[coarse]:.0%} off the gradient in the limit of small "
        "steps: agreement with differences does not make a gradient right.",
        f"The error falls with the step: {', '.join(f'{off[n]:.1%} ({n[5:]})' for n in fixed)}.",
        f"The limit of the penalty contact is an ideal bounce with restitution {e:.2f}, up to the "
        f"time the contact takes: {ideal_off:.1%} in the gradient.",
    ] + [
        f"Error control with {c.name} leaves {off[c.name]:.1e}."
        for c in curves
        if c.name.startswith("tolerance") and c.name != limit.name
    ]


def main(args: Args) -> None:
    """Sweep the drop height with every integration and compare."""
    if args.quick:
        args = Args(args.out, points=11, timesteps=(1e-2, 1e-3), tolerances=(1e-4, 1e-6))
    _run.open_folder(args.out)
    x = np.linspace(args.low, args.high, args.points)
    with jax.enable_x64(True), _run.progress() as bar:
        curves = compute(args, x, bar)
        limit = curves[-1]
        e = restitution(args, x, limit)
        bounce = jax.vmap(jax.value_and_grad(lambda h: ideal(h, e, args.horizon)))
        exact = curve("ideal bounce", bounce, x)
    rows = table([*curves, exact], limit)
    columns = {"drop_height": x}
    for c in [*curves, exact]:
        columns |= {f"{c.name}: height": c.value, f"{c.name}: gradient": c.gradient}
    _run.write_csv(args.out / "bounce.csv", columns)
    said = findings(curves, limit, exact, e)
    metrics = {**_run.provenance(args), "restitution": e, "table": rows, "findings": said}
    _run.write_json(args.out / "metrics.json", metrics)
    shown = [curves[0].name, curves[len(args.timesteps) // 2].name, limit.name]
    draw(args.out / "bounce.png", x, curves, exact, shown)
    _run.print_table("Gradients of a bounce", rows)
    print("\n".join(said))


if __name__ == "__main__":
    _run.launch(Args, main, __doc__)
