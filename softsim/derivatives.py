"""Derivatives of a step as matrices: `linearize`, in the layout of `mujoco.mjd_transitionFD`."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

from softsim.integrators import difference_pos, integrate_pos
from softsim.softening import Softening
from softsim.step import step


def linearize(
    m: mjx.Model, d: mjx.Data, softening: Softening | None = None
) -> tuple[Float[Array, "n n"], Float[Array, "n nu"]]:
    """A and B of dx' = A dx + B du around one step.

    x = (position in the tangent space (nv), velocity (nv), activation (na)), as in
    `mujoco.mjd_transitionFD`, and exact instead of differenced: forward mode through `step`. The
    warm start is not part of the state.
    """
    nv, na = m.nv, m.na
    after = step(m, d, softening)

    def flow(z: Float[Array, " k"]) -> Float[Array, " n"]:
        dq, dv, da, du = jnp.split(z, np.cumsum([nv, nv, na]))
        moved = d.replace(
            qpos=integrate_pos(m, d.qpos, dq, jnp.ones(())),
            qvel=d.qvel + dv,
            act=d.act + da,
            ctrl=d.ctrl + du,
        )
        y = step(m, moved, softening)
        return jnp.concatenate([difference_pos(m, after.qpos, y.qpos), y.qvel, y.act])

    jacobian = jax.jacfwd(flow)(jnp.zeros(2 * nv + na + m.nu, d.qpos.dtype))
    return jacobian[:, : 2 * nv + na], jacobian[:, 2 * nv + na :]
