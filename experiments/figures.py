"""Figures in one style, and boxes drawn in perspective-free 3D."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

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


_SIDES = np.array([s * e for e in np.eye(3) for s in (1.0, -1.0)])
_LIGHT = np.array([0.35, -0.5, 0.8])


def camera(azimuth: float, elevation: float) -> Float[np.ndarray, "3 3"]:
    """Rows: right, up and towards the viewer, in world axes (z up); angles in degrees."""
    a, e = np.radians([azimuth, elevation])
    toward = np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])
    right = np.array([-np.sin(a), np.cos(a), 0.0])
    return np.stack([right, np.cross(toward, right), toward])


def draw_boxes(
    axes: Axes,
    view: Float[np.ndarray, "3 3"],
    pos: Float[np.ndarray, "n 3"],
    quat: Float[np.ndarray, "n 4"],
    half: float,
    color: str,
    alpha: Float[np.ndarray, " n"],
) -> None:
    """Draw cubes of half side `half` (m), far ones first, faces shaded by a fixed light."""
    rotation = np.array([_matrix(q) for q in quat])
    for i in np.argsort(pos @ view[2]):
        for side in _SIDES:
            normal = rotation[i] @ side
            if normal @ view[2] <= 0:
                continue
            corners = pos[i] + half * (_corners(side) @ rotation[i].T)
            shade = 0.55 + 0.45 * max(normal @ _LIGHT, 0.0)
            face = tuple(min(1.0, c * shade) for c in to_rgb(color))
            axes.add_patch(
                Polygon(corners @ view[:2].T, fc=face, ec="black", lw=0.5, alpha=alpha[i])
            )


def _corners(side: np.ndarray) -> np.ndarray:
    """The four corners, in order, of the face of the cube [-1, 1]^3 with outward normal `side`."""
    axis = int(np.argmax(np.abs(side)))
    u, v = np.roll(np.eye(3), -axis - 1, axis=0)[:2]
    return np.array([side + a * u + b * v for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1))])


def _matrix(quat: np.ndarray) -> np.ndarray:
    """Rotation matrix of a quaternion (w, x, y, z), body to world."""
    w, x, y, z = quat / np.linalg.norm(quat)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
