# %% [markdown]
# # Identify a cube from tosses
#
# A cube is tossed onto a table four times. From its motion alone we recover how slippery it is.
# The tosses are simulated by MuJoCo C, so the truth is known; a recording of a real cube has the
# same form.

# %%
import mujoco
import numpy as np

import softsim
from softsim import sysid

softsim.enable_compile_cache()

CUBE = """
<mujoco>
  <option timestep="0.005"/>
  <worldbody>
    <geom name="table" type="plane" size="3 3 .1" friction="{friction}" priority="1"/>
    <body name="cube" pos="0 0 .2">
      <freejoint/>
      <geom name="cube" type="box" size=".05 .05 .05" mass=".4"/>
    </body>
  </worldbody>
</mujoco>"""
TRUTH, GUESS = 0.25, 0.5

# %% [markdown]
# ## The recordings
#
# A `Recording` holds positions (N, nq) and velocities (N, nv), N rows `dt` seconds apart:
# position and quaternion of the cube, then linear and angular velocity.

# %%
real = mujoco.MjModel.from_xml_string(CUBE.format(friction=TRUTH))
random = np.random.default_rng(0)


def toss():
    data = mujoco.MjData(real)
    data.qpos[2] = 0.08
    data.qvel[:2] = random.uniform(0.5, 1.5, 2)
    data.qvel[3:] = random.uniform(-1, 1, 3)
    rows = []
    for _ in range(60):
        rows.append(np.concatenate([data.qpos, data.qvel]))
        mujoco.mj_step(real, data)
    qpos, qvel = np.split(np.array(rows), [7], axis=1)
    return sysid.Recording(qpos=qpos, qvel=qvel, dt=0.005)


tosses = [toss() for _ in range(4)]

# %% [markdown]
# ## The fit
#
# The model starts from twice the friction. `window=60` compares whole tosses; the initial states
# are taken as measured.

# %%
model = mujoco.MjModel.from_xml_string(CUBE.format(friction=GUESS))
fit = sysid.identify(model, tosses, ["friction:table"], window=60, states="measured")
print(fit.report())

# %% [markdown]
# The fitted value, its 95 % interval, and the truth:

# %%
value, (low, high) = fit.values["friction:table"], fit.intervals["friction:table"]
print(f"friction {value:.3f}, between {low:.3f} and {high:.3f}; it is {TRUTH}")
assert abs(value - TRUTH) < 0.02

# %% [markdown]
# ## Next
#
# - Stiffness, size and inertia are fitted by their names too: [all
#   kinds](../sysid.md#parameters).
# - From files: `softsim sysid --data tosses.npz --model cube.xml --parameters friction:table`.
# - A real cube, with what can and cannot be told from its motion: [measured](../measured/sysid.md).
