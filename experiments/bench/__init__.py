"""Benchmarks: `python -m experiments.bench --help`."""

import softsim as _softsim  # noqa: F401 (before MJX, whose start-up messages it keeps off stdout)
