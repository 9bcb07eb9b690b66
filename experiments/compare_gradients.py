"""Sweep one input of any MJCF model and compare the gradients that simulation gives of an outcome.

The outcome is the final position of a body or site (a weighted sum of its coordinates). Its
derivative with respect to the input is computed by each method (hard, saltation, soft,
straight_through) and by central finite differences of the hard simulation. A hard simulation with
steps `refine` times finer is the reference. Where gradients vanish, jump or disagree is said in
words. All in float64.

Without --model, a ball rolls into another on a rail, and the speed of the first is swept. Each
method compiles one program, which takes most of the time for a robot (what is being compiled is
shown, with the seconds); --quick is a first look with few points and two methods.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float, Int

import softsim
from experiments import _run
from experiments._figures import COLORS, figure
from experiments._findings import Curve, findings
from experiments._sweep import Input, State, close, find_input, find_name, names_of
from softsim.convergence import stopped_short
from softsim.dynamics import kinematics
from softsim.model import STATE
from softsim.step import next_state

Method = Literal["hard", "saltation", "soft", "straight_through"]
MODEL = Path(__file__).parent / "models" / "billiard.xml"
QUICK: tuple[Method, ...] = ("hard", "saltation")


@dataclass(frozen=True)
class Args:
    """Settings of the comparison."""

    out: Path = Path("runs/compare_gradients")
    """folder for metrics.json, CSV and the figure"""
    model: Path = MODEL
    """MJCF file"""
    input: str = ""
    """what is swept: qpos:JOINT[i], qvel:JOINT[i], ctrl:ACTUATOR, opt:gravity[i], or any float
    field of the model, such as geom_friction:GEOM[0], body_mass:BODY, dof_damping:JOINT. Default:
    the velocity of the first joint. Quantities the compiler derives (invweight0, inertia from
    mass) are not recomputed"""
    low: float | None = None
    """the sweep starts here; default: below the value in the model, by 1 for positions, velocities
    and controls and by half of it for all else"""
    high: float | None = None
    """the sweep ends here; default: as far above that value"""
    points: int = 61
    """the input takes this many values"""
    body: str = ""
    """the body or site whose final position is the outcome; site:NAME where a body has the same
    name; default: the last body"""
    weights: tuple[float, float, float] = (1.0, 0.0, 0.0)
    """the outcome is the sum of x, y and z of that position, in the world frame, times these"""
    steps: int = 100
    """the outcome is looked at after this many simulation steps"""
    keyframe: str = ""
    """the simulation starts in this keyframe; default: the first one, or the reference
    configuration if there is none"""
    ctrl: tuple[float, ...] = ()
    """the controls, held throughout; default: those of the keyframe"""
    methods: tuple[Method, ...] | None = None
    """the derivative is taken in these ways; default: all, or hard and soft with --quick"""
    refine: int = 10
    """the reference takes this many steps for each step of the model"""
    quick: bool = False
    """take a first look: hard and soft only, at most 9 points, and a reference 4 times finer"""
    softness: float = 0.05
    """soft switches have this width, relative to the shapes"""
    reach: float = 0.05
    """soft contacts are felt from this distance, m"""

    def __post_init__(self) -> None:
        if self.methods == ():
            raise ValueError(f"--methods: got none, expected some of {', '.join(get_args(Method))}")
        for name, least in (("points", 5), ("steps", 1), ("refine", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected at least {least}")
        for name in ("low", "high", "weights", "ctrl", "softness", "reach"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value).all():
                raise ValueError(f"--{name}: got {value}, expected finite numbers")


@dataclass(frozen=True)
class Problem:
    """A model, its initial state, the input that is swept and the body or site that is watched."""

    mj_model: mujoco.MjModel
    state: State
    input: Input
    place: tuple[str, int]  # body or site, and which
    x: Float[np.ndarray, " points"]


def make_problem(args: Args) -> Problem:
    """Read the model and check every argument against it, before anything is written.

    Raises:
        ValueError: names the argument, its value, and what was expected.
    """
    mj_model = _run.load_model(args.model)
    m = softsim.put_model(mj_model)
    start = _initial(args, mj_model)
    state = (m, softsim.put_data(mj_model, start), _controls(args, start.ctrl))
    place = _place(args, mj_model)
    if not mj_model.nv:
        raise ValueError(f"--model {args.model}: nothing in it can move")
    joints = names_of(mj_model, "jnt")
    if not args.input and not joints:
        raise ValueError("--input: the model names no joint; name another input")
    swept = find_input(mj_model, state, args.input or f"qvel:{joints[0]}")
    return Problem(mj_model, state, swept, place, _grid(args, swept))


def _place(args: Args, mj_model: mujoco.MjModel) -> tuple[str, int]:
    """The body or site that --body names."""
    if not args.body:
        return "body", mj_model.nbody - 1
    where, name = f"--body {args.body}", args.body.removeprefix("site:")
    bodies, sites = names_of(mj_model, "body"), names_of(mj_model, "site")
    if name == args.body and (name in bodies or not sites):
        return "body", find_name(mj_model, "body", name, where)
    if name != args.body or name in sites:
        return "site", find_name(mj_model, "site", name, where)
    raise ValueError(f"{where}: no body or site named {name!r}{close(name, bodies + sites)}")


def _initial(args: Args, mj_model: mujoco.MjModel) -> mujoco.MjData:
    data = mujoco.MjData(mj_model)
    if args.keyframe or mj_model.nkey:
        where = f"--keyframe {args.keyframe}"
        key = find_name(mj_model, "key", args.keyframe, where) if args.keyframe else 0
        mujoco.mj_resetDataKeyframe(mj_model, data, key)
    for name in ("qpos", "qvel", "act", "ctrl"):
        if not np.isfinite(getattr(data, name)).all():
            raise ValueError(f"keyframe {args.keyframe or '0'}: {name} is not finite")
    return data


def _controls(args: Args, default: np.ndarray) -> Float[Array, " nu"]:
    if args.ctrl and len(args.ctrl) != len(default):
        raise ValueError(f"--ctrl: got {len(args.ctrl)} values, the model has {len(default)}")
    return jnp.array(args.ctrl or default, float)


def _grid(args: Args, swept: Input) -> Float[np.ndarray, " points"]:
    """Around the model's value: a state by 1 either way, a parameter by half of itself."""
    absolute = swept.name.startswith(("qpos:", "qvel:", "ctrl:")) or swept.value == 0
    around = 1.0 if absolute else 0.5 * abs(swept.value)
    low = swept.value - around if args.low is None else args.low
    high = swept.value + around if args.high is None else args.high
    if not low < high:
        raise ValueError(f"--low {low} --high {high}: expected low < high")
    return np.linspace(low, high, args.points)


