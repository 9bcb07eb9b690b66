"""How soft the physics is in the course of a training."""

from dataclasses import dataclass
from typing import Literal, get_args

import optax
from jaxtyping import Array, Int

import softsim

Preset = Literal["hard", "saltation", "soft", "straight_through"]


@dataclass(frozen=True)
class Softness:
    """A preset of `softsim.Softening` whose softness and reach shrink with time.

    Attributes:
        preset: hard, saltation, soft, or straight_through.
        softness: of the switches between features of shapes, relative to their size, at first.
        reach: m, contact from a distance, at first.
        anneal: share of both that is left at the end, approached as an exponential.
    """

    preset: Preset = "hard"
    softness: float = 0.05
    reach: float = 0.0
    anneal: float = 1.0

    def __post_init__(self) -> None:
        if self.preset not in get_args(Preset):
            raise ValueError(
                f"--softening {self.preset}: expected one of {', '.join(get_args(Preset))}"
            )
        if not self.softness > 0 or not self.reach >= 0:
            raise ValueError(
                f"--softness {self.softness}, --reach {self.reach}: expected softness above 0 and "
                "reach of at least 0 m"
            )
        if not 0 < self.anneal <= 1:
            raise ValueError(f"--anneal {self.anneal}: expected a share in (0, 1]")

    def at(self, iteration: Int[Array, ""] | int, iterations: int) -> softsim.Softening:
        """The softening at an iteration of `iterations`; annealing never recompiles."""
        if self.preset == "hard":
            return softsim.Softening.hard()
        share = optax.exponential_decay(1.0, iterations, self.anneal)(iteration)
        if self.preset == "saltation":
            return softsim.Softening.saltation(self.reach * share if self.reach > 0 else 0.0)
        make = getattr(softsim.Softening, self.preset)
        return make(self.softness * share, self.reach * share)
