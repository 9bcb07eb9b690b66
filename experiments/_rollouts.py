"""Batches of trajectories of a policy: sampled for learning, and scored."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from envs import Env, State, reset_where_done
from experiments._networks import Policy


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


def unroll(
    env: Env,
    policy: Policy,
    start: State,
    noise: Float[Array, "T N nu"],
    truncate: int | None = None,
) -> tuple[State, Path]:
    """Follow the policy from a batch of states, resetting where episodes end.

    Differentiable; the reverse pass recomputes each step from its state.

    Args:
        truncate: derivatives flow back over at most this many steps.
    """

    step = jax.checkpoint(lambda state, action: env.step(state, action), prevent_cse=False)

    def one(state: State, noise: Float[Array, " nu"]) -> tuple[State, Path]:
        u = policy.actor.sample(policy.normalizer(state.obs), noise)
        after = step(state, jnp.tanh(u))
        info = after.info
        path = Path(
            state.obs, u, after.reward, after.done, info["truncation"], info["margin"], after.obs
        )
        return reset_where_done(env, after), path

    def body(state: State, x: tuple) -> tuple[State, Path]:
        noise, i = x
        if truncate is not None:
            cut = lambda s: jnp.where(i % truncate, s, jax.lax.stop_gradient(s))
            state = jax.tree.map(lambda s: cut(s) if eqx.is_inexact_array(s) else s, state)
        return jax.vmap(one)(state, noise)

    return jax.lax.scan(body, start, (noise, jnp.arange(noise.shape[0])))


class Score(NamedTuple):
    """Undiscounted return and length, in actions, of one episode per environment."""

    returns: Float[Array, " N"]
    length: Int[Array, " N"]


def evaluate(env: Env, policy: Policy, keys: PRNGKeyArray) -> Score:
    """Episodes of the most likely actions, one per key, without softening."""
    env = env.with_softening(type(env.softening).hard())
    start = jax.vmap(env.reset)(keys)
    zero = jnp.zeros(keys.shape[0])

    def body(carry: tuple) -> tuple:
        state, alive, total, length = carry
        state = jax.vmap(env.step)(state, jax.vmap(policy)(state.obs))
        # not a product: what has ended may not be finite any more
        total = total + jnp.where(alive > 0, state.reward, 0.0)
        return state, alive * (1 - state.done), total, length + alive

    running = lambda carry: jnp.any(carry[1] > 0)
    _, _, total, length = jax.lax.while_loop(running, body, (start, zero + 1, zero, zero))
    return Score(total, length.astype(int))
