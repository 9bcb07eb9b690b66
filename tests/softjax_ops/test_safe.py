"""Safe operators: JAX's value where that is finite, the stated one with derivative 0 elsewhere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softjax_ops as so
from tests.softjax_ops.cases import DTYPES, normal

UNARY = {  # name: (good points, {bad point: value there})
    "sqrt": ([1e-30, 0.5, 4.0], {0.0: 0, -1.0: 0, -jnp.inf: 0}),
    "log": ([1e-30, 0.5, 4.0], {0.0: 0, -1.0: 0, -jnp.inf: 0}),
    "arcsin": ([-0.9, 0.0, 0.9], {1.0: jnp.pi / 2, -1.0: -jnp.pi / 2, 2.0: jnp.pi / 2}),
    "arccos": ([-0.9, 0.0, 0.9], {1.0: 0, -1.0: jnp.pi, 2.0: 0, -2.0: jnp.pi}),
}


@pytest.mark.parametrize("name", UNARY)
def test_value_and_derivatives(name):
    safe, plain = getattr(so, name), getattr(jnp, name)
    good, bad = UNARY[name]
    for x in good:
        np.testing.assert_allclose(safe(x), plain(x))
        np.testing.assert_allclose(jax.grad(safe)(x), jax.grad(plain)(x))
    for x, value in bad.items():
        np.testing.assert_allclose(safe(x), value, rtol=1e-6)
        assert jax.grad(safe)(x) == jax.jvp(safe, (x,), (1.0,))[1] == jax.hessian(safe)(x) == 0


@pytest.mark.parametrize("name", (*UNARY, "norm"))
@pytest.mark.parametrize("dtype", DTYPES)
def test_nan_stays_nan_and_the_dtype_stays(name, dtype):
    y = getattr(so, name)(jnp.array([0.25, jnp.nan], dtype))
    assert np.isnan(np.asarray(y).ravel()[-1]) and y.dtype == jnp.dtype(dtype)


def test_div():
    x, y = jnp.array([1.0, -2.0, 0.0, jnp.nan]), jnp.array([4.0, 0.0, 0.0, 0.0])
    np.testing.assert_array_equal(so.div(x, y), [0.25, 0, 0, jnp.nan])
    np.testing.assert_array_equal(jax.vmap(jax.grad(so.div, 0))(x, y)[:3], [0.25, 0, 0])
    np.testing.assert_array_equal(jax.vmap(jax.grad(so.div, 1))(x, y)[:3], [-1 / 16, 0, 0])
    assert np.isnan(so.div(1.0, jnp.nan))
    assert so.div(jnp.ones((2, 1)), 3).shape == (2, 1)


@pytest.mark.parametrize("axis", (None, 0, -1, (0, 1)))
@pytest.mark.parametrize("keepdims", (False, True))
def test_norm_is_the_euclidean_one(axis, keepdims):
    x = normal(0, 2, 3)
    plain = jnp.sqrt(jnp.sum(x**2, axis, keepdims=keepdims))
    np.testing.assert_allclose(so.norm(x, axis, keepdims), plain)
    np.testing.assert_allclose(
        jax.grad(lambda x: so.norm(x, axis).sum())(x),
        jax.grad(lambda x: jnp.sqrt(jnp.sum(x**2, axis)).sum())(x),
    )


def test_norm_at_zero_and_beyond_the_range_of_squares():
    zero = jnp.zeros(3)
    assert so.norm(zero) == 0
    assert (jax.grad(so.norm)(zero) == 0).all() and (jax.hessian(so.norm)(zero) == 0).all()
    rows = jnp.array([[0.0, 0.0], [3.0, 4.0]])  # one zero row spoils no other
    slopes = jax.grad(lambda x: so.norm(x, axis=-1).sum())(rows)
    np.testing.assert_allclose(slopes, [[0, 0], [0.6, 0.8]])
    with jax.enable_x64(False):
        for scale in (1e30, 1e-30):
            x = jnp.array([3.0, 4.0], "float32") * scale
            np.testing.assert_allclose(so.norm(x), 5 * scale, rtol=1e-6)
            np.testing.assert_allclose(jax.grad(so.norm)(x), [0.6, 0.8], rtol=1e-6)
    assert so.norm(jnp.array([jnp.inf, 1.0])) == jnp.inf
    assert so.norm(jnp.zeros((2, 0)), axis=-1).tolist() == [0, 0]


def test_second_derivative_of_norm():
    x = normal(1, 3)
    plain = jax.hessian(lambda x: jnp.sqrt(jnp.sum(x**2)))(x)
    np.testing.assert_allclose(jax.hessian(so.norm)(x), plain, rtol=1e-10)
