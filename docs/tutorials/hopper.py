# %% [markdown]
# # Train a hopper
#
# A one-legged robot learns to hop, by gradients through the physics of its foot on the floor. It
# takes a few minutes, most of them compilation. The model is Gymnasium's hopper
# (`pip install 'softsim[envs]'`).

# %%
import tempfile
from pathlib import Path

import jax

import envs
import softsim
from envs.mujoco_c import run_episodes
from softsim import learning

softsim.enable_compile_cache()

# %% [markdown]
# ## The task
#
# The reward is the speed forwards, 1 for every action without a fall, and a small price for
# torque. An episode ends with a fall or after 1,000 actions. Training goes faster with steps of
# 4 ms, half as many as Gymnasium takes.

# %%
env = envs.make("hopper", options={"integrator": "implicitfast", "timestep": 0.004}, frame_skip=2)
print(f"{env.observation_size} observations, {env.action_size} torques, {env.dt} s an action")

# %% [markdown]
# ## The algorithm
#
# Short-horizon actor-critic (SHAC): simulate 64 actions in 16 environments, add what a learned
# critic expects after them, and differentiate the sum by the weights of the policy. A whole
# episode would be too long to differentiate: over hundreds of contacts derivatives grow without
# bound.

# %%
algorithm = learning.Shac(
    iterations=500,
    num_envs=16,
    horizon=64,
    discount=0.995,
    init_std=0.5,
    actor_rate=1e-3,
    critic_rate=2e-3,
)

# %% [markdown]
# ## Training
#
# `train` yields a report after each update, so you decide when to stop. Here it is after 100 of
# the 500 updates. In one run the return went 142, 236, 342, 1,893, 2,429, 2,763: first the robot
# learns to stand, then to hop without falling. All 500 updates make it faster.

# %%
for report in learning.train(env, algorithm, seed=0, evaluate_every=20, episodes=8):
    if report.evaluated:
        print(f"{report.steps:6d} steps: return {report.returns.mean():6.1f}")
    if report.iteration == 0:
        untrained = report.returns.mean()
    if report.iteration == 100:
        break
assert report.best_return > 3 * untrained

# %% [markdown]
# ## The policy
#
# One file, which needs neither environment nor algorithm. Here it plays an episode in MuJoCo C.

# %%
with tempfile.TemporaryDirectory() as folder:
    report.best.save(Path(folder) / "hopper.npz")
    policy = learning.load_policy(Path(folder) / "hopper.npz")

(episode,) = run_episodes(env, policy, jax.random.split(jax.random.key(1), 1))
print(f"{len(episode.reward)} actions, return {episode.reward.sum():.0f}")
print(f"it ends {episode.qpos[-1, 0]:.1f} m ahead")

# %% [markdown]
# To see it, where MuJoCo finds OpenGL:
#
# ```python
# softsim.render(env.mj_model, episode.qpos, "hopper.gif", dt=env.dt)
# ```
#
# ![A hopper trained with all 500 updates](../img/hopper_trained.gif)

# %% [markdown]
# ## Next
#
# - All 500 updates, several seeds, curves and a check in MuJoCo C:
#   `softsim train --env hopper --seeds 5`.
# - What the settings mean, and what to do when a policy falls back: [training](../training.md).
# - A task of your own: [write an environment](../how-to/environment.md).
