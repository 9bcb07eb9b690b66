"""All that is to be known on an accelerator, in the minutes given: is it right, how fast is it.

First correctness (see `gpu_checks`), then soft operators at n = 4,096, then steps per second of
rollouts of ten steps, forward and gradient, beside stock MJX in the same run. What matters most
comes first, each row is stored as soon as it is measured, and what the minutes do not allow is
named at the end; run again, it goes on with what is missing. Files carry the name of the device. On
a machine without an accelerator it runs on the CPU, which is how it is tested: `--quick`.
"""

import dataclasses
import json
import re
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
from mujoco import mjx

import softjax_ops
import softsim
from experiments import cli
from experiments.bench import engine
from experiments.bench.gpu_checks import checks, outcome
from experiments.bench.timing import lower_and_compile, temp_mb, timed

Row = dict[str, Any]
MODELS = ("hopper", "half_cheetah", "ant", "humanoid", "barkour")
CHECKED, CHECKED_WORLDS = ("hopper", "humanoid"), 64
STEPS = 10
ITERATIONS = 8
"""Of the constraint solver; stock MJX has a reverse mode with one only."""
OPERATORS = (
    ("sort", "softsort"), ("rank", "softsort"), ("argmax", "softsort"), ("sort", "neuralsort"),
    ("sort", "fast_soft_sort"), ("rank", "lapsum"),
)  # fmt: skip
MARGIN = 1.2
"""A program is begun if this times what the last one like it took is left."""


@dataclasses.dataclass(frozen=True)
class Args:
    """Correctness, speed and memory on the device at hand."""

    out: Path = Path("experiments/bench/results")
    """folder for gpu_<device>.json, .csv and .md; what is stored there is not measured again"""
    minutes: float = 8.0
    """time for everything; the program that is running is finished"""
    models: tuple[str, ...] = MODELS
    """names of engine benchmark models, or MJCF files (a robot of yours)"""
    batches: tuple[int, ...] = (4096, 256, 16384, 1024)
    """worlds at once, the most important first"""
    operator_size: int = 4096
    """n of the soft operators"""
    repeats: int = 5
    """timed calls, of which the fastest counts"""
    fresh: bool = False
    """measure all anew"""
    quick: bool = False
    """a dry run of everything on small sizes: one model, two worlds"""

    def shortened(self) -> "Args":
        """With `quick`, the small sizes."""
        if not self.quick:
            return self
        return dataclasses.replace(
            self, models=("hopper",), batches=(2,), operator_size=16, repeats=1
        )


class Report:
    """The rows so far, stored after each, and the clock."""

    def __init__(self, args: Args) -> None:
        device = jax.devices()[0].device_kind
        name = "gpu_" + re.sub(r"\W+", "_", device.lower()).strip("_")
        self.args, self.path = args, cli.open_folder(args.out) / f"{name}.json"
        stored = self.path.exists() and not args.fresh
        self.rows: dict[str, Row] = json.loads(self.path.read_text())["rows"] if stored else {}
        self.left_out: list[str] = []
        self.deadline = time.perf_counter() + 60 * args.minutes
        self.took: dict[str, float] = {}

    def measure(self, key: str, like: str, measure: Callable[[], Row]) -> None:
        """Store what `measure` finds, if it is not there yet and the time allows it.

        Args:
            key: of the row.
            like: rows that take about as long.
            measure: the row; whatever it raises becomes the row's "error".
        """
        if "error" not in self.rows.get(key, {"error": ""}):
            return
        start = time.perf_counter()
        if start + MARGIN * self.took.get(like, 0.0) > self.deadline:
            self.left_out.append(key)
            return
        try:
            row = measure()
        except Exception as error:  # out of memory, say: the minutes left go to the others
            row = {"error": str(error).partition("\n")[0]}
        self.took[like] = time.perf_counter() - start
        self.store(key, row)

    def store(self, key: str, row: Row) -> None:
        """Put one row in place and write all files."""
        self.rows[key] = row
        parts = {**cli.provenance(self.args), "rows": self.rows, "left out": self.left_out}
        cli.write_json(self.path, parts)
        names = list(dict.fromkeys(name for row in self.rows.values() for name in row))
        columns = {n: [row.get(n, "") for row in self.rows.values()] for n in names}
        cli.write_csv(self.path.with_suffix(".csv"), {"row": list(self.rows)} | columns)
        if table := compared(self.rows):
            cli.write_markdown(self.path.with_suffix(".md"), table)
        told = {k: f"{v:.3g}" if isinstance(v, float) else v for k, v in row.items()}
        print(f"{key}: {', '.join(f'{k} {v}' for k, v in told.items())}", flush=True)


def problem(name: str, iterations: int) -> tuple[mjx.Model, mjx.Data]:
    """A model and a state of it: a benchmark model in contact, or an MJCF file at its keyframe."""
    if not name.endswith(".xml"):
        return engine.problem(name, iterations)
    mj_model = cli.load_model(Path(name))
    mj_model.opt.iterations, mj_model.opt.ls_iterations = iterations, ITERATIONS
    mj_data = mujoco.MjData(mj_model)
    if mj_model.nkey:
        mujoco.mj_resetDataKeyframe(mj_model, mj_data, 0)
    return softsim.put_model(mj_model), softsim.put_data(mj_model, mj_data)


