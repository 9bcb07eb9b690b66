"""Throw a cube to a target by gradients: `python -m experiments.trajopt --help`."""

import softsim as _softsim  # noqa: F401 (before MJX, whose start-up messages it keeps off stdout)
