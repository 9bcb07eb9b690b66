"""Sweep one input of any MJCF model and compare the gradients that simulation gives of an outcome.

The outcome is the final position of a body (a weighted sum of its coordinates). Its derivative with
respect to the input is computed by each method (hard, soft, straight_through) and by central finite
differences of the hard simulation. A hard simulation with steps `refine` times finer is the
reference. Where gradients vanish, jump or disagree is said in words. All in float64.

Without --model, a ball rolls into another on a rail, and the speed of the first is swept.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

import softsim
from experiments import _run
from experiments._figures import COLORS, figure
from experiments._findings import Curve, findings
from experiments._sweep import Input, State, find_input, find_name, names_of
from softsim.convergence import stopped_short

Method = Literal["hard", "soft", "straight_through"]
MODEL = Path(__file__).parent / "models" / "billiard.xml"


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
    """start of the sweep; default: a little below the value in the model"""
    high: float | None = None
    """end of the sweep"""
    points: int = 61
    """values of the input"""
    body: str = ""
    """whose final position is the outcome; default: the last body"""
    weights: tuple[float, float, float] = (1.0, 0.0, 0.0)
    """weights of its x, y and z, in the world frame"""
    steps: int = 100
    """simulation steps"""
    keyframe: str = ""
    """initial state; default: the first keyframe, or the reference configuration without one"""
    ctrl: tuple[float, ...] = ()
    """controls, held; default: zero"""
    methods: tuple[Method, ...] = get_args(Method)
    """how to differentiate"""
    refine: int = 10
    """the reference takes this many steps for each step of the model"""
    softness: float = 0.05
    """width of the soft switches, relative to the shapes"""
    reach: float = 0.05
    """m, contact from a distance in the soft methods"""

    def __post_init__(self) -> None:
        if not self.methods:
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
    """A model, its initial state, the input that is swept and the body that is watched."""

    mj_model: mujoco.MjModel
    state: State
    input: Input
    body: int
    x: Float[np.ndarray, " points"]


def make_problem(args: Args) -> Problem:
    """Read the model and check every argument against it, before anything is written.

    Raises:
        ValueError: names the argument, its value, and what was expected.
    """
    mj_model = _run.load_model(args.model)
    m = softsim.put_model(mj_model)
    state = (m, softsim.put_data(mj_model, _initial(args, mj_model)), _controls(args, mj_model))
    if args.body:
        body = find_name(mj_model, "body", args.body, f"--body {args.body}")
    else:
        body = mj_model.nbody - 1
    if not mj_model.nv:
        raise ValueError(f"--model {args.model}: nothing in it can move")
    joints = names_of(mj_model, "jnt")
    if not args.input and not joints:
        raise ValueError("--input: the model names no joint; name another input")
    swept = find_input(mj_model, state, args.input or f"qvel:{joints[0]}")
    return Problem(mj_model, state, swept, body, _grid(args, swept))


def _initial(args: Args, mj_model: mujoco.MjModel) -> mujoco.MjData:
    data = mujoco.MjData(mj_model)
    if args.keyframe or mj_model.nkey:
        where = f"--keyframe {args.keyframe}"
        key = find_name(mj_model, "key", args.keyframe, where) if args.keyframe else 0
        mujoco.mj_resetDataKeyframe(mj_model, data, key)
    for name in ("qpos", "qvel", "act"):
        if not np.isfinite(getattr(data, name)).all():
            raise ValueError(f"keyframe {args.keyframe or '0'}: {name} is not finite")
    return data


def _controls(args: Args, mj_model: mujoco.MjModel) -> Float[Array, " nu"]:
    if args.ctrl and len(args.ctrl) != mj_model.nu:
        raise ValueError(f"--ctrl: got {len(args.ctrl)} values, the model has {mj_model.nu}")
    return jnp.asarray(args.ctrl or np.zeros(mj_model.nu), float)


def _grid(args: Args, swept: Input) -> Float[np.ndarray, " points"]:
    """Around the model's value: a state by 1 either way, a parameter by half of itself."""
    absolute = swept.name.startswith(("qpos:", "qvel:", "ctrl:")) or swept.value == 0
    around = 1.0 if absolute else 0.5 * abs(swept.value)
    low = swept.value - around if args.low is None else args.low
    high = swept.value + around if args.high is None else args.high
    if not low < high:
        raise ValueError(f"--low {low} --high {high}: expected low < high")
    return np.linspace(low, high, args.points)


