"""float64 for the whole session (float32 tests switch it off locally), and a compile cache.

Compiling is what the tests spend their time on, so XLA's expensive optimisations are off: about
half the compile time, the same arithmetic.
"""

import jax

from softsim.cache import enable_compile_cache

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_disable_most_optimizations", True)
enable_compile_cache()
