"""Study: a ball that bounces once, in one dimension. When is the gradient of a bounce right?

The outcome is the height of the ball 0.38 s after it is let go, as a function of the height from
which it falls. An ideal bounce, with a coefficient of restitution and a contact time, has a closed
form. MuJoCo's contact is a penalty: a stiff damped spring. By default its force begins with a jump,
since the damper acts in full from the first touch (solimp dmin 0.9); with dmin 0 it begins at zero.
Both are stepped coarsely, finely, and with error control; each is differentiated exactly. The truth
is the slope of the outcome itself: central differences over 2 mm with the tightest tolerance.
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
from mujoco import mjx

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
            solimp="0.9 0.95 0.01" priority="1"/>
    </body>
  </worldbody>
</mujoco>
"""
GRAVITY = 9.81
CONTACTS = {"jump": 0.9, "no jump": 0.0}  # dmin: how the force begins
NEAR, WIDE = 1e-6, 1e-3  # m, steps of central differences


@dataclass(frozen=True)
class Args:
    """Settings of the study."""

    out: Path = Path("runs/study_bounce")
    """folder for metrics.json, bounce.csv and bounce.png"""
    points: int = 25
    """drop heights"""
    low: float = 0.2
    """the lowest drop, m"""
    high: float = 0.4
    """the highest drop, m"""
    horizon: float = 0.38
    """a drop is followed for this long, s"""
    timesteps: tuple[float, ...] = (1e-2, 3e-3, 1e-3, 3e-4)
    """lengths of the fixed steps, s"""
    tolerances: tuple[float, ...] = (1e-3, 1e-5, 1e-7)
    """tolerances of the steps with error control"""
    timeconst: float = 0.05
    """time constant of the contact, s"""
    dampratio: float = 0.2
    """damping ratio of the contact"""
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

    contact: str
    name: str
    value: Float[np.ndarray, " n"]
    gradient: Float[np.ndarray, " n"]
    differences: Float[np.ndarray, " n"]


def ideal(
    height: Float[Array, ""],
    restitution: float | Float[Array, ""],
    duration: float | Float[Array, ""],
    horizon: float,
) -> Float[Array, ""]:
    """Height after a bounce that keeps a share of the speed and takes some time."""
    fall = jnp.sqrt(2 * height / GRAVITY)
    left = horizon - duration - fall
    return restitution * GRAVITY * fall * left - 0.5 * GRAVITY * left**2


def ball(args: Args) -> tuple:
    """Model and data of the ball."""
    text = XML.format(timeconst=args.timeconst, dampratio=args.dampratio)
    m = softsim.put_model(mujoco.MjModel.from_xml_string(text))
    return m, softsim.make_data(m)


def beginning(m: mjx.Model, dmin: Float[Array, ""]) -> mjx.Model:
    """The model with another impedance at first touch."""
    return m.replace(geom_solimp=m.geom_solimp.at[1, 0].set(dmin))


def fixed(args: Args) -> Callable:
    """(drop heights, dmin, number of steps) -> heights at the end and their derivatives."""
    m, d = ball(args)

    def run(height: Float[Array, ""], dmin: Array, steps: Array) -> Float[Array, ""]:
        model = beginning(m, dmin).tree_replace({"opt.timestep": args.horizon / steps})

        def advance(_: int, s: tuple) -> tuple:
            at = softsim.step(model, d.replace(qpos=s[0], qvel=s[1], qacc_warmstart=s[2]))
            return at.qpos, at.qvel, at.qacc_warmstart

        start = (d.qpos.at[0].set(height), d.qvel, d.qacc_warmstart)
        return jax.lax.fori_loop(0, steps, advance, start)[0][0]

    push = lambda h, dmin, n: jax.jvp(lambda h: run(h, dmin, n), (h,), (jnp.ones_like(h),))
    return jax.jit(jax.vmap(push, in_axes=(0, None, None)))


