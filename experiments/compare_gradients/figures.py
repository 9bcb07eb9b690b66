"""The figure of a comparison of gradients."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from experiments.compare_gradients.findings import Curve
from experiments.compare_gradients.problem import Problem
from experiments.compare_gradients.settings import Args
from experiments.figures import COLORS, figure


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
