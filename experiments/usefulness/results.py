"""What the searches found: numbers and files."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from experiments import cli
from experiments.usefulness.figures import draw_landscapes, draw_success
from experiments.usefulness.search import Step
from experiments.usefulness.settings import Args
from experiments.usefulness.tasks import GOALS


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
