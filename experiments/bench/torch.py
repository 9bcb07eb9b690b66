"""The PyTorch face: soft operators beside SoftTorch, and the simulator beside its JAX face.

Forward and backward of a weighted sum of what an operator returns, in one process, the two
libraries call by call in turns; SoftTorch fills its columns where it is installed. A rollout of
the hopper is differentiated through torch and, jitted, through JAX. Writes torch.json and torch.md.
"""

import importlib.metadata
import importlib.util
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from experiments import cli

RESULTS = Path(__file__).parent / "results"
AXISWISE = [
    (op, mode, n, batch)
    for op in ("sort", "rank", "topk")
    for mode in ("smooth", "c0")
    for n, batch in ((64, 1), (64, 256), (1024, 1), (1024, 256), (4096, 1), (4096, 256))
]
ELEMENTWISE = [(op, "smooth", n, 1) for op in ("relu", "abs", "sign") for n in (64, 4096)]
BEST = 5  # entries that topk returns
STEPS, BATCH = 50, 16  # of the rollout
# A soft index of SoftTorch has n x n entries per row, and autograd keeps several.
LARGEST = 3e8  # entries of one index beyond which SoftTorch is not measured


@dataclass(frozen=True)
class Args:
    """Options of the benchmark."""

    out: Path = RESULTS
    """folder of the results"""
    seconds: float = 3.0
    """each case and library is measured for this long, s"""
    largest: int = 4096
    """cases with longer rows are left out"""
    rollout: bool = True
    """the rollout through torch and through JAX is measured too"""
    device: str = "cpu"
    """torch's name of the device of all tensors; other files than torch.json for others than cpu"""


def _call(library: Any, op: str, mode: str, x: Any, weights: Any) -> Callable[[], None]:
    """Forward and backward of one weighted sum."""
    options: dict[str, Any] = {"mode": mode}
    if op in ("sort", "rank", "topk"):
        options |= {"dim": -1, "method": "softsort"}
    if op == "sort":
        options["return_indices"] = False

    def run() -> None:
        x.grad = None
        found = getattr(library, op)(x, *((BEST,) if op == "topk" else ()), **options)
        values = found.values if op in ("sort", "topk") else found
        (values * weights[: values.shape[-1]]).sum().backward()
        _finish(x.device)

    return run


def _finish(device: Any) -> None:
    """Wait for what torch has queued: on an accelerator a call returns before it is done."""
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def in_turns(calls: dict[str, Callable[[], None]], seconds: float) -> dict[str, float]:
    """The fewest milliseconds of each call, measured one after the other, again and again."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    stop = time.perf_counter() + seconds * len(calls)
    while time.perf_counter() < stop or not times["ours"]:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(1e3 * (time.perf_counter() - start))
    return {name: min(samples) for name, samples in times.items()}


def operator(libraries: dict[str, Any], case: tuple[str, str, int, int], args: Args) -> dict:
    """One row of the table."""
    import torch

    op, mode, n, batch = case
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((batch, n), generator=generator).to(args.device).requires_grad_()
    weights = torch.randn(n, generator=generator).to(args.device)
    indexed = batch * n * n if (op, mode, n, batch) in AXISWISE else 0
    some = {k: lib for k, lib in libraries.items() if k == "ours" or indexed <= LARGEST}
    calls = {name: _call(library, op, mode, x, weights) for name, library in some.items()}
    return {"op": op, "mode": mode, "n": n, "batch": batch} | in_turns(calls, args.seconds)


def rollout(args: Args) -> dict:
    """The gradient of a rollout by torch and by jitted JAX."""
    import mujoco
    import torch

    import envs
    import softsim.torch

    mj_model: mujoco.MjModel = envs.make("hopper").mj_model
    simulator = softsim.torch.Simulator(mj_model)
    here = {"dtype": torch.float32, "device": args.device}
    qpos, qvel = torch.tensor(mj_model.qpos0, **here), torch.zeros(mj_model.nv, **here)
    ctrl = torch.zeros((BATCH, STEPS, mj_model.nu), **here, requires_grad=True)
    m = softsim.put_model(mj_model)
    d = softsim.make_data(m)

    def cost(ctrl: jax.Array) -> jax.Array:
        ends = jax.vmap(lambda u: softsim.rollout(m, d, u)[0].qpos)(ctrl)
        return jnp.sum(jnp.square(ends))

    gradient = jax.jit(jax.grad(cost))
    zeros = jnp.zeros(ctrl.shape)

    def ours() -> None:
        ctrl.grad = None
        simulator.rollout(qpos, qvel, ctrl).qpos[:, -1].square().sum().backward()
        _finish(ctrl.device)

    return in_turns(
        {"ours": ours, "jax": lambda: jax.block_until_ready(gradient(zeros))}, 4 * args.seconds
    )


def markdown(result: dict) -> str:
    """The tables of the results."""
    m = result["machine"]
    lines = [
        f"{m['device']}, {m['cores']} cores, torch {m['torch']}, jax {m['jax']}, "
        f"Python {m['python']}, SoftTorch {m['peer'] or 'not installed'}, load "
        f"{m['load']:.1f}. Forward and backward, float32, method softsort, fastest call. "
        "Ratio: SoftTorch / ours.",
        "",
        "| operator | mode | n | batch | ours, ms | SoftTorch, ms | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in result["table"]:
        peer = row.get("peer")
        cells = "- | -" if peer is None else f"{peer:.3g} | {peer / row['ours']:.3g}"
        key = f"{row['op']} | {row['mode']} | {row['n']} | {row['batch']}"
        lines.append(f"| {key} | {row['ours']:.3g} | {cells} |")
    if "rollout" in result:
        found = result["rollout"]
        lines += [
            "",
            f"Gradient of a rollout of the hopper, {STEPS} steps, batch of {BATCH}: "
            f"{found['ours']:.1f} ms through torch, {found['jax']:.1f} ms through JAX, ratio "
            f"{found['ours'] / found['jax']:.2f}.",
        ]
    return "\n".join(lines) + "\n"


def main(args: Args) -> None:
    """Measure, show the tables, and store them."""
    import torch

    import softjax_ops.torch

    libraries: dict[str, Any] = {"ours": softjax_ops.torch}
    peer = None
    if importlib.util.find_spec("softtorch") is not None:
        libraries["peer"] = importlib.import_module("softtorch")
        peer = importlib.metadata.version("softtorch")
    cases = [case for case in (*AXISWISE, *ELEMENTWISE) if case[2] <= max(args.largest, 64)]
    result: dict[str, Any] = {
        "command": f"python -m experiments.bench torch --device {args.device}",
        "machine": {
            "device": "CPU" if args.device == "cpu" else torch.cuda.get_device_name(args.device),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "torch": torch.__version__,
            "jax": jax.__version__,
            "peer": peer,
            "load": os.getloadavg()[0],
        },
        "table": [],
    }
    name = "torch" if args.device == "cpu" else f"torch_{torch.device(args.device).type}"
    stored = cli.open_folder(args.out) / name
    for case in cases:
        result["table"].append(operator(libraries, case, args))
        row = result["table"][-1]
        print(" ".join(f"{v:.3g}" if isinstance(v, float) else str(v) for v in row.values()))
        cli.write_json(stored.with_suffix(".json"), result)
    if args.rollout:
        result["rollout"] = rollout(args)
        cli.write_json(stored.with_suffix(".json"), result)
    stored.with_suffix(".md").write_text(markdown(result))
    print(markdown(result))
