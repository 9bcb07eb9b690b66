"""Run by test_parallel.py in processes of its own: `parallel_worker.py PROCESSES RANK PORT OUT`."""

import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

import softsim

XML = """<mujoco><option timestep="0.01" iterations="20"/><worldbody><body>
<joint name="j" axis="0 1 0" range="-20 20" limited="true" damping=".1"/>
<geom size=".1" pos="0 0 -.5"/>
</body></worldbody><actuator><motor joint="j" gear="2"/></actuator></mujoco>"""
STEPS = 4
QVEL = np.linspace(-4, 4, 16)[:, None]


def loss(gain: jax.Array, qvel: jax.Array) -> jax.Array:
    """Sum of squares along a short rollout into the joint's limit."""
    m = softsim.put_model(mujoco.MjModel.from_xml_string(XML))
    ctrl = gain * jnp.ones((STEPS, 1))
    _, path = softsim.rollout(m, softsim.make_data(m).replace(qvel=qvel), ctrl)
    return jnp.sum(path.qpos**2)


def value_and_grad(batched: Callable, batch: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean loss of the batch, and its slope in the gain that all share."""
    mean = lambda gain, qvel: jnp.mean(batched(loss, in_axes=(None, 0))(gain, qvel))
    return jax.jit(jax.value_and_grad(mean))(0.3, batch)


if __name__ == "__main__":
    processes, rank, port = map(int, sys.argv[1:4])
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_disable_most_optimizations", True)
    if processes > 1:
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(f"127.0.0.1:{port}", processes, rank)
    batch = softsim.spread(np.split(QVEL, processes)[rank])
    value, slope = value_and_grad(softsim.parallel_vmap, batch)
    np.savez(sys.argv[4], value=value, slope=slope, devices=len(batch.sharding.device_set))
