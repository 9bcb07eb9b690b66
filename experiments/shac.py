"""Short-horizon actor-critic (SHAC): policy gradients through a few steps of physics at a time.

Many environments are simulated for a short horizon; the return of that piece plus the value of
where it ends is differentiated, through every contact, with respect to the policy. The critic
learns from the same pieces by TD(lambda). After Xu et al., "Accelerated policy learning with
parallel differentiable simulation" (ICLR 2022).

First-order gradients through stiff contact can be worse than none, so the estimator is a choice:
`first` (through the physics), `zeroth` (score function, needs no derivative of the physics), or
`mixed`, their combination weighted by inverse variance (as in Suh et al., "Do differentiable
simulators give better policy gradients?", ICML 2022, without their bound on the bias).

Run it with `python -m experiments.train --algo shac`.
"""

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

import softjax_ops as sj
from envs import Env, State
from experiments._networks import Actor, Critic, Normalizer, Policy
from experiments._practice import Randomize, check_randomize, practice
from experiments._rollouts import Path, unroll
from experiments._softness import Softness

Estimator = Literal["first", "zeroth", "mixed"]


@dataclass(frozen=True)
class Shac:
    """Settings of SHAC."""

    iterations: int = 500
    """updates of the policy"""
    num_envs: int = 64
    """environments at once"""
    horizon: int = 32
    """steps per update and environment"""
    episode: int | None = None
    """steps after which an episode is cut short in training; default: as long as it is. What has
    fallen and cannot rise begins anew sooner"""
    hidden: tuple[int, ...] = (64, 64)
    """widths of both networks"""
    actor_rate: float = 2e-3
    """learning rate of the policy's Adam at the start; it falls linearly to 1 % of that"""
    critic_rate: float = 2e-3
    """learning rate of the critic's Adam at the start; it falls linearly to 1 % of that"""
    discount: float = 0.99
    """a reward one step later counts this much less"""
    td_lambda: float = 0.95
    """of the critic's targets"""
    critic_epochs: int = 16
    """passes over the collected steps per update"""
    critic_batches: int = 4
    """batches per pass"""
    target_keep: float = 0.2
    """share of the target critic that an update keeps"""
    fading: float = 0.1
    """of survival: width in which the end of an episode by failure is smoothed, in the derivative
    only and in units of the environment's margin; 0: failing has no derivative"""
    max_norm: float = 1.0
    """the gradient of the policy is shortened to this length"""
    init_std: float = 0.37
    """deviation of actions before tanh, at first"""
    estimator: Estimator = "first"
    """of the policy gradient"""
    groups: int = 8
    """of environments, whose gradients give the variances that `mixed` needs"""
    softness: Softness = field(default_factory=Softness)
    """of the physics that is differentiated"""
    randomize: Randomize = ()
    """leaves of the model, and by what share they vary from episode to episode in training"""

    def __post_init__(self) -> None:
        if self.estimator not in get_args(Estimator):
            names = ", ".join(get_args(Estimator))
            raise ValueError(f"--estimator {self.estimator}: expected one of {names}")
        for name in ("iterations", "num_envs", "horizon", "groups", "actor_rate", "critic_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(
                    f"{name}: got {getattr(self, name)}, expected a finite number more than 0"
                )
        check_randomize(self.randomize)
        if self.episode is not None and self.episode < 2:
            raise ValueError(f"episode: got {self.episode}, expected at least 2 steps")
        if self.steps_per_update < self.critic_batches:
            raise ValueError(
                f"num_envs * horizon: got {self.steps_per_update} steps per update, expected at "
                f"least {self.critic_batches}, one for each batch of the critic"
            )
        if not self.fading >= 0:
            raise ValueError(f"fading: got {self.fading}, expected at least 0")
        if self.estimator == "mixed" and (self.groups < 2 or self.num_envs % self.groups):
            raise ValueError(
                f"groups: got {self.groups}, expected at least 2 that divide {self.num_envs} "
                "environments"
            )

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one update."""
        return self.num_envs * self.horizon

    def practice(self, env: Env, iteration: Int[Array, ""] | int) -> Env:
        """The environment that an update sees."""
        softening = self.softness.at(iteration, self.iterations)
        return practice(env, softening, self.randomize, self.episode)


class TrainState(eqx.Module):
    """All that changes in training: what a checkpoint holds."""

    actor: Actor
    critic: Critic
    target: Critic
    actor_opt: optax.OptState
    critic_opt: optax.OptState
    normalizer: Normalizer
    env_state: State
    key: PRNGKeyArray
    iteration: Int[Array, ""]

    @property
    def policy(self) -> Policy:
        """What is being learned."""
        return Policy(self.actor, self.normalizer)


def optimizers(config: Shac) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """Of the actor and of the critic."""
    rates = (
        optax.linear_schedule(rate, 0.01 * rate, config.iterations)
        for rate in (config.actor_rate, config.critic_rate)
    )
    actor, critic = (
        optax.chain(optax.clip_by_global_norm(config.max_norm), optax.adam(rate, 0.7, 0.95))
        for rate in rates
    )
    return actor, critic


def init(config: Shac, env: Env, key: PRNGKeyArray) -> TrainState:
    """A policy that knows nothing, and environments at the start of an episode."""
    key, for_actor, for_critic, for_envs, for_age = jax.random.split(key, 5)
    obs = env.observation_size
    actor = Actor(obs, env.action_size, config.hidden, config.init_std, for_actor)
    critic = Critic(obs, config.hidden, for_critic)
    actor_opt, critic_opt = optimizers(config)
    env = config.practice(env, 0)
    starts = jax.vmap(env.reset)(jax.random.split(for_envs, config.num_envs))
    # as if in the middle of episodes, so that they do not all end together
    age = jax.random.randint(for_age, (config.num_envs,), 0, env.episode_length)
    starts = starts.replace(info=starts.info | {"steps": age.astype(int)})
    return TrainState(
        actor,
        critic,
        critic,
        actor_opt.init(eqx.filter(actor, eqx.is_inexact_array)),
        critic_opt.init(eqx.filter(critic, eqx.is_inexact_array)),
        Normalizer(obs),
        starts,
        key,
        jnp.zeros((), int),
    )


def draw(
    config: Shac, env: Env, state: TrainState
) -> tuple[PRNGKeyArray, PRNGKeyArray, Float[Array, "T N nu"]]:
    """All randomness of an update: the next key, one for the update, and noise for the actions."""
    key, other, for_noise = jax.random.split(state.key, 3)
    shape = (config.horizon, config.num_envs, env.action_size)
    return key, other, jax.random.normal(for_noise, shape)


def update(config: Shac, env: Env, state: TrainState) -> tuple[TrainState, dict[str, Array]]:
    """One piece of every environment, one step of the actor, an approach of the critic."""
    key, for_batches, noise = draw(config, env, state)
    env = config.practice(env, state.iteration)
    gradient, path, env_state, share = policy_gradient(config, env, state, noise)

    actor_opt, critic_opt = optimizers(config)
    change, actor_state = actor_opt.update(gradient, state.actor_opt)
    targets = td_lambda(config, value_after(state, path), path)
    critic, critic_state, critic_loss = fit(
        config, critic_opt, state.critic, state.critic_opt, state.normalizer(path.obs), targets,
        for_batches,
    )  # fmt: skip
    keep = config.target_keep
    target = jax.tree.map(lambda t, c: keep * t + (1 - keep) * c, state.target, critic)
    metrics = {
        "reward": path.reward.mean(),
        "critic_loss": critic_loss,
        "grad_norm": optax.tree.norm(gradient),
        "first_order_share": share,
        "std": jnp.exp(state.actor.log_std).mean(),
    }
    following = TrainState(
        eqx.apply_updates(state.actor, change),
        critic,
        target,
        actor_state,
        critic_state,
        state.normalizer.update(path.obs),
        env_state,
        key,
        state.iteration + 1,
    )
    return following, metrics


class Piece(NamedTuple):
    """Gradient of the loss by one estimator, and the steps it was computed from."""

    gradient: Actor
    path: Path
    env_state: State


def policy_gradient(
    config: Shac, env: Env, state: TrainState, noise: Float[Array, "T N nu"]
) -> tuple[Actor, Path, State, Float[Array, ""]]:
    """The gradient by the chosen estimator, the path, where it ended, and the first-order share."""
    if config.estimator == "first":
        return *first_order(config, env, state, state.env_state, noise), jnp.ones(())
    if config.estimator == "zeroth":
        return *zeroth_order(config, env, state, state.env_state, noise), jnp.zeros(())
    split = lambda x, axis: x.reshape(
        *x.shape[:axis], config.groups, config.num_envs // config.groups, *x.shape[axis + 1 :]
    )
    start = jax.tree.map(lambda x: split(x, 0), state.env_state)
    noise = jnp.moveaxis(split(noise, 1), 1, 0)

    def both(start: State, noise: Array) -> tuple[Actor, Piece]:
        piece = first_order(config, env, state, start, noise)
        return score_gradient(config, state, piece.path), piece

    zeroth, (first, path, end) = jax.vmap(both)(start, noise)
    v0, v1 = (variance(x) for x in (zeroth, first))
    share = v0 / (v0 + v1 + jnp.finfo(v0.dtype).tiny)
    mix = lambda a, b: share * a.mean(axis=0) + (1 - share) * b.mean(axis=0)
    gradient = jax.tree.map(mix, first, zeroth)
    join = lambda x: jnp.moveaxis(x, 0, 1).reshape(config.horizon, config.num_envs, *x.shape[3:])
    end = jax.tree.map(lambda x: x.reshape(config.num_envs, *x.shape[2:]), end)
    return gradient, jax.tree.map(join, path), end, share


def variance(gradients: Actor) -> Float[Array, ""]:
    """Of gradients with a leading axis of groups, summed over all entries."""
    return jnp.sum(jnp.stack([jnp.var(g, axis=0).sum() for g in jax.tree.leaves(gradients)]))


def first_order(
    config: Shac, env: Env, state: TrainState, start: State, noise: Float[Array, "T N nu"]
) -> Piece:
    """The derivative of the return through the physics and the target critic."""

    def loss(actor: Actor) -> tuple[Float[Array, ""], tuple[State, Path]]:
        end, path = unroll(env, Policy(actor, state.normalizer), start, noise)
        gained = objective(config, path, value_after(state, path))
        return -gained - survival(config, state, path), (end, path)

    gradient, (end, path) = eqx.filter_grad(loss, has_aux=True)(state.actor)
    return Piece(gradient, path, end)


def zeroth_order(
    config: Shac, env: Env, state: TrainState, start: State, noise: Float[Array, "T N nu"]
) -> Piece:
    """The score-function gradient: no derivative of the physics."""
    end, path = unroll(env, state.policy, start, noise)
    return Piece(score_gradient(config, state, path), path, end)


def score_gradient(config: Shac, state: TrainState, path: Path) -> Actor:
    """E[gradient of log pi times advantage], advantages by TD(lambda) from the target critic."""
    path = jax.lax.stop_gradient(path)
    obs = state.normalizer(path.obs)
    advantage = td_lambda(config, value_after(state, path), path) - values(state.target, obs)
    weight = discounts(config, path) * advantage

    def loss(actor: Actor) -> Float[Array, ""]:
        log_prob = jax.vmap(jax.vmap(actor.log_prob))(obs, path.u)
        return -jnp.sum(weight * log_prob) / path.reward.size

    return eqx.filter_grad(loss)(state.actor)


def values(critic: Critic, obs: Float[Array, "T N obs"]) -> Float[Array, "T N"]:
    """Values of normalised observations."""
    return jax.vmap(jax.vmap(critic))(obs)


def value_after(state: TrainState, path: Path) -> Float[Array, "T N"]:
    """What the target critic expects after each step; nothing after a failure."""
    failed = path.done * (1 - path.truncation)
    return (1 - failed) * values(state.target, state.normalizer(path.final_obs))


def discounts(config: Shac, path: Path) -> Float[Array, "T N"]:
    """discount^k at the k-th step of an episode within the piece."""

    def body(factor: Array, done: Array) -> tuple[Array, Array]:
        return jnp.where(done > 0, 1.0, config.discount * factor), factor

    return jax.lax.scan(body, jnp.ones_like(path.done[0]), path.done)[1]


def objective(config: Shac, path: Path, after: Float[Array, "T N"]) -> Float[Array, ""]:
    """Discounted rewards of every piece of an episode and the value of its end, per step."""
    ends = path.done.at[-1].set(1.0)
    gained = path.reward + config.discount * ends * after
    return jnp.sum(discounts(config, path) * gained) / path.reward.size


def survival(config: Shac, state: TrainState, path: Path) -> Float[Array, ""]:
    """Zero, with the derivative of what the policy stands to lose by failing, per step.

    The end of an episode is a step in the return, of the height of all that would have followed,
    and no derivative of the physics sees it: a policy would gain speed by falling. Its truth value
    is therefore differentiated as a soft one.
    """
    if not config.fading:
        return jnp.zeros(())
    alive = sj.greater(path.margin, 0.0, softness=config.fading, mode="smooth")
    value = values(state.target, state.normalizer(path.final_obs))
    onward = jnp.roll(td_lambda(config, value_after(state, path), path), -1, axis=0)
    mixed = (1 - config.td_lambda) * value + config.td_lambda * onward
    ends = path.done.at[-1].set(1.0)
    # nobody is to learn to fail where only losses are expected
    worth = jnp.maximum(jnp.where(ends > 0, value, mixed), 0.0)
    lost = jax.lax.stop_gradient(discounts(config, path) * config.discount * worth)
    return jnp.sum(lost * (alive - jax.lax.stop_gradient(alive))) / path.reward.size


def td_lambda(config: Shac, after: Float[Array, "T N"], path: Path) -> Float[Array, "T N"]:
    """Targets of the critic: R_t = r_t + discount ((1 - lambda) V_t+1 + lambda R_t+1)."""
    ends = path.done.at[-1].set(1.0)

    def body(following: Array, x: tuple) -> tuple[Array, Array]:
        reward, after, end = x
        mixed = (1 - config.td_lambda) * after + config.td_lambda * following
        target = reward + config.discount * jnp.where(end > 0, after, mixed)
        return target, target

    targets: Array
    _, targets = jax.lax.scan(body, after[-1], (path.reward, after, ends), reverse=True)
    return jax.lax.stop_gradient(targets)


def fit(
    config: Shac,
    optimizer: optax.GradientTransformation,
    critic: Critic,
    opt_state: optax.OptState,
    obs: Float[Array, "T N obs"],
    targets: Float[Array, "T N"],
    key: PRNGKeyArray,
) -> tuple[Critic, optax.OptState, Float[Array, ""]]:
    """Some passes over the batch; the loss is the mean of the last pass."""
    obs, targets = jax.lax.stop_gradient((obs.reshape(-1, obs.shape[-1]), targets.ravel()))
    size = targets.size // config.critic_batches

    def loss(critic: Critic, batch: Int[Array, " b"]) -> Float[Array, ""]:
        return jnp.mean((jax.vmap(critic)(obs[batch]) - targets[batch]) ** 2)

    def batch_step(carry: tuple, batch: Int[Array, " b"]) -> tuple:
        critic, opt_state = carry
        value, gradient = eqx.filter_value_and_grad(loss)(critic, batch)
        change, opt_state = optimizer.update(gradient, opt_state)
        return (eqx.apply_updates(critic, change), opt_state), value

    def epoch(carry: tuple, key: PRNGKeyArray) -> tuple:
        order = jax.random.permutation(key, targets.size)
        batches = order[: size * config.critic_batches].reshape(config.critic_batches, size)
        return jax.lax.scan(batch_step, carry, batches)

    keys = jax.random.split(key, config.critic_epochs)
    losses: Array
    (critic, opt_state), losses = jax.lax.scan(epoch, (critic, opt_state), keys)
    return critic, opt_state, losses[-1].mean()
