"""Selection by a soft truth value or a soft index: the expectation of the hard selection.

Inside an expectation an infinite or NaN entry of weight 0 counts as 0, as it would if the hard
index passed it by; with any weight it stays visible.
"""

import torch

from softjax_ops.torch._checks import Number, as_floats, check_axis


def _expectation(soft_index: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Mean of `x` under `soft_index` over the last axis, the other axes broadcast."""
    finite = x.isfinite()
    visible = torch.where((soft_index != 0) & ~finite, x, 0)
    mean = torch.einsum("...n,...n->...", soft_index, torch.where(finite, x, 0))
    return mean + visible.detach().sum(-1)


def where(condition: Number, x: Number, y: Number) -> torch.Tensor:
    """x condition + y (1 - condition), broadcast.

    A branch that is not finite and has weight 0 is left out, as `torch.where` would.
    """
    c, x, y = as_floats(condition, x, y)
    x = torch.where((c == 0) & ~x.isfinite(), 0, x)
    y = torch.where((c == 1) & ~y.isfinite(), 0, y)
    return x * c + y * (1 - c)


def _axis(x: torch.Tensor, dim: int | None) -> tuple[torch.Tensor, int]:
    """`x` and the axis counted from the front; raveled if `dim` is None."""
    return (x.flatten(), 0) if dim is None else (x, check_axis(dim, x.ndim))


def take_along_dim(
    x: torch.Tensor, soft_index: torch.Tensor, dim: int | None = None
) -> torch.Tensor:
    """Soft `torch.take_along_dim`.

    Args:
        x: (..., n, ...), n at `dim`; flattened if `dim` is None.
        soft_index: (..., k, ..., [n]), k at `dim`; the other axes broadcast. (k, [n]) for None.
        dim: of `x`.

    Returns:
        (..., k, ...).

    Raises:
        ValueError: the number of dimensions, n or `dim` do not fit.
    """
    x, index = as_floats(x, soft_index)
    x, axis = _axis(x, dim)
    if index.ndim != x.ndim + 1:
        raise ValueError(
            f"soft_index must have one dimension more than x ({x.ndim}), got {index.ndim}"
        )
    _check_length(index, x.shape[axis])
    rows = index.movedim(axis, -2)
    return _expectation(rows, x.movedim(axis, -1)[..., None, :]).movedim(-1, axis)


def take(x: torch.Tensor, soft_index: torch.Tensor, dim: int | None = None) -> torch.Tensor:
    """The same k soft indices (k, [n]) for every other axis of `x`: (..., k, ...).

    `dim=None` flattens `x`. Raises ValueError where shapes or `dim` do not fit.
    """
    x, index = as_floats(x, soft_index)
    x, axis = _axis(x, dim)
    if index.ndim != 2:
        raise ValueError(f"soft_index must have shape (k, [n]), got {tuple(index.shape)}")
    _check_length(index, x.shape[axis])
    return _expectation(index, x.movedim(axis, -1)[..., None, :]).movedim(-1, axis)


def index_select(
    x: torch.Tensor, soft_index: torch.Tensor, dim: int, keepdim: bool = True
) -> torch.Tensor:
    """One soft index ([n],) along `dim`: (..., {1}, ...).

    Raises:
        ValueError: `soft_index` is not one distribution over n positions, or a bad `dim`.
    """
    x, index = as_floats(x, soft_index)
    axis = check_axis(dim, x.ndim)
    _check_vector(index, x.shape[axis])
    value = _expectation(index, x.movedim(axis, -1))
    return value.unsqueeze(axis) if keepdim else value


def narrow(x: torch.Tensor, soft_start: torch.Tensor, length: int, dim: int = 0) -> torch.Tensor:
    """Soft `torch.narrow`: the mean of the slices under the soft start ([n],).

    A start beyond the last full slice counts as that last one. Memory is O(n length).

    Returns:
        (..., length, ...).

    Raises:
        ValueError: a bad length, shape or `dim`.
    """
    x, start = as_floats(x, soft_start)
    axis = check_axis(dim, x.ndim)
    n = x.shape[axis]
    _check_vector(start, n)
    if not 0 < length <= n:
        raise ValueError(f"length must be in (0, {n}], got {length}")
    last = n - length
    clamped = torch.cat([start[:last], start[last:].sum()[None]])
    windows = x.movedim(axis, -1).unfold(-1, length, 1)  # (..., last + 1, length)
    return _expectation(clamped, windows.movedim(-1, -2)).movedim(-1, axis)


def _check_length(index: torch.Tensor, n: int) -> None:
    if index.shape[-1] != n:
        raise ValueError(f"soft_index must be over {n} positions, got {index.shape[-1]}")


def _check_vector(index: torch.Tensor, n: int) -> None:
    if index.shape != (n,):
        raise ValueError(f"soft index must have shape ({n},), got {tuple(index.shape)}")
