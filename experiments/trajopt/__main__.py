"""Throw a cube, or another body, so that it rests at a target on the table, after bouncing.

Six numbers are chosen, the velocity and the spin at release. Levenberg-Marquardt solves for them as
a nonlinear least-squares problem, with the derivative of the whole throw through every bounce: once
as automatic differentiation of the steps gives it ("hard"), once event-aware ("saltation"), which
also sees that a bounce comes earlier or later. The cross-entropy method (CEM) uses no derivative.
All start from the same random throws and get the same budget of simulated throws.
"""

import time
from collections.abc import Iterator
from dataclasses import replace

import jax
import numpy as np

from experiments import cli
from experiments.trajopt.results import Result, picture, print_results, write_results
from experiments.trajopt.search import GRADIENT_COST, Step, search
from experiments.trajopt.settings import Args
from experiments.trajopt.throw import make_throw


def run_method(args: Args, result: Result, steps: Iterator[Step], bar: cli.Progress) -> None:
    """Take steps until the budget is spent, keeping each in `result`."""
    budget = args.iterations * GRADIENT_COST
    task = bar.add_task(result.method, total=budget, status="compiling")
    spent, begin = 0, time.perf_counter()
    for step in steps:
        spent += step.cost
        now = time.perf_counter()
        result.seconds.append(now - begin)
        begin = now
        result.steps.append(step)
        bar.update(task, completed=spent, status=f"median loss {np.median(step.loss):.3g}")
        if spent + step.cost > budget:
            break


def main(args: Args) -> None:
    """Run every method from the same starts and write what they found."""
    if args.quick:
        args = replace(args, starts=4, iterations=10, population=10)
    cli.open_folder(args.out)
    throw = make_throw(args)
    starts = jax.random.normal(jax.random.key(args.seed), (args.starts, 6))
    results: list[Result] = []
    try:
        with cli.progress() as bar:
            for method in dict.fromkeys(args.methods):
                results.append(Result(method))
                run_method(args, results[-1], search(throw, args, method, starts), bar)
    finally:
        write_results(args, throw, results)
    picture(args, throw, results)
    print_results(results)
    print(f"Written to {args.out}: metrics.json, losses.csv, throws.csv, losses.png, throws.png,")
    print("throws.gif")


def command() -> None:
    """Run from the command line."""
    cli.launch(Args, main, __doc__)


if __name__ == "__main__":
    command()
