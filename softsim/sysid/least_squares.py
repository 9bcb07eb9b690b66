"""Nonlinear least squares in the shape of an arrow.

For parameters u (P,) and, if the initial states are estimated too, their offsets z (w, K), the cost

    1/2 sum_w ( sum_k rho(|r_wk(u, z_w)|^2 / v_wk) + |z_w|^2 ) + 1/2 s^2 |prior(u)|^2

is minimised, with the errors r and offsets z of `problem`. rho is Cauchy's, c^2 log(1 + s / c^2):
quadratic up to about c = `robust` standard deviations per coordinate, then a matter of ratios, so
that what follows after a toss has tipped over the other way hardly counts.

v_wk = 1 + spread^2 |dr_wk/du|^2 / nv is the variance that parameters which differ by `spread` from
recording to recording would add. Without it the few chaotic samples with enormous derivatives
dictate every step, and determine parameters to absurd precision. It is held fixed within a step.

s is the level of the noise as a multiple of the assumed one. It is not known before, and the prior
must be weighed against the noise there is: data with a hundredth of the assumed noise tell ten
thousand times as much. The fit first converges with s = 1; then s^2 is estimated at the beginning
of every further step (`prior_variance`). What the prior itself adds to the misfit does not keep s
up: along a direction with information h, a prior of weight s^2 leaves squares of
s^4 h / (h + s^2)^2 u^2, at most s^2 u^2 / 4, to be shared by all residuals, so that without noise
s^2 shrinks from step to step, in the end quadratically, and the prior only decides what the data
leave open.

This is the one Levenberg-Marquardt that is written out here instead of taken from a library.
Windows meet in u alone: eliminating the z_w of every window leaves P equations in u (multiple
shooting: Bock, 1983), at a cost linear in the number of windows, where a general solver builds the
dense Jacobian; v and s change from step to step; and a pass over the windows runs on several
threads, outside of any one compiled loop.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float

from softsim.sysid.arrow import Blocks, Reduced, prior_variance, reduce
from softsim.sysid.evaluator import Evaluator
from softsim.sysid.parameters import Table
from softsim.sysid.problem import Problem
from softsim.sysid.tracks import Windows

ROUGHLY = 0.02  # steps of 2 %: the misfit is that of a fit, and tells the noise
TOLERANCE = 1e-3  # steps of 0.1 %: the fit has converged


def total(problem: Problem, blocks: Blocks, variance: Float[np.ndarray, "w W"]) -> float:
    """The cost without the prior on u; infinite if the simulation was not finite."""
    bound = problem.noise.size * float(problem.robust) ** 2
    rho = bound * np.log1p(blocks.samples / variance / bound)
    cost = 0.5 * float(np.sum(rho) + np.sum(blocks.offset))
    return cost if np.isfinite(cost) else np.inf


@dataclass
class Point:
    """Where a minimisation is."""

    u: Float[np.ndarray, " P"]
    z: Float[np.ndarray, "w K"]
    blocks: Blocks
    cost: float
    noise: float  # s^2, against which the prior is weighed
    evaluations: int  # passes over the windows, each giving errors and Jacobian at once
    settled: bool = False  # steps are below ROUGHLY
    done: bool = False
    stalled: bool = False  # done because no step, however short, lowers the cost


def levenberg_marquardt(
    problem: Problem,
    windows: Windows,
    evaluate: Evaluator,
    start: tuple[np.ndarray, np.ndarray] | None = None,
) -> Iterator[Point]:
    """Points, `start`, a pair of u and z (or 0), first; done when steps get below TOLERANCE.

    Every step lowers the cost for the variances, of the samples and of the noise, at its beginning.
    Steps are in natural units of the coordinates: 1e-3 is 0.1 % of a positive parameter.
    """
    prior, slope = _prior_functions(problem.table)
    known = False  # whether the noise is estimated: not before the misfit is one of a fit
    zeros = np.zeros(problem.table.size), np.zeros((len(windows.mask), problem.state_noise.size))
    u, z = zeros if start is None else start
    blocks = evaluate(u, z, windows)
    evaluations, damping = 1, 1e-3
    if not np.isfinite(total(problem, blocks, blocks.variance)):
        raise ValueError(
            "mj_model: as given it does not predict finite motion from the recorded states; check "
            "it and the recordings"
        )
    prior_cost = lambda u: 0.5 * float(prior(u) @ prior(u))
    done = stalled = False
    while True:
        variance = blocks.variance
        noise = prior_variance(blocks, windows.recording) if known else 1.0
        cost = total(problem, blocks, variance) + noise * prior_cost(u)
        yield Point(u, z, blocks, cost, noise, evaluations, known, done, stalled)
        if done:
            return
        accepted, small, ordinary, rise = False, False, damping, 8.0
        while not accepted and not small:
            scale = np.sqrt(noise)
            du, dz, expected = _step(
                reduce(blocks, damping), scale * slope(u), scale * prior(u), damping
            )
            tried = evaluate(u + du, z + dz, windows)
            evaluations += 1
            gain = cost - total(problem, tried, variance) - noise * prior_cost(u + du)
            accepted = gain > 0
            small = float(np.max(np.abs(du))) < (TOLERANCE if known else ROUGHLY)
            good = gain > 0.5 * expected
            damping = max(1e-9, damping / 8.0) if good else damping if accepted else damping * rise
            rise *= 4.0  # ever faster, as after Nielsen (1999): each try costs a pass over the data
        done, known = small and known, small or known
        stalled = done and not accepted and damping > ordinary
        if accepted:
            u, z, blocks = u + du, z + dz, tried
        elif not done:
            damping = ordinary  # a step that the weaker prior allows has not been tried yet


def solve(
    problem: Problem,
    windows: Windows,
    evaluate: Evaluator,
    stages: Sequence[float] = (1.0,),
    iterations: int = 30,
) -> Iterator[Point]:
    """Points of Levenberg-Marquardt, at most `iterations` steps in all.

    Args:
        stages: shares of the windows' samples that count, one after the other; all but the last are
            left as soon as steps get below ROUGHLY.
    """
    start, spent, count = None, 0, 0
    for share in stages:
        within = np.arange(windows.mask.shape[1]) < np.ceil(share * windows.mask.shape[1])
        some = windows._replace(mask=windows.mask & within)
        for point in levenberg_marquardt(problem, some, evaluate, start):
            point.evaluations += spent
            count += 1
            yield point
            if count > iterations or (point.settled and share is not stages[-1]):
                break
        start, spent = (point.u, point.z), point.evaluations


def _step(
    reduced: Reduced, slope: np.ndarray, prior: np.ndarray, damping: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Changes of u and z, and the decrease of the cost they promise."""
    H, g = reduced.H + slope.T @ slope, reduced.g + slope.T @ prior
    du = -np.linalg.solve(H + damping * np.diag(np.diag(H) + 1e-12), g)
    dz = -(reduced.back_g + reduced.back_u @ du)
    return du, dz, -float(g @ du + 0.5 * du @ H @ du)


def _prior_functions(table: Table):
    """Residuals of the prior and their Jacobian, in numpy."""
    value, jacobian = jax.jit(table.prior), jax.jit(jax.jacfwd(table.prior))
    return lambda u: np.asarray(value(u)), lambda u: np.asarray(jacobian(u))
