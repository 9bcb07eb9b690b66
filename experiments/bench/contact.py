"""Every pair of shapes: hard against MJX, finite everywhere, right gradients, smooth, convergent.

One row per pair of shapes. Hard contacts are compared with `mjx.collision` in random poses; a pose
counts as unstable, and not for parity, where MJX's own contacts move by more than the tolerance
when the pose moves by a rounding error. Finite: values and gradients with respect to both poses
and sizes, a third of the poses degenerate. Gradient: against central differences. Continuity:
around the largest change of a sweep, halving the step halves the change where contacts are smooth
(ratio 0.5); hard contacts jump (ratio 1). Convergence: order in the softness.

All pairs, modes and both dtypes take hours on two cores. Results of earlier runs in the same folder
are kept, pair by pair and number by number, so the table may be made in pieces; `runs` in
contact.json has the provenance of each, the latest last.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import jax

from experiments import cli
from experiments.bench.contact_smoothness import run
from softsim.softening import Mode
from softsim.testing import contact_checks as checks
from softsim.testing.contact_cases import CASES, Case

NAMES = tuple(case.name for case in CASES)
Check = Literal["parity", "finite", "gradient", "sweep", "limit"]
SLOPED = ("smooth", "c1", "c2")
Row = dict[str, float | str]


@dataclasses.dataclass(frozen=True)
class Args:
    """Every pair of shapes, hard and soft."""

    out: Path = Path("experiments/bench/results")
    """folder for contact.json, contact.csv and contact.md; what is there is added to"""
    pairs: tuple[str, ...] = NAMES
    """which pairs (first-second)"""
    checks: tuple[Check, ...] = get_args(Check)
    """which checks"""
    poses: int = 1000
    """random poses for parity and gradients; ten times as many for finiteness"""
    modes: tuple[Mode, ...] = ("hard", "smooth", "c0", "c1", "c2")
    """values and gradients are checked in these modes"""
    bits: tuple[Literal[64, 32], ...] = (64, 32)
    """numbers have these precisions: float64, float32"""
    sweeps: int = 20
    """continuity is checked along this many sweeps"""
    smoothness: bool = False
    """measure instead how slowly contact varies while a body turns: see contact_smoothness.py"""
    softness: float = 0.1
    """softness of the soft contacts that --smoothness measures"""
    quick: bool = False
    """a tenth of the poses, float64 only, modes hard and smooth, 4 sweeps"""

    def __post_init__(self) -> None:
        unknown = set(self.pairs) - set(NAMES)
        if unknown:
            raise ValueError(f"--pairs {sorted(unknown)}: expected some of {', '.join(NAMES)}")
        if self.poses < 1 or self.sweeps < 1:
            raise ValueError("--poses and --sweeps: expected at least 1")


def main(args: Args) -> None:
    """Measure the pairs and write the tables; rows are written as they come."""
    if args.smoothness:
        run(args.out, args.pairs, args.softness, args.quick, cli.provenance(args))
        return
    if args.quick:
        args = dataclasses.replace(args, poses=100, modes=("hard", "smooth"), bits=(64,), sweeps=4)
    out = cli.open_folder(args.out)
    # values only: the compiler's expensive optimisations would double the waiting
    jax.config.update("jax_disable_most_optimizations", True)
    rows, runs = _earlier(out)
    runs.append(cli.provenance(args))
    with cli.progress() as progress:
        task = progress.add_task("contact", total=len(args.pairs), status="")
        for case in (case for case in CASES if case.name in args.pairs):
            progress.update(task, status=case.name)
            row = rows.setdefault(case.name, {"pair": case.name})
            with jax.enable_x64(True):
                for values in measure(case, args):
                    row.update(values)
            progress.advance(task)
            _write(out, [rows[name] for name in NAMES if name in rows], runs)
    cli.print_table("contact", [_summary(rows[name]) for name in NAMES if name in rows])


def measure(case: Case, args: Args):
    """The chosen checks of one pair in the chosen modes, as flat columns of its row."""
    for bits in args.bits:
        if "parity" in args.checks and "hard" in args.modes:
            yield _prefixed(f"hard{bits}", checks.check_hard_parity(case, args.poses, bits == 64))
        for mode in args.modes if "finite" in args.checks else ():
            share = checks.check_finite(case, 10 * args.poses, mode, bits == 64)
            yield {f"finite{bits} {mode}": share, f"poses {mode}": args.poses}
    if 64 not in args.bits:
        return
    for mode in args.modes:
        if "gradient" in args.checks and mode != "hard":
            yield _prefixed(f"gradient {mode}", checks.check_gradient(case, args.poses, mode))
        if "sweep" in args.checks and mode in ("hard", "smooth"):
            sweep = checks.check_continuity(case, mode, sweeps=args.sweeps)
            yield _prefixed(f"sweep {mode}", sweep) | {f"sweeps {mode}": args.sweeps}
    if "limit" in args.checks and "smooth" in args.modes:
        yield _prefixed("limit", checks.check_convergence(case, "smooth", args.poses))


def _earlier(out: Path) -> tuple[dict[str, Row], list[dict[str, Any]]]:
    """Rows of earlier runs, by pair, and the provenance of these runs."""
    path = out / "contact.json"
    if not path.exists():
        return {}, []
    found = json.loads(path.read_text())
    return {row["pair"]: row for row in found["rows"]}, found["runs"]


def _summary(row: Mapping[str, float | str]) -> dict[str, str]:
    """The columns of the printed table; the files have all numbers."""
    finite = [row[name] for name in row if name.startswith("finite")]
    # c0 has kinks, at which no derivative equals a difference
    gradient = [row[f"gradient {m} good"] for m in SLOPED if f"gradient {m} good" in row]
    columns = {
        "hard = MJX": row.get("hard64 good_of_stable"),
        "MJX unstable": row.get("hard64 unstable"),
        "finite": min((float(x) for x in finite), default=None),
        "gradient": min((float(x) for x in gradient), default=None),
        "sweep soft": row.get("sweep smooth contacts"),
        "of slopes": row.get("sweep smooth gradient_smooth"),
        "sweep hard": row.get("sweep hard contacts"),
        "order": row.get("limit order"),
        "soft - exact, m": row.get("limit dist_to_exact"),
        "hard - exact, m": row.get("limit hard_to_exact"),
    }
    return {"pair": str(row["pair"]), **{name: _short(value) for name, value in columns.items()}}


def _prefixed(name: str, values: Mapping[str, float]) -> dict[str, float]:
    return {f"{name} {key}": value for key, value in values.items()}


def _short(value: float | str | None) -> str:
    return "" if value is None else value if isinstance(value, str) else f"{value:.3g}"


def _write(out: Path, rows: list[Row], runs: list[dict[str, Any]]) -> None:
    """contact.json and contact.csv with all numbers, contact.md with those of the summary."""
    cli.write_json(out / "contact.json", {"rows": rows, "runs": runs})
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cli.write_csv(out / "contact.csv", {k: [row.get(k) for row in rows] for k in columns})
    cli.write_markdown(out / "contact.md", [_summary(row) for row in rows])
