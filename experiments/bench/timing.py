"""Clocks and memory of compiled functions, shared by the benchmarks."""

import time
from collections.abc import Callable
from typing import Any

import jax


def lower_and_compile(f: Callable, args: tuple) -> tuple[Any, float, float]:
    """The compiled function, and the seconds that tracing and compiling took."""
    start = time.perf_counter()
    lowered = jax.jit(f).lower(*args)
    traced = time.perf_counter()
    compiled = lowered.compile()
    return compiled, traced - start, time.perf_counter() - traced


def temp_mb(compiled: Any) -> float:
    """Temporary memory of a compiled program, as XLA plans it."""
    memory = compiled.memory_analysis()
    return memory.temp_size_in_bytes / 1e6 if memory else float("nan")


def timed(f: Callable, args: tuple, repeats: int) -> float:
    """Fewest seconds per call, each timing long enough to trust the clock.

    What else runs on the machine only ever adds to a time: the fastest is what repeats.
    """
    jax.block_until_ready(f(*args))
    start = time.perf_counter()
    jax.block_until_ready(f(*args))
    inner = max(1, int(0.05 / max(time.perf_counter() - start, 1e-6)))

    def once() -> float:
        start = time.perf_counter()
        for _ in range(inner):
            out = f(*args)
        jax.block_until_ready(out)
        return (time.perf_counter() - start) / inner

    return min(once() for _ in range(repeats))
