"""What an identification found, in numbers and in words."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from experiments import _run
from experiments._fitting import Point, Problem
from experiments._intervals import Certainty
from experiments._peer import PeerFit
from experiments._trajectories import Recording, Windows


@dataclass
class Refined:
    """Where the search on the judged error ended, and its price."""

    u: Float[np.ndarray, " P"]
    evaluations: int
    seconds: float


@dataclass
class Result:
    """Everything found; errors are (n, 2), m and degrees, of the judged trajectories.

    `recorded` are those of the model as given from the recorded start, all others from the start of
    `recording`, which is smoothed if that was asked for.
    """

    problem: Problem
    recording: Recording
    windows: Windows
    judged: np.ndarray
    points: list[Point]
    seconds: list[float]
    sure: Certainty
    recorded: np.ndarray
    before: np.ndarray
    after: np.ndarray
    refined: Refined | None = None
    refined_after: np.ndarray | None = None
    peer: PeerFit | None = None
    peer_after: np.ndarray | None = None
    hindsight: dict[str, np.ndarray] = field(default_factory=dict)
    floor: np.ndarray | None = None

    def errors(self) -> dict[str, np.ndarray]:
        """What was judged, in the order in which it was found."""
        sets = {
            "as_recorded": self.recorded,
            "before": self.before,
            "after": self.after,
            "refined": self.refined_after,
            "peer": self.peer_after,
        }
        return {name: errors for name, errors in sets.items() if errors is not None}

    def judges(self) -> str:
        """What the errors were taken of."""
        seen = np.intersect1d(self.judged, self.windows.trajectory).size
        which = "the fitted" if seen else "other"
        return f"{len(self.judged)} {which} trajectories"

    def best(self) -> np.ndarray:
        """Errors of the model that is written."""
        return self.after if self.refined_after is None else self.refined_after


def sentences(
    result: Result, bounds: Mapping[str, tuple[float, float]], iterations: int
) -> list[str]:
    """What came out, in words; `bounds` and `iterations` as given to the fit."""
    sure, table = result.sure, result.problem.table
    said = []
    if "length_scale" in table.labels:
        i = table.labels.index("length_scale")
        low, value, high = sure.low[i], sure.values[i], sure.high[i]
        apart = "differ" if not low < 1 < high else "do not differ measurably"
        said.append(
            f"Lengths in the data {apart} from true ones: scale {value:.4f} ({low:.4f} to "
            f"{high:.4f}), so that gravity reads {_gravity(result):.3f} m/s^2."
        )
    said += sure.weak or ["The data determine every parameter."]
    names = [p.name for p in table.parameters for _ in p.labels]
    for name, label, value in zip(names, table.labels, sure.values):
        low, high = bounds.get(name, (-np.inf, np.inf))
        if np.isfinite(high - low) and not 0.02 < (value - low) / (high - low) < 0.98:
            said.append(f"{label} = {value:.4g} has run into its bounds {low}, {high}.")
    if result.hindsight:
        best = {label: np.median(errors, axis=0) for label, errors in result.hindsight.items()}
        place = min(best, key=lambda label: best[label][0])
        turn = min(best, key=lambda label: best[label][1])
        said.append(
            f"Floor: with the best {place} for each trajectory alone, chosen in hindsight, the "
            f"median distance is still {1e3 * best[place][0]:.1f} mm; with the best {turn}, the "
            f"median turn {best[turn][1]:.1f} degrees."
        )
    if result.floor is not None:
        said.append(
            "Searched for on the judged trajectories themselves, for distance alone, the best "
            "common parameters still leave a median distance of "
            f"{1e3 * np.median(result.floor[:, 0]):.1f} mm."
        )
    if result.points[-1].stalled:
        said.append("The fit stalled: no step along its derivatives lowers the cost any more.")
    if not result.points[-1].done:
        said.append(f"Not converged after {iterations} iterations: raise --iterations.")
    return [text[0].upper() + text[1:] for text in said]


def _gravity(result: Result) -> float:
    """Of the fitted model, in the lengths of the data."""
    problem = result.problem
    model = problem.table.insert(problem.model, result.points[-1].u)
    return float(np.linalg.norm(model.opt.gravity))


def parameter_rows(result: Result) -> dict[str, list]:
    """Columns of the table of parameters."""
    table, sure = result.problem.table, result.sure
    rows = {
        "parameter": table.labels,
        "unit": table.units,
        "start": np.concatenate([p.start for p in table.parameters]).tolist(),
        "fitted": sure.values.tolist(),
        "low": sure.low.tolist(),
        "high": sure.high.tolist(),
        "relative_sd_noise": sure.white.tolist(),
        "relative_sd_trajectories": sure.sandwich.tolist(),
    }
    if result.refined is not None:
        rows["refined"] = np.asarray(table.values(result.refined.u)).tolist()
    if result.peer is not None:
        rows["peer"] = np.asarray(table.values(result.peer.u)).tolist()
    return rows


def summary(result: Result) -> dict:
    """The numbers of a fit."""
    quartiles = lambda errors: np.quantile(errors, [0.25, 0.5, 0.75], axis=0)
    numbers = {
        "trajectories_fitted": len(np.unique(result.windows.trajectory)),
        "trajectories_judged": len(result.judged),
        "windows": len(result.windows.mask),
        "noise_level": result.sure.noise,
        "cost": [point.cost for point in result.points],
        "evaluations": result.points[-1].evaluations,
        "seconds": result.seconds[-1],
        "seconds_of_first_evaluation": result.seconds[0],
        "correlation": result.sure.correlation,
    }
    if result.refined is not None:
        numbers["refined"] = {
            "evaluations": result.refined.evaluations,
            "seconds": result.refined.seconds,
        }
    if result.peer is not None and result.peer_after is not None:
        goal = 1.01 * result.points[-1].cost
        reached = [n for n, cost in result.peer.history if cost <= goal]
        numbers["peer"] = {
            "name": result.peer.name,
            "cost": result.peer.history[-1][1],
            "evaluations": result.peer.evaluations,
            "evaluations_to_our_cost_within_1_percent": reached[0] if reached else None,
            "seconds": result.peer.seconds,
        }
    sets = result.errors() | {
        f"hindsight {label}": errors for label, errors in result.hindsight.items()
    }
    sets |= {} if result.floor is None else {"floor": result.floor}
    for name, errors in sets.items():
        low, middle, high = quartiles(errors)
        numbers[f"errors_{name}"] = {
            "position_mm": {
                "median": 1e3 * middle[0],
                "quartiles": 1e3 * np.array([low[0], high[0]]),
            },
            "rotation_deg": {"median": middle[1], "quartiles": [low[1], high[1]]},
        }
    return numbers


def print_results(result: Result, said: list[str]) -> None:
    """The tables and sentences at the end."""
    rows = parameter_rows(result)
    table = [
        {
            "parameter": name,
            "start": f"{rows['start'][i]:.4g}",
            "fitted": f"{rows['fitted'][i]:.4g}",
            "95 % interval": f"{rows['low'][i]:.4g} to {rows['high'][i]:.4g}",
        }
        | {key: f"{rows[key][i]:.4g}" for key in ("refined", "peer") if key in rows}
        for i, name in enumerate(rows["parameter"])
    ]
    _run.print_table(
        "Parameters (fitted.xml holds the last ones, in the lengths of the data)", table
    )
    errors = [
        {
            "model": name,
            "position": f"{1e3 * np.median(e[:, 0]):.1f} mm",
            "rotation": f"{np.median(e[:, 1]):.2f} deg",
        }
        for name, e in result.errors().items()
    ]
    _run.print_table(f"Median error over {result.judges()}", errors)
    last = result.points[-1]
    print(f"{last.evaluations} evaluations, {result.seconds[-1]:.0f} s", end="")
    if result.refined is not None:
        n, took = result.refined.evaluations, result.refined.seconds
        print(f"; refining: {n} and {took:.0f} s", end="")
    if result.peer is not None:
        print(
            f"; {result.peer.name}: {result.peer.evaluations} and {result.peer.seconds:.0f} s",
            end="",
        )
    print("\n" + "\n".join(said))
