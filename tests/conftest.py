"""float64 for the whole session (float32 tests switch it off locally), and a compile cache.

Compiling is what the tests spend their time on, so XLA's expensive optimisations are off, and so
are the CPU's fusion emitters, where they can be: about a quarter of the compile time, the same
arithmetic. Tracing makes many objects and little garbage, so Python looks for it less often.
"""

import gc
import itertools
import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

# XLA stops at a flag that it does not know: later versions have no such choice any more.
if (0, 9) <= tuple(map(int, version("jaxlib").split(".")[:2])) <= (0, 10):
    flags = os.environ.get("XLA_FLAGS", "")
    os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_use_fusion_emitters=false".strip()

import jax
import pytest

from softsim.cache import enable_compile_cache

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_disable_most_optimizations", True)
enable_compile_cache()
gc.set_threshold(200_000, 20, 100)


FEW = 10  # slow tests whose programs fit into memory together, about 0.1 GB each
MOST = 3.0  # GB that the programs of fast tests may take before they are dropped
_since_cleared = itertools.count(1)
_limit = [MOST]


def _memory() -> float:
    """GB that this process holds; 0 where the system does not tell."""
    path = Path("/proc/self/statm")
    if not path.exists():
        return 0.0
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e9


@pytest.fixture(autouse=True)
def _forget_programs(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests compile more than memory holds: slow ones drop theirs every few, fast ones when needed.

    What is needed again comes from the compile cache.
    """
    yield
    slow = request.config.getoption("markexpr") != "not slow"
    if slow and next(_since_cleared) % FEW == 0:
        jax.clear_caches()
    elif not slow and _memory() > _limit[0]:
        jax.clear_caches()
        gc.collect()
        _limit[0] = max(MOST, 1.3 * _memory())  # what is not given back is not asked for again
