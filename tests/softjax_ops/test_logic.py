"""Fuzzy logic: truth tables, bounds, De Morgan, gradients at 0 and 1."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

import softjax_ops as so
from tests.softjax_ops.cases import DTYPES, FEW, SEEDS


@pytest.mark.parametrize("mean", (False, True))
def test_truth_tables(mean):
    for x, y in itertools.product((False, True), repeat=2):
        np.testing.assert_allclose(so.logical_and(x, y, mean), x and y, atol=2e-5)
        np.testing.assert_allclose(so.logical_or(x, y, mean), x or y, atol=2e-5)
        np.testing.assert_allclose(so.logical_xor(x, y, mean), x != y, atol=2e-5)
        assert so.logical_not(x) == (not x)


@pytest.mark.parametrize("mean", (False, True))
@FEW
@given(seed=SEEDS)
def test_bounds_and_de_morgan(mean, seed):
    x = jnp.asarray(np.random.default_rng(seed).uniform(size=(4, 5)))
    conjunction = so.all(x, use_geometric_mean=mean)
    disjunction = so.any(x, use_geometric_mean=mean)
    assert conjunction.shape == disjunction.shape == (4,)
    assert (conjunction >= 0).all() and (disjunction <= 1).all()
    assert (conjunction <= disjunction + 1e-12).all()
    dual = 1 - so.all(1 - x, use_geometric_mean=mean)
    np.testing.assert_allclose(disjunction, dual, rtol=1e-12)
    slopes = jax.grad(lambda x: so.any(x, use_geometric_mean=mean).sum())(x)
    assert (slopes >= 0).all()


def test_hard_limit_over_axes():
    x = jnp.array([[0.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(so.all(x), [0, 1])
    np.testing.assert_array_equal(so.any(1 - x, axis=0), [1, 0, 0])
    assert so.all(x, axis=None) == 0 and so.any(x, axis=(0, 1)) == 1
    assert so.all(jnp.zeros((2, 0))).tolist() == [1, 1]


def test_geometric_mean_keeps_the_scale_and_is_floored():
    p = jnp.full(10, 0.3)
    np.testing.assert_allclose(so.all(p, use_geometric_mean=True), 0.3)
    one_false = jnp.ones(10).at[3].set(0)
    np.testing.assert_allclose(so.all(one_false, use_geometric_mean=True), 0.1)
    np.testing.assert_allclose(so.all(one_false, epsilon=1e-30, use_geometric_mean=True), 1e-3)


@pytest.mark.parametrize("mean", (False, True))
@pytest.mark.parametrize("dtype", DTYPES)
def test_corners_have_finite_derivatives_and_the_dtype_stays(dtype, mean):
    for corner in itertools.product((0.0, 1.0), repeat=3):
        x = jnp.array(corner, dtype)
        for f in (so.all, so.any):
            value, slope = jax.value_and_grad(lambda x, f=f: f(x, use_geometric_mean=mean))(x)
            assert value.dtype == x.dtype and np.isfinite(np.asarray(slope, "float64")).all()
    if dtype == "float64":
        second = jax.hessian(lambda x: so.all(x, use_geometric_mean=mean))(jnp.zeros(3))
        assert np.isfinite(second).all()
        np.testing.assert_allclose(
            jax.hessian(so.all)(jnp.array([0.0, 0, 2])), [[0, 2, 0], [2, 0, 0], [0, 0, 0]]
        )


def test_nan_stays_visible():
    for f in (so.all, so.any):
        for mean in (False, True):
            assert np.isnan(f(jnp.array([0.5, jnp.nan]), use_geometric_mean=mean))
