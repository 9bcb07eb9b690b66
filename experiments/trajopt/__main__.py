"""Throw a cube, or another body, so that it rests at a target on the table, after bouncing.

Six numbers are chosen, the velocity and the spin at release. Levenberg-Marquardt solves for them as
a nonlinear least-squares problem, with the derivative of the whole throw through every bounce: once
as automatic differentiation of the steps gives it ("hard"), once event-aware ("saltation"), which
also sees that a bounce comes earlier or later. The cross-entropy method (CEM) uses no derivative.
All start from the same random throws and get the same budget of simulated throws.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import optimistix
from jaxtyping import Array, Float, PRNGKeyArray
from mujoco import mjx

import softsim
from experiments import cli
from experiments.trajopt.figures import animate_throws, draw_losses, draw_throws
from experiments.trajopt.solids import surface

Method = Literal["hard", "saltation", "straight_through", "cem"]
Body = Literal["cube", "box", "cylinder", "capsule", "ellipsoid"]
MODEL = Path(__file__).parents[1] / "models" / "cube.xml"
SIDE = 0.1048  # m
# MuJoCo's sizes (m): half sides; radius and half length; half axes. They are also the heights at
# which a body lies on one of its sides. All weigh what the cube weighs.
BODIES: dict[str, tuple[float, ...]] = {
    "cube": (SIDE / 2, SIDE / 2, SIDE / 2),
    "box": (0.07, 0.05, 0.035),
    "cylinder": (0.05, 0.035),
    "capsule": (0.04, 0.04),
    "ellipsoid": (0.07, 0.055, 0.04),
}
# Derivatives by six inputs together take 2.7 times as long as the throw alone (20 throws at once,
# two cores); with the throw itself they are charged as four.
GRADIENT_COST = 4
ELITE = 0.25  # share of a CEM population that forms the next one
PATIENCE = 4  # steps
HIT = 0.01  # m: a throw that rests closer than this to the target is a hit


@dataclass(frozen=True)
class Args:
    """Settings of the experiment."""

    out: Path = Path("runs/trajopt")
    """folder for metrics.json, CSV and figures"""
    body: Body = "cube"
    """what is thrown: a cube, a box of unequal sides, a flat cylinder, a capsule or an ellipsoid"""
    methods: tuple[Method, ...] = ("hard", "saltation", "cem")
    """hard, saltation, straight_through: Levenberg-Marquardt with one of three derivatives; cem:
    the cross-entropy method, which needs none"""
    starts: int = 20
    """how many random throws every method starts from"""
    iterations: int = 27
    """how many steps Levenberg-Marquardt takes; CEM gets as many simulated throws"""
    population: int = 16
    """how many throws CEM tries per generation"""
    target: tuple[float, float] = (0.7, 0.25)
    """where the body should rest, in m; it is released above (0, 0)"""
    height: float = 0.25
    """how high the centre of the body is at release, in m"""
    horizon: float = 1.0
    """how long a throw is simulated, in s"""
    softness: float = 0.1
    """how wide straight_through makes the switches between points of the body, relative to its
    size"""
    reach: float = 0.005
    """from which distance straight_through feels a contact, in m"""
    seed: int = 0
    """random seed of the starts and of CEM"""
    quick: bool = False
    """whether to make few short throws and few steps, to see that everything works"""

    def __post_init__(self) -> None:
        if not self.methods:
            raise ValueError(f"--methods: got none, expected some of {', '.join(get_args(Method))}")
        for name in ("starts", "iterations", "horizon", "softness"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected more than 0")
        if self.population < 4:
            raise ValueError(f"--population: got {self.population}, expected at least 4")
        if not self.height > SIDE:
            raise ValueError(f"--height: got {self.height}, expected more than a side, {SIDE} m")
        if not np.isfinite(self.target).all():
            raise ValueError(f"--target: got {self.target}, expected two finite lengths in m")


class Throw(eqx.Module):
    """A body ready for release, and where it should go."""

    model: mjx.Model
    data: mjx.Data
    target: Float[Array, "2"]
    heights: Float[Array, " h"]
    steps: int = eqx.field(static=True)

    def release(self, x: Float[Array, "6"]) -> Float[Array, "6"]:
        """Velocity (m/s, world frame) and spin (rad/s, body frame) of a throw `x`; x is normal."""
        mean = jnp.array([0.8, 0.0, 0.3, 0.0, 0.0, 0.0])
        spread = jnp.array([0.4, 0.4, 0.4, 6.0, 6.0, 6.0])
        return mean + spread * x

    def fly(self, x: Float[Array, "6"], soft: softsim.Softening):
        """The trajectory of a throw."""
        ctrl = jnp.zeros((self.steps, self.model.nu))
        return softsim.rollout(self.model, self.data.replace(qvel=self.release(x)), ctrl, soft)[1]

    def residuals(self, x: Float[Array, "6"], soft: softsim.Softening) -> Float[Array, "9"]:
        """The miss, and what motion is left in a tenth of a second, in cube sides.

        A body may lie on any side: it should be as high as it would be on the nearest.
        """
        end = self.fly(x, soft)
        place, height = end.qpos[-1, :2], end.qpos[-1, 2]
        lying = self.heights[jnp.argmin(jnp.abs(self.heights - height))]
        miss = jnp.append(place - self.target, height - lying)
        drift = 0.1 * end.qvel[-1, :3], 0.1 * SIDE * end.qvel[-1, 3:]
        return jnp.concatenate([miss, *drift]) / SIDE

    def score(self, residuals: Float[Array, "9"]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """The loss, and the distance (m) between the body's centre and where it should rest."""
        miss = jnp.sqrt(jnp.sum(jnp.square(residuals[:3])))
        return jnp.sum(jnp.square(residuals)), SIDE * miss


