"""Settings of the comparison."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

Method = Literal["hard", "saltation", "soft", "straight_through", "cem"]
TaskName = Literal["billiard", "throw", "finger"]


@dataclass(frozen=True)
class Args:
    """Settings of the experiment."""

    out: Path = Path("runs/usefulness")
    """This folder receives metrics.json, CSV files and figures."""
    tasks: tuple[TaskName, ...] = get_args(TaskName)
    """These tasks are to be solved."""
    methods: tuple[Method, ...] = get_args(Method)
    """These searches are compared: hard, saltation, soft and straight_through follow four
    gradients, cem none; saltation feels contacts from a distance too."""
    starts: int = 20
    """Every task starts from this many random states, all with a hard gradient of zero."""
    iterations: int = 100
    """This many gradient steps are taken; CEM gets as many simulations."""
    learning_rate: float = 0.1
    """The learning rate of Adam at the start, in spreads of the starts; it falls to zero as a
    cosine."""
    softness: float = 0.05
    """The switches between features of the shapes have this width, relative to their size."""
    reach: float = 1.0
    """Soft gradients feel contacts from this distance on, m."""
    seed: int = 0
    """This number decides the starts and the samples of CEM."""
    quick: bool = False
    """Two starts and four steps are taken, to see that everything works."""

    def __post_init__(self) -> None:
        for name in ("starts", "iterations", "learning_rate", "softness", "reach"):
            if not getattr(self, name) > 0:
                raise ValueError(f"--{name}: got {getattr(self, name)}, expected more than 0")
        if not self.tasks or not self.methods:
            raise ValueError("--tasks and --methods: expected at least one each")
