"""How sure a fit is: intervals, and which parameters the data cannot tell apart."""

from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float
from scipy import stats

from softsim.sysid.arrow import ROUNDING, between, noise_variance, reduce
from softsim.sysid.least_squares import TOLERANCE, Point
from softsim.sysid.parameters import Table
from softsim.sysid.problem import Problem

WEAK = 0.3  # standard deviation in natural steps of a coordinate: about 30 %
ALIKE = 0.97  # correlation from which two parameters are hard to tell apart


@dataclass(frozen=True)
class Certainty:
    """The neighbourhood of a fit.

    Attributes:
        values: fitted values.
        low, high: 95 % interval of each value, from the wider of two covariances: that of white
            noise of the estimated level, and that of the spread of the recordings' gradients
            (sandwich), which holds if the model is not exactly right. None is narrower than the
            steps at which the fit stops.
        white, sandwich: standard deviations of the coordinates by either.
        noise: estimated level of the noise, as a multiple of the one assumed.
        correlation: of the coordinates.
        weak: sentences about what the data do not determine.
    """

    values: Float[np.ndarray, " P"]
    low: Float[np.ndarray, " P"]
    high: Float[np.ndarray, " P"]
    white: Float[np.ndarray, " P"]
    sandwich: Float[np.ndarray, " P"]
    noise: float
    correlation: Float[np.ndarray, "P P"]
    weak: list[str]


def certainty(problem: Problem, point: Point, recording: np.ndarray) -> Certainty:
    """Intervals at a minimum.

    Args:
        recording: which recording each window was cut from.
    """
    table = problem.table
    reduced = reduce(point.blocks, 0.0)
    slope = np.asarray(jax.jacfwd(table.prior)(point.u))
    noise2 = noise_variance(point.blocks, point.u.size)
    information = reduced.H / noise2
    # with the prior, so that what the data ignore gets the prior's width instead of an error
    covariance = np.linalg.inv(information + slope.T @ slope)
    n = len(np.unique(recording))
    spare = max(n - point.u.size, 1)
    scatter = between(reduced.scores / noise2, recording)
    spread = covariance @ (n / spare * scatter) @ covariance
    white, sandwich = np.sqrt(np.diag(covariance)), np.sqrt(np.diag(spread))
    # few recordings estimate the spread badly; Student's quantile allows for that
    half = np.maximum(stats.norm.ppf(0.975) * white, stats.t.ppf(0.975, spare) * sandwich)
    half = np.maximum(half, TOLERANCE)  # the fit stops at steps of that size
    values = np.asarray(table.values(point.u))
    low, high = _interval(table, point.u, half)
    correlation = covariance / np.outer(white, white)
    weak = unidentified(table, information, correlation)
    weak += [
        f"recordings disagree about {label}: together they determine it only to about "
        f"{100 * deviation:.0f} %."
        for label, deviation in zip(table.labels, sandwich)
        if deviation > WEAK
    ]
    return Certainty(values, low, high, white, sandwich, float(np.sqrt(noise2)), correlation, weak)


def _interval(table: Table, u: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the intervals: every coordinate acts on its own value, and increases with it."""
    ends = [np.asarray(table.values(u + sign * half)) for sign in (-1, 1)]
    return np.minimum(*ends), np.maximum(*ends)


def unidentified(
    table: Table, information: Float[np.ndarray, "P P"], correlation: Float[np.ndarray, "P P"]
) -> list[str]:
    """Directions of the coordinates that the data leave open, in words."""
    strength, axes = np.linalg.eigh(information)
    labels, sentences, named = table.labels, [], set()
    for value, axis in zip(strength, axes.T):
        lost = value <= ROUNDING * strength.max()
        deviation = np.inf if lost else 1 / np.sqrt(value)
        if deviation < WEAK:
            continue
        part = np.flatnonzero(np.abs(axis) > 0.3 * np.abs(axis).max())
        named |= set(part)
        who = ", ".join(labels[i] for i in part)
        size = "not at all" if deviation > 1e3 else f"only to about {100 * deviation:.0f} %"
        if len(part) == 1:
            sentences.append(f"the data determine {who} {size}: its value is that of the prior.")
        else:
            mix = " ".join(f"{axis[i]:+.2f} {labels[i]}" for i in part)
            sentences.append(
                f"the data cannot tell {who} apart: the combination {mix} is determined {size}."
            )
    for i, j in np.argwhere(np.triu(np.abs(correlation), 1) > ALIKE):
        if not {i, j} <= named:
            sentences.append(
                f"{labels[i]} and {labels[j]} are hard to tell apart "
                f"(correlation {correlation[i, j]:+.3f})."
            )
    return sentences
