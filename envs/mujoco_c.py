"""An environment on MuJoCo C: the same task, the physics of the reference implementation."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import mujoco
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from envs.base import Env, State

Policy = Callable[[Float[Array, " obs"]], Float[Array, " nu"]]
FIELDS = ("qpos", "qvel", "act", "ctrl", "time")


class Episode(NamedTuple):
    """One episode of T actions; `qpos` and `obs` begin with the first state."""

    reward: Float[np.ndarray, " T"]
    obs: Float[np.ndarray, "T+1 obs"]
    qpos: Float[np.ndarray, "T+1 nq"]


class Programs(NamedTuple):
    """The task beside its physics, compiled: from a key or the physics moved on, to what follows.

    Both take the arrays of the policy and return all that is to be kept, as a flat list (a pytree
    of this size takes longer to pass than to compute with), then what is seen of it.
    """

    begin: Callable[[list[Array], PRNGKeyArray], tuple]
    react: Callable[[list[Array], list[Array], list[np.ndarray]], tuple]


class Seen(NamedTuple):
    """Of a state: what an episode records, and the physics (`FIELDS`) after the next action."""

    reward: Float[Array, ""]
    obs: Float[Array, " obs"]
    qpos: Float[Array, " nq"]
    done: Float[Array, ""]
    physics: list[Array]


def run_episodes(env: Env, policy: Policy, keys: PRNGKeyArray) -> list[Episode]:
    """Run `policy` from `env.reset(key)` for each key until the episode ends, with `mj_step`.

    Raises:
        ValueError: the environment randomises its model, which the C model here does not follow.
    """
    if env.randomization:
        raise ValueError("run_episodes: expected an environment without randomization")
    arrays, rest = eqx.partition(policy, eqx.is_array)
    leaves, structure = jax.tree.flatten(arrays)
    restore = lambda leaves: eqx.combine(jax.tree.unflatten(structure, leaves), rest)
    programs = _compile(env, restore)
    return [_episode(env, programs, leaves, key) for key in keys]


def _compile(env: Env, restore: Callable[[list[Array]], Policy]) -> Programs:
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

    structure = jax.tree.structure(jax.eval_shape(kept, jax.random.key(0)))

    def react(
        policy: list[Array], leaves: list[Array], physics: list[np.ndarray]
    ) -> tuple[list[Array], Seen]:
        state, action = jax.tree.unflatten(structure, leaves)
        data = env.act(state.data, action, state.info)
        moved = {n: x.astype(getattr(data, n).dtype) for n, x in zip(FIELDS, physics)}
        return decide(restore(policy), env.arrive(state, action, data.replace(**moved)))

    return Programs(jax.jit(begin), jax.jit(react))


def _episode(env: Env, programs: Programs, policy: list[Array], key: PRNGKeyArray) -> Episode:
    mj_data = mujoco.MjData(env.mj_model)
    kept, seen = programs.begin(policy, key)
    record = [seen]
    while not seen.done:
        for name, value in zip(FIELDS, seen.physics):
            setattr(mj_data, name, np.asarray(value))
        mujoco.mj_step(env.mj_model, mj_data, nstep=env.frame_skip)
        kept, seen = programs.react(policy, kept, [np.array(getattr(mj_data, n)) for n in FIELDS])
        record.append(seen)
    rewards, obs, qpos = (np.array([getattr(s, n) for s in record]) for n in Seen._fields[:3])
    return Episode(rewards[1:], obs, qpos)
