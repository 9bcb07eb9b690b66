"""Where gradients of a swept outcome vanish, jump or disagree, said in words."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

VANISHED = 1e-6  # of the typical slope
LARGE_JUMP = 0.2  # of the range of the gradient
STILL = 1e-10  # m: an outcome that moves less over the sweep moves by rounding alone
FAR = 0.05  # of the typical slope: gradients further apart than this disagree
UNMOVED = (
    "The outcome does not depend on the input in this range: watch another body (--body) or"
    " direction (--weights), sweep another --input, or simulate longer (--steps)."
)


@dataclass(frozen=True)
class Curve:
    """An outcome and its derivative at every value of the input."""

    loss: Float[np.ndarray, " points"]
    gradient: Float[np.ndarray, " points"]


def findings(
    x: Float[np.ndarray, " points"],
    curves: dict[str, Curve],
    differences: Float[np.ndarray, " points"],
    reference: Curve,
    unit: str = "",
    causes: tuple[str, ...] = (),
) -> list[str]:
    """One sentence per finding, method by method.

    Args:
        x: values of the input, ascending.
        curves: by method; "hard" or any other name.
        differences: central differences of the hard outcome.
        reference: the finely stepped outcome and its central differences.
        unit: of the input; the outcome is a length in m.
        causes: what is known to spoil all of them; said first.
    """
    slope = typical_slope(x, reference)
    sentences = list(causes)
    if np.ptp(reference.loss) < STILL and all(np.ptp(c.loss) < STILL for c in curves.values()):
        return [*sentences, UNMOVED]
    for name, curve in curves.items():
        sentences += [
            f"{name}: {text}" for text in _about(x, curve, differences, reference, slope, unit)
        ]
    return sentences


def _about(
    x: np.ndarray,
    curve: Curve,
    differences: np.ndarray,
    reference: Curve,
    slope: float,
    unit: str,
) -> list[str]:
    where = f" {unit}" if unit else ""
    bad = ~np.isfinite(curve.gradient)
    if bad.any():
        return [f"the gradient is not finite for {intervals(x, bad)}{where}."]
    if slope == 0:
        return ["the outcome of the finely stepped reference does not depend on the input here."]
    texts = []
    still = vanished(curve.gradient, slope)
    if still.any():
        texts.append(f"the gradient vanishes for {intervals(x, still)}{where}.")
    jumps = np.flatnonzero(jumped(curve.gradient))
    if jumps.size:
        size = np.abs(np.diff(curve.gradient))[jumps].max()
        per = f" m per {unit}" if unit else ""
        places = ", ".join(f"{(x[i] + x[i + 1]) / 2:.4g}" for i in jumps[:6])
        more = f" and {jumps.size - 6} more" if jumps.size > 6 else ""
        texts.append(f"the gradient jumps near {places}{where}{more} (by up to {size:.3g}{per}).")
    hard, fine = "finite differences of the hard outcome", "the finely stepped reference"
    texts.append(_distance(hard, x, curve, differences, slope, where))
    texts.append(_distance(fine, x, curve, reference.gradient, slope, where))
    return texts


def _distance(
    what: str, x: np.ndarray, curve: Curve, other: np.ndarray, slope: float, unit: str
) -> str:
    apart = np.abs(curve.gradient - other)
    share = np.median(apart) / slope
    far = apart > FAR * slope
    if not far.any():
        return (
            f"agrees with {what} everywhere (median difference {share:.1e} of the typical slope)."
        )
    wrong = curve.gradient * other < 0
    sign = f", with the wrong sign at {np.mean(wrong & far):.0%}" if (wrong & far).any() else ""
    return (
        f"disagrees with {what} at {np.mean(far):.0%} of the values{sign} "
        f"(median difference {share:.1e} of the typical slope; {intervals(x, far)}{unit})."
    )


def typical_slope(x: Float[np.ndarray, " points"], reference: Curve) -> float:
    """The scale of the gradient: the root mean square of the reference's slope over the sweep."""
    return float(np.sqrt(np.mean((np.diff(reference.loss) / np.diff(x)) ** 2)))


def vanished(gradient: Float[np.ndarray, " points"], slope: float) -> Bool[np.ndarray, " points"]:
    """Where the gradient is nothing beside the typical slope."""
    return np.abs(gradient) < VANISHED * slope


def jumped(gradient: Float[np.ndarray, " points"]) -> Bool[np.ndarray, " points-1"]:
    """Between which values the gradient changes by much, and by far more than on either side."""
    change = np.abs(np.diff(gradient))
    padded = np.pad(change, 1, constant_values=0.0)
    beside = np.minimum(padded[:-2], padded[2:])
    return (change > LARGE_JUMP * np.ptp(gradient)) & (change > 5 * beside)


def intervals(x: Float[np.ndarray, " points"], mask: Bool[np.ndarray, " points"]) -> str:
    """Where a mask holds, as ranges of the input: "0.1 to 0.4, 0.7"."""
    edges = np.flatnonzero(np.diff(np.pad(mask.astype(int), 1)))
    runs = [(x[a], x[b - 1]) for a, b in edges.reshape(-1, 2)]
    texts = [f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}" for low, high in runs]
    more = f" and {len(texts) - 4} more ranges" if len(texts) > 4 else ""
    return ", ".join(texts[:4]) + more
