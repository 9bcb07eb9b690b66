"""Views along an episode as one image.

Rendering needs OpenGL, whose absence can end a process: `strip` lets another one render, this
module as `python -m envs.render MODEL.mjb QPOS.npy IMAGE.png`.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import mujoco
import numpy as np
from jaxtyping import Float
from matplotlib.image import imsave

ROWS, COLUMNS, HEIGHT, WIDTH = 2, 4, 240, 320


class RenderError(RuntimeError):
    """MuJoCo cannot render here; says why."""


def strip(path: Path, mj_model: mujoco.MjModel, qpos: Float[np.ndarray, "T nq"]) -> Path:
    """Write eight views along an episode, at even times.

    It is rendered off screen, unless MUJOCO_GL says otherwise.

    Args:
        path: of the image, a PNG.
        mj_model: seen through its first camera, if it has one.
        qpos: positions along the episode.

    Raises:
        RenderError: there is no OpenGL; nothing is written.
    """
    with tempfile.TemporaryDirectory() as folder:
        model, poses = Path(folder) / "model.mjb", Path(folder) / "qpos.npy"
        mujoco.mj_saveModel(mj_model, str(model), None)
        np.save(poses, qpos)
        run = subprocess.run(
            [sys.executable, "-m", "envs.render", str(model), str(poses), str(path)],
            env={"MUJOCO_GL": "egl", **os.environ},
            capture_output=True,
            text=True,
        )
    if run.returncode:
        reason = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise RenderError(f"MuJoCo cannot render here ({reason}); MUJOCO_GL=osmesa may work")
    return path


def main(model: str, poses: str, image: str) -> None:
    """Render poses row by row."""
    mj_model = mujoco.MjModel.from_binary_path(model)
    mj_data = mujoco.MjData(mj_model)
    qpos = np.load(poses)
    camera = 0 if mj_model.ncam else -1
    views = []
    with mujoco.Renderer(mj_model, HEIGHT, WIDTH) as renderer:
        for i in np.linspace(0, len(qpos) - 1, ROWS * COLUMNS).astype(int):
            mj_data.qpos[:] = qpos[i]
            mujoco.mj_forward(mj_model, mj_data)
            renderer.update_scene(mj_data, camera=camera)
            views.append(renderer.render().copy())
    rows = [np.concatenate(views[i * COLUMNS : (i + 1) * COLUMNS], axis=1) for i in range(ROWS)]
    partial = Path(image).with_suffix(".partial.png")
    imsave(partial, np.concatenate(rows))
    partial.replace(image)


if __name__ == "__main__":
    main(*sys.argv[1:])
