"""Model-predictive control: plans by gradients against plans by sampling, at equal computing time.

At every control step a plan of actions is improved by some rounds and its first action applied; the
rest, shifted, is where the next plan begins (warm start). Compared are gradient descent through the
simulated plan (shooting), iLQR from `softsim.linearize`, MPPI and the cross-entropy method. Each is
run with several numbers of rounds, from the same starts: cost against simulated physics steps and
against computing time, and the real-time factor (simulated time / computing time).
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

import envs
import softsim
from envs import Env
from experiments import _run
from experiments._controllers import ILQR, SHOOTING, Planner, Task, X, cem, mppi
from experiments._figures import COLORS, figure
from softsim.numerics import safe_norm

TaskName = Literal["cartpole", "planar_push", "hopper"]
Method = Literal["shooting", "ilqr", "mppi", "cem"]


@dataclass(frozen=True)
class Args:
    """Settings of the comparison."""

    out: Path = Path("runs/mpc")
    """folder for metrics.json, mpc.csv and mpc.png"""
    tasks: tuple[TaskName, ...] = get_args(TaskName)
    """what is controlled"""
    methods: tuple[Method, ...] = get_args(Method)
    """how plans are improved"""
    rounds: tuple[int, ...] = (1, 2, 4, 8)
    """rounds per control step, each number a run"""
    samples: int = 64
    """plans in a round of MPPI and CEM"""
    starts: int = 3
    """runs from different starts"""
    length: float = 1.0
    """of a run, relative to the length set for each task"""
    reach: float = 0.02
    """m, contact from a distance in the derivatives"""
    seed: int = 0
    """of starts and samples"""
    quick: bool = False
    """one task, short runs"""

    def __post_init__(self) -> None:
        if not self.tasks or not self.methods:
            raise ValueError("--tasks, --methods: expected at least one of each")
        for name in ("samples", "starts"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected at least 1")
        if not self.rounds or min(self.rounds) < 1:
            raise ValueError(f"--rounds: got {self.rounds}, expected at least 1")
        if not self.length > 0 or not self.reach >= 0:
            raise ValueError("--length, --reach: expected a positive number and a length")


def swing_up(env: Env, x: X, action: Array, goal: Array) -> Float[Array, ""]:
    """Upright (angle 0), in the middle, at rest."""
    upright = 1.0 - jnp.cos(x.qpos[1])
    rest = 0.05 * x.qpos[0] ** 2 + 0.005 * x.qvel[1] ** 2 + 0.005 * x.qvel[0] ** 2
    return upright + rest + 0.005 * action @ action


def push(env: Env, x: X, action: Array, goal: Array) -> Float[Array, ""]:
    """The box at the goal, unturned; the finger just behind it."""
    finger, box, angle = x.qpos[:2], x.qpos[2:4], x.qpos[4]
    miss = goal - box
    behind = box - 0.1 * miss / (safe_norm(miss) + 0.02)
    place = 4.0 * safe_norm(miss) + 0.5 * (1.0 - jnp.cos(angle))
    return place + 0.5 * safe_norm(finger - behind) + 0.01 * action @ action


def hop(env: Env, x: X, action: Array, goal: Array) -> Float[Array, ""]:
    """Forward at 1 m/s, the torso high and upright."""
    speed = 0.5 * (x.qvel[0] - goal[0]) ** 2
    low = jnp.maximum(goal[1] - x.qpos[1], 0.0)
    return speed + 10.0 * low**2 + 2.0 * x.qpos[2] ** 2 + 0.01 * action @ action


class Setup(NamedTuple):
    """A task, its length, and the spread of sampled actions."""

    make: Callable[[], Env]
    cost: Callable
    horizon: int
    length: int  # control steps of a run
    spread: float


SETUPS: dict[str, Setup] = {
    "cartpole": Setup(lambda: envs.make("cartpole"), swing_up, 40, 90, 0.6),
    "planar_push": Setup(lambda: envs.make("planar_push"), push, 20, 60, 0.5),
    "hopper": Setup(
        lambda: envs.make(
            "hopper", frame_skip=4, options={"timestep": 0.005, "integrator": "implicitfast"}
        ),
        hop,
        20,
        50,
        0.4,
    ),
}


def make_task(args: Args, name: str, method: str) -> Task:
    """The task; derivatives feel contacts from a distance, values do not."""
    setup = SETUPS[name]
    gentle = method in ("shooting", "ilqr")
    soft = softsim.Softening(reach=jnp.asarray(args.reach), gradient_only=True)
    goal = jnp.array([1.0, 1.2]) if name == "hopper" else jnp.zeros(2)
    softening = soft if gentle else softsim.Softening.hard()
    return Task(setup.make(), setup.cost, goal, setup.horizon, softening)


def make_planner(args: Args, method: str, spread: float) -> Planner:
    """The planner of a name."""
    match method:
        case "shooting":
            return SHOOTING
        case "ilqr":
            return ILQR
        case "mppi":
            return mppi(args.samples, spread)
        case _:
            return cem(args.samples, spread)


def make_run(task: Task, planner: Planner, length: int, name: str) -> Callable:
    """(key, rounds) -> costs (length,) and positions (length, nq) of a controlled run."""

    def run(key: PRNGKeyArray, rounds: Array) -> tuple[Array, Array]:
        for_start, for_plan = jax.random.split(key)
        state = task.env.reset(for_start)
        goal = state.info.get("target", task.goal)
        aimed = Task(task.env, task.cost, goal, task.horizon, task.softening)
        x = X(state.data.qpos, state.data.qvel, jnp.zeros_like(state.data.qvel))
        plan = jnp.zeros((task.horizon, task.env.action_size))

        def control(carry: tuple, key: PRNGKeyArray) -> tuple:
            x, plan = carry
            improve = lambda i, p: planner.improve(aimed, x, p, jax.random.fold_in(key, i))
            plan = jax.lax.fori_loop(0, rounds, improve, plan)
            x = aimed.advance(x, plan[0])
            cost = aimed.stage(x, plan[0])
            return (x, jnp.concatenate([plan[1:], plan[-1:]])), (cost, x.qpos)

        return jax.lax.scan(control, (x, plan), jax.random.split(for_plan, length))[1]

    return jax.jit(run)


class Record(NamedTuple):
    """Runs of one method with one number of rounds."""

    task: str
    method: str
    rounds: int
    cost: float  # mean over the run and the starts
    spread: float  # standard deviation over the starts
    steps: int  # simulated physics steps per control step
    seconds: float  # per control step
    real_time: float  # simulated time / computing time


def measure(args: Args, name: str, method: str, bar: _run.Progress) -> list[Record]:
    """All numbers of rounds of one method on one task."""
    setup = SETUPS[name]
    task = make_task(args, name, method)
    planner = make_planner(args, method, setup.spread)
    length = max(2, round(args.length * setup.length))
    run = make_run(task, planner, length, name)
    keys = jax.random.split(jax.random.key(args.seed), args.starts)
    bar_task = bar.add_task(f"{name}, {method}", total=len(args.rounds), status="compiling")
    jax.block_until_ready(run(keys[0], jnp.asarray(1)))
    records = []
    for rounds in args.rounds:
        begin = time.perf_counter()
        found = [run(key, jnp.asarray(rounds))[0] for key in keys]
        costs = np.array([np.asarray(jax.block_until_ready(cost)).mean() for cost in found])
        seconds = (time.perf_counter() - begin) / (length * args.starts)
        work = rounds * planner.work(task)
        records.append(
            Record(name, method, rounds, costs.mean(), costs.std(), work, seconds,
                   task.env.dt / seconds)
        )  # fmt: skip
        bar.update(bar_task, advance=1, status=f"cost {costs.mean():.3g}")
    return records


def steps_to(records: list[Record], cost: float) -> float:
    """Fewest simulated steps per control step with which a method reaches a cost."""
    reached = [r.steps for r in records if r.cost <= cost]
    return float(min(reached)) if reached else float("inf")


def compare(args: Args, records: list[Record]) -> list[str]:
    """Each gradient method against MPPI: simulated steps for the same cost; equal time."""
    said = []
    for name in dict.fromkeys(r.task for r in records):
        of = lambda m: [r for r in records if r.task == name and r.method == m]  # noqa: B023
        if not of("mppi"):
            continue
        best = min(of("mppi"), key=lambda r: r.cost)
        for method in ("shooting", "ilqr"):
            if not of(method):
                continue
            steps = steps_to(of(method), best.cost + best.spread / np.sqrt(args.starts))
            if np.isfinite(steps):
                share = f"with {steps / best.steps:.2f} of its simulated steps"
            else:
                share = "with none of the rounds tried"
            said.append(f"{name}: {method} reaches the cost of MPPI ({best.cost:.3g}) {share}.")
        limit = max(r.seconds for r in of("mppi"))
        fair = [
            min((r for r in of(m) if r.seconds <= limit), key=lambda r: r.cost, default=None)
            for m in args.methods
        ]
        costs = ", ".join(f"{r.method} {r.cost:.3g}" for r in fair if r is not None)
        said.append(f"{name}: at most {1e3 * limit:.0f} ms per control step, costs are {costs}.")
    return said


def draw(path: Path, records: list[Record]) -> None:
    """Cost over simulated steps and over computing time, task by task."""
    tasks = list(dict.fromkeys(r.task for r in records))
    size = (3.6 * len(tasks), 6.0)
    with figure(path, nrows=2, ncols=len(tasks), figsize=size, sharey="col") as (_, axes):
        for column, name in zip(axes.T, tasks):
            for method, color in zip(get_args(Method), COLORS):
                some = [r for r in records if r.task == name and r.method == method]
                if not some:
                    continue
                style = {"marker": "o", "ms": 4, "capsize": 2, "color": color, "label": method}
                costs, spread = [r.cost for r in some], [r.spread for r in some]
                column[0].errorbar([r.steps for r in some], costs, spread, **style)
                column[1].errorbar([1e3 * r.seconds for r in some], costs, spread, **style)
            column[0].set_title(name)
            column[0].set_xlabel("simulated steps per control step")
            column[1].set_xlabel("computing time per control step (ms)")
            for panel in column:
                panel.set_xscale("log")
        axes[0, 0].set_ylabel("mean cost of a run")
        axes[1, 0].set_ylabel("mean cost of a run")
        axes[0, 0].legend()


def print_results(records: list[Record]) -> None:
    """The table at the end."""
    rows = [
        {
            "task": r.task,
            "method": r.method,
            "rounds": str(r.rounds),
            "cost": f"{r.cost:.3g} ± {r.spread:.2g}",
            "steps": str(r.steps),
            "time": f"{1e3 * r.seconds:.1f} ms",
            "real-time factor": f"{r.real_time:.2f}",
        }
        for r in records
    ]
    _run.print_table("Mean cost of controlled runs; steps and time per control step", rows)


def main(args: Args) -> None:
    """Run every method on every task."""
    if args.quick:
        args = Args(args.out, ("cartpole",), args.methods, (1, 2), 16, 1, 0.1)
    _run.open_folder(args.out)
    records: list[Record] = []
    with jax.enable_x64(True), _run.progress() as bar:
        made = _run.provenance(args)
        for name in dict.fromkeys(args.tasks):
            for method in dict.fromkeys(args.methods):
                records += measure(args, name, method, bar)
                _run.write_csv(args.out / "mpc.csv", dict(zip(Record._fields, zip(*records))))
    said = compare(args, records)
    rows = [r._asdict() for r in records]
    metrics = {**made, "runs": rows, "findings": said}
    _run.write_json(args.out / "metrics.json", metrics)
    draw(args.out / "mpc.png", records)
    print_results(records)
    print("\n".join(said))
    print(f"Written to {args.out}: metrics.json, mpc.csv, mpc.png")


if __name__ == "__main__":
    _run.launch(Args, main, __doc__)
