"""What SHAC and APG share: their settings in common, and the environment that an update sees."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from softsim.learning.checks import POSITIVE, Rule, check, optional, whole
from softsim.learning.environment import Environment, episode_limit
from softsim.learning.softness import Softness

WIDTHS = Rule(
    lambda x: isinstance(x, tuple) and all(whole(1).passes(n) for n in x),
    "a tuple of whole numbers of at least 1",
)


@dataclass(frozen=True)
class Algorithm(ABC):
    """Settings that every algorithm has, and what `train` calls."""

    iterations: int = 500
    """The policy is updated this many times; at least 1."""
    num_envs: int = 64
    """Every seed runs this many environments at once; at least 1."""
    horizon: int = 32
    """Every update simulates this many actions of each environment; at least 1."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the layers of a network; each at least 1."""
    actor_rate: float = 2e-3
    """Learning rate of the policy's Adam at the start, above 0; it falls linearly to 1 % of it."""
    max_norm: float = 1.0
    """A gradient that is longer is shortened to this length; above 0."""
    final_norm: float | None = None
    """The policy's is shortened to max_norm at first and to this length, above 0, at the end; in
    between it grows geometrically. Short, every update is worth the same, and learning is quick;
    long, the few that saw a fall are worth what it costs. None: it stays."""
    init_std: float = 0.37
    """Deviation of actions before tanh, at first; above 0."""
    softness: Softness = field(default_factory=Softness)
    """How soft the physics is that is differentiated."""
    randomize: Mapping[str, float] = field(default_factory=dict, hash=False)
    """Leaves of the model that vary from episode to episode in training, each with a share: every
    entry is multiplied by its own factor from 1 - share to 1 + share. Evaluation does not vary
    them. A share is above 0 and below 1."""

    def __post_init__(self) -> None:
        counts = dict.fromkeys(("iterations", "num_envs", "horizon"), whole(1))
        reals = dict.fromkeys(("actor_rate", "max_norm", "init_std"), POSITIVE)
        reals |= {"final_norm": optional(POSITIVE)}
        soft = Rule(lambda x: isinstance(x, Softness), "a softsim.learning.Softness")
        check(
            f"{type(self).__name__}.",
            vars(self),
            counts | reals | {"hidden": WIDTHS, "softness": soft},
        )
        for leaf, share in self.randomize.items():
            if not 0 < share < 1:
                raise ValueError(
                    f"{type(self).__name__}.randomize: got {share!r} for {leaf!r}, expected a "
                    "share above 0 and below 1, which turns no sign"
                )

    @property
    def steps_per_update(self) -> int:
        """Environment steps of one update of one seed."""
        return self.num_envs * self.horizon

    def limit(self, env: Environment) -> int:
        """Actions after which an episode of training is cut short."""
        return episode_limit(env)

    def practice(self, env: Any, iteration: Int[Array, ""] | int) -> Any:
        """The environment that an update sees: softened, its model varied.

        Raises:
            ValueError: the environment can be neither softened nor varied, or has no such leaf.
        """
        if hasattr(env, "with_softening"):
            env = env.with_softening(self.softness.at(iteration, self.iterations))
        elif self.softness != Softness():
            raise ValueError(f"softness: {_lacks(env, 'with_softening(softening)')}")
        if not self.randomize:
            return env
        if not hasattr(env, "with_randomization"):
            raise ValueError(f"randomize: {_lacks(env, 'with_randomization(draws)')}")
        return env.with_randomization({k: factors(share) for k, share in self.randomize.items()})

    def draw(
        self, env: Environment, state: Any
    ) -> tuple[PRNGKeyArray, PRNGKeyArray, Float[Array, "T N nu"]]:
        """All randomness of an update: the next key, one for the update, noise for the actions."""
        key, other, for_noise = jax.random.split(state.key, 3)
        shape = (self.horizon, self.num_envs, env.action_size)
        return key, other, jax.random.normal(for_noise, shape)

    @property
    def actor_optimizer(self) -> optax.GradientTransformation:
        """The policy's: gradients may grow from max_norm to final_norm."""
        if self.final_norm is None:
            return optax.chain(optax.clip_by_global_norm(self.max_norm), self.adam(self.actor_rate))
        growth = self.final_norm / self.max_norm
        norm = optax.exponential_decay(self.max_norm, self.iterations, growth)
        clip = optax.inject_hyperparams(optax.clip_by_global_norm)(norm)
        return optax.chain(clip, self.adam(self.actor_rate))

    def adam(self, rate: float, per_update: int = 1) -> optax.GradientTransformation:
        """Adam with a rate that falls linearly to 1 %.

        Args:
            rate: at the start.
            per_update: an update takes this many steps of it.
        """
        falling = optax.linear_schedule(rate, 0.01 * rate, self.iterations * per_update)
        return optax.adam(falling, 0.7, 0.95)

    @abstractmethod
    def init(self, env: Environment, key: PRNGKeyArray) -> Any:
        """A policy that knows nothing, and environments at the start of an episode.

        The state has the fields `policy`, `actor`, `normalizer`, `env_state`, `key` and
        `iteration`, the number of updates so far.
        """

    @abstractmethod
    def update(self, env: Environment, state: Any) -> tuple[Any, dict[str, Array]]:
        """The state after one update, and scalars to report: "reward" per step, "grad_norm" and
        "std" at least."""


def factors(share: float) -> Any:
    """A draw: every entry times its own factor, uniform in 1 - share to 1 + share."""
    return lambda key, x: x * jax.random.uniform(key, x.shape, x.dtype, 1.0 - share, 1.0 + share)


def _lacks(env: Any, method: str) -> str:
    name = type(env).__name__
    return f"{name} has no {method}; define it (as envs.Env does), or leave the setting out"
