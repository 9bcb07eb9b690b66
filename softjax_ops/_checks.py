"""Checks of arguments, shared by all operators: one clear error for each bad input.

A static mistake (mode, method, axis, shape) and a concrete bad softness raise `ValueError`. A bad
softness that is traced cannot raise; it becomes NaN, which stays visible in every output.
"""

import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from softjax_ops._types import Softness

MODES = ("hard", "smooth", "c0", "c1", "c2")
SOFT_MODES = ("smooth", "c0", "c1", "c2")
PNORM_MODES = ("_c1_pnorm", "_c2_pnorm")
"""Private: c1 and c2 of a projection on the simplex of two points; elementwise operators only."""
HARD_INDEX = "_hard"
"""Private: a hard index that still goes through the expectation of the soft path."""


def check_choice(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Raise `ValueError("Invalid <name>: ...")` unless `value` is one of `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        public = [a for a in allowed if not a.startswith("_")]
        raise ValueError(f"Invalid {name}: {value!r}, expected one of {', '.join(public)}")


def check_mode(mode: str, allowed: Sequence[str] = MODES) -> None:
    """Raise `ValueError("Invalid mode: ...")` unless `mode` is one of `allowed`."""
    check_choice("mode", mode, allowed)


def check_softness(softness: Softness, dtype: Any) -> Float[Array, "..."]:
    """`softness` as an array of `dtype`, positive.

    A concrete value that is zero, negative, NaN, or zero once rounded to `dtype`, raises
    `ValueError`. The same in a traced value becomes NaN. Not to be called in mode "hard", which
    does not read its softness.
    """
    if isinstance(softness, jax.core.Tracer):
        width = jnp.asarray(softness).astype(dtype)
        return jnp.where(width > 0, width, jnp.nan)
    if not np.all(np.asarray(softness).astype(dtype) > 0):
        raise ValueError(f"softness must be positive, got {softness}")
    return jnp.asarray(softness, dtype)


def check_axis(axis: int, ndim: int) -> int:
    """`axis` counted from the front, in [0, ndim)."""
    index = operator.index(axis)
    if not -ndim <= index < ndim:
        raise ValueError(f"axis {axis} is out of bounds for array of dimension {ndim}")
    return index % ndim


def as_float(x: ArrayLike | Sequence[Any]) -> Float[Array, "..."]:
    """An array of floats: a float dtype is kept, anything else becomes the default float."""
    return as_floats(x)[0]


def as_floats(*xs: ArrayLike | Sequence[Any]) -> tuple[Float[Array, "..."], ...]:
    """Arrays of one float dtype, by JAX's promotion: Python numbers and integers follow floats."""
    arrays = [jnp.asarray(x) for x in xs]
    dtype = float_dtype(*arrays)
    return tuple(a.astype(dtype) for a in arrays)


def float_dtype(*arrays: Array) -> Any:
    """The float dtype of results: that of the arrays by promotion, or else the default float."""
    dtype = jnp.result_type(*arrays)
    if jnp.issubdtype(dtype, jnp.complexfloating):
        raise ValueError(f"soft operators are real, got dtype {dtype}")
    return dtype if jnp.issubdtype(dtype, jnp.floating) else jnp.result_type(float)
