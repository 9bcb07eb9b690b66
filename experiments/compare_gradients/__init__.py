"""Hard against soft gradients, of your model: `python -m experiments.compare_gradients --help`."""

import softsim as _softsim  # noqa: F401 (before MJX, whose start-up messages it keeps off stdout)
