"""Bundled gradients against closed forms of Gaussian averages, and a die that no slope tells of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm

import softsim

SIGMA = 0.5
CASES = {  # f, d/dx E[f(x + sigma e)], whether derivatives at points average to it
    "square": (lambda x: x**2, lambda x: 2 * x, True),
    "absolute": (jnp.abs, lambda x: 2 * norm.cdf(x / SIGMA) - 1, True),
    "sine": (jnp.sin, lambda x: jnp.cos(x) * np.exp(-(SIGMA**2) / 2), True),
    "step": (lambda x: jnp.where(x > 0, 1.0, 0.0), lambda x: norm.pdf(x, 0, SIGMA), False),
    "step and slope": (
        lambda x: jnp.where(x > 0, 3.0, 0.0) - x,
        lambda x: 3 * norm.pdf(x, 0, SIGMA) - 1,
        False,
    ),
}


@pytest.mark.parametrize("estimator", ["first", "zeroth", "mixed"])
@pytest.mark.parametrize("name", CASES)
def test_estimates_are_the_slope_of_the_average_to_their_error(name, estimator) -> None:
    f, slope, continuous = CASES[name]
    if estimator == "first" and not continuous:
        pytest.skip("derivatives at points do not see the jump")
    x, trials = 0.2, 200
    run = jax.jit(jax.vmap(lambda key: softsim.bundle(f, SIGMA, 200, estimator)(x, key)))
    found = run(jax.random.split(jax.random.key(0), trials))
    off, error = np.asarray(found.gradient - slope(x)), np.asarray(found.error)
    bias = 0.0
    if estimator == "mixed" and not continuous:  # that the docstring allows
        bias = softsim.bundles.TRUST * np.mean(error / (1 - np.asarray(found.first)))
    assert abs(off.mean()) < 4 / np.sqrt(trials) * off.std() + bias + 1e-12
    if estimator != "mixed":  # the error is that of the estimates
        np.testing.assert_allclose(off.std(), error.mean(), rtol=0.2, atol=1e-12)


def test_the_mixture_is_the_better_of_both() -> None:
    run = lambda f: jax.jit(softsim.bundle(f, SIGMA, 1000))(0.2, jax.random.key(0))
    assert run(jnp.sin).first > 0.9
    assert run(CASES["step"][0]).first < 0.5


def test_any_pytree_with_a_spread_of_its_own_and_other_arguments() -> None:
    f = lambda x, scale: scale * (jnp.sum(x["a"] ** 2) + 3 * x["b"])
    x, sigma = {"a": jnp.array([1.0, -2.0]), "b": 0.5}, {"a": 0.1, "b": 2.0}
    found = softsim.bundle(f, sigma, 2000)(x, jax.random.key(1), 2.0)
    np.testing.assert_allclose(found.gradient["a"], [4.0, -8.0], atol=0.1)
    np.testing.assert_allclose(found.gradient["b"], 6.0, atol=0.1)
    np.testing.assert_allclose(found.value, 2 * (5.0 + 2 * 0.01 + 1.5), atol=0.6)
    assert found.error["a"].shape == (2,)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"samples": 3}, "samples: got 3"), ({"samples": 2}, "samples: got 2"),
     ({"samples": 8, "estimator": "both"}, "estimator: got 'both'")],
)  # fmt: skip
def test_bad_settings_are_named(settings, message) -> None:
    with pytest.raises(ValueError, match=message):
        softsim.bundle(jnp.sin, SIGMA, **settings)
