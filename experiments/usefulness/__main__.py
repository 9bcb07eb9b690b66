"""Three tasks in which nothing touches at the start, so that hard contact has no gradient at all.

A cue ball must hit another, which must stop at a point; a throw must hit a box, which must slide to
a place; a finger must reach a box and push it there. Each loss is that of the pushed object alone.
From the same random starts, all with a hard gradient of exactly zero, and on the same budget of
simulations (a gradient charged as four) Adam follows hard, event-aware ("saltation"), soft and
straight-through gradients, all but the first with contact felt from a distance, and the
cross-entropy method (CEM) follows none. A search that is stuck begins anew at another such start,
within its budget. Every score is that of hard contacts.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree
from mujoco import mjx

import softsim
from experiments import cli
from experiments.usefulness.figures import draw_landscapes, draw_success

Method = Literal["hard", "saltation", "soft", "straight_through", "cem"]
TaskName = Literal["billiard", "throw", "finger"]
MODELS = Path(__file__).parents[1] / "models"
# A gradient runs a simulation once and transposes it, taken as three times the work.
GRADIENT_COST = 4
POPULATION, ELITE = 16, 4  # of CEM
CANDIDATES = 20  # random starts drawn for each that is kept
PATIENCE = 120  # simulations in which a search must halve its squared miss, or solve the task


@dataclass(frozen=True)
class Args:
    """Settings of the experiment."""

    out: Path = Path("runs/usefulness")
    """folder for metrics.json, CSV and figures"""
    tasks: tuple[TaskName, ...] = get_args(TaskName)
    """the tasks to be solved"""
    methods: tuple[Method, ...] = get_args(Method)
    """hard, saltation, soft and straight_through follow four gradients, cem none; saltation feels
    contacts from a distance too"""
    starts: int = 20
    """every task starts from this many random states, all with a hard gradient of zero"""
    iterations: int = 100
    """number of gradient steps; CEM gets as many simulations"""
    learning_rate: float = 0.1
    """learning rate of Adam at the start, in spreads of the starts; it falls to zero as a cosine"""
    softness: float = 0.05
    """width of the switches between features of the shapes, relative to their size"""
    reach: float = 1.0
    """soft gradients feel contacts from this distance, m"""
    seed: int = 0
    """random seed of the starts and of CEM"""
    quick: bool = False
    """two starts and four steps, to see that everything works"""

    def __post_init__(self) -> None:
        for name in ("starts", "iterations", "learning_rate", "softness", "reach"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected more than 0")
        if not self.tasks or not self.methods:
            raise ValueError("--tasks and --methods: expected at least one each")


class Goal(NamedTuple):
    """What is chosen and what should come of it.

    Attributes:
        model: file name in `models`.
        horizon: s.
        struck: dofs whose velocity at the start is chosen (m/s).
        knots: how many controls per actuator are chosen, each held for an equal share of the time.
        mean: what is chosen at x = 0.
        spread: its change per unit of x; starts are normal in x.
        moved: coordinates of the object.
        target: m, where these should end, at rest.
        tolerance: m, within which a task is solved.
    """

    model: str
    horizon: float
    struck: tuple[int, ...]
    knots: int
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    moved: tuple[int, ...]
    target: tuple[float, ...]
    tolerance: float


GOALS: dict[str, Goal] = {
    "billiard": Goal("pool.xml", 1.5, (0, 1), 0, (2.0, 0.0), (0.8, 0.8), (2, 3), (0.25, 0.1), 0.02),
    "throw": Goal("toss.xml", 0.8, (0, 1), 0, (1.5, 0.0), (0.6, 1.0), (2,), (0.2,), 0.02),
    "finger": Goal("finger.xml", 1.0, (), 4, (0.0,) * 8, (0.1,) * 8, (2,), (0.06,), 0.01),
}


class Task(eqx.Module):
    """A goal with its model; `x` are the numbers to choose, in spreads of the starts."""

    model: mjx.Model
    data: mjx.Data
    goal: Goal = eqx.field(static=True)
    steps: int = eqx.field(static=True)

    def run(self, x: Float[Array, " n"], soft: softsim.Softening):
        """The trajectory."""
        chosen = jnp.array(self.goal.mean) + jnp.array(self.goal.spread) * x
        struck = np.array(self.goal.struck, int)
        qvel = self.data.qvel.at[struck].set(chosen[: len(struck)])
        knots = chosen[len(struck) :].reshape(self.goal.knots, self.model.nu)
        held = np.arange(self.steps) * self.goal.knots // self.steps
        ctrl = knots[held] if self.goal.knots else jnp.zeros((self.steps, self.model.nu))
        return softsim.rollout(self.model, self.data.replace(qvel=qvel), ctrl, soft)[1]

    def loss(self, x: Float[Array, " n"], soft: softsim.Softening):
        """Squared miss, and what the object moves in a tenth of a second, in tolerances squared.

        Returns:
            The loss, and the miss (m).
        """
        end, moved = self.run(x, soft), np.array(self.goal.moved)
        miss = end.qpos[-1, moved] - jnp.array(self.goal.target)
        drift = 0.1 * end.qvel[-1, moved]
        loss = (miss @ miss + drift @ drift) / self.goal.tolerance**2
        return loss, jnp.sqrt(jax.lax.stop_gradient(miss @ miss))


def make_task(name: str) -> Task:
    """The task at its start."""
    goal = GOALS[name]
    mj_model = mujoco.MjModel.from_xml_path(str(MODELS / goal.model))
    model = softsim.put_model(mj_model)
    data = softsim.make_data(model)
    if mj_model.nkey:
        data = data.replace(qpos=jnp.asarray(mj_model.key_qpos[0], data.qpos.dtype))
    return Task(model, data, goal, round(goal.horizon / mj_model.opt.timestep))


class Step(NamedTuple):
    """One step of a search from every start at once."""

    x: Float[Array, "starts n"]
    miss: Float[Array, " starts"]
    cost: int  # simulations per start


@dataclass
class Result:
    """What one method found on one task, so far."""

    task: str
    method: str
    steps: list[Step] = field(default_factory=list)
    seconds: float = 0.0

    def cost(self) -> np.ndarray:
        """Simulations per start after each step: (steps,)."""
        return np.cumsum([step.cost for step in self.steps])

    def best_miss(self) -> Float[np.ndarray, "steps starts"]:
        """m, the smallest miss so far."""
        return np.minimum.accumulate([np.asarray(step.miss) for step in self.steps], axis=0)

    def solved(self) -> Float[np.ndarray, " steps"]:
        """Share of the starts solved so far."""
        return np.mean(self.best_miss() < GOALS[self.task].tolerance, axis=1)

    def best(self, start: int) -> Float[np.ndarray, " n"]:
        """The x of the smallest miss from one start."""
        found = np.argmin([float(step.miss[start]) for step in self.steps])
        return np.asarray(self.steps[found].x[start])


def dead_starts(task: Task, args: Args, gradient: Callable) -> Float[Array, "all n"]:
    """Random starts from which the object does not move and the hard gradient is exactly zero,
    at least as many as are wanted.

    Raises:
        ValueError: too few were found.
    """
    shape = (CANDIDATES * args.starts, len(task.goal.mean))
    x = jax.random.normal(jax.random.key(args.seed), shape)
    _, _, slope = gradient(x, softsim.Softening.hard())
    dead = np.flatnonzero(np.all(np.asarray(slope) == 0, axis=1))
    if len(dead) < args.starts:
        raise ValueError(f"{task.goal.model}: only {len(dead)} starts without a gradient")
    return x[dead]


class Restarts:
    """Which searches are stuck, and where they begin anew."""

    def __init__(self, pool: Float[Array, "all n"], tolerance: float, seed: int) -> None:
        self.pool, self.tolerance = pool, tolerance
        self.random = np.random.default_rng(seed)
        self.spent = 0
        self.best = self.mark = np.asarray(np.inf)

    def __call__(self, miss: Float[Array, " starts"], cost: int) -> Bool[np.ndarray, " starts"]:
        """The searches that have missed and not come closer for as long as patience lasts.

        Args:
            miss: m, of the last step, which took `cost` simulations per start.
        """
        self.best = np.minimum(self.best, miss)
        self.mark = np.where(np.isinf(self.mark), miss, self.mark)
        self.spent += cost
        if self.spent < PATIENCE:
            return np.zeros(len(self.best), bool)
        stuck = (self.best > self.tolerance) & (2 * self.best**2 > self.mark**2)
        self.best = np.where(stuck, np.inf, self.best)
        self.mark, self.spent = self.best, 0  # infinite: that of the next step counts
        return stuck

    def anew(self, count: int) -> Float[Array, "count n"]:
        """Other starts."""
        return self.pool[self.random.integers(len(self.pool), size=count)]


def replaced(stuck: Bool[np.ndarray, " starts"], fresh: PyTree, old: PyTree) -> PyTree:
    """`fresh` where a search is stuck, `old` elsewhere."""
    return jax.tree.map(lambda a, b: jax.vmap(jnp.where)(stuck, a, b), fresh, old)


def gradient_of(task: Task, batch: int) -> Callable:
    """(loss, miss, gradient) from many x, in batches of one size so that it compiles once."""
    run = jax.jit(jax.vmap(jax.value_and_grad(task.loss, has_aux=True), in_axes=(0, None)))

    def evaluate(
        x: Float[Array, "n k"], soft: softsim.Softening
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows = (np.arange(-(-len(x) // batch) * batch) % len(x)).reshape(-1, batch)
        parts = [run(x[row], soft) for row in rows]
        (loss, miss), slope = jax.tree.map(lambda *p: np.concatenate(p)[: len(x)], *parts)
        return loss, miss, slope

    return evaluate


def gradient_descent(
    args: Args, method: str, gradient: Callable, x: Float[Array, "starts n"], restarts: Restarts
) -> Iterator[Step]:
    """Adam from every start at once; soft steps are scored again with hard contacts, uncharged.

    Adam gets the direction of the gradient only, which changes by orders of magnitude as a contact
    comes into reach; one that is not finite counts as 0.
    """
    rate = optax.cosine_decay_schedule(args.learning_rate, args.iterations)
    optimiser = optax.chain(optax.zero_nans(), optax.adam(rate, b2=0.95))
    update = jax.jit(jax.vmap(optimiser.update))
    state = jax.vmap(optimiser.init)(x)
    for _ in range(args.iterations):
        _, miss, slope = gradient(x, softening(args, method))
        if method == "soft":
            miss = gradient(x, softsim.Softening.hard())[1]
        yield Step(x, miss, GRADIENT_COST)
        norm = np.linalg.norm(slope, axis=1, keepdims=True)
        change, state = update(jnp.asarray(slope / np.where(norm > 0, norm, 1.0)), state)
        x = x + change
        stuck = restarts(miss, GRADIENT_COST)
        fresh = restarts.anew(len(x))
        x, state = replaced(stuck, (fresh, jax.vmap(optimiser.init)(fresh)), (x, state))


def cross_entropy(
    task: Task, key: PRNGKeyArray, x: Float[Array, "starts n"], restarts: Restarts
) -> Iterator[Step]:
    """CEM around every start at once; a step is the best sample of a generation."""

    @jax.jit
    @jax.vmap
    def generation(key, mean, spread):
        sample = mean + spread * jax.random.normal(key, (POPULATION, mean.size))
        loss, miss = jax.vmap(lambda s: task.loss(s, softsim.Softening.hard()))(sample)
        order = jnp.argsort(loss)
        best = sample[order[:ELITE]]
        return best.mean(0), best.std(0) + 0.01, best[0], miss[order[0]]

    spread = jnp.ones_like(x)
    while True:
        key, now = jax.random.split(key)
        x, spread, best, miss = generation(jax.random.split(now, len(x)), x, spread)
        yield Step(best, miss, POPULATION)
        fresh = restarts.anew(len(x)), jnp.ones_like(x)
        x, spread = replaced(restarts(miss, POPULATION), fresh, (x, spread))


def softening(args: Args, method: str) -> softsim.Softening:
    """The preset of a gradient method."""
    match method:
        case "saltation":
            return softsim.Softening.saltation(args.reach)
        case "soft":
            return softsim.Softening.soft(args.softness, args.reach)
        case "straight_through":
            return softsim.Softening.straight_through(args.softness, args.reach)
    return softsim.Softening.hard()


def run_task(args: Args, name: str, bar) -> tuple[list[Result], dict]:
    """Every method on one task, and the landscape along a line through it."""
    task = make_task(name)
    gradient = gradient_of(task, args.starts)
    pool = dead_starts(task, args, gradient)
    x = pool[: args.starts]
    results = []
    for method in args.methods:
        started = time.perf_counter()
        restarts = Restarts(pool, task.goal.tolerance, args.seed)
        if method == "cem":
            steps = cross_entropy(task, jax.random.key(args.seed), x, restarts)
        else:
            steps = gradient_descent(args, method, gradient, x, restarts)
        result = Result(name, method)
        budget = args.iterations * GRADIENT_COST
        row = bar.add_task(f"{name} {method}", total=budget, status="")
        for step in steps:
            result.steps.append(step)
            bar.update(row, advance=step.cost, status=f"{result.solved()[-1]:.0%} solved")
            if result.cost()[-1] + step.cost > budget:
                break
        result.seconds = time.perf_counter() - started
        results.append(result)
    return results, landscape(args, gradient, results)


def landscape(args: Args, gradient: Callable, results: list[Result], points: int = 161) -> dict:
    """Loss and slope on the line from a start to the best that any method found from it."""
    best = min(results, key=lambda r: r.best_miss()[-1, 0])
    start, end = np.asarray(best.steps[0].x[0]), best.best(0)
    along = end - start
    t = np.linspace(-0.5, 1.5, points)
    x = jnp.asarray(start + t[:, None] * along, jnp.result_type(float))
    columns = {"t": t}
    for method in get_args(Method)[:-1]:
        loss, _, slope = gradient(x, softening(args, method))
        columns |= {f"loss {method}": loss, f"slope {method}": slope @ along}
    return columns


def write_results(args: Args, results: list[Result], lines: dict[str, dict]) -> None:
    """metrics.json, misses.csv, landscapes.csv and the figures."""
    metrics: dict[str, dict] = {}
    for r in results:
        metrics.setdefault(r.task, {})[r.method] = {
            "solved": r.solved()[-1],
            "miss_mm_median": 1e3 * np.median(r.best_miss()[-1]),
            "simulations_per_start": int(r.cost()[-1]),
            "seconds": r.seconds,
        }
    cli.write_json(args.out / "metrics.json", {**cli.provenance(args), "tasks": metrics})
    rows = [
        (r.task, r.method, int(cost), start, miss)
        for r in results
        for cost, misses in zip(r.cost(), r.best_miss())
        for start, miss in enumerate(misses)
    ]
    names = ("task", "method", "simulations", "start", "best_miss_m")
    cli.write_csv(args.out / "misses.csv", dict(zip(names, zip(*rows))))
    keys = list(next(iter(lines.values())))
    table = {"task": [name for name, line in lines.items() for _ in line["t"]]}
    table |= {k: np.concatenate([np.asarray(line[k]) for line in lines.values()]) for k in keys}
    cli.write_csv(args.out / "landscapes.csv", table)
    curves: dict[str, dict] = {}
    for r in results:
        curves.setdefault(r.task, {})[r.method] = (r.cost(), r.solved())
    draw_success(args.out / "success.png", curves)
    draw_landscapes(args.out / "landscapes.png", lines)


def print_results(results: list[Result]) -> None:
    """The table at the end."""
    rows: dict[str, dict[str, str]] = {}
    for r in results:
        row = rows.setdefault(r.task, {"task": r.task})
        row[r.method] = f"{r.solved()[-1]:.0%} ({1e3 * np.median(r.best_miss()[-1]):.0f} mm)"
    cli.print_table("Share of starts solved (median miss)", list(rows.values()))


def main(args: Args) -> None:
    """Run every method on every task and write what they found."""
    if args.quick:
        args = Args(args.out, args.tasks, args.methods, starts=2, iterations=4)
    cli.open_folder(args.out)
    results: list[Result] = []
    lines: dict[str, dict] = {}
    with cli.progress() as bar:
        for name in args.tasks:
            found, lines[name] = run_task(args, name, bar)
            results += found
            write_results(args, results, lines)
    print_results(results)
    print(f"Written to {args.out}: metrics.json, misses.csv, landscapes.csv, two figures")


if __name__ == "__main__":
    cli.launch(Args, main, __doc__)
