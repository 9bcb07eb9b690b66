"""The dtype of every result: operators x modes x dtypes, from shapes alone."""

from importlib.metadata import version

import jax
import jax.numpy as jnp
import pytest

import softjax_ops as so

FLOATS = ("float16", "bfloat16", "float32", "float64")
OTHERS = ("int8", "uint8", "int32", "bool")
TRUTHS = ("greater", "greater_equal", "less", "less_equal", "equal", "not_equal", "isclose")
INDICES = ("argmax", "argmin", "argsort", "argmedian")
VALUES = ("max", "min", "sort", "median", "rank")
STEPS = ("heaviside", "sign", "abs", "relu", "round")
CALLS = {
    **{n: lambda x, mode, n=n: getattr(so, n)(x, mode=mode) for n in INDICES + VALUES + STEPS},
    **{n: lambda x, mode, n=n: getattr(so, n)(x, x, mode=mode) for n in TRUTHS},
    "clip": lambda x, mode: so.clip(x, 0, 1, mode=mode),
    "quantile": lambda x, mode: so.quantile(x, 0.3, mode=mode),
    "percentile": lambda x, mode: so.percentile(x, 30, mode=mode),
    "argquantile": lambda x, mode: so.argquantile(x, 0.3, mode=mode),
    "argpercentile": lambda x, mode: so.argpercentile(x, 30, mode=mode),
    "top_k": lambda x, mode: so.top_k(x, 2, mode=mode),
}
KEEP = {"max", "min", "sort", "top_k", "abs", "relu", "round", "clip"}
"""Operators that in mode "hard" are JAX's own, of its dtype for integers too."""


@pytest.mark.parametrize("mode", ["hard", "_hard", "smooth", "c0", "c1", "c2"])
@pytest.mark.parametrize("name", CALLS)
def test_every_result_has_the_dtype_of_its_argument(name, mode):
    if mode == "_hard" and name in STEPS + TRUTHS + ("clip",):
        pytest.skip("an elementwise operator has no index")
    for dtype in FLOATS + OTHERS:
        if mode == "hard" and dtype == "bool" and name in KEEP:
            continue  # JAX's own operator on truth values
        argument = jax.ShapeDtypeStruct((4,), dtype)
        found = jax.eval_shape(lambda x: CALLS[name](x, mode), argument)
        results = jax.tree.leaves(found)
        expected = jnp.dtype(dtype) if dtype in FLOATS else jnp.result_type(float)
        if mode == "hard" and dtype in OTHERS and name in KEEP:
            assert results[0].dtype == jnp.dtype(dtype)
            results = results[1:]
        assert [r.dtype for r in results] == [expected] * len(results), dtype


def test_the_version_is_that_of_the_project():
    assert so.__version__ == version("softsim")


@pytest.mark.parametrize("dtype", FLOATS)
def test_straight_through_keeps_the_dtype(dtype):
    x = jax.ShapeDtypeStruct((4,), dtype)
    for operator in (so.argmax_st, so.argsort_st, so.max_st, so.rank_st, so.relu_st, so.median_st):
        assert jax.eval_shape(operator, x).dtype == dtype
