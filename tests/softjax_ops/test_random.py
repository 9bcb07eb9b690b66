"""Relaxed draws: the noise of `jax.random`, its limits, its derivatives, bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

from softjax_ops import random
from tests.softjax_ops.cases import FEW, SEEDS, normal, simplex

KEY = jax.random.key(7)
P = jnp.array([0.1, 0.0, 0.6, 0.3])
LOGITS = jnp.array([[0.3, -1.0, 0.5, 0.0], [1.0, 0.2, -jnp.inf, 0.1]])


@FEW
@given(seed=SEEDS)
def test_draws_are_those_of_jax(seed):
    key, p = jax.random.key(seed), jnp.array([0.1, 0.5, 0.9])
    for mode in ("hard", "_hard"):
        for rng_mode in ("low", "high"):
            np.testing.assert_array_equal(
                random.bernoulli(key, p, (2, 3), rng_mode, mode=mode),
                jax.random.bernoulli(key, p, (2, 3), rng_mode),
            )
        np.testing.assert_array_equal(
            random.rademacher(key, (5,), mode=mode), jax.random.rademacher(key, (5,))
        )
        for shape, axis, replace in (
            (None, -1, True),
            ((3, 2), 1, True),
            ((3, 4), 0, True),
            ((3, 2), 1, False),
        ):
            index = random.categorical(key, LOGITS, axis, shape, replace, mode=mode)
            hard = jax.random.categorical(key, LOGITS, axis, shape, replace)
            np.testing.assert_array_equal(index, jax.nn.one_hot(hard, LOGITS.shape[axis]))


SLOW_MODES = [pytest.param(mode, marks=pytest.mark.slow) for mode in ("c1", "c2")]
SLOW_DTYPES = [pytest.param(dtype, marks=pytest.mark.slow) for dtype in ("float16", "float64")]


@pytest.mark.parametrize("mode", ("smooth", "c0", *SLOW_MODES))
def test_small_softness_is_the_hard_index(mode):
    calls = {
        "bernoulli": lambda **o: random.bernoulli(KEY, jnp.array([0.2, 0.7]), (5, 2), **o),
        "rademacher": lambda **o: random.rademacher(KEY, 4, **o),
        "categorical": lambda **o: random.categorical(KEY, LOGITS, shape=(3, 2), **o),
        "choice": lambda **o: random.choice(
            KEY, jnp.arange(8.0).reshape(2, 4), 3, p=P, axis=1, **o
        ),
        "distinct": lambda **o: random.choice(KEY, 4, (2,), replace=False, **o),
        "permutation": lambda **o: random.permutation(KEY, jnp.arange(5.0), **o),
        "independent": lambda **o: random.permutation(
            KEY, jnp.arange(8.0).reshape(2, 4), 1, True, **o
        ),
        "binomial": lambda **o: random.binomial(KEY, 6, jnp.array([0.2, 0.5]), **o),
        "multinomial": lambda **o: random.multinomial(KEY, 5, P, **o),
    }
    every = lambda **o: jax.jit(lambda: {name: call(**o) for name, call in calls.items()})()
    hard, soft, plain = every(mode="_hard"), every(mode=mode, softness=1e-4), every(mode="hard")
    for name in calls:
        np.testing.assert_allclose(soft[name], hard[name], atol=1e-2, err_msg=name)
        assert hard[name].shape == plain[name].shape, name


def test_counts():
    counts = random.multinomial(KEY, 5, P, mode="_hard")
    assert counts.sum() == 5 and counts[1] == 0 and (counts == jnp.round(counts)).all()
    np.testing.assert_allclose(random.multinomial(KEY, 5, P).sum(), 5)
    draws = random.binomial(KEY, 6, 0.5, (50,))
    assert ((draws >= 0) & (draws <= 6)).all()
    assert random.binomial(KEY, 0, 0.5, mode="_hard") == 0
    assert sorted(random.permutation(KEY, 5, mode="_hard").tolist()) == [0, 1, 2, 3, 4]
    assert len(set(random.choice(KEY, 5, (5,), False, mode="_hard").tolist())) == 5


def test_distributions():
    n = 5000
    keys = jax.random.split(KEY, n)
    picks = jax.vmap(lambda k: random.choice(k, jnp.eye(4), p=P, mode="_hard"))(keys)
    np.testing.assert_allclose(picks.mean(0), P, atol=0.03)
    rows = jax.vmap(lambda k: random.permutation(k, jnp.eye(3), mode="_hard"))(keys)
    np.testing.assert_allclose(rows.mean(0), 1 / 3, atol=0.03)
    counts = random.binomial(KEY, 10, 0.3, (n,), mode="_hard")
    np.testing.assert_allclose([counts.mean(), counts.var()], [3, 2.1], rtol=0.06)
    many = jax.vmap(lambda k: random.multinomial(k, 3, P, mode="_hard"))(keys)
    np.testing.assert_allclose(many.mean(0), 3 * P, atol=0.06)


def test_derivatives():
    u = lambda p: random.bernoulli(KEY, p, softness=0.3).sum()
    p = jnp.array([0.3, 0.6])
    h = 1e-6
    np.testing.assert_allclose(
        jax.grad(u)(p)[0], (u(p.at[0].add(h)) - u(p.at[0].add(-h))) / (2 * h), rtol=1e-6
    )
    weights, direction = normal(0, 2, 4), normal(1, 2, 4).at[1, 2].set(0)
    f = lambda x: jnp.sum(weights * random.categorical(KEY, x, softness=0.7))
    slopes = jax.grad(f)(LOGITS)
    assert slopes[1, 2] == 0
    difference = (f(LOGITS + h * direction) - f(LOGITS - h * direction)) / (2 * h)
    np.testing.assert_allclose(jnp.vdot(slopes, direction), difference, rtol=1e-6)


@pytest.mark.parametrize("replace", (True, False))
def test_gradient_of_choice_is_finite_where_p_is_zero(replace):
    f = lambda p: random.choice(KEY, jnp.arange(4.0), (2,), replace, p).sum()
    slopes = jax.grad(f)(P)
    assert (
        np.isfinite(slopes).all() and slopes[1] == 0 and (slopes[jnp.array([0, 2, 3])] != 0).any()
    )
    assert np.isfinite(jax.grad(lambda p: random.multinomial(KEY, 3, p)[0])(P)).all()


@FEW
@given(seed=SEEDS)
def test_straight_through_has_hard_values_and_soft_derivatives(seed):
    key, p, a = jax.random.key(seed), simplex(seed, 4), normal(seed, 4)
    calls = {
        "bernoulli": lambda f, **o: f(key, p, **o).sum(),
        "categorical": lambda f, **o: a @ f(key, jnp.log(p), **o),
        "choice": lambda f, **o: f(key, a, p=p, **o),
        "permutation": lambda f, **o: f(key, a * p, **o)[0],
    }
    for name, call in calls.items():
        soft, through = getattr(random, name), getattr(random, f"{name}_st")
        np.testing.assert_array_equal(call(through), call(soft, mode="_hard"), err_msg=name)
    f = lambda draw: jax.grad(lambda p: a @ draw(key, jnp.log(p), softness=0.5))(p)
    np.testing.assert_array_equal(f(random.categorical_st), f(random.categorical))


@pytest.mark.parametrize("dtype", ("bfloat16", "float32", *SLOW_DTYPES))
def test_dtype_is_kept(dtype):
    p = jnp.array([0.5, 0.25, 0.25], dtype)
    for mode in ("hard", "smooth"):
        assert random.bernoulli(KEY, p, mode=mode).dtype == p.dtype
        assert random.rademacher(KEY, 2, dtype, mode=mode).dtype == p.dtype
    assert random.choice(KEY, p, p=p).dtype == random.permutation(KEY, p).dtype == p.dtype


def test_empty_draws():
    assert random.choice(KEY, jnp.arange(3), (0,)).shape == (0,)
    assert random.permutation(KEY, 0).shape == (0,)


def _without_replacement(method):
    return random.categorical(KEY, P, shape=(2,), replace=False, method=method)


@pytest.mark.parametrize(
    ("error", "call", "message"),
    (
        (ValueError, lambda: random.bernoulli(KEY, 0.5, mode="soft"), "Invalid mode"),
        (ValueError, lambda: random.bernoulli(KEY, 0.5, rng_mode="x"), "expected 'high' or 'low'"),
        (ValueError, lambda: random.bernoulli(KEY, mode="hard", noise="x"), "noise='uniform'"),
        (ValueError, lambda: random.categorical(KEY, P, noise="x", mode="hard"), "noise='gumbel'"),
        (ValueError, lambda: random.bernoulli(KEY, P, (3,)), "broadcast-compatible"),
        (ValueError, lambda: random.categorical(KEY, LOGITS, shape=(3,)), "broadcast-compatible"),
        (TypeError, lambda: random.bernoulli(KEY, 0.5, (1.5,)), "integer type"),
        (ValueError, lambda: random.bernoulli(KEY, 0.5, (-1,)), "not be negative"),
        (
            ValueError,
            lambda: random.categorical(KEY, P, shape=(5,), replace=False),
            "cannot exceed",
        ),
        (ValueError, lambda: random.choice(KEY, 4, (5,), False), "cannot exceed"),
        (ValueError, lambda: random.choice(KEY, 3, p=P), r"p must have shape \(3,\)"),
        (ValueError, lambda: random.choice(KEY, 3, method="x"), "Invalid method"),
        (TypeError, lambda: random.choice(KEY, 1.5), "a must be an integer or at least 1-dim"),
        (ValueError, lambda: _without_replacement("sorting_network"), "needed without replacement"),
        (TypeError, lambda: random.permutation(KEY, 1.5), "x must be an integer or at least 1-dim"),
        (ValueError, lambda: random.permutation(KEY, P, 1), "out of bounds"),
        (NotImplementedError, lambda: random.permutation(KEY, P, out_sharding=1), "out_sharding"),
        (NotImplementedError, lambda: random.binomial(KEY, P, 0.5), "scalar static counts"),
        (NotImplementedError, lambda: random.multinomial(KEY, P, P), "scalar static counts"),
        (ValueError, lambda: random.binomial(KEY, -1, 0.5), "non-negative integer, got -1"),
        (ValueError, lambda: random.multinomial(KEY, 1.5, P), "non-negative integer, got 1.5"),
        (ValueError, lambda: random.rademacher(KEY, dtype=int), "dtype must be a float"),
        (ValueError, lambda: random.bernoulli(KEY, 0.5, softness=0.0), "softness must be positive"),
    ),
)
def test_bad_input(error, call, message):
    with pytest.raises(error, match=message):
        call()
