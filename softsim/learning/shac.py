"""Short-horizon actor-critic (SHAC): policy gradients through a few steps of physics at a time.

Many environments are simulated for a short horizon; the return of that piece plus the value of
where it ends is differentiated, through every contact, with respect to the policy. The critic
learns from the same pieces by TD(lambda). After Xu et al., "Accelerated policy learning with
parallel differentiable simulation" (ICLR 2022).

First-order gradients through stiff contact can be worse than none, so the estimator is a choice:
`first` (through the physics), `zeroth` (score function, needs no derivative of the physics), or
`mixed`, their combination weighted by inverse variance (as in Suh et al., "Do differentiable
simulators give better policy gradients?", ICML 2022, without their bound on the bias).
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeVar, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

import softjax_ops as sj
from softsim.learning.algorithm import Algorithm
from softsim.learning.checks import (
    NOT_NEGATIVE,
    POSITIVE,
    SHARE,
    check,
    number,
    one_of,
    optional,
    whole,
)
from softsim.learning.environment import Environment, episode_limit
from softsim.learning.networks import Actor, Critic, Normalizer
from softsim.learning.policy import Policy, new_policy
from softsim.learning.rollouts import Path, Running, begin, unroll

Estimator = Literal["first", "zeroth", "mixed"]


@dataclass(frozen=True)
class Shac(Algorithm):
    """Short-horizon actor-critic: policy gradients through a few steps of physics at a time."""

    episode: int | None = None
    """Actions after which an episode is cut short in training, at least 2; None: as long as it is.
    What has fallen and cannot rise begins anew sooner."""
    critic_rate: float = 2e-3
    """Learning rate of the critic's Adam at the start, above 0; it falls linearly to 1 % of it."""
    discount: float = 0.99
    """A reward one action later counts this much less, as a factor from 0 to 1."""
    td_lambda: float = 0.95
    """Share of what followed, beside the critic's own value, in the critic's targets; 0 to 1."""
    critic_epochs: int = 16
    """The critic passes over the steps of an update this many times; at least 1."""
    critic_batches: int = 4
    """A pass is split into this many batches; at least 1, at most num_envs * horizon."""
    target_keep: float = 0.2
    """Share of the target critic that an update keeps; 0 to 1."""
    averaging: float = 0.0
    """What is evaluated and kept is a running average of the policy's weights, of which an update
    keeps this share, and less at first; from 0, which is the policy itself, to below 1."""
    outlier: float | None = None
    """The derivative by an action that is longer than this many medians of all, above 0, is
    shortened to that: contact makes a few very long. But so do failures that can be avoided. None:
    all count as they are."""
    fading: float = 0.1
    """Width in which the end of an episode by failure is smoothed, in the derivative only and in
    units of the environment's margin; at least 0; at 0 failing has no derivative."""
    estimator: Estimator = "first"
    """How the gradient of the policy is estimated: first (through the physics), zeroth (no
    derivative of the physics), mixed."""
    groups: int = 8
    """The estimator `mixed` takes variances over this many groups of environments, at least 2 that
    divide num_envs."""

    def __post_init__(self) -> None:
        super().__post_init__()
        counts = dict.fromkeys(("critic_epochs", "critic_batches", "groups"), whole(1))
        shares = dict.fromkeys(("discount", "td_lambda", "target_keep"), SHARE)
        rules = {"critic_rate": POSITIVE, "outlier": optional(POSITIVE), "fading": NOT_NEGATIVE}
        rules |= {"episode": optional(whole(2, "actions"))}
        rules |= {"averaging": number(lambda x: 0 <= x < 1, "a share from 0 to below 1")}
        check(
            "Shac.",
            vars(self),
            counts | shares | rules | {"estimator": one_of(get_args(Estimator))},
        )
        if self.steps_per_update < self.critic_batches:
            raise ValueError(
                f"Shac.num_envs * horizon: got {self.steps_per_update} steps per update, expected "
                f"at least critic_batches, {self.critic_batches}"
            )
        if self.estimator == "mixed" and (self.groups < 2 or self.num_envs % self.groups):
            raise ValueError(
                f"Shac.groups: got {self.groups}, expected at least 2 that divide num_envs, "
                f"{self.num_envs}"
            )

    @property
    def critic_optimizer(self) -> optax.GradientTransformation:
        """The critic's, which takes many steps per update."""
        adam = self.adam(self.critic_rate, self.critic_epochs * self.critic_batches)
        return optax.chain(optax.clip_by_global_norm(self.max_norm), adam)

    def kept(self, iteration: Int[Array, ""]) -> Float[Array, ""]:
        """Share of the average that an update keeps. It looks back over a tenth of all updates so
        far at most: what came before knew nothing."""
        return jnp.minimum(self.averaging, iteration / (iteration + 10))

    def limit(self, env: Environment) -> int:
        """Actions after which an episode of training is cut short."""
        return min(self.episode or episode_limit(env), episode_limit(env))

    def init(self, env: Environment, key: PRNGKeyArray) -> "TrainState":
        """A policy that knows nothing, and environments at the start of an episode.

        They count as if in the middle of episodes, so that they are not all cut short together.
        """
        key, for_actor, for_critic, for_envs, for_age = jax.random.split(key, 5)
        obs = env.observation_size
        policy = new_policy(obs, env.action_size, self.hidden, self.init_std, key=for_actor)
        critic = Critic(obs, self.hidden, for_critic)
        learned = lambda tree: eqx.filter(tree, eqx.is_inexact_array)
        env = self.practice(env, 0)
        starts = jax.vmap(lambda key: begin(env, key))(jax.random.split(for_envs, self.num_envs))
        age = jax.random.randint(for_age, (self.num_envs,), 0, self.limit(env))
        return TrainState(
            policy.actor,
            policy.actor,
            critic,
            critic,
            self.actor_optimizer.init(learned(policy.actor)),
            self.critic_optimizer.init(learned(critic)),
            policy.normalizer,
            eqx.tree_at(lambda s: s.steps, starts, age.astype(int)),
            key,
            jnp.zeros((), int),
        )

    def update(
        self, env: Environment, state: "TrainState"
    ) -> tuple["TrainState", dict[str, Array]]:
        """One piece of every environment, one step of the actor, an approach of the critic."""
        key, for_batches, noise = self.draw(env, state)
        env = self.practice(env, state.iteration)
        gradient, path, env_state, share = policy_gradient(self, env, state, noise)

        change, actor_opt = self.actor_optimizer.update(gradient, state.actor_opt)
        targets = td_lambda(self, value_after(state, path), path)
        critic, critic_opt, critic_loss = fit(
            self, self.critic_optimizer, state.critic, state.critic_opt,
            state.normalizer(path.obs), targets, for_batches,
        )  # fmt: skip
        actor = eqx.apply_updates(state.actor, change)
        metrics = {
            "reward": path.reward.mean(),
            "critic_loss": critic_loss,
            "grad_norm": optax.tree.norm(gradient),
            "first_order_share": share,
            "std": jnp.exp(state.actor.log_std).mean(),
        }
        following = TrainState(
            actor,
            blend(self.kept(state.iteration), state.average, actor),
            critic,
            blend(self.target_keep, state.target, critic),
            actor_opt,
            critic_opt,
            state.normalizer.update(path.obs),
            env_state,
            key,
            state.iteration + 1,
        )
        return following, metrics


