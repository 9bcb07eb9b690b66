"""The pieces of SHAC against sums written out by hand, and its gradients against each other."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jaxtyping import Array

import envs
from softsim import learning
from softsim.learning import shac
from softsim.learning.apg import first_episode
from softsim.learning.networks import Normalizer
from softsim.learning.rollouts import Path, unroll
from tests.softsim.learning.cart import Cart

rng = np.random.default_rng(0)


def path(
    done: list[float], truncation: list[float] | None = None, margin: list[float] | None = None
) -> Path:
    """One environment, observations of size 1."""
    steps = len(done)
    column = lambda x: jnp.array(x, float)[:, None]
    return Path(
        obs=jnp.zeros((steps, 1, 1)),
        u=jnp.zeros((steps, 1, 1)),
        reward=column(rng.normal(size=steps)),
        done=column(done),
        truncation=column(truncation or [0.0] * steps),
        margin=column(margin or [1.0] * steps),
        final_obs=jnp.zeros((steps, 1, 1)),
    )


CONFIG = learning.Shac(discount=0.9, td_lambda=0.7)


def test_discount_begins_anew_with_an_episode() -> None:
    factors = shac.discounts(CONFIG, path([0, 0, 1, 0, 0]))[:, 0]
    np.testing.assert_allclose(factors, [1, 0.9, 0.81, 1, 0.9])


def test_objective_adds_the_value_at_the_end_of_every_piece() -> None:
    p = path([0, 1, 0, 0])
    after = jnp.array([[5.0], [0.0], [7.0], [2.0]])  # nothing after the failure
    r = p.reward[:, 0]
    expected = (r[0] + 0.9 * r[1]) + (r[2] + 0.9 * r[3] + 0.81 * 2.0)
    np.testing.assert_allclose(shac.objective(CONFIG, p, after), expected / 4)


def test_td_lambda_by_its_definition() -> None:
    p = path([0, 0, 1, 0])
    after = jnp.array([[1.0], [2.0], [0.0], [4.0]])
    r, g, lam = p.reward[:, 0], 0.9, 0.7
    last = r[3] + g * 4.0
    r2 = r[2]
    r1 = r[1] + g * ((1 - lam) * 2.0 + lam * r2)
    r0 = r[0] + g * ((1 - lam) * 1.0 + lam * r1)
    targets = shac.td_lambda(CONFIG, after, p)[:, 0]
    np.testing.assert_allclose(targets, [r0, r1, r2, last])


def test_failing_costs_what_would_have_followed(trained: tuple) -> None:
    """The value is untouched; the derivative is that of a soft truth value times the stake."""
    config, _, state = trained
    config = dataclasses.replace(config, fading=0.1, discount=0.9, td_lambda=1.0)
    critic = jax.tree.map(jnp.zeros_like, state.target)  # values nothing, but for its bias
    critic = eqx.tree_at(lambda c: c.net.layers[-1].bias, critic, jnp.array([5.0]))
    state = eqx.tree_at(lambda s: s.target, state, critic)
    p = path([0, 1, 0], margin=[0.05, -0.02, 0.5])._replace(final_obs=jnp.zeros((3, 1, 2)))

    def lost(margin):
        return shac.survival(config, state, p._replace(margin=margin))

    value, slope = jax.jit(jax.value_and_grad(lost))(p.margin)
    assert value == 0
    # the reward of step 1 is at stake in step 0, the critic's value where a piece ends
    stake = jnp.array([0.9 * max(float(p.reward[1, 0]), 0.0), 0.81 * 5.0, 0.9 * 5.0])
    soft = lambda x: jax.nn.sigmoid((x - 1e-10) / 0.1)
    np.testing.assert_allclose(slope[:, 0], stake * jax.vmap(jax.grad(soft))(p.margin[:, 0]) / 3)


@pytest.mark.parametrize(
    ("lengths", "counted"),
    [
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        ([1, 2, 3, 100], [1, 2, 3, 5]),  # twice the median, 2.5
        ([0, 0, 0, 0, 7], [0, 0, 0, 0, 7]),  # of those that are not zero
        ([0, 0, 0], [0, 0, 0]),
    ],
)
def test_no_action_counts_for_more_than_some(lengths: list, counted: list) -> None:
    along = lambda x: jnp.array(x, float)[:, None, None] * jnp.array([0.6, -0.8])
    np.testing.assert_allclose(shac.without_outliers(along(lengths), 2.0), along(counted))


@pytest.mark.parametrize("fading", [0.0, 0.1])
def test_first_order_is_the_derivative_by_the_policy(trained: tuple, fading: float) -> None:
    """That of the loss, taken by the policy at once."""
    config, env, state = trained
    config = dataclasses.replace(config, fading=fading)
    noise = jax.random.normal(jax.random.key(3), (4, 256, 1))

    def loss(actor) -> jax.Array:
        policy = learning.Policy(actor, state.normalizer)
        path = unroll(env, policy, state.env_state, noise, config.limit(env))[1]
        gained = shac.objective(config, path, shac.value_after(state, path))
        return -gained - shac.survival(config, state, path)

    expected = eqx.filter_jit(eqx.filter_grad(loss))(state.actor)
    piece = eqx.filter_jit(shac.first_order)(config, env, state, state.env_state, noise)
    close = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)
    jax.tree.map(close, piece.gradient, expected)


@pytest.mark.parametrize(("epochs", "batches"), [(1, 1), (4, 4), (2, 3)])
def test_rates_last_as_long_as_the_training(epochs: int, batches: int) -> None:
    """Of a gradient that stays the same, Adam's step is its rate: a line from all of it to 1 %."""
    config = learning.Shac(
        iterations=10, critic_epochs=epochs, critic_batches=batches, actor_rate=0.2, critic_rate=0.2
    )
    for optimizer, per_update in (
        (config.actor_optimizer, 1),
        (config.critic_optimizer, epochs * batches),
    ):
        count = config.iterations * per_update

        def step(carry: tuple, _: None, optimizer=optimizer) -> tuple:
            x, state = carry
            change, state = optimizer.update(jnp.ones(()), state)
            return (x + change, state), -change

        start = jnp.zeros(()), optimizer.init(jnp.zeros(()))
        rates = jax.lax.scan(step, start, None, length=count + 1)[1]
        np.testing.assert_allclose(rates, np.linspace(0.2, 0.002, count + 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("settings", "lengths"),
    [
        ({}, [1.0, 1.0, 1.0, 1.0]),
        ({"max_norm": 2.0, "final_norm": 250.0}, [2.0, 10.0, 50.0, 250.0]),
        ({"final_norm": 1e-3}, [1.0, 0.1, 0.01, 0.001]),
        ({"max_norm": 1e5, "final_norm": 1e8}, [500.0] * 4),  # the gradient's own
    ],
)
def test_gradients_are_shortened_less_and_less(
    settings: dict[str, float], lengths: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The policy's; geometrically, from max_norm to final_norm."""
    config = learning.Shac(iterations=3, **settings)
    monkeypatch.setattr(learning.Shac, "adam", lambda self, rate, per_update=1: optax.identity())
    gradient = jnp.array([300.0, 400.0])

    def step(state: optax.OptState, _: None) -> tuple[optax.OptState, Array]:
        change, state = config.actor_optimizer.update(gradient, state)
        return state, jnp.linalg.norm(change)

    start = config.actor_optimizer.init(gradient)
    np.testing.assert_allclose(jax.lax.scan(step, start, None, length=4)[1], lengths, rtol=1e-5)


def test_the_average_forgets_the_policies_that_knew_nothing() -> None:
    """Of n so far the latest tenth counts, until `averaging` is reached; at 0 the policy itself."""
    n = jnp.array([0, 10, 90, 1000])
    np.testing.assert_allclose(learning.Shac(averaging=0.9).kept(n), [0.0, 0.5, 0.9, 0.9])
    np.testing.assert_array_equal(learning.Shac().kept(n), 0.0)


def test_normalizer_merges_batches() -> None:
    x = rng.normal(3.0, 2.0, size=(3, 50, 4)) * [1, 1, 1, 0]
    merged = Normalizer(4)
    np.testing.assert_array_equal(merged(jnp.array(x[0])), x[0])
    for batch in x:
        merged = merged.update(jnp.array(batch))
    flat = x.reshape(-1, 4)
    scale = np.where(flat.var(0) > 1e-6, flat.std(0), 1.0)
    np.testing.assert_allclose(merged(jnp.array(flat)), (flat - flat.mean(0)) / scale, atol=1e-12)


@pytest.fixture(scope="module")
def trained() -> tuple:
    """A small problem, and the state before its first update."""
    config = learning.Shac(
        num_envs=256, horizon=4, hidden=(8,), estimator="mixed", groups=4, episode=3
    )
    env = Cart()
    return config, env, eqx.filter_jit(config.init)(env, jax.random.PRNGKey(0))


@pytest.mark.slow
def test_zeroth_and_first_order_estimate_the_same_gradient(trained: tuple) -> None:
    """Both are unbiased where advantages are whole returns of the piece (lambda = 1).

    Noise of both signs cancels most of the variance of the score function.
    """
    config, env, state = trained
    config = dataclasses.replace(config, td_lambda=1.0)

    @eqx.filter_jit
    def both(state, noise):
        first = shac.first_order(config, env, state, state.env_state, noise)
        return first.gradient, shac.score_gradient(config, state, first.path)

    flat = lambda tree: jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(tree)])
    sums = [0.0, 0.0]
    for seed in range(60):
        noise = jax.random.normal(jax.random.key(seed), (4, 256, 1))
        for sign in (1, -1):
            sums = [s + flat(g) for s, g in zip(sums, both(state, sign * noise))]
    first, zeroth = sums
    cosine = first @ zeroth / jnp.linalg.norm(first) / jnp.linalg.norm(zeroth)
    assert cosine > 0.98
    # the length along the first, which noise does not lengthen
    np.testing.assert_allclose(first @ zeroth / (first @ first), 1.0, atol=0.1)


@pytest.mark.slow
def test_mixed_is_between_and_prefers_the_smaller_variance(trained: tuple) -> None:
    config, env, state = trained
    _, metrics = eqx.filter_jit(config.update)(env, state)
    assert 0.9 < metrics["first_order_share"] < 1  # smooth physics: the first order has less noise


def test_apg_sums_the_first_episode_only() -> None:
    p = path([0, 1, 0, 0])
    np.testing.assert_allclose(first_episode(p), [p.reward[0, 0] + p.reward[1, 0]])


def test_an_episode_of_training_is_the_shorter_of_both_limits() -> None:
    assert [learning.Shac(episode=n).limit(Cart()) for n in (None, 2, 99)] == [30, 2, 30]


@pytest.mark.slow
def test_shac_learns_the_pendulum() -> None:
    config = learning.Shac(num_envs=32, horizon=16, iterations=150)
    reports = learning.train(envs.make("pendulum"), config, evaluate_every=150, episodes=8)
    assert list(reports)[-1].returns.mean() > 130
