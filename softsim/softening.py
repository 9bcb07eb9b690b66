"""What is softened in a step, by how much, and whether only the gradient sees it."""

import dataclasses
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Mode = Literal["hard", "smooth", "c0", "c1", "c2"]
MODES: tuple[str, ...] = ("hard", "smooth", "c0", "c1", "c2")


class Part(eqx.Module):
    """How one part of a step is softened.

    Attributes:
        softness: dimensionless, traced: the width of every switch in this part, relative to the
            size of the shapes (or to the unit of the quantity that switches). Not read in mode
            "hard".
        mode: static, the smoothness of the soft operators ("hard" switches off the softening).
        method: static, the `softjax_ops` method behind a soft index.
    """

    softness: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.1)
    mode: Mode = eqx.field(static=True, default="hard")
    method: str = eqx.field(static=True, default="softsort")

    def __check_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"mode: got {self.mode!r}, expected one of {', '.join(MODES)}")
        _refuse("softness", self.softness, self.softness > 0, "a positive number")


def _refuse(name: str, value: Array, ok: Array, expected: str) -> None:
    """Raise on a concrete bad value; traced values are checked where they are used."""
    if not isinstance(value, jax.core.Tracer) and not bool(jnp.all(ok)):
        raise ValueError(f"{name}: got {value}, expected {expected}")


class Softening(eqx.Module):
    """Softening of a step, part by part.

    Attributes:
        collision: closest features, manifold points, separating axes and contact frames.
        mask: `Contact.weight`, the soft contact mask that fades rows in and out.
        solver: the switch between an active and an inactive constraint row.
        reach: m, traced; contacts act gently from this distance on (0: only when touching).
        gradient_only: static; a step keeps its hard value, only its derivative is soft.
    """

    collision: Part = eqx.field(default_factory=Part)
    mask: Part = eqx.field(default_factory=Part)
    solver: Part = eqx.field(default_factory=Part)
    reach: Float[Array, ""] = eqx.field(converter=jnp.asarray, default=0.0)
    gradient_only: bool = eqx.field(static=True, default=False)

    def __check_init__(self) -> None:
        _refuse("reach", self.reach, self.reach >= 0, "a length of at least 0 m")

    @classmethod
    def hard(cls) -> "Softening":
        """MuJoCo's own contacts, exactly; derivatives are exact too, and zero between contacts."""
        return cls()

    @classmethod
    def soft(cls, softness: float = 0.05, reach: float = 0.0, mode: Mode = "smooth") -> "Softening":
        """Softened collision and contact mask, seen by the value and by the gradient."""
        return cls(
            collision=Part(softness, mode),
            mask=Part(softness, "c1"),
            reach=reach,
        )

    @classmethod
    def straight_through(
        cls, softness: float = 0.05, reach: float = 0.1, mode: Mode = "smooth"
    ) -> "Softening":
        """Hard values with soft derivatives, contacts felt from `reach` m on."""
        soft = cls.soft(softness, reach, mode)
        return dataclasses.replace(soft, gradient_only=True)
