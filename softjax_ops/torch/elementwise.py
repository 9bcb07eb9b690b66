"""Elementwise operators: heaviside, round, sign, abs, relu, clamp.

In mode "hard" each is the torch function of the same name, but that NaN stays NaN, and softness is
not read. Integers are
cast to torch's default float. Softness is a number or a tensor that broadcasts against `x`.
"""

import operator

import torch

from softjax_ops.elementwise import ELEMENTWISE_MODES
from softjax_ops.torch import kernels
from softjax_ops.torch._checks import Number, as_float, as_floats, check_mode, check_softness


def heaviside(x: Number, softness: Number = 0.1, mode: str = "smooth") -> torch.Tensor:
    """Soft unit step; 1/2 at x = 0 in every mode."""
    check_mode(mode, ELEMENTWISE_MODES)
    x = as_float(x)
    if mode == "hard":
        return torch.where(x.isnan(), x, torch.heaviside(x, torch.full_like(x, 0.5)))
    return kernels.step(x, check_softness(softness, x, x.dtype), mode)


def sign(x: Number, softness: Number = 0.1, mode: str = "smooth") -> torch.Tensor:
    """Soft sign, 2 heaviside(x) - 1, in [-1, 1]."""
    check_mode(mode, ELEMENTWISE_MODES)
    x = as_float(x)
    if mode == "hard":
        return torch.where(x.isnan(), x, torch.sign(x))
    return kernels.odd_step(x, check_softness(softness, x, x.dtype), mode)


def abs(x: Number, softness: Number = 0.1, mode: str = "smooth") -> torch.Tensor:
    """Soft absolute value, x sign(x): 0 with gradient 0 at x = 0, at most |x| everywhere."""
    check_mode(mode, ELEMENTWISE_MODES)
    x = as_float(x)
    if mode == "hard":
        return torch.abs(x)
    return kernels.size(x, check_softness(softness, x, x.dtype), mode)


def relu(
    x: Number, softness: Number = 0.1, mode: str = "smooth", gated: bool = False
) -> torch.Tensor:
    """Soft max(x, 0): the ramp whose slope is `sigmoidal(x)`, or x sigmoidal(x) if `gated`."""
    check_mode(mode, ELEMENTWISE_MODES)
    x = as_float(x)
    if mode == "hard":
        return torch.relu(x)
    return kernels.ramp(x, check_softness(softness, x, x.dtype), mode, gated)


def clamp(
    x: Number,
    a: Number,
    b: Number,
    softness: Number = 0.1,
    mode: str = "smooth",
    gated: bool = False,
) -> torch.Tensor:
    """Soft clamp of x to [a, b], with a <= b: a + relu(x - a) - relu(x - b).

    From the middle upwards the same function is computed from b down, so that it is no difference
    of large numbers. With `gated` the result may leave [a, b] a little.
    """
    check_mode(mode, ELEMENTWISE_MODES)
    x, a, b = as_floats(x, a, b)
    if mode == "hard":
        return torch.clamp(x, a, b)
    softness = check_softness(softness, x, x.dtype)
    high = x - a > b - x
    near, far = torch.where(high, b, a), torch.where(high, a, b)
    away = torch.where(high, -1, 1).to(x.dtype)
    rise = kernels.ramp(away * (x - near), softness, mode, gated)
    fall = kernels.ramp(away * (x - far), softness, mode, gated)
    return near + away * (rise - fall)


def round(
    x: Number, softness: Number = 0.1, mode: str = "smooth", neighbor_radius: int = 5
) -> torch.Tensor:
    """Soft rounding to the nearest integer, a staircase of soft steps (arXiv 2504.19026).

    The steps of the `neighbor_radius` integers on either side are summed and normalised, so the
    result increases, moves with integer shifts of `x`, and tends to x as the softness grows.

    Raises:
        ValueError: `neighbor_radius` below 1.
    """
    check_mode(mode, ELEMENTWISE_MODES)
    if operator.index(neighbor_radius) < 1:
        raise ValueError(f"neighbor_radius must be at least 1, got {neighbor_radius}")
    x = as_float(x)
    if mode == "hard":
        return torch.round(x)
    softness = check_softness(softness, x, x.dtype)
    nearest = x.detach().round()
    rest = torch.where(x.isinf(), 0, x - nearest)
    steps = torch.arange(0.5 - neighbor_radius, neighbor_radius, dtype=x.dtype, device=x.device)
    each = softness[..., None] if isinstance(softness, torch.Tensor) else softness
    passed = kernels.odd_step(rest[..., None] - steps, each, mode)
    whole = kernels.odd_step(x.new_full((), neighbor_radius), softness, mode)
    return nearest + passed.sum(-1) / (2 * whole)
