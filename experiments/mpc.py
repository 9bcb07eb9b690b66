"""Model-predictive control: plans by gradients against plans by sampling, at equal computing time.

At every control step a plan of actions is improved by some rounds and its first action applied; the
rest, shifted, is where the next plan begins (warm start). Compared are gradient descent through the
simulated plan (shooting), iLQR from `softsim.linearize`, MPPI and the cross-entropy method. The
first two are run with several numbers of rounds, from the plan there is and from the best of a few
noisy ones (`--proposals`); the others with several numbers of samples and of rounds. All have the
same starts: cost against simulated physics steps and against computing time,
and the real-time factor (simulated time / computing time).

Computing time is processor time on a CPU, so that other programs on the machine do not count, and
wall-clock time on other devices.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

import envs
import softsim
from envs import Env
from experiments import _run
from experiments._controllers import Planner, Task, X, cem, ilqr, mppi, proposing, shooting
from experiments._figures import COLORS, figure

TaskName = Literal["cartpole", "planar_push", "hopper"]
Method = Literal["shooting", "ilqr", "mppi", "cem"]
SAMPLING = ("mppi", "cem")


@dataclass(frozen=True)
class Args:
    """Settings of the comparison."""

    out: Path = Path("runs/mpc")
    """folder for metrics.json, mpc.csv and mpc.png"""
    tasks: tuple[TaskName, ...] = get_args(TaskName)
    """what is controlled"""
    methods: tuple[Method, ...] = get_args(Method)
    """how plans are improved"""
    rounds: tuple[int, ...] = (1, 2, 3, 4)
    """shooting and iLQR improve a plan this many times per control step; each number is a run"""
    proposals: tuple[int, ...] = (0, 7)
    """shooting and iLQR begin a round from the best of this many noisy plans; 0: from the last
    plan"""
    samples: tuple[int, ...] = (16, 64)
    """a round of MPPI and CEM draws this many plans"""
    sampling_rounds: tuple[int, ...] = (1, 4)
    """MPPI and CEM improve a plan this many times per control step"""
    starts: int = 4
    """every method is run from this many starts"""
    length: float = 1.0
    """a run lasts this many times the length set for each task"""
    events: bool = False
    """whether derivatives see that contacts begin earlier or later (`Softening.saltation`)"""
    reach: float = 0.02
    """derivatives feel contacts from this distance, m"""
    seed: int = 0
    """random seed of the starts and samples"""
    quick: bool = False
    """one task, short runs"""

    def __post_init__(self) -> None:
        for name in ("tasks", "methods"):
            if not getattr(self, name):
                raise ValueError(f"--{name}: expected at least one")
        for name in ("rounds", "samples", "sampling_rounds"):
            if not getattr(self, name) or min(getattr(self, name)) < 1:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected at least 1")
        if not self.proposals or min(self.proposals) < 0:
            raise ValueError(f"--proposals: got {self.proposals}, expected at least 0")
        if self.starts < 1:
            raise ValueError(f"--starts: got {self.starts}, expected at least 1")
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
    behind = box - 0.1 * miss / (distance(miss) + 0.02)
    place = 4.0 * distance(miss) + 0.5 * (1.0 - jnp.cos(angle))
    return place + 0.5 * distance(finger - behind) + 0.01 * action @ action


def distance(x: Float[Array, "2"]) -> Float[Array, ""]:
    """Of a vector, m, without its kink: quadratic below 1 cm."""
    return jnp.sqrt(x @ x + 1e-4) - 1e-2


def hop(env: Env, x: X, action: Array, goal: Array) -> Float[Array, ""]:
    """Forward at 1 m/s, the torso high and upright."""
    speed = 0.5 * (x.qvel[0] - goal[0]) ** 2
    low = jnp.maximum(goal[1] - x.qpos[1], 0.0)
    return speed + 10.0 * low**2 + 2.0 * x.qpos[2] ** 2 + 0.01 * action @ action


class Setup(NamedTuple):
    """A task, its length, and the noise of sampled actions that suits it."""

    make: Callable[[], Env]
    cost: Callable
    horizon: int
    length: int  # control steps of a run
    spread: float
    hold: float


SETUPS: dict[str, Setup] = {
    "cartpole": Setup(lambda: envs.make("cartpole"), swing_up, 40, 90, 1.0, 0.9),
    "planar_push": Setup(lambda: envs.make("planar_push"), push, 20, 60, 0.5, 0.8),
    "hopper": Setup(
        lambda: envs.make(
            "hopper", frame_skip=4, options={"timestep": 0.005, "integrator": "implicitfast"}
        ),
        hop,
        20,
        30,
        0.4,
        0.8,
    ),
}


def make_task(args: Args, name: str, method: str) -> Task:
    """The task; derivatives alone feel contacts from a distance, and see when they begin."""
    setup = SETUPS[name]
    soft = softsim.Softening(reach=jnp.asarray(args.reach), gradient_only=True, events=args.events)
    goal = jnp.array([1.0, 1.2]) if name == "hopper" else jnp.zeros(2)
    softening = softsim.Softening.hard() if method in SAMPLING else soft
    return Task(setup.make(), setup.cost, goal, setup.horizon, softening)


def make_planner(method: str, setup: Setup, samples: int) -> Planner:
    """The planner of a name."""
    match method:
        case "mppi":
            return mppi(samples, setup.spread, hold=setup.hold)
        case "cem":
            return cem(samples, setup.spread, hold=setup.hold)
        case _:
            planner = shooting() if method == "shooting" else ilqr()
            return proposing(planner, samples, setup.spread, setup.hold) if samples else planner


def make_run(task: Task, planner: Planner, length: int) -> Callable:
    """(key, rounds) -> costs (length,) and positions (length, nq) of a controlled run."""

    def run(key: PRNGKeyArray, rounds: Array) -> tuple[Array, Array]:
        for_start, for_plan = jax.random.split(key)
        state = task.env.reset(for_start)
        goal = state.info.get("target", task.goal)
        aimed = Task(task.env, task.cost, goal, task.horizon, task.softening)
        x = X(state.data.qpos, state.data.qvel, jnp.zeros_like(state.data.qvel))
        plan = jnp.zeros((task.horizon, task.env.action_size))

        def control(carry: tuple, key: PRNGKeyArray) -> tuple:
            x, plan, memory = carry

            def improve(i: Array, known: tuple) -> tuple:
                plan, memory = known
                return planner.improve(aimed, x, plan, memory, jax.random.fold_in(key, i))

            plan, memory = jax.lax.fori_loop(0, rounds, improve, (plan, memory))
            x = aimed.advance(x, plan[0])
            cost = aimed.stage(x, plan[0])
            plan = jnp.concatenate([plan[1:], plan[-1:]])
            return (x, plan, planner.shift(memory)), (cost, x.qpos)

        keys = jax.random.split(for_plan, length)
        return jax.lax.scan(control, (x, plan, planner.start(task)), keys)[1]

    return jax.jit(run)


class Record(NamedTuple):
    """Runs of one method with one amount of work."""

    task: str
    method: str
    samples: int  # in a round; for gradients, proposals
    rounds: int
    cost: float  # mean over the run and the starts
    spread: float  # standard deviation over the starts
    steps: int  # simulated physics steps per control step
    seconds: float  # of computing, per control step
    real_time: float  # simulated time / computing time

    @property
    def planner(self) -> str:
        """The method, and how many plans gradients begin from."""
        proposed = self.samples and self.method not in SAMPLING
        return f"{self.method} with {self.samples} proposals" if proposed else self.method


def measure(args: Args, name: str, method: str, bar: _run.Progress) -> list[Record]:
    """All amounts of work of one method on one task."""
    setup = SETUPS[name]
    task = make_task(args, name, method)
    amounts = dict.fromkeys(args.proposals, args.rounds)
    if method in SAMPLING:
        amounts = dict.fromkeys(args.samples, args.sampling_rounds)
    length = max(2, round(args.length * setup.length))
    keys = jax.random.split(jax.random.key(args.seed), args.starts)
    total = sum(len(rounds) for rounds in amounts.values())
    bar_task = bar.add_task(f"{name}, {method}", total=total, status="compiling")
    records = []
    for samples, all_rounds in amounts.items():
        planner = make_planner(method, setup, samples)
        run = make_run(task, planner, length)
        jax.block_until_ready(run(keys[0], jnp.asarray(1)))
        for rounds in all_rounds:
            begin = clock()
            found = [run(key, jnp.asarray(rounds))[0] for key in keys]
            costs = np.array([np.asarray(jax.block_until_ready(cost)).mean() for cost in found])
            seconds = (clock() - begin) / (length * args.starts)
            work = rounds * planner.work(task)
            records.append(
                Record(name, method, samples, rounds, costs.mean(), costs.std(), work, seconds,
                       task.env.dt / seconds)
            )  # fmt: skip
            bar.update(bar_task, advance=1, status=f"cost {costs.mean():.3g}")
    return records


def clock() -> float:
    """Seconds of computing: of the processor, or of the wall clock where others compute."""
    return time.process_time() if jax.default_backend() == "cpu" else time.perf_counter()


def steps_to(records: list[Record], cost: float) -> float:
    """Fewest simulated steps per control step with which a method reaches a cost."""
    return min((float(r.steps) for r in records if r.cost <= cost), default=float("inf"))


def front(records: list[Record]) -> list[Record]:
    """Those that no other is as cheap and as good as, cheapest first."""
    found: list[Record] = []
    for r in sorted(records, key=lambda r: (r.steps, r.cost)):
        if not found or r.cost < found[-1].cost:
            found.append(r)
    return found


def compare(args: Args, records: list[Record]) -> list[str]:
    """Each gradient method against MPPI: simulated steps for the same cost; equal time."""
    said = []
    for name in dict.fromkeys(r.task for r in records):
        of = lambda m: [r for r in records if r.task == name and r.method == m]  # noqa: B023
        if not of("mppi"):
            continue
        marks = front(of("mppi"))
        costs = ", ".join(f"{r.cost:.4g} ({r.steps} steps)" for r in marks)
        said.append(f"{name}: costs of MPPI, the best for its simulated steps: {costs}.")
        for method in ("shooting", "ilqr"):
            if not of(method):
                continue
            shares = ", ".join(f"{steps_to(of(method), r.cost) / r.steps:.2f}" for r in marks)
            low = min(of(method), key=lambda r: r.cost)
            said.append(
                f"{name}: {method} reaches them with {shares} of the steps (inf: not with the "
                f"rounds tried); its best is {low.cost:.4g} ({low.planner}, {low.steps} steps)."
            )
        said.append(f"{name}: {at_equal_time(args, of)}")
    return said


def at_equal_time(args: Args, of: Callable[[str], list[Record]]) -> str:
    """Best cost of every method within the time of MPPI's cheapest and dearest run."""
    said = []
    for limit in sorted({f(r.seconds for r in of("mppi")) for f in (min, max)}):
        run = [m for m in args.methods if of(m)]
        fair = [
            min((r for r in of(m) if r.seconds <= limit), key=lambda r: r.cost, default=None)
            for m in run
        ]
        costs = ", ".join(
            f"{r.planner} {r.cost:.3g}" if r is not None else f"{m} none so quick"
            for m, r in zip(run, fair)
        )
        said.append(f"at most {1e3 * limit:.3g} ms per control step, costs are {costs}")
    return "; ".join(said) + "."


