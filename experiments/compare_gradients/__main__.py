"""Sweep one input of any MJCF model and compare the gradients that simulation gives of an outcome.

The outcome is the final position of a body or site (a weighted sum of its coordinates). Its
derivative with respect to the input is computed by each method (hard, saltation, soft,
straight_through) and by central finite differences of the hard simulation. A hard simulation with
steps `refine` times finer is the reference. Where gradients vanish, jump or disagree is said in
words. All in float64.

Without --model, a ball rolls into another on a rail, and the speed of the first is swept. Each
method compiles one program, which takes most of the time for a robot (what is being compiled is
shown, with the seconds); --quick is a first look with few points and two methods.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import get_args

import jax
import numpy as np

import softsim
from experiments import cli
from experiments.compare_gradients.figures import Results, draw
from experiments.compare_gradients.findings import findings
from experiments.compare_gradients.problem import Problem, make_problem
from experiments.compare_gradients.settings import Args, Method
from experiments.compare_gradients.sweep import (
    Sweep,
    central_differences,
    fine_reference,
    make_sweep,
    outcome,
    softening,
)
from softsim.convergence import stopped_short

QUICK: tuple[Method, ...] = ("hard", "saltation")


def write_results(args: Args, problem: Problem, results: Results) -> list[str]:
    """metrics.json, gradients.csv and gradients.png; returns the findings."""
    differences, reference, curves = results.differences, results.reference, results.curves
    about = (problem.input.unit, results.causes)
    said = findings(problem.x, curves, differences, reference, *about)
    columns = {"input": problem.x, "differences": differences}
    for name, curve in {**curves, "reference": reference}.items():
        columns |= {f"{name}_outcome": curve.loss, f"{name}_gradient": curve.gradient}
    cli.write_csv(args.out / "gradients.csv", columns)
    apart = {
        name: {
            "from_differences": np.median(np.abs(curve.gradient - differences)),
            "from_reference": np.median(np.abs(curve.gradient - reference.gradient)),
            "not_finite": int(np.sum(~np.isfinite(curve.gradient))),
        }
        for name, curve in curves.items()
    }
    record = cli.provenance(args)
    record |= {"input": problem.input.name, "unit": problem.input.unit}
    record |= {"median_difference": apart, "findings": said}
    cli.write_json(args.out / "metrics.json", record)
    draw(args, problem, results)
    return said


def compute(args: Args, problem: Problem, say: Callable[[str], None]) -> Iterator[Results]:
    """The differences and the reference, then method by method; `say` tells what is going on."""
    methods = args.methods or (QUICK if args.quick else get_args(Method))

    def compiled(method: Method) -> Sweep:
        say(f"compiling {method}")
        begin = time.perf_counter()
        sweep = make_sweep(outcome(args, problem, softening(args, method)), args.points)
        say(f"{method}: compiled in {time.perf_counter() - begin:.0f} s; simulating")
        return sweep

    hard = compiled("hard")
    differences = central_differences(hard, problem.x)
    m, d, ctrl = problem.state
    causes = stopped_short(m, d.replace(ctrl=ctrl), softsim.Softening.hard(), args.steps)
    results = Results(differences, fine_reference(hard, problem.x, args.refine), causes)
    yield results
    for method in dict.fromkeys(methods):
        sweep = hard if method == "hard" else compiled(method)
        results.curves[method] = sweep(problem.x, 1)
        yield results


def main(args: Args) -> None:
    """Sweep the input by every method and write what came out."""
    if args.quick:
        args = replace(args, points=min(args.points, 9), refine=min(args.refine, 4))
    with jax.enable_x64(True), cli.progress() as bar:
        problem = make_problem(args)
        cli.open_folder(args.out)
        total = len(set(args.methods or (QUICK if args.quick else get_args(Method)))) + 1
        task = bar.add_task("sweeping", total=total, status="")

        def say(text: str) -> None:
            bar.update(task, status=text)
            bar.console.print(text)

        said: list[str] = []
        for results in compute(args, problem, say):
            before, said = len(said), write_results(args, problem, results)
            print("\n".join(said[before:]), end="\n" * (len(said) > before), flush=True)
            bar.update(task, advance=1)
        bar.update(task, status="")
    print(f"Written to {args.out}: metrics.json, gradients.csv, gradients.png")


def command() -> None:
    """Run from the command line."""
    cli.launch(Args, main, __doc__)


if __name__ == "__main__":
    command()
