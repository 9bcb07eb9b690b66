"""float64 for the whole session (float32 tests switch it off locally) and a compile cache."""

import os
from pathlib import Path

import jax

jax.config.update("jax_enable_x64", True)
jax.config.update(
    "jax_compilation_cache_dir",
    os.environ.get(
        "JAX_COMPILATION_CACHE_DIR", str(Path.home() / ".cache" / "softsim" / "jax-tests")
    ),
)
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
