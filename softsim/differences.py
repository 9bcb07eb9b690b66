"""What differences on both sides of a point say about a derivative: right, a kink, a jump, wrong.

Of a smooth function the slopes seen forwards and backwards differ by a multiple of the step, and
their mean, the central difference, is off by its square. At a kink the two slopes stay apart
however small the step, and at a jump one of them grows like its inverse. So two steps, one four
times the other, tell the cases apart, and with them a derivative that is one-sided from one that is
wrong. All of this above rounding: a difference over a step h is uncertain by the rounding of its
values divided by h.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

WIDER = 4  # the longer step, in shorter ones
# of the rounding unit: errors of values, in units of their size and of their slope by order one
ROUNDING = 32.0
# of the miss at the longer step: the error of central differences falls to 1/16, to 1/4 where the
# curvature jumps, as at a soft onset; that of a wrong derivative stays
CONVERGING = 0.35
SMOOTH, JUMP = 0.5, 2.0  # ratio of the gap at the shorter step to that at the longer: 1/4, 1, 4
KINK = 10.0  # tolerances by which the slopes on both sides may differ where their mean is right


class Samples(NamedTuple):
    """A function at a point and at steps along each of k inputs, n numbers each."""

    at: Float[np.ndarray, " n"]
    up: Float[np.ndarray, "k n"]
    down: Float[np.ndarray, "k n"]
    wide_up: Float[np.ndarray, "k n"]
    wide_down: Float[np.ndarray, "k n"]

    def select(self, inputs: slice, outputs: Bool[np.ndarray, " n"]) -> "Samples":
        """Only some of the inputs and numbers."""
        return Samples(self.at[outputs], *(x[inputs][:, outputs] for x in self[1:]))


class Judgement(NamedTuple):
    """Of every entry (n, k) of a derivative: how far it is off, and which of three ways."""

    miss: Float[np.ndarray, "n k"]  # |derivative - central difference|, 0 where that still falls
    scale: float  # the largest entry of the differences
    zero: bool  # differences and derivative are nothing but rounding
    off: Bool[np.ndarray, "n k"]
    jump: Bool[np.ndarray, "n k"]
    kink: Bool[np.ndarray, "n k"]
    bent: Bool[np.ndarray, "n k"]  # the slopes on both sides differ, wherever the derivative is


def steps(k: int, h: float, dtype: np.dtype) -> Float[np.ndarray, "p k"]:
    """Displacements at which a function is needed: none, then those of `Samples` in its order."""
    eye = h * np.eye(k)
    return np.concatenate(
        [np.zeros((1, k)), eye, -eye, WIDER * eye, -WIDER * eye], dtype=dtype, casting="same_kind"
    )


def samples(values: Float[np.ndarray, "p n"]) -> Samples:
    """The values at `steps`, in order."""
    return Samples(values[0], *np.split(values[1:], 4))


def judge(
    derivative: Float[np.ndarray, "n k"], seen: Samples, h: float, steepest: float, tolerance: float
) -> Judgement:
    """Compare a derivative with the differences over steps of `h` and of `WIDER` times that.

    Args:
        derivative: all finite, as `seen`.
        steepest: largest derivative by any input: rounding of an input of order one shows in the
            values as much as a change of it.
        tolerance: relative to the largest difference.
    """
    at = seen.at
    forward, backward = (seen.up - at).T / h, (at - seen.down).T / h
    wide_forward = (seen.wide_up - at).T / (WIDER * h)
    wide_backward = (at - seen.wide_down).T / (WIDER * h)
    central, wide = (forward + backward) / 2, (wide_forward + wide_backward) / 2
    gap, wide_gap = np.abs(forward - backward), np.abs(wide_forward - wide_backward)

    size = max(np.max(np.abs(at), initial=0.0), steepest)
    rounding = ROUNDING * float(np.finfo(at.dtype).eps) * size / h
    scale = float(np.max(np.abs(central), initial=0.0))
    allowed = tolerance * scale + rounding
    miss, wide_miss = np.abs(derivative - central), np.abs(derivative - wide)
    converging = miss < CONVERGING * wide_miss
    bad = (miss > allowed) & ~converging

    two_sided = (gap > KINK * tolerance * scale + 4 * rounding) | (bad & (gap > 4 * rounding))
    jump = two_sided & (gap > JUMP * wide_gap)
    bent = two_sided & ~jump & (gap > SMOOTH * wide_gap)
    # one-sided differences are off by a multiple of their step, which the longer one shows
    slack = allowed + np.abs(forward - wide_forward) + np.abs(backward - wide_backward)
    low, high = np.minimum(forward, backward) - slack, np.maximum(forward, backward) + slack
    kink = bent & (low <= derivative) & (derivative <= high)
    zero = not derivative.any() and scale <= rounding
    off = bad & ~jump & ~kink
    return Judgement(np.where(converging, 0.0, miss), scale, zero, off, jump, kink, bent)
