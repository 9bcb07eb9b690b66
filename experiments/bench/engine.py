"""Trace, compile and run time of a step and its gradient, softsim beside stock MJX in one process.

For each model one step from a resting pose, forward and gradient (of a weighted sum of the next
state, with respect to position, velocity and control), single and in a batch. Stock MJX is measured
with one solver iteration, the only setting with a reverse mode, and forward mode (jacfwd, no batch)
at four. Then growth with horizon and batch, and memory as XLA plans it. Absolute times depend on
the machine; the ratios in the last table are what to read. The compile cache is off.
"""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

import softsim
from experiments import cli
from experiments.bench.engine_growth import growth
from experiments.bench.parity import load
from experiments.bench.timing import lower_and_compile, temp_mb, timed_in_turns

FREE_BOX = """<mujoco><option timestep="0.004" iterations="4" ls_iterations="8"/><worldbody>
<geom type="plane" size="5 5 1"/><body pos="0 0 .0495"><freejoint/>
<geom type="box" size=".05 .05 .05" mass=".4"/></body></worldbody></mujoco>"""
MODELS = {
    "free_box": "",
    "hopper": "gymnasium/hopper",
    "half_cheetah": "gymnasium/half_cheetah",
    "ant": "gymnasium/ant",
    "humanoid": "gymnasium/humanoid",
    "barkour": "mjx/barkour_v0/assets/barkour_v0_mjx.xml",
}
SOFTENINGS: dict[str, Callable[[], softsim.Softening]] = {
    "hard": softsim.Softening.hard,
    "soft": softsim.Softening.soft,
    "straight_through": softsim.Softening.straight_through,
}
Step = Callable[[mjx.Model, mjx.Data], mjx.Data]


@dataclasses.dataclass(frozen=True)
class Args:
    """Engine speed against stock MJX."""

    out: Path = Path("experiments/bench/results")
    """folder for engine.json and engine.csv; what other models have there stays"""
    models: tuple[str, ...] = tuple(MODELS)
    """which models"""
    softenings: tuple[str, ...] = tuple(SOFTENINGS)
    """which softenings of softsim"""
    batch: int = 256
    """batch size of the batched columns"""
    repeats: int = 20
    """timed runs, of which the fastest counts"""
    quick: bool = False
    """only what the ratios need: no jacfwd, and of stock MJX's gradient no batch"""
    growth: bool = True
    """also growth with horizon, batch, bodies and contacts, and a long horizon"""


def model(name: str, iterations: int) -> mujoco.MjModel:
    """A benchmark model with that many solver iterations.

    Raises:
        ValueError: no such model.
    """
    if name not in MODELS:
        raise ValueError(f"--models: got {name!r}, expected some of {', '.join(MODELS)}")
    mj_model = load(MODELS[name]) if MODELS[name] else mujoco.MjModel.from_xml_string(FREE_BOX)
    mj_model.opt.iterations, mj_model.opt.ls_iterations = iterations, 8
    mj_model.opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
    mj_model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
    return mj_model


def problem(name: str, iterations: int) -> tuple[mjx.Model, mjx.Data]:
    """The model and a state in contact with the ground."""
    mj_model = model(name, iterations)
    mj_data = mujoco.MjData(mj_model)
    if mj_model.nkey:
        mujoco.mj_resetDataKeyframe(mj_model, mj_data, 0)
    mujoco.mj_step(mj_model, mj_data, 100)
    return softsim.put_model(mj_model), softsim.put_data(mj_model, mj_data)


def functions(step: Step, m: mjx.Model, d: mjx.Data) -> dict[str, Callable]:
    """Next state, and gradient of a sum of it, as functions of (qpos, qvel, ctrl)."""

    def forward(qpos: jax.Array, qvel: jax.Array, ctrl: jax.Array) -> tuple:
        after = step(m, d.replace(qpos=qpos, qvel=qvel, ctrl=ctrl))
        return after.qpos, after.qvel

    def loss(*state: jax.Array) -> jax.Array:
        qpos, qvel = forward(*state)
        return qpos @ jnp.linspace(1, 2, m.nq) + qvel @ jnp.linspace(1, 2, m.nv)

    return {
        "forward": forward,
        "gradient": jax.grad(loss, argnums=(0, 1, 2)),
        "jacfwd": jax.jacfwd(loss, argnums=(0, 1, 2)),
    }


class Call(NamedTuple):
    """A compiled function to be timed, and where its time goes: a row and the name in it."""

    compiled: Callable
    args: tuple
    row: dict[str, Any]
    name: str


def compiled(row: dict[str, Any], function: Callable, state: tuple, batch: int) -> list[Call]:
    """One function, single and batched; writes seconds to trace and compile, and XLA's memory."""
    calls = [("", function, state, 2)]  # the ratios of single compile times are goals
    if batch:
        batched = tuple(jnp.broadcast_to(x, (batch, *x.shape)) for x in state)
        calls.append((" batch", jax.vmap(function), batched, 1))
    found = []
    for label, f, args, times in calls:
        program, row[f"trace{label}"], row[f"compile{label}"] = lower_and_compile(f, args, times)
        row[f"temp MB{label}"] = temp_mb(program)
        found.append(Call(program, args, row, f"run{label}"))
    return found


