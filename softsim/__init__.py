"""softsim: MuJoCo XLA, differentiable through contact."""

from softsim.cache import enable_compile_cache as enable_compile_cache
from softsim.collision import Contact as Contact
from softsim.derivatives import linearize as linearize
from softsim.doctor import Report as Report
from softsim.doctor import check_gradients as check_gradients
from softsim.model import make_data as make_data
from softsim.model import put_data as put_data
from softsim.model import put_model as put_model
from softsim.rollout import Trajectory as Trajectory
from softsim.rollout import rollout as rollout
from softsim.softening import Part as Part
from softsim.softening import Softening as Softening
from softsim.step import collide as collide
from softsim.step import forward as forward
from softsim.step import step as step
from softsim.supported import UnsupportedModelError as UnsupportedModelError
