"""Fuzzy logic on truth values in [0, 1]: not, and, or, xor, all, any.

The conjunction is the product, or the geometric mean, whose terms are floored at `epsilon` because
its slope is infinite at 0. `any` is `all` under De Morgan: 1 - all(1 - x).
"""

from collections.abc import Sequence

import torch

from softjax_ops.torch._checks import Number, as_float, as_floats

Dim = int | Sequence[int] | None


def _dims(dim: Dim, ndim: int) -> tuple[int, ...]:
    if dim is None:
        return tuple(range(ndim))
    return tuple(dim) if isinstance(dim, Sequence) else (dim,)


def logical_not(x: Number) -> torch.Tensor:
    """1 - x."""
    return 1 - as_float(x)


def all(
    x: Number, dim: Dim = -1, epsilon: float = 1e-10, use_geometric_mean: bool = False
) -> torch.Tensor:
    """Soft conjunction over `dim` (the last by default, every one if None).

    Args:
        x: truth values, any shape.
        dim: reduced; an integer, several, or None.
        epsilon: floor of a term of the geometric mean; not read by the product.
        use_geometric_mean: geometric mean in place of the product.
    """
    x = as_float(x)
    dims = _dims(dim, x.ndim)
    if use_geometric_mean:
        floor = max(epsilon, torch.finfo(x.dtype).tiny)
        logs = torch.log(torch.where(x < floor, floor, x))
        return torch.exp(logs.mean(dims) if dims else logs)
    for d in sorted((d % x.ndim for d in dims), reverse=True):
        x = torch.prod(x, d)
    return x


def any(x: Number, dim: Dim = -1, use_geometric_mean: bool = False) -> torch.Tensor:
    """Soft disjunction over `dim` (the last by default, every one if None)."""
    return 1 - all(logical_not(x), dim, use_geometric_mean=use_geometric_mean)


def _pair(x: Number, y: Number) -> torch.Tensor:
    return torch.stack(torch.broadcast_tensors(*as_floats(x, y)), -1)


def logical_and(x: Number, y: Number, use_geometric_mean: bool = False) -> torch.Tensor:
    """x y, or sqrt(x y); broadcast."""
    return all(_pair(x, y), use_geometric_mean=use_geometric_mean)


def logical_or(x: Number, y: Number, use_geometric_mean: bool = False) -> torch.Tensor:
    """1 - (1 - x)(1 - y), or 1 - sqrt((1 - x)(1 - y)); broadcast."""
    return any(_pair(x, y), use_geometric_mean=use_geometric_mean)


def logical_xor(x: Number, y: Number, use_geometric_mean: bool = False) -> torch.Tensor:
    """(x and not y) or (y and not x); broadcast."""
    one = logical_and(x, logical_not(y), use_geometric_mean)
    other = logical_and(logical_not(x), y, use_geometric_mean)
    return logical_or(one, other, use_geometric_mean)
