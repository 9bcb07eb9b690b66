"""Roots, logarithm, quotient, inverse sines and norm whose value and gradient are never infinite.

At a bad point the value below is returned and every derivative is 0. NaN in gives NaN out.

| function | bad points        | value there                                      |
|----------|-------------------|--------------------------------------------------|
| sqrt     | x <= 0            | 0                                                |
| log      | x <= 0            | 0                                                |
| div      | y = 0             | 0                                                |
| arcsin   | abs(x) >= 1       | pi/2 of the sign of x                            |
| arccos   | abs(x) >= 1       | 0 for positive x, pi for negative x              |
| norm     | all entries 0     | 0                                                |
"""

import math

import torch

from softjax_ops.torch._checks import Number, as_float, as_floats
from softjax_ops.torch.logic import Dim, _dims


def sqrt(x: Number) -> torch.Tensor:
    """Square root; 0 with derivative 0 for x <= 0."""
    x = as_float(x)
    bad = x <= 0
    return torch.where(bad, 0, torch.sqrt(torch.where(bad, 1, x)))


def log(x: Number) -> torch.Tensor:
    """Natural logarithm; 0 (not -inf) with derivative 0 for x <= 0."""
    x = as_float(x)
    bad = x <= 0
    return torch.where(bad, 0, torch.log(torch.where(bad, 1, x)))


def div(x: Number, y: Number) -> torch.Tensor:
    """x / y, broadcast; 0 with derivatives 0 where y = 0."""
    x, y = as_floats(x, y)
    bad = (y == 0) & ~x.isnan()
    return torch.where(bad, 0, x / torch.where(bad, 1, y))


def arcsin(x: Number) -> torch.Tensor:
    """Inverse sine, rad; x is clipped to [-1, 1], with derivative 0 from there on."""
    x = as_float(x)
    bad = torch.abs(x) >= 1
    return torch.where(bad, torch.sign(x) * (math.pi / 2), torch.asin(torch.where(bad, 0, x)))


def arccos(x: Number) -> torch.Tensor:
    """Inverse cosine, rad; x is clipped to [-1, 1], with derivative 0 from there on."""
    x = as_float(x)
    bad = torch.abs(x) >= 1
    end = torch.where(x > 0, 0.0, math.pi).to(x.dtype)
    return torch.where(bad, end, torch.acos(torch.where(bad, 0, x)))


def norm(x: Number, dim: Dim = None, keepdim: bool = False) -> torch.Tensor:
    """Euclidean norm over `dim` (all if None); 0 with derivative 0 where all entries are 0.

    The entries are divided by the largest one first, so squares neither overflow nor underflow.
    Where one entry is infinite the norm is infinite, with derivative 0.
    """
    x = as_float(x)
    dims = _dims(dim, x.ndim)
    if not dims:
        x, dims = x[None], (0,)
        keepdim = False
    if x.numel() == 0:
        return torch.sqrt((x * x).sum(dims, keepdim=keepdim))
    largest = torch.amax(torch.abs(x.detach()), dims, keepdim=True)
    bad = (largest < torch.finfo(x.dtype).tiny) | largest.isinf()
    scale = torch.where(bad, 1, largest)
    unit = torch.where(bad, 1, x) / scale
    length = scale * torch.sqrt((unit * unit).sum(dims, keepdim=True))
    length = torch.where(bad, largest, length)
    return length if keepdim else length.squeeze(dims)
