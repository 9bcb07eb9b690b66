"""One readable file per thing that a user runs."""

import softsim as _softsim  # noqa: F401 (before MJX, whose start-up messages it keeps off stdout)