class Step(NamedTuple):
    """One step of a search from every start at once."""

    x: Float[Array, "starts 6"]
    loss: Float[Array, " starts"]
    miss: Float[Array, " starts"]
    cost: int  # simulated throws per start


@dataclass
class Result:
    """What one method found, so far."""

    method: str
    steps: list[Step] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def stack(self, name: str) -> np.ndarray:
        """One field of every step, stacked: (steps, starts, ...)."""
        return np.stack([np.asarray(getattr(step, name)) for step in self.steps])

    def throws(self) -> np.ndarray:
        """Simulated throws per start after each step: (steps,)."""
        return np.cumsum([step.cost for step in self.steps])

    def best(self) -> np.ndarray:
        """For every start, the step with the lowest loss: (starts,)."""
        return np.argmin(self.stack("loss"), axis=0)


def make_model(body: str) -> mujoco.MjModel:
    """The model of the cube, or of another body in its place, of the same mass and friction."""
    if body == "cube":
        return mujoco.MjModel.from_xml_path(str(MODEL))
    spec = mujoco.MjSpec.from_file(str(MODEL))
    cube, geom = spec.body("cube"), spec.geom("cube")
    cube.explicitinertial = False
    geom.mass = cube.mass
    geom.type = getattr(mujoco.mjtGeom, f"mjGEOM_{body.upper()}")
    geom.size[: len(BODIES[body])] = BODIES[body]
    return spec.compile()


def make_throw(args: Args) -> Throw:
    """The body, level and at rest above the table."""
    mj_model = make_model(args.body)
    # every corner that touches, as in MuJoCo C: MJX drops some, and the cube turns otherwise
    model = softsim.put_model(mj_model, follow="mujoco")
    pose = jnp.array([0.0, 0.0, args.height, 1.0, 0.0, 0.0, 0.0])
    data = softsim.make_data(model).replace(qpos=pose)
    steps = max(2, round(args.horizon / mj_model.opt.timestep))
    return Throw(model, data, jnp.array(args.target), jnp.array(BODIES[args.body]), steps)


