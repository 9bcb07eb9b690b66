"""A strip of views of every environment: `python docs/figures/environments.py [NAME ...]`.

Random actions, or for throws and shots random velocities, in MuJoCo C.
"""

import sys
from pathlib import Path

import mujoco
import numpy as np

import envs
import softsim

SECONDS = 1.5
IMAGES = Path(__file__).parents[1] / "img" / "envs"


def draw(name: str, folder: Path) -> Path:
    """Write the strip of one environment into a folder."""
    model = envs.find(name).load()
    data = mujoco.MjData(model)
    if model.nkey:
        mujoco.mj_resetDataKeyframe(model, data, 0)
    random = np.random.default_rng(0)
    if not model.nu:  # a throw or a shot: its velocity is the action
        data.qvel[:] = random.normal(size=model.nv)
    low, high = model.actuator_ctrlrange.T
    poses = []
    while data.time < SECONDS:
        if len(poses) % 20 == 0:
            data.ctrl[:] = random.uniform(low, high)
        poses.append(data.qpos.copy())
        mujoco.mj_step(model, data)
    folder.mkdir(parents=True, exist_ok=True)
    return softsim.render(model, np.array(poses), folder / f"{name}.png", size=(200, 150))


if __name__ == "__main__":
    for name in sys.argv[1:] or envs.names():
        print(draw(name, IMAGES))
