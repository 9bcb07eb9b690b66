"""All environments by name."""

from typing import Any

import softsim
from envs.ant import Ant
from envs.ball_toss import BallToss
from envs.barkour import Barkour
from envs.base import Env
from envs.billiard import Billiard
from envs.cartpole import Cartpole
from envs.cube_toss import CubeToss
from envs.finger_turn import FingerTurn
from envs.half_cheetah import HalfCheetah
from envs.hopper import Hopper
from envs.humanoid import Humanoid
from envs.pendulum import Pendulum
from envs.planar_push import PlanarPush
from envs.walker2d import Walker2d

ENVS: dict[str, type[Env]] = {
    "pendulum": Pendulum,
    "cartpole": Cartpole,
    "ball_toss": BallToss,
    "cube_toss": CubeToss,
    "billiard": Billiard,
    "planar_push": PlanarPush,
    "finger_turn": FingerTurn,
    "hopper": Hopper,
    "walker2d": Walker2d,
    "half_cheetah": HalfCheetah,
    "ant": Ant,
    "humanoid": Humanoid,
    "barkour": Barkour,
}


def names() -> tuple[str, ...]:
    """The names that `make` knows."""
    return tuple(ENVS)


def make(name: str, softening: softsim.Softening | None = None, **overrides: Any) -> Env:
    """Build an environment by name; `overrides` as in `Env.create`.

    Raises:
        ValueError: no such environment (lists those there are), setting or option.
    """
    if name not in ENVS:
        raise ValueError(f"no environment {name!r}; there are {', '.join(ENVS)}")
    return ENVS[name].create(softening, **overrides)
