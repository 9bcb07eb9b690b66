"""A compile cache on disk, so that the second run of anything starts at once."""

import os
import sys
from pathlib import Path

import jax

NO_CACHE = "SOFTSIM_NO_CACHE"


def cache_folder() -> Path:
    """The user's cache folder for compiled programs.

    `JAX_COMPILATION_CACHE_DIR` wins; then `XDG_CACHE_HOME/softsim/jax`; then the system's custom.
    """
    chosen = os.environ.get("JAX_COMPILATION_CACHE_DIR")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return Path(base) / "softsim" / "jax"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home())) / "softsim" / "jax"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "softsim" / "jax"
    return Path.home() / ".cache" / "softsim" / "jax"


def enable_compile_cache() -> Path | None:
    """Keep compiled programs on disk between runs.

    Experiments and tests call it; `import softsim` does not. Setting `SOFTSIM_NO_CACHE` to anything
    but an empty string switches it off.

    Returns:
        The folder in use, or None when switched off.
    """
    if os.environ.get(NO_CACHE):
        return None
    folder = cache_folder()
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    return folder
