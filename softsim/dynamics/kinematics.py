"""Forward kinematics: poses of bodies, joints, geoms and sites from the coordinates.

Only the rotations are sequential along the tree, and pointer jumping composes them in
ceil(log2(depth)) rounds: a frame known relative to its 2^k-th ancestor is composed with that
ancestor's frame, known relative to its own 2^k-th ancestor (Hillis and Steele, 1986). A position
is then a sum, over the ancestors, of offsets turned into the world frame.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from mujoco.mjx import Data, Model

from softsim.dynamics.tree import HIGHEST, Tree, one_hot, spread, tree
from softsim.rotations import (
    Quats,
    Vectors,
    compose,
    matrices_first,
    matrices_last,
    normalize,
    quat_mul,
    quat_to_mat,
    rotate,
)


def kinematics(m: Model, d: Data) -> Data:
    """Fills the poses of bodies, inertial frames, joints, geoms and sites.

    Poses are in the world frame; the columns of a rotation matrix are the axes of the frame.
    Quaternions in `qpos` come back normalised, as from MJX; a zero quaternion counts as identity.
    Children of mocap bodies move with them, as in MuJoCo.
    """
    t = tree(m)
    qpos = _normalize_qpos(t, d.qpos)
    base, quat = _fixed_frames(m, d, t)
    fixed = quat_to_mat(quat)
    anchor, axis = spread(m.jnt_pos.T, t.node_joint), spread(m.jnt_axis.T, t.node_joint)
    travel = spread(qpos - m.qpos0, t.qpos_scalar)

    quat = quat_mul(quat, _joint_turns(t, qpos, axis, travel))
    for jump in t.jumps:
        quat = quat_mul(spread(quat, jump), quat)
    mat = quat_to_mat(quat)
    before = spread(mat, t.parent)

    free = jnp.tensordot(qpos, jnp.asarray(t.qpos_free, qpos.dtype), 1, precision=HIGHEST)
    arm = rotate(before, base + free + rotate(fixed, anchor))
    xaxis = rotate(before, rotate(fixed, axis))
    offset = arm + xaxis * (travel * t.slide) - rotate(mat, anchor)
    pos = spread(offset, t.above)
    d = d.replace(
        qpos=qpos,
        xanchor=spread(spread(pos, t.parent) + arm, t.joint_node).T,
        xaxis=spread(xaxis, t.joint_node).T,
        xpos=spread(pos, t.body_node).T,
        xquat=spread(quat, t.body_node).T,
        xmat=matrices_last(spread(mat, t.body_node)),
    )
    return _attached_frames(m, d)


def _normalize_qpos(t: Tree, qpos: Float[Array, " nq"]) -> Float[Array, " nq"]:
    if t.quat_address.size == 0:
        return qpos
    return qpos.at[t.quat_address].set(normalize(qpos[t.quat_address].T).T)


def _fixed_frames(m: Model, d: Data, t: Tree) -> tuple[Vectors, Quats]:
    """Frames that nodes start from: of the body, or where a mocap body is told to be."""
    pos = spread(m.body_pos.T, t.node_body)
    quat = spread(m.body_quat.T, t.node_body)
    placed = t.node_body.any(0)
    if m.nmocap:
        pos += spread(d.mocap_pos.T, t.node_mocap)
        quat += spread(normalize(d.mocap_quat.T), t.node_mocap)
        placed = placed | t.node_mocap.any(0)
    return pos, quat + np.eye(4, 1, dtype=quat.dtype) * ~placed


def _joint_turns(
    t: Tree, qpos: Float[Array, " nq"], axis: Vectors, travel: Float[Array, " node"]
) -> Quats:
    """Rotation that every joint makes."""
    half = travel * t.hinge / 2
    quat = jnp.concatenate([jnp.cos(half)[None], axis * jnp.sin(half)])
    if t.quat_address.size == 0:
        return quat
    return quat * ~t.quat_node.any(0) + spread(qpos[t.quat_address].T, t.quat_node)


def _attached_frames(m: Model, d: Data) -> Data:
    """Inertial frames, geoms and sites, which are fixed to bodies: placed all at once."""
    counts = np.cumsum([m.nbody, m.ngeom])
    body = one_hot(np.r_[np.arange(m.nbody), m.geom_bodyid, m.site_bodyid], m.nbody)
    pos = jnp.concatenate([m.body_ipos, m.geom_pos, m.site_pos]).T
    quat = jnp.concatenate([m.body_iquat, m.geom_quat, m.site_quat]).T
    body_mat = spread(matrices_first(d.xmat), body)
    xpos = (spread(d.xpos.T, body) + rotate(body_mat, pos)).T
    xmat = matrices_last(compose(body_mat, quat_to_mat(quat)))
    xipos, geom_xpos, site_xpos = jnp.split(xpos, counts)
    ximat, geom_xmat, site_xmat = jnp.split(xmat, counts)
    return d.replace(
        xipos=xipos,
        ximat=ximat,
        geom_xpos=geom_xpos,
        geom_xmat=geom_xmat,
        site_xpos=site_xpos,
        site_xmat=site_xmat,
    )