Outcome = Callable[[Float[Array, ""], Int[Array, ""]], Float[Array, ""]]


def outcome(args: Args, problem: Problem, soft: softsim.Softening) -> Outcome:
    """The final weighted position as a function of the input and of how much finer to step.

    The number of steps is traced, so that fine and coarse simulations are one program.
    """
    kind, index = problem.place

    def run(x: Float[Array, ""], refine: Int[Array, ""]) -> Float[Array, ""]:
        m, d, ctrl = problem.input.insert(problem.state, x)
        m = m.tree_replace({"opt.timestep": m.opt.timestep / refine})

        def advance(_: Array, state: dict[str, Array]) -> dict[str, Array]:
            after = next_state(m, d.replace(**state, ctrl=ctrl), soft)
            return {name: getattr(after, name) for name in STATE}

        state = {name: getattr(d, name) for name in STATE}
        state = jax.lax.fori_loop(0, args.steps * refine, advance, state)
        end = kinematics(m, d.replace(**state))
        return jnp.array(args.weights) @ (end.xpos if kind == "body" else end.site_xpos)[index]

    return run


def softening(args: Args, method: Method) -> softsim.Softening:
    """The settings of a method."""
    match method:
        case "hard":
            return softsim.Softening.hard()
        case "saltation":
            return softsim.Softening.saltation()
        case "soft":
            return softsim.Softening.soft(args.softness, args.reach)
        case "straight_through":
            return softsim.Softening.straight_through(args.softness, args.reach)


