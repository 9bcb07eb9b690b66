"""Policies trained by SHAC beside Brax's PPO: steps and time to a common return, and final returns.

Reads folders written by `python -m experiments.train` and `python -m experiments.bench.ppo`, and
compares those of one environment: the goal is 90 % of the best return that PPO reached (the mean
over its seeds). Adds to what is stored: NAME.csv
(the table), .md, .json, NAME_curves.csv (every evaluation) and .png.

Times are per seed and leave out evaluations and the start (what the first interval between
evaluations took beyond the median one, which is compilation). `experiments.train` trains its seeds
together, PPO one after the other: the time of the former is divided by the number of seeds (that
of the start is not).
Processor time is what to compare where other programs share the machine.

    python -m experiments.bench training --runs runs/train/cartpole-shac runs/bench/ppo
"""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from experiments import cli
from experiments.curves import limits
from experiments.figures import figure

RESULTS = Path(__file__).parent / "results"
AXES = {"env_steps": "environment steps", "cpu_seconds": "s of one processor, per seed"}


@dataclass(frozen=True)
class Args:
    """Options of the benchmark."""

    runs: Sequence[Path] = field(default=())
    """folders with returns.csv and metrics.json"""
    out: Path = RESULTS
    """folder of the results"""
    name: str = "training"
    """name of the files there"""
    goal: float = 0.9
    """share of PPO's best return"""


@dataclass
class Curves:
    """All seeds of one run: arrays of shape (seeds, evaluations); times as the module says."""

    env: str
    algo: str
    seeds: list[int]
    env_steps: np.ndarray
    seconds: np.ndarray
    cpu_seconds: np.ndarray
    returns: np.ndarray
    about: dict[str, Any]

    @property
    def name(self) -> tuple[str, str]:
        """What tells it from other runs."""
        return self.env, self.algo


def read(folder: Path) -> Curves:
    """One run.

    Raises:
        ValueError: the folder holds no finished run.
    """
    try:
        rows = _rows(folder / "returns.csv")
        metrics = json.loads((folder / "metrics.json").read_text())
    except OSError as error:
        raise ValueError(f"--runs {folder}: no finished run ({error.strerror})") from error
    seeds = sorted({int(row["seed"]) for row in rows})
    columns = {
        name: np.array([[float(r[name]) for r in rows if int(r["seed"]) == s] for s in seeds])
        for name in ("env_steps", "seconds", "cpu_seconds", "return")
    }
    together = "algorithm" in metrics
    start = {}
    for name in ("seconds", "cpu_seconds"):
        times, start[name] = without_start(columns[name])
        columns[name] = times / (len(seeds) if together else 1)
    about = {"start": start, "check": metrics.get("check", {}), "command": metrics["command"]}
    about |= {key: metrics[key] for key in ("machine", "versions", "algorithm") if key in metrics}
    settings = metrics["settings"]
    algo = _label(metrics["algo"], metrics["algorithm"]["softness"]) if together else "ppo"
    returns = columns.pop("return")
    return Curves(settings["env"], algo, seeds, **columns, returns=returns, about=about)


def without_start(times: np.ndarray) -> tuple[np.ndarray, float]:
    """Times (seeds, evaluations) without compilation, and how long that took on average."""
    intervals = np.diff(times, axis=1)
    start = np.maximum(0.0, intervals[:, :1] - np.median(intervals[:, 1:], axis=1, keepdims=True))
    return np.concatenate([times[:, :1], times[:, 1:] - start], axis=1), float(start.mean())


def _label(algo: str, softness: str) -> str:
    """shac, the softening's name, and its reach where it has one."""
    preset, reach = (
        re.search(rf"{name}='?([\w.]+)", softness) for name in ("(?:softening|preset)", "reach")
    )
    assert preset and reach
    far = f", reach {reach[1]} m" if preset[1] != "hard" and float(reach[1]) else ""
    return f"{algo} {preset[1].replace('_', '-')}{far}"


def stored(out: Path, name: str) -> list[Curves]:
    """The runs that earlier calls have stored."""
    if not (out / f"{name}.json").exists():
        return []
    abouts = json.loads((out / f"{name}.json").read_text())["about"]
    rows = _rows(out / f"{name}_curves.csv")
    runs = []
    for about in abouts:
        own = [r for r in rows if (r["env"], r["algo"]) == (about["env"], about["algo"])]
        seeds = sorted({int(r["seed"]) for r in own})
        column = lambda key: np.array(
            [[float(r[key]) for r in own if int(r["seed"]) == s] for s in seeds]  # noqa: B023
        )
        times = (column("env_steps"), column("seconds"), column("cpu_seconds"))
        runs.append(Curves(about["env"], about["algo"], seeds, *times, column("return"), about))
    return runs


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def first(curve: np.ndarray, goal: float, axis: np.ndarray) -> float:
    """Where on `axis` a learning curve first reaches `goal`; infinity if never."""
    reached = np.flatnonzero(curve >= goal)
    return float(axis[reached[0]]) if reached.size else float("inf")


