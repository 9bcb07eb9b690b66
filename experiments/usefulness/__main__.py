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
from collections.abc import Callable
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np

from experiments import cli
from experiments.usefulness.results import Result, print_results, write_results
from experiments.usefulness.search import (
    GRADIENT_COST,
    Restarts,
    cross_entropy,
    dead_starts,
    gradient_descent,
    gradient_of,
    softening,
)
from experiments.usefulness.settings import Args, Method
from experiments.usefulness.tasks import make_task


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