def controlled(args: Args) -> Callable:
    """(drop heights, dmin, tolerance) -> heights at the end and their derivatives."""
    m, d = ball(args)
    intervals = 6
    m = m.tree_replace({"opt.timestep": jnp.asarray(args.horizon / intervals)})

    def run(height: Float[Array, ""], dmin: Array, tolerance: Array) -> Float[Array, ""]:
        adaptive = softsim.Adaptive(tolerance, tolerance, max_steps=4096)
        at = d.replace(qpos=d.qpos.at[0].set(height))
        end, _ = softsim.rollout(
            beginning(m, dmin), at, jnp.zeros((intervals, 0)), adaptive=adaptive
        )
        return end.qpos[0]

    return jax.jit(jax.vmap(jax.value_and_grad(run), in_axes=(0, None, None)))


def curve(
    contact: str, name: str, f: Callable, x: Float[np.ndarray, " n"], step: float = NEAR
) -> Curve:
    """Value, exact derivative and central difference."""
    value, gradient = (np.asarray(y) for y in f(jnp.asarray(x)))
    low, high = (np.asarray(f(jnp.asarray(x + sign * step))[0]) for sign in (-1, 1))
    return Curve(contact, name, value, gradient, (high - low) / (2 * step))


def closest_bounce(args: Args, x: np.ndarray, limit: Curve) -> tuple[float, float]:
    """Restitution and contact time (s) of the ideal bounce closest to a simulation."""
    trial = np.meshgrid(np.linspace(0.05, 0.99, 189), np.linspace(0.0, 0.1, 101))
    e, duration = (jnp.asarray(t.ravel()) for t in trial)
    f = jax.vmap(lambda e, t: jax.vmap(lambda h: ideal(h, e, t, args.horizon))(jnp.asarray(x)))
    best = np.argmin(np.sum((np.asarray(f(e, duration)) - limit.value) ** 2, axis=1))
    return float(e[best]), float(duration[best])


def compute(args: Args, x: np.ndarray, bar: _run.Progress) -> list[Curve]:
    """Every fixed step, then every tolerance, for both contacts."""
    count = len(args.timesteps) + len(args.tolerances)
    task = bar.add_task("stepping", total=len(CONTACTS) * count, status="")
    curves = []
    f, g = fixed(args), controlled(args)
    for contact, begin in CONTACTS.items():
        dmin = jnp.asarray(begin)
        for dt in args.timesteps:
            n = jnp.asarray(round(args.horizon / dt))
            run = lambda h, d=dmin, n=n: f(h, d, n)
            curves.append(curve(contact, f"step {dt:g} s", run, x))
            bar.update(task, advance=1, status=f"{contact}, {curves[-1].name}")
        for tolerance in args.tolerances:
            t = jnp.asarray(tolerance)
            run = lambda h, d=dmin, t=t: g(h, d, t)
            curves.append(curve(contact, f"tolerance {tolerance:g}", run, x, WIDE))
            bar.update(task, advance=1, status=f"{contact}, {curves[-1].name}")
    return curves


def truth(curves: list[Curve], contact: str) -> Curve:
    """The curve of the tightest tolerance, whose differences are the slope to be found."""
    return [c for c in curves if c.contact == contact and c.name.startswith("tolerance")][-1]


def off(curves: list[Curve], c: Curve) -> float:
    """Median error of a gradient, relative to the slope of the outcome."""
    slope = truth(curves, c.contact).differences
    return float(np.median(np.abs(c.gradient - slope)) / np.sqrt(np.mean(slope**2)))


def table(curves: list[Curve]) -> list[dict[str, str]]:
    """How far each gradient is from its own differences, and from the slope of the outcome."""
    rows = []
    for c in curves:
        limit = truth(curves, c.contact)
        scale = np.sqrt(np.mean(limit.differences**2))
        near = np.median(np.abs(c.gradient - c.differences)) / scale
        rows.append(
            {
                "force begins with": c.contact,
                "integration": c.name,
                "height off by": f"{1e3 * np.median(np.abs(c.value - limit.value)):.3g} mm",
                "gradient off its differences": f"{near:.1e}",
                "gradient off the true slope": f"{off(curves, c):.1e}",
            }
        )
    return rows


