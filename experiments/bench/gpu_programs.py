"""What the accelerator benchmark times, each program in a process of its own.

A program takes a minute to compile and a second to time, and one compilation uses one core. So many
are compiled at once; each process then waits, and is told to time its program when nothing else
runs.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
from mujoco import mjx

import softjax_ops
import softsim
from experiments import cli
from experiments.bench import engine, gpu_checks
from experiments.bench.timing import lower_and_compile, temp_mb, timed

Row = dict[str, Any]
STEPS = 10
ITERATIONS = 8
"""Of the constraint solver; stock MJX has a reverse mode with one only."""
POLL = 0.2
"""Seconds between two looks at what the processes have finished."""


class Compiled(NamedTuple):
    """A compiled program.

    Attributes:
        run: the program.
        args: its arguments.
        row: what compiling it took, with others compiled at the same time.
        steps: how many time steps one run makes; None if it is no simulation.
    """

    run: Callable
    args: tuple[jax.Array, ...]
    row: Row
    steps: int | None

    def time(self, repeats: int) -> Row:
        """The row, with the fastest of `repeats` runs, and whether all results are finite."""
        seconds = timed(self.run, self.args, repeats)
        out = jax.tree.leaves(self.run(*self.args))
        speed = {} if self.steps is None else {"steps per second": self.steps / seconds}
        finite = all(bool(jnp.isfinite(x).all()) for x in out)
        return {**speed, "ms": 1e3 * seconds, **self.row, **_peak(), "finite": finite}


def _peak() -> Row:
    """The most memory that this process has had on the device, where the device tells."""
    stats = jax.devices()[0].memory_stats() or {}
    return {"peak MB": stats.get("peak_bytes_in_use", float("nan")) / 1e6}


Task = Callable[[], Compiled | Row]


def _compile(function: Callable, args: tuple[jax.Array, ...], steps: int | None) -> Compiled:
    program, traced, took = lower_and_compile(function, args)
    row = {"trace s": traced, "compile s": took, "temp MB": temp_mb(program)}
    return Compiled(program, args, row, steps)


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


def _softsim_end(m: mjx.Model, d: mjx.Data) -> jax.Array:
    """Positions after a rollout."""
    return softsim.rollout(m, d, jnp.broadcast_to(d.ctrl, (STEPS, m.nu)))[0].qpos


def _mjx_end(m: mjx.Model, d: mjx.Data) -> jax.Array:
    """The same with stock MJX."""
    return jax.lax.scan(lambda d, _: (mjx.step(m, d), None), d, None, length=STEPS)[0].qpos


PROGRAMS: dict[str, tuple[int, Callable[[mjx.Model, mjx.Data], jax.Array], bool]] = {
    "softsim forward": (ITERATIONS, _softsim_end, False),
    "softsim gradient": (ITERATIONS, _softsim_end, True),
    "mjx forward": (ITERATIONS, _mjx_end, False),
    "mjx gradient": (1, _mjx_end, True),
}
"""Iterations of the constraint solver, the end of a rollout, and whether it is differentiated."""


def rollouts(name: str, batch: int, program: str) -> Compiled:
    """Rollouts of `batch` worlds, or their gradients in velocity and control."""
    iterations, end, differentiated = PROGRAMS[program]
    m, d = problem(name, iterations)
    noise = 0.01 * jax.random.normal(jax.random.key(0), (batch, m.nv), d.qvel.dtype)
    ctrl = jnp.broadcast_to(d.ctrl, (batch, m.nu))

    def total(qvel: jax.Array, ctrl: jax.Array) -> jax.Array:
        return jnp.sum(end(m, d.replace(qvel=qvel, ctrl=ctrl)))

    one = jax.grad(total, argnums=(0, 1)) if differentiated else total
    return _compile(jax.vmap(one), (d.qvel + noise, ctrl), batch * STEPS)


def operator(op: str, method: str, n: int) -> Compiled:
    """The value and gradient of a soft operator of n numbers."""
    x, weight = jax.random.normal(jax.random.key(0), (2, n), jnp.float32)
    function = getattr(softjax_ops, op)
    total = jax.value_and_grad(lambda x: jnp.sum(weight * function(x, method=method)))
    return _compile(total, (x,), None)


def check(name: str, models: tuple[str, ...], worlds: int) -> Row:
    """The outcome of the check of that name."""
    [found] = [check for check in gpu_checks.checks(models) if check.name == name]
    return gpu_checks.outcome(found, worlds)


class Waiting(NamedTuple):
    """A process that has compiled its program.

    Attributes:
        process: where the program is.
        pipe: to it.
        took: seconds of compilation.
    """

    process: SpawnProcess
    pipe: Connection
    took: float

    def time(self, repeats: int, limit: float) -> Row:
        """The row of the program; the process ends, after `limit` seconds in any case."""
        self.pipe.send(repeats)
        row = _received(self.pipe) if self.pipe.poll(limit) else {"error": f"over {limit:.0f} s"}
        self.process.kill()
        return row


def compile_all(
    tasks: dict[str, Task], at_once: int, deadline: float
) -> Iterator[tuple[str, Waiting | Row]]:
    """What becomes of each task, as it happens: a program to be timed, or at once its row.

    Args:
        tasks: by name, the most important first.
        at_once: processes that work at a time.
        deadline: of `time.perf_counter()`; what is not compiled then is given up.
    """
    spawn = multiprocessing.get_context("spawn")
    left, running = list(tasks.items()), dict[str, tuple[SpawnProcess, Connection]]()
    try:
        while (left or running) and time.perf_counter() < deadline:
            while left and len(running) < at_once:
                name, task = left.pop(0)
                here, there = spawn.Pipe()
                process = spawn.Process(target=_serve, args=(there, task), daemon=True)
                process.start()
                there.close()
                running[name] = process, here
            for name in [name for name, (_, pipe) in running.items() if pipe.poll()]:
                process, pipe = running.pop(name)
                found = _received(pipe)
                yield name, Waiting(process, pipe, found) if isinstance(found, float) else found
            time.sleep(POLL)
    finally:
        for process, _ in running.values():
            process.kill()


def _received(pipe: Connection) -> Any:
    """What a process sends, or an error row if it is dead."""
    try:
        return pipe.recv()
    except EOFError:
        return {"error": "the process died, of lack of memory perhaps"}


def _serve(pipe: Connection, task: Task) -> None:
    """Do the task; if it compiles a program, say so, and time it when told to."""
    jax.config.update("jax_enable_compilation_cache", False)  # what compiling takes is measured
    found = _attempt(task)
    if isinstance(found, Compiled):
        pipe.send(found.row["compile s"])
        found = _attempt(partial(found.time, pipe.recv()))
    pipe.send(found)


def _attempt(task: Task) -> Any:
    try:
        return task()
    except Exception as error:  # out of memory, say: the others go on
        return {"error": str(error).partition("\n")[0]}
