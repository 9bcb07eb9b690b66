"""Policies scored in MuJoCo C: all of them at once, each episode to its own end."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import envs
from envs.mujoco_c import Judge, run_episodes
from envs.pendulum import Pendulum
from softsim import learning


class Swing(Pendulum):
    """It fails where it is as fast as 6 rad/s: sooner or later, or never."""

    episode_length: int = 30

    def margin(self, data):
        return 1.0 - jnp.abs(data.qvel[0]) / 6.0


def test_scores_are_those_of_softsim_episode_by_episode() -> None:
    """Their policies act differently, and their episodes end at different times."""
    env = Swing.create()
    new = lambda key: learning.new_policy(3, 1, (), key=key)
    policies = eqx.filter_vmap(new)(jax.random.split(jax.random.key(3), 3))
    weight = lambda p: p.actor.net.layers[0].weight
    policies = eqx.tree_at(weight, policies, 300.0 * weight(policies))
    keys = jax.random.split(jax.random.key(1), 4)
    evaluate = lambda policy: learning.evaluate(env, policy, keys)
    expected = eqx.filter_jit(eqx.filter_vmap(evaluate))(policies)
    judge = Judge(env)
    for _ in range(2):
        score = judge(policies, keys)
        np.testing.assert_array_equal(score.length, expected.length)
        np.testing.assert_allclose(score.returns, expected.returns, rtol=1e-9)
    assert score.returns.shape == (3, 4) and len(np.unique(score.length)) > 3
    assert (score.length == 30).any()
    second = jax.tree.map(lambda x: x[1] if eqx.is_array(x) else x, policies)
    episodes = run_episodes(env, second, keys)
    assert [len(e.reward) for e in episodes] == score.length[1].tolist()
    assert [len(e.obs) - 1 for e in episodes] == score.length[1].tolist()
    np.testing.assert_allclose([e.reward.sum() for e in episodes], score.returns[1])


def test_what_counts_is_the_model_of_the_judge() -> None:
    """A task on quicker physics is another; the judge's is the one that is scored."""
    env = envs.make("pendulum", episode_length=20)
    heavy = dataclasses.replace(env, mj_model=env.load())
    heavy.mj_model.opt.gravity[2] *= 3
    new = lambda key: learning.new_policy(3, 1, (), key=key)
    policy = eqx.filter_vmap(new)(jax.random.split(jax.random.key(0), 1))
    keys = jax.random.split(jax.random.key(1), 2)
    ours, theirs = (Judge(e)(policy, keys).returns for e in (env, heavy))
    assert (np.abs(ours - theirs) > 0.1).all()


def test_only_what_touches_has_contacts() -> None:
    feet = ("floor", "left_foot", "right_foot")
    env = envs.make("humanoid", touching=feet, observe_bodies=False, contact_cost=0.0)
    touch = env.mj_model.geom_contype | env.mj_model.geom_conaffinity
    assert {env.mj_model.geom(i).name for i in np.flatnonzero(touch)} == set(feet)
    assert env.observation_size == 45
    assert env.blank._impl.ncon == 2  # a sphere each
