"""Straight-through: bitwise the hard value, exactly the soft derivative, called in any way."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given

import softjax_ops as so
from tests.softjax_ops.cases import DTYPES, ELEMENTWISE, FEW, POINTS, SEEDS, normal

ELEMENTWISE_ST = tuple(n for n in ELEMENTWISE if not n.endswith("_gated"))
INDEX_ST = ("argmax", "argmin", "argsort", "argmedian")
VALUE_ST = ("max", "min", "sort", "rank", "median")
WITH_Q_ST = ("quantile", "argquantile")


@pytest.mark.parametrize("name", ELEMENTWISE_ST)
@FEW
@given(seed=SEEDS)
def test_elementwise(name, seed):
    case = ELEMENTWISE[name]
    through = case._replace(operator=getattr(so, f"{name}_st"))
    x = 2 * normal(seed, POINTS)
    np.testing.assert_array_equal(through.soft(x, 0.3, "c1"), case.soft(x, 0.3, "hard"))
    slopes = [jax.grad(lambda x, c=c: c.soft(x, 0.3, "c1").sum())(x) for c in (case, through)]
    np.testing.assert_array_equal(*slopes)
    forward = [jax.jvp(lambda x, c=c: c.soft(x, 0.3, "c1"), (x,), (x,))[1] for c in (case, through)]
    np.testing.assert_array_equal(*forward)


@pytest.mark.parametrize("name", INDEX_ST + VALUE_ST + WITH_Q_ST)
def test_axiswise(name):
    x = normal(1, 2, 5)
    q = (0.3,) if name in WITH_Q_ST else ()
    weights = normal(2, *getattr(so, name)(x, *q, axis=-1, mode="hard").shape)

    @jax.jit
    def evaluate(x):
        soft, through = getattr(so, name), getattr(so, f"{name}_st")
        total = lambda f: lambda x: jnp.sum(weights * f(x, *q, axis=-1, softness=0.2))
        slopes = jax.grad(total(soft))(x), jax.grad(total(through))(x)
        return soft(x, *q, axis=-1, mode="hard"), through(x, *q, axis=-1), slopes

    hard, value, slopes = evaluate(x)
    np.testing.assert_array_equal(value, hard)
    np.testing.assert_allclose(*slopes, rtol=1e-12)


def test_bitwise_hard_in_float32():
    x = normal(3, 1000, dtype="float32")
    np.testing.assert_array_equal(so.sort_st(x), jnp.sort(x))
    np.testing.assert_array_equal(so.relu_st(-x), jax.nn.relu(-x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_is_that_of_the_input(dtype):
    x = jnp.array([1.0, 3.0, 2.0], dtype)
    for f in (so.argmax_st, so.max_st, so.rank_st, so.relu_st, so.sign_st):
        assert f(x).dtype == x.dtype, f
    assert all(leaf.dtype == x.dtype for leaf in so.top_k_st(x, 2))
    assert so.round_st(3).dtype == jnp.result_type(float)


def test_arguments_in_any_order():
    x = jnp.array([-1.0, 0.2])
    expected = jax.grad(lambda x: so.relu(x, 0.2, "c1", True).sum())(x)
    for call in (
        lambda x: so.relu_st(x, 0.2, "c1", True),
        lambda x: so.relu_st(x, gated=True, mode="c1", softness=0.2),
        lambda x: so.relu_st(mode="c1", x=x, softness=0.2, gated=True),
        lambda x: so.relu_st(x, 0.2, gated=True, mode="c1"),
    ):
        np.testing.assert_array_equal(call(x), [0, 0.2])
        np.testing.assert_array_equal(jax.grad(lambda x, f=call: f(x).sum())(x), expected)
    assert so.isclose_st(1.0, 1.0, 0.1, 1e-5, 1e-8, "c1") == 1
    assert list(inspect.signature(so.relu_st).parameters) == ["x", "softness", "mode", "gated"]


def test_mode_without_default_and_mode_in_keywords():
    required = so.st(lambda x, mode, softness=0.2: so.relu(x, softness, mode))
    keywords = so.st(lambda x, **options: so.relu(x, 0.2, **options))
    positional_only = so.st(lambda mode, x, /: so.relu(x, 0.2, mode))
    soft = jax.grad(so.relu)(0.1, 0.2)
    assert jax.grad(required)(0.1) == jax.grad(keywords)(0.1) == soft
    assert jax.grad(required)(0.1, "c0") == jax.grad(keywords)(0.1, mode="c0")
    assert jax.grad(positional_only, 1)("smooth", 0.1) == soft
    assert jax.grad(so.relu_st)(0.1, mode="hard") == 1
    with pytest.raises(ValueError, match="must take an argument `mode`"):
        so.st(lambda x: x)
    with pytest.raises(ValueError, match="Invalid mode: 'soft'"):
        so.relu_st(1.0, mode="soft")


def test_composite_has_the_product_rule_of_the_soft_one():
    def product(x, y, mode="smooth"):
        return so.relu(x, 0.2, mode) * so.relu(y, 0.2, mode)

    x, y = -0.1, -0.2
    assert so.st(product)(x, y) == 0
    assert jax.grad(so.st(product))(x, y) == jax.grad(product)(x, y) > 0
    operatorwise = jax.grad(lambda x: so.relu_st(x, 0.2) * so.relu_st(y, 0.2))(x)
    assert operatorwise == 0  # the pitfall: the other factor is hard


def test_captured_variables_are_differentiated():
    def loss(threshold):
        return so.st(lambda x, mode: so.greater(x, threshold, 0.2, mode))(0.3)

    assert loss(0.2) == 1
    soft = jax.grad(lambda t: so.greater(0.3, t, 0.2))(0.2)
    assert jax.grad(loss)(0.2) == jax.jit(jax.grad(loss))(0.2) == soft


def test_transformations():
    x = normal(4, 3, 4)
    f = lambda x: so.sort_st(x, softness=0.3).sum(where=jnp.arange(4) > 1)
    slopes = jax.jit(jax.vmap(jax.grad(f)))(x)
    np.testing.assert_allclose(slopes, jnp.stack([jax.grad(f)(row) for row in x]))
    assert np.isfinite(jax.hessian(so.relu_st)(0.1))
    assert jax.hessian(so.relu_st)(0.1) == jax.hessian(so.relu)(0.1)


def test_soft_branch_is_compiled_away_without_a_derivative():
    compiled = jax.jit(so.sign_st).lower(jnp.ones(3)).compile().as_text()
    assert "tanh" not in compiled
    assert "tanh" in jax.jit(so.sign).lower(jnp.ones(3)).compile().as_text()


def test_non_finite_values_pass():
    logs = so.argmax_st(jnp.array([0.0, 1.0, 0.5]), mode="c0", softness=0.1, return_log_probs=True)
    np.testing.assert_allclose(jnp.exp(logs), [0, 1, 0], atol=1e-7)
    assert so.abs_st(-jnp.inf) == jnp.inf and np.isnan(so.abs_st(jnp.nan))


def test_none_leaves_are_those_of_the_hard_branch():
    values, index = so.top_k_st(jnp.array([1.0, 3.0, 2.0]), 2, method="fast_soft_sort")
    np.testing.assert_array_equal(values, [3, 2])
    np.testing.assert_array_equal(index, [[0, 1, 0], [0, 0, 1]])
    some = so.grad_replace(lambda x, forward: (x, x if forward else None))(1.0)
    assert some == (1, 1)


def test_grad_replace():
    @so.grad_replace
    def clipped(x, forward=True):
        return jnp.clip(x, -1, 1) if forward else x

    assert clipped(3.0) == 1 and jax.grad(clipped)(3.0) == 1
    assert jax.jvp(clipped, (3.0,), (2.0,)) == (1, 2)
    keyed = so.grad_replace(lambda key, x, forward: x + jax.random.uniform(key) * (not forward))
    assert jax.grad(keyed, 1)(jax.random.key(0), 2.0) == 1


def test_branches_of_different_structure_or_shape_raise():
    with pytest.raises(ValueError, match="must return the same pytree"):
        so.grad_replace(lambda x, forward: (x, x) if forward else x)(1.0)
    with pytest.raises(ValueError, match="must return the same pytree"):
        so.grad_replace(lambda x, forward: (x, x) if forward else (x, x, x))(1.0)
    with pytest.raises(ValueError, match=r"returned shape \(\), the soft branch \(2,\)"):
        so.grad_replace(lambda x, forward: x if forward else jnp.stack([x, x]))(1.0)
