"""How soft the physics is in the course of a training."""

from dataclasses import dataclass
from typing import Literal, get_args

import optax
from jaxtyping import Array, Int

import softsim
from softsim.learning.checks import NOT_NEGATIVE, PART, POSITIVE, check, one_of

Name = Literal["hard", "saltation", "soft", "straight_through"]


@dataclass(frozen=True)
class Softness:
    """A preset of `softsim.Softening` whose softness and reach shrink with time."""

    softening: Name = "hard"
    """The derivatives to follow: hard; saltation (hard values, the slope of the outcome); soft
    (soft values too); straight_through (hard values, soft derivatives)."""
    softness: float = 0.05
    """Width of the soft switches between features of shapes, relative to their size, at first;
    above 0."""
    reach: float = 0.0
    """Soft contacts are felt from this distance, m, at first; at least 0."""
    anneal: float = 1.0
    """This share of softness and reach is left at the end, approached as an exponential; above 0,
    at most 1."""

    def __post_init__(self) -> None:
        rules = {"softening": one_of(get_args(Name)), "softness": POSITIVE}
        check("Softness.", vars(self), rules | {"reach": NOT_NEGATIVE, "anneal": PART})

    def at(self, iteration: Int[Array, ""] | int, iterations: int) -> softsim.Softening:
        """The softening at an iteration of `iterations`; annealing never recompiles."""
        if self.softening == "hard":
            return softsim.Softening.hard()
        share = optax.exponential_decay(1.0, iterations, self.anneal)(iteration)
        if self.softening == "saltation":
            return softsim.Softening.saltation(self.reach * share if self.reach > 0 else 0.0)
        make = getattr(softsim.Softening, self.softening)
        return make(self.softness * share, self.reach * share)
