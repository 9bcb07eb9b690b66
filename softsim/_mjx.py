"""The only module that reaches into `mujoco.mjx._src`: one place to mend at an upgrade."""

# ruff: noqa: F401 (re-exports)

from mujoco.mjx._src.collision_driver import _geom_groups as geom_groups
from mujoco.mjx._src.collision_driver import _numeric as numeric
from mujoco.mjx._src.collision_driver import geom_pairs as geom_pairs
from mujoco.mjx._src.collision_driver import has_collision_fn as has_collision_fn
from mujoco.mjx._src.collision_types import FunctionKey as FunctionKey
from mujoco.mjx._src.derivative import deriv_smooth_vel as deriv_smooth_vel
from mujoco.mjx._src.forward import _next_activation as next_activation
from mujoco.mjx._src.forward import fwd_actuation as fwd_actuation
from mujoco.mjx._src.passive import passive as passive
from mujoco.mjx._src.sensor import sensor_acc as sensor_acc
from mujoco.mjx._src.sensor import sensor_pos as sensor_pos
from mujoco.mjx._src.sensor import sensor_vel as sensor_vel
from mujoco.mjx._src.smooth import camlight as camlight
from mujoco.mjx._src.smooth import tendon as tendon
from mujoco.mjx._src.smooth import tendon_armature as tendon_armature
from mujoco.mjx._src.smooth import tendon_bias as tendon_bias
from mujoco.mjx._src.smooth import transmission as transmission
from mujoco.mjx._src.support import xfrc_accumulate as xfrc_accumulate
from mujoco.mjx._src.types import Contact as MjxContact
