"""softsim: MuJoCo XLA, differentiable through contact."""

from softsim.softening import Part as Part
from softsim.softening import Softening as Softening
