"""The figure of an identification: errors before and after, parameters, and one trajectory."""

from pathlib import Path

import mujoco
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from experiments._figures import COLORS, figure
from experiments._sysid_report import Result
from experiments._validation import distances, predict


def draw(
    path: Path,
    result: Result,
    mj_model: mujoco.MjModel,
    fitted: mujoco.MjModel,
) -> None:
    """Four panels, written to `path`."""
    with figure(path, nrows=2, ncols=2, figsize=(9.0, 6.4)) as (_, axes):
        _errors(axes[0, 0], result, 0, 1e3, "mean distance over a trajectory (mm)")
        _errors(axes[0, 1], result, 1, 1.0, "mean turn over a trajectory (degrees)")
        _parameters(axes[1, 0], result)
        _one(axes[1, 1], result, mj_model, fitted)


def _errors(axes: Axes, result: Result, column: int, unit: float, label: str) -> None:
    """Share of trajectories below an error; nothing for a model that has no such motion."""
    if not result.before[:, column].any():
        axes.set_axis_off()
        return
    names = {
        "as_recorded": "as given, recorded start",
        "before": "as given",
        "after": "fitted",
        "refined": "refined",
        "peer": f"fitted by {result.peer.name}" if result.peer else "",
    }
    sets = {names[key]: errors for key, errors in result.errors().items()}
    for (name, errors), color in zip(sets.items(), COLORS):
        values = np.sort(unit * errors[:, column])
        share = (np.arange(len(values)) + 0.5) / len(values)
        dashed = "--" if name.startswith("fitted by") else "-"
        middle = np.median(values)
        axes.plot(values, share, dashed, color=color, label=f"{name}: median {middle:.3g}")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(left=axes.get_xlim()[0] / 3)  # room for the legend
    axes.set_xlabel(label)
    axes.set_ylabel("share of trajectories below")
    axes.set_title(result.judges())
    axes.legend(loc="upper left", fontsize=7)


def _parameters(axes: Axes, result: Result) -> None:
    """Fitted values relative to the start, with intervals."""
    table, sure = result.problem.table, result.sure
    start = np.concatenate([p.start for p in table.parameters])
    at = np.arange(table.size)[::-1]
    scale = np.where(start == 0, 1.0, start)
    middle, low, high = (x / scale for x in (sure.values, sure.low, sure.high))
    axes.errorbar(middle, at, xerr=[middle - low, high - middle], fmt="o", ms=4, capsize=3)
    if result.refined is not None:
        refined = np.asarray(table.values(result.refined.u)) / scale
        axes.plot(refined, at, "x", color=COLORS[3], label="refined")
        axes.legend()
    axes.axvline(1.0, color="black", lw=0.8)
    axes.set_yticks(at, table.labels)
    axes.set_xlabel("fitted value / start, with 95 % interval")
    axes.set_title("parameters")


def _one(
    axes: Axes,
    result: Result,
    mj_model: mujoco.MjModel,
    fitted: mujoco.MjModel,
) -> None:
    """Distance from the measured positions over time, of the trajectory of middle error."""
    order = np.argsort(result.best()[:, 0])
    trajectory = int(result.judged[order[len(order) // 2]])
    recording, backward = result.recording, result.problem.backward
    for name, model, color in (("as given", mj_model, COLORS[1]), ("found", fitted, COLORS[3])):
        positions = predict(model, recording, np.array([trajectory]), backward)[0]
        away = distances(model, recording, trajectory, positions)
        time = recording.dt * np.arange(1, len(away) + 1)
        axes.plot(time, 1e3 * away[:, 0], color=color, label=f"{name}: distance (mm)")
        axes.plot(time, away[:, 1], ":", color=color, label=f"{name}: turn (degrees)")
    axes.set_xlabel("time (s)")
    axes.set_ylabel("apart from the measurement")
    axes.set_title(f"trajectory {trajectory}, of middle error after the fit")
    axes.set_ylim(top=1.35 * axes.get_ylim()[1])  # room for the legend
    axes.legend(loc="upper left", fontsize=7, ncols=2)