def draw(path: Path, records: list[Record]) -> None:
    """Cost over simulated steps and over computing time, task by task."""
    tasks = list(dict.fromkeys(r.task for r in records))
    size = (3.6 * len(tasks), 6.0)
    with figure(path, nrows=2, ncols=len(tasks), figsize=size, sharey="col") as (_, axes):
        for column, name in zip(axes.T, tasks):
            lines: dict[str, list[Record]] = {}
            for r in records:
                if r.task == name:
                    lines.setdefault(r.planner, []).append(r)
            for label, some in lines.items():
                method, proposed = some[0].method, some[0].samples > 0
                color = COLORS[get_args(Method).index(method)]
                style = {"marker": "o", "ms": 4, "color": color, "label": label}
                style["ls"] = "none" if method in SAMPLING else "--" if proposed else "-"
                costs = [r.cost for r in some]  # of the same starts, whose spread says nothing here
                column[0].plot([r.steps for r in some], costs, **style)
                column[1].plot([1e3 * r.seconds for r in some], costs, **style)
            column[0].set_title(name)
            column[0].set_xlabel("simulated steps per control step")
            column[1].set_xlabel("computing time per control step (ms)")
            for panel in column:
                panel.set_xscale("log")
                panel.xaxis.set_minor_formatter("")  # they would overlap
        axes[0, 0].set_ylabel("mean cost of a run")
        axes[1, 0].set_ylabel("mean cost of a run")
        axes[0, 0].legend(fontsize=7)


