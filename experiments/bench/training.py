"""Policies trained by SHAC beside Brax's PPO: steps and time to a common return, and final returns.

Reads folders written by `python -m experiments.train` and `python -m experiments.bench.ppo`, and
compares those of one environment: the goal is 90 % of the best return that PPO reached (the mean
over its seeds), counted from the return of an untrained policy. Writes training.csv, .json, .md and
.png.

    python -m experiments.bench training --runs runs/train/cartpole-shac runs/bench/ppo
"""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from experiments import _run
from experiments._figures import figure

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Args:
    """Options of the benchmark."""

    runs: Sequence[Path] = field(default=())
    """folders with returns.csv and metrics.json"""
    out: Path = RESULTS
    """folder of the results"""
    goal: float = 0.9
    """share of PPO's best gain over an untrained policy"""


@dataclass
class Curves:
    """All seeds of one run: arrays of shape (seeds, evaluations)."""

    env: str
    algo: str
    steps: np.ndarray
    seconds: np.ndarray
    returns: np.ndarray
    metrics: dict[str, Any]


def read(folder: Path) -> Curves:
    """One run.

    Raises:
        ValueError: the folder holds no finished run.
    """
    try:
        with (folder / "returns.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        metrics = json.loads((folder / "metrics.json").read_text())
    except OSError as error:
        raise ValueError(f"--runs {folder}: no finished run ({error.strerror})") from error
    settings = metrics["settings"]
    seeds = sorted({row["seed"] for row in rows})
    columns = [
        np.array([[float(row[name]) for row in rows if row["seed"] == seed] for seed in seeds])
        for name in ("env_steps", "seconds", "return")
    ]
    algo = settings.get("algo", "ppo")
    soft = metrics.get("algorithm", {}).get("softness", "")
    preset = next((p for p in ("straight_through", "soft", "hard") if f"'{p}'" in soft), "")
    steps, seconds, returns = columns
    name = f"{algo} {preset}".strip()
    return Curves(settings["env"], name, steps, seconds, returns, metrics)


def first(curve: np.ndarray, goal: float, axis: np.ndarray) -> float:
    """Where on `axis` a learning curve first reaches `goal`; infinity if never."""
    reached = np.flatnonzero(curve >= goal)
    return float(axis[reached[0]]) if reached.size else float("inf")


def row(run: Curves, goal: float) -> dict[str, Any]:
    """The table's line of one run."""
    to_steps = [first(c, goal, s) for c, s in zip(run.returns, run.steps)]
    to_seconds = [first(c, goal, t) for c, t in zip(run.returns, run.seconds)]
    check = run.metrics.get("check", {})
    mean = lambda name: float(np.mean(check[name])) if check.get(name) else float("nan")
    final = run.returns[:, -1]
    return {
        "env": run.env,
        "algo": run.algo,
        "seeds": len(final),
        "reached": int(np.isfinite(to_steps).sum()),
        "steps to goal (median)": float(np.median(to_steps)),
        "seconds to goal (median)": float(np.median(to_seconds)),
        "steps": float(run.steps[0, -1]),
        "seconds": float(run.seconds[0, -1]),
        "final return (mean)": float(final.mean()),
        "final return (std)": float(final.std()),
        "softsim": mean("softsim"),
        "MuJoCo C": mean("mujoco_c"),
        "MuJoCo C, published physics": mean("mujoco_c_published"),
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table for people."""
    show = lambda x: x if isinstance(x, str) else ("-" if not np.isfinite(x) else f"{x:,.4g}")
    names = list(rows[0])
    lines = ["| " + " | ".join(names) + " |", "|" + " --- |" * len(names)]
    lines += ["| " + " | ".join(show(r[name]) for name in names) + " |" for r in rows]
    return "\n".join(lines) + "\n"


def draw(path: Path, runs: list[Curves], goals: dict[str, float]) -> None:
    """Return against steps and seconds, one row of panels per environment."""
    names = list(dict.fromkeys(run.env for run in runs))
    with figure(path, nrows=len(names), ncols=2, figsize=(8, 2.8 * len(names))) as (_, axes):
        for line, name in zip(axes, names):
            own = [run for run in runs if run.env == name]
            for ax, axis in zip(line, ("steps", "seconds")):
                for i, run in enumerate(own):
                    x = getattr(run, axis)[0]
                    color = f"C{i}"
                    ax.plot(x, run.returns.T, color=color, alpha=0.25, lw=0.7)
                    ax.plot(x, run.returns.mean(axis=0), color=color, label=run.algo)
                if name in goals:
                    ax.axhline(goals[name], color="grey", ls=":", lw=1)
                ax.set_xlabel("environment steps" if axis == "steps" else "s of training")
            line[0].set_ylabel(f"{name}: return")
            line[0].set_xscale("symlog", linthresh=1e4)
        axes[0, 0].legend(loc="lower right")


def main(args: Args) -> None:
    """Compare the runs and write the tables."""
    if not args.runs:
        raise ValueError("--runs: got none, expected folders written by experiments.train")
    runs = [read(Path(folder)) for folder in args.runs]
    goals = {}
    for run in runs:
        if run.algo == "ppo":
            start = run.returns[:, 0].mean()
            best = run.returns.max(axis=1).mean()
            goals[run.env] = start + args.goal * (best - start)
    rows = [row(run, goals.get(run.env, float("inf"))) for run in runs]
    out = _run.open_folder(args.out)
    _run.write_csv(out / "training.csv", {name: [r[name] for r in rows] for name in rows[0]})
    sources = [run.metrics["command"] for run in runs]
    _run.write_json(
        out / "training.json",
        {**_run.provenance(args), "goals": goals, "runs": rows, "commands": sources},
    )
    _run.write_with(out / "training.md", lambda file: file.write_text(markdown(rows)))
    draw(out / "training.png", runs, goals)
    print(markdown(rows))
