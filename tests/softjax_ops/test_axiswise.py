"""Axiswise operators: hard parity with JAX, shapes, arguments, and where they differ on purpose."""

import warnings

import hypothesis
import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softjax_ops as so
from softjax_ops.methods import INDEX_METHODS, METHODS

X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 5)))
AXES = (None, 0, 1, -1)
RULES = ("linear", "lower", "higher", "nearest", "midpoint")


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("method", METHODS)
def test_hard_is_jax(axis, method):
    hard = {"axis": axis, "mode": "hard", "method": method}
    np.testing.assert_array_equal(so.max(X, **hard), jnp.max(X, axis))
    np.testing.assert_array_equal(so.min(X, keepdims=True, **hard), jnp.min(X, axis, keepdims=True))
    np.testing.assert_array_equal(so.sort(X, **hard), jnp.sort(X, axis))
    for q in (0.0, 0.3, 1.0):
        np.testing.assert_allclose(so.quantile(X, q, **hard), jnp.quantile(X, q, axis), atol=1e-12)
    np.testing.assert_allclose(so.median(X, **hard), jnp.median(X, axis), atol=1e-12)
    np.testing.assert_allclose(
        so.percentile(X, 30.0, **hard), jnp.percentile(X, 30.0, axis), atol=1e-12
    )


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("keepdims", [False, True])
def test_hard_index_is_one_hot(axis, keepdims):
    hard = {"axis": axis, "mode": "hard"}
    n = X.size if axis is None else X.shape[axis]
    for soft, plain in ((so.argmax, jnp.argmax), (so.argmin, jnp.argmin)):
        expected = jax.nn.one_hot(plain(X, axis, keepdims=keepdims), n)
        np.testing.assert_array_equal(soft(X, keepdims=keepdims, **hard), expected)
    for descending in (False, True):
        expected = jax.nn.one_hot(jnp.argsort(X, axis, descending=descending), n)
        np.testing.assert_array_equal(so.argsort(X, descending=descending, **hard), expected)
    index = so.argmedian(X, keepdims=keepdims, **hard)
    assert index.shape == (*jnp.median(X, axis, keepdims=keepdims).shape, n)


@pytest.mark.parametrize("rule", RULES)
@hypothesis.settings(deadline=None, derandomize=True, max_examples=25)
@hypothesis.given(
    x=hnp.arrays(np.float64, (2, 5), elements=st.floats(-10, 10)),
    q=hnp.arrays(np.float64, (3,), elements=st.floats(0, 1)),
)
def test_hard_quantiles_are_numpys(rule, x, q):
    found = so.quantile(x, q, axis=1, mode="hard", quantile_method=rule)
    expected = jnp.quantile(x, q, axis=1, method=rule)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("mode", ["hard", "smooth"])
@pytest.mark.parametrize("axis", AXES)
def test_shapes(mode, axis):
    n = X.size if axis is None else X.shape[axis]
    kept = (1,) * X.ndim if axis is None else X.sum(axis, keepdims=True).shape
    dropped = () if axis is None else X.sum(axis).shape
    whole = (n,) if axis is None else X.shape
    shared = {"axis": axis, "mode": mode, "method": "softsort"}

    def shape(op, *args, **kwargs):
        return jax.eval_shape(lambda x: op(x, *args, **kwargs, **shared), X).shape

    assert shape(so.argmax) == (*dropped, n)
    assert shape(so.argmax, keepdims=True) == (*kept, n)
    assert shape(so.max) == dropped
    assert shape(so.max, keepdims=True) == kept
    assert shape(so.sort) == shape(so.rank) == whole
    assert shape(so.argsort) == (*whole, n)
    q = jnp.array([0.1, 0.9])
    assert shape(so.quantile, q, keepdims=True) == (2, *kept)
    assert shape(so.argquantile, q) == (2, *dropped, n)
    values, index = jax.eval_shape(lambda x: so.top_k(x, 2, **shared), X)
    top = (2,) if axis is None else tuple(2 if i == axis % 3 else m for i, m in enumerate(X.shape))
    assert values.shape == top and index.shape == (*top, n)


def test_top_k_has_no_index_for_three_methods():
    for method in METHODS:
        _, index = jax.eval_shape(lambda x: so.top_k(x, 2, method=method), X[0, 0])  # noqa: B023
        without = method in ("fast_soft_sort", "smooth_sort", "sorting_network")
        assert (index is None) == without
        assert so.top_k(X[0, 0], 2, method=method, mode="hard")[1].shape == (2, 5)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64])