def draw(path: Path, x: np.ndarray, curves: list[Curve], exact: Curve, shown: list[str]) -> None:
    """Outcome and gradient over the drop height, a row for each contact."""
    size = {"ncols": 2, "nrows": 2, "figsize": (8.0, 5.4), "sharex": True, "sharey": "col"}
    with figure(path, **size) as (_, axes):
        for row, contact in zip(axes, CONTACTS):
            some = [c for c in curves if c.contact == contact and c.name in shown]
            for c, color in zip(some, COLORS):
                row[0].plot(x, c.value, color=color, lw=1, label=c.name)
                row[1].plot(x, c.gradient, color=color, lw=1, label=c.name)
            row[1].plot(x, truth(curves, contact).differences, "k--", label="true slope")
            row[0].set_title(f"{contact} of the force at first touch (dmin {CONTACTS[contact]:g})")
            row[0].set_ylabel("height at the end (m)")
            row[1].set_ylabel("d height at the end / d drop height")
            row[1].set_ylim(-4.0, 4.0)
        axes[1, 0].plot(x, exact.value, "k:", label=exact.name)
        axes[1, 1].plot(x, exact.gradient, "k:", label=exact.name)
        for panel in axes[1]:
            panel.set_xlabel("drop height (m)")
        axes[0, 0].legend(fontsize=7)
        axes[1, 1].legend(fontsize=7, frameon=True, loc="upper right")


def findings(curves: list[Curve], exact: Curve, e: float, duration: float) -> list[str]:
    """What the numbers say."""
    said = []
    for contact in CONTACTS:
        some = [c for c in curves if c.contact == contact]
        errors = ", ".join(f"{off(curves, c):.1%} ({c.name})" for c in some)
        said.append(f"Force that begins with {contact}: the gradient is off by {errors}.")
    jump = truth(curves, "jump")
    first = next(c for c in curves if c.contact == "jump")
    scale = np.sqrt(np.mean(jump.differences**2))
    own = np.median(np.abs(first.gradient - first.differences)) / scale
    return [
        "MuJoCo's default contact force begins with a jump, and then neither small steps nor error "
        f"control make the gradient right: {off(curves, jump):.0%} off the slope of the outcome "
        f"with {jump.name}, since the moment of the jump moves with the drop height and no "
        f"derivative of the force shows it. With dmin 0 the same leaves "
        f"{off(curves, truth(curves, 'no jump')):.1%}.",
        *said,
        f"With {first.name} the gradient agrees with central differences over {2 * NEAR:g} m of "
        f"the same simulation to {own:.0e}, and is {off(curves, first):.0%} off the slope: "
        "agreement with differences does not make a gradient right.",
        f"Without the jump, the limit is an ideal bounce with restitution {e:.2f} and a contact of "
        f"{1e3 * duration:.0f} ms, to {off(curves, exact):.1%} in the gradient.",
    ]


def main(args: Args) -> None:
    """Sweep the drop height with every integration and compare."""
    if args.quick:
        args = Args(args.out, points=11, timesteps=(1e-2, 1e-3), tolerances=(1e-4, 1e-6))
    _run.open_folder(args.out)
    x = np.linspace(args.low, args.high, args.points)
    with jax.enable_x64(True), _run.progress() as bar:
        made = _run.provenance(args)
        curves = compute(args, x, bar)
        e, duration = closest_bounce(args, x, truth(curves, "no jump"))
        bounce = jax.value_and_grad(lambda h: ideal(h, e, duration, args.horizon))
        exact = curve("no jump", "ideal bounce", jax.vmap(bounce), x)
    rows = table([*curves, exact])
    columns = {"drop_height": x}
    for c in [*curves, exact]:
        name = f"{c.contact}, {c.name}"
        columns |= {f"{name}: height": c.value, f"{name}: gradient": c.gradient}
        columns |= {f"{name}: differences": c.differences}
    _run.write_csv(args.out / "bounce.csv", columns)
    said = findings(curves, exact, e, duration)
    bounce_metrics = {"restitution": e, "contact_time_s": duration}
    metrics = {**made, **bounce_metrics, "table": rows, "findings": said}
    _run.write_json(args.out / "metrics.json", metrics)
    last = truth(curves, "jump").name
    shown = [curves[0].name, curves[len(args.timesteps) // 2].name, last]
    draw(args.out / "bounce.png", x, curves, exact, shown)
    _run.print_table("Gradients of a bounce", rows)
    print("\n".join(said))


if __name__ == "__main__":
    _run.launch(Args, main, __doc__)
