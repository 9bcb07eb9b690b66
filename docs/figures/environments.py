"""A strip of views of every environment: `python docs/figures/environments.py [NAME ...]`.

An episode of random actions in MuJoCo C, eight views of its first seconds.
"""

import sys
from pathlib import Path

import jax
import mujoco
import numpy as np

import envs
import softsim

SECONDS = 1.5
IMAGES = Path(__file__).parents[1] / "img" / "envs"


def draw(name: str, folder: Path) -> Path:
    """Write the strip of one environment into a folder."""
    env = envs.make(name)
    model = env.mj_model
    data = mujoco.MjData(model)
    data.qpos[:] = jax.jit(env.reset)(jax.random.key(0)).data.qpos
    random = np.random.default_rng(0)
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
    softsim.enable_compile_cache()
    for name in sys.argv[1:] or envs.names():
        print(draw(name, IMAGES))