def test_the_dtype_of_the_input_is_kept(dtype):
    x = X[0].astype(dtype)
    for found in (so.argmax(x, axis=1), so.sort(x, axis=1), so.rank(x, axis=1), so.median(x)):
        assert found.dtype == dtype and jnp.all(jnp.isfinite(found))
    assert so.sort(x, mode="hard").dtype == dtype
    assert so.argmax(x, mode="hard").dtype == dtype


def test_integers_and_lists_become_floats():
    for x in ([1, 3, 2], jnp.array([1, 3, 2]), np.array([1, 3, 2], np.uint8)):
        for mode in ("hard", "smooth"):
            assert so.argmax(x, mode=mode)[1] > 0.5
            assert so.argmin(x, mode=mode)[0] > 0.5


def test_unsigned_integers_are_not_negated():
    x = jnp.array([0, 3, 200], jnp.uint8)
    assert so.min(x, mode="hard") == 0 and so.argmin(x, mode="hard")[0] == 1
    assert so.min(x, softness=1e-3) < 1e-2
    np.testing.assert_array_equal(so.sort(x, mode="hard"), x)


def test_a_mask_does_not_flatten_the_rest():
    x = jnp.array([0.0, 1, 2, 3, -1e6])
    mask = x > -1e5
    masked, short = so.argmax(x, where=mask), so.argmax(x[:4])
    np.testing.assert_allclose(masked[:4], short, atol=1e-12)
    low = so.argmax(x.at[4].set(-jnp.inf))
    np.testing.assert_allclose(low[:4], short, atol=1e-12)
    assert low[4] == masked[4] == 0
    gradient = jax.grad(lambda x: so.max(x, where=mask))(x)
    assert jnp.all(jnp.isfinite(gradient)) and gradient[4] == 0


def test_a_row_without_entries_is_zero():
    for mode in ("hard", "smooth"):
        for found in (so.argmax(X, axis=2, where=False, mode=mode), so.rank(X, where=X > 9)):
            assert jnp.all(found == 0)


def test_hard_masks():
    x, mask = jnp.array([3.0, 1, 2, 5]), jnp.array([True, True, True, False])
    assert so.max(x, where=mask, mode="hard") == 3
    np.testing.assert_array_equal(so.sort(x, where=mask, mode="hard"), [1, 2, 3, 0])
    np.testing.assert_array_equal(so.rank(x, where=mask, mode="hard"), [1, 3, 2, 0])
    np.testing.assert_array_equal(so.argmax(x, where=mask, mode="hard"), [1, 0, 0, 0])
    assert so.median(x, where=mask, mode="hard") == 2


def test_equal_entries_get_no_huge_gradient():
    gradient = jax.grad(lambda x: so.argmax(x)[0])(jnp.ones(4))
    np.testing.assert_allclose(gradient, jnp.array([3, -1, -1, -1]) * 0.15625, rtol=1e-3)


def test_one_compilation_for_all_softnesses():
    from softjax_ops._rows import soft_values

    x = X[0, 0]
    so.sort(x, softness=0.1)
    before = soft_values._cache_size()
    for softness in (0.2, jnp.float32(0.3), np.float64(0.4), jnp.array(0.5)):
        so.sort(x, softness=softness)
    assert soft_values._cache_size() == before


def test_softness_per_row():
    x, softness = X[:, 0], jnp.array([[0.1], [0.5], [2.0]])
    rows = [so.sort(row, softness=s) for row, s in zip(x, softness[:, 0], strict=True)]
    np.testing.assert_allclose(so.sort(x, axis=1, softness=softness), jnp.stack(rows), atol=1e-12)
    columns = so.sort(x.T, axis=0, softness=softness.T)
    np.testing.assert_allclose(columns, jnp.stack(rows).T, atol=1e-12)


@pytest.mark.parametrize("softness", [0.0, -1.0, float("nan")])
def test_bad_softness(softness):
    with pytest.raises(ValueError, match="softness must be positive"):
        so.sort(X[0, 0], softness=softness)
    assert jnp.all(jnp.isnan(jax.jit(lambda s: so.argmax(X[0, 0], softness=s))(softness)))
    assert so.max(X[0, 0], softness=softness, mode="hard") == X[0, 0].max()


