"""Comparisons: greater, greater_equal, less, less_equal, eq, not_equal, isclose.

Each returns a truth value in [0, 1], a float, in mode "hard" too (0 or 1). In the soft modes
`greater` and `less` are sigmoidal steps of x - y, 1/2 at x = y up to `epsilon`, which breaks the
tie as the hard comparison does where the softness is much smaller. Equal infinities differ by 0.
"""

import math
from collections.abc import Callable

import torch

from softjax_ops.elementwise import ELEMENTWISE_MODES
from softjax_ops.torch import kernels
from softjax_ops.torch._checks import Number, as_floats, check_mode, check_softness


def _difference(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """x - y, and 0 for equal infinities."""
    return torch.where(x.isinf() & (x == y), 0, x - y)


def _above(
    x: Number, y: Number, shift: Number, softness: Number, mode: str, hard: Callable
) -> torch.Tensor:
    """Soft x - y + shift > 0."""
    check_mode(mode, ELEMENTWISE_MODES)
    if mode == "hard":
        return _hard(hard, x, y)
    finite = any(not isinstance(a, torch.Tensor) and math.isfinite(a) for a in (x, y))
    x, y = as_floats(x, y)
    d = x - y if finite else _difference(x, y)
    return kernels.step(d + shift, check_softness(softness, x, x.dtype), mode)


def _hard(test: Callable, x: Number, y: Number, **tolerance: float) -> torch.Tensor:
    """Torch's own comparison on the arguments as they are (integers exactly), as a float."""
    floats = as_floats(x, y)
    pair = x, y
    if floats[0].dtype in {getattr(a, "dtype", None) for a in pair} or tolerance:
        pair = floats
    x, y = (a if isinstance(a, torch.Tensor) else torch.as_tensor(a) for a in pair)
    return test(x, y, **tolerance).to(floats[0].dtype)


def greater(
    x: Number, y: Number, softness: Number = 0.1, mode: str = "smooth", epsilon: Number = 1e-10
) -> torch.Tensor:
    """Soft x > y: sigmoidal(x - y - epsilon)."""
    return _above(x, y, -epsilon, softness, mode, torch.gt)


def greater_equal(
    x: Number, y: Number, softness: Number = 0.1, mode: str = "smooth", epsilon: Number = 1e-10
) -> torch.Tensor:
    """Soft x >= y: sigmoidal(x - y + epsilon)."""
    return _above(x, y, epsilon, softness, mode, torch.ge)


def less(
    x: Number, y: Number, softness: Number = 0.1, mode: str = "smooth", epsilon: Number = 1e-10
) -> torch.Tensor:
    """Soft x < y: greater(y, x), which is 1 - greater_equal(x, y)."""
    return greater(y, x, softness, mode, epsilon)


def less_equal(
    x: Number, y: Number, softness: Number = 0.1, mode: str = "smooth", epsilon: Number = 1e-10
) -> torch.Tensor:
    """Soft x <= y: greater_equal(y, x), which is 1 - greater(x, y)."""
    return greater_equal(y, x, softness, mode, epsilon)


def eq(
    x: Number, y: Number, softness: Number = 0.1, mode: str = "smooth", epsilon: Number = 1e-10
) -> torch.Tensor:
    """Soft x == y: `isclose` with absolute tolerance `epsilon` alone, 1 at x = y."""
    if mode == "hard":
        return _hard(torch.eq, x, y)
    return isclose(x, y, softness, rtol=0.0, atol=0.0, mode=mode, epsilon=epsilon)


def not_equal(
    x: Number, y: Number, softness: Number = 0.1, mode: str = "smooth", epsilon: Number = 1e-10
) -> torch.Tensor:
    """Soft x != y: 1 - eq(x, y)."""
    return 1 - eq(x, y, softness, mode, epsilon)


def isclose(
    x: Number,
    y: Number,
    softness: Number = 0.1,
    rtol: Number = 1e-05,
    atol: Number = 1e-08,
    mode: str = "smooth",
    epsilon: Number = 1e-10,
) -> torch.Tensor:
    """Soft |x - y| <= atol + rtol |y|, the absolute values soft too.

    With d = abs(x - y), tol = atol + rtol abs(y) + epsilon and g the step of the mode it is
    g(tol - d) / g(tol): 1 at x = y, decreasing in d, in [0, 1] for every softness. Mind that `rtol`
    and `atol` come before `mode`.
    """
    check_mode(mode, ELEMENTWISE_MODES)
    if mode == "hard":
        return _hard(torch.isclose, x, y, rtol=rtol, atol=atol)
    x, y = as_floats(x, y)
    softness = check_softness(softness, x, x.dtype)

    size = kernels.size(torch.where(y.isinf(), 0, y), softness, mode)
    tolerance = atol + rtol * size + epsilon
    whole = kernels.step(tolerance, softness, mode)
    distance = kernels.size(_difference(x, y), softness, mode)
    return kernels.step(tolerance - distance, softness, mode) / whole