def goal_of(ppo: Curves, share: float) -> float:
    """`share` of the best return of PPO, the mean over seeds; as far below one that is negative."""
    best = ppo.returns.max(axis=1).mean()
    return float(best - (1 - share) * abs(best))


def row(run: Curves, goal: float) -> dict[str, Any]:
    """The table's line of one run."""
    reach = lambda axis: [first(c, goal, a) for c, a in zip(run.returns, axis)]
    to_steps = reach(run.env_steps)
    check = run.about["check"]
    mean = lambda name: float(np.mean(check[name])) if check.get(name) else float("nan")
    final = run.returns[:, -1]
    return {
        "env": run.env,
        "algo": run.algo,
        "seeds": len(final),
        "goal": goal,
        "reached": int(np.isfinite(to_steps).sum()),
        "steps to goal": float(np.median(to_steps)),
        "CPU s to goal": float(np.median(reach(run.cpu_seconds))),
        "wall s to goal": float(np.median(reach(run.seconds))),
        "steps": float(run.env_steps[0, -1]),
        "CPU s": float(run.cpu_seconds[:, -1].mean()),
        "CPU s of the start": run.about["start"]["cpu_seconds"],
        "final return": float(final.mean()),
        "its std": float(final.std()),
        "best return": float(run.returns.max(axis=1).mean()),
        "softsim": mean("softsim"),
        "MuJoCo C": mean("mujoco_c"),
        "MuJoCo C, published physics": mean("mujoco_c_published"),
    }


def _shown(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
    show = lambda x: x if isinstance(x, str) else (f"{x:,.4g}" if np.isfinite(x) else "-")
    return [{name: show(value) for name, value in row.items()} for row in rows]


def draw(path: Path, runs: list[Curves], goals: dict[str, float]) -> None:
    """Return against steps and processor time, one row of panels per environment.

    The axes are linear up to the second evaluation (the first is at zero), then logarithmic.
    """
    names = list(dict.fromkeys(run.env for run in runs))
    size = (8, 2.8 * len(names))
    with figure(path, nrows=len(names), ncols=2, figsize=size, sharey="row") as (_, axes):
        for line, name in zip(axes, names):
            for ax, (axis, label) in zip(line, AXES.items()):
                for i, run in enumerate(r for r in runs if r.env == name):
                    x = getattr(run, axis)
                    ax.plot(x.T, run.returns.T, color=f"C{i}", alpha=0.25, lw=0.7)
                    middle = np.median(run.returns, axis=0)
                    title = f"{run.algo} ({len(run.seeds)} seeds)"
                    ax.plot(x.mean(axis=0), middle, color=f"C{i}", label=title)
                if name in goals:
                    ax.axhline(goals[name], color="grey", ls=":", lw=1, label="goal")
                ax.set_xlabel(label)
                second = min(getattr(r, axis)[:, :2].max() for r in runs if r.env == name)
                ax.set_xscale("symlog", linthresh=second or 1.0)
                ax.set_xlim(left=0)
            line[0].set_ylabel(f"{name}: return")
            line[0].set_ylim(*limits([run.returns for run in runs if run.env == name]))
            line[0].legend(loc="upper left", fontsize=7)


def store(out: Path, args: Args, runs: list[Curves]) -> list[dict[str, Any]]:
    """Write every file; returns the rows of the table."""
    goals = {run.env: goal_of(run, args.goal) for run in runs if run.algo == "ppo"}
    rows = [row(run, goals.get(run.env, float("inf"))) for run in runs]
    cli.write_csv(out / f"{args.name}.csv", {key: [r[key] for r in rows] for key in rows[0]})
    curves = [
        dict(zip(("env", "algo", "seed", *AXES, "seconds", "return"), (*run.name, seed, *values)))
        for run in runs
        for seed, *columns in zip(
            run.seeds, run.env_steps, run.cpu_seconds, run.seconds, run.returns
        )
        for values in zip(*columns)
    ]
    table = {key: [c[key] for c in curves] for key in curves[0]}
    cli.write_csv(out / f"{args.name}_curves.csv", table)
    about = [{"env": r.env, "algo": r.algo} | r.about for r in runs]
    data = {**cli.provenance(args), "goals": goals, "rows": rows, "about": about}
    cli.write_json(out / f"{args.name}.json", data)
    cli.write_markdown(out / f"{args.name}.md", _shown(rows))
    draw(out / f"{args.name}.png", runs, goals)
    return rows


def main(args: Args) -> None:
    """Add the runs to what is stored."""
    if not args.runs:
        raise ValueError("--runs: got none, expected folders written by experiments.train")
    out = cli.open_folder(args.out)
    new = [read(Path(folder)) for folder in args.runs]
    names = {run.name for run in new}
    runs = [run for run in stored(out, args.name) if run.name not in names] + new
    runs.sort(key=lambda run: run.name)
    for line in _shown(store(out, args, runs)):
        print(", ".join(f"{name} {value}" for name, value in line.items() if value != "-"))
