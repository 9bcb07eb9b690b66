"""The soft step and its antiderivative in torch: the functions of `softjax_ops.kernels`.

With v = x / width, a mode is a triple of functions of v: the step g (0 to 1), the odd step 2 g - 1
and the ramp G = integral of g. Their mathematics is told there; the tests hold the two equal.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F

from softjax_ops.torch._checks import (
    PNORM_MODES,
    SOFT_MODES,
    Number,
    as_float,
    check_mode,
    check_softness,
)

TINY = 1e-37  # a width whose inverse is still a number in float32
Function = Callable[[torch.Tensor], torch.Tensor]


class Kernel(NamedTuple):
    """A soft step in units of its width, as `softjax_ops.kernels.Kernel`."""

    width: float
    end: float
    step: Function
    odd: Function
    ramp: Function


def _from_tail(tail: Function) -> Function:
    """The step whose lower half is `tail`, a function of t = (1 + v) / 2 in [0, 1/2]."""

    def step(v: torch.Tensor) -> torch.Tensor:
        lower = v < 0
        y = tail((1 + torch.where(lower, v, -v)) / 2)
        return torch.where(lower, y, 1 - y)

    return step


def _from_rise(ramp: Function) -> Function:
    """The ramp given as a function of t = (1 + v) / 2 in [0, 1]."""
    return lambda v: ramp((1 + v) / 2)


def _line(v: torch.Tensor) -> torch.Tensor:
    """v, whose second derivative is 0, not absent: torch refuses to differentiate what it lost."""
    return torch.addcmul(v, v, v, value=0)


def _pair(v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """b, c with b - c = v and b^3 + c^3 = 1, without cancellation (Cardano's formula)."""
    h2 = v * v / 4
    root = (0.25 + (0.0625 + h2 * h2 * h2).sqrt()) ** (1 / 3)
    mean = root - h2 / root
    return mean + v / 2, mean - v / 2


def _pnorm2_step(v: torch.Tensor) -> torch.Tensor:
    return _pair(v)[0] ** 3


def _pnorm2_odd(v: torch.Tensor) -> torch.Tensor:
    b, c = _pair(v)
    return v * (b * b + b * c + c * c)


def _pnorm2_ramp(v: torch.Tensor) -> torch.Tensor:
    b, c = _pair(v)
    return 0.75 + v * b**3 - 0.75 * (b**4 + c**4)


KERNELS: dict[str, Kernel] = {
    "smooth": Kernel(
        width=1.0,
        end=math.inf,
        step=torch.sigmoid,
        odd=lambda v: torch.tanh(v / 2),
        ramp=lambda v: F.softplus(v, threshold=40.0),  # v itself from there on, in every dtype
    ),
    "c0": Kernel(5.0, 1.0, _from_tail(_line), _line, _from_rise(lambda t: t * t)),
    "c1": Kernel(
        width=5.0,
        end=1.0,
        step=_from_tail(lambda t: t * t * (3 - 2 * t)),
        odd=lambda v: v * (3 - v * v) / 2,
        ramp=_from_rise(lambda t: t**3 * (2 - t)),
    ),
    "c2": Kernel(
        width=5.0,
        end=1.0,
        step=_from_tail(lambda t: t**3 * (10 - t * (15 - 6 * t))),
        odd=lambda v: v * (15 - v * v * (10 - 3 * v * v)) / 8,
        ramp=_from_rise(lambda t: t**4 * (5 - t * (6 - 2 * t))),
    ),
    "_c1_pnorm": Kernel(
        width=5.0,
        end=1.0,
        step=lambda v: (v + (2 - v * v).sqrt()) ** 2 / 4,
        odd=lambda v: v * (2 - v * v).sqrt(),
        ramp=lambda v: v / 2 - (2 - v * v) ** 1.5 / 6 + 2 / 3,
    ),
    "_c2_pnorm": Kernel(5.0, 1.0, _pnorm2_step, _pnorm2_odd, _pnorm2_ramp),
}


def _scaled(
    x: torch.Tensor, softness: Number, kernel: Kernel
) -> tuple[torch.Tensor, Number, float]:
    """v = x / width in [-end, end], the width, and end (finite in the dtype of x).

    Where v is clipped its derivatives are 0, also for infinite x. At the upper end they are 0 and
    at the lower one not: two steps that touch leave no gap.
    """
    end = min(kernel.end, math.sqrt(torch.finfo(x.dtype).max))
    width = softness * kernel.width
    v = x / width
    if isinstance(width, torch.Tensor):  # it may have a derivative, infinite where x is
        clipped = (v < -end) | (v >= end)
        v = torch.where(clipped, v.detach(), torch.where(clipped, 0, x) / width)
    elif math.isfinite(kernel.end):
        v = torch.where(v >= end, end, v)
    return v.clamp(-end, end), width, end


def _is_smooth(softness: Number, mode: str) -> bool:
    """Whether nothing need be clipped: functions for any v, and a width without a derivative."""
    return mode == "smooth" and not isinstance(softness, torch.Tensor) and softness > TINY


def step(x: torch.Tensor, softness: Number, mode: str) -> torch.Tensor:
    """g(x / width), arguments already checked and of one dtype."""
    if _is_smooth(softness, mode):
        return torch.sigmoid(x / softness)
    kernel = KERNELS[mode]
    return kernel.step(_scaled(x, softness, kernel)[0])


def odd_step(x: torch.Tensor, softness: Number, mode: str) -> torch.Tensor:
    """2 g(x / width) - 1, arguments already checked and of one dtype."""
    if _is_smooth(softness, mode):
        return torch.tanh(x / (2 * softness))
    kernel = KERNELS[mode]
    return kernel.odd(_scaled(x, softness, kernel)[0])


def size(x: torch.Tensor, softness: Number, mode: str) -> torch.Tensor:
    """x (2 g(x / width) - 1), arguments already checked and of one dtype."""
    kernel = KERNELS[mode]
    return x * kernel.odd(_scaled(x, softness, kernel)[0])


def ramp(x: torch.Tensor, softness: Number, mode: str, gated: bool = False) -> torch.Tensor:
    """width G(x / width), or x g(x / width) if gated; arguments already checked."""
    if _is_smooth(softness, mode) and not gated:
        return F.softplus(x, 1 / softness, threshold=40.0)
    kernel = KERNELS[mode]
    v, width, end = _scaled(x, softness, kernel)
    if gated:
        gate = kernel.step(v)
        return torch.where(gate == 0, 0, x) * gate
    return torch.where(v >= end, x, width * kernel.ramp(v))


def sigmoidal(x: Number, softness: Number = 0.1, mode: str = "smooth") -> torch.Tensor:
    """Soft step from 0 to 1 at x = 0.

    Args:
        x: any shape; no float: cast to torch's default float.
        softness: positive, a number or a tensor that broadcasts against `x`. "smooth" is the
            logistic function of x / softness; the others are complete at |x| = 5 softness.
        mode: "smooth", "c0", "c1" or "c2". There is no hard kernel (see `heaviside`).

    Raises:
        ValueError: a bad mode, or a number `softness` that is not positive.
    """
    check_mode(mode, SOFT_MODES + PNORM_MODES)
    x = as_float(x)
    return step(x, check_softness(softness, x, x.dtype), mode)


def softrelu(
    x: Number, softness: Number = 0.1, mode: str = "smooth", gated: bool = False
) -> torch.Tensor:
    """Soft positive part of x: the antiderivative of `sigmoidal`, or x * sigmoidal(x) if `gated`.

    Arguments and errors are those of `sigmoidal`; the result has the unit of `x`.
    """
    check_mode(mode, SOFT_MODES + PNORM_MODES)
    x = as_float(x)
    return ramp(x, check_softness(softness, x, x.dtype), mode, gated)
