"""What a training leaves behind: tables of its progress, and learning curves."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import EngFormatter

from experiments import cli
from experiments.figures import figure
from softsim.learning import Report

PROGRESS, RETURNS = "progress.csv", "returns.csv"
RETURN = ("seed", "return", "return_std", "length")  # columns of the latter, of one seed


class Log:
    """progress.csv (every update) and returns.csv (every evaluation and seed).

    Attributes:
        tables: the rows of both, by file name.
        speed: environment steps per second of the latest update, of all seeds together.
    """

    def __init__(self, out: Path, resume: bool) -> None:
        self.out = out
        self.tables = {n: _rows(out / n) if resume else [] for n in (PROGRESS, RETURNS)}
        self.speed = 0.0
        self.last: Report | None = None

    def add(self, report: Report, seeds: Sequence[int]) -> None:
        """Add the rows of a report; those of an earlier run from there on are forgotten."""
        when = {
            "iteration": report.iteration,
            "env_steps": report.steps,
            "seconds": round(report.seconds, 3),
            "cpu_seconds": round(report.cpu_seconds, 3),
        }
        if self.last is None:
            for name, rows in self.tables.items():
                self.tables[name] = [r for r in rows if int(r["iteration"]) < report.iteration]
        else:
            steps = (report.steps - self.last.steps) * len(seeds)
            self.speed = steps / (report.seconds - self.last.seconds)
        if report.iteration:
            speed = {"steps_per_s": round(self.speed, 1)}
            self.tables[PROGRESS].append(when | speed | report.metrics)
        if report.evaluated:
            self.tables[RETURNS] += [
                when | dict(zip(RETURN, (seed, float(r.mean()), float(r.std()), float(n.mean()))))
                for seed, r, n in zip(seeds, report.returns, report.lengths)
            ]
            self.write()
        self.last = report

    def write(self) -> None:
        """Write both tables."""
        for name, rows in self.tables.items():
            if rows:
                cli.write_csv(self.out / name, {key: [r[key] for r in rows] for key in rows[0]})


def _rows(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def draw_curve(path: Path, title: str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Return against environment steps and against time: every seed, and their mean."""
    seeds = sorted({int(row["seed"]) for row in rows})
    table = {
        seed: np.array(
            [
                [float(row[k]) for k in ("env_steps", "seconds", "return")]
                for row in rows
                if int(row["seed"]) == seed
            ]
        )
        for seed in seeds
    }
    with figure(path, ncols=2, figsize=(8, 3), sharey=True) as (fig, axes):
        fig.suptitle(title)
        labels = ("environment steps per seed", "s of training, all seeds together")
        for column, (ax, label) in enumerate(zip(axes[0], labels)):
            for curve in table.values():
                ax.plot(curve[:, column], curve[:, 2], color="C0", alpha=0.35, lw=0.8)
            stacked = np.stack(list(table.values()))
            name = f"mean of {len(seeds)} seeds" if len(seeds) > 1 else "one seed"
            ax.plot(stacked[0, :, column], stacked[:, :, 2].mean(axis=0), color="C0", label=name)
            ax.set_xlabel(label)
        axes[0, 0].xaxis.set_major_formatter(EngFormatter(sep=""))
        axes[0, 0].set_ylabel("return of an episode")
        axes[0, 0].set_ylim(*limits([curve[None, :, 2] for curve in table.values()]))
        axes[0, 0].legend(loc="lower right")
    return path


def limits(returns: Sequence[np.ndarray]) -> tuple[float, float]:
    """Of an axis of returns (seeds, evaluations): an untrained policy's may lie far below it."""
    later = np.concatenate([r[:, min(1, r.shape[1] - 1) :].ravel() for r in returns])
    low, high = np.percentile(later, 2), later.max()
    margin = 0.05 * (high - low) + 1e-9
    return float(low - margin), float(high + margin)
