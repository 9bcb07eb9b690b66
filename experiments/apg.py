"""Analytic policy gradient (APG): descend the loss of whole episodes, through the physics.

No critic: the return of `horizon` steps from fresh starts is differentiated with respect to the
policy. Gradients through long contact-rich episodes explode; `truncate` cuts them every so many
steps, which biases them towards what acts soon.

Run it with `python -m experiments.train --algo apg`.
"""

from dataclasses import dataclass, field

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from envs import Env, State
from experiments._networks import Actor, Normalizer, Policy
from experiments._practice import Randomize, check_randomize, practice
from experiments._rollouts import Path, unroll
from experiments._softness import Softness


@dataclass(frozen=True)
class Apg:
    """Settings of APG."""

    iterations: int = 300
    """updates of the policy"""
    num_envs: int = 64
    """environments at once"""
    horizon: int = 100
    """steps per update and environment, from the start of an episode"""
    truncate: int | None = None
    """derivatives flow back over at most this many steps; default: all"""
    hidden: tuple[int, ...] = (64, 64)
    """widths of the network"""
    actor_rate: float = 2e-3
    """of Adam at first; falls linearly to 1 % of it"""
    max_norm: float = 1.0
    """the gradient is shortened to this length"""
    init_std: float = 0.1
    """deviation of actions before tanh, at first"""
    softness: Softness = field(default_factory=Softness)
    """of the physics that is differentiated"""
    randomize: Randomize = ()
    """leaves of the model, and by what share they vary from episode to episode in training"""

    def __post_init__(self) -> None:
        for name in ("iterations", "num_envs", "horizon", "actor_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(
                    f"{name}: got {getattr(self, name)}, expected a finite number more than 0"
                )
        check_randomize(self.randomize)
        if self.truncate is not None and self.truncate < 1:
            raise ValueError(f"truncate: got {self.truncate}, expected at least 1 step")

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one update."""
        return self.num_envs * self.horizon

    def practice(self, env: Env, iteration: Int[Array, ""] | int) -> Env:
        """The environment that an update sees."""
        return practice(env, self.softness.at(iteration, self.iterations), self.randomize)


class TrainState(eqx.Module):
    """All that changes in training: what a checkpoint holds."""

    actor: Actor
    actor_opt: optax.OptState
    normalizer: Normalizer
    env_state: State
    key: PRNGKeyArray
    iteration: Int[Array, ""]

    @property
    def policy(self) -> Policy:
        """What is being learned."""
        return Policy(self.actor, self.normalizer)


def optimizer(config: Apg) -> optax.GradientTransformation:
    """Clipped Adam with a falling rate."""
    rate = optax.linear_schedule(config.actor_rate, 0.01 * config.actor_rate, config.iterations)
    return optax.chain(optax.clip_by_global_norm(config.max_norm), optax.adam(rate, 0.7, 0.95))


def init(config: Apg, env: Env, key: PRNGKeyArray) -> TrainState:
    """A policy that knows nothing."""
    key, for_actor, for_envs = jax.random.split(key, 3)
    actor = Actor(env.observation_size, env.action_size, config.hidden, config.init_std, for_actor)
    opt_state = optimizer(config).init(eqx.filter(actor, eqx.is_inexact_array))
    reset = config.practice(env, 0).reset
    starts = jax.vmap(reset)(jax.random.split(for_envs, config.num_envs))
    zero = jnp.zeros((), int)
    return TrainState(actor, opt_state, Normalizer(env.observation_size), starts, key, zero)


def draw(
    config: Apg, env: Env, state: TrainState
) -> tuple[PRNGKeyArray, PRNGKeyArray, Float[Array, "T N nu"]]:
    """All randomness of an update: the next key, one for the update, and noise for the actions."""
    key, other, for_noise = jax.random.split(state.key, 3)
    shape = (config.horizon, config.num_envs, env.action_size)
    return key, other, jax.random.normal(for_noise, shape)


def update(config: Apg, env: Env, state: TrainState) -> tuple[TrainState, dict[str, Array]]:
    """One batch of episodes, one step of the policy."""
    key, for_envs, noise = draw(config, env, state)
    env = config.practice(env, state.iteration)

    def loss(actor: Actor) -> tuple[Float[Array, ""], Path]:
        policy = Policy(actor, state.normalizer)
        _, path = unroll(env, policy, state.env_state, noise, config.truncate)
        return -jnp.mean(first_episode(path)), path

    (value, path), gradient = eqx.filter_value_and_grad(loss, has_aux=True)(state.actor)
    change, opt_state = optimizer(config).update(gradient, state.actor_opt)
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
        jax.vmap(env.reset)(jax.random.split(for_envs, config.num_envs)),
        key,
        state.iteration + 1,
    )
    return following, metrics


def first_episode(path: Path) -> Float[Array, " N"]:
    """Rewards of every environment until its episode ends, summed."""
    alive = jnp.cumprod(1 - path.done, axis=0)
    before = jnp.concatenate([jnp.ones_like(alive[:1]), alive[:-1]])
    return jnp.sum(before * path.reward, axis=0)
