"""Questions about gradients through contact; `report` writes docs/studies.md from their answers."""

import softsim as _softsim  # noqa: F401 (before MJX, whose start-up messages it keeps off stdout)
