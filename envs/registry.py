"""All environments by name, and tasks of one's own by module and class."""

import importlib
import inspect
import os
import sys
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


def find(name: str) -> type[Env]:
    """The class of an environment.

    Args:
        name: one of `names()`, or MODULE:CLASS for a task of your own, with the module in the
            current folder or installed.

    Raises:
        ValueError: no such environment (lists those there are), module or class.
    """
    if name in ENVS:
        return ENVS[name]
    if ":" not in name:
        raise ValueError(
            f"no environment {name!r}; there are {', '.join(ENVS)}; "
            "a task of your own is MODULE:CLASS"
        )
    module_name, _, class_name = name.partition(":")
    module = _load(module_name)
    found = getattr(module, class_name, None)
    if not (inspect.isclass(found) and issubclass(found, Env)):
        tasks = [k for k, v in vars(module).items() if inspect.isclass(v) and issubclass(v, Env)]
        own = ", ".join(k for k in tasks if k != "Env") or "none"
        raise ValueError(
            f"{name!r}: {class_name!r} is no class in {module_name} that is derived from envs.Env; "
            f"there is {own}"
        )
    return found


def _load(name: str) -> Any:
    """A module, in the current folder too, however Python was started."""
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise  # something that the module itself imports
        raise ValueError(
            f"no module {name!r} in {here} or among the installed ones; expected MODULE:CLASS, "
            "such as my_tasks:Reacher for the class Reacher in my_tasks.py"
        ) from None


def make(name: str, softening: softsim.Softening | None = None, **overrides: Any) -> Env:
    """Build an environment by name (as in `find`); `overrides` as in `Env.create`.

    Raises:
        ValueError: no such environment (lists those there are), setting or option, or a task that
            returns what cannot be used.
    """
    return find(name).create(softening, **overrides)
