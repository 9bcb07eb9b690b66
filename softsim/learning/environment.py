"""What training asks of an environment: two functions and two sizes, of any class.

`envs.Env` has them, and so has a class of thirty lines of your own (see docs/training.md).
"""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

LIMIT = 1000  # actions in an episode of an environment that states no `episode_length`
REQUIRED = {
    "reset": "reset(self, key) -> state, the first state of an episode",
    "step": "step(self, state, action) -> state, one action later",
    "observation_size": "observation_size: int, the numbers in state.obs",
    "action_size": "action_size: int, the numbers in an action, each in [-1, 1]",
}


class State(Protocol):
    """A pytree of arrays: one environment between two actions.

    Two more fields are read where a state has them: `truncation`, scalar, 1 where `done` is the
    work of a time limit and not a failure (default 0); and `margin`, scalar, how far the episode
    is from failing in units of the task, 1 well away from it (default 1): by it SHAC knows the
    derivative of failing.

    Attributes:
        obs: what the policy sees.
        reward: of the last action.
        done: 1 (or True) where the episode ended with the last action, else 0.
    """

    @property
    def obs(self) -> Float[Array, " obs"]: ...

    @property
    def reward(self) -> Float[Array, ""]: ...

    @property
    def done(self) -> Float[Array, ""]: ...


class Environment(Protocol):
    """A task: pure functions of one environment, which training maps over batches by `jax.vmap`.

    `episode_length`, the actions after which an episode is cut short, is read where an environment
    has it, and is 1000 otherwise: an environment need not count its steps itself. Three methods are
    called where there is one: `with_softening(softsim.Softening)` and `with_randomization(draws)`,
    functions of (key, value) by leaf, return the same environment with these; `diagnose(state)`
    returns a report, as text, on the step from a state.

    Attributes:
        observation_size: the numbers in an observation.
        action_size: the numbers in an action, each in [-1, 1].
    """

    @property
    def observation_size(self) -> int: ...

    @property
    def action_size(self) -> int: ...

    def reset(self, key: PRNGKeyArray) -> Any:
        """The first state of an episode."""

    def step(self, state: Any, action: Float[Array, " nu"]) -> Any:
        """The state one action later: the same pytree, with the same shapes and dtypes."""


def episode_limit(env: Environment) -> int:
    """Actions after which an episode is cut short."""
    return int(getattr(env, "episode_length", LIMIT))


def check_environment(env: Any) -> None:
    """Refuse what training could not use, by tracing a reset and a step (nothing is compiled).

    Raises:
        ValueError: names what is missing, or what `reset` or `step` returned, what was expected and
            the remedy.
    """
    name = type(env).__name__
    for field, form in REQUIRED.items():
        if not hasattr(env, field):
            raise ValueError(f"env: {name} has no `{field}`; define {form}")
    for field in ("observation_size", "action_size"):
        size = getattr(env, field)
        if not isinstance(size, int | np.integer) or size < 0:
            raise ValueError(f"env: {name}.{field} is {size!r}, expected a whole number")
    if not env.action_size:
        raise ValueError(
            f"env: {name} has no actions (action_size is 0): there is nothing to learn"
        )
    if episode_limit(env) < 1:
        raise ValueError(
            f"env: {name}.episode_length is {env.episode_length}, expected at least 1 action"
        )
    first = jax.eval_shape(lambda key: arrays(env.reset(key)), jax.random.key(0))
    _check_state(f"{name}.reset", first, env.observation_size)
    action = jax.ShapeDtypeStruct((int(env.action_size),), jnp.result_type(float))
    after = jax.eval_shape(lambda state, u: arrays(env.step(state, u)), first, action)
    _check_state(f"{name}.step", after, env.observation_size)
    _check_same(name, first, after)


def arrays(state: Any) -> Any:
    """A state whose numbers are arrays, those written as Python's too."""
    return jax.tree.map(jnp.asarray, state)


def _check_state(where: str, state: Any, size: int) -> None:
    for field, shape in (("obs", (size,)), ("reward", ()), ("done", ())):
        if not hasattr(state, field):
            raise ValueError(
                f"env: {where} returned {type(state).__name__} without `{field}`; "
                "return a pytree (such as a NamedTuple) with obs, reward and done"
            )
        got = getattr(state, field)
        if getattr(got, "shape", None) != shape:
            found = f"of shape {got.shape}" if hasattr(got, "shape") else f"{got!r}"
            raise ValueError(f"env: {field} of {where} is {found}, expected an array of {shape}")
    for field in ("obs", "reward"):
        if not jnp.issubdtype(getattr(state, field).dtype, jnp.floating):
            raise ValueError(
                f"env: {field} of {where} is {getattr(state, field).dtype}, expected floats; "
                "convert it by .astype(float)"
            )


def _check_same(name: str, first: Any, after: Any) -> None:
    """A loop carries the state: it must keep its form."""
    paths = [
        {
            jax.tree_util.keystr(path).lstrip(".")
            for path, _ in jax.tree_util.tree_leaves_with_path(x)
        }
        for x in (first, after)
    ]
    forms: list[Any] = [jax.tree.structure(x) for x in (first, after)]
    if forms[0] != forms[1]:
        what = ", ".join(sorted(paths[0] ^ paths[1])) or "what is no array"
        raise ValueError(
            f"env: {name}.reset and {name}.step return states that differ in {what}; expected the "
            "same pytree"
        )
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(first), jax.tree.leaves(after)):
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            leaf = jax.tree_util.keystr(path).lstrip(".")
            raise ValueError(
                f"env: {leaf} of {name}.step is {b.dtype} of shape {b.shape}, expected {a.dtype} "
                f"of shape {a.shape} as {name}.reset returned it"
            )
