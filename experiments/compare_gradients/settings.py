"""Settings of the comparison of gradients."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

Method = Literal["hard", "saltation", "soft", "straight_through"]
MODEL = Path(__file__).parents[1] / "models" / "billiard.xml"


@dataclass(frozen=True)
class Args:
    """Settings of the comparison."""

    out: Path = Path("runs/compare_gradients")
    """This folder receives metrics.json, gradients.csv and gradients.png."""
    model: Path = MODEL
    """This MJCF file is simulated."""
    input: str = ""
    """This input is swept: qpos:JOINT[i], qvel:JOINT[i], ctrl:ACTUATOR, opt:gravity[i], or any
    float field of the model, such as geom_friction:GEOM[0], body_mass:BODY, dof_damping:JOINT. If
    it is left out, the velocity of the first joint is swept. Quantities that the compiler derives
    (invweight0, inertia from mass) are not recomputed."""
    low: float | None = None
    """The sweep starts here. If it is left out, it starts below the model's value, by 1 for
    positions, velocities and controls and by half of the value for all else."""
    high: float | None = None
    """The sweep ends here. If it is left out, it ends as far above the model's value."""
    points: int = 61
    """The input takes this many values."""
    body: str = ""
    """The final position of this body or site is the outcome; write site:NAME where a body has the
    same name. If it is left out, the last body is watched."""
    weights: tuple[float, float, float] = (1.0, 0.0, 0.0)
    """The outcome is the sum of x, y and z of that position, in the world frame, times these."""
    steps: int = 100
    """The outcome is looked at after this many simulation steps."""
    keyframe: str = ""
    """The simulation starts in this keyframe. If it is left out, it starts in the first one, or in
    the reference configuration where there is none."""
    ctrl: tuple[float, ...] = ()
    """These controls are held throughout. If they are left out, those of the keyframe are."""
    methods: tuple[Method, ...] | None = None
    """The derivative is taken in these ways. If they are left out, all are compared, or hard and
    saltation with --quick."""
    refine: int = 10
    """The reference takes this many steps for each step of the model."""
    quick: bool = False
    """A first look is taken: hard and saltation only, at most 9 points, and a reference at most 4
    times finer."""
    softness: float = 0.05
    """Soft switches have this width, relative to the shapes."""
    reach: float = 0.05
    """Soft contacts are felt from this distance on, m."""

    def __post_init__(self) -> None:
        if self.methods == ():
            raise ValueError(f"--methods: got none, expected some of {', '.join(get_args(Method))}")
        for name, least in (("points", 5), ("steps", 1), ("refine", 2)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected at least {least}")
        for name in ("low", "high", "weights", "ctrl", "softness", "reach"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value).all():
                raise ValueError(f"--{name}: got {value}, expected finite numbers")
