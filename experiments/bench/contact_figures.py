"""Distance and its slope along a sweep of each pair of shapes, hard and soft: the docs' figures.

The second geom moves through the first one and turns on the way, past vertices, edges and faces.
Shown is the deepest contact that is there (weight above one half), and how the distance changes
along the sweep. Made with `python -m experiments.bench.contact_figures`.
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np

from experiments import cli
from experiments.figures import figure
from softsim.testing.contact_cases import CASES, Case, Poses, random_poses
from softsim.testing.contact_checks import contacts_of

# mode, softness, label, colour, line width: the hard line is wide and pale beneath the soft ones
SETTINGS = (
    ("hard", 0.05, "hard", "#F2B88C", 4.0),
    ("smooth", 0.02, "soft, 0.02", "C4", 1.6),
    ("smooth", 0.1, "soft, 0.1", "C0", 0.9),
)


@dataclasses.dataclass(frozen=True)
class Args:
    """Figures of all pairs."""

    out: Path = Path("docs/img/contact")
    """folder for one PNG per first shape"""
    pairs: tuple[str, ...] = tuple(case.name for case in CASES)
    """which pairs (first-second)"""
    points: int = 512
    """each sweep has this many points"""


def sweep(case: Case, points: int) -> tuple[np.ndarray, Poses]:
    """The path (m) of the second geom and its poses: towards the first, turning by 100 degrees."""
    start = random_poses(case, 1, seed=11, apart=(1.2, 1.2))
    away = start.pos[:, 1] - start.pos[:, 0]
    t = np.linspace(0.0, 1.0, points)[:, None]
    angle = np.radians(100) * t[:, 0]
    turn = np.zeros((points, 3, 3))
    turn[:, 0, 0] = turn[:, 1, 1] = np.cos(angle)
    turn[:, 1, 0], turn[:, 0, 1], turn[:, 2, 2] = np.sin(angle), -np.sin(angle), 1.0
    poses = start[np.zeros(points, int)]
    poses.pos[:, 1] -= 0.5 * t * away
    poses.mat[:, 1] = turn @ poses.mat[:, 1]
    return np.linalg.norm(0.5 * t * away, axis=1), poses


def distance(case: Case, poses: Poses, mode: str, softness: float) -> np.ndarray:
    """m, of the deepest contact that is there."""
    hit = contacts_of(case, mode)(softness, poses)
    deepest = np.min(np.where(hit.weight > 0.5, hit.dist, np.inf), axis=1)
    return np.where(np.isfinite(deepest), deepest, np.nan)


def draw(path: Path, cases: list[Case], points: int) -> None:
    """One column per pair: distance above, slope below."""
    size = (2.3 * len(cases) + 0.6, 3.6)
    with figure(path, nrows=2, ncols=len(cases), figsize=size, sharex="col") as (_, axes):
        for column, case in zip(axes.T, cases):
            way, poses = sweep(case, points)
            for mode, softness, label, color, wide in SETTINGS:
                dist = distance(case, poses, mode, softness)
                column[0].plot(1e3 * way, 1e3 * dist, color=color, lw=wide, label=label)
                column[1].plot(1e3 * way, np.gradient(dist, way), color=color, lw=wide)
            column[0].set_title(f"{case.first}, {case.second}", fontsize=8)
            column[1].set_ylim(-3, 3)
            column[1].set_xlabel("way, mm")
        axes[0, 0].set_ylabel("distance, mm")
        axes[1, 0].set_ylabel("slope of distance")
        axes[0, 0].legend(fontsize=7)


def main(args: Args) -> None:
    """One figure per first shape."""
    cli.open_folder(args.out)
    # values only: the compiler's expensive optimisations would double the waiting
    jax.config.update("jax_disable_most_optimizations", True)
    chosen = [case for case in CASES if case.name in args.pairs]
    firsts = list(dict.fromkeys(case.first for case in chosen))
    with jax.enable_x64(True), cli.progress() as progress:
        task = progress.add_task("figures", total=len(firsts), status="")
        for first in firsts:
            progress.update(task, status=first)
            cases = [case for case in chosen if case.first == first]
            draw(args.out / f"{first}.png", cases, args.points)
            progress.advance(task)
    print(f"Written to {args.out}: {', '.join(f'{first}.png' for first in firsts)}")


if __name__ == "__main__":
    cli.launch(Args, main, __doc__)
