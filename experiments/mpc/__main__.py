"""Model-predictive control: plans by gradients against plans by sampling, at equal computing time.

At every control a plan is improved by some rounds and its first control applied; the rest, shifted,
is where the next plan begins (warm start). Compared are the planners of `softsim.planning`:
gradient descent through the simulated plan (shooting), iLQR, MPPI and the cross-entropy method. The
first two are run with several numbers of rounds, from the plan there is and from the best of a few
noisy ones (`--proposals`); the others with several numbers of samples and of rounds. All have the
same starts: cost against simulated physics steps and against computing time,
and the real-time factor (simulated time / computing time).

Computing time is processor time on a CPU, so that other programs on the machine do not count, and
wall-clock time on other devices. The cheapest run of each task is drawn as a film, where MuJoCo can
render.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

import softsim
from experiments import cli
from experiments.mpc.findings import SAMPLING, Method, Record, compare, draw, table
from experiments.mpc.tasks import PROBLEMS, Problem, find
from softsim import planning


@dataclass(frozen=True)
class Args:
    """Settings of the comparison."""

    out: Path = Path("runs/mpc")
    """This folder receives metrics.json, mpc.csv, mpc.png and a film of each task."""
    tasks: tuple[str, ...] = tuple(PROBLEMS)
    """These tasks are controlled: cartpole, planar_push, hopper, or module:name of a `Problem` of
    yours (experiments/mpc/tasks.py says what that is)."""
    methods: tuple[Method, ...] = get_args(Method)
    """These planners are compared."""
    rounds: tuple[int, ...] = (1, 2, 3, 4)
    """Shooting and iLQR improve a plan this many times per control; each number is a run."""
    proposals: tuple[int, ...] = (0, 7)
    """Shooting and iLQR begin a round from the best of this many noisy plans; with 0 they begin
    from the last plan."""
    samples: tuple[int, ...] = (16, 64)
    """A round of MPPI and CEM draws this many plans."""
    sampling_rounds: tuple[int, ...] = (1, 4)
    """MPPI and CEM improve a plan this many times per control."""
    starts: int = 4
    """Every method is run from this many starts."""
    length: float = 1.0
    """A run lasts this many times the length that belongs to its task."""
    events: bool = False
    """Derivatives see that contacts begin earlier or later (`Softening.saltation`)."""
    reach: float = 0.02
    """Derivatives feel contacts from this distance on, m."""
    seed: int = 0
    """This number decides the starts and the samples."""
    quick: bool = False
    """One task is run, and briefly."""

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


class Best(NamedTuple):
    """The cheapest run of a task."""

    cost: float
    qpos: np.ndarray  # (length + 1, nq)
    period: float  # s, of a control


def make_planner(method: str, problem: Problem, samples: int) -> planning.Planner:
    """The planner of a name."""
    spread, hold = problem.spread, problem.hold
    match method:
        case "mppi":
            return planning.Mppi(samples, spread, hold=hold)
        case "cem":
            return planning.Cem(samples, spread, hold=hold)
        case _:
            planner = planning.Shooting() if method == "shooting" else planning.Ilqr()
            return planning.Proposing(planner, samples, spread, hold) if samples else planner


def make_run(
    args: Args, problem: Problem, method: str, planner: planning.Planner, length: int
) -> Callable[[PRNGKeyArray, Array], tuple[Array, Array]]:
    """(key, rounds) -> of a controlled run the costs (length,) of the state that each control led
    to, and the positions (length + 1, nq)."""
    soft = softsim.Softening(reach=jnp.asarray(args.reach), gradient_only=True, events=args.events)
    softening = softsim.Softening.hard() if method in SAMPLING else soft

    def run(key: PRNGKeyArray, rounds: Array) -> tuple[Array, Array]:
        for_start, for_plan = jax.random.split(key)
        task = replace(problem.task(for_start), softening=softening)
        controller = planning.Controller(task, planner, rounds)
        memory = controller.begin(jnp.zeros((problem.horizon, task.model.nu)))
        made = planning.control(controller, memory._replace(key=for_plan), length)
        after = jax.tree.map(lambda s: s[1:], made.path)
        return jax.vmap(task.stage)(after, made.ctrl), made.path.qpos

    return jax.jit(run)


def measure(
    args: Args, name: str, method: str, bar: cli.Progress, best: dict[str, Best]
) -> list[Record]:
    """All amounts of work of one method on one task; `best` keeps the cheapest run of a task."""
    problem = find(name)
    task = problem.task(jax.random.key(0))
    period = task.substeps * float(task.model.opt.timestep)
    amounts = dict.fromkeys(args.proposals, args.rounds)
    if method in SAMPLING:
        amounts = dict.fromkeys(args.samples, args.sampling_rounds)
    length = max(2, round(args.length * problem.length))
    keys = jax.random.split(jax.random.key(args.seed), args.starts)
    total = sum(len(rounds) for rounds in amounts.values())
    bar_task = bar.add_task(f"{name}, {method}", total=total, status="compiling")
    records = []
    for samples, all_rounds in amounts.items():
        planner = make_planner(method, problem, samples)
        run = make_run(args, problem, method, planner, length)
        jax.block_until_ready(run(keys[0], jnp.asarray(1)))
        for rounds in all_rounds:
            begin = clock()
            found = [jax.block_until_ready(run(key, jnp.asarray(rounds))) for key in keys]
            seconds = (clock() - begin) / (length * args.starts)
            costs = np.array([np.asarray(cost).mean() for cost, _ in found])
            cheapest = int(np.argmin(costs))
            if name not in best or costs[cheapest] < best[name].cost:
                best[name] = Best(costs[cheapest], np.asarray(found[cheapest][1]), period)
            work = rounds * planner.simulations(task) * problem.horizon * task.substeps
            records.append(
                Record(name, method, samples, rounds, costs.mean(), costs.std(), work, seconds,
                       period / seconds)
            )  # fmt: skip
            bar.update(bar_task, advance=1, status=f"cost {costs.mean():.3g}")
    return records


def clock() -> float:
    """Seconds of computing: of the processor, or of the wall clock where others compute."""
    return time.process_time() if jax.default_backend() == "cpu" else time.perf_counter()


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
    cli.open_folder(args.out)
    with jax.enable_x64(True), cli.progress() as bar:
        made = cli.provenance(args)
        records = left_behind(args, made)
        best: dict[str, Best] = {}
        done = {(r.task, r.method) for r in records}
        for name in dict.fromkeys(args.tasks):
            for method in dict.fromkeys(args.methods):
                if (name, method) not in done:
                    records += measure(args, name, method, bar, best)
                    store(args.out, made, records)
    said = compare(records)
    store(args.out, {**made, "findings": said}, records)
    draw(args.out / "mpc.png", records)
    cli.print_table("Cost of controlled runs; steps and time per control step", table(records))
    print("\n".join(said))
    for name, run in best.items():
        print(picture(args.out, name, run))
    print(f"Written to {args.out}: metrics.json, mpc.csv, mpc.png")


def picture(out: Path, name: str, best: Best) -> str:
    """A film of the cheapest run of a task; what to tell the user."""
    mj_model = find(name).mj_model
    if mj_model is None:
        return f"{name}: no film, since its Problem has no mj_model"
    try:
        file = softsim.render(mj_model, best.qpos, out / f"{name}.gif", dt=best.period)
        return f"{name}: film of the cheapest run, {file}"
    except softsim.RenderError as error:
        return f"{name}: no film: {error}"


def store(out: Path, made: dict[str, Any], records: list[Record]) -> None:
    """Write the runs so far."""
    cli.write_json(out / "metrics.json", {**made, "runs": [r._asdict() for r in records]})
    cli.write_csv(out / "mpc.csv", dict(zip(Record._fields, zip(*records))))


def command() -> None:
    """Run from the command line."""
    cli.launch(Args, main, __doc__)


if __name__ == "__main__":
    command()
