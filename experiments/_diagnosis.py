"""Where a training went wrong: the first step and environment that are not finite, and the doctor.

The update that failed is replayed step by step from the state before it, with the same noise.
"""

from types import ModuleType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import softsim
from envs import Env, State, reset_where_done


def diagnose(module: ModuleType, config: Any, env: Env, state: Any) -> str:
    """The doctor's report on the physics at the place; the first line says which place."""
    seeds = len(state.iteration)
    for seed in range(seeds):
        one = _entry(state, seed)
        soft = config.practice(env, one.iteration)
        found = _first_bad(soft, one, module.draw(config, env, one)[2])
        if found is None:
            continue
        step, index, what, before = found
        model = soft.model.tree_replace(before.info["model"])
        place = f"seed {seed}, environment {index}, step {step}: {what}."
        report = softsim.check_gradients(model, before.data, soft.softening)
        stages = [f"{f.stage} by {f.wrt}" for f in report.findings if f.verdict == "not finite"]
        named = f" Not finite: {', '.join(stages)}." if stages else ""
        return f"{place}{named}\n\n{report}"
    return (
        "Every step and its derivative are finite on their own: their product over the horizon, or "
        "the critic, overflowed. A shorter horizon or smaller rates help."
    )


def _first_bad(env: Env, one: Any, noise: jax.Array) -> tuple[int, int, str, State] | None:
    """Step, environment, what is not finite, and the state before that step."""
    states = one.env_state
    for step in range(noise.shape[0]):
        good, smooth, following = _examine(env, one, states, noise[step])
        bad = np.flatnonzero(~np.asarray(good) | ~np.asarray(smooth))
        if bad.size:
            index = int(bad[0])
            what = "the derivative of the step" if good[index] else "the step itself"
            return step, index, f"{what} is not finite", _entry(states, index)
        states = following
    return None


@eqx.filter_jit
def _examine(env: Env, one: Any, states: State, noise: jax.Array) -> tuple:
    """Of every environment: whether a step and its derivative are finite, and what follows."""

    def single(state: State, noise: jax.Array) -> tuple:
        u = one.actor.sample(one.normalizer(state.obs), noise)
        after = env.step(state, jnp.tanh(u))
        good = jnp.isfinite(after.obs).all() & jnp.isfinite(after.reward)
        return good, _slope(env, state, u), reset_where_done(env, after)

    return jax.vmap(single)(states, noise)


def _entry(batch: Any, i: int) -> Any:
    return jax.tree.map(lambda x: x[i], batch)


def _slope(env: Env, state: State, u: jax.Array) -> jax.Array:
    """Whether the derivative of a step with respect to state and action is finite."""

    def out(x: tuple) -> jax.Array:
        qpos, qvel, u = x
        after = env.step(state.replace(data=state.data.replace(qpos=qpos, qvel=qvel)), jnp.tanh(u))
        return jnp.sum(after.obs) + after.reward

    gradient = jax.grad(out)((state.data.qpos, state.data.qvel, u))
    return jnp.array([jnp.isfinite(g).all() for g in gradient]).all()