Sweep = Callable[[Float[np.ndarray, " k"], int], Curve]


def make_sweep(f: Outcome, count: int) -> Sweep:
    """Value and derivative at any number of inputs, in one compiled program for `count` of them.

    One input: forward mode, one direction.
    """
    along = lambda x, refine: jax.jvp(lambda x: f(x, refine), (x,), (jnp.ones_like(x),))
    batch = jax.jit(jax.vmap(along, in_axes=(0, None)))
    program = batch.lower(jnp.zeros(count), jnp.asarray(1)).compile()

    def sweep(x: Float[np.ndarray, " k"], refine: int = 1) -> Curve:
        padded = np.append(x, np.full(-len(x) % count, x[-1])).reshape(-1, count)
        parts = [program(jnp.asarray(part), jnp.asarray(refine)) for part in padded]
        return Curve(*(np.concatenate(found)[: len(x)] for found in zip(*parts)))

    return sweep


def central_differences(
    sweep: Sweep, x: Float[np.ndarray, " points"]
) -> Float[np.ndarray, " points"]:
    """Of the outcome as it is, jumps and all: the step is a millionth of the sweep."""
    step = 1e-6 * (x[-1] - x[0])
    low, high = np.split(sweep(np.concatenate([x - step, x + step]), 1).loss, 2)
    return (high - low) / (2 * step)


def fine_reference(sweep: Sweep, x: Float[np.ndarray, " points"], refine: int) -> Curve:
    """Of the finely stepped outcome; differences span a spacing of the sweep, as chords do."""
    step = (x[1] - x[0]) / 2
    halfway = np.concatenate([x - step, x[-1:] + step])
    loss, between = np.split(sweep(np.concatenate([x, halfway]), refine).loss, [x.size])
    return Curve(loss, np.diff(between) / (2 * step))


@dataclass
class Results:
    """Everything computed so far."""

    differences: Float[np.ndarray, " points"]
    reference: Curve
    causes: tuple[str, ...] = ()
    curves: dict[str, Curve] = field(default_factory=dict)


def draw(args: Args, problem: Problem, results: Results) -> None:
    """Outcome above, gradient below."""
    x, reference = problem.x, results.reference
    kind, index = problem.place
    place = getattr(problem.mj_model, kind)(index).name or f"{kind} {index}"
    path = args.out / "gradients.png"
    with figure(path, nrows=2, sharex=True, figsize=(6.8, 5.6)) as (_, axes):
        above, below = axes[:, 0]
        fine = f"hard, {args.refine}x finer steps"
        above.plot(x, reference.loss, color="0.35", lw=3, alpha=0.5, label=fine)
        below.plot(x, reference.gradient, color="0.35", lw=3, alpha=0.5, label=fine)
        for color, (name, curve) in zip(COLORS, results.curves.items()):
            style = "--" if name == "straight_through" else "-"
            above.plot(x, curve.loss, style, color=color, lw=1.3)
            below.plot(x, curve.gradient, style, color=color, lw=1.3, label=name)
        below.plot(x, results.differences, "k.", ms=3, label="central differences, hard")
        below.set_ylim(*gradient_range(results))
        terms = [f"{w:g} {axis}".replace("1 ", "") for w, axis in zip(args.weights, "xyz") if w]
        above.set_ylabel(f"final {' + '.join(terms)} of {place} [m]")
        below.set_ylabel(f"its derivative [m per {problem.input.unit}]")
        below.set_xlabel(f"{problem.input.name} [{problem.input.unit}]")
        step = 1e3 * problem.mj_model.opt.timestep
        above.set_title(f"{args.model.name}: {args.steps} steps of {step:.3g} ms")
        below.legend(fontsize=8)


