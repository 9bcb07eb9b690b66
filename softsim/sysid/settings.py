"""How a fit is done."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a fit is done; each is a keyword of `identify`, with defaults for measured joints."""

    start: Mapping[str, float] = field(default_factory=dict)
    """the fit starts from these values instead of the model's, by the name of a parameter of one
    number"""
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """values stay within these intervals, by the name of the parameter"""
    prior: Mapping[str, float] = field(default_factory=dict)
    """what is known before: the standard deviation of a parameter about its start, relative for
    positive ones, in log odds for fractions, else in units of 1 cm or 1 degree"""
    default_prior: float = 1.0
    """standard deviation of all other parameters about their start: 1 is a factor of e for positive
    ones. It decides only what the data leave open"""
    window: int | None = None
    """samples in a window; 0 takes whole recordings, None about a second. Shorter windows end
    before chaos has grown"""
    windows: Literal["first", "all"] = "all"
    """fit only the first window of each recording, whose start is often known best, or all"""
    stages: tuple[float, ...] = (0.25, 1.0)
    """the fit first takes this share of every window, then more: short stretches are nearly linear
    in the parameters, long ones tell more"""
    states: Literal["auto", "measured", "estimated"] = "estimated"
    """windows begin at the measured state, or at one near it that is estimated too; auto estimates
    it if no velocities were recorded, and then takes nothing about them for known"""
    velocity: Literal["backward", "instant"] = "instant"
    """recorded velocities are means over the sample before, or instantaneous"""
    smooth: bool = True
    """free bodies start with the velocity of a parabola through the rows before their first contact
    instead of the recorded one"""
    noise: tuple[float, float] = (0.003, 2.0)
    """standard deviation assumed of positions, m and degrees. Only the ratio matters: the level is
    estimated"""
    velocity_noise: tuple[float, float] = (0.02, 10.0)
    """standard deviation assumed of recorded velocities, m/s and degrees/s, where the initial
    states are estimated"""
    robust: float = 2.0
    """from this error on, in standard deviations of the noise, a sample counts only as a
    logarithm"""
    spread: float = 0.05
    """parameters are taken to differ by this share from recording to recording (0.2 is 20 %), so
    that chaotic samples do not dictate the fit"""
    iterations: int = 30
    """the fit stops after this many steps if it has not converged before"""

    def __post_init__(self) -> None:
        for name in ("iterations", "robust", "default_prior"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(
                    f"{name}: got {getattr(self, name)}, expected a finite number more than 0"
                )
        for name in ("window", "spread"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected 0 or more")
        for name in ("noise", "velocity_noise"):
            if not min(getattr(self, name)) > 0:
                raise ValueError(f"{name}: got {getattr(self, name)}, expected positive numbers")
        if not self.stages or not all(0 < share <= 1 for share in self.stages):
            raise ValueError(
                f"stages: got {self.stages}, expected shares of more than 0, at most 1"
            )
