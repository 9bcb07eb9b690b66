"""What the searches found: numbers, files and pictures."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

import softsim
from experiments import cli
from experiments.trajopt.figures import animate_throws, draw_losses, draw_throws
from experiments.trajopt.search import Step
from experiments.trajopt.settings import BODIES, HIT, Args
from experiments.trajopt.solids import surface
from experiments.trajopt.throw import Throw


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