def levenberg_marquardt(
    throw: Throw, soft: softsim.Softening, key: PRNGKeyArray, x: Float[Array, "starts 6"]
) -> Iterator[Step]:
    """Levenberg-Marquardt from every start at once, without end; a step is the throw it is at.

    A search that has missed, and has not halved its loss in `PATIENCE` steps, begins anew at a
    random throw, within the same budget.
    """
    solver: Any = optimistix.LevenbergMarquardt(rtol=1e-6, atol=1e-6)
    function = lambda x, _: (_with_jacobian(lambda x: throw.residuals(x, soft), x), None)
    options = {"jac": "fwd"}  # six inputs, nine residuals
    shape = jax.ShapeDtypeStruct((9,), x.dtype)
    begin = lambda x: solver.init(function, x, None, options, shape, None, frozenset())
    state, fixed = eqx.partition(eqx.filter_vmap(begin)(x), eqx.is_array)

    @jax.jit
    @jax.vmap
    def update(x, state):
        state = eqx.combine(state, fixed)
        x, state, _ = solver.step(function, x, None, options, state, frozenset())
        return x, eqx.filter(state, eqx.is_array), *throw.score(state.f_info.residual)

    @jax.jit
    def anew(key, stuck, x, state):
        fresh = jax.random.normal(key, x.shape)
        fresh = fresh, eqx.filter(eqx.filter_vmap(begin)(fresh), eqx.is_array)
        choose = lambda a, b: jax.vmap(jnp.where)(stuck, a, b)
        return jax.tree.map(choose, fresh, (x, state))

    mark = np.full(len(x), np.inf)
    for count in itertools.count(1):
        x, state, loss, miss = update(x, state)
        yield Step(x, loss, miss, GRADIENT_COST)
        if count % PATIENCE == 0:
            stuck = (np.asarray(miss) > HIT) & (np.asarray(loss) > mark / 2)
            mark = np.where(stuck, np.inf, loss)
            key, now = jax.random.split(key)
            x, state = anew(now, stuck, x, state)


def _with_jacobian(function: Callable, x: Float[Array, " n"]) -> Float[Array, " r"]:
    """`function(x)`; a derivative is taken of all inputs side by side, once, as a matrix."""

    @jax.custom_jvp
    def value(x):
        return function(x)

    @value.defjvp
    def tangent(primals, tangents):
        twice = lambda x: (function(x),) * 2
        jacobian, residuals = jax.jacfwd(twice, has_aux=True)(*primals)
        return residuals, jacobian @ tangents[0]

    return value(x)


def cross_entropy(
    throw: Throw, args: Args, key: PRNGKeyArray, x: Float[Array, "starts 6"]
) -> Iterator[Step]:
    """CEM around every start at once, without end; a step is the best throw of a generation."""
    elite = round(ELITE * args.population)

    @jax.jit
    @jax.vmap
    def generation(key, mean, spread):
        sample = mean + spread * jax.random.normal(key, (args.population, mean.size))
        sample = sample.at[0].set(mean)
        fall = lambda s: throw.score(throw.residuals(s, softsim.Softening.hard()))
        loss, miss = jax.vmap(fall)(sample)
        order = jnp.argsort(loss)
        best = sample[order[:elite]]
        return best.mean(0), best.std(0) + 0.01, best[0], loss[order[0]], miss[order[0]]

    spread = jnp.ones_like(x)
    while True:
        key, now = jax.random.split(key)
        x, spread, *best = generation(jax.random.split(now, len(x)), x, spread)
        yield Step(*best, cost=args.population)


def search(throw: Throw, args: Args, method: str, x: Float[Array, "starts 6"]) -> Iterator[Step]:
    """The steps of one method, without end."""
    if method == "cem":
        return cross_entropy(throw, args, jax.random.key(args.seed + 1), x)
    collision = softsim.Softening.soft(args.softness).collision
    softening = {
        "hard": softsim.Softening.hard(),
        "saltation": softsim.Softening.saltation(),
        "straight_through": replace(
            softsim.Softening.straight_through(reach=args.reach), collision=collision
        ),
    }
    return levenberg_marquardt(throw, softening[method], jax.random.key(args.seed + 1), x)


def run_method(args: Args, result: Result, steps: Iterator[Step], bar: cli.Progress) -> None:
    """Take steps until the budget is spent, keeping each in `result`."""
    budget = args.iterations * GRADIENT_COST
    task = bar.add_task(result.method, total=budget, status="compiling")
    spent, begin = 0, time.perf_counter()
    for step in steps:
        spent += step.cost
        now = time.perf_counter()
        result.seconds.append(now - begin)
        begin = now
        result.steps.append(step)
        bar.update(task, completed=spent, status=f"median loss {np.median(step.loss):.3g}")
        if spent + step.cost > budget:
            break