def variants(args: Args) -> list[tuple[str, int, Step, tuple[str, ...], int]]:
    """Label, solver iterations, step, what to measure of it, and batch size (0: none)."""

    def softened(name: str) -> Step:
        return lambda m, d: softsim.step(m, d, SOFTENINGS[name]())

    rows: list[tuple[str, int, Step, tuple[str, ...], int]] = [
        ("mjx, 1 iteration", 1, mjx.step, ("forward", "gradient"), 0 if args.quick else args.batch),
        ("mjx, 4 iterations", 4, mjx.step, ("forward",), args.batch),
    ]
    if not args.quick:
        # no batch: with jaxlib 0.10 on two cores its batched linear solves wait for each other
        rows.append(("mjx, 4 iterations", 4, mjx.step, ("jacfwd",), 0))
    for name in args.softenings:
        part = name == "straight_through"  # whose forward step is the hard one
        wanted = ("gradient",) if part else ("forward", "gradient")
        batch = 0 if part else args.batch
        rows.append((f"softsim {name}", 4, softened(name), wanted, batch))
    return rows


def ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The goals, one row per model: quotients of what was measured side by side."""
    found = {(r["model"], r["engine"], r["function"]): r for r in rows}
    table = []
    for name in dict.fromkeys(r["model"] for r in rows):
        mjx1 = {f: found.get((name, "mjx, 1 iteration", f)) for f in ("forward", "gradient")}
        mjx4 = found.get((name, "mjx, 4 iterations", "forward"))
        hard = {f: found.get((name, "softsim hard", f)) for f in ("forward", "gradient")}
        through = found.get((name, "softsim straight_through", "gradient"))
        div = lambda a, b, key: a[key] / b[key] if a and b and key in a and key in b else np.nan
        table.append(
            {
                "model": name,
                "gradient compile / mjx forward compile": div(hard["gradient"], mjx4, "compile"),
                "gradient / forward run": div(hard["gradient"], hard["forward"], "run"),
                "the same, batch": div(hard["gradient"], hard["forward"], "run batch"),
                "forward / mjx forward run, batch": div(hard["forward"], mjx4, "run batch"),
                "gradient / mjx gradient run": div(hard["gradient"], mjx1["gradient"], "run"),
                "the same, batch ": div(hard["gradient"], mjx1["gradient"], "run batch"),
                "straight-through / hard gradient": div(through, hard["gradient"], "run"),
                "mjx gradient / forward compile": div(mjx1["gradient"], mjx1["forward"], "compile"),
            }
        )
    return table


def main(args: Args) -> None:
    """Measure model by model; store after each."""
    out = cli.open_folder(args.out)
    jax.config.update("jax_enable_compilation_cache", False)
    report = _earlier(out, args)
    rows = report["rows"]
    with cli.progress() as bar:
        task = bar.add_task("engine", total=len(args.models), status="")
        for name in args.models:
            calls: list[Call] = []
            for label, iterations, step, wanted, batch in variants(args):
                bar.update(task, status=f"{name}: {label}")
                m, d = problem(name, iterations)
                for kind in wanted:
                    f = functions(step, m, d)[kind]
                    row: dict[str, Any] = {"model": name, "engine": label, "function": kind}
                    calls += compiled(row, f, (d.qpos, d.qvel, d.ctrl), batch)
                    rows.append(row)
            times = timed_in_turns([(c.compiled, c.args) for c in calls], args.repeats)
            for call, seconds in zip(calls, times):
                call.row[call.name] = seconds
            _store(out, args, report)
            bar.advance(task)
        if args.growth:
            box, humanoid = problem("free_box", 4), problem("humanoid", 4)
            report["growth"] = []
            for row in growth(box, humanoid):
                report["growth"].append(row)
                bar.update(task, status=f"growth: {row['kind']}")
                _store(out, args, report)
    cli.print_table("ratios", _shown(report["ratios"]))


def _shown(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [
        {k: f"{v:.2f}" if isinstance(v, float) else str(v) for k, v in row.items()} for row in rows
    ]


def _earlier(out: Path, args: Args) -> dict[str, Any]:
    """What earlier runs stored, without the models that this run measures."""
    path = out / "engine.json"
    report = json.loads(path.read_text()) if path.exists() else {"rows": []}
    rows = [row for row in report["rows"] if row["model"] not in args.models]
    return {**report, "rows": rows}


def _store(out: Path, args: Args, report: dict[str, Any]) -> None:
    """engine.json, engine.csv, engine.md (the ratios), and of the growth engine_growth.csv."""
    report |= {**cli.provenance(args), "ratios": ratios(report["rows"])}
    cli.write_json(out / "engine.json", report)
    if report["ratios"]:
        cli.write_markdown(out / "engine.md", _shown(report["ratios"]))
    for name, rows in (("engine", report["rows"]), ("engine_growth", report.get("growth"))):
        if rows:
            columns = list(dict.fromkeys(key for row in rows for key in row))
            cli.write_csv(out / f"{name}.csv", {k: [r.get(k, "") for r in rows] for k in columns})