class TrainState(eqx.Module):
    """All that changes in training: what a checkpoint holds."""

    actor: Actor
    average: Actor
    critic: Critic
    target: Critic
    actor_opt: optax.OptState
    critic_opt: optax.OptState
    normalizer: Normalizer
    env_state: Running
    key: PRNGKeyArray
    iteration: Int[Array, ""]

    @property
    def policy(self) -> Policy:
        """What is being learned, averaged."""
        return Policy(self.average, self.normalizer)


Networks = TypeVar("Networks", Actor, Critic)


def blend(keep: float | Float[Array, ""], old: Networks, new: Networks) -> Networks:
    """Weights of which `keep` is the old ones' share."""
    return jax.tree.map(lambda a, b: keep * a + (1 - keep) * b, old, new)


class Piece(NamedTuple):
    """Gradient of the loss by one estimator, and the steps it was computed from."""

    gradient: Actor
    path: Path
    env_state: Running


def policy_gradient(
    config: Shac, env: Environment, state: TrainState, noise: Float[Array, "T N nu"]
) -> tuple[Actor, Path, Running, Float[Array, ""]]:
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

    def both(start: Running, noise: Array) -> tuple[Actor, Piece]:
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
    config: Shac, env: Environment, state: TrainState, start: Running, noise: Float[Array, "T N nu"]
) -> Piece:
    """The derivative of the return through the physics and the target critic.

    A policy acts by its actions alone, so that it is the derivative by every action, which is that
    by its noise, times that of the action by the policy.
    """

    def loss(noise: Array) -> tuple[Float[Array, ""], tuple[Running, Path]]:
        acting = Policy(state.actor, state.normalizer)
        end, path = unroll(env, acting, start, noise, config.limit(env))
        gained = objective(config, path, value_after(state, path))
        return -gained - survival(config, state, path), (end, path)

    slopes, (end, path) = jax.grad(loss, has_aux=True)(noise)
    slopes = slopes * jnp.exp(-state.actor.log_std)
    if config.outlier is not None:
        slopes = without_outliers(slopes, config.outlier)
    obs = jax.lax.stop_gradient(state.normalizer(path.obs))
    change = lambda actor: jnp.sum(slopes * jax.vmap(jax.vmap(actor.sample))(obs, noise))
    return Piece(eqx.filter_grad(change)(state.actor), path, end)


def without_outliers(slopes: Float[Array, "T N nu"], outlier: float) -> Float[Array, "T N nu"]:
    """Derivatives by actions, none longer than `outlier` medians of those that are not zero (where
    most throws miss, few have a derivative)."""
    norms = jnp.linalg.norm(slopes, axis=-1, keepdims=True)
    longest = outlier * jnp.nanmedian(jnp.where(norms > 0, norms, jnp.nan))
    return slopes * jnp.where(norms > longest, longest / jnp.where(norms > 0, norms, 1.0), 1.0)


def zeroth_order(
    config: Shac, env: Environment, state: TrainState, start: Running, noise: Float[Array, "T N nu"]
) -> Piece:
    """The score-function gradient: no derivative of the physics."""
    acting = Policy(state.actor, state.normalizer)
    end, path = unroll(env, acting, start, noise, config.limit(env))
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
