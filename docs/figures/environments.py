"""A strip of views of every environment: `python docs/figures/environments.py [NAME ...]`.

Each begins where an episode does and takes random actions, in MuJoCo C. The action of a throw or a
shot is its velocity, so one is drawn.
"""

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

import envs
import softsim

SECONDS = 1.5
SEED = 0
GENTLE = 0.3  # of the range of a throw: most stay in the picture
IMAGES = Path(__file__).parents[1] / "img" / "envs"


def draw(name: str, folder: Path) -> Path:
    """Write the strip of one environment into a folder."""
    env = envs.make(name)
    state = env.reset(jax.random.key(SEED))
    begun = state.data
    random = np.random.default_rng(SEED)
    if not env.model.nu:
        action = random.uniform(-GENTLE, GENTLE, env.action_size)
        begun = env.act(begun, jnp.asarray(action), state.info)
    model = env.mj_model
    data = mujoco.MjData(model)
    data.qpos[:], data.qvel[:] = begun.qpos, begun.qvel
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
