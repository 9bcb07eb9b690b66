"""The gradient of a toss: error against cost, fixed steps beside steps with error control.

A cube thrown on a plane bounces and tumbles for a second. What is differentiated is how far it
gets, with respect to its upward speed at release (a scalar: forward mode). The reference is the
tightest tolerance. Costs are in calls of stock `mjx.step`, timed in the same run inside one
`lax.scan`. float64.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
from jaxtyping import Array, Float
from mujoco import mjx

import softsim
from experiments import cli
from experiments.figures import COLORS, figure

XML = """
<mujoco>
  <!-- refsafe would soften contacts to twice the time step, and so change the physics with it -->
  <option iterations="4" ls_iterations="10" integrator="{integrator}">
    <flag refsafe="disable"/></option>
  <worldbody>
    <geom type="plane" size="5 5 .1"/>
    <body pos="0 0 .3" quat=".9 .3 .2 .1"><freejoint/><geom type="box" size=".05 .05 .05"/></body>
  </worldbody>
</mujoco>"""
VELOCITY = (1.0, 0.5, 0.0, 2.0, -3.0, 1.0)  # m/s and rad/s at release, but for the upward speed
UPWARD = -2.0  # m/s
SECONDS = 1.0


@dataclasses.dataclass(frozen=True)
class Args:
    """Error against cost of the gradient of a toss."""

    out: Path = Path("experiments/bench/results")
    """folder for toss.json, toss.csv and toss.png"""
    steps: tuple[float, ...] = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4)
    """lengths of the fixed steps, s"""
    tolerances: tuple[float, ...] = (1e-3, 1e-4, 5e-5, 3e-5, 1e-5, 1e-6, 1e-7)
    """tolerances of the steps with error control"""
    methods: tuple[softsim.adaptive.Method, ...] = ("bosh3", "tsit5")
    """embedded Runge-Kutta pairs"""
    reference: float = 1e-10
    """tolerance of the reference, by dopri8"""
    intervals: int = 5
    """number of control intervals; a rotation may not turn fully within one"""


def scene(integrator: str) -> tuple[mjx.Model, mjx.Data]:
    """The cube at release, without its upward speed."""
    m = softsim.put_model(mujoco.MjModel.from_xml_string(XML.format(integrator=integrator)))
    return m, softsim.make_data(m).replace(qvel=jnp.asarray(VELOCITY))


def fixed(integrator: str) -> Callable:
    """(step, number of steps) -> (distance, gradient)."""
    m, d = scene(integrator)

    def distance(up: Float[Array, ""], dt: Float[Array, ""], count: Array) -> Float[Array, ""]:
        model = m.tree_replace({"opt.timestep": dt})

        def advance(_: int, state: tuple) -> tuple:
            names = ("qpos", "qvel", "qacc_warmstart")
            after = softsim.step(model, d.replace(**dict(zip(names, state))))
            return tuple(getattr(after, name) for name in names)

        start = (d.qpos, d.qvel.at[2].set(up), d.qacc_warmstart)
        return jax.lax.fori_loop(0, count, advance, start)[0][1]

    one = jnp.ones(())
    return jax.jit(
        lambda dt, count: jax.jvp(lambda u: distance(u, dt, count), (UPWARD * one,), (one,))
    )


def controlled(method: softsim.adaptive.Method, intervals: int) -> Callable:
    """tolerance -> (distance, gradient)."""
    m, d = scene("Euler")
    m = m.tree_replace({"opt.timestep": jnp.asarray(SECONDS / intervals)})

    def distance(up: Float[Array, ""], tolerance: Float[Array, ""]) -> Float[Array, ""]:
        adaptive = softsim.Adaptive(
            tolerance, tolerance, method, max_steps=4096, derivative="forward"
        )
        ctrl = jnp.zeros((intervals, 0))
        start = d.replace(qvel=d.qvel.at[2].set(up))
        return softsim.rollout(m, start, ctrl, adaptive=adaptive)[0].qpos[1]

    one = jnp.ones(())
    return jax.jit(
        lambda tolerance: jax.jvp(lambda u: distance(u, tolerance), (UPWARD * one,), (one,))
    )


def seconds(f: Callable, *args: float) -> tuple[tuple, float]:
    """Result, and the fastest of three runs after the first."""
    result = jax.block_until_ready(f(*args))
    times = []
    for _ in range(3):
        begin = time.perf_counter()
        jax.block_until_ready(f(*args))
        times.append(time.perf_counter() - begin)
    return result, min(times)


def stock_step() -> float:
    """Seconds of one `mjx.step` of the same scene, in a scan of 1000."""
    m, d = scene("Euler")
    m = m.tree_replace({"opt.timestep": jnp.asarray(1e-3)})
    run = jax.jit(lambda d: jax.lax.scan(lambda d, _: (mjx.step(m, d), None), d, None, 1000)[0])
    return seconds(run, d)[1] / 1000


def measure(args: Args, bar: cli.Progress) -> tuple[list[dict], float]:
    """Every integration: distance, gradient, seconds; and the seconds of a stock step."""
    total = 2 * len(args.steps) + len(args.methods) * len(args.tolerances) + 2
    task = bar.add_task("toss", total=total, status="stock mjx.step")
    unit = stock_step()
    rows: list[dict] = []

    def add(method: str, setting: float, result: tuple, cost: float) -> None:
        value, slope = map(float, result)
        row = {"method": method, "setting": setting, "distance": value, "gradient": slope}
        rows.append({**row, "seconds": cost, "stock steps": cost / unit})
        bar.update(task, advance=1, status=f"{method} {setting:g}")

    for integrator in ("Euler", "RK4"):
        f = fixed(integrator)
        for dt in args.steps:
            add(f"fixed {integrator}", dt, *seconds(f, dt, round(SECONDS / dt)))
    for method in args.methods:
        g = controlled(method, args.intervals)
        for tolerance in args.tolerances:
            add(method, tolerance, *seconds(g, tolerance))
    best = controlled("dopri8", args.intervals)
    add("reference", args.reference, *seconds(best, args.reference))
    for row in rows:
        row["error"] = abs(row["gradient"] / rows[-1]["gradient"] - 1)
    return rows, unit


def draw(path: Path, rows: list[dict]) -> None:
    """Relative error of the gradient against its cost."""
    with figure(path, figsize=(6.0, 4.0)) as (_, axes):
        ax = axes[0, 0]
        names = [n for n in dict.fromkeys(r["method"] for r in rows) if n != "reference"]
        for name, color in zip(names, COLORS):
            some = [r for r in rows if r["method"] == name]
            costs, errors = ([r[key] for r in some] for key in ("stock steps", "error"))
            ax.loglog(costs, errors, "o-", color=color, label=name)
        ax.axhline(0.013, color="0.5", lw=0.8, ls="--")
        ax.text(ax.get_xlim()[0], 0.013, " 1.3 %", va="bottom", color="0.4", fontsize=8)
        ax.set_xlabel("cost of value and gradient, in calls of stock mjx.step")
        ax.set_ylabel("relative error of the gradient")
        ax.set_title("Derivative of where a tossed cube gets, after 1 s")
        ax.legend()


def main(args: Args) -> None:
    """Measure, store and print."""
    out = cli.open_folder(args.out)
    with jax.enable_x64(True), cli.progress() as bar:
        rows, unit = measure(args, bar)
        report = {**cli.provenance(args), "seconds of a stock step": unit, "rows": rows}
    cli.write_json(out / "toss.json", report)
    cli.write_csv(out / "toss.csv", {key: [row[key] for row in rows] for key in rows[0]})
    draw(out / "toss.png", rows)
    shown = [
        {k: f"{v:.3g}" if isinstance(v, float) else str(v) for k, v in r.items()} for r in rows
    ]
    cli.print_table("Gradient of a toss", shown)
