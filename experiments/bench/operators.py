"""Soft operators beside SoftJAX: time and memory of forward + gradient, one process, one run.

Both libraries are measured by the same worker in one interpreter, call by call in turns, so that
the machine's load hits both alike; the ratios are what counts. `--peer-python` names an interpreter
(Python 3.12 or later) that has SoftJAX installed; without it only our columns are filled. Writes
operators.json, .csv, .md and .png.
"""

import csv
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
ROOT = Path(__file__).parents[2]


@dataclass
class Args:
    """Options of the benchmark.

    Attributes:
        peer_python: interpreter with SoftJAX installed; None: measure only this library.
        out: folder of the results.
        seconds: time given to each case and library.
        largest: largest n of the growth curves.
        cases: "table", "growth", "eager", or several of them.
    """

    peer_python: Path | None = None
    out: Path = RESULTS
    seconds: float = 6.0
    largest: int = 65536
    cases: Sequence[str] = field(default=("table", "eager", "growth"))


# operator, method, mode, n, batch, goal (peer / ours)
TABLE = [
    ("sort", "softsort", "smooth", 4096, 1, 20),
    ("sort", "softsort", "c0", 4096, 1, 300),
    ("rank", "softsort", "smooth", 4096, 1, 20),
    ("rank", "softsort", "c0", 4096, 1, 300),
    ("sort", "neuralsort", "smooth", 4096, 1, 1),
    ("sort", "neuralsort", "c0", 4096, 1, 50),
    ("rank", "neuralsort", "c0", 4096, 1, 50),
    ("rank", "sorting_network", "smooth", 1024, 1, 20),
    ("sort", "fast_soft_sort", "smooth", 4096, 1, 1),
    ("sort", "fast_soft_sort", "c0", 4096, 1, 1),
    ("rank", "fast_soft_sort", "c0", 4096, 1, 1),
    ("argmax", "softsort", "smooth", 4096, 1, 1),
    ("argmax", "softsort", "c0", 4096, 1, 1),
    ("top_k", "softsort", "smooth", 4096, 1, 1),
    ("top_k", "softsort", "c0", 4096, 1, 1),
    ("sort", "lapsum", "smooth", 4096, 1, None),
    ("rank", "lapsum", "smooth", 4096, 1, None),
    ("sort", "softsort", "smooth", 64, 256, None),
    ("sort", "softsort", "c0", 64, 256, None),
    ("sort", "neuralsort", "smooth", 64, 256, None),
    ("sort", "fast_soft_sort", "c0", 64, 256, None),
    ("argmax", "softsort", "smooth", 64, 256, None),
]
GROWTH = [
    ("sort", "softsort", "smooth", 4096),
    ("rank", "softsort", "smooth", 4096),
    ("sort", "softsort", "c0", 1024),
    ("sort", "lapsum", "smooth", 0),
    ("rank", "lapsum", "smooth", 0),
    ("sort", "fast_soft_sort", "c0", 65536),
    ("rank", "fast_soft_sort", "c0", 65536),
]
"""Operator, method, mode, and the largest n at which the peer is measured too."""


FEWEST = 7
"""Calls of ours, also where one call of the peer takes longer than the time given."""


def _function(library, op, method, mode, weights):
    """A weighted sum of the operator's output, to be differentiated."""

    def total(x):
        options = {"axis": -1, "mode": mode, "method": method}
        if op == "top_k":
            return (library.top_k(x, 5, **options)[0] * weights[:5]).sum()
        return (getattr(library, op)(x, **options) * weights).sum()

    return total


