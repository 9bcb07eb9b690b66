# %% [markdown]
# # Train a small task
#
# A mass on a rail is to stop at the origin. We write the task, differentiate whole episodes
# through the physics, and end with a policy in one file. It takes a minute or two, most of it
# compilation.

# %%
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

import envs
import softsim
from softsim import learning

softsim.enable_compile_cache()

RAIL = """
<mujoco>
  <option timestep="0.05" integrator="implicitfast"/>
  <worldbody>
    <body><joint name="rail" type="slide" axis="1 0 0"/><geom size=".1" mass="1"/></body>
  </worldbody>
  <actuator><motor joint="rail" ctrlrange="-2 2"/></actuator>
</mujoco>"""


# %% [markdown]
# ## The task
#
# Four functions: the model, a start, what the policy sees, and the terms of the reward, which are
# added up.


# %%
class Rail(envs.Env):
    """A mass that is to stop at the origin."""

    frame_skip: int = 2
    episode_length: int = 30

    @staticmethod
    def load():
        return mujoco.MjModel.from_xml_string(RAIL)

    def start(self, key):
        return self.blank.replace(qpos=jax.random.uniform(key, (1,), minval=-1.0, maxval=1.0))

    def observe(self, data, info):
        return jnp.concatenate([data.qpos, data.qvel])

    def reward(self, before, action, after, info):
        near = 1 - after.qpos[0] ** 2 - 0.1 * after.qvel[0] ** 2
        return {"near": near, "effort": -0.01 * action @ action}


env = Rail.create()

# %% [markdown]
# ## Training
#
# Analytic policy gradient: simulate 30 actions in 16 environments, differentiate the return by
# the weights of the policy, step. `train` yields a report after each update.

# %%
algorithm = learning.Apg(iterations=40, num_envs=16, horizon=30, hidden=(16,), actor_rate=0.05)
returns = []
for report in learning.train(env, algorithm, seed=0):
    if report.evaluated:
        returns.append(report.returns.mean())
        print(f"{report.steps:6d} steps: return {returns[-1]:5.1f} of 30")
assert max(returns) > returns[0]

# %% [markdown]
# ## The policy
#
# One file, which needs neither the environment nor the algorithm. Right of the origin it pushes
# left.

# %%
with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "rail.npz"
    report.best.save(file)
    policy = learning.load_policy(file)
print("action at 0.5 m:", np.asarray(policy([0.5, 0.0])))
assert policy([0.5, 0.0])[0] < 0 < policy([-0.5, 0.0])[0]

# %% [markdown]
# ## Next
#
# - A hopper: `softsim train --env hopper`; what to expect: [measured](../measured/training.md).
# - Tasks that fail, targets, randomised models: [environments](../envs.md).
