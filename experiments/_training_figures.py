"""Learning curves, and a strip of images of an episode."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from matplotlib.ticker import EngFormatter

from envs import Env
from experiments._figures import figure


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


def draw_strip(path: Path, env: Env, qpos: np.ndarray) -> str:
    """Write eight views along an episode; returns what to tell the user.

    Rendering needs OpenGL, whose absence can end a process: another one renders, off screen unless
    MUJOCO_GL says otherwise. Where it cannot, nothing is written and the message says so.
    """
    with tempfile.TemporaryDirectory() as folder:
        model, poses = Path(folder) / "model.mjb", Path(folder) / "qpos.npy"
        mujoco.mj_saveModel(env.mj_model, str(model), None)
        np.save(poses, qpos)
        run = subprocess.run(
            [sys.executable, "-m", "experiments._strip", str(model), str(poses), str(path)],
            env={"MUJOCO_GL": "egl", **os.environ},
            capture_output=True,
            text=True,
        )
    if run.returncode == 0:
        return f"Images of an episode: {path}"
    reason = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
    return f"No images: MuJoCo cannot render here ({reason}); MUJOCO_GL=osmesa may work"
