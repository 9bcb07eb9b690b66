"""All that is to be known on an accelerator, in the minutes given: is it right, how fast is it.

Steps per second of rollouts of ten steps, forward and gradient, beside stock MJX in the same run;
correctness (see `gpu_checks`); soft operators at n = 4,096. As many programs as memory holds are
compiled, all cores at once (see `gpu_programs`), then each is timed alone. What matters most comes
first, each row is stored as soon as it is measured, and what the minutes do not allow is
named at the end; run again, it goes on with what is missing. Files carry the name of the device. On
a machine without an accelerator it runs on the CPU, which is how it is tested: `--quick`.
"""

import dataclasses
import json
import os
import re
import time
from functools import partial
from pathlib import Path

import jax

from experiments import cli
from experiments.bench.gpu_checks import checks
from experiments.bench.gpu_programs import (
    PROGRAMS,
    Row,
    Task,
    Waiting,
    check,
    compile_all,
    operator,
    rollouts,
)

MODELS = ("hopper", "half_cheetah", "ant", "humanoid", "barkour")
CHECKED, CHECKED_WORLDS = ("hopper", "humanoid"), 64
OPERATORS = (
    ("sort", "softsort"), ("rank", "softsort"), ("argmax", "softsort"), ("sort", "neuralsort"),
    ("sort", "fast_soft_sort"), ("rank", "lapsum"),
)  # fmt: skip
COMPILING = 0.7
"""Share of the time that is left, after which what is compiled by then is timed."""
PROCESSES = max(1, (os.cpu_count() or 2) - 2)
HELD = 4
"""A compiled program waits in a process of up to 3 GB, and the system may not tell its memory."""
if hasattr(os, "sysconf"):
    HELD = max(1, int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 3e9))


@dataclasses.dataclass(frozen=True)
class Args:
    """Correctness, speed and memory on the device at hand."""

    out: Path = Path("experiments/bench/results")
    """folder for gpu_<device>.json, .csv and .md; what is stored there is not measured again"""
    minutes: float = 8.0
    """time for everything"""
    models: tuple[str, ...] = MODELS
    """names of engine benchmark models, or MJCF files (a robot of yours)"""
    batches: tuple[int, ...] = (4096, 256, 16384, 1024)
    """worlds at once, the most important first"""
    operator_size: int = 4096
    """n of the soft operators"""
    repeats: int = 5
    """timed calls, of which the fastest counts"""
    processes: int = PROCESSES
    """programs that are compiled at once"""
    held: int = HELD
    """compiled programs that wait in memory at once, to be timed one after the other"""
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

    def left(self) -> float:
        """Seconds that are left."""
        return self.deadline - time.perf_counter()

    def lacks(self, key: str) -> bool:
        """Whether a row is missing, or was not measured."""
        return "error" in self.rows.get(key, {"error": ""})

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


def tasks(args: Args) -> dict[str, Task]:
    """All that is to be measured, by the names of the rows, the most important first."""
    worlds, n = min(CHECKED_WORLDS, max(args.batches)), args.operator_size
    models = tuple(name for name in CHECKED if name in args.models)

    def speeds(*batches: int) -> dict[str, Task]:
        return {
            f"{Path(name).stem}, {batch}: {label}": partial(rollouts, name, batch, label)
            for batch in batches
            for name in args.models
            for label in PROGRAMS
        }

    right = {one.name: partial(check, one.name, models, worlds) for one in checks(models)}
    operators = {f"{op} {how}, n = {n}": partial(operator, op, how, n) for op, how in OPERATORS}
    first, *others = args.batches
    return {**speeds(first), **right, **operators, **speeds(*others)}


def measure(report: Report, wanted: dict[str, Task], args: Args) -> None:
    """Compile what is wanted, all at once, then time one after the other."""
    ready: dict[str, Waiting] = {}
    until = time.perf_counter() + COMPILING * report.left()
    for key, found in compile_all(wanted, args.processes, until):
        if isinstance(found, Waiting):
            ready[key] = found
            print(f"{key}: compiled in {found.took:.0f} s", flush=True)
        else:
            report.store(key, found)
    for key in wanted:
        if key in ready and report.left() > 0:
            report.store(key, ready.pop(key).time(args.repeats, report.left()))
        elif report.lacks(key):
            report.left_out.append(key)


def main(args: Args) -> None:
    """Measure until all is measured or the minutes are over."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # many processes, one device
    args = args.shortened()
    report = Report(args)
    wanted = [(key, task) for key, task in tasks(args).items() if report.lacks(key)]
    for first in range(0, len(wanted), args.held):
        measure(report, dict(wanted[first : first + args.held]), args)
    if table := compared(report.rows):
        cli.print_table("steps per second", table)
    wrong = [key for key, row in report.rows.items() if not row.get("ok", True) or "error" in row]
    print(f"wrong or not measured: {', '.join(wrong) or 'nothing'}")
    print(f"left out for lack of time: {', '.join(report.left_out) or 'nothing'}")
