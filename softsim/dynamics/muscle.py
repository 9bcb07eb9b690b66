"""Muscles: activation dynamics and the force-length-velocity surface, elementwise.

Reference: MuJoCo documentation, "Modeling", section "Muscle actuators"; activation after Millard,
Uchida, Seth and Delp, "Flexing computational muscle", 2013. All arguments are arrays over muscles,
`prm` is (n, 10). Lengths are those of the transmission, L and V below are in units of the optimal
length and of the maximal velocity.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from softsim.numerics import clamp

PerMuscle = Float[Array, " n"]
Prm = Float[Array, "n 10"]

TINY = 1e-15
"""MuJoCo's mjMINVAL: the smallest number that something is divided by."""


def activation_rate(ctrl: PerMuscle, act: PerMuscle, dynprm: Prm) -> PerMuscle:
    """1/s; rate of the activation towards `ctrl`, faster up than down.

    At ctrl = act, where a muscle rests, the derivative is that of a falling activation.
    """
    excess = clamp(ctrl, 0.0, 1.0) - act
    tau_up = dynprm[:, 0] * (0.5 + 1.5 * clamp(act, 0.0, 1.0))
    tau_down = dynprm[:, 1] / (0.5 + 1.5 * clamp(act, 0.0, 1.0))
    width = dynprm[:, 2]
    smooth = width >= TINY
    x = jnp.clip(excess / jnp.where(smooth, width, 1.0) + 0.5, 0.0, 1.0)
    rising = jnp.where(smooth, x**3 * (3 * x * (2 * x - 5) + 10), excess > 0)
    return excess / jnp.maximum(TINY, tau_down + (tau_up - tau_down) * rising)


def gain(
    length: PerMuscle, velocity: PerMuscle, span: Float[Array, "n 2"], acc0: PerMuscle, prm: Prm
) -> PerMuscle:
    """N (negative: muscles pull); force of a fully active muscle."""
    L, optimal = _normalized_length(length, span, prm)
    lmin, lmax, vmax, fvmax = prm[:, 4], prm[:, 5], prm[:, 6], prm[:, 8]
    V = velocity / jnp.maximum(TINY, optimal * vmax)
    rise = (L - lmin) / jnp.maximum(TINY, 1 - lmin)
    fall = (lmax - L) / jnp.maximum(TINY, lmax - 1)
    x = jnp.maximum(jnp.where(L <= 1, rise, fall), 0.0)
    at_length = jnp.where(x <= 0.5, 2 * x**2, 1 - 2 * (1 - x) ** 2)
    y = fvmax - 1
    shortening = jnp.square(jnp.maximum(V + 1, 0.0))
    lengthening = fvmax - jnp.square(jnp.maximum(y - V, 0.0)) / jnp.maximum(TINY, y)
    return -_peak_force(acc0, prm) * at_length * jnp.where(V <= 0, shortening, lengthening)


def passive_force(
    length: PerMuscle, span: Float[Array, "n 2"], acc0: PerMuscle, prm: Prm
) -> PerMuscle:
    """N (negative); force of a stretched muscle at rest: quadratic, then linear, in its length."""
    L, _ = _normalized_length(length, span, prm)
    x = jnp.maximum((L - 1) / jnp.maximum(TINY, (prm[:, 5] - 1) / 2), 0.0)
    return -_peak_force(acc0, prm) * prm[:, 7] * jnp.where(x <= 1, x**2 / 2, x - 0.5)


def _peak_force(acc0: PerMuscle, prm: Prm) -> PerMuscle:
    """The force given, or, where it is negative, the one that accelerates as `scale` asks."""
    return jnp.where(prm[:, 2] < 0, prm[:, 3] / jnp.maximum(TINY, acc0), prm[:, 2])


def _normalized_length(
    length: PerMuscle, span: Float[Array, "n 2"], prm: Prm
) -> tuple[PerMuscle, PerMuscle]:
    """Length over optimal length, and the optimal length."""
    optimal = (span[:, 1] - span[:, 0]) / jnp.maximum(TINY, prm[:, 1] - prm[:, 0])
    return prm[:, 0] + (length - span[:, 0]) / jnp.maximum(TINY, optimal), optimal
