"""How slowly contact varies while a body turns in shallow contact: soft over hard, by pair.

`python -m experiments.bench contact --smoothness`. Eight turns of 60 degrees in steps of a tenth of
a degree: see `softsim.testing.contact_smoothness`. A ratio of 1 is as ragged, or as steep, as hard
contact; where hard contacts do not jump (the last column: their steepest step) it says little.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from experiments import cli
from softsim.testing.contact_smoothness import TURNINGS, measure

TURNS, STEPS = 8, 600


def run(
    out: Path, pairs: tuple[str, ...], softness: float, quick: bool, made: Mapping[str, Any]
) -> None:
    """Measure the pairs and write contact_smoothness.json and .md; earlier rows are kept."""
    path = cli.open_folder(out) / "contact_smoothness.json"
    earlier = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = {row["pair"]: row for row in earlier}
    chosen = {name: turning for name, turning in TURNINGS.items() if turning.case.name in pairs}
    count, steps = (2, 200) if quick else (TURNS, STEPS)
    with jax.enable_x64(True), cli.progress() as progress:
        task = progress.add_task("smoothness", total=len(chosen), status="")
        for name, turning in chosen.items():
            progress.update(task, status=name)
            found = measure(turning, softness, count, steps)
            rows[name] = {"pair": name, "softness": softness, "turns": count} | found
            table = [rows[name] for name in TURNINGS if name in rows]
            cli.write_json(path, {"rows": table, **made})
            cli.write_markdown(path.with_suffix(".md"), [_shown(row) for row in table])
            progress.advance(task)
    cli.print_table("smoothness, soft over hard", [_shown(row) for row in table])


def _shown(row: Mapping[str, Any]) -> dict[str, str]:
    return {key: x if isinstance(x, str) else f"{x:.3g}" for key, x in row.items()}
