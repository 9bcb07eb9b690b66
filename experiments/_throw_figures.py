"""The two figures of `experiments.trajopt`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.patches import Polygon

from experiments._figures import COLORS, camera, draw_boxes, figure

FRAMES = 10  # cubes in a strip


def draw_losses(
    path: Path,
    curves: Mapping[str, tuple[Int[np.ndarray, " steps"], Float[np.ndarray, "steps starts"]]],
) -> None:
    """Best loss so far against the budget spent: median and quartiles over the starts."""
    with figure(path, figsize=(6.4, 3.8)) as (_, axes):
        ax = axes[0, 0]
        for color, (method, (throws, loss)) in zip(COLORS, curves.items()):
            best = np.fmin.accumulate(loss, axis=0)
            low, middle, high = np.quantile(best, [0.25, 0.5, 0.75], axis=1)
            ax.plot(throws, middle, color=color, label=f"{method} ({len(throws)} iterations)")
            ax.fill_between(throws, low, high, color=color, alpha=0.18, lw=0)
        ax.set_yscale("log")
        ax.set_xlabel("simulated throws per start (a gradient counts as four)")
        ax.set_ylabel("best loss so far, cube sides squared")
        ax.set_title(f"Median and quartiles over {loss.shape[1]} random starts")
        ax.legend()


def draw_throws(
    path: Path,
    titles: Sequence[str],
    poses: Float[np.ndarray, "throws steps 7"],
    target: Float[np.ndarray, "3"],
    half: float,
) -> None:
    """A strip of cube poses per throw: paler is earlier, the outline is where it should rest."""
    rows = -(-len(titles) // 2)
    view = camera(azimuth=-75.0, elevation=28.0)
    frames = np.linspace(0, poses.shape[1] - 1, FRAMES).round().astype(int)
    with figure(path, nrows=rows, ncols=2, figsize=(9, 2.2 * rows), sharex=True, sharey=True) as (
        _,
        axes,
    ):
        for ax in axes.flat[len(titles) :]:
            ax.set_visible(False)
        for k, (ax, title, path_of) in enumerate(zip(axes.flat, titles, poses)):
            miss = np.linalg.norm(path_of[-1, :3] - target)
            ax.set_title(f"{title} — {1e3 * miss:.0f} mm from the target", fontsize=9)
            _draw_table(ax, view, poses, target, half)
            ax.plot(*(path_of[:, :3] @ view[:2].T).T, color="0.4", lw=0.8, zorder=0.5)
            alpha = np.linspace(0.25, 1.0, FRAMES)
            color = "#999999" if k == 0 else COLORS[k - 1]
            draw_boxes(ax, view, path_of[frames, :3], path_of[frames, 3:], half, color, alpha)
            ax.set_aspect("equal")
            ax.axis("off")
            ax.autoscale_view()


def _draw_table(
    ax: Axes, view: np.ndarray, poses: np.ndarray, target: np.ndarray, half: float
) -> None:
    """The table under all throws, and the outline of the cube's place."""
    reach = np.concatenate([poses[..., :2].reshape(-1, 2), target[None, :2]])
    low, high = reach.min(0) - 3 * half, reach.max(0) + 3 * half
    ax.add_patch(Polygon(_rectangle(low, high) @ view[:2].T, fc="#eeeae2", ec="0.7", zorder=0))
    place = _rectangle(target[:2] - half, target[:2] + half)
    ax.add_patch(Polygon(place @ view[:2].T, fill=False, ec="#b00000", lw=1.5, zorder=5))


def _rectangle(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    (x0, y0), (x1, y1) = low, high
    return np.array([[x0, y0, 0], [x1, y0, 0], [x1, y1, 0], [x0, y1, 0]])
