"""What runs of model-predictive control show: methods at equal work and at equal time."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from experiments.figures import COLORS, figure

Method = Literal["shooting", "ilqr", "mppi", "cem"]
SAMPLING = ("mppi", "cem")


class Record(NamedTuple):
    """Runs of one method with one amount of work."""

    task: str
    method: str
    samples: int  # in a round; for gradients, proposals
    rounds: int
    cost: float  # mean over the run and the starts
    spread: float  # standard deviation over the starts
    steps: int  # simulated physics steps per control step
    seconds: float  # of computing, per control step
    real_time: float  # simulated time / computing time

    @property
    def planner(self) -> str:
        """The method, and how many plans gradients begin from."""
        proposed = self.samples and self.method not in SAMPLING
        return f"{self.method} with {self.samples} proposals" if proposed else self.method


def steps_to(records: list[Record], cost: float) -> float:
    """Fewest simulated steps per control step with which a method reaches a cost."""
    return min((float(r.steps) for r in records if r.cost <= cost), default=float("inf"))


def front(records: list[Record]) -> list[Record]:
    """Those that no other is as cheap and as good as, cheapest first."""
    found: list[Record] = []
    for r in sorted(records, key=lambda r: (r.steps, r.cost)):
        if not found or r.cost < found[-1].cost:
            found.append(r)
    return found


def compare(records: list[Record]) -> list[str]:
    """Each gradient method against MPPI: simulated steps for the same cost; equal time."""
    said = []
    for name in dict.fromkeys(r.task for r in records):
        of = lambda m: [r for r in records if r.task == name and r.method == m]  # noqa: B023
        if not of("mppi"):
            continue
        marks = front(of("mppi"))
        costs = ", ".join(f"{r.cost:.4g} ({r.steps} steps)" for r in marks)
        said.append(f"{name}: costs of MPPI, the best for its simulated steps: {costs}.")
        for method in ("shooting", "ilqr"):
            if not of(method):
                continue
            shares = [steps_to(of(method), r.cost) / r.steps for r in marks]
            reached = ", ".join(f"{s:.2f}" if s < float("inf") else "none" for s in shares)
            never = " (none: not with the rounds tried)" if float("inf") in shares else ""
            low = min(of(method), key=lambda r: r.cost)
            said.append(
                f"{name}: {method} reaches them with {reached} of the steps{never}; "
                f"its best is {low.cost:.4g} ({low.planner}, {low.steps} steps)."
            )
        said.append(f"{name}: {at_equal_time(of)}")
    return said


def at_equal_time(of: Callable[[str], list[Record]]) -> str:
    """Best cost of every method within the time of MPPI's cheapest and dearest run."""
    said = []
    for limit in sorted({f(r.seconds for r in of("mppi")) for f in (min, max)}):
        run = [m for m in get_args(Method) if of(m)]
        fair = [
            min((r for r in of(m) if r.seconds <= limit), key=lambda r: r.cost, default=None)
            for m in run
        ]
        costs = ", ".join(
            f"{r.planner} {r.cost:.3g}" if r is not None else f"{m} (slower than that)"
            for m, r in zip(run, fair)
        )
        said.append(f"best costs within {1e3 * limit:.3g} ms per control step: {costs}")
    return "; ".join(said) + "."


def draw(path: Path, records: list[Record]) -> None:
    """Cost over simulated steps and over computing time, task by task."""
    tasks = list(dict.fromkeys(r.task for r in records))
    size = (3.6 * len(tasks), 6.0)
    with figure(path, nrows=2, ncols=len(tasks), figsize=size, sharey="col") as (_, axes):
        for column, name in zip(axes.T, tasks):
            lines: dict[str, list[Record]] = {}
            for r in records:
                if r.task == name:
                    lines.setdefault(r.planner, []).append(r)
            for label, some in lines.items():
                method, proposed = some[0].method, some[0].samples > 0
                color = COLORS[get_args(Method).index(method)]
                style = {"marker": "o", "ms": 4, "color": color, "label": label}
                style["ls"] = "none" if method in SAMPLING else "--" if proposed else "-"
                costs = [r.cost for r in some]  # of the same starts, whose spread says nothing here
                column[0].plot([r.steps for r in some], costs, **style)
                column[1].plot([1e3 * r.seconds for r in some], costs, **style)
            column[0].set_title(name)
            column[0].set_xlabel("simulated steps per control step")
            column[1].set_xlabel("computing time per control step (ms)")
            for panel in column:
                panel.set_xscale("log")
                panel.xaxis.set_minor_formatter("")  # they would overlap
        axes[0, 0].set_ylabel("mean cost of a run")
        axes[1, 0].set_ylabel("mean cost of a run")
        axes[0, 0].legend(fontsize=7)


def table(records: list[Record]) -> list[dict[str, str]]:
    """One row per amount of work."""
    return [
        {
            "task": r.task,
            "method": r.method,
            "samples": str(r.samples or ""),
            "rounds": str(r.rounds),
            "cost": f"{r.cost:.4g} ± {r.spread:.2g}",
            "steps": str(r.steps),
            "time": f"{1e3 * r.seconds:.1f} ms",
            "real-time factor": f"{r.real_time:.2g}",
        }
        for r in records
    ]
