"""Identify the parameters of a model from recorded trajectories.

Any parameters of a MuJoCo model (friction, contact stiffness and damping, mass, inertia, sizes,
joint damping, ...) are fitted to measured positions by Gauss-Newton steps with exact Jacobians of
the simulation, through its contacts. Trajectories are split into those to fit and those to judge
the fit by. Reported are the values with 95 % intervals, what the data do not determine, and errors
before and after, by MuJoCo itself, on the trajectories that were not used. Where contact makes
motion chaotic, derivatives miss the trend of the error of a whole trajectory; a search without them
(`--refine`) follows the fit. The MJCF is written as well, in the units of the data.

The defaults fit the ContactNets cube tosses: friction, contact stiffness (timeconst), contact
damping (dampratio), the cube's size and inertia, and a length scale of the measurement.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import mujoco
import numpy as np

import softsim
from experiments import _run
from experiments._fitting import Evaluate, Point, Problem, adam, levenberg_marquardt, make_evaluator
from experiments._flight import start_in_flight
from experiments._intervals import certainty
from experiments._mjcf import in_shape, pick, to_mujoco, write_mjcf
from experiments._parameters import make_table
from experiments._peer import fit_peer
from experiments._refine import deviation, evolve, make_cost
from experiments._sysid_figures import draw
from experiments._sysid_report import (
    Refined,
    Result,
    parameter_rows,
    print_results,
    sentences,
    summary,
)
from experiments._trajectories import Recording, Windows, angular, cut, read
from experiments._validation import make_judge

MODEL = Path(__file__).parent / "models" / "tossed_cube.xml"
CUBE = ("friction:cube", "timeconst:cube", "dampratio:cube", "size:cube", "inertia:cube",
        "length_scale")  # fmt: skip
RULER = {"size:cube": 0.005}  # how well the published size is known
HINDSIGHT = (-0.2, -0.1, -0.05, 0.05, 0.1, 0.2)  # steps of a coordinate
UNKNOWN = (20.0, 1e4)  # m/s and degrees/s, a velocity that was not recorded: any that is allowed
FLOOR = 240  # evaluations of the search on the judged trajectories themselves


@dataclass(frozen=True)
class Args:
    """Settings of the identification."""

    data: Path
    """.npz or .csv file of trajectories; its layout is in docs/sysid.md"""
    out: Path = Path("runs/sysid")
    """folder for metrics.json, CSV, the figure and fitted.xml"""
    model: Path = MODEL
    """MJCF file"""
    parameters: tuple[str, ...] = CUBE
    """what is fitted, as KIND:ELEMENT or KIND. Geoms: friction, torsion, rolling, timeconst,
    dampratio, dmin, dmax, width, size, place. Bodies: mass, inertia, moments, com, axes. Joints:
    damping, armature, frictionloss, stiffness. Actuators: gain. The world: gravity, tilt,
    length_scale. Or any float field that is written to MJCF, as FIELD:ELEMENT[i]"""
    start: dict[str, float] = field(default_factory=dict)
    """the fit starts from these values instead of the model's: NAME VALUE ..."""
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)
    """values stay within these intervals: NAME LOW HIGH ..."""
    prior: dict[str, float] = field(default_factory=dict)
    """what is known before: the relative standard deviation of a parameter about its start, NAME
    RELATIVE ...; the default fit takes the published size of the cube to be right to 0.5 %"""
    default_prior: float = 1.0
    """standard deviation of all other parameters about their start: 1 is a factor of e for positive
    ones. It decides only what the data leave open"""
    fit: int = 128
    """this many trajectories are fitted, chosen at random"""
    judge: int = 100
    """this many other trajectories judge the fit, chosen at random"""
    window: int = 100
    """samples in a window; 0: whole trajectories. Shorter windows end before chaos has grown"""
    windows: Literal["first", "all"] = "first"
    """fit only the first window of each trajectory, whose start is often known best, or all"""
    states: Literal["auto", "measured", "estimated"] = "auto"
    """where windows begin: at the measured state, or at one near it that is estimated too; auto
    estimates it if no velocities were recorded, and then takes nothing about them for known"""
    velocity: Literal["backward", "instant"] = "backward"
    """recorded velocities are means over the sample before, or instantaneous"""
    smooth: bool = True
    """free bodies start with the velocity of a parabola through the rows before their first contact
    instead of the recorded one"""
    noise: tuple[float, float] = (0.003, 2.0)
    """standard deviation assumed of positions, m and degrees. Only the ratio matters: the level is
    estimated"""
    velocity_noise: tuple[float, float] = (0.02, 10.0)
    """standard deviation assumed of recorded velocities, m/s and degrees/s, where the initial
    states are estimated"""
    robust: float = 2.0
    """from this error on, in standard deviations of the noise, a sample counts only as a
    logarithm"""
    spread: float = 0.2
    """parameters are taken to differ by this share from trajectory to trajectory (0.2 is 20 %), so
    that chaotic samples do not dictate the fit"""
    optimiser: Literal["lm", "adam"] = "lm"
    """lm: Levenberg-Marquardt; adam: Adam on random chunks of the data, for large sets"""
    iterations: int = 30
    """the fit stops after this many steps if it has not converged before"""
    rate: float = 0.1
    """learning rate of Adam at the start; it falls as the root of the number of steps"""
    refine: int = 0
    """after the fit, search on the judged error itself in MuJoCo C, for this many evaluations; 0:
    no search"""
    peer: bool = False
    """fit by finite differences in MuJoCo C as well (mujoco.sysid, or its optimiser)"""
    hindsight: bool = False
    """also find floors that no fit to other trajectories beats: the error of each judged trajectory
    with the best value of each parameter for it alone, and of all of them with the values that a
    search on them finds"""
    seed: int = 0
    """random seed of the choice of trajectories"""
    quick: bool = False
    """take few trajectories and iterations, to see that everything works"""

    def __post_init__(self) -> None:
        for name in ("fit", "iterations", "robust", "rate", "default_prior"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(
                    f"--{name}: got {getattr(self, name)}, expected a finite number more than 0"
                )
        for name in ("window", "judge", "spread", "refine"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected 0 or more")
        for name in ("noise", "velocity_noise"):
            if not min(getattr(self, name)) > 0:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected positive numbers")


def split(args: Args, recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """Trajectories to fit and, none of them among those, trajectories to judge by."""
    count = len(recording.start)
    order = np.random.default_rng(args.seed).permutation(count)
    if count == 1:
        return order, order[:0]
    fit = min(args.fit, max(1, count // 2) if args.judge else count)
    return np.sort(order[:fit]), np.sort(order[fit : fit + args.judge])


def make_problem(args: Args, mj_model: mujoco.MjModel, recording: Recording) -> Problem:
    """Model, parameters and noise.

    Raises:
        ValueError: a parameter is unknown or cannot be fitted, or the samples are not a whole
            number of time steps of the model apart.
    """
    m = softsim.put_model(mj_model)
    names = args.parameters
    prior = (RULER if names == CUBE else {}) | args.prior
    table = make_table(mj_model, names, args.start, args.bounds, prior, args.default_prior)
    substeps = round(recording.dt / mj_model.opt.timestep)
    if substeps < 1 or abs(substeps * mj_model.opt.timestep / recording.dt - 1) > 1e-4:
        raise ValueError(
            f"samples are {recording.dt:.6g} s apart, which is not a whole number of the model's "
            f"time steps of {mj_model.opt.timestep:.6g} s; change the timestep of the model"
        )
    if mj_model.na:
        raise ValueError("the model has activation states, which recordings do not hold")
    turns = angular(mj_model)
    noise = np.where(turns, np.radians(args.noise[1]), args.noise[0])
    known = args.velocity_noise if recording.measured else UNKNOWN
    velocity = np.where(turns, np.radians(known[1]), known[0])
    estimated = args.states == "estimated" or (args.states == "auto" and not recording.measured)
    state = np.concatenate([noise, velocity]) if estimated else np.zeros(0)
    return Problem(
        m, softsim.make_data(m), table, jnp.asarray(noise), jnp.asarray(state),
        jnp.asarray(args.robust), jnp.asarray(args.spread), substeps,
        args.velocity == "backward" and recording.measured,
    )  # fmt: skip


def minimise(
    args: Args,
    problem: Problem,
    windows: Windows,
    evaluate: Evaluate,
    bar: _run.Progress,
    start: np.ndarray | None = None,
) -> tuple[list[Point], list[float]]:
    """Run the optimiser, LM from `start`; for Adam, a last pass over all windows."""
    points, seconds, begin = [], [], time.perf_counter()
    steps: Iterator[Point]
    if args.optimiser == "lm":
        steps = levenberg_marquardt(problem, windows, evaluate, start)
    else:
        steps = adam(problem, windows, evaluate, args.rate, args.seed)
    task = bar.add_task("fitting", total=args.iterations, status="compiling")
    for point in steps:
        points.append(point)
        seconds.append(time.perf_counter() - begin)
        rms = np.sqrt(np.sum(point.blocks.square) / np.sum(point.blocks.residuals))
        bar.update(task, advance=1, status=f"error {rms:.3g} times the noise")
        if point.done or len(points) > args.iterations:
            break
    if args.optimiser == "adam":
        last = points[-1]
        last.blocks = evaluate(last.u, last.z, windows)
        last.evaluations += 1
    bar.update(task, completed=args.iterations)
    return points, seconds


def identify(
    args: Args, mj_model: mujoco.MjModel, recording: Recording
) -> tuple[Result, dict[str, np.ndarray]]:
    """Fit and judge; also returns the leaves of the model that was found."""
    problem = make_problem(args, mj_model, recording)
    chosen, judged = split(args, recording)
    judged = judged if len(judged) else chosen
    recorded = make_judge(recording, judged, problem.backward)(mj_model)
    if args.smooth:
        recording = start_in_flight(recording, mj_model, problem.backward)
    judge = make_judge(recording, judged, problem.backward)
    find = lambda u: to_mujoco(mj_model, fitted_leaves(problem, mj_model, u))
    windows = cut(recording, chosen, args.window, args.windows == "first")
    with _run.progress() as bar:
        points, seconds = minimise(args, problem, windows, make_evaluator(problem), bar)
        u = points[-1].u
        result = Result(
            problem, recording, windows, judged, points, seconds,
            certainty(problem, points[-1], windows.trajectory), recorded, judge(mj_model),
            judge(find(u)),
        )  # fmt: skip
        if args.refine:
            result.refined = refine(args, mj_model, result, chosen, bar)
            u = result.refined.u
            result.refined_after = judge(find(u))
        if args.peer:
            task = bar.add_task("the peer", total=1, status="")
            variance, noise = points[-1].blocks.variance, points[-1].noise
            measured = replace(problem, state_noise=jnp.zeros(0))
            result.peer = fit_peer(measured, windows, variance, noise, mj_model, args.iterations)
            result.peer_after = judge(find(result.peer.u))
            bar.update(task, advance=1)
        if args.hindsight:
            result.hindsight = hindsight(mj_model, result, u, bar)
            result.floor = judge(find(floor(args, mj_model, result, u, bar)))
    return result, fitted_leaves(problem, mj_model, u)


def refine(
    args: Args, mj_model: mujoco.MjModel, result: Result, chosen: np.ndarray, bar: _run.Progress
) -> Refined:
    """Lower the judged error of the fitted trajectories, from the better of fit and start."""
    problem, begin = result.problem, time.perf_counter()
    cost = make_cost(problem, mj_model, make_judge(result.recording, chosen, problem.backward))
    task = bar.add_task("refining", total=args.refine, status="")
    start = min((result.points[-1].u, result.points[0].u), key=cost)
    for best in evolve(cost, start, deviation(result.sure), args.seed):
        bar.update(task, completed=best.evaluations, status=f"error {best.cost:.3f} (log)")
        if best.evaluations >= args.refine:
            break
    return Refined(best.u, best.evaluations, time.perf_counter() - begin)


def hindsight(
    mj_model: mujoco.MjModel, result: Result, u: np.ndarray, bar: _run.Progress
) -> dict[str, np.ndarray]:
    """Errors of each trajectory with the best value of one parameter for it alone.

    No common value can do better: what is left is what this parameter cannot explain.
    """
    problem = result.problem
    judge = make_judge(result.recording, result.judged, problem.backward)
    task = bar.add_task("hindsight", total=len(u), status="")
    insert = jax.jit(lambda u: pick(problem.table.insert(problem.model, u)))
    found = {}
    for i, label in enumerate(problem.table.labels):
        errors = []
        for step in (0.0, *HINDSIGHT):
            leaves = in_shape(insert(u + step * np.eye(len(u))[i]), mj_model)
            errors.append(judge(to_mujoco(mj_model, leaves)))
        found[label] = np.min(errors, axis=0)
        bar.update(task, advance=1, status=label)
    return found


def floor(
    args: Args, mj_model: mujoco.MjModel, result: Result, u: np.ndarray, bar: _run.Progress
) -> np.ndarray:
    """The parameters with the least distance on the judged trajectories, chosen by looking at them.

    What is left is what no common values explain.
    """
    problem = result.problem
    judge = make_judge(result.recording, result.judged, problem.backward)
    cost = make_cost(problem, mj_model, judge, measures=(0,))
    total = min(FLOOR, args.refine or FLOOR)
    task = bar.add_task("floor", total=total, status="")
    for best in evolve(cost, u, deviation(result.sure), args.seed):
        bar.update(task, completed=best.evaluations, status=f"distance {best.cost:.3f} (log)")
        if best.evaluations >= total:
            break
    return best.u


def fitted_leaves(problem: Problem, mj_model: mujoco.MjModel, u) -> dict[str, np.ndarray]:
    """The float fields of the model at the coordinates u."""
    return in_shape(jax.jit(lambda u: pick(problem.table.insert(problem.model, u)))(u), mj_model)


def write_results(args: Args, mj_model: mujoco.MjModel, result: Result, leaves: dict) -> None:
    """metrics.json, parameters.csv, errors.csv, fitted.xml and the figure."""
    said = sentences(result, args.bounds, args.iterations)
    rows = parameter_rows(result)
    metrics = {**_run.provenance(args), "parameters": rows, **summary(result), "findings": said}
    _run.write_json(args.out / "metrics.json", metrics)
    _run.write_csv(args.out / "parameters.csv", rows)
    columns = {"trajectory": result.judged}
    for name, errors in result.errors().items():
        columns |= {f"{name}_m": errors[:, 0], f"{name}_deg": errors[:, 1]}
    _run.write_csv(args.out / "errors.csv", columns)
    write_mjcf(args.out / "fitted.xml", args.model, mj_model, leaves)
    draw(args.out / "sysid.png", result, mj_model, to_mujoco(mj_model, leaves))
    print_results(result, said)


def main(args: Args) -> None:
    """Identify, and write what was found."""
    if args.quick:
        args = replace(
            args, fit=6, judge=6, iterations=4, window=min(args.window or 20, 20), refine=20
        )
    _run.open_folder(args.out)
    with jax.enable_x64(True):
        mj_model = _run.load_model(args.model)
        recording = read(args.data, mj_model)
        result, leaves = identify(args, mj_model, recording)
        write_results(args, mj_model, result, leaves)
    print(f"Written to {args.out}: metrics.json, parameters.csv, errors.csv, fitted.xml, sysid.png")


if __name__ == "__main__":
    _run.launch(Args, main, __doc__)
