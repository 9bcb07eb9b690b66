"""Questions about gradients through contact; `report` writes docs/studies.md from their answers."""
