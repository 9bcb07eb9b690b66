"""Where a training went wrong: the first step and environment that are not finite.

The update that failed is replayed step by step from the state before it, with the same noise.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from softsim.learning.algorithm import Algorithm
from softsim.learning.environment import Environment
from softsim.learning.rollouts import Running, ending, renew


def diagnose(algorithm: Algorithm, env: Environment, state: Any) -> str:
    """What was found; the first line says which place, the rest is the environment's own report.

    Args:
        state: before the update that failed, of all seeds: every leaf has a leading axis of them.
    """
    for seed in range(len(state.iteration)):
        one = entry(state, seed)
        soft = algorithm.practice(env, one.iteration)
        found = _first_bad(soft, one, algorithm.draw(env, one)[2], algorithm.limit(env))
        if found is None:
            continue
        step, index, what, before = found
        place = f"seed {seed}, environment {index}, step {step}: {what} is not finite."
        return place + (f" {soft.diagnose(before)}" if hasattr(soft, "diagnose") else "")
    return (
        "Every step and its derivative are finite on their own: their product over the horizon, or "
        "the critic, overflowed. A shorter horizon or smaller rates help."
    )


def entry(batch: Any, i: int) -> Any:
    """The i-th of a batch."""
    return jax.tree.map(lambda x: x[i], batch)


def _first_bad(
    env: Environment, one: Any, noise: Float[Array, "T N nu"], limit: int
) -> tuple[int, int, str, Any] | None:
    """Step, environment, what is not finite, and the state before that step."""

    @eqx.filter_jit
    def examine(one: Any, now: Running, noise: Float[Array, "N nu"]) -> tuple:
        return jax.vmap(lambda now, noise: _examine(env, one, now, noise, limit))(now, noise)

    now = one.env_state
    for step in range(noise.shape[0]):
        good, smooth, following = examine(one, now, noise[step])
        bad = np.flatnonzero(~np.asarray(good) | ~np.asarray(smooth))
        if bad.size:
            index = int(bad[0])
            what = "the derivative of the step" if good[index] else "the step itself"
            return step, index, what, entry(now.state, index)
        now = following
    return None


def _examine(
    env: Environment, one: Any, now: Running, noise: Float[Array, " nu"], limit: int
) -> tuple[Bool[Array, ""], Bool[Array, ""], Running]:
    """Whether a step and its derivative are finite, and what follows."""
    u = one.actor.sample(one.normalizer(now.state.obs), noise)
    moving, fixed = eqx.partition(now.state, eqx.is_inexact_array)

    def seen(moving: Any, u: Array) -> tuple[Float[Array, ""], Any]:
        after = env.step(eqx.combine(moving, fixed), jnp.tanh(u))
        return jnp.sum(after.obs) + after.reward, after

    slopes, after = jax.grad(seen, argnums=(0, 1), has_aux=True)(moving, u)
    finite = [jnp.isfinite(slope).all() for slope in jax.tree.leaves(slopes)]
    good = jnp.isfinite(after.obs).all() & jnp.isfinite(after.reward)
    done = ending(after, now.steps + 1, limit).done
    following = renew(env, Running(after, now.key, now.steps + 1), done)
    return good, jnp.stack(finite).all(), following
