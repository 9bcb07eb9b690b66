# %% [markdown]
# # Your robot
#
# Any MJCF file will do. Here it is the ant of Gymnasium (`pip install 'softsim[envs]'`); put the
# path of your own robot in its place.

# %%
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import mujoco

import softsim

softsim.enable_compile_cache()

file = Path(gymnasium.__file__).parent / "envs" / "mujoco" / "assets" / "ant.xml"
mj_model = mujoco.MjModel.from_xml_path(str(file))
mj_model.opt.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST  # quicker than Runge-Kutta
mj_model.opt.iterations = 8

# %% [markdown]
# `put_model` refuses by name what it cannot simulate, and says what to do about it. If it
# returns, nothing of the model is ignored.

# %%
m = softsim.put_model(mj_model)
d = softsim.make_data(m)
print(f"{m.nbody} bodies, {m.nv} degrees of freedom, {m.nu} motors")

# %% [markdown]
# ## One step, beside MuJoCo
#
# The ant falls for ten steps, here and in MuJoCo C.

# %%
end, path = jax.jit(lambda d: softsim.rollout(m, d, jnp.zeros((10, m.nu))))(d)
data = mujoco.MjData(mj_model)
mujoco.mj_step(mj_model, data, 10)
print("largest difference:", float(jnp.abs(end.qpos - jnp.asarray(data.qpos)).max()))
assert jnp.allclose(end.qpos, jnp.asarray(data.qpos), atol=1e-3)

# %% [markdown]
# ## Its linearisation
#
# `A` and `B` say how the next state depends on this one and on the controls, in the layout of
# MuJoCo's `mjd_transitionFD`: positions in the tangent space, velocities, activations.

# %%
A, B = jax.jit(softsim.linearize)(m, d)
print("A", A.shape, "B", B.shape)
assert A.shape == (2 * m.nv, 2 * m.nv) and bool(jnp.isfinite(A).all())

# %% [markdown]
# ## Where the torso goes
#
# The derivative of the torso's height by the controls of all ten steps, by reverse mode.


# %%
def torso(ctrl):
    _, path = softsim.rollout(m, d, ctrl)
    return path.qpos[-1, 2]


gradient = jax.jit(jax.grad(torso))(jnp.zeros((10, m.nu)))
print("gradient", gradient.shape, "finite:", bool(jnp.isfinite(gradient).all()))

# %% [markdown]
# ## Next
#
# - Is every derivative right? `softsim doctor --model ant.xml`
# - How do hard and soft compare on it? `softsim compare --model ant.xml --quick`
# - [Use your own robot](../how-to/robot.md): meshes, features left out, solver iterations.
