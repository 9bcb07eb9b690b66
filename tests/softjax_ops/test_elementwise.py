"""Elementwise operators and comparisons: values, derivatives, dtypes and bad input."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import softjax_ops as so
from softjax_ops.elementwise import ELEMENTWISE_MODES
from tests.softjax_ops.cases import (
    CORE,
    DTYPES,
    ELEMENTWISE,
    FEW,
    PNORM_MODES,
    POINTS,
    SEEDS,
    SOFT_MODES,
    SOFTNESSES,
    calculus,
    normal,
    traces,
)

NAMES = tuple(ELEMENTWISE)


@pytest.mark.parametrize("name", CORE)
@FEW
@given(seed=SEEDS, softness=SOFTNESSES)
def test_derivatives_are_those_of_the_value(name, seed, softness):
    x = 2 * normal(seed, POINTS)
    for mode, result in calculus(name)(x, jnp.float64(softness)).items():
        by_x, by_softness = result["reverse"]
        np.testing.assert_allclose(by_x, result["difference"][0], rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(by_softness, result["difference"][1], rtol=1e-5, atol=1e-6)
        assert np.isfinite(result["second"]).all(), mode
        if ELEMENTWISE[name].truth:
            assert (result["value"] >= 0).all() and (result["value"] <= 1).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_hard_is_jax(name, dtype):
    x = jnp.array([-2.0, -0.7, -0.5, 0.0, 0.1, 0.3, 0.5, 1.5, 3.0, jnp.inf], dtype)
    hard = ELEMENTWISE[name].soft(x, 0.0, "hard")
    assert hard.dtype == x.dtype
    np.testing.assert_array_equal(hard, ELEMENTWISE[name].hard(x).astype(dtype))


@pytest.mark.parametrize("name", ("abs", "relu", "round"))
def test_hard_keeps_integers(name):
    x = jnp.array([-3, 0, 2])
    hard = ELEMENTWISE[name].soft(x, 0.1, "hard")
    assert hard.dtype == x.dtype
    assert so.clip(x, 0, 1, mode="hard").dtype == x.dtype


@pytest.mark.parametrize("mode", SOFT_MODES + PNORM_MODES)
def test_small_softness_is_hard(mode):
    x = jnp.linspace(-1, 1, 12)  # no tie among these
    for name, case in ELEMENTWISE.items():
        soft = case.soft(x, 1e-3, mode)
        np.testing.assert_allclose(soft, case.hard(x), rtol=1e-2, atol=1e-2, err_msg=name)


@pytest.mark.parametrize("dtype", ("float16", "float32"))
def test_every_magnitude_has_finite_derivatives(dtype):
    large = {"float16": 6e4, "float32": 1e30}[dtype]
    x = jnp.array([-large, -1.0, -1e-3, 0.0, 1e-3, 0.5, 1.0, large], dtype)

    @jax.jit
    def everything(x, s):
        def of(case, mode):
            return jax.vmap(jax.value_and_grad(partial(case.soft, mode=mode), (0, 1)))(x, s)

        return {(n, m): of(ELEMENTWISE[n], m) for n in CORE for m in ("smooth", "c2")}

    for softness in (1e-3, 0.1, 100.0):
        results = everything(x, jnp.full_like(x, softness))
        for key, (value, slopes) in results.items():
            for array in (value, *slopes):
                assert array.dtype == x.dtype and np.isfinite(array).all(), (key, softness)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtype_is_kept(dtype):
    x = jnp.array([-1.0, 0.2], dtype)
    for name, case in ELEMENTWISE.items():
        for mode in SOFT_MODES:
            value = jax.eval_shape(lambda x, c=case, m=mode: c.soft(x, 0.1, m), x)
            assert value.dtype == x.dtype and value.shape == x.shape, (name, mode)


def test_forward_mode_is_reverse_mode():
    def everything(x, s):
        return sum(c.soft(x, s, "c1") for c in ELEMENTWISE.values())

    x, s = normal(1, POINTS), jnp.full(POINTS, 0.21)
    by_x, by_s = jax.jit(jax.vmap(jax.grad(everything, (0, 1))))(x, s)
    forward = jax.jit(lambda x, s: jax.jvp(everything, (x, s), (0.3 * x, s)))(x, s)[1]
    np.testing.assert_allclose(forward, by_x * 0.3 * x + by_s * s, rtol=1e-10)


@pytest.mark.parametrize("mode", SOFT_MODES + PNORM_MODES)
@FEW
@given(seed=SEEDS, softness=SOFTNESSES)
def test_kernel_identities(mode, seed, softness):
    x = 2 * normal(seed, POINTS)
    g, ramp = so.sigmoidal(x, softness, mode), so.softrelu(x, softness, mode)
    slope = jax.grad(lambda x: so.softrelu(x, softness, mode).sum())(x)
    np.testing.assert_allclose(slope, g, atol=1e-13)
    np.testing.assert_allclose(g + so.sigmoidal(-x, softness, mode), 1, atol=1e-14)
    np.testing.assert_allclose(ramp, x + so.softrelu(-x, softness, mode), atol=1e-12)
    np.testing.assert_allclose(so.softrelu(x, softness, mode, gated=True), x * g, atol=1e-14)
    np.testing.assert_allclose(so.sign(x, softness, mode), 2 * g - 1, atol=1e-14)
    assert (ramp >= jnp.maximum(x, 0) - 1e-14).all()
    clipped = so.clip(x, -0.3, 0.8, softness, mode)
    definition = -0.3 + so.softrelu(x + 0.3, softness, mode) - so.softrelu(x - 0.8, softness, mode)
    np.testing.assert_allclose(clipped, definition, atol=1e-12)


@pytest.mark.parametrize("mode", SOFT_MODES + PNORM_MODES)
def test_step_is_the_argmax_of_two(mode):
    x = normal(3, POINTS)
    pair = jnp.stack([jnp.zeros_like(x), x], -1)
    scale = 1 if mode == "smooth" else 5
    plain = {"_c1_pnorm": "c1", "_c2_pnorm": "c2"}.get(mode, mode)
    index = so.argmax(pair, -1, softness=0.3 * scale, mode=plain, standardize=False)[:, 1]
    if mode not in ("c1", "c2"):
        np.testing.assert_allclose(so.sigmoidal(x, 0.3, mode), index, atol=1e-10)
        best = so.max(pair, -1, softness=0.3 * scale, mode=plain, standardize=False)
        np.testing.assert_allclose(so.softrelu(x, 0.3, mode, gated=True), best, atol=1e-10)


def test_high_derivatives_are_finite():
    third = jax.grad(jax.grad(jax.grad(lambda x: so.heaviside(x, 0.2))))
    fourth = jax.grad(jax.grad(jax.grad(jax.grad(lambda x: so.relu(x, 0.2)))))
    x = jnp.array([-30.0, -0.1, 0.0, 0.1, 30.0])
    assert np.isfinite(jax.vmap(third)(x)).all() and np.isfinite(jax.vmap(fourth)(x)).all()


@pytest.mark.parametrize("name", CORE)
def test_jit_and_vmap_change_nothing(name):
    x = normal(5, 2, 3)
    f = lambda x: ELEMENTWISE[name].soft(x, 0.3, "c1")
    np.testing.assert_allclose(jax.jit(f)(x), f(x), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(jax.vmap(f)(x), f(x), rtol=1e-12, atol=1e-14)


def test_a_new_softness_is_not_a_new_compilation():
    f, count = traces(lambda x, s: so.relu(so.round(x, s, "c1"), s))
    jitted = jax.jit(f)
    for softness in (0.1, 0.2, 0.3):
        jitted(jnp.ones(3), softness)
    assert len(count) == 1


def test_softness_may_be_an_array():
    x, softness = jnp.array([0.1, 0.2]), jnp.array([0.1, 0.5])
    rows = [so.sigmoidal(a, float(b)) for a, b in zip(x, softness, strict=True)]
    np.testing.assert_allclose(so.sigmoidal(x, softness), jnp.stack(rows))
    assert so.clip(0.3, 0, 1, softness).shape == (2,)
    assert so.isclose(0.3, 0.2, softness).shape == so.round(0.3, softness).shape == (2,)


@pytest.mark.parametrize("name", CORE)
def test_numbers_and_lists_in_arrays_out(name):
    for mode in ("hard", "smooth"):
        value = ELEMENTWISE[name].soft(1, 0.1, mode)
        assert isinstance(value, jax.Array) and value.shape == ()
        assert ELEMENTWISE[name].soft([1, 2.0], 0.1, mode).shape == (2,)


# What is deliberately better than in SoftJAX, one test each.


@pytest.mark.parametrize("mode", ELEMENTWISE_MODES)
@FEW
@given(
    exponent=st.integers(-12, 3),
    d=st.one_of(st.just(0.0), st.floats(0, 10)),
    tolerance=st.floats(0, 2),
)
def test_truth_values_stay_in_the_unit_interval(mode, exponent, d, tolerance):
    softness = 10.0**exponent
    for value in (
        so.equal(d, 0.0, softness, mode),
        so.not_equal(d, 0.0, softness, mode),
        so.isclose(d, 0.0, softness, atol=tolerance, mode=mode),
    ):
        assert -1e-12 <= value <= 1


@pytest.mark.parametrize("mode", SOFT_MODES)
def test_equality_is_hard_in_the_true_limit(mode):
    assert so.equal(1.0, 1.0, 1e-30, mode) == 1
    assert so.not_equal(1.0, 1.0, 1e-30, mode) == 0
    assert so.equal(1.0, 1.1, 1e-30, mode) == 0
    assert so.isclose(1.0, 1.0, 0.1, atol=1.0, mode=mode) == 1
    inside = so.isclose(1.0, 1.9, 1e-3, atol=1.0, mode=mode)
    outside = so.isclose(1.0, 2.1, 1e-3, atol=1.0, mode=mode)
    assert inside == 1 and outside < 1e-12


def test_comparisons_are_complements():
    x, y = normal(1, POINTS), normal(2, POINTS)
    for mode in ELEMENTWISE_MODES:
        less, less_equal = so.less(x, y, 0.3, mode), so.less_equal(x, y, 0.3, mode)
        np.testing.assert_allclose(less, 1 - so.greater_equal(x, y, 0.3, mode), atol=1e-15)
        np.testing.assert_allclose(less_equal, 1 - so.greater(x, y, 0.3, mode), atol=1e-15)
        close = so.isclose(x, y, 0.3, 0.0, 0.0, mode)
        np.testing.assert_allclose(so.equal(x, y, 0.3, mode), close, atol=1e-15)
        np.testing.assert_allclose(so.not_equal(x, y, 0.3, mode), 1 - close, atol=1e-15)


@pytest.mark.parametrize("mode", SOFT_MODES)
def test_equality_is_that_of_softjax_in_its_normal_regime(mode):
    d = jnp.linspace(0, 1, 9)
    definition = 2 * so.less_equal(so.abs(d, 0.2, mode), 0.0, 0.2, mode)
    np.testing.assert_allclose(so.equal(d, 0.0, 0.2, mode), definition, atol=1e-8)


@pytest.mark.parametrize("mode", SOFT_MODES)
@pytest.mark.parametrize("softness", (0.01, 0.1, 1.0, 10.0, 1e6))
def test_round_is_normalised_for_any_softness_and_magnitude(mode, softness):
    x = jnp.linspace(-2, 2, 401)
    y = so.round(x, softness, mode)
    assert (jnp.abs(y - x) <= 0.5 + 1e-12).all()
    assert (jnp.diff(y) >= -1e-12).all()
    np.testing.assert_allclose(so.round(x + 1000, softness, mode), y + 1000, atol=1e-9)
    if softness >= 1:
        np.testing.assert_allclose(y, x, atol=2e-3)
    with jax.enable_x64(False):
        np.testing.assert_allclose(so.round(jnp.float32(1e7), softness, mode), 1e7)


def test_round_is_that_of_softjax_in_its_normal_regime():
    x = jnp.array([-1.3, 0.2, 2.45])
    n = jnp.arange(-9, 10.0)
    x_ = x[:, None]
    weights = so.sigmoidal(x_ - n + 0.5, 0.05) - so.sigmoidal(x_ - n - 0.5, 0.05)
    np.testing.assert_allclose(so.round(x, 0.05), weights @ n, atol=1e-12)


@pytest.mark.parametrize("mode", SOFT_MODES)
def test_nan_stays_visible(mode):
    for name, case in ELEMENTWISE.items():
        assert np.isnan(case.soft(jnp.nan, 0.1, mode)), name


@pytest.mark.parametrize("mode", SOFT_MODES)
def test_infinities_are_as_in_hard(mode):
    for name, case in ELEMENTWISE.items():
        for x in (jnp.inf, -jnp.inf):
            assert case.soft(x, 0.1, mode) == case.hard(x), name
    np.testing.assert_allclose(so.greater_equal(jnp.inf, jnp.inf, 0.1, mode), 0.5)
    assert so.equal(jnp.inf, jnp.inf, 0.1, mode) == so.isclose(jnp.inf, jnp.inf, 0.1) == 1
    assert so.isclose(1.0, jnp.inf, 0.1, mode=mode) == 0


def test_clip_of_large_numbers_does_not_cancel():
    with jax.enable_x64(False):
        for mode in SOFT_MODES:
            assert so.clip(1e20, 0.0, 1.0, mode=mode) == 1
            assert so.clip(-1e20, 0.0, 1.0, mode=mode) == 0


def test_unsigned_integers_do_not_wrap():
    x = jnp.array([3], jnp.uint8)
    assert so.less(x, 5)[0] > 0.99 and so.greater(x, 5)[0] < 0.01
    assert so.equal(2**24 + 1, jnp.int32(2**24), mode="hard") == 0


# Bad input


@pytest.mark.parametrize("name", NAMES)
def test_bad_mode(name):
    for mode in ("soft", "_hard", None, 3):
        with pytest.raises(ValueError, match=r"Invalid mode: .* expected one of hard, smooth, c0"):
            ELEMENTWISE[name].soft(1.0, 0.1, mode)


@pytest.mark.parametrize("kernel", (so.sigmoidal, so.softrelu))
def test_kernels_have_no_hard_mode(kernel):
    with pytest.raises(ValueError, match=r"Invalid mode: 'hard', expected one of smooth, c0"):
        kernel(1.0, 0.1, "hard")


@pytest.mark.parametrize("softness", (0.0, -1.0, float("nan"), np.nan, jnp.array([0.1, -0.1]), 0))
def test_bad_concrete_softness_raises(softness):
    for case in ELEMENTWISE.values():
        with pytest.raises(ValueError, match="softness must be positive, got"):
            case.soft(jnp.ones(2), softness, "smooth")
        case.soft(jnp.ones(2), softness, "hard")  # not read


@pytest.mark.parametrize("softness", (0.0, -1.0, jnp.nan))
def test_bad_traced_softness_is_nan(softness):
    f = jax.jit(lambda s: {n: c.soft(0.3, s, "c0") for n, c in ELEMENTWISE.items()})
    for name, value in f(softness).items():
        assert np.isnan(value), name


def test_softness_that_rounds_to_zero_raises():
    with pytest.raises(ValueError, match="softness must be positive, got 1e-10"):
        so.relu(jnp.float16(1), 1e-10)


def test_bad_neighbor_radius():
    for mode in ("hard", "smooth"):
        with pytest.raises(ValueError, match="neighbor_radius must be at least 1, got 0"):
            so.round(1.0, mode=mode, neighbor_radius=0)


def test_complex_numbers_are_refused():
    with pytest.raises(ValueError, match="real"):
        so.sign(jnp.complex64(1j))