def _resident() -> float:
    """Largest resident memory of this process so far, MB."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _measure(libraries, op, method, mode, n, batch, seconds):
    """Milliseconds, compile seconds and temporary MB by library; calls take turns."""
    import time

    import jax
    import jax.numpy as jnp
    import numpy as np

    shape = (n,) if batch == 1 else (batch, n)
    x = jax.random.normal(jax.random.key(0), shape, jnp.float32)
    weights = jax.random.normal(jax.random.key(1), (n,), jnp.float32)
    compiled, out = {}, {}
    for name, library in libraries.items():
        total = _function(library, op, method, mode, weights)
        start = time.perf_counter()
        compiled[name] = jax.jit(jax.value_and_grad(total)).lower(x).compile()
        out[name] = {
            "compile_s": time.perf_counter() - start,
            "temp_mb": compiled[name].memory_analysis().temp_size_in_bytes / 1e6,
        }
        before = _resident()
        value, gradient = jax.block_until_ready(compiled[name](x))
        out[name]["resident_growth_mb"] = _resident() - before
        out[name]["finite"] = bool(jnp.isfinite(value) & jnp.all(jnp.isfinite(gradient)))
    times: dict[str, list[float]] = {name: [] for name in libraries}

    def call(name):
        start = time.perf_counter()
        jax.block_until_ready(compiled[name](x))
        times[name].append(1e3 * (time.perf_counter() - start))

    stop = time.perf_counter() + seconds * len(libraries)
    while time.perf_counter() < stop and min(map(len, times.values())) < 200:
        for name in libraries:
            call(name)
    while len(times["ours"]) < FEWEST:
        call("ours")
    for name, samples in times.items():
        out[name] |= {"median_ms": float(np.median(samples)), "min_ms": min(samples)}
        out[name]["calls"] = len(samples)
    return out


def _measure_eager(libraries):
    """Milliseconds of an eager argmax and sort with a Python softness never seen before."""
    import time

    import jax
    import jax.numpy as jnp
    import numpy as np

    x = jax.random.normal(jax.random.key(0), (64,), jnp.float32)
    rows = []
    for op in ("argmax", "sort"):
        row = {"op": op, "method": "softsort", "mode": "smooth", "n": 64, "batch": 1, "goal": 20}
        for name, library in libraries.items():
            call = getattr(library, op)
            jax.block_until_ready(call(x, softness=0.1, method="softsort"))
            samples = []
            for i in range(15):
                start = time.perf_counter()
                jax.block_until_ready(call(x, softness=0.11 + 0.01 * i, method="softsort"))
                samples.append(1e3 * (time.perf_counter() - start))
            row[name] = {"median_ms": float(np.median(samples)), "min_ms": min(samples)}
        rows.append(row)
    return rows


def work(cases: Sequence[str], seconds: float, largest: int) -> None:
    """Measure in this interpreter and print the result as JSON, one line per row."""
    import importlib
    import importlib.util

    import jax

    import softjax_ops

    libraries = {"ours": softjax_ops}
    peer = None
    if importlib.util.find_spec("softjax") is not None:
        peer = importlib.import_module("softjax")
        libraries["peer"] = peer
    machine = {
        "cpu": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "peer": None if peer is None else importlib.metadata.version("softjax"),
        "load": os.getloadavg()[0],
        "dtype": "float32",
    }
    print(json.dumps({"machine": machine}), flush=True)

    def emit(kind, row):
        print(json.dumps({kind: row}), flush=True)

    if "table" in cases:
        for op, method, mode, n, batch, goal in TABLE:
            both = libraries if method != "lapsum" else {"ours": softjax_ops}
            found = _measure(both, op, method, mode, n, batch, seconds)
            row = {"op": op, "method": method, "mode": mode, "n": n, "batch": batch, "goal": goal}
            emit("table", row | found)
    if "eager" in cases:
        for row in _measure_eager(libraries):
            emit("eager", row)
    if "growth" in cases:
        for op, method, mode, reach in GROWTH:
            for n in (64, 512, 4096, 65536):
                if n > largest:
                    continue
                both = libraries if n <= reach else {"ours": softjax_ops}
                found = _measure(both, op, method, mode, n, 1, seconds / 4)
                emit("growth", {"op": op, "method": method, "mode": mode, "n": n} | found)


def _ratio(row) -> float | None:
    """How many times faster we are, from the fastest calls (load only slows calls down)."""
    return row["peer"]["min_ms"] / row["ours"]["min_ms"] if "peer" in row else None


def _markdown(result) -> str:
    """The tables of the results."""
    m = result["machine"]
    lines = [
        f"{m['cores']} cores, {m['device']}, jax {m['jax']}, Python {m['python']}, "
        f"SoftJAX {m['peer']}, {m['dtype']}, load {m['load']:.1f}. Forward + gradient, jit, "
        "fastest call (median). Ratio: SoftJAX / ours, fastest calls.",
        "",
        "| op | method | mode | n | batch | ours ms | SoftJAX ms | ratio | goal | "
        "compile s ours / SoftJAX | temp MB ours / SoftJAX |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]

    def cell(row, key, pattern):
        pair = [pattern.format(row[name][key]) for name in ("ours", "peer") if name in row]
        return " / ".join(pair)

    for row in result["table"]:
        ratio = _ratio(row)
        ms = [
            "{min_ms:.2f} ({median_ms:.2f})".format(**row[name]) if name in row else "-"
            for name in ("ours", "peer")
        ]
        shown = "-" if ratio is None else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
        lines.append(
            f"| {row['op']} | {row['method']} | {row['mode']} | {row['n']} | {row['batch']} | "
            f"{ms[0]} | {ms[1]} | {shown} | {row['goal'] or '-'} | "
            f"{cell(row, 'compile_s', '{:.1f}')} | {cell(row, 'temp_mb', '{:.1f}')} |"
        )
    lines += ["", "Eager call, a Python softness never seen before, n = 64:", ""]
    lines += ["| op | ours ms | SoftJAX ms | ratio | goal |", "|---|---|---|---|---|"]
    for row in result["eager"]:
        peer = f"{row['peer']['median_ms']:.1f}" if "peer" in row else "-"
        ratio = _ratio(row)
        shown = "-" if ratio is None else f"{ratio:.0f}"
        ours = f"{row['ours']['median_ms']:.2f}"
        lines.append(f"| {row['op']} | {ours} | {peer} | {shown} | 20 |")
    lines += ["", "Growth with n (one row, ours):", ""]
    lines += ["| op | method | mode | n | ms | temp MB | resident growth MB |"]
    lines += ["|---|---|---|---|---|---|---|"]
    for row in result["growth"]:
        ours = row["ours"]
        lines.append(
            f"| {row['op']} | {row['method']} | {row['mode']} | {row['n']} | {ours['min_ms']:.2f} "
            f"| {ours['temp_mb']:.1f} | {ours['resident_growth_mb']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def _figure(result, path: Path) -> None:
    """Time against n, both libraries."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    for i, (op, method, mode, _) in enumerate(GROWTH):
        chosen = [
            r for r in result["growth"] if (r["op"], r["method"], r["mode"]) == (op, method, mode)
        ]
        for name, style in (("ours", "o-"), ("peer", "x:")):
            points = [(r["n"], r[name]["min_ms"]) for r in chosen if name in r]
            if points:
                label = f"{op} {method} {mode}" + (" (SoftJAX)" if name == "peer" else "")
                axes.loglog(*zip(*points, strict=True), style, color=f"C{i}", label=label)
    axes.set(xlabel="n", ylabel="forward + gradient, ms", title="Growth of the cost of one row")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=6)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _write(result, out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "operators.json").write_text(json.dumps(result, indent=1) + "\n")
    (out / "operators.md").write_text(_markdown(result))
    with (out / "operators.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        columns = ("median_ms", "min_ms", "compile_s", "temp_mb", "resident_growth_mb")
        writer.writerow(("kind", "op", "method", "mode", "n", "batch", "library", *columns))
        for kind in ("table", "eager", "growth"):
            for row in result[kind]:
                for name in ("ours", "peer"):
                    if name in row:
                        key = [row.get(k, 1) for k in ("op", "method", "mode", "n", "batch")]
                        writer.writerow((kind, *key, name, *(row[name].get(c) for c in columns)))
    if result["growth"]:
        _figure(result, out / "operators.png")


def main(args: Args) -> None:
    """Run the worker, show its rows as they come, and store the tables."""
    if args.peer_python is None:
        print("no --peer-python given: SoftJAX is not measured, only our columns are filled")
    python = str(args.peer_python or sys.executable)
    call = f"work({list(args.cases)!r}, {args.seconds}, {args.largest})"
    code = f"from experiments.bench.operators import work; {call}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = f"python -m experiments.bench operators --cases {' '.join(args.cases)}"
    result: dict = {"command": command, "table": [], "eager": [], "growth": []}
    with subprocess.Popen(
        [python, "-c", code], stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    ) as worker:
        for line in worker.stdout or ():
            for kind, row in json.loads(line).items():
                if kind == "machine":
                    result["machine"] = row
                else:
                    result[kind].append(row)
                print(kind, json.dumps(row), flush=True)
    if worker.returncode:
        raise SystemExit(f"the worker failed with status {worker.returncode}")
    _write(result, args.out)
    print(_markdown(result))
