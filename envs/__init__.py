"""Tasks: a model, what a policy sees of it, and a reward."""

import softsim as _softsim  # noqa: F401 (before MJX, whose start-up messages it keeps off stdout)
from envs.base import Env as Env
from envs.base import State as State
from envs.base import reset_where_done as reset_where_done
from envs.randomize import scale as scale
from envs.randomize import shift as shift
from envs.registry import find as find
from envs.registry import make as make
from envs.registry import names as names
