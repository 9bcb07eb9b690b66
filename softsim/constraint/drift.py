"""J' v of connect and weld: how the rate of a constraint changes at constant joint velocities.

A row asks for an acceleration J a; the violation itself accelerates with J a + J' v. MuJoCo C takes
J' v off the reference acceleration, MJX does not.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

from softsim.constraint.equality import (
    bodies,
    connect_anchors,
    equality_ids,
    rotation_rate,
    weld_anchors,
    weld_quaternions,
)
from softsim.dynamics import com_vel
from softsim.dynamics.tree import spread, tree
from softsim.rotations import pure, quat_mul


def equality_drift(m: mjx.Model, d: mjx.Data) -> Float[Array, " ne"]:
    """J' v of all equality rows, in the order of `equality_blocks`; 0 for joints and tendons."""
    connect, weld, joint, tendon = equality_ids(m)
    d = com_vel(m, d)
    parts = [jnp.zeros(joint.size + tendon.size, d.qvel.dtype)]
    if weld.size:
        parts.insert(0, _weld(m, d, weld))
    if connect.size:
        parts.insert(0, _relative(m, d, connect, *connect_anchors(m, d, connect)).reshape(-1))
    return jnp.concatenate(parts)


def _turning(m: mjx.Model, d: mjx.Data) -> Float[Array, "nbody 6"]:
    """Spatial accelerations of the bodies at constant joint velocities."""
    return spread(d.cdof_dot.T * d.qvel, tree(m).moves).T


def _relative(
    m: mjx.Model, d: mjx.Data, ids: np.ndarray, pos1: Float[Array, "k 3"], pos2: Float[Array, "k 3"]
) -> Float[Array, "k 3"]:
    """Acceleration of the first anchor minus that of the second."""
    body1, body2, _ = bodies(m, ids)
    return _acceleration(m, d, pos1, body1) - _acceleration(m, d, pos2, body2)


def _acceleration(
    m: mjx.Model, d: mjx.Data, point: Float[Array, "k 3"], body: np.ndarray
) -> Float[Array, "k 3"]:
    """Of points fixed to bodies: that of the spatial field, and the turn of their velocity."""
    arm = point - d.subtree_com[m.body_rootid[body]]
    rate, cvel = _turning(m, d)[body], d.cvel[body]
    velocity = cvel[:, 3:] + jnp.cross(cvel[:, :3], arm)
    return rate[:, 3:] + jnp.cross(rate[:, :3], arm) + jnp.cross(cvel[:, :3], velocity)


def _weld(m: mjx.Model, d: mjx.Data, ids: np.ndarray) -> Float[Array, " n"]:
    """Three rows of the anchors, three of the rotation error, whose rate is a product of three."""
    linear = _relative(m, d, ids, *weld_anchors(m, d, ids))
    body1, body2, _ = bodies(m, ids)
    left, right = weld_quaternions(m, d, ids)
    rate = _turning(m, d)
    omega1, omega2 = d.cvel[body1, :3], d.cvel[body2, :3]
    omega, alpha = omega1 - omega2, rate[body1, :3] - rate[body2, :3]
    left_rate = -0.5 * quat_mul(left, pure(omega2.T))
    right_rate = 0.5 * quat_mul(pure(omega1.T), right)
    angular = (
        rotation_rate(left_rate, omega[..., None], right)
        + rotation_rate(left, alpha[..., None], right)
        + rotation_rate(left, omega[..., None], right_rate)
    )[..., 0]
    return jnp.concatenate([linear, angular * m.eq_data[ids, 10:11]], axis=1).reshape(-1)
