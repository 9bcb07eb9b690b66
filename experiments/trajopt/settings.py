"""Settings of the throw."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

Method = Literal["hard", "saltation", "straight_through", "cem"]
Body = Literal["cube", "box", "cylinder", "capsule", "ellipsoid"]
SIDE = 0.1048  # m
# MuJoCo's sizes (m): half sides; radius and half length; half axes. They are also the heights at
# which a body lies on one of its sides. All weigh what the cube weighs.
BODIES: dict[str, tuple[float, ...]] = {
    "cube": (SIDE / 2, SIDE / 2, SIDE / 2),
    "box": (0.07, 0.05, 0.035),
    "cylinder": (0.05, 0.035),
    "capsule": (0.04, 0.04),
    "ellipsoid": (0.07, 0.055, 0.04),
}
HIT = 0.01  # m: a throw that rests closer than this to the target is a hit


@dataclass(frozen=True)
class Args:
    """Settings of the experiment."""

    out: Path = Path("runs/trajopt")
    """This folder receives metrics.json, CSV files and figures."""
    body: Body = "cube"
    """This body is thrown: a cube, a box of unequal sides, a flat cylinder, a capsule or an
    ellipsoid."""
    methods: tuple[Method, ...] = ("hard", "saltation", "cem")
    """These searches are compared: hard, saltation and straight_through are Levenberg-Marquardt
    with one of three derivatives, cem is the cross-entropy method, which needs none."""
    starts: int = 20
    """Every method starts from this many random throws."""
    iterations: int = 27
    """Levenberg-Marquardt takes this many steps; CEM gets as many simulated throws."""
    population: int = 16
    """CEM tries this many throws per generation."""
    target: tuple[float, float] = (0.7, 0.25)
    """The body should rest here, m; it is released above (0, 0)."""
    height: float = 0.25
    """The centre of the body is this high at release, m."""
    horizon: float = 1.0
    """A throw is simulated for this time, s."""
    softness: float = 0.1
    """The switches of straight_through between points of the body have this width, relative to its
    size."""
    reach: float = 0.005
    """The derivatives of straight_through feel a contact from this distance on, m."""
    seed: int = 0
    """This number decides the starts and the samples of CEM."""
    quick: bool = False
    """A first look is taken, in a minute or two: four starts, ten steps of each search."""

    def __post_init__(self) -> None:
        if not self.methods:
            raise ValueError(f"--methods: got none, expected some of {', '.join(get_args(Method))}")
        for name in ("starts", "iterations", "horizon", "softness"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected more than 0")
        if self.population < 4:
            raise ValueError(f"--population: got {self.population}, expected at least 4")
        if not self.height > SIDE:
            raise ValueError(f"--height: got {self.height}, expected more than a side, {SIDE} m")
        if not np.isfinite(self.target).all():
            raise ValueError(f"--target: got {self.target}, expected two finite lengths in m")
