"""The only module that reaches into `mujoco.mjx._src`: one place to mend at an upgrade."""

# ruff: noqa: F401 (re-exports)

from mujoco.mjx._src.collision_driver import _geom_groups as geom_groups
from mujoco.mjx._src.collision_driver import _numeric as numeric
from mujoco.mjx._src.collision_driver import geom_pairs as geom_pairs
from mujoco.mjx._src.collision_driver import has_collision_fn as has_collision_fn
from mujoco.mjx._src.collision_types import FunctionKey as FunctionKey
from mujoco.mjx._src.sensor import sensor_acc as sensor_acc
from mujoco.mjx._src.sensor import sensor_pos as sensor_pos
from mujoco.mjx._src.sensor import sensor_vel as sensor_vel
from mujoco.mjx._src.smooth import camlight as camlight
from mujoco.mjx._src.support import xfrc_accumulate as xfrc_accumulate
from mujoco.mjx._src.types import Contact as MjxContact