BAD = {
    "mode": (lambda m: so.sort(X, mode="soft"), "Invalid mode: 'soft'.*smooth"),
    "method": (lambda m: so.sort(X, method="bubble", mode=m), "Invalid method: 'bubble'.*softsort"),
    "index method": (lambda m: so.argmax(X, method="smooth_sort", mode=m), "Invalid method"),
    "axis": (lambda m: so.max(X, axis=3, mode=m), "axis 3 is out of bounds"),
    "k": (lambda m: so.top_k(X, 0, mode=m), "k must be positive, got k=0"),
    "large k": (lambda m: so.top_k(X, 6, mode=m), "k=6 exceeds dimension size 5 along axis=-1"),
    "q": (lambda m: so.quantile(X, 1.5, mode=m), r"q must be in \[0, 1\], got 1.5"),
    "nan q": (lambda m: so.quantile(X, jnp.nan, mode=m), "q must be in"),
    "p": (lambda m: so.percentile(X, -1, mode=m), r"p must be in \[0, 100\], got -1"),
    "q shape": (lambda m: so.argquantile(X, jnp.ones((1, 1)), mode=m), "q must be scalar or 1-D"),
    "rule": (
        lambda m: so.quantile(X, 0.5, quantile_method="middle", mode=m),
        "Unknown quantile_method='middle'.*nearest",
    ),
    "where": (lambda m: so.max(X, where=jnp.ones(3), mode=m), "where must be boolean"),
    "where shape": (lambda m: so.max(X, where=jnp.ones(3, bool), mode=m), "where must broadcast"),
    "empty": (lambda m: so.max(jnp.zeros((2, 0)), axis=1, mode=m), "at least one entry"),
    "gated_grad": (
        lambda m: so.max(X, method="fast_soft_sort", gated_grad=False, mode=m),
        "gated_grad=False is not supported by method='fast_soft_sort'",
    ),
    "ot_kwargs": (lambda m: so.max(X, ot_kwargs={"sinkhorn_tol": 1.0}, mode=m), "ot_kwargs"),
    "ot value": (
        lambda m: so.max(X, method="ot", ot_kwargs={"sinkhorn_tol": -1}, mode=m),
        "sinkhorn_tol",
    ),
    "eps": (lambda m: so.argmax(X, log_prob_eps=0.1, mode=m), "return_log_probs=True"),
    "eps range": (
        lambda m: so.argmax(X, return_log_probs=True, log_prob_eps=2.0, mode=m),
        r"log_prob_eps must be in \(0, 1\], got 2.0",
    ),
    "eps shape": (
        lambda m: so.argmax(X, return_log_probs=True, log_prob_eps=jnp.ones(2), mode=m),
        "log_prob_eps must be scalar",
    ),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("mode", ["hard", "smooth"])
def test_bad_input(name, mode):
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call(mode)


def test_bad_combinations():
    with pytest.raises(TypeError, match="sinkhorn_toll"):
        so.max(X, method="ot", ot_kwargs={"sinkhorn_toll": 1e-3})
    for method in ("smooth_sort", "lapsum"):
        with pytest.raises(ValueError, match=f"{method} only supports mode hard, smooth"):
            so.sort(X, method=method, mode="c0")
    with pytest.raises(ValueError, match="softness must be a scalar or broadcast"):
        so.sort(X, axis=1, softness=jnp.ones((3, 4, 5)))
    with pytest.raises(ValueError, match="has no soft index"):
        so.top_k(X, 2, method="smooth_sort", return_log_probs=True)
    assert so.max(X, ot_kwargs={}).shape == ()
    assert jnp.isnan(jax.jit(lambda q: so.quantile(X, q))(2.0))


def test_gated_grad_holds_the_index_constant():
    x = X[0, 0]
    index = so.argsort(x, method="softsort", descending=True)
    gradient = jax.jacobian(lambda x: so.top_k(x, 3, method="softsort", gated_grad=False)[0])(x)
    np.testing.assert_allclose(gradient, index[:3], atol=1e-12)
    free = jax.jacobian(lambda x: so.top_k(x, 3, method="softsort", gated_grad=False)[1])(x)
    assert jnp.any(free != 0)


@pytest.mark.parametrize(
    "method",
    ["softsort"] + [pytest.param(m, marks=pytest.mark.slow) for m in INDEX_METHODS[1:]],
)
def test_log_probs(method):
    x = X[0, 0]
    shared = {"method": method, "softness": 0.3}
    plain = so.argmax(x, **shared)
    np.testing.assert_allclose(
        jnp.exp(so.argmax(x, return_log_probs=True, **shared)), plain, atol=1e-12
    )
    floored = jnp.maximum(plain, 0.1)
    found = so.argmax(x, return_log_probs=True, log_prob_eps=0.1, **shared)
    np.testing.assert_allclose(found, jnp.log(floored / floored.sum()), atol=1e-12)


def test_log_probs_do_not_underflow_and_keep_exact_zeros():
    x = jnp.array([-1000.0, 0, 1000])
    raw = {"standardize": False, "softness": 1.0, "return_log_probs": True}
    np.testing.assert_allclose(so.argmax(x, **raw), [-2000, -1000, 0], atol=1e-9)
    quantile = so.argquantile(x, 0.25, method="softsort", **raw)
    assert jnp.all(jnp.isfinite(quantile))
    sparse = so.argmax(x, mode="c0", **raw)
    np.testing.assert_array_equal(sparse, [-jnp.inf, -jnp.inf, 0])
    gradient = jax.grad(lambda x: jnp.nan_to_num(so.argmax(x, mode="c0", **raw)).sum())(x)
    assert not jnp.all(jnp.isfinite(gradient))


def test_jit_vmap_and_flattening_agree():
    x = X[0]
    for op in (so.sort, so.rank, so.argmax):
        whole = op(x, axis=1)
        np.testing.assert_allclose(jax.jit(lambda x, op=op: op(x, axis=1))(x), whole, atol=1e-12)
        np.testing.assert_allclose(jax.vmap(op)(x), whole, atol=1e-12)
    for method in ("fast_soft_sort", "ot"):
        rows = jax.vmap(lambda row: so.sort(row, method=method))(x)  # noqa: B023
        np.testing.assert_allclose(rows, so.sort(x, axis=1, method=method), atol=1e-6)


def test_quantiles_increase_and_vectors_stack():
    q = jnp.linspace(0, 1, 6)
    together = so.quantile(X[0, 0], q, softness=1.0)
    assert jnp.all(jnp.diff(together) >= -1e-12)
    single = jnp.stack([so.quantile(X[0, 0], level, softness=1.0) for level in q])
    np.testing.assert_allclose(together, single, atol=1e-12)


@pytest.mark.slow
def test_single_entries():
    for method in METHODS:
        assert so.sort(jnp.array([2.0]), method=method) == 2
        assert so.rank(jnp.array(2.0), method=method) == 1
        assert jax.grad(lambda x: so.max(x, method=method))(jnp.array(2.0)) == 1  # noqa: B023


def test_fast_soft_sort_softens_and_survives_an_outlier():
    x = jnp.asarray(np.random.default_rng(0).normal(size=16))
    for mode in ("smooth", "c0"):
        kept = {"method": "fast_soft_sort", "mode": mode}
        soft = so.sort(x, **kept)
        assert jnp.max(jnp.abs(soft - jnp.sort(x))) > 1e-2
        np.testing.assert_allclose(soft.sum(), x.sum(), atol=1e-9)
        np.testing.assert_allclose(soft, -so.sort(-x, **kept)[::-1], atol=1e-9)
        outlier = so.max(jnp.zeros(100).at[3].set(1000.0), **kept)
        assert outlier > 600


def test_smooth_sort_follows_the_scale():
    x = X[0, 0]
    kept = {"method": "smooth_sort", "softness": 0.5}
    plain, large = so.sort(x, **kept), so.sort(1e3 * x, **kept)
    np.testing.assert_allclose(large, 1e3 * plain, rtol=1e-4)
    assert plain.min() >= x.min() and plain.max() <= x.max()
    np.testing.assert_allclose(plain.sum(), x.sum(), atol=1e-12)


def test_sorting_network_padding_does_not_leak():
    x = jnp.asarray(np.random.default_rng(0).normal(size=5))
    found = so.sort(x, method="sorting_network", softness=1.0)
    np.testing.assert_allclose(found.mean(), x.mean(), atol=1e-12)
    raw = {"method": "sorting_network", "standardize": False, "softness": 1.0, "axis": 1}
    pair = so.sort(jnp.stack([x, 100 + x]), **raw)
    np.testing.assert_allclose(pair[0], so.sort(x[None], **raw)[0], atol=1e-12)


def test_optimal_transport_in_float32_with_defaults():
    with jax.enable_x64(False), warnings.catch_warnings():
        warnings.simplefilter("error")
        x = jnp.asarray(X[0, 0], jnp.float32)
        weights = jnp.arange(5, dtype=jnp.float32)
        value, gradient = jax.value_and_grad(lambda x: so.sort(x, method="ot") @ weights)(x)
        assert value.dtype == gradient.dtype == jnp.float32
        assert jnp.all(jnp.isfinite(gradient))


def test_lapsum_is_doubly_stochastic():
    x = X[0, 0]
    matrix = so.argsort(x, method="lapsum", softness=0.7)
    np.testing.assert_allclose(matrix.sum(0), 1, atol=1e-12)
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(so.rank(x, method="lapsum", softness=0.7).sum(), 15, atol=1e-12)
