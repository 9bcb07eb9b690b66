"""The two kernels behind every elementwise operator: a soft step and its antiderivative.

With v = x / width, a mode is a triple of functions of v: the step g (0 to 1), the odd step
2 g - 1 and the ramp G = integral of g. All satisfy g(-v) = 1 - g(v) and G(v) = v + G(-v).

| mode   | width        | g on (-1, 1)                        | smoothness of g |
|--------|--------------|-------------------------------------|-----------------|
| smooth | softness     | logistic (all of R)                 | analytic        |
| c0     | 5 softness   | linear                              | C0              |
| c1     | 5 softness   | cubic Hermite step                  | C1              |
| c2     | 5 softness   | quintic Hermite step                | C2              |

The factor 5 gives the compact steps about the width of the logistic one. The private modes
`_c1_pnorm` and `_c2_pnorm` are the projection of (0, v) on the simplex with the p-norm
regulariser, p = 3/2 and 4/3: what a soft argmax of two numbers gives.

A new mode is one row of `KERNELS`.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from softjax_ops._checks import PNORM_MODES, SOFT_MODES, as_float, check_mode, check_softness
from softjax_ops._types import SoftBool, SoftMode, Softness

Function = Callable[[Float[Array, "..."]], Float[Array, "..."]]


class Kernel(NamedTuple):
    """A soft step in units of its width.

    Attributes:
        width: of the transition, in units of the softness.
        end: the step is complete at |v| >= end.
        step: g(v), from 0 to 1, accurate in its lower and upper tail.
        odd: 2 g(v) - 1, accurate near v = 0.
        ramp: G(v), the antiderivative of g that is 0 at -end.
    """

    width: float
    end: float
    step: Function
    odd: Function
    ramp: Function


def _from_tail(tail: Function) -> Function:
    """The step whose lower half is `tail`, a function of t = (1 + v) / 2 in [0, 1/2]."""

    def step(v: Float[Array, "..."]) -> Float[Array, "..."]:
        lower = v < 0
        y = tail((1 + jnp.where(lower, v, -v)) / 2)
        return jnp.where(lower, y, 1 - y)

    return step


def _from_rise(ramp: Function) -> Function:
    """The ramp given as a function of t = (1 + v) / 2 in [0, 1]."""
    return lambda v: ramp((1 + v) / 2)


def _pair(v: Float[Array, "..."]) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """b, c with b - c = v and b^3 + c^3 = 1, without cancellation (Cardano's formula)."""
    h2 = v * v / 4
    root = jnp.cbrt(0.25 + jnp.sqrt(0.0625 + h2 * h2 * h2))
    mean = root - h2 / root
    return mean + v / 2, mean - v / 2


def _pnorm2_step(v: Float[Array, "..."]) -> Float[Array, "..."]:
    return _pair(v)[0] ** 3


def _pnorm2_odd(v: Float[Array, "..."]) -> Float[Array, "..."]:
    b, c = _pair(v)
    return v * (b * b + b * c + c * c)


def _pnorm2_ramp(v: Float[Array, "..."]) -> Float[Array, "..."]:
    b, c = _pair(v)
    return 0.75 + v * b**3 - 0.75 * (b**4 + c**4)


KERNELS: dict[str, Kernel] = {
    "smooth": Kernel(1.0, float("inf"), jax.nn.sigmoid, lambda v: jnp.tanh(v / 2), jax.nn.softplus),
    "c0": Kernel(5.0, 1.0, _from_tail(lambda t: t), lambda v: v, _from_rise(lambda t: t * t)),
    "c1": Kernel(
        width=5.0,
        end=1.0,
        step=_from_tail(lambda t: t * t * (3 - 2 * t)),
        odd=lambda v: v * (3 - v * v) / 2,
        ramp=_from_rise(lambda t: t**3 * (2 - t)),
    ),
    "c2": Kernel(
        width=5.0,
        end=1.0,
        step=_from_tail(lambda t: t**3 * (10 - t * (15 - 6 * t))),
        odd=lambda v: v * (15 - v * v * (10 - 3 * v * v)) / 8,
        ramp=_from_rise(lambda t: t**4 * (5 - t * (6 - 2 * t))),
    ),
    "_c1_pnorm": Kernel(
        width=5.0,
        end=1.0,
        step=lambda v: (v + jnp.sqrt(2 - v * v)) ** 2 / 4,
        odd=lambda v: v * jnp.sqrt(2 - v * v),
        ramp=lambda v: v / 2 - (2 - v * v) ** 1.5 / 6 + 2 / 3,
    ),
    "_c2_pnorm": Kernel(5.0, 1.0, _pnorm2_step, _pnorm2_odd, _pnorm2_ramp),
}


@jax.custom_jvp
def _ratio(
    x: Float[Array, "..."], width: Float[Array, "..."], end: Float[Array, ""]
) -> Float[Array, "..."]:
    """x / width clipped to [-end, end].

    The rule is linear in the tangents and exactly 0 where clipped, so that no infinity times zero
    arises far from the transition, nor from width^-2 in float16.
    """
    return jnp.clip(x / width, -end, end)


@_ratio.defjvp
def _ratio_jvp(primals, tangents):
    x, width, end = primals
    raw = x / width
    v = _ratio(x, width, end)
    outside = (raw < -end) | (raw >= end)  # half-open: two steps that touch leave no gap
    tangent = (tangents[0] - jnp.where(outside, 0, v) * tangents[1]) / width
    return v, jnp.where(outside, 0, tangent)


def _scaled(x: Float[Array, "..."], softness: Float[Array, "..."], kernel: Kernel):
    """v in [-end, end], the width of the transition, and end (finite in the dtype of x)."""
    limit = jnp.sqrt(jnp.finfo(x.dtype).max)
    end = jnp.minimum(kernel.end, limit).astype(x.dtype)
    width = softness * kernel.width
    return _ratio(x, width, end), width, end


def step(x: Float[Array, "..."], softness: Float[Array, "..."], mode: str) -> Float[Array, "..."]:
    """g(x / width), arguments already checked and of one dtype."""
    kernel = KERNELS[mode]
    return kernel.step(_scaled(x, softness, kernel)[0])


def odd_step(
    x: Float[Array, "..."], softness: Float[Array, "..."], mode: str
) -> Float[Array, "..."]:
    """2 g(x / width) - 1, arguments already checked and of one dtype."""
    kernel = KERNELS[mode]
    return kernel.odd(_scaled(x, softness, kernel)[0])


def ramp(
    x: Float[Array, "..."], softness: Float[Array, "..."], mode: str, gated: bool = False
) -> Float[Array, "..."]:
    """width G(x / width), or x g(x / width) if gated; arguments already checked."""
    kernel = KERNELS[mode]
    v, width, end = _scaled(x, softness, kernel)
    if gated:
        gate = kernel.step(v)
        return jnp.where(gate == 0, 0, x) * gate
    return jnp.where(v >= end, x, width * kernel.ramp(v))


def sigmoidal(x: ArrayLike, softness: Softness = 0.1, mode: SoftMode = "smooth") -> SoftBool:
    """Soft step from 0 to 1 at x = 0.

    Args:
        x: any shape; not a float: cast to the default float.
        softness: positive, broadcast against `x`. "smooth" is the logistic function of
            x / softness; the others are complete at |x| = 5 softness.
        mode: static; "smooth", "c0", "c1" or "c2". There is no hard kernel (see `heaviside`).

    Returns:
        The step, of the dtype of `x`, in [0, 1]; g(-x) = 1 - g(x).

    Raises:
        ValueError: a bad mode, or a concrete softness that is not positive.
    """
    check_mode(mode, SOFT_MODES + PNORM_MODES)
    x = as_float(x)
    return step(x, check_softness(softness, x.dtype), mode)


def softrelu(
    x: ArrayLike, softness: Softness = 0.1, mode: SoftMode = "smooth", gated: bool = False
) -> Float[Array, "..."]:
    """Soft positive part of x.

    Args:
        x: any shape; not a float: cast to the default float.
        softness: positive, broadcast against `x`.
        mode: static; "smooth", "c0", "c1" or "c2".
        gated: static; False: the antiderivative of `sigmoidal`, at least max(x, 0) and convex
            (softplus in "smooth"). True: x * sigmoidal(x), which is 0 at 0, negative just below
            and at most max(x, 0) (SiLU in "smooth").

    Returns:
        Same shape and dtype as `x`, in the unit of `x`.

    Raises:
        ValueError: a bad mode, or a concrete softness that is not positive.
    """
    check_mode(mode, SOFT_MODES + PNORM_MODES)
    x = as_float(x)
    return ramp(x, check_softness(softness, x.dtype), mode, gated)