def table(records: list[Record]) -> list[dict[str, str]]:
    """One row per amount of work."""
    return [
        {
            "task": r.task,
            "method": r.method,
            "samples": str(r.samples or ""),
            "rounds": str(r.rounds),
            "cost": f"{r.cost:.4g} ± {r.spread:.2g}",
            "steps": str(r.steps),
            "time": f"{1e3 * r.seconds:.1f} ms",
            "real-time factor": f"{r.real_time:.2g}",
        }
        for r in records
    ]


def left_behind(args: Args, made: dict[str, Any]) -> list[Record]:
    """Runs that a command with the same settings left in the folder when it was interrupted."""
    path = args.out / "metrics.json"
    before = json.loads(path.read_text()) if path.is_file() else {"findings": []}
    if "findings" in before:
        return []
    chosen = {"out": "", "tasks": "", "methods": ""}  # say only which runs there are, and where
    same = before["settings"] | chosen == made["settings"] | chosen
    same &= all(before[key] == made[key] for key in ("machine", "versions"))
    runs = [Record(**run) for run in before["runs"]] if same else []
    return [r for r in runs if r.task in args.tasks and r.method in args.methods]


def main(args: Args) -> None:
    """Run every method on every task; what an interrupted run has done is not done again."""
    if args.quick:
        args = replace(
            args, tasks=("cartpole",), rounds=(1, 2), proposals=(0, 3), samples=(16,),
            sampling_rounds=(1,), starts=1, length=0.1,
        )  # fmt: skip
    _run.open_folder(args.out)
    with jax.enable_x64(True), _run.progress() as bar:
        made = _run.provenance(args)
        records = left_behind(args, made)
        done = {(r.task, r.method) for r in records}
        for name in dict.fromkeys(args.tasks):
            for method in dict.fromkeys(args.methods):
                if (name, method) not in done:
                    records += measure(args, name, method, bar)
                    store(args.out, made, records)
    said = compare(args, records)
    store(args.out, {**made, "findings": said}, records)
    draw(args.out / "mpc.png", records)
    _run.print_table("Cost of controlled runs; steps and time per control step", table(records))
    print("\n".join(said))
    print(f"Written to {args.out}: metrics.json, mpc.csv, mpc.png")


def store(out: Path, made: dict[str, Any], records: list[Record]) -> None:
    """Write the runs so far."""
    _run.write_json(out / "metrics.json", {**made, "runs": [r._asdict() for r in records]})
    _run.write_csv(out / "mpc.csv", dict(zip(Record._fields, zip(*records))))


if __name__ == "__main__":
    _run.launch(Args, main, __doc__)
