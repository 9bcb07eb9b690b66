"""Study: a box turned over a plane. Where are its contacts, and how do they change with the angle?

The box stands on the plane and is turned about an edge's direction, from leaning one way, through
flat, to leaning the other way. Outcome: where the support acts, the mean of the four contact points
weighted by presence and depth of each. Hard, the set of points jumps as the box passes flat;
each soft mode turns the jump into a slope. The second figure shows the straight-through pitfall:
replacing operators one by one loses gradients that replacing the whole function keeps.
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

import softjax_ops as so
import softsim
from experiments import cli
from experiments.figures import COLORS, figure
from softjax_ops._types import Mode
from softsim import Part, dynamics

XML = """
<mujoco model="turned box">
  <worldbody>
    <geom name="floor" type="plane" size="1 1 0.1"/>
    <body pos="0 0 0.1">
      <freejoint/>
      <geom name="box" type="box" size="0.1 0.1 0.1"/>
    </body>
  </worldbody>
</mujoco>
"""
TILTED = 0.6  # degrees, from which on the hard support no longer jumps
HALF = 0.1  # m
MODES = ("hard", "smooth", "c0", "c1", "c2")


@dataclass(frozen=True)
class Args:
    """Settings of the study."""

    out: Path = Path("runs/studies/manifold")
    """folder for metrics.json, manifold.csv and manifold.png"""
    points: int = 241
    """number of angles"""
    limit: float = 10.0
    """the largest angle either way, degrees"""
    softness: float = 0.05
    """softness of the soft modes, relative to the box"""
    depth: float = 0.002
    """the lowest corner is this far below the plane, m"""
    quick: bool = False
    """fewer angles"""

    def __post_init__(self) -> None:
        if self.points < 5 or not self.limit > 0 or not self.softness > 0:
            raise ValueError(
                "--points, --limit, --softness: expected at least 5, positive, positive"
            )


class Sweep(NamedTuple):
    """Over the angles: contact points, where the support acts, and its derivative."""

    points: Float[np.ndarray, "n 4 3"]
    weight: Float[np.ndarray, "n 4"]
    support: Float[np.ndarray, " n"]
    gradient: Float[np.ndarray, " n"]


def make_support(args: Args, mode: str) -> Callable:
    """angle (rad) -> (x of the support, (points, weights)), with collisions in `mode`."""
    mj_model = mujoco.MjModel.from_xml_string(XML)
    m = softsim.put_model(mj_model)
    d = softsim.make_data(m)
    part = Part() if mode == "hard" else Part(args.softness, mode)  # type: ignore[arg-type]
    softening = softsim.Softening(collision=part)

    def support(angle: Float[Array, ""]) -> tuple:
        reach = HALF * (jnp.cos(angle) + jnp.abs(jnp.sin(angle))) - args.depth
        quat = jnp.stack([jnp.cos(angle / 2), 0.0 * angle, jnp.sin(angle / 2), 0.0 * angle])
        pose = jnp.concatenate([jnp.stack([0.0 * angle, 0.0 * angle, reach]), quat])
        contact = softsim.collide(m, dynamics.kinematics(m, d.replace(qpos=pose)), softening)
        push = contact.presence * jnp.maximum(-contact.dist, 0.0)
        x = jnp.sum(push * contact.pos[:, 0]) / (jnp.sum(push) + 1e-9)
        return x, (contact.pos, contact.presence)

    return support


def sweep(args: Args, mode: str, angle: Float[np.ndarray, " n"]) -> Sweep:
    """Everything at every angle."""
    f = make_support(args, mode)
    push = lambda a: jax.jvp(f, (a,), (jnp.ones_like(a),), has_aux=True)
    x, slope, (points, weight) = jax.jit(jax.vmap(push))(jnp.asarray(angle))
    return Sweep(*(np.asarray(v) for v in (points, weight, x, slope)))


class Pitfall(NamedTuple):
    """A contact's push over the gap: three gradients of the same hard value."""

    gap: Float[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]
    soft: Float[np.ndarray, " n"]
    each: Float[np.ndarray, " n"]
    whole: Float[np.ndarray, " n"]


def pitfall(softness: float) -> Pitfall:
    """Push = (is it touching?) * (how deep?), a product of two switches."""

    def push(gap: Float[Array, ""], mode: Mode = "smooth") -> Float[Array, ""]:
        touching = so.heaviside(-gap, softness=softness, mode=mode)
        return touching * so.relu(-gap, softness=softness, mode=mode)

    def each(gap: Float[Array, ""]) -> Float[Array, ""]:
        return so.heaviside_st(-gap, softness=softness) * so.relu_st(-gap, softness=softness)

    gap = jnp.linspace(-0.5, 0.5, 201)
    slope = lambda f: np.asarray(jax.vmap(jax.grad(f))(gap))
    value = np.asarray(jax.vmap(lambda g: push(g, "hard"))(gap))
    return Pitfall(np.asarray(gap), value, slope(push), slope(each), slope(so.st(push)))


