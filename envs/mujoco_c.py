"""An environment on MuJoCo C: the same task, the physics of the reference implementation."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from mujoco import mjx

from envs.base import Env, State

Policy = Callable[[Float[Array, " obs"]], Float[Array, " nu"]]
FIELDS = ("qpos", "qvel", "act", "ctrl")


class Episode(NamedTuple):
    """One episode of T actions; `qpos` and `obs` begin with the first state."""

    reward: Float[np.ndarray, " T"]
    obs: Float[np.ndarray, "T+1 obs"]
    qpos: Float[np.ndarray, "T+1 nq"]


def run_episode(env: Env, policy: Policy, key: PRNGKeyArray) -> Episode:
    """Run `policy` from `env.reset(key)` until the episode ends, stepping with `mj_step`.

    Raises:
        ValueError: the environment randomises its model, which the C model here does not follow.
    """
    if env.randomization:
        raise ValueError("run_episode: expected an environment without randomization")
    mj_data = mujoco.MjData(env.mj_model)
    state = _reset(env, key)
    rewards, obs, qpos = [], [state.obs], [state.data.qpos]
    while not state.done:
        action = _decide(policy, state.obs)
        data = _act(env, state, action)
        _write(data, mj_data)
        mujoco.mj_step(env.mj_model, mj_data, nstep=env.frame_skip)
        state = _arrive(env, state, action, _read(mj_data, data))
        rewards.append(state.reward)
        obs.append(state.obs)
        qpos.append(state.data.qpos)
    return Episode(np.array(rewards), np.array(obs), np.array(qpos))


@eqx.filter_jit
def _reset(env: Env, key: PRNGKeyArray) -> State:
    return env.reset(key)


@eqx.filter_jit
def _decide(policy: Policy, obs: Float[Array, " obs"]) -> Float[Array, " nu"]:
    return policy(obs)


@eqx.filter_jit
def _act(env: Env, state: State, action: Float[Array, " nu"]) -> mjx.Data:
    return env.act(state.data, action, state.info)


@eqx.filter_jit
def _arrive(env: Env, state: State, action: Float[Array, " nu"], data: mjx.Data) -> State:
    return env.arrive(state, action, data)


def _write(data: mjx.Data, mj_data: mujoco.MjData) -> None:
    for name in FIELDS:
        getattr(mj_data, name)[:] = np.asarray(getattr(data, name))


def _read(mj_data: mujoco.MjData, like: mjx.Data) -> mjx.Data:
    values = {
        name: jnp.array(np.array(getattr(mj_data, name)), getattr(like, name).dtype)
        for name in FIELDS
    }
    return like.replace(time=jnp.asarray(mj_data.time, like.time.dtype), **values)
