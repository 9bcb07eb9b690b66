"""Figures in one style."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.figure import Figure

from experiments.cli import write_with

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # Okabe-Ito

STYLE: dict[Any, Any] = {
    "figure.constrained_layout.use": True,
    "figure.dpi": 120,
    "savefig.dpi": 150,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "axes.prop_cycle": cycler(color=COLORS),
}


@contextmanager
def figure(path: Path, **subplots: object) -> Iterator[tuple[Figure, np.ndarray]]:
    """A figure in the house style, written to `path` when the block ends.

    Yields:
        The figure and its axes, always an array of shape (rows, columns).
    """
    with plt.rc_context(STYLE):
        fig, axes = plt.subplots(squeeze=False, **subplots)  # type: ignore[call-overload]
        try:
            yield fig, axes
            write_with(path, fig.savefig)
        finally:
            plt.close(fig)
