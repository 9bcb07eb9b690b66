"""Planners in closed loop, gradients against sampling: `python -m experiments.mpc --help`."""

import softsim as _softsim  # noqa: F401 (before MJX, whose start-up messages it keeps off stdout)
