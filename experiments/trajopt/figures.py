"""The figures of `experiments.trajopt`: losses, strips of throws, and the throws moving."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float, Int
from matplotlib.animation import FuncAnimation, PillowWriter
from matplotlib.axes import Axes
from matplotlib.patches import Polygon

from experiments.cli import write_with
from experiments.figures import COLORS, STYLE, figure
from experiments.trajopt.solids import camera, draw_solids

FRAMES = 10  # bodies in a strip
RATE = 20  # pictures per second of an animation, which shows half the real speed
VIEW = camera(azimuth=-75.0, elevation=28.0)


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
        ax.set_xlabel("simulated throws per start (one with derivatives counts as four)")
        ax.set_ylabel("best loss so far, cube sides squared")
        ax.set_title(f"Median and quartiles over {loss.shape[1]} random starts")
        ax.legend()


def draw_throws(
    path: Path,
    titles: Sequence[str],
    poses: Float[np.ndarray, "throws steps 7"],
    target: Float[np.ndarray, "2"],
    faces: Float[np.ndarray, "faces 4 3"],
) -> None:
    """A strip of poses per throw: paler is earlier, the outline is where the body should rest."""
    rows = -(-len(titles) // 2)
    view = VIEW
    half = faces.max()
    frames = np.linspace(0, poses.shape[1] - 1, FRAMES).round().astype(int)
    with figure(path, nrows=rows, ncols=2, figsize=(9, 2.2 * rows), sharex=True, sharey=True) as (
        _,
        axes,
    ):
        for ax in axes.flat[len(titles) :]:
            ax.set_visible(False)
        for k, (ax, title, path_of) in enumerate(zip(axes.flat, titles, poses)):
            miss = np.linalg.norm(path_of[-1, :2] - target)
            ax.set_title(f"{title} — {1e3 * miss:.0f} mm from the target", fontsize=9)
            _draw_table(ax, view, poses, target, half)
            ax.plot(*(path_of[:, :3] @ view[:2].T).T, color="0.4", lw=0.8, zorder=0.5)
            alpha = np.linspace(0.25, 1.0, FRAMES)
            color = "#999999" if k == 0 else COLORS[k - 1]
            draw_solids(ax, view, path_of[frames, :3], path_of[frames, 3:], faces, color, alpha)
            ax.set_aspect("equal")
            ax.axis("off")
            ax.autoscale_view()


def animate_throws(
    path: Path,
    titles: Sequence[str],
    poses: Float[np.ndarray, "throws steps 7"],
    dt: float,
    target: Float[np.ndarray, "2"],
    faces: Float[np.ndarray, "faces 4 3"],
) -> None:
    """The same throws side by side as a GIF, at half speed, with a still second at the end."""
    half = faces.max()
    steps = np.arange(0, poses.shape[1], max(1, round(0.5 / (RATE * dt))))
    steps = np.concatenate([steps, np.full(RATE, poses.shape[1] - 1)])
    with plt.rc_context({**STYLE, "figure.constrained_layout.use": False}):
        fig, axes = plt.subplots(
            1, len(titles), squeeze=False, figsize=(2.6 * len(titles), 1.7), dpi=90
        )
        fig.subplots_adjust(0.01, 0.01, 0.99, 0.86, 0.03)

        def picture(step: int) -> None:
            for k, (ax, title, path_of) in enumerate(zip(axes[0], titles, poses)):
                ax.clear()
                ax.axis("off")
                ax.set_aspect("equal")
                ax.set_title(title, fontsize=9)
                _draw_table(ax, VIEW, poses, target, half)
                pose = path_of[step : step + 1]
                color = "#999999" if k == 0 else COLORS[k - 1]
                draw_solids(ax, VIEW, pose[:, :3], pose[:, 3:], faces, color, np.ones(1))
                ax.set_xlim(limits[0])
                ax.set_ylim(limits[1])

        flat = poses[..., :3].reshape(-1, 3) @ VIEW[:2].T
        (left, low), (right, high) = flat.min(0), flat.max(0)
        limits = (left - 4 * half, right + 4 * half), (low - 5 * half, high + 3 * half)
        film = FuncAnimation(fig, picture, frames=steps.tolist(), init_func=lambda: None)
        try:
            write_with(path, lambda file: film.save(file, writer=PillowWriter(fps=RATE)))
        finally:
            plt.close(fig)


def _draw_table(
    ax: Axes, view: np.ndarray, poses: np.ndarray, target: np.ndarray, half: float
) -> None:
    """The table under all throws, and the outline of the body's place."""
    reach = np.concatenate([poses[..., :2].reshape(-1, 2), target[None]])
    low, high = reach.min(0) - 3 * half, reach.max(0) + 3 * half
    ax.add_patch(Polygon(_rectangle(low, high) @ view[:2].T, fc="#eeeae2", ec="0.7", zorder=0))
    place = _rectangle(target - half, target + half)
    ax.add_patch(Polygon(place @ view[:2].T, fill=False, ec="#b00000", lw=1.5, zorder=5))


def _rectangle(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    (x0, y0), (x1, y1) = low, high
    return np.array([[x0, y0, 0], [x1, y0, 0], [x1, y1, 0], [x0, y1, 0]])