def table(angle: np.ndarray, sweeps: dict[str, Sweep]) -> list[dict[str, str]]:
    """How steep, how sudden, and how far from the hard support each mode is."""
    hard = sweeps["hard"]
    step = angle[1] - angle[0]
    rows = []
    for mode, s in sweeps.items():
        jump = np.abs(np.diff(s.support)).max()
        apart = np.abs(s.support - hard.support)
        tilted = np.abs(np.degrees(angle)) > TILTED
        sides = (tilted & (sign * angle > 0) for sign in (-1, 1))
        left, right = (apart[side].max(initial=0.0) for side in sides)
        flat = np.mean(np.abs(s.gradient) < 1e-6 * HALF)
        chords = np.gradient(s.support, step)
        rows.append(
            {
                "mode": mode,
                "largest change between angles": f"{1e3 * jump:.1f} mm",
                "away from hard, median": f"{1e3 * np.median(apart):.2f} mm",
                "worst, tilted left; right": f"{1e3 * left:.1f}; {1e3 * right:.1f} mm",
                "zero gradient": f"{flat:.0%} of angles",
                "gradient at flat": f"{s.gradient[len(angle) // 2]:.3g} m/rad",
                "gradient off its chords": f"{np.median(np.abs(s.gradient - chords)):.1e} m/rad",
            }
        )
    return rows


def draw(args: Args, angle: np.ndarray, sweeps: dict[str, Sweep], trap: Pitfall) -> None:
    """Contact points, support and gradient over the angle; and the pitfall."""
    degrees = np.degrees(angle)
    with figure(args.out / "manifold.png", nrows=2, ncols=2, figsize=(9.0, 6.6)) as (_, axes):
        styles = dict(zip(sweeps, (("black", 2.0), *((c, 1.2) for c in COLORS))))
        for mode, color, width in (("smooth", COLORS[0], 1.2), ("hard", "black", 1.6)):
            x = 1e3 * sweeps[mode].points[:, :, 0]
            lines = axes[0, 0].plot(degrees, x, color=color, lw=width)
            lines[0].set_label(mode)
        axes[0, 0].set_ylabel("x of the four contact points (mm)")
        for mode, s in sweeps.items():
            color, width = styles[mode]
            axes[0, 1].plot(degrees, 1e3 * s.support, color=color, lw=width, label=mode)
            axes[1, 0].plot(degrees, s.gradient, color=color, lw=width, label=mode)
        axes[0, 1].set_ylabel("x where the support acts (mm)")
        axes[1, 0].set_ylabel("its derivative (m/rad)")
        soft = np.concatenate([s.gradient for mode, s in sweeps.items() if mode != "hard"])
        low, high = np.quantile(soft, [0.0, 1.0])
        axes[1, 0].set_ylim(low - 0.1 * (high - low), high + 0.1 * (high - low))
        for panel in (axes[0, 0], axes[0, 1], axes[1, 0]):
            panel.set_xlabel("angle of the box (degrees)")
            panel.legend()
        panel = axes[1, 1]
        panel.plot(trap.gap, trap.soft, color="black", lw=2.5, alpha=0.4, label="soft product")
        panel.plot(trap.gap, trap.each, color=COLORS[1], label="straight-through, each factor")
        panel.plot(trap.gap, trap.whole, "--", color=COLORS[0], label="straight-through, the whole")
        panel.set_xlabel("gap between the surfaces")
        panel.set_ylabel("derivative of (touching) x (depth)")
        panel.legend()


def findings(rows: list[dict[str, str]], sweeps: dict[str, Sweep], trap: Pitfall) -> list[str]:
    """What the numbers say."""
    by_mode = {row["mode"]: row for row in rows}
    soft = {m: r for m, r in by_mode.items() if m != "hard"}
    soft_jump = {m: r["largest change between angles"] for m, r in soft.items()}
    outside = trap.gap > 0.05
    lost = np.mean(np.abs(trap.each[outside])) / np.mean(np.abs(trap.whole[outside]))
    return [
        f"Hard, the support jumps by {by_mode['hard']['largest change between angles']} as the box "
        "passes flat, and no derivative shows it; soft, the largest change between neighbouring "
        f"angles is {', '.join(f'{v} ({m})' for m, v in soft_jump.items())}.",
        f"Beyond {TILTED:g} degrees the soft support is off by at most (left; right) "
        + ", ".join(f"{r['worst, tilted left; right']} ({m})" for m, r in soft.items())
        + ".",
        "Straight-through around each factor of a product keeps "
        f"{lost:.0%} of the derivative where the surfaces do not touch, because the other factor's "
        "hard value, zero, multiplies it; around the whole product it keeps all of it.",
    ]


def main(args: Args) -> None:
    """Sweep the angle in every mode."""
    if args.quick:
        args = Args(args.out, points=41)
    cli.open_folder(args.out)
    angle = np.radians(np.linspace(-args.limit, args.limit, args.points))
    sweeps: dict[str, Sweep] = {}
    with jax.enable_x64(True), cli.progress() as bar:
        made = cli.provenance(args)
        task = bar.add_task("turning", total=len(MODES), status="")
        for mode in MODES:
            sweeps[mode] = sweep(args, mode, angle)
            bar.update(task, advance=1, status=mode)
        trap = pitfall(0.1)
    rows = table(angle, sweeps)
    said = findings(rows, sweeps, trap)
    columns = {"angle_deg": np.degrees(angle)}
    for mode, s in sweeps.items():
        columns |= {f"{mode}: support_m": s.support, f"{mode}: gradient": s.gradient}
    cli.write_csv(args.out / "manifold.csv", columns)
    metrics = {**made, "table": rows, "findings": said}
    cli.write_json(args.out / "metrics.json", metrics)
    draw(args, angle, sweeps, trap)
    cli.print_table("Support of a box turned over a plane", rows)
    print("\n".join(said))


if __name__ == "__main__":
    cli.launch(Args, main, __doc__)