def outcome(
    args: Args, problem: Problem, soft: softsim.Softening, refine: int = 1
) -> Callable[[Float[Array, ""]], Float[Array, ""]]:
    """The final weighted position of the body as a function of the input."""

    def run(x: Float[Array, ""]) -> Float[Array, ""]:
        m, d, ctrl = problem.input.insert(problem.state, x)
        m = m.tree_replace({"opt.timestep": m.opt.timestep / refine})
        controls = jnp.broadcast_to(ctrl, (args.steps * refine, ctrl.size))
        end, _ = softsim.rollout(m, d, controls, soft)
        return jnp.array(args.weights) @ mjx.kinematics(m, end).xpos[problem.body]

    return run


def softening(args: Args, method: Method) -> softsim.Softening:
    """The settings of a method."""
    match method:
        case "hard":
            return softsim.Softening.hard()
        case "soft":
            return softsim.Softening.soft(args.softness, args.reach)
        case "straight_through":
            return softsim.Softening.straight_through(args.softness, args.reach)


def sweep(f: Callable, x: Float[np.ndarray, " points"]) -> Curve:
    """Value and derivative at every point. One input: forward mode, one direction."""
    both = jax.jit(jax.vmap(lambda x: jax.jvp(f, (x,), (jnp.ones_like(x),))))
    loss, gradient = both(jnp.asarray(x))
    return Curve(np.asarray(loss), np.asarray(gradient))


def central_differences(
    f: Callable, x: Float[np.ndarray, " points"]
) -> Float[np.ndarray, " points"]:
    """Of the outcome as it is, jumps and all: the step is a millionth of the sweep."""
    step = 1e-6 * (x[-1] - x[0])
    values = np.asarray(jax.jit(jax.vmap(f))(jnp.concatenate([x - step, x + step])))
    low, high = np.split(values, 2)
    return (high - low) / (2 * step)


def fine_reference(f: Callable, x: Float[np.ndarray, " points"]) -> Curve:
    """Of the finely stepped outcome; differences span a spacing of the sweep, as chords do."""
    step = (x[1] - x[0]) / 2
    halfway = np.concatenate([x - step, x[-1:] + step])
    values = np.asarray(jax.jit(jax.vmap(f))(jnp.concatenate([x, halfway])))
    loss, between = np.split(values, [x.size])
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
    body = problem.mj_model.body(problem.body).name or f"body {problem.body}"
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
        above.set_ylabel(f"final {' + '.join(terms)} of {body} [m]")
        below.set_ylabel(f"derivative by {problem.input.name}")
        below.set_xlabel(problem.input.name)
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
    said = findings(problem.x, curves, differences, reference, results.causes)
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
    record |= {"input": problem.input.name, "median_difference": apart, "findings": said}
    _run.write_json(args.out / "metrics.json", record)
    draw(args, problem, results)
    return said


def compute(args: Args, problem: Problem) -> Iterator[Results]:
    """The differences and the reference, then method by method."""
    soft = softsim.Softening.hard()
    hard, fine = outcome(args, problem, soft), outcome(args, problem, soft, args.refine)
    m, d, ctrl = problem.state
    causes = stopped_short(m, d.replace(ctrl=ctrl), soft, args.steps)
    differences = central_differences(hard, problem.x)
    results = Results(differences, fine_reference(fine, problem.x), causes)
    yield results
    for method in dict.fromkeys(args.methods):
        run = outcome(args, problem, softening(args, method))
        results.curves[method] = sweep(run, problem.x)
        yield results


def main(args: Args) -> None:
    """Sweep the input by every method and write what came out."""
    with jax.enable_x64(True), _run.progress() as bar:
        problem = make_problem(args)
        _run.open_folder(args.out)
        task = bar.add_task("sweeping", total=len(set(args.methods)) + 1, status="")
        for results in compute(args, problem):
            said = write_results(args, problem, results)
            bar.update(task, advance=1)
    print("\n".join(said))
    print(f"Written to {args.out}: metrics.json, gradients.csv, gradients.png")


if __name__ == "__main__":
    _run.launch(Args, main, __doc__)