def summary(result: Result) -> dict[str, float]:
    """The numbers of one method, over its starts."""
    starts = np.arange(result.stack("loss").shape[1])
    loss, miss = (result.stack(name)[result.best(), starts] for name in ("loss", "miss"))
    return {
        "steps": len(result.steps),
        "throws_per_start": int(result.throws()[-1]),
        "loss_median": float(np.median(loss)),
        "loss_quartiles": np.quantile(loss, [0.25, 0.75]),
        "miss_mm_median": 1e3 * float(np.median(miss)),
        "miss_mm_best": 1e3 * float(miss.min()),
        "hits": float(np.mean(miss < HIT)),
        "first_step_seconds": result.seconds[0],
        "seconds_per_step": float(np.median(result.seconds[1:] or result.seconds)),
    }


def write_results(args: Args, throw: Throw, results: list[Result]) -> None:
    """metrics.json, losses.csv, throws.csv and the figure of losses, for what was found so far."""
    results = [result for result in results if result.steps]
    if not results:
        return
    metrics = {result.method: summary(result) for result in results}
    cli.write_json(args.out / "metrics.json", {**cli.provenance(args), "methods": metrics})
    rows = [
        (r.method, i, r.throws()[i], start, step.loss[start], step.miss[start])
        for r in results
        for i, step in enumerate(r.steps)
        for start in range(len(step.loss))
    ]
    names = ("method", "step", "throws", "start", "loss", "miss_m")
    cli.write_csv(args.out / "losses.csv", dict(zip(names, zip(*rows))))
    best = [
        (r.method, start, *np.asarray(throw.release(r.steps[step].x[start])).tolist())
        for r in results
        for start, step in enumerate(r.best())
    ]
    numbers = ("method", "start", "vx", "vy", "vz", "wx", "wy", "wz")
    cli.write_csv(args.out / "throws.csv", dict(zip(numbers, zip(*best))))
    draw_losses(args.out / "losses.png", {r.method: (r.throws(), r.stack("loss")) for r in results})


def picture(args: Args, throw: Throw, results: list[Result]) -> None:
    """The throw from the first start before, and after by each method, as a strip and moving."""
    fly = jax.jit(jax.vmap(lambda x: throw.fly(x, softsim.Softening.hard()).qpos))
    x = [results[0].steps[0].x[0]] + [r.steps[r.best()[0]].x[0] for r in results]
    poses = np.asarray(fly(jnp.stack(x)))
    titles = ["before", *(f"after: {r.method}" for r in results)]
    target = np.asarray(throw.target)
    faces = surface(args.body, BODIES[args.body])
    draw_throws(args.out / "throws.png", titles, poses, target, faces)
    dt = float(throw.model.opt.timestep)
    animate_throws(args.out / "throws.gif", titles, poses, dt, target, faces)


def print_results(results: list[Result]) -> None:
    """The table at the end."""
    rows = []
    for result in results:
        s = summary(result)
        rows.append(
            {
                "method": result.method,
                "loss, median": f"{s['loss_median']:.2g}",
                "miss, median": f"{s['miss_mm_median']:.1f} mm",
                "hits": f"{s['hits']:.0%}",
                "throws": f"{s['throws_per_start']}",
                "per step": f"{s['seconds_per_step']:.2f} s",
                "first step": f"{s['first_step_seconds']:.0f} s",
            }
        )
    cli.print_table("Best throw of each start (a hit rests within 10 mm of the target)", rows)


def main(args: Args) -> None:
    """Run every method from the same starts and write what they found."""
    if args.quick:
        args = replace(args, starts=2, iterations=4, population=4, horizon=0.1)
    cli.open_folder(args.out)
    throw = make_throw(args)
    starts = jax.random.normal(jax.random.key(args.seed), (args.starts, 6))
    results: list[Result] = []
    try:
        with cli.progress() as bar:
            for method in dict.fromkeys(args.methods):
                results.append(Result(method))
                run_method(args, results[-1], search(throw, args, method, starts), bar)
    finally:
        write_results(args, throw, results)
    picture(args, throw, results)
    print_results(results)
    print(f"Written to {args.out}: metrics.json, losses.csv, throws.csv, losses.png, throws.png,")
    print("throws.gif")


if __name__ == "__main__":
    cli.launch(Args, main, __doc__)
