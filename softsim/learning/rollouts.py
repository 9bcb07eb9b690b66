"""Batches of trajectories of a policy: sampled for learning, and scored."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

import softsim
from softsim.learning.environment import (
    Environment,
    arrays,
    episode_limit,
)
from softsim.learning.policy import Policy


class Running(eqx.Module):
    """An environment in the middle of an episode; a batch has a leading axis on every leaf.

    Attributes:
        state: of the environment.
        key: of the next episode.
        steps: actions taken in this one.
    """

    state: Any
    key: PRNGKeyArray
    steps: Int[Array, ""]


class Path(NamedTuple):
    """T steps of N environments.

    `final_obs` follows the step, also where the episode ended and `obs` of the next step belongs to
    the next one. `u` is the sampled action before tanh. `done` includes `truncation`.
    """

    obs: Float[Array, "T N obs"]
    u: Float[Array, "T N nu"]
    reward: Float[Array, "T N"]
    done: Float[Array, "T N"]
    truncation: Float[Array, "T N"]
    margin: Float[Array, "T N"]
    final_obs: Float[Array, "T N obs"]


class Ending(NamedTuple):
    """Whether a step ended its episode, whether only a time limit did, and how near failure is."""

    done: Float[Array, ""]
    truncation: Float[Array, ""]
    margin: Float[Array, ""]


def begin(env: Environment, key: PRNGKeyArray) -> Running:
    """The start of an episode; the key of the next follows from its own, as by splitting it."""
    return Running(arrays(env.reset(key)), jax.random.fold_in(key, 0), jnp.zeros((), int))


def ending(state: Any, steps: Int[Array, ""], limit: int) -> Ending:
    """How the step that led to `state`, the `steps`-th of its episode, ended.

    An episode of one action is over by itself: nothing follows that a critic could value.
    """
    dtype = state.obs.dtype
    truncated = jnp.asarray(getattr(state, "truncation", 0.0), dtype) > 0
    ended = jnp.asarray(state.done, dtype) > 0
    over = (steps >= limit) & (~ended | truncated)
    truncated = truncated | (over & (limit > 1))
    margin = jnp.asarray(getattr(state, "margin", 1.0), dtype)
    return Ending((ended | over).astype(dtype), truncated.astype(dtype), margin)


def unroll(
    env: Environment,
    policy: Policy,
    start: Running,
    noise: Float[Array, "T N nu"],
    limit: int,
    truncate: int | None = None,
) -> tuple[Running, Path]:
    """Follow the policy from a batch of states, resetting where episodes end.

    Differentiable; the reverse pass recomputes each step from its state.

    Args:
        noise: standard normal, of the sampled actions.
        limit: actions after which an episode is cut short.
        truncate: derivatives flow back over at most this many steps.
    """
    step = jax.checkpoint(lambda state, action: arrays(env.step(state, action)), prevent_cse=False)

    def one(now: Running, noise: Float[Array, " nu"]) -> tuple[Running, Path]:
        u = policy.actor.sample(policy.normalizer(now.state.obs), noise)
        after = step(now.state, jnp.tanh(u))
        end = ending(after, now.steps + 1, limit)
        reward = jnp.asarray(after.reward, after.obs.dtype)
        following = Running(after, now.key, now.steps + 1)
        return renew(env, following, end.done), Path(now.state.obs, u, reward, *end, after.obs)

    def body(now: Running, x: tuple) -> tuple[Running, Path]:
        noise, i = x
        if truncate is not None:
            cut = lambda s: jnp.where(i % truncate, s, jax.lax.stop_gradient(s))
            now = jax.tree.map(lambda s: cut(s) if eqx.is_inexact_array(s) else s, now)
        return jax.vmap(one)(now, noise)

    return jax.lax.scan(body, start, (noise, jnp.arange(noise.shape[0])))


def renew(env: Environment, now: Running, done: Float[Array, ""]) -> Running:
    """A new episode where the last is done."""
    fresh = begin(env, now.key)
    return jax.tree.map(lambda new, old: jnp.where(done > 0, new, old), fresh, now)


class Score(NamedTuple):
    """Undiscounted return and length, in actions, of every episode."""

    returns: Float[Array, " N"]
    length: Int[Array, " N"]


def evaluate(env: Any, policy: Policy, keys: PRNGKeyArray) -> Score:
    """Episodes of the most likely actions, one per key, without softening.

    Args:
        env: the task.
        policy: what is scored.
        keys: (N,) random keys, one per episode: `jax.random.split(jax.random.key(0), 16)`.

    Returns:
        `returns` (N,), sums of rewards, and `length` (N,), actions.
    """
    if hasattr(env, "with_softening"):
        env = env.with_softening(softsim.Softening.hard())
    limit = episode_limit(env)
    start = jax.vmap(lambda key: arrays(env.reset(key)))(keys)
    zero = jnp.zeros(keys.shape[0])

    def one(state: Any, steps: Int[Array, ""]) -> tuple:
        state = arrays(env.step(state, policy(state.obs)))
        return state, ending(state, steps, limit).done

    def body(carry: tuple) -> tuple:
        state, alive, total, length, steps = carry
        state, done = jax.vmap(one, in_axes=(0, None))(state, steps + 1)
        # not a product: what has ended may not be finite any more
        total = total + jnp.where(alive > 0, state.reward, 0.0)
        return state, alive * (1 - done), total, length + alive, steps + 1

    running = lambda carry: jnp.any(carry[1] > 0)
    first = (start, zero + 1, zero, zero, jnp.zeros((), int))
    _, _, total, length, _ = jax.lax.while_loop(running, body, first)
    return Score(total, length.astype(int))
