"""softsim: MuJoCo XLA, differentiable through contact."""

import contextlib as _contextlib
import io as _io

# MJX prints on import that it did not find its optional engine, on stdout, where results go
with _contextlib.redirect_stdout(_io.StringIO()):
    import mujoco.mjx as _mujoco_mjx  # noqa: F401

from softsim.adaptive import Adaptive as Adaptive
from softsim.bundles import Bundle as Bundle
from softsim.bundles import bundle as bundle
from softsim.cache import enable_compile_cache as enable_compile_cache
from softsim.collision import Contact as Contact
from softsim.constants import set_const as set_const
from softsim.derivatives import linearize as linearize
from softsim.distance import Distance as Distance
from softsim.distance import distance as distance
from softsim.doctor import Report as Report
from softsim.doctor import check_gradients as check_gradients
from softsim.encounters import encounters as encounters
from softsim.encounters import keep_contacts as keep_contacts
from softsim.mechanics import Pose as Pose
from softsim.mechanics import bias as bias
from softsim.mechanics import inverse as inverse
from softsim.mechanics import jacobian as jacobian
from softsim.mechanics import mass_matrix as mass_matrix
from softsim.mechanics import poses as poses
from softsim.model import make_data as make_data
from softsim.model import put_data as put_data
from softsim.model import put_model as put_model
from softsim.names import name_to_id as name_to_id
from softsim.parallel import parallel_vmap as parallel_vmap
from softsim.parallel import spread as spread
from softsim.render import RenderError as RenderError
from softsim.render import render as render
from softsim.rollout import Trajectory as Trajectory
from softsim.rollout import rollout as rollout
from softsim.softening import Part as Part
from softsim.softening import Softening as Softening
from softsim.step import collide as collide
from softsim.step import forward as forward
from softsim.step import kinematics as kinematics
from softsim.step import step as step
from softsim.supported import UnsupportedModelError as UnsupportedModelError
