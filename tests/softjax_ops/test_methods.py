"""Properties every method must have: the tests run over the table of methods."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import softjax_ops as so
from softjax_ops.methods import METHODS

N = 6
ROWS = 7
EVERY = [(name, mode) for name, method in METHODS.items() for mode in method.modes]
FAST = [case for case in EVERY if case[1] == "smooth" or case in (("softsort", "c1"),)]
ALSO_FAST = [("neuralsort", "c0"), ("fast_soft_sort", "c0")]
EXACT_MASK = [case for case in EVERY if case[0] != "sorting_network"]
"""The order in which a network compares depends on the positions, so a mask is not a shorter row
there: it only takes away the influence of the masked entries."""


def cases(chosen, fast):
    """The chosen cases; those beside the fast ones run with the slow tests."""
    slow = [pytest.param(*case, marks=pytest.mark.slow) for case in chosen if case not in fast]
    fast = [pytest.param(*case) for case in chosen if case in fast]
    return pytest.mark.parametrize(("method", "mode"), fast + slow)


every = cases(EVERY, FAST + ALSO_FAST)


@functools.cache
def operators(method, mode, standardize=True):
    """sort, rank and top-k values (and the soft permutation) of rows, compiled once."""

    @jax.jit
    def run(x, softness, where):
        shared = {
            "axis": -1,
            "softness": softness,
            "mode": mode,
            "method": method,
            "standardize": standardize,
            "where": where,
        }
        out = {"sort": so.sort(x, **shared), "rank": so.rank(x, **shared)}
        if METHODS[method].index is not None:
            out["index"] = so.argsort(x, **shared)
        return out

    return run


def rows(seed=0, ties=True):
    x = np.random.default_rng(seed).normal(size=(ROWS, N))
    if ties:
        x[1] = 0.5
        x[2, 1:4] = x[2, 0]
    return jnp.asarray(x)


ALL = jnp.ones((ROWS, N), bool)


@every
def test_limit_is_hard(method, mode):
    permutations = [np.random.default_rng(i).permutation(N) for i in range(ROWS)]
    x = jnp.linspace(-1, 1, N)[np.array(permutations)]
    out = operators(method, mode)(x, 1e-3, ALL)
    np.testing.assert_allclose(out["sort"], jnp.sort(x, axis=-1), atol=1e-2)
    np.testing.assert_allclose(out["rank"], so.rank(x, axis=-1, mode="hard"), atol=1e-2)
    if "index" in out:
        np.testing.assert_allclose(out["index"], so.argsort(x, axis=-1, mode="hard"), atol=1e-2)


@every
@pytest.mark.parametrize("softness", [1e-2, 0.1, 1.0, 100.0])
def test_values_stay_in_the_data_and_rows_in_the_simplex(method, mode, softness):
    x = rows()
    out = operators(method, mode)(x, softness, ALL)
    low, high = x.min(-1, keepdims=True), x.max(-1, keepdims=True)
    slack = 1e-4 * (high - low) + 1e-9
    assert jnp.all((out["sort"] >= low - slack) & (out["sort"] <= high + slack))
    assert jnp.all((out["rank"] >= 1 - 1e-4) & (out["rank"] <= 8 + 1e-4))
    if "index" in out:
        assert jnp.all(out["index"] >= -1e-6)
        np.testing.assert_allclose(out["index"].sum(-1), 1, atol=2e-5)
        expected = jnp.einsum("bkn,bn->bk", out["index"], x)
        np.testing.assert_allclose(out["sort"], expected, atol=1e-8)


@every
def test_scale_and_shift_do_not_matter(method, mode):
    x = rows(ties=False)
    run = operators(method, mode)
    a, b = run(x, 0.1, ALL), run(300 * x - 20, 0.1, ALL)
    np.testing.assert_allclose(300 * a["sort"] - 20, b["sort"], rtol=1e-3, atol=0.3)
    np.testing.assert_allclose(a["rank"], b["rank"], atol=2e-3)


@every
def test_masked_entries_have_no_influence(method, mode):
    x, mask = rows(3), jnp.asarray(np.random.default_rng(1).random((ROWS, N)) < 0.6)
    mask = mask.at[0].set(False).at[1].set(True)
    run = operators(method, mode)
    plain = run(x, 0.1, mask)
    for junk in (1e9, -1e6, jnp.nan, jnp.inf, -jnp.inf):
        other = run(jnp.where(mask, x, junk), 0.1, mask)
        for name, value in plain.items():
            np.testing.assert_array_equal(value, other[name], err_msg=f"{name} {junk}")
    count = mask.sum(-1, keepdims=True)
    assert jnp.all(jnp.where(mask, 0, plain["rank"]) == 0)
    assert jnp.all(jnp.where(jnp.arange(N) < count, 0, plain["sort"]) == 0)
    if "index" in plain:
        filled = jnp.arange(N) < count
        np.testing.assert_allclose(plain["index"].sum(-1), filled, atol=2e-5)
        assert jnp.all(jnp.where(mask[:, None], 0, plain["index"]) == 0)


@cases(EXACT_MASK, [("softsort", "smooth"), ("lapsum", "smooth"), ("ot", "smooth")])
def test_a_mask_equals_a_shorter_row(method, mode):
    x = rows(4)[0]
    mask = jnp.array([True, True, False, True, False, True])
    run = operators(method, mode)
    masked = run(jnp.broadcast_to(x, (ROWS, N)), 0.1, jnp.broadcast_to(mask, (ROWS, N)))
    shared = {"mode": mode, "method": method}
    np.testing.assert_allclose(masked["sort"][0, :4], so.sort(x[mask], **shared), atol=1e-7)
    np.testing.assert_allclose(masked["rank"][0][mask], so.rank(x[mask], **shared), atol=1e-7)


@every
def test_infinite_entries_are_sorted_exactly(method, mode):
    x = rows(5, ties=False).at[0, 2].set(-jnp.inf).at[0, 4].set(jnp.inf).at[1, 0].set(jnp.inf)
    run = operators(method, mode)
    out = run(x, 0.1, ALL)
    assert out["sort"][0, 0] == -jnp.inf and out["sort"][0, -1] == jnp.inf
    assert out["rank"][0, 4] == 1 and out["rank"][0, 2] == N
    finite = jnp.isfinite(x[0])
    assert jnp.all(jnp.isfinite(out["sort"][0, 1:-1])) and jnp.all(jnp.isfinite(out["rank"]))
    without = run(x, 0.1, ALL.at[0].set(finite))
    np.testing.assert_allclose(out["sort"][0, 1:-1], without["sort"][0, :4], atol=1e-9)
    np.testing.assert_allclose(out["rank"][0][finite], without["rank"][0][finite] + 1, atol=1e-9)
    if "index" in out:
        np.testing.assert_array_equal(out["index"][0, 0], jnp.arange(N) == 2)
        np.testing.assert_array_equal(out["index"][0, -1], jnp.arange(N) == 4)


@every
def test_nan_spoils_its_row_only(method, mode):
    out = operators(method, mode)(rows().at[0, 3].set(jnp.nan), 0.1, ALL)
    for value in out.values():
        assert jnp.all(jnp.isnan(value[0])) and not jnp.any(jnp.isnan(value[1:]))


@every
def test_rows_do_not_meet(method, mode):
    x = rows(6)
    run = operators(method, mode)
    a, b = run(x, 0.1, ALL), run(x.at[1:].multiply(1e3), 0.1, ALL)
    for name in a:
        np.testing.assert_allclose(a[name][0], b[name][0], atol=1e-9)


@cases(EXACT_MASK, FAST + ALSO_FAST)
def test_a_permutation_of_the_row_permutes_the_ranks(method, mode):
    x, order = rows(7, ties=False), jnp.array([3, 0, 5, 1, 4, 2])
    run = operators(method, mode)
    a, b = run(x, 0.2, ALL), run(x[:, order], 0.2, ALL)
    np.testing.assert_allclose(a["sort"], b["sort"], atol=1e-5)
    np.testing.assert_allclose(a["rank"][:, order], b["rank"], atol=1e-5)


@every
@hypothesis.settings(deadline=None, derandomize=True, max_examples=10)
@hypothesis.given(
    data=st.lists(st.floats(-1e3, 1e3, width=32), min_size=ROWS * N, max_size=ROWS * N),
    softness=st.floats(1e-2, 10.0),
)
def test_any_data_gives_ordered_counts(method, mode, data, softness):
    x = jnp.asarray(data, float).reshape(ROWS, N)
    out = operators(method, mode)(x, softness, ALL)
    slack = 1e-3 * (x.max() - x.min()) + 1e-9
    assert jnp.all((out["sort"] >= x.min() - slack) & (out["sort"] <= x.max() + slack))
    assert jnp.all(jnp.isfinite(out["rank"]))
    order = jnp.argsort(x, axis=-1)
    ranks = jnp.take_along_axis(out["rank"], order, axis=-1)
    if method not in ("sorting_network", "neuralsort"):
        assert jnp.all(ranks[:, :-1] >= ranks[:, 1:] - 1e-3)


def scalar(method, mode, standardize):
    """A weighted sum of everything a method gives."""
    c = np.random.default_rng(8).normal(size=(3, N))

    def total(x, softness):
        out = operators(method, mode, standardize)(x, softness, jnp.ones(N, bool))
        return sum(jnp.sum(c[i] * out[name]) for i, name in enumerate(("sort", "rank")))

    return total


def check_gradient(method, mode, standardize):
    """grad against central differences, in the data and in the softness; returns what it used."""
    total = scalar(method, mode, standardize)
    x = jnp.asarray(np.random.default_rng(9).normal(size=N))
    softness, step = jnp.asarray(0.15), 1e-6
    direction = jnp.asarray(np.random.default_rng(10).normal(size=N))
    value_and_grad = jax.jit(jax.value_and_grad(total, argnums=(0, 1)))
    _, gradient = value_and_grad(x, softness)

    def difference(dx, ds):
        up = value_and_grad(x + step * dx, softness + step * ds)[0]
        return (up - value_and_grad(x - step * dx, softness - step * ds)[0]) / (2 * step)

    loose = {"rtol": 5e-3, "atol": 5e-4} if method == "ot" else {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(gradient[0] @ direction, difference(direction, 0.0), **loose)
    np.testing.assert_allclose(gradient[1], difference(jnp.zeros(N), 1.0), **loose)
    return total, x, softness, direction, gradient


@pytest.mark.parametrize(("method", "mode"), FAST)
def test_gradient_is_the_central_difference(method, mode):
    total, x, softness, direction, _ = check_gradient(method, mode, standardize=True)
    tangents = (direction, jnp.ones_like(softness))
    forward = jax.eval_shape(lambda *p: jax.jvp(total, p, tangents), x, softness)
    assert forward[1].shape == ()


@pytest.mark.slow
@every
@pytest.mark.parametrize("standardize", [True, False])
def test_forward_and_reverse_mode_agree_everywhere(method, mode, standardize):
    """At one linearisation, and but for "ot" with another program too: where less than rounding
    links two groups of its anchors, their prices against each other are not determined."""
    total, x, softness, direction, other = check_gradient(method, mode, standardize)

    @jax.jit
    def both(x, softness):
        value, push = jax.linearize(total, x, softness)
        gradient = jax.linear_transpose(push, x, softness)(jnp.ones_like(value))
        return push(direction, 0 * softness), push(0 * x, jnp.ones_like(softness)), gradient

    along_x, along_softness, gradient = both(x, softness)
    np.testing.assert_allclose(along_x, gradient[0] @ direction, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(along_softness, gradient[1], rtol=1e-8, atol=1e-9)
    if method != "ot":
        np.testing.assert_allclose(along_x, other[0] @ direction, rtol=1e-8, atol=1e-9)
        np.testing.assert_allclose(along_softness, other[1], rtol=1e-8, atol=1e-9)


def check_hessian(method, mode):
    total = scalar(method, mode, True)
    x = jnp.asarray(np.random.default_rng(11).normal(size=N))
    gradient = jax.jit(jax.grad(total))
    hessian = jax.jit(jax.hessian(total))(x, 0.15)
    assert jnp.all(jnp.isfinite(hessian))
    step = 1e-5
    columns = [
        (gradient(x + step * e, 0.15) - gradient(x - step * e, 0.15)) / (2 * step)
        for e in jnp.eye(N)
    ]
    scale = jnp.max(jnp.abs(hessian)) + 1
    np.testing.assert_allclose(hessian / scale, jnp.stack(columns) / scale, atol=2e-3)


@pytest.mark.parametrize(("method", "mode"), [("softsort", "smooth")])
def test_hessian_is_the_difference_of_gradients(method, mode):
    check_hessian(method, mode)


@pytest.mark.slow
@every
def test_hessian_is_the_difference_of_gradients_everywhere(method, mode):
    check_hessian(method, mode)


@pytest.mark.slow
@every
def test_float32_is_close_to_float64(method, mode):
    x = rows(12, ties=False)
    exact = operators(method, mode)(x, 0.1, ALL)
    with jax.enable_x64(False):
        single = operators(method, mode)(jnp.asarray(x, jnp.float32), jnp.float32(0.1), ALL)
    for name, value in single.items():
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, exact[name], atol=5e-3 if method == "ot" else 2e-4)


@pytest.mark.slow
@every
def test_gradient_is_finite_at_ties_and_extremes(method, mode):
    total = scalar(method, mode, True)
    gradient = jax.jit(jax.grad(total, argnums=(0, 1)))
    for x in (jnp.ones(N), jnp.zeros(N), jnp.array([0.0, 0, 0, 0, 0, 1e6]), 1e-8 * jnp.arange(N)):
        for softness in (1e-2, 0.1, 100.0):
            for part in gradient(x, softness):
                assert jnp.all(jnp.isfinite(part))


@cases([("neuralsort", mode) for mode in ("smooth", "c0", "c1", "c2")], FAST + ALSO_FAST)
@pytest.mark.parametrize("softness", [0.03, 0.5])
def test_neuralsort_ranks_are_normalised_columns(method, mode, softness):
    x = rows().at[3].set(0).at[3, 5].set(-1.0)
    out = operators(method, mode)(x, softness, ALL)
    index = out["index"][:, ::-1]
    expected = jnp.einsum("bkn,k->bn", index, jnp.arange(1.0, N + 1)) / index.sum(1)
    np.testing.assert_allclose(out["rank"], expected, atol=1e-8)


@pytest.mark.parametrize("mode", ["c0", "c2"])
def test_transport_of_values_far_apart_has_the_hard_derivative(mode):
    x, c = jnp.array([0.0, 20.0, 10.0]), jnp.array([1.0, 2.0, 4.0])
    options = {"method": "ot", "mode": mode, "softness": 0.1, "standardize": False}
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(c * so.sort(x, **options))))(x)
    np.testing.assert_allclose(gradient, [1.0, 4.0, 2.0], atol=1e-9)
