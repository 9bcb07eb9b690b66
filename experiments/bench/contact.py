"""Every pair of shapes: hard against MJX, finite everywhere, right gradients, smooth, convergent.

One row per pair of shapes. Hard contacts are compared with `mjx.collision` in random poses; a pose
counts as unstable, and not for parity, where MJX's own contacts move by more than the tolerance
when the pose moves by a rounding error. Finite: values and gradients with respect to both poses
and sizes, a third of the poses degenerate, all modes. Gradient: against central differences.
Continuity: doubling the resolution of a sweep halves the largest change where contacts are smooth
(ratio 0.5); hard contacts jump (ratio 1). Convergence: order in the softness.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import jax

from experiments import _run
from experiments.bench import contact_checks as checks
from experiments.bench.contact_cases import CASES, Case
from softsim.softening import MODES

NAMES = tuple(case.name for case in CASES)


@dataclasses.dataclass(frozen=True)
class Args:
    """Every pair of shapes, hard and soft."""

    out: Path = Path("experiments/bench/results")
    """folder for contact.json, contact.csv and contact.md"""
    pairs: tuple[str, ...] = NAMES
    """which pairs (first-second)"""
    quick: bool = False
    """a tenth of the poses, float64 only, modes hard and smooth"""


def main(args: Args) -> None:
    """Measure the pairs and write the tables; rows are written as they come."""
    unknown = set(args.pairs) - set(NAMES)
    if unknown:
        raise ValueError(f"--pairs {sorted(unknown)}: expected some of {', '.join(NAMES)}")
    out = _run.open_folder(args.out)
    rows: list[dict[str, float | str]] = []
    with _run.progress() as progress:
        task = progress.add_task("contact", total=len(args.pairs), status="")
        for case in (case for case in CASES if case.name in args.pairs):
            progress.update(task, status=case.name)
            with jax.enable_x64(True):
                rows.append({"pair": case.name, **measure(case, args.quick)})
            progress.advance(task)
            _write(out, rows, args)
    _run.print_table("contact", [_summary(row) for row in rows])


def measure(case: Case, quick: bool) -> dict[str, float]:
    """All checks of one pair, flat: a row of the table."""
    n = 100 if quick else 1000
    modes = ("hard", "smooth") if quick else MODES
    dtypes = (True,) if quick else (True, False)
    row: dict[str, float] = {}
    for x64 in dtypes:
        bits = 64 if x64 else 32
        row |= _prefixed(f"hard{bits}", checks.check_hard_parity(case, n, x64))
        for mode in modes:
            row[f"finite{bits} {mode}"] = checks.check_finite(case, 10 * n, mode, x64)
    for mode in modes[1:]:
        row |= _prefixed(f"gradient {mode}", checks.check_gradient(case, n, mode))
    steps = 200 if quick else 2000
    for mode in ("smooth", "hard"):
        row |= _prefixed(f"sweep {mode}", checks.check_continuity(case, mode, steps))
    return row | _prefixed("limit", checks.check_convergence(case, "smooth", n))


def _summary(row: Mapping[str, float | str]) -> dict[str, str]:
    """The columns of the printed table; the files have all numbers."""
    finite = min(float(value) for name, value in row.items() if name.startswith("finite"))
    columns = {
        "hard = MJX": row["hard64 good_of_stable"],
        "MJX unstable": row["hard64 unstable"],
        "finite": finite,
        "gradient": row["gradient smooth good"],
        "sweep soft": row["sweep smooth gradient"],
        "sweep hard": row["sweep hard gradient"],
        "order": row["limit order"],
        "soft - exact, m": row["limit dist_to_exact"],
        "hard - exact, m": row["limit hard_to_exact"],
    }
    return {"pair": str(row["pair"]), **{name: _short(value) for name, value in columns.items()}}


def _prefixed(name: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{name} {key}": value for key, value in values.items()}


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"


def _write(out: Path, rows: list[dict[str, float | str]], args: Args) -> None:
    """contact.json with all numbers, contact.csv as a table, contact.md with a row per number."""
    _run.write_json(out / "contact.json", {"rows": rows, **_run.provenance(args)})
    _run.write_csv(out / "contact.csv", {k: [row[k] for row in rows] for k in rows[0]})
    lines = [["", *(str(row["pair"]) for row in rows)], ["---"] * (len(rows) + 1)]
    lines += [[k, *(_short(row[k]) for row in rows)] for k in rows[0] if k != "pair"]
    text = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    _run.write_with(out / "contact.md", lambda file: file.write_text(text))
