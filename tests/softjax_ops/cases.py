"""Case lists and checks shared by the tests of the soft operators.

An elementwise operator is one row of `ELEMENTWISE`: the soft function of (x, softness, mode), its
hard counterpart in JAX, and whether it is a truth value. Adding an operator means adding a row.
"""

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

import softjax_ops as so

SOFT_MODES = ("smooth", "c0", "c1", "c2")
PNORM_MODES = ("_c1_pnorm", "_c2_pnorm")
DTYPES = ("float16", "bfloat16", "float32", "float64")
FEW = settings(deadline=None, derandomize=True, max_examples=10)
SEEDS = st.integers(0, 2**31 - 1)
SOFTNESSES = st.integers(0, 1000).map(lambda i: 0.0213 * 1.005**i)
"""From 0.02 to 3, away from the round numbers at which the compact modes have their kinks."""
POINTS = 32


class Case(NamedTuple):
    """A soft operator seen as a function of one number, and its hard counterpart in JAX."""

    operator: Callable
    counterpart: Callable
    others: tuple = ()
    keywords: Mapping = MappingProxyType({})
    truth: bool = False

    def soft(self, x, softness, mode):
        return self.operator(x, *self.others, softness=softness, mode=mode, **self.keywords)

    def hard(self, x):
        return self.counterpart(x, *self.others)


GATED = {"gated": True}
TOLERANCES = {"rtol": 0.2, "atol": 0.3}
ELEMENTWISE = {
    "heaviside": Case(so.heaviside, lambda x: jnp.heaviside(x, 0.5), truth=True),
    "round": Case(so.round, jnp.round),
    "sign": Case(so.sign, jnp.sign),
    "abs": Case(so.abs, jnp.abs),
    "relu": Case(so.relu, jax.nn.relu),
    "relu_gated": Case(so.relu, jax.nn.relu, keywords=GATED),
    "clip": Case(so.clip, jnp.clip, (-0.55, 0.4)),
    "clip_gated": Case(so.clip, jnp.clip, (-0.55, 0.4), GATED),
    "greater": Case(so.greater, jnp.greater, (0.1,), truth=True),
    "greater_equal": Case(so.greater_equal, jnp.greater_equal, (0.1,), truth=True),
    "less": Case(so.less, jnp.less, (0.1,), truth=True),
    "less_equal": Case(so.less_equal, jnp.less_equal, (0.1,), truth=True),
    "equal": Case(so.equal, jnp.equal, (0.1,), truth=True),
    "not_equal": Case(so.not_equal, jnp.not_equal, (0.1,), truth=True),
    "isclose": Case(
        so.isclose, functools.partial(jnp.isclose, **TOLERANCES), (0.1,), TOLERANCES, truth=True
    ),
}
CORE = ("heaviside", "round", "abs", "relu", "relu_gated", "clip", "greater", "isclose")
"""Rows of which the others are simple functions, for tests that compile a lot."""


def normal(seed: int, *shape: int, dtype: str = "float64") -> jax.Array:
    """Standard normal numbers of a fixed shape, so that nothing is compiled twice."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def simplex(seed: int, *shape: int) -> jax.Array:
    """Soft indices over the last axis."""
    p = np.random.default_rng(seed).exponential(size=shape)
    return jnp.asarray(p / p.sum(-1, keepdims=True))


@functools.cache
def calculus(name: str) -> Callable:
    """Everything about a case in one compiled function of points (n,) and one softness.

    For every soft mode: the value, its derivatives by point and by softness in reverse mode and by
    central differences, and the second ones (forward over reverse).
    """
    soft = ELEMENTWISE[name].soft

    def one(x, s, mode):
        def f(x, s):
            return soft(x, s, mode)

        h = 1e-6 * jnp.array([0, 1, -1, 0, 0])
        value, up, down, wider, narrower = jax.vmap(f)(x + h, s + jnp.roll(h, 2))
        reverse, second = jax.jvp(jax.grad(f, (0, 1)), (x, s), (1.0, 0.0))
        return {
            "value": value,
            "difference": ((up - down) / 2e-6, (wider - narrower) / 2e-6),
            "reverse": reverse,
            "second": second,
        }

    def every(x, s):
        return {m: jax.vmap(lambda x, m=m: one(x, s, m))(x) for m in SOFT_MODES}

    return jax.jit(every)


def traces(f: Callable) -> tuple[Callable, list]:
    """`f`, and a list that grows by one each time it is traced."""
    count: list = []

    def counted(*args):
        count.append(1)
        return f(*args)

    return counted, count
