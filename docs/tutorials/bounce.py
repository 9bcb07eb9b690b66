# %% [markdown]
# # A gradient through a bounce
#
# A ball is dropped and bounces. Is it higher or lower at the end when it starts higher? Automatic
# differentiation of the simulation gives the wrong sign. This tutorial shows why, and what helps.

# %%
import jax
import jax.numpy as jnp
import mujoco

import softsim
from softsim import Softening

softsim.enable_compile_cache()

mj_model = mujoco.MjModel.from_xml_string("""
<mujoco>
  <option timestep="0.002"/>
  <worldbody>
    <geom type="plane" size="5 5 .1"/>
    <body pos="0 0 .1">
      <joint type="slide" axis="0 0 1"/>
      <geom size=".1" mass=".2"/>
    </body>
  </worldbody>
</mujoco>""")
m = softsim.put_model(mj_model)
d = softsim.make_data(m)

# %% [markdown]
# The outcome is the height 0.38 s after the drop. `rollout` takes the steps; there are no
# actuators, so the controls have shape (190, 0).


# %%
def height(start, softening):
    dropped = d.replace(qpos=start[None])
    _, path = softsim.rollout(m, dropped, jnp.zeros((190, m.nu)), softening)
    return path.qpos[-1, 0]


# %% [markdown]
# ## What the outcome does
#
# 21 starts within 2 cm: the outcome falls, but within short stretches it rises. These are the
# teeth. Along a tooth the ball lands in the same step; from one tooth to the next, a step
# earlier.

# %%
starts = 0.30 + jnp.linspace(0.0, 0.02, 21)
ends = jax.jit(jax.vmap(lambda s: height(s, Softening.hard())))(starts)
trend = float(jnp.polyfit(starts, ends, 1)[0])
print("rises between neighbours:", int((jnp.diff(ends) > 0).sum()), "of 20")
print(f"over all of them: {trend:+.4f} m per m")

# %% [markdown]
# ## Two derivatives of the same value
#
# The hard derivative is exact, and it is the slope of a tooth. The event-aware one adds that the
# landing comes earlier or later, and gives the slope of the whole.

# %%
slope = jax.jit(jax.value_and_grad(height))
value, hard = slope(0.3, Softening.hard())
same, saltation = slope(0.3, Softening.saltation())
print(f"value {value:.5f} and {same:.5f}")
print(f"slope {hard:+.4f} hard, {saltation:+.4f} event-aware, {trend:+.4f} as seen above")
assert value == same
assert hard > 0 > trend
assert abs(saltation - trend) < 0.5 * abs(hard - trend)

# %% [markdown]
# ## What to remember
#
# - A small finite difference agrees with the wrong slope: it measures a tooth too.
# - Use `Softening.saltation()` where bodies arrive at speed.
# - Where nothing begins or ends, hard derivatives are exact: [which derivative
#   when](../derivatives.md).
