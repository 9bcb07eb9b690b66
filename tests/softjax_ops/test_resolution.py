"""At the resolution of the dtype: any softness, any scale, ties; a soft index is a distribution.

One compiled program per method and mode: every operator at once, mapped over softnesses and rows.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softjax_ops as so
from softjax_ops.methods import INDEX_METHODS, METHODS

CASES = [(name, mode) for name, method in METHODS.items() for mode in method.modes]
FAST = [("softsort", "smooth"), ("neuralsort", "smooth"), ("fast_soft_sort", "c1")]
GRID = FAST + [pytest.param(*c, marks=pytest.mark.slow) for c in CASES if c not in FAST]
DTYPES = ["float32"] + [
    pytest.param(d, marks=pytest.mark.slow) for d in ("float16", "bfloat16", "float64")
]
ROWS = np.array([[0.3, -1.2, 2, 0.9, -0.4], [1, 2, 4, 8, 16], [1, 1, 2, 2, 0.5], [3] * 5, [0] * 5])
APART = slice(0, 2)
"""Rows without ties: their limit is the hard operator."""


def softnesses(dtype) -> jax.Array:
    """From 1 to the smallest normal number, in the dtype that operators count it in."""
    tiny = float(jnp.finfo(dtype).tiny)
    decades = [10.0**-k for k in (0, 1, 3, 5, 7, 9, 15, 25, 37, 150, 300)]
    return jnp.asarray([*[s for s in decades if s > tiny], tiny], jnp.promote_types(dtype, "f4"))


def scales(dtype) -> tuple[float, ...]:
    return (1.0, 1e-3, 1e3) if dtype == "float16" else (1.0, 1e-20, 1e12)


def values(x, **options):
    """All values of one row, in one vector."""
    q = jnp.array([0.0, 0.3, 1.0], x.dtype)
    top = so.top_k(x, 2, **options)[0]
    found = (so.max(x, **options), so.min(x, **options), so.median(x, **options))
    return jnp.concatenate(
        [jnp.stack(found), so.sort(x, **options), so.quantile(x, q, **options), top]
    )


def indices(x, **options):
    """All soft indices of one row, (slots, n)."""
    q = jnp.array([0.0, 0.3, 1.0], x.dtype)
    one = (so.argmax(x, **options), so.argmin(x, **options), so.argmedian(x, **options))
    return jnp.concatenate(
        [jnp.stack(one), so.argsort(x, **options), so.argquantile(x, q, **options)]
    )


@functools.cache
def program(operator, method, mode, standardize):
    """Result and the derivatives of a weighted sum by the row and by the softness."""
    options = {"method": method, "mode": mode, "standardize": standardize}

    def one(x, softness):
        def total(x, softness):
            found = operator(x, softness=softness, **options)
            weights = jnp.linspace(0.5, 1.5, found.size, dtype=found.dtype)
            return jnp.sum(found * weights.reshape(found.shape)), found

        slopes, found = jax.grad(total, (0, 1), has_aux=True)(x, softness)
        return found, *slopes

    return jax.jit(jax.vmap(jax.vmap(one, (None, 0)), (0, None)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("standardize", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("method", "mode"), GRID)
def test_every_softness_is_finite_and_the_limit_is_hard(method, mode, standardize, dtype):
    soft = softnesses(dtype)
    operators = {"values": values, "rank": so.rank}
    operators |= {"indices": indices} if method in INDEX_METHODS else {}
    rounding = max(1e-4, 8 * float(jnp.finfo(dtype).eps))
    for name, operator in operators.items():
        for scale in scales(dtype):
            x = jnp.asarray(ROWS * scale, dtype)
            found, by_x, by_softness = program(operator, method, mode, standardize)(x, soft)
            for part in (found, by_x, by_softness):
                assert jnp.all(jnp.isfinite(part)), (name, scale)
            if name == "indices":
                assert jnp.all(found >= 0), scale
                np.testing.assert_allclose(jnp.sum(found, axis=-1), 1, atol=rounding)
            hard = jax.vmap(lambda x, f=operator: f(x, mode="hard"))(x)[APART]
            last = found[APART, -1].astype(jnp.float64)
            size = scale if name == "values" else 1
            np.testing.assert_allclose(last / size, hard / size, atol=40 * rounding, err_msg=name)
            if name == "values":
                slope = jnp.sum(by_x[APART, -1].astype(jnp.float64), axis=-1)
                np.testing.assert_allclose(slope, found.shape[-1], rtol=40 * rounding)


def test_the_gradient_of_the_maximum_at_a_tiny_softness_is_one():
    x = jnp.asarray(np.random.default_rng(0).normal(size=64), jnp.float32)
    slope = jax.jit(jax.vmap(jax.grad(lambda s, x: so.max(x, softness=s), 1), (0, None)))
    found = slope(10.0 ** -jnp.arange(6.0, 38, dtype=jnp.float32), x)
    expected = jnp.broadcast_to(jax.nn.one_hot(jnp.argmax(x), 64), found.shape)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize(
    "mode", ["smooth", "c2", *[pytest.param(m, marks=pytest.mark.slow) for m in ("c0", "c1")]]
)
def test_end_points_of_short_rows_are_distributions(length, mode):
    """q = 0 and 1 too: there is one slot less to mix."""
    x = jnp.asarray(np.random.default_rng(1).normal(size=(length, 4)), jnp.float32)
    q, soft = jnp.array([0.0, 0.5, 0.9, 1.0]), jnp.array([1.0, 0.1, 1e-3, 1e-6])
    methods = [m for m in INDEX_METHODS if mode in METHODS[m].modes]

    def every(x, softness):
        return [
            so.argquantile(x, q, axis=0, softness=softness, mode=mode, method=m) for m in methods
        ]

    for method, found in zip(methods, jax.jit(jax.vmap(every, (None, 0)))(x, soft), strict=True):
        assert jnp.all(found >= 0), method
        np.testing.assert_allclose(jnp.sum(found, axis=-1), 1, atol=1e-5, err_msg=method)
        hard = so.argquantile(x, q, axis=0, mode="hard")
        np.testing.assert_allclose(found[-1], hard, atol=1e-3, err_msg=method)


@pytest.mark.parametrize("length", [7, pytest.param(64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", INDEX_METHODS)
def test_a_soft_index_is_a_distribution_whatever_was_solved(method, length):
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.normal(size=(2, length)), rng.integers(0, 4, (2, length))])
    x = jnp.asarray(x, jnp.float32)
    modes = METHODS[method].modes

    def every(softness):
        return [so.argsort(x, axis=1, softness=softness, mode=m, method=method) for m in modes]

    for found in jax.jit(jax.vmap(every))(10.0 ** -jnp.arange(0.0, 9, dtype=jnp.float32)):
        assert jnp.all(found >= 0)
        np.testing.assert_allclose(jnp.sum(found, axis=-1), 1, atol=1e-5)
