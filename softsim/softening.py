"""What is softened in a step, by how much, and whether only the gradient sees it."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float

import softjax_ops as sj
from softsim.numerics import default_float

Mode = Literal["hard", "smooth", "c0", "c1", "c2"]
MJX_SKIN = 1e-3  # m
MODES: tuple[str, ...] = ("hard", "smooth", "c0", "c1", "c2")


class Part(eqx.Module):
    """How one part of a step is softened.

    Attributes:
        softness: dimensionless, traced: the width of every switch in this part, relative to the
            size of the shapes (or to the unit of the quantity that switches). Not read in mode
            "hard".
        mode: static, the smoothness of the soft operators ("hard" switches off the softening).
        skin: m, traced; a plane or height field touches the vertices of a box or mesh that are
            this close to the deepest one. MJX takes 1 mm; a skin as long as the shape takes every
            vertex below the plane, as MuJoCo C does, which matters where contacts give way by more
            than 1 mm. Read by the collision part in mode "hard"; soft, all that touch count.

    The soft operators of the modes c0, c1 and c2 switch over +-5 times their softness.
    """

    softness: Float[Array, ""] = eqx.field(converter=default_float, default=0.1)
    mode: Mode = eqx.field(static=True, default="hard")
    skin: Float[Array, ""] = eqx.field(converter=default_float, default=MJX_SKIN)

    def __check_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode: got {self.mode!r}, expected one of {', '.join(MODES)}")
        _refuse("softness", self.softness, lambda s: s > 0, "a positive number")
        _refuse("skin", self.skin, lambda s: (s >= 0) & np.isfinite(s), "a length of at least 0 m")

    def below_zero(
        self, x: Float[Array, "*n"], scale: Float[Array, "*n"] | float
    ) -> Float[Array, "*n"]:
        """Soft `x < 0`, in [0, 1]: 0 from x = 0 on, 1 below -10 * softness * scale.

        One-sided, so that nothing acts before it touches ("smooth" leaves 0.7 % at x = 0).
        """
        softness = self.softness * scale
        middle = -5.0 * softness * (self.mode != "hard")
        return sj.less(x, middle, softness=softness, mode=self.mode, epsilon=0.0)


def _refuse(name: str, value: Array, ok: Callable[[np.ndarray], np.ndarray], expected: str) -> None:
    """Raise on a bad value that is known; under jit a bad value makes the result NaN."""
    if not isinstance(value, jax.core.Tracer) and not np.all(ok(np.asarray(value))):
        raise ValueError(f"{name}: got {value}, expected {expected}")


class Softening(eqx.Module):
    """Softening of a step, part by part.

    Attributes:
        collision: closest features, manifold points, separating axes and contact frames.
        mask: the soft contact mask: fades a contact in over a depth of 10 * softness * radius of
            the smaller geom. Hard in every preset: a width that lets bodies rest within a
            millimetre of where they should is crossed within a step by a body that arrives at
            1 m/s, and the slope of that crossing is no slope of the motion.
        limit: the same for joint and tendon limits, over 10 * softness * range.
        reach: m, traced; contacts act gently from this distance on (0: only when touching).
        gradient_only: static; a step keeps its hard value, only its derivative is soft.
        events: static; derivatives of steps see that the moments at which contacts and limits
            begin and end move with the inputs (`softsim.saltation`). Values stay as they are.
    """

    collision: Part = eqx.field(default_factory=Part)
    mask: Part = eqx.field(default_factory=Part)
    limit: Part = eqx.field(default_factory=Part)
    reach: Float[Array, ""] = eqx.field(converter=default_float, default=0.0)
    gradient_only: bool = eqx.field(static=True, default=False)
    events: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        _refuse("reach", self.reach, lambda r: r >= 0, "a length of at least 0 m")

    @classmethod
    def hard(cls) -> "Softening":
        """MuJoCo's own contacts, exactly; derivatives are exact too, and zero between contacts."""
        return cls()

    @classmethod
    def saltation(cls, reach: float = 0.0) -> "Softening":
        """MuJoCo's own contacts, exactly; derivatives are the slope of the outcome.

        Those of `hard()` leave out that a contact begins earlier or later: the outcome of a bounce
        is a smooth trend plus a sawtooth of whole steps, and they are the slope of the teeth.

        Args:
            reach: m; from this distance on derivatives feel contacts that have not begun.
        """
        apart = not isinstance(reach, int | float) or reach > 0
        return cls(reach=default_float(reach), gradient_only=apart, events=True)

    @classmethod
    def soft(cls, softness: float = 0.05, reach: float = 0.0, mode: Mode = "smooth") -> "Softening":
        """Softened choices of features, seen by the value and by the gradient.

        Which corners, edges and faces touch changes slowly; that a contact begins stays a switch.
        """
        return cls(collision=Part(default_float(softness), mode), reach=default_float(reach))

    @classmethod
    def straight_through(
        cls, softness: float = 0.05, reach: float = 0.1, mode: Mode = "smooth"
    ) -> "Softening":
        """Hard values with the derivatives of `soft`, contacts felt from `reach` m on."""
        return dataclasses.replace(cls.soft(softness, reach, mode), gradient_only=True)
