"""Identify the parameters of a model from recorded trajectories.

Any parameters of a MuJoCo model (friction, contact stiffness, mass, sizes, joint damping, ...) are
fitted to measured positions by Gauss-Newton steps with exact Jacobians of the simulation, through
its contacts. Some trajectories are kept back to judge the fit by, in MuJoCo itself. Reported are
values with 95 % intervals, what the data leave open, and errors before and after; the fitted MJCF
is written too, in the units of the data. From Python, call `softsim.sysid`.

The defaults fit the ContactNets cube tosses: friction, contact stiffness (timeconst), contact
damping (dampratio), the cube's size and inertia, and a length scale of the measurement.
"""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import jax
import mujoco
import numpy as np
from matplotlib.axes import Axes

from experiments import cli
from experiments.bench.sysid_peer import Peer, fit_peer
from experiments.figures import figure
from softsim import sysid
from softsim.sysid.judge import judge
from softsim.sysid.tracks import complete

MODEL = Path(__file__).parent / "models" / "tossed_cube.xml"
CUBE = ("friction:cube", "timeconst:cube", "dampratio:cube", "size:cube", "inertia:cube",
        "length_scale")  # fmt: skip
RULER = {"size:cube": 0.005}  # how well the published size is known
MEASURES = (("position", "mm", 1e3), ("rotation", "deg", 1.0))
MODELS = {"as_recorded": "as given, recorded start", "before": "as given", "after": "fitted",
          "peer": "fitted by the peer"}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Args(sysid.Settings):
    """Settings of the identification."""

    data: Path
    """.npz file with qpos (N, nq), dt or time, and ctrl (N, nu) if there are actuators, or .csv
    file with columns time, qpos0, qpos1, ..., ctrl0, ...; qvel may be there too, and `trajectory`
    where there are several"""
    out: Path = Path("runs/sysid")
    """folder for metrics.json, CSV, the figure and fitted.xml"""
    model: Path = MODEL
    """MJCF file"""
    parameters: tuple[str, ...] = CUBE
    """what is fitted, as KIND:ELEMENT, such as friction:cube, mass:forearm or damping:elbow, or
    KIND, such as gravity; a wrong name lists all kinds"""
    start: dict[str, float] = field(default_factory=dict)
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)
    prior: dict[str, float] = field(default_factory=dict)
    fit: int = 128
    """this many trajectories are fitted, chosen at random"""
    judge: int = 100
    """this many other trajectories judge the fit, chosen at random"""
    window: int | None = 100
    windows: Literal["first", "all"] = "first"
    stages: tuple[float, ...] = (1.0,)
    states: Literal["auto", "measured", "estimated"] = "auto"
    velocity: Literal["backward", "instant"] = "backward"
    spread: float = 0.2
    peer: bool = False
    """fit by finite differences in MuJoCo C as well (mujoco.sysid, or its optimiser)"""
    seed: int = 0
    """random seed of the choice of trajectories"""
    quick: bool = False
    """take few trajectories and iterations, to see that everything works"""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("fit", 1), ("judge", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected at least {least}")


def split(args: Args, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the trajectories to fit and, none of them among those, to judge by."""
    order = np.random.default_rng(args.seed).permutation(count)
    fit = min(args.fit, max(1, count // 2) if args.judge and count > 1 else count)
    return np.sort(order[:fit]), np.sort(order[fit : fit + args.judge])


def identify(args: Args, mj_model: mujoco.MjModel, recordings: list[sysid.Recording]) -> sysid.Fit:
    """Fit, with a bar."""
    settings = {f.name: getattr(args, f.name) for f in fields(sysid.Settings)}
    settings["prior"] = (RULER if args.parameters == CUBE else {}) | args.prior
    steps = sysid.iterate(mj_model, recordings, args.parameters, **settings)
    with cli.progress() as bar:
        task = bar.add_task("fitting", total=args.iterations, status="compiling")
        for fit in steps:
            bar.update(task, advance=1, status=f"error {fit.misfit:.3g} times the noise")
    return fit


def columns_of(fit: sysid.Fit, peer: Peer | None) -> dict[str, list]:
    """The table of parameters."""
    table, sure = fit.problem.table, fit.sure
    numbers = {
        "start": table.start, "fitted": sure.values, "low": sure.low, "high": sure.high,
        "relative_sd_noise": sure.white, "relative_sd_trajectories": sure.sandwich,
    }  # fmt: skip
    if peer is not None:
        numbers["peer"] = np.asarray(table.values(peer.u))
    columns = {"parameter": table.labels, "unit": table.units}
    return columns | {name: x.tolist() for name, x in numbers.items()}


def summary(fit: sysid.Fit, errors: dict[str, np.ndarray], peer: Peer | None) -> dict[str, Any]:
    """The numbers of a fit."""
    numbers: dict[str, Any] = {
        "trajectories_fitted": len(fit.tracks),
        "trajectories_judged": len(errors["before"]),
        "windows": len(fit.windows.mask),
        "noise_level": fit.sure.noise,
        "cost": fit.point.cost,
        "evaluations": fit.point.evaluations,
        "seconds": fit.seconds,
        "correlation": fit.sure.correlation,
        "findings": fit.sentences(),
    }
    if peer is not None:
        numbers["peer"] = peer.summary(1.01 * fit.point.cost)
    for name, found in errors.items():
        quartiles = np.quantile(found, [0.25, 0.5, 0.75], axis=0)
        numbers[f"errors_{name}"] = {
            f"{key}_{unit}": {"median": scale * mid, "quartiles": [scale * low, scale * high]}
            for (key, unit, scale), low, mid, high in zip(MEASURES, *quartiles)
        }
    return numbers


def draw(path: Path, fit: sysid.Fit, errors: dict[str, np.ndarray], title: str) -> None:
    """Shares of trajectories below an error, and fitted values relative to the start."""
    with figure(path, ncols=3, figsize=(12.0, 3.4)) as (_, axes):
        for i, (name, unit, scale) in enumerate(MEASURES):
            _draw_errors(axes[0, i], {n: scale * np.sort(e[:, i]) for n, e in errors.items()})
            label = f"mean error of {name} over a trajectory ({unit})"
            axes[0, i].set(xlabel=label, ylabel="share of trajectories below", title=title)
        table, at = fit.problem.table, np.arange(fit.problem.table.size)[::-1]
        whole = np.where(table.start == 0, 1.0, table.start)
        middle, *ends = (x / whole for x in (fit.sure.values, fit.sure.low, fit.sure.high))
        spread = np.abs(np.sort(ends, axis=0) - middle)
        axes[0, 2].errorbar(middle, at, xerr=spread, fmt="o", ms=4, capsize=3)
        axes[0, 2].axvline(1.0, color="black", lw=0.8)
        axes[0, 2].set_yticks(at, table.labels)
        axes[0, 2].set(xlabel="fitted value / start, with 95 % interval", title="parameters")


def _draw_errors(axes: Axes, errors: dict[str, np.ndarray]) -> None:
    """One curve per model; nothing for a model that has no such motion."""
    if not errors["before"].any():
        axes.set_axis_off()
        return
    for name, values in errors.items():
        share = (np.arange(len(values)) + 0.5) / len(values)
        axes.plot(values, share, label=f"{MODELS[name]}: median {np.median(values):.3g}")
    axes.set_xscale("log")
    axes.set_xlim(left=axes.get_xlim()[0] / 3)  # room for the legend
    axes.legend(loc="upper left", fontsize=7)


def main(args: Args) -> None:
    """Identify, and write what was found."""
    if args.quick:
        args = replace(args, fit=6, judge=6, iterations=4, window=min(args.window or 20, 20))
    cli.open_folder(args.out)
    mj_model, recordings = cli.load_model(args.model), sysid.read(args.data)
    chosen, others = split(args, len(recordings))
    fit = identify(args, mj_model, [recordings[i] for i in chosen])
    with jax.enable_x64(True):
        made = cli.provenance(args)
        peer = fit_peer(fit, args.iterations) if args.peer else None
        columns = columns_of(fit, peer)
    which = others if len(others) else chosen
    judged = [recordings[i] for i in which]
    errors = {"as_recorded": judge(fit.given, complete(judged, fit.given), fit.problem.backward)}
    models = {"before": fit.given, "after": fit.model}
    models |= {} if peer is None else {"peer": fit.model_at(peer.u)}
    errors |= {name: fit.errors(model, judged) for name, model in models.items()}
    kind = "other" if len(others) else "fitted"
    title = f"{len(which)} {kind} {'trajectory' if len(which) == 1 else 'trajectories'}"
    metrics = {**made, "parameters": columns, **summary(fit, errors, peer)}
    cli.write_json(args.out / "metrics.json", metrics)
    cli.write_csv(args.out / "parameters.csv", columns)
    rows = {f"{n}_{u}": e[:, i] for n, e in errors.items() for i, u in enumerate(("m", "deg"))}
    cli.write_csv(args.out / "errors.csv", {"trajectory": which, **rows})
    cli.write_with(args.out / "fitted.xml", lambda file: fit.to_mjcf(file, args.model))
    draw(args.out / "sysid.png", fit, errors, title)
    print(fit.report())
    middles = {MODELS[name]: np.median(found, axis=0) for name, found in errors.items()}
    shown = lambda e: {"position, mm": f"{1e3 * e[0]:.1f}", "rotation, deg": f"{e[1]:.2f}"}
    cli.print_table(
        f"Median error over {title}", [{"model": n} | shown(e) for n, e in middles.items()]
    )
    print(f"Written to {args.out}: metrics.json, parameters.csv, errors.csv, fitted.xml, sysid.png")


def command() -> None:
    """Run from the command line."""
    cli.launch(Args, main, __doc__)


if __name__ == "__main__":
    command()
