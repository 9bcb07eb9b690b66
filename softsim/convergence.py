"""Did the constraint solver reach its optimum? What to say, and what to set, where it did not.

What is left over is F = M a - qfrc_smooth - J' f, the forces that do not balance. The solver gives
up silently when `iterations` are used up; half of the published MJX models let it.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

from softsim.model import STATE
from softsim.softening import Softening
from softsim.solver import FEW
from softsim.step import next_state

# iterations that the advice tries
AMPLE = 100


def imbalance(d: mjx.Data) -> Float[Array, ""]:
    """Forces that do not balance after a step, as a share of those that act; 0 at the optimum."""
    inertial = d._impl.M @ d.qacc
    parts = (inertial, d.qfrc_smooth, d.qfrc_constraint)
    acting = sum(jnp.linalg.norm(part) for part in parts)
    left = jnp.linalg.norm(inertial - d.qfrc_smooth - d.qfrc_constraint)
    return left / jnp.where(acting > 0, acting, 1.0)


def stopped_short(
    m: mjx.Model, d: mjx.Data, softening: Softening, steps: int = 1
) -> tuple[str, ...]:
    """A sentence on a solver that used up its iterations before its optimum, or nothing.

    Args:
        steps: how many steps from `d` to look at; inputs are held.
    """

    def run(m: mjx.Model) -> tuple[np.ndarray, np.ndarray]:
        def once(state: dict, _: None) -> tuple[dict, tuple[Array, Array]]:
            after = next_state(m, d.replace(**state), softening)
            state = {name: getattr(after, name) for name in STATE}
            return state, (jnp.max(after._impl.solver_niter), imbalance(after))

        start = {name: getattr(d, name) for name in STATE}
        _, found = jax.jit(lambda start: jax.lax.scan(once, start, length=steps))(start)
        return np.asarray(found[0]), np.asarray(found[1])

    limit = int(m.opt.iterations)
    niter, share = run(m)
    # what rounding leaves of a converged solve, with room
    short = (niter >= limit) & (share > float(jnp.finfo(d.qpos.dtype).eps) ** 0.4)
    if not short.any():
        return ()
    needed = int(run(m.replace(opt=m.opt.replace(iterations=AMPLE)))[0].max())
    if limit <= FEW:
        whose = "that of the unfinished solve, which is rugged"
    else:
        whose = "that of the optimum, which the value is not"
    if needed < AMPLE:
        remedy = (
            f"set iterations={max(2 * needed, FEW + 1)} (the solver stops when it has converged)"
        )
    else:
        remedy = f"iterations={AMPLE} do not suffice either: raise ls_iterations too"
    return (
        f"the solver stopped at {limit} of {limit} iterations in {int(short.sum())} of {steps} "
        f"steps, residual {share[short].max():.2g} of the forces; the derivative is {whose}: "
        f"{remedy}",
    )