def softsim_end(m: mjx.Model, d: mjx.Data) -> jax.Array:
    """Positions after a rollout."""
    return softsim.rollout(m, d, jnp.broadcast_to(d.ctrl, (STEPS, m.nu)))[0].qpos


def mjx_end(m: mjx.Model, d: mjx.Data) -> jax.Array:
    """The same with stock MJX."""
    return jax.lax.scan(lambda d, _: (mjx.step(m, d), None), d, None, length=STEPS)[0].qpos


PROGRAMS: tuple[tuple[str, str, int, Callable[[mjx.Model, mjx.Data], jax.Array]], ...] = (
    ("softsim", "forward", ITERATIONS, softsim_end),
    ("softsim", "gradient", ITERATIONS, softsim_end),
    ("mjx", "forward", ITERATIONS, mjx_end),
    ("mjx", "gradient", 1, mjx_end),
)
"""Engine, function, iterations of the constraint solver, and the end of a rollout."""


def speed(
    name: str, batch: int, function: str, iterations: int, end: Callable, repeats: int
) -> Row:
    """Steps per second of one program, seconds to trace and compile it, and its memory."""
    m, d = problem(name, iterations)
    noise = 0.01 * jax.random.normal(jax.random.key(0), (batch, m.nv), d.qvel.dtype)
    ctrl = jnp.broadcast_to(d.ctrl, (batch, m.nu))

    def total(qvel: jax.Array, ctrl: jax.Array) -> jax.Array:
        return jnp.sum(end(m, d.replace(qvel=qvel, ctrl=ctrl)))

    one = jax.grad(total, argnums=(0, 1)) if function == "gradient" else total
    compiled, traced, took = lower_and_compile(jax.vmap(one), (d.qvel + noise, ctrl))
    seconds = timed(compiled, (d.qvel + noise, ctrl), repeats)
    out = jax.tree.leaves(compiled(d.qvel + noise, ctrl))
    return {
        "steps per second": batch * STEPS / seconds,
        "ms": 1e3 * seconds,
        "trace s": traced,
        "compile s": took,
        "temp MB": temp_mb(compiled),
        "finite": all(bool(jnp.isfinite(x).all()) for x in out),
    }


def operator(op: str, method: str, n: int, repeats: int) -> Row:
    """Milliseconds of the value and gradient of a soft operator of n numbers."""
    x, weight = jax.random.normal(jax.random.key(0), (2, n), jnp.float32)
    function = getattr(softjax_ops, op)
    total = jax.value_and_grad(lambda x: jnp.sum(weight * function(x, method=method)))
    compiled, traced, took = lower_and_compile(total, (x,))
    seconds = timed(compiled, (x,), repeats)
    finite = all(bool(jnp.isfinite(y).all()) for y in compiled(x))
    times = {"ms": 1e3 * seconds, "trace s": traced, "compile s": took}
    return {**times, "temp MB": temp_mb(compiled), "finite": finite}


def peak() -> Row:
    """The most memory that this process has had on the device, where the device tells."""
    stats = jax.devices()[0].memory_stats() or {}
    return {"peak MB": stats.get("peak_bytes_in_use", float("nan")) / 1e6}


def compared(rows: dict[str, Row]) -> list[dict[str, str]]:
    """Steps per second of each program at each batch, and by how much softsim is faster."""
    speeds = {
        key: row["steps per second"] for key, row in rows.items() if "steps per second" in row
    }
    table: dict[str, dict[str, str]] = {}
    for key, ours in speeds.items():
        world, _, program = key.partition(": ")
        label, _, function = program.partition(" ")
        name, _, batch = world.rpartition(", ")
        if label != "softsim":
            continue
        row = table.setdefault(f"{name}, {function}", {"rollouts of": f"{name}, {function}"})
        theirs = speeds.get(f"{world}: mjx {function}")
        row[f"{batch} worlds, steps / s"] = f"{ours:,.0f}"
        row[f"{batch}, times MJX's"] = f"{ours / theirs:.2f}" if theirs else "-"
    names = list(dict.fromkeys(name for row in table.values() for name in row))
    return [{n: row.get(n, "-") for n in names} for row in table.values()]


def main(args: Args) -> None:
    """Measure until all is measured or the minutes are over."""
    args = args.shortened()
    jax.config.update("jax_enable_compilation_cache", False)
    report = Report(args)
    worlds, n = min(CHECKED_WORLDS, max(args.batches)), args.operator_size
    for check in checks(tuple(name for name in CHECKED if name in args.models)):
        report.measure(check.name, "check", partial(outcome, check, worlds))
    for op, method in OPERATORS:
        measure = partial(operator, op, method, n, args.repeats)
        report.measure(f"{op} {method}, n = {n}", "operator", measure)
    for batch in args.batches:
        for name in args.models:
            for label, function, iterations, end in PROGRAMS:
                key = f"{Path(name).stem}, {batch}: {label} {function}"
                measure = partial(speed, name, batch, function, iterations, end, args.repeats)
                report.measure(key, f"{name} {label} {function}", measure)
    report.store("memory of the device", peak())
    if table := compared(report.rows):
        cli.print_table("steps per second", table)
    wrong = [key for key, row in report.rows.items() if not row.get("ok", True) or "error" in row]
    print(f"wrong or not measured: {', '.join(wrong) or 'nothing'}")
    print(f"left out for lack of time: {', '.join(report.left_out) or 'nothing'}")
