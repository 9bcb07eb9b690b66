"""Selection: a one-hot index selects as JAX does, any other gives the expectation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

import softjax_ops as so
from tests.softjax_ops.cases import DTYPES, FEW, SEEDS, normal, simplex

X = jnp.arange(24.0).reshape(2, 3, 4) ** 1.1


def one_hot(index, n):
    return jax.nn.one_hot(jnp.asarray(index), n)


@pytest.mark.parametrize("axis", (0, 1, -1, None))
def test_one_hot_selects_as_jax(axis):
    n = X.size if axis is None else X.shape[axis]
    index = jnp.array([n - 1, 0])
    np.testing.assert_allclose(so.take(X, one_hot(index, n), axis), jnp.take(X, index, axis))
    if axis is None:
        along = index
    else:
        shape = [1, 1, 1]
        shape[axis] = 2
        along = jnp.broadcast_to(
            index.reshape(shape), [2 if i == axis % 3 else k for i, k in enumerate(X.shape)]
        )
    np.testing.assert_allclose(
        so.take_along_axis(X, one_hot(along, n), axis), jnp.take_along_axis(X, along, axis)
    )


def test_choose_and_dynamic_index():
    choices = X[0]
    index = jnp.array([2, 0, 1, 1])
    np.testing.assert_allclose(
        so.choose(one_hot(index, 3), choices), jnp.choose(index, choices, mode="clip")
    )
    for axis in (0, 1, -1):
        for keepdims in (True, False):
            n = X.shape[axis]
            np.testing.assert_allclose(
                so.dynamic_index_in_dim(X, one_hot(n - 2, n), axis, keepdims),
                jax.lax.dynamic_index_in_dim(X, n - 2, axis, keepdims),
            )


@pytest.mark.parametrize("start", range(4))
@pytest.mark.parametrize("size", (1, 2, 4))
def test_dynamic_slice_clamps_as_lax(start, size):
    np.testing.assert_allclose(
        so.dynamic_slice_in_dim(X, one_hot(start, 4), size, -1),
        jax.lax.dynamic_slice_in_dim(X, start, size, -1),
    )
    starts, sizes = (1, start % 3, start), (1, 2, size)
    np.testing.assert_allclose(
        so.dynamic_slice(X, [one_hot(s, n) for s, n in zip(starts, X.shape, strict=True)], sizes),
        jax.lax.dynamic_slice(X, starts, sizes),
    )


@FEW
@given(seed=SEEDS)
def test_expectation_is_linear_and_inside_the_data(seed):
    x, p, q = normal(seed, 5), simplex(seed, 3, 5), simplex(seed + 1, 3, 5)
    for f in (so.take, so.take_along_axis):
        y = f(x, p, 0)
        np.testing.assert_allclose(y, p @ x, rtol=1e-12)
        np.testing.assert_allclose(f(x, 0.3 * p + 0.7 * q, 0), 0.3 * y + 0.7 * f(x, q, 0))
        assert (y >= x.min()).all() and (y <= x.max()).all()
    slices = [so.dynamic_slice_in_dim(x, one_hot(i, 5), 2) for i in range(5)]
    np.testing.assert_allclose(
        so.dynamic_slice_in_dim(x, p[0], 2), p[0] @ jnp.stack(slices), rtol=1e-12
    )


@jax.jit
def slopes(x, p, dx, dp):
    """Along (dx, dp), of a function of each selection: by differences, reverse and forward mode."""
    operators = (
        so.take_along_axis,
        lambda x, p: so.take(x, p[0], -1),
        lambda x, p: so.choose(p[0], x.T[:, :1]),
        lambda x, p: so.dynamic_slice_in_dim(x, p[0, 0], 3, 1),
        lambda x, p: so.where(p[:, 0], x, x**2),
    )
    total = lambda x, p: jnp.array([jnp.sum(jnp.sin(f(x, p))) for f in operators])
    h = 1e-6
    difference = (total(x + h * dx, p + h * dp) - total(x - h * dx, p - h * dp)) / (2 * h)
    gx, gp = jax.jacrev(total, (0, 1))(x, p)
    reverse = jnp.tensordot(gx, dx, dx.ndim) + jnp.tensordot(gp, dp, dp.ndim)
    return difference, reverse, jax.jvp(total, (x, p), (dx, dp))[1]


@FEW
@given(seed=SEEDS)
def test_derivatives(seed):
    x, p = normal(seed, 2, 5), simplex(seed, 2, 3, 5)
    difference, *found = slopes(x, p, normal(seed + 1, 2, 5), normal(seed + 2, 2, 3, 5))
    for slope in found:
        np.testing.assert_allclose(slope, difference, rtol=1e-6)


def test_where():
    x, y = jnp.array([1.0, 2.0, 3.0]), jnp.array([-1.0, -2.0, -3.0])
    np.testing.assert_allclose(so.where(jnp.array([0.0, 0.25, 1.0]), x, y), [-1, -1, 3])
    np.testing.assert_array_equal(so.where(x > 1.5, x, y), jnp.where(x > 1.5, x, y))
    assert so.where(True, 1, 2) == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_is_kept(dtype):
    x, p = jnp.ones((3, 4), dtype), jnp.eye(4, dtype=dtype)
    assert so.take(x, p, 1).dtype == so.where(x > 0, x, x).dtype == x.dtype
    assert so.dynamic_slice(x, [p[0, :3], p[0]], (2, 2)).dtype == x.dtype


def test_jit_and_vmap():
    x, p = normal(0, 3, 5), simplex(0, 3, 2, 5)
    looped = jnp.stack([so.take(a, b) for a, b in zip(x, p, strict=True)])
    np.testing.assert_allclose(jax.jit(jax.vmap(so.take))(x, p), looped, rtol=1e-12)


def test_entries_of_weight_zero_may_be_infinite_or_nan():
    x = jnp.array([-jnp.inf, 2.0, jnp.nan])
    p = jnp.array([[0.0, 1.0, 0.0]])
    assert so.take(x, p) == 2
    assert so.take(x, jnp.array([[0.5, 0.5, 0.0]])) == -jnp.inf
    assert np.isnan(so.take(x, jnp.array([[0.0, 0.5, 0.5]])))[0]
    slopes = jax.grad(lambda p, x: so.take(x, p).sum(), (0, 1))(p, x)
    assert all(np.isfinite(s).all() for s in slopes)
    c = jnp.array([1.0, 0.0])
    np.testing.assert_array_equal(so.where(c, 1.0, jnp.array([jnp.inf, 3.0])), [1, 3])
    assert np.isfinite(jax.grad(lambda c: so.where(c, 1.0, jnp.inf))(1.0))
    assert np.isnan(so.where(0.5, 1.0, jnp.nan))


@pytest.mark.parametrize(
    ("call", "message"),
    (
        (lambda: so.take_along_axis(X, jnp.ones((2, 3))), "one dimension more than x"),
        (lambda: so.take_along_axis(X, jnp.ones((2, 3, 1, 5))), "over 4 positions, got 5"),
        (lambda: so.take(X, jnp.ones(24)), r"shape \(k, \[n\]\), got \(24,\)"),
        (lambda: so.take(X, jnp.ones((1, 4)), 3), "axis 3 is out of bounds for array of dim"),
        (lambda: so.choose(jnp.ones((2, 3)), jnp.ones(3)), "as many dimensions"),
        (lambda: so.choose(jnp.ones((2, 3)), jnp.ones((4, 2))), "over 4 positions, got 3"),
        (lambda: so.dynamic_index_in_dim(X, jnp.ones(3)), r"shape \(2,\), got \(3,\)"),
        (lambda: so.dynamic_slice_in_dim(X, jnp.ones(2), 3), r"slice_size must be in \(0, 2\]"),
        (lambda: so.dynamic_slice_in_dim(X, jnp.ones(2), 0), "slice_size"),
        (lambda: so.dynamic_slice(X, [jnp.ones(2)], (1,)), r"len\(soft_start_indices\)"),
    ),
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
