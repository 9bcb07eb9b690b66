"""Study: what a gradient of a long rollout costs, in time and in memory.

A ball is thrown and bounces; the loss is where it ends. Compared are the rollout alone, its forward
derivative in one direction, and its reverse derivative with every step kept, with checkpoints every
square root of the steps, and with a checkpoint at every step. Memory is what the compiled program
asks for beside its inputs and outputs.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float

import softsim
from experiments import cli
from experiments.figures import COLORS, figure

XML = """
<mujoco model="thrown ball">
  <option timestep="0.005" iterations="10"/>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 0.1"/>
    <body pos="0 0 0.25"> <freejoint/>
      <geom type="sphere" size="0.05" mass="0.2" friction="0.3 0.005 0.0001"/> </body>
  </worldbody>
</mujoco>
"""
METHODS = (
    "rollout alone",
    "forward",
    "reverse, all kept",
    "reverse, square root",
    "reverse, every step",
)


@dataclass(frozen=True)
class Args:
    """Settings of the study."""

    out: Path = Path("runs/studies/horizon")
    """folder for metrics.json, horizon.csv and horizon.png"""
    horizons: tuple[int, ...] = (64, 256, 1024)
    """lengths of the simulation, in steps of 5 ms"""
    batch: int = 16
    """throws at once"""
    repeats: int = 3
    """timed runs; the fastest counts"""
    quick: bool = False
    """short horizons only"""

    def __post_init__(self) -> None:
        if not self.horizons or min(self.horizons) < 2:
            raise ValueError(f"--horizons: got {self.horizons}, expected at least 2 steps")
        if self.batch < 1 or self.repeats < 1:
            raise ValueError("--batch, --repeats: expected at least 1")


def make_program(args: Args, method: str, steps: int) -> Callable:
    """From velocities (batch, 6) to losses or derivatives."""
    m = softsim.put_model(mujoco.MjModel.from_xml_string(XML))
    d = softsim.make_data(m)
    segment = {"reverse, square root": round(steps**0.5), "reverse, every step": 1}.get(method)

    def loss(velocity: Float[Array, "6"]) -> Float[Array, ""]:
        end, _ = softsim.rollout(
            m, d.replace(qvel=velocity), jnp.zeros((steps, 0)), segment=segment
        )
        return jnp.sum(jnp.square(end.qpos[:2] - 0.5))

    if method == "rollout alone":
        return jax.vmap(loss)
    if method == "forward":
        return jax.vmap(lambda v: jax.jvp(loss, (v,), (jnp.ones_like(v),)))
    return jax.vmap(jax.value_and_grad(loss))


def measure(args: Args, method: str, steps: int) -> dict[str, float]:
    """Compile time, run time and memory of one program."""
    velocity = jnp.asarray(np.random.default_rng(0).normal(size=(args.batch, 6)))
    begin = time.perf_counter()
    compiled = jax.jit(make_program(args, method, steps)).lower(velocity).compile()
    compile_seconds = time.perf_counter() - begin
    runs = []
    for _ in range(args.repeats + 1):
        begin = time.perf_counter()
        jax.block_until_ready(compiled(velocity))
        runs.append(time.perf_counter() - begin)
    memory = compiled.memory_analysis()
    return {
        "steps": steps,
        "compile_s": compile_seconds,
        "run_s": min(runs[1:]),
        "memory_mb": memory.temp_size_in_bytes / 1e6 if memory else float("nan"),
    }


def table(found: dict[str, list[dict[str, float]]]) -> list[dict[str, str]]:
    """One row per method, at the longest horizon."""
    base = found[METHODS[0]][-1]["run_s"]
    return [
        {
            "method": method,
            "steps": f"{rows[-1]['steps']}",
            "time / rollout": f"{rows[-1]['run_s'] / base:.1f}",
            "memory": f"{rows[-1]['memory_mb']:.3g} MB",
            "memory grows as steps to the": f"{growth(rows):.2f}",
        }
        for method, rows in found.items()
    ]


def growth(rows: list[dict[str, float]]) -> float:
    """Exponent of memory over the last two horizons."""
    if len(rows) < 2:
        return float("nan")
    a, b = rows[-2:]
    return float(np.log(b["memory_mb"] / a["memory_mb"]) / np.log(b["steps"] / a["steps"]))


def draw(args: Args, found: dict[str, list[dict[str, float]]]) -> None:
    """Time and memory over the horizon, both logarithmic."""
    with figure(args.out / "horizon.png", ncols=2, figsize=(9.0, 3.8)) as (_, axes):
        for (method, rows), color in zip(found.items(), COLORS):
            steps = [row["steps"] for row in rows]
            axes[0, 0].loglog(steps, [row["run_s"] for row in rows], "o-", color=color)
            memory = [row["memory_mb"] for row in rows]
            axes[0, 1].loglog(steps, memory, "o-", color=color, label=method)
        axes[0, 0].set_ylabel(f"seconds for {args.batch} throws")
        axes[0, 1].set_ylabel("memory (MB)")
        axes[0, 1].legend(bbox_to_anchor=(1.02, 1.0), loc="upper left")
        for panel in axes[0]:
            panel.set_xlabel("steps")


def findings(found: dict[str, list[dict[str, float]]]) -> list[str]:
    """What the numbers say."""
    last = {method: rows[-1] for method, rows in found.items()}
    kept, root = last["reverse, all kept"], last["reverse, square root"]
    alone = last["rollout alone"]
    return [
        f"Over {kept['steps']} steps, checkpoints at every square root of the steps need "
        f"{root['memory_mb'] / kept['memory_mb']:.1%} of the memory of keeping every step, at "
        f"{root['run_s'] / kept['run_s']:.1f} times the time.",
        f"A forward derivative costs {last['forward']['run_s'] / alone['run_s']:.1f} rollouts and "
        f"{last['forward']['memory_mb']:.3g} MB, a reverse one "
        f"{kept['run_s'] / alone['run_s']:.1f} rollouts and {kept['memory_mb']:.3g} MB: with few "
        "inputs, as in system identification, forward mode needs no memory at all.",
    ]


def main(args: Args) -> None:
    """Measure every method at every horizon."""
    if args.quick:
        args = Args(args.out, horizons=(8, 32), batch=4, repeats=1)
    cli.open_folder(args.out)
    found: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    with cli.progress() as bar:
        task = bar.add_task("measuring", total=len(METHODS) * len(args.horizons), status="")
        for method in METHODS:
            for steps in args.horizons:
                bar.update(task, status=f"{method}, {steps} steps")
                found[method].append(measure(args, method, steps))
                bar.advance(task)
    rows, said = table(found), findings(found)
    flat = [{"method": method, **row} for method, some in found.items() for row in some]
    cli.write_csv(args.out / "horizon.csv", {key: [row[key] for row in flat] for key in flat[0]})
    metrics = {**cli.provenance(args), "table": rows, "findings": said}
    cli.write_json(args.out / "metrics.json", metrics)
    draw(args, found)
    cli.print_table("Gradients of long rollouts", rows)
    print("\n".join(said))


if __name__ == "__main__":
    cli.launch(Args, main, __doc__)
