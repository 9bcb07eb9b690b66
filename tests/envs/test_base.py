"""The base: registry, batches, resets, randomisation, softening, and the same task on MuJoCo C."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
import softsim
from envs.mujoco_c import run_episodes


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"no environment 'hoper'; there are pendulum.*hopper"):
        envs.make("hoper")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"frame_skp": 2}, "Pendulum has no setting 'frame_skp'; it has .*frame_skip"),
        ({"frame_skip": 0}, "frame_skip: got 0"),
        ({"options": {"timestp": 0.1}}, "no option 'timestp'; there is .*timestep"),
        ({"options": {"integrator": "eulr"}}, "integrator 'eulr', expected one of .*euler"),
        ({"geoms": {"solreff": 0.1}}, "no attribute 'solreff'; there is .*'solref'"),
        ({"geoms": {"solref": 0.1}}, r"geoms: solref 0.1, expected shape \(2,\)"),
        ({"touching": ("foot",)}, r"touching: no geom 'foot'; there is \["),
        ({"randomize": {"body_mas": envs.scale(1, 2)}}, "'body_mas' is no float leaf"),
        ({"randomize": {"opt.iterations": envs.scale(1, 2)}}, "no float leaf"),
    ],
)
def test_bad_settings_name_themselves(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        envs.make("pendulum", **settings)


def test_options_reach_both_engines() -> None:
    env = envs.make("pendulum", options={"timestep": 0.01, "integrator": "RK4"}, frame_skip=3)
    assert env.mj_model.opt.timestep == 0.01
    np.testing.assert_allclose(env.model.opt.timestep, 0.01)
    np.testing.assert_allclose(env.dt, 0.03)


def test_metrics_add_up_and_episodes_end() -> None:
    env = envs.make("pendulum", episode_length=3)
    state = jax.jit(env.reset)(jax.random.key(0))
    assert state.obs.shape == (env.observation_size,) == (3,)
    step = jax.jit(env.step)
    for i in range(3):
        assert not state.done
        state = step(state, jnp.array([0.5]))
        np.testing.assert_allclose(sum(state.metrics.values()), state.reward)
        assert state.steps == i + 1
    assert state.done == 1 and state.truncation == 1


def test_an_episode_of_one_step_is_over_and_not_cut() -> None:
    """A critic would else value what follows a throw."""
    env = envs.make("pendulum", episode_length=1)
    state = env.arrive(jax.jit(env.reset)(jax.random.key(0)), jnp.zeros(1), env.blank)
    assert state.done == 1 and state.truncation == 0


def test_batch_reset_and_reuse() -> None:
    env = envs.make("pendulum", episode_length=2)
    keys = jax.random.split(jax.random.key(0), 3)
    state = jax.jit(jax.vmap(env.reset))(keys)
    state = state.replace(steps=jnp.array([0, 1, 0]))
    after = jax.jit(jax.vmap(env.step))(state, jnp.zeros((3, 1)))
    new = jax.jit(jax.vmap(lambda s: envs.reset_where_done(env, s)))(after)
    np.testing.assert_array_equal(after.done, [0, 1, 0])
    np.testing.assert_array_equal(new.steps, [1, 0, 1])
    np.testing.assert_array_equal(new.obs[::2], after.obs[::2])
    expected = jax.jit(env.reset)(state.key[1])
    np.testing.assert_allclose(new.obs[1], expected.obs)
    assert (new.key[1] == expected.key).all()


def test_randomised_mass_is_drawn_per_episode_and_felt() -> None:
    env = envs.make("pendulum", randomize={"body_mass": envs.scale(0.5, 2.0)})
    states = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(1), 4))
    mass = states.model["body_mass"][:, 1]
    assert np.unique(np.asarray(mass)).size == 4
    assert ((mass > 0.5) & (mass < 2.0)).all()
    same = states.replace(data=jax.tree.map(lambda x: jnp.stack([x[0]] * 4), states.data))
    after = jax.jit(jax.vmap(env.step))(same, jnp.ones((4, 1)))
    assert np.unique(np.asarray(after.data.qvel)).size == 4


@pytest.mark.slow
def test_softening_passes_through_a_straight_through_step() -> None:
    """In flight contact has no hard gradient; with reach it has one. The value is the hard one."""
    hard = envs.make("ball_toss", frame_skip=4, segment=None)
    soft = hard.with_softening(softsim.Softening.straight_through(reach=0.5))
    state = jax.jit(hard.reset)(jax.random.key(0))
    low = state.data.replace(qpos=state.data.qpos.at[2].set(0.3))
    state = state.replace(data=low)

    def height(env: envs.Env):
        def end(radius):
            size = env.model.geom_size.at[1, 0].set(radius)
            moved = dataclasses.replace(env, model=env.model.replace(geom_size=size))
            return moved.step(state, jnp.zeros(3)).data.qpos[2]

        return end

    radius = hard.model.geom_size[1, 0]
    (v0, g0), (v1, g1) = (jax.jit(jax.value_and_grad(height(e)))(radius) for e in (hard, soft))
    assert v0 == v1
    assert g0 == 0 and g1 != 0


@pytest.mark.slow
def test_gradient_of_the_return_is_that_of_differences() -> None:
    env = envs.make("pendulum")
    state = jax.jit(env.reset)(jax.random.key(2))

    def total(actions):
        return jax.lax.scan(lambda s, a: (s2 := env.step(s, a), s2.reward), state, actions)[1].sum()

    actions = jax.random.uniform(jax.random.key(3), (5, 1), minval=-0.5, maxval=0.5)
    run = jax.jit(total)
    gradient = jax.jit(jax.grad(total))(actions)
    h = 1e-5
    for i in range(5):
        shift = jnp.zeros((5, 1)).at[i].set(h)
        difference = (run(actions + shift) - run(actions - shift)) / (2 * h)
        np.testing.assert_allclose(gradient[i, 0], difference, rtol=1e-6)


@pytest.mark.parametrize("name", ["cartpole"])
def test_an_episode_in_mujoco_c_is_the_same(name: str) -> None:
    env = envs.make(name, episode_length=20)
    policy = lambda obs: jnp.tanh(obs[:1] + obs[1:2])
    key = jax.random.key(5)
    episode = run_episodes(env, policy, key[None])[0]
    state, step = jax.jit(env.reset)(key), jax.jit(env.step)
    for reward, obs in zip(episode.reward, episode.obs[1:], strict=True):
        state = step(state, policy(state.obs))
        np.testing.assert_allclose(state.reward, reward, atol=1e-9)
        np.testing.assert_allclose(state.obs, obs, atol=1e-9)
    assert state.done


@pytest.mark.slow
@pytest.mark.parametrize("name", envs.names())
def test_every_environment_steps_with_finite_gradients(name: str) -> None:
    env = envs.make(name, softsim.Softening.straight_through())
    state = jax.jit(jax.vmap(env.reset))(jax.random.split(jax.random.key(0), 2))
    assert state.obs.shape == (2, env.observation_size)

    def reward(action):
        after = jax.vmap(env.step)(state, action)
        return after.reward.sum(), after

    action = 0.3 * jnp.ones((2, env.action_size))
    (_, after), gradient = jax.jit(jax.value_and_grad(reward, has_aux=True))(action)
    for leaf in (after.obs, after.reward, after.data.qpos, gradient):
        assert np.isfinite(leaf).all()
    assert jax.tree.structure(after) == jax.tree.structure(state)
    shapes = lambda tree: jax.tree.map(lambda x: (x.shape, x.dtype), tree)
    assert shapes(after) == shapes(state)


@pytest.mark.slow
def test_the_doctor_says_what_is_not_finite() -> None:
    env = envs.make("pendulum")
    state = jax.jit(env.reset)(jax.random.key(0))
    assert env.diagnose(state).startswith("Not finite: no stage of the physics.\n\n")
    fast = state.replace(data=state.data.replace(qvel=jnp.array([1e200])))
    first, _, report = env.diagnose(fast).split("\n", 2)
    assert "next state" in first and "next state" in report


@pytest.mark.slow
def test_barkour_sees_and_pays_for_the_last_action() -> None:
    """It is read from the servos' targets; at the start of an episode it is zero."""
    env = envs.make("barkour")
    state = jax.jit(env.reset)(jax.random.key(0))
    np.testing.assert_allclose(state.obs[-12:], 0.0, atol=1e-12)
    actions, step = jax.random.uniform(jax.random.key(1), (2, 12)), jax.jit(env.step)
    last = jnp.zeros(12)
    for action in actions:
        state = step(state, action)
        np.testing.assert_allclose(state.obs[-12:], action, atol=1e-12)
        change = jnp.sum((action - last) ** 2)
        np.testing.assert_allclose(state.metrics["smooth"], -0.01 * env.dt * change, rtol=1e-9)
        last = action
