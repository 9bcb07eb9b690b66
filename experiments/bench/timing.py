"""Clocks and memory of compiled functions, shared by the benchmarks."""

import time
from collections.abc import Callable
from typing import Any

import jax


def lower_and_compile(f: Callable, args: tuple, times: int = 1) -> tuple[Any, float, float]:
    """The compiled function, and the fewest seconds that tracing and compiling took.

    Done `times` times from the start: what else runs on the machine only ever adds to a time.
    """
    tracing, compiling = [], []
    for _ in range(times):
        jax.clear_caches()
        start = time.perf_counter()
        lowered = jax.jit(f).lower(*args)
        tracing.append(time.perf_counter() - start)
        start = time.perf_counter()
        compiled = lowered.compile()
        compiling.append(time.perf_counter() - start)
    return compiled, min(tracing), min(compiling)


def temp_mb(compiled: Any) -> float:
    """Temporary memory of a compiled program, as XLA plans it."""
    memory = compiled.memory_analysis()
    return memory.temp_size_in_bytes / 1e6 if memory else float("nan")


def timed(f: Callable, args: tuple, repeats: int) -> float:
    """Fewest seconds per call: what else runs on the machine only ever adds to a time."""
    return timed_in_turns([(f, args)], repeats)[0]


def timed_in_turns(calls: list[tuple[Callable, tuple]], repeats: int) -> list[float]:
    """`timed` for each call, one timing of each in turn.

    A machine shared with others is slow for seconds or minutes at a time: in turns, that meets all.
    """

    def once(f: Callable, args: tuple, inner: int) -> float:
        start = time.perf_counter()
        for _ in range(inner):
            out = f(*args)
        jax.block_until_ready(out)
        return (time.perf_counter() - start) / inner

    for f, args in calls:
        jax.block_until_ready(f(*args))
    # each timing long enough to trust the clock
    inner = [max(1, int(0.05 / max(once(f, args, 1), 1e-6))) for f, args in calls]
    rounds = [[once(*call, n) for call, n in zip(calls, inner)] for _ in range(repeats)]
    return [min(times) for times in zip(*rounds)]
