"""Renders poses to one file of pictures, as `python -P offscreen.py MODEL.mjb REQUEST.npz OUT.npy`.

A process of its own, which `softsim.render` starts: where OpenGL is missing, MuJoCo may end it. It
imports neither softsim nor JAX, so that it starts at once.
"""

import sys

import mujoco
import numpy as np


def main(model: str, request: str, out: str) -> None:
    """Save pictures (n, height, width, 3) of `qpos` (n, nq), seen by camera `camera`."""
    mj_model = mujoco.MjModel.from_binary_path(model)
    mj_data = mujoco.MjData(mj_model)
    asked = np.load(request)
    height, width = asked["size"].tolist()
    buffer = mj_model.vis.global_  # the picture must fit into it
    buffer.offheight, buffer.offwidth = (
        max(buffer.offheight, height),
        max(buffer.offwidth, width),
    )
    pictures = []
    with mujoco.Renderer(mj_model, height, width) as renderer:
        for qpos in asked["qpos"]:
            mj_data.qpos[:] = qpos
            mujoco.mj_forward(mj_model, mj_data)
            renderer.update_scene(mj_data, camera=int(asked["camera"]))
            pictures.append(renderer.render().copy())
    np.save(out, np.array(pictures))


if __name__ == "__main__":
    main(*sys.argv[1:])
