"""Transmissions: how actuators grip joints, sites and tendons.

Every kind of transmission is computed for all its actuators at once and put at their rows.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from mujoco.mjx import Data, JointType, Model, TrnType

from softsim.dynamics.jacobian import point_jacobians
from softsim.dynamics.tree import HIGHEST, ancestors, one_hot
from softsim.rotations import dot, quat_conj, quat_mul, quat_rotate, quat_to_rotvec

Lengths = Float[Array, " n"]
Moments = Float[Array, "n nv"]


def transmission(m: Model, d: Data) -> Data:
    """Fills `actuator_length` (m or rad, times gear) and `actuator_moment` (nu, nv)."""
    if not m.nu:
        return d
    at_joint = np.isin(m.actuator_trntype, (TrnType.JOINT, TrnType.JOINTINPARENT))
    kind = m.jnt_type[np.where(at_joint, m.actuator_trnid[:, 0], 0)] if m.njnt else at_joint
    referred = m.actuator_trnid[:, 1] >= 0
    at_site = m.actuator_trntype == TrnType.SITE
    kinds = (
        (at_joint & np.isin(kind, (JointType.HINGE, JointType.SLIDE)), _scalar),
        (at_joint & (kind == JointType.BALL), _ball),
        (at_joint & (kind == JointType.FREE), _free),
        (m.actuator_trntype == TrnType.TENDON, _tendon),
        (at_site & ~referred, _site),
        (at_site & referred, _site_pair),
    )
    length, moment = jnp.zeros(m.nu, d.qpos.dtype), jnp.zeros((m.nu, m.nv), d.qpos.dtype)
    for chosen, grip in kinds:
        ids = np.flatnonzero(chosen)
        if ids.size == m.nu:
            length, moment = grip(m, d, ids)
        elif ids.size:
            lengths, moments = grip(m, d, ids)
            length, moment = length.at[ids].set(lengths), moment.at[ids].set(moments)
    return d.tree_replace({"actuator_length": length, "_impl.actuator_moment": moment})


def _scalar(m: Model, d: Data, ids: np.ndarray) -> tuple[Lengths, Moments]:
    joint, gear = m.actuator_trnid[ids, 0], m.actuator_gear[ids, :1]
    on = one_hot(m.jnt_dofadr[joint], m.nv).T.astype(d.qpos.dtype)
    return d.qpos[m.jnt_qposadr[joint]] * gear[:, 0], on * gear


def _ball(m: Model, d: Data, ids: np.ndarray) -> tuple[Lengths, Moments]:
    joint = m.actuator_trnid[ids, 0]
    quat = d.qpos[m.jnt_qposadr[joint][:, None] + np.arange(4)]
    axis = _joint_axis(m, ids, quat, m.actuator_gear[ids, :3])
    length = dot(quat_to_rotvec(quat.T), axis.T)
    return length, _at_dofs(m, m.jnt_dofadr[joint], axis)


def _free(m: Model, d: Data, ids: np.ndarray) -> tuple[Lengths, Moments]:
    """A free joint has no meaningful length."""
    joint, gear = m.actuator_trnid[ids, 0], m.actuator_gear[ids]
    quat = d.qpos[m.jnt_qposadr[joint][:, None] + 3 + np.arange(4)]
    axis = _joint_axis(m, ids, quat, gear[:, 3:])
    wrench = jnp.concatenate([gear[:, :3], axis], axis=1)
    return jnp.zeros(ids.size, d.qpos.dtype), _at_dofs(m, m.jnt_dofadr[joint], wrench)


def _joint_axis(
    m: Model, ids: np.ndarray, quat: Float[Array, "n 4"], gear: Float[Array, "n 3"]
) -> Float[Array, "n 3"]:
    """The gear's torque axis in the frame of the body, where it may be given in the parent's."""
    in_parent = m.actuator_trntype[ids] == TrnType.JOINTINPARENT
    if not in_parent.any():
        return gear
    return jnp.where(in_parent[:, None], quat_rotate(quat_conj(quat.T), gear.T).T, gear)


def _at_dofs(m: Model, first: np.ndarray, value: Float[Array, "n k"]) -> Moments:
    row = np.arange(first.size)[:, None]
    column = first[:, None] + np.arange(value.shape[1])
    return jnp.zeros((first.size, m.nv), value.dtype).at[row, column].set(value)


def _tendon(m: Model, d: Data, ids: np.ndarray) -> tuple[Lengths, Moments]:
    tendon, gear = m.actuator_trnid[ids, 0], m.actuator_gear[ids, 0]
    return d.ten_length[tendon] * gear, d._impl.ten_J[tendon] * gear[:, None]


def _site(m: Model, d: Data, ids: np.ndarray) -> tuple[Lengths, Moments]:
    """A wrench fixed to a site; its length is 0."""
    site = m.actuator_trnid[ids, 0]
    jacobians = point_jacobians(m, d, d.site_xpos[site], m.site_bodyid[site])
    moment = _project(jacobians, d.site_xmat[site], m.actuator_gear[ids])
    return jnp.zeros(ids.size, d.qpos.dtype), moment


def _site_pair(m: Model, d: Data, ids: np.ndarray) -> tuple[Lengths, Moments]:
    """Pose of a site in the frame of a reference site: (position, rotation vector) . gear."""
    site, ref = m.actuator_trnid[ids].T
    gear, frame = m.actuator_gear[ids], d.site_xmat[ref]
    apart = _times(frame.swapaxes(1, 2), d.site_xpos[site] - d.site_xpos[ref])
    orientation = lambda s: quat_mul(d.xquat[m.site_bodyid[s]].T, m.site_quat[s].T)
    turn = quat_to_rotvec(quat_mul(quat_conj(orientation(ref)), orientation(site))).T
    length = jnp.sum(jnp.concatenate([apart, turn], axis=1) * gear, axis=1)
    ours, theirs = (point_jacobians(m, d, d.site_xpos[s], m.site_bodyid[s]) for s in (site, ref))
    between = ~_common_ancestors(m, m.site_bodyid[site], m.site_bodyid[ref])
    linear, angular = ((a - b) * between[:, None] for a, b in zip(ours, theirs))
    return length, _project((linear, angular), frame, gear)


def _project(
    jacobians: tuple[Array, Array], frame: Float[Array, "n 3 3"], gear: Float[Array, "n 6"]
) -> Moments:
    """Force and torque of the gear, given in `frame`, on the dofs."""
    force, torque = _times(frame, gear[:, :3]), _times(frame, gear[:, 3:])
    linear, angular = (J.swapaxes(1, 2) for J in jacobians)
    return _times(linear, force) + _times(angular, torque)


def _times(matrix: Float[Array, "n i j"], vector: Float[Array, "n j"]) -> Float[Array, "n i"]:
    return jnp.einsum("nij,nj->ni", matrix, vector, precision=HIGHEST)


def _common_ancestors(m: Model, body1: np.ndarray, body2: np.ndarray) -> np.ndarray:
    """(n, nv): the dofs that move both bodies, and so change nothing between them."""
    above = ancestors(np.asarray(m.dof_parentid)).T
    above = np.append(above, np.zeros((1, m.nv), bool), axis=0)  # of no dof: none
    last = np.where(m.body_dofnum > 0, m.body_dofadr + m.body_dofnum - 1, -1)
    return above[last[m.body_weldid[body1]]] & above[last[m.body_weldid[body2]]]
