"""The table of methods: how a soft permutation is made.

A method is one file with the functions of `Method`, on `Rows` (finite scores along the last axis)
in descending order: slot 0 is the largest entry. To add one, write the file and a row of `METHODS`;
the tests that run over the table then cover it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from softjax_ops._checks import SOFT_MODES, check_choice
from softjax_ops.methods import (
    fast_soft_sort,
    lapsum,
    neuralsort,
    ot,
    smooth_sort,
    softsort,
    sorting_network,
)


@dataclass(frozen=True)
class Method:
    """What a method offers.

    Attributes:
        values: (rows, mode, first, count) -> soft values at slots first .. first + count - 1,
            `first` a Python int or an int array (..., 1) (slots outside the row are not used).
        rank: (rows, mode) -> soft ranks, 1 for the largest.
        index: (rows, mode, first, count, log) -> the distributions at these slots, or their
            logarithms; None if the method has no soft index.
        modes: the soft modes it serves.
        expectation: its values are the expectation of `x` under its soft index, so that the index
            can be held constant (`gated_grad=False`).
        top_index: whether `top_k` returns its soft index.
        options: parses `ot_kwargs`; None if the method has no options.
    """

    values: Callable
    rank: Callable
    index: Callable | None = None
    modes: tuple[str, ...] = SOFT_MODES
    expectation: bool = True
    top_index: bool = True
    options: Callable | None = None


METHODS: dict[str, Method] = {
    "softsort": Method(softsort.values, softsort.rank, softsort.index),
    "neuralsort": Method(neuralsort.values, neuralsort.rank, neuralsort.index),
    "ot": Method(ot.values, ot.rank, ot.index, options=ot.parse_options),
    "sorting_network": Method(
        sorting_network.values, sorting_network.rank, sorting_network.index, top_index=False
    ),
    "lapsum": Method(lapsum.values, lapsum.rank, lapsum.index, modes=("smooth",)),
    "fast_soft_sort": Method(
        fast_soft_sort.values, fast_soft_sort.rank, expectation=False, top_index=False
    ),
    "smooth_sort": Method(
        smooth_sort.values,
        smooth_sort.rank,
        modes=("smooth",),
        expectation=False,
        top_index=False,
    ),
}
INDEX_METHODS: tuple[str, ...] = tuple(n for n, m in METHODS.items() if m.index is not None)


def check_method(method: str, mode: str, needs_index: bool = False) -> None:
    """Raise `ValueError` unless `method` exists, serves `mode`, and has an index if needed."""
    check_choice("method", method, INDEX_METHODS if needs_index else tuple(METHODS))
    if mode in SOFT_MODES and mode not in METHODS[method].modes:
        serves = ", ".join(("hard", *METHODS[method].modes))
        raise ValueError(f"{method} only supports mode {serves}, got mode={mode!r}")
