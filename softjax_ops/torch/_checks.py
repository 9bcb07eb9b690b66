"""Checks of arguments on the torch side: floats of one dtype, a softness that fits them.

A number that is no positive softness raises `ValueError`; in a tensor such a value becomes NaN,
which stays visible in every output, so that no device has to be waited for.
"""

import functools
import math
from typing import Any

import torch

from softjax_ops._checks import PNORM_MODES as PNORM_MODES
from softjax_ops._checks import SOFT_MODES as SOFT_MODES
from softjax_ops._checks import check_axis as check_axis
from softjax_ops._checks import check_mode as check_mode
from softjax_ops.torch.bridge import check_dtype

Number = torch.Tensor | float
"""A tensor, or a Python number."""


def as_float(x: Any, name: str = "x") -> torch.Tensor:
    """A float tensor: a float dtype is kept, anything else becomes torch's default float."""
    x = torch.as_tensor(x)
    check_dtype(name, x)
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())


def as_floats(*xs: Any) -> tuple[torch.Tensor, ...]:
    """Float tensors of one dtype and device, by torch's promotion: numbers follow tensors."""
    tensors = [x for x in xs if isinstance(x, torch.Tensor)]
    for x in tensors:
        check_dtype("x", x)
    floats = [x for x in tensors if x.is_floating_point()]
    leading = [x.dtype for x in floats if x.ndim > 0] or [x.dtype for x in floats]
    dtype = functools.reduce(torch.promote_types, leading or [torch.get_default_dtype()])
    shaped = [x.device for x in tensors if x.ndim > 0] or [x.device for x in tensors]
    device = shaped[0] if shaped else None
    return tuple(torch.as_tensor(x, dtype=dtype, device=device) for x in xs)


def check_softness(softness: Number, like: torch.Tensor, dtype: torch.dtype) -> Number:
    """The softness: a positive number, or a tensor like `like`, of `dtype`, NaN if not positive."""
    if isinstance(softness, torch.Tensor):
        width = softness.to(device=like.device, dtype=dtype)
        return torch.where(width > 0, width, math.nan)
    info = torch.finfo(dtype)
    if not softness > info.tiny * info.eps / 2:  # smaller numbers round to 0
        raise ValueError(f"softness must be positive, got {softness}")
    return float(softness)
