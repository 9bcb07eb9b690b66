"""Analytic policy gradient (APG): descend the loss of whole episodes, through the physics.

No critic: the return of `horizon` steps from fresh starts is differentiated with respect to the
policy. Gradients through long contact-rich episodes explode; `truncate` cuts them every so many
steps, which biases them towards what acts soon.
"""

from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from softsim.learning.algorithm import Algorithm
from softsim.learning.checks import check, optional, whole
from softsim.learning.environment import Environment
from softsim.learning.networks import Actor, Normalizer
from softsim.learning.policy import Policy, new_policy
from softsim.learning.rollouts import Path, Running, begin, unroll


@dataclass(frozen=True)
class Apg(Algorithm):
    """Analytic policy gradient: descend the loss of whole episodes, through the physics."""

    iterations: int = 300
    """The policy is updated this many times; at least 1."""
    horizon: int = 100
    """Every update simulates this many actions of each environment, from the start of an episode;
    at least 1."""
    init_std: float = 0.1
    """Deviation of actions before tanh, at first; above 0."""
    truncate: int | None = None
    """Derivatives flow back over at most this many actions, at least 1; None: over all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check("Apg.", vars(self), {"truncate": optional(whole(1, "action"))})

    def init(self, env: Environment, key: PRNGKeyArray) -> "TrainState":
        """A policy that knows nothing, and environments at the start of an episode."""
        key, for_actor, for_envs = jax.random.split(key, 3)
        policy = new_policy(
            env.observation_size, env.action_size, self.hidden, self.init_std, key=for_actor
        )
        learned = eqx.filter(policy.actor, eqx.is_inexact_array)
        opt_state = self.actor_optimizer.init(learned)
        starts = self._starts(self.practice(env, 0), for_envs)
        zero = jnp.zeros((), int)
        return TrainState(policy.actor, opt_state, policy.normalizer, starts, key, zero)

    def update(
        self, env: Environment, state: "TrainState"
    ) -> tuple["TrainState", dict[str, Array]]:
        """One batch of episodes, one step of the policy."""
        key, for_envs, noise = self.draw(env, state)
        env = self.practice(env, state.iteration)

        def loss(actor: Actor) -> tuple[Float[Array, ""], Path]:
            policy = Policy(actor, state.normalizer)
            _, path = unroll(env, policy, state.env_state, noise, self.limit(env), self.truncate)
            return -jnp.mean(first_episode(path)), path

        (value, path), gradient = eqx.filter_value_and_grad(loss, has_aux=True)(state.actor)
        change, opt_state = self.actor_optimizer.update(gradient, state.actor_opt)
        metrics = {
            "reward": path.reward.mean(),
            "return": -value,
            "grad_norm": optax.tree.norm(gradient),
            "std": jnp.exp(state.actor.log_std).mean(),
        }
        following = TrainState(
            eqx.apply_updates(state.actor, change),
            opt_state,
            state.normalizer.update(path.obs),
            self._starts(env, for_envs),
            key,
            state.iteration + 1,
        )
        return following, metrics

    def _starts(self, env: Environment, key: PRNGKeyArray) -> Running:
        return jax.vmap(lambda key: begin(env, key))(jax.random.split(key, self.num_envs))


class TrainState(eqx.Module):
    """All that changes in training: what a checkpoint holds."""

    actor: Actor
    actor_opt: optax.OptState
    normalizer: Normalizer
    env_state: Running
    key: PRNGKeyArray
    iteration: Int[Array, ""]

    @property
    def policy(self) -> Policy:
        """What is being learned."""
        return Policy(self.actor, self.normalizer)


def first_episode(path: Path) -> Float[Array, " N"]:
    """Rewards of every environment until its episode ends, summed."""
    alive = jnp.cumprod(1 - path.done, axis=0)
    before = jnp.concatenate([jnp.ones_like(alive[:1]), alive[:-1]])
    return jnp.sum(before * path.reward, axis=0)