def gradient_range(results: Results) -> tuple[float, float]:
    """Limits that show almost all of the gradients; spikes run out of the picture."""
    gradients = [c.gradient for c in (*results.curves.values(), results.reference)]
    together = np.concatenate(gradients)
    low, high = np.quantile(together[np.isfinite(together)], [0.01, 0.99])
    margin = 0.3 * (high - low) or 1.0
    return low - margin, high + margin


def write_results(args: Args, problem: Problem, results: Results) -> list[str]:
    """metrics.json, gradients.csv and gradients.png; returns the findings."""
    differences, reference, curves = results.differences, results.reference, results.curves
    about = (problem.input.unit, results.causes)
    said = findings(problem.x, curves, differences, reference, *about)
    columns = {"input": problem.x, "differences": differences}
    for name, curve in {**curves, "reference": reference}.items():
        columns |= {f"{name}_outcome": curve.loss, f"{name}_gradient": curve.gradient}
    _run.write_csv(args.out / "gradients.csv", columns)
    apart = {
        name: {
            "from_differences": np.median(np.abs(curve.gradient - differences)),
            "from_reference": np.median(np.abs(curve.gradient - reference.gradient)),
            "not_finite": int(np.sum(~np.isfinite(curve.gradient))),
        }
        for name, curve in curves.items()
    }
    record = _run.provenance(args)
    record |= {"input": problem.input.name, "unit": problem.input.unit}
    record |= {"median_difference": apart, "findings": said}
    _run.write_json(args.out / "metrics.json", record)
    draw(args, problem, results)
    return said


def compute(args: Args, problem: Problem, say: Callable[[str], None]) -> Iterator[Results]:
    """The differences and the reference, then method by method; `say` tells what is going on."""
    methods = args.methods or (QUICK if args.quick else get_args(Method))

    def compiled(method: Method) -> Sweep:
        say(f"compiling {method}")
        begin = time.perf_counter()
        sweep = make_sweep(outcome(args, problem, softening(args, method)), args.points)
        say(f"{method}: compiled in {time.perf_counter() - begin:.0f} s; simulating")
        return sweep

    hard = compiled("hard")
    differences = central_differences(hard, problem.x)
    m, d, ctrl = problem.state
    causes = stopped_short(m, d.replace(ctrl=ctrl), softsim.Softening.hard(), args.steps)
    results = Results(differences, fine_reference(hard, problem.x, args.refine), causes)
    yield results
    for method in dict.fromkeys(methods):
        sweep = hard if method == "hard" else compiled(method)
        results.curves[method] = sweep(problem.x, 1)
        yield results


def main(args: Args) -> None:
    """Sweep the input by every method and write what came out."""
    if args.quick:
        args = replace(args, points=min(args.points, 9), refine=min(args.refine, 4))
    with jax.enable_x64(True), _run.progress() as bar:
        problem = make_problem(args)
        _run.open_folder(args.out)
        total = len(set(args.methods or (QUICK if args.quick else get_args(Method)))) + 1
        task = bar.add_task("sweeping", total=total, status="")

        def say(text: str) -> None:
            bar.update(task, status=text)
            bar.console.print(text)

        said: list[str] = []
        for results in compute(args, problem, say):
            before, said = len(said), write_results(args, problem, results)
            print("\n".join(said[before:]), end="\n" * (len(said) > before), flush=True)
            bar.update(task, advance=1)
        bar.update(task, status="")
    print(f"Written to {args.out}: metrics.json, gradients.csv, gradients.png")


if __name__ == "__main__":
    _run.launch(Args, main, __doc__)
