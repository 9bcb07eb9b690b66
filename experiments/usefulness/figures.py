"""Figures of `experiments.usefulness`: how many starts each method solved, and why."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments.figures import figure

STYLES = {
    "hard": ("C1", "-", "hard"),
    "saltation": ("C3", "-", "saltation"),
    "soft": ("C2", "-", "soft"),
    "straight_through": ("C0", "-", "straight-through"),
    "cem": ("C6", "--", "CEM"),
}


def draw_success(path: Path, curves: Mapping[str, Mapping[str, tuple]]) -> None:
    """Share of starts solved against simulations spent, one panel per task."""
    with figure(path, ncols=len(curves), figsize=(3.2 * len(curves), 3.0), sharey=True) as (
        fig,
        axes,
    ):
        for ax, (task, methods) in zip(axes[0], curves.items()):
            for method, (cost, solved) in methods.items():
                color, line, label = STYLES[method]
                ax.plot(cost, 100 * np.asarray(solved), color=color, ls=line, label=label)
            ax.set(title=task, xlabel="simulations per start", ylim=(-3, 103))
        axes[0, 0].set_ylabel("starts solved, %")
        fig.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=5)


def draw_landscapes(path: Path, lines: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Loss and its derivative along a line from a start (0) to a solution (1), per task."""
    size = (3.2 * len(lines), 5.0)
    with figure(path, nrows=2, ncols=len(lines), figsize=size, sharex=True) as (fig, axes):
        for column, (task, line) in zip(axes.T, lines.items()):
            for method in ("hard", "soft", "straight_through", "saltation"):
                color, style, label = STYLES[method]
                if method in ("hard", "soft"):  # the loss of the others is the hard one
                    column[0].plot(line["t"], line[f"loss {method}"], color=color, ls=style)
                column[1].plot(line["t"], line[f"slope {method}"], color=color, label=label)
            column[0].set(title=task, yscale="log")
            column[1].set_yscale("symlog", linthresh=1e-3)
            column[1].axhline(0, color="black", lw=0.6)
            column[1].set_xlabel("start (0) to solution (1)")
            for ax in column:
                ax.axvline(0, color="black", lw=0.6, ls=":")
        axes[0, 0].set_ylabel("loss")
        axes[1, 0].set_ylabel("derivative along the line")
        fig.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
