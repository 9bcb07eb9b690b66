"""An environment on MuJoCo C: the same task, the physics of the reference implementation."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import equinox as eqx
import jax
import mujoco
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from envs.base import Env, State
from softsim.learning import Score

Policy = Callable[[Float[Array, " obs"]], Float[Array, " nu"]]
FIELDS = ("qpos", "qvel", "act", "ctrl", "time")


class Episode(NamedTuple):
    """One episode of T actions; `qpos` and `obs` begin with the first state."""

    reward: Float[np.ndarray, " T"]
    obs: Float[np.ndarray, "T+1 obs"]
    qpos: Float[np.ndarray, "T+1 nq"]


class Seen(NamedTuple):
    """Of a state: what an episode records, and the physics (`FIELDS`) after the next action."""

    reward: Float[Array, ""]
    obs: Float[Array, " obs"]
    qpos: Float[Array, " nq"]
    done: Float[Array, ""]
    physics: list[Array]


class Programs(NamedTuple):
    """The task beside its physics, compiled: from keys or the physics moved on, to what follows.

    All of it for P policies and N episodes of each. Both take the arrays of the policies and return
    all that is to be kept, as a flat list (a pytree of this size takes longer to pass than to
    compute with), then what is seen of it.
    """

    begin: Callable[[list[Array], PRNGKeyArray], tuple[list[Array], Seen]]
    react: Callable[[list[Array], list[Array], list[np.ndarray]], tuple[list[Array], Seen]]


def run_episodes(env: Env, policy: Policy, keys: PRNGKeyArray) -> list[Episode]:
    """Run `policy` from `env.reset(key)` for each key until the episode ends, with `mj_step`.

    Raises:
        ValueError: the environment randomises its model, which the C model here does not follow.
    """
    policies = jax.tree.map(lambda x: x[None] if eqx.is_array(x) else x, policy)
    states = list(_states(env, _compile(env, policies), policies, keys))
    episodes = []
    for i in range(len(keys)):
        last = next(t for t, seen in enumerate(states) if seen.done[0, i])
        parts = zip(*((s.reward[0, i], s.obs[0, i], s.qpos[0, i]) for s in states[: last + 1]))
        rewards, obs, qpos = (np.array(part) for part in parts)
        episodes.append(Episode(rewards[1:], obs, qpos))
    return episodes


@dataclass(frozen=True)
class Judge:
    """Scores policies in MuJoCo C: a `judge` of `learning.train`.

    Attributes:
        env: the task as it counts, such as the published physics of one that trains on faster ones.
    """

    env: Env

    def __call__(self, policies: Any, keys: PRNGKeyArray) -> Score:
        """Return and length of the episodes of P policies from the same N starts, (P, N) each.

        Args:
            policies: one `learning.Policy` whose arrays have a leading axis of P.
            keys: (N,) random keys.
        """
        _, *states = _states(self.env, self._programs(policies), policies, keys)
        reward, done = (np.stack([getattr(s, name) for s in states]) for name in ("reward", "done"))
        length = 1 + np.argmax(done > 0, axis=0)
        # a sum of those it has: what follows an end may not be finite
        lasting = np.arange(len(states))[:, None, None] < length
        returns = np.where(lasting, reward.astype(float), 0.0).sum(axis=0)
        return Score(jax.numpy.asarray(returns), jax.numpy.asarray(length))

    @cached_property
    def _compiled(self) -> dict[Any, Programs]:
        return {}

    def _programs(self, policies: Any) -> Programs:
        """Compiled once for policies of one structure."""
        kind = jax.tree.structure(policies)
        if kind not in self._compiled:
            self._compiled[kind] = _compile(self.env, policies)
        return self._compiled[kind]


def _compile(env: Env, policies: Any) -> Programs:
    arrays, rest = eqx.partition(policies, eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)
    count = leaves[0].shape[0] if leaves else 1
    restore = lambda leaves: eqx.combine(jax.tree.unflatten(structure, leaves), rest)

    def decide(policy: Policy, state: State) -> tuple[list[Array], Seen]:
        action = policy(state.obs)
        data = env.act(state.data, action, state.info)
        physics = [getattr(data, name) for name in FIELDS]
        seen = Seen(state.reward, state.obs, state.data.qpos, state.done, physics)
        return jax.tree.leaves((state, action)), seen

    def begin(policy: list[Array], key: PRNGKeyArray) -> tuple[list[Array], Seen]:
        return decide(restore(policy), env.reset(key))

    def kept(key: PRNGKeyArray) -> tuple[State, Array]:
        return env.reset(key), jax.numpy.zeros(env.action_size)

    form = jax.tree.structure(jax.eval_shape(kept, jax.random.key(0)))

    def react(
        policy: list[Array], leaves: list[Array], physics: list[np.ndarray]
    ) -> tuple[list[Array], Seen]:
        state, action = jax.tree.unflatten(form, leaves)
        data = env.act(state.data, action, state.info)
        moved = {n: x.astype(getattr(data, n).dtype) for n, x in zip(FIELDS, physics)}
        return decide(restore(policy), env.arrive(state, action, data.replace(**moved)))

    def each(run: Callable, *axes: int | None) -> Callable:
        episodes = jax.vmap(run, (None, *[0] * len(axes)))
        return jax.vmap(episodes, (0, *axes), axis_size=count)

    return Programs(jax.jit(each(begin, None)), jax.jit(each(react, 0, 0), donate_argnums=1))


def _states(env: Env, programs: Programs, policies: Any, keys: PRNGKeyArray) -> Iterator[Seen]:
    """What is seen of all episodes, (P, N) of them, from their starts until the last has ended.

    Of an episode that has ended the physics stand still, and what is seen means nothing.
    """
    if env.randomization:
        raise ValueError("run_episodes: expected an environment without randomization")
    leaves = jax.tree.leaves(eqx.filter(policies, eqx.is_array))
    kept, seen = programs.begin(leaves, keys)
    seen = jax.tree.map(np.asarray, seen)
    yield seen
    alive = seen.done == 0
    physics = {i: mujoco.MjData(env.mj_model) for i in np.ndindex(alive.shape)}
    while alive.any():
        moved = [np.array(x, float) for x in seen.physics]
        for i in zip(*np.nonzero(alive)):
            mj_data = physics[i]
            for name, values in zip(FIELDS, moved):
                setattr(mj_data, name, values[i])
            mujoco.mj_step(env.mj_model, mj_data, nstep=env.frame_skip)
            for name, values in zip(FIELDS, moved):
                values[i] = getattr(mj_data, name)
        kept, seen = programs.react(leaves, kept, moved)
        seen = jax.tree.map(np.asarray, seen)
        yield seen
        alive &= seen.done == 0
