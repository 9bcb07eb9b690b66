"""Views along an episode as one image; a process of its own, as OpenGL may end it.

python -m experiments._strip MODEL.mjb QPOS.npy IMAGE.png
"""

import sys
from pathlib import Path

import mujoco
import numpy as np
from matplotlib.image import imsave

ROWS, COLUMNS, HEIGHT, WIDTH = 2, 4, 240, 320


def main(model: str, poses: str, image: str) -> None:
    """Render poses at even times through the model's first camera, row by row."""
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
