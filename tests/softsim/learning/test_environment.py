"""What training asks of an environment: a class of one's own is enough; wrong ones are named."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softsim import learning
from softsim.learning.algorithm import factors
from softsim.learning.environment import check_environment
from softsim.learning.rollouts import begin, ending, evaluate, unroll
from tests.softsim.learning.cart import Cart, State

ROOT = Path(__file__).parents[3]


def test_the_cart_is_accepted() -> None:
    check_environment(Cart())


def state(obs=(0.0, 0.0), reward=0.0, done=0.0):
    return lambda *_: State(jnp.asarray(obs), reward, done)


class Other(State):
    pass


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"observation_size": 3}, r"obs of Mine.reset is of shape \(2,\), expected an array of"),
        ({"observation_size": "two"}, "Mine.observation_size is 'two', expected a whole number"),
        ({"action_size": 0}, r"Mine has no actions \(action_size is 0\)"),
        ({"episode_length": 0}, "Mine.episode_length is 0, expected at least 1 action"),
        ({"reset": lambda s, k: jnp.zeros(2)}, "Mine.reset returned .* without `obs`; return a"),
        ({"reset": state(obs=[[0.0], [0.0]])}, r"obs of Mine.reset is of shape \(2, 1\)"),
        ({"reset": state(obs=(0, 0))}, "obs of Mine.reset is int64, expected floats"),
        ({"step": state(reward=jnp.zeros(1))}, r"reward of Mine.step is of shape \(1,\)"),
        ({"step": state(done=jnp.zeros(1))}, r"done of Mine.step is of shape \(1,\)"),
        ({"step": state(done=0)}, "done of Mine.step is int64 of shape .*expected bool"),
        ({"step": lambda s, x, u: Other(*x)}, "differ in what is no array; expected the same"),
        ({"step": lambda s, x, u: State(x.obs, 0.0, (x.done,))}, "done of Mine.step is "),
    ],
)
def test_a_wrong_environment_is_refused_by_name(attributes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_environment(type("Mine", (Cart,), attributes)())


@pytest.mark.parametrize("name", ["reset", "step", "observation_size", "action_size"])
def test_what_is_missing_is_named(name: str) -> None:
    kept = {k: v for k, v in vars(Cart).items() if not k.startswith("__") and k != name}
    with pytest.raises(ValueError, match=f"env: Mine has no `{name}`; define {name}"):
        learning.train(type("Mine", (), kept)(), learning.Apg())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"softness": learning.Softness("soft")}, r"softness: Cart has no with_softening"),
        ({"randomize": {"mass": 0.1}}, r"randomize: Cart has no with_randomization"),
    ],
)
def test_what_an_environment_cannot_do_is_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        learning.train(Cart(), learning.Shac(**settings))


def test_randomisation_reaches_the_environment_and_keeps_to_its_share() -> None:
    class Varied(Cart):
        def with_randomization(self, draws):
            self.draws = draws
            return self

    env = learning.Shac(randomize={"mass": 0.2}).practice(Varied(), 0)
    drawn = env.draws["mass"](jax.random.key(0), jnp.full(400, 5.0))
    assert 4.0 <= drawn.min() < 4.1 and 5.9 < drawn.max() <= 6.0
    np.testing.assert_array_equal(factors(0.2)(jax.random.key(0), jnp.full(400, 5.0)), drawn)


def test_annealing_ends_at_its_share() -> None:
    soft = learning.Softness("soft", softness=0.1, reach=0.2, anneal=0.1)
    at = jax.vmap(lambda i: soft.at(i, 100))(jnp.array([0, 50, 100]))
    np.testing.assert_allclose(at.reach, [0.2, 0.2 * 0.1**0.5, 0.02], rtol=1e-6)
    np.testing.assert_allclose(at.collision.softness, at.reach / 2, rtol=1e-6)


@pytest.mark.parametrize(
    ("limit", "steps", "fields", "expected"),
    [
        (5, 4, {"done": 0.0}, (0, 0)),
        (5, 5, {"done": False}, (1, 1)),
        (5, 5, {"done": True}, (1, 0)),
        (5, 3, {"done": 1.0}, (1, 0)),
        (5, 3, {"done": 1.0, "truncation": 1.0}, (1, 1)),
        (1, 1, {"done": 0.0}, (1, 0)),  # whole, not cut: a critic would else value what follows
    ],
)
def test_how_a_step_ends_its_episode(limit, steps, fields, expected) -> None:
    after = type("After", (), {"obs": jnp.zeros(2), **fields})()
    end = ending(after, jnp.array(steps), limit)
    assert (float(end.done), float(end.truncation), float(end.margin)) == (*expected, 1.0)


def test_a_path_begins_anew_where_episodes_end_and_a_score_ends_with_them() -> None:
    """Against the same episodes, stepped one by one."""
    env, keys = Cart(), jax.random.split(jax.random.key(1), 8)
    noise = jnp.zeros((5, 8, 1))
    policy = jax.jit(lambda key: learning.new_policy(2, 1, (), key=key))(jax.random.key(0))

    @jax.jit
    def both(keys):
        start = jax.vmap(lambda key: begin(env, key))(keys)
        path = unroll(env, policy, start, noise, 3)[1]
        return path, evaluate(env, policy, keys), jax.vmap(env.reset)(start.key)

    path, score, second = both(keys)
    np.testing.assert_array_equal(path.done[:, 0], [0, 0, 1, 0, 0])
    np.testing.assert_array_equal(path.truncation, path.done)
    np.testing.assert_array_equal(path.final_obs[:2], path.obs[1:3])
    np.testing.assert_allclose(path.obs[3], second.obs)
    assert not np.allclose(path.final_obs[2], path.obs[3])

    short = int(np.argmin(score.length))
    step, now, rewards = jax.jit(lambda x: env.step(x, policy(x.obs))), env.reset(keys[short]), []
    while len(rewards) < env.episode_length and not now.done:
        now = step(now)
        rewards.append(now.reward)
    np.testing.assert_allclose(path.reward[:3, short], rewards[:3])
    np.testing.assert_allclose(score.returns[short], np.sum(rewards))
    assert score.length[short] == len(rewards) < env.episode_length  # it drifts off


def test_the_simulation_is_imported_without_learning() -> None:
    """`import softsim` stays as quick: nothing there asks for this package."""
    files = [f for f in (ROOT / "softsim").rglob("*.py") if f.parent.name != "learning"]
    assert files and not [f for f in files if "softsim.learning" in f.read_text()]
