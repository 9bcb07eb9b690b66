"""Forward kinematics: poses of bodies, joints, geoms and sites from the coordinates.

Only the rotations are sequential along the tree, and pointer jumping composes them in
ceil(log2(depth)) rounds: a frame known relative to its 2^k-th ancestor is composed with that
ancestor's frame, known relative to its own 2^k-th ancestor (Hillis and Steele, 1986). A position
is then a sum, over the ancestors, of offsets turned into the world frame.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from mujoco.mjx import Data, Model

from softsim.dynamics.rotation import (
    Matrices,
    Quats,
    Vectors,
    axis_angle_parts,
    compose,
    matrices_first,
    matrices_last,
    normalize,
    quat_mul,
    quat_to_mat,
    rotate,
)
from softsim.dynamics.tree import HIGHEST, Tree, one_hot, spread, tree


class _Local(NamedTuple):
    """Frames of nodes in their parents' frames, and where the joints lie in them.

    Attributes:
        pos: origin of a node in its parent node.
        mat: rotation from a node to its parent node.
        quat: the same rotation.
        anchor: point of a joint, in its own node.
        axis: axis of a joint, in its own node.
    """

    pos: Vectors
    mat: Matrices
    quat: Quats
    anchor: Vectors
    axis: Vectors


def kinematics(m: Model, d: Data) -> Data:
    """Fills the poses of bodies, inertial frames, joints, geoms and sites.

    Poses are in the world frame; the columns of a rotation matrix are the axes of the frame.
    Quaternions in `qpos` come back normalised, as from MJX; a zero quaternion counts as identity.
    Children of mocap bodies move with them, as in MuJoCo.
    """
    t = tree(m)
    qpos = _normalize_qpos(t, d.qpos)
    local = _local_frames(m, d, t, qpos)
    mat, quat = local.mat, local.quat
    for jump in t.jumps:
        mat = compose(spread(mat, jump), mat)
        quat = quat_mul(spread(quat, jump), quat)
    pos = spread(rotate(spread(mat, t.parent), local.pos), t.above)

    d = d.replace(
        qpos=qpos,
        xanchor=spread(pos + rotate(mat, local.anchor), t.joint_node).T,
        xaxis=spread(rotate(mat, local.axis), t.joint_node).T,
        xpos=spread(pos, t.body_node).T,
        xquat=spread(quat, t.body_node).T,
        xmat=matrices_last(spread(mat, t.body_node)),
    )
    return _attached_frames(m, d)


def _normalize_qpos(t: Tree, qpos: Float[Array, " nq"]) -> Float[Array, " nq"]:
    if t.quat_address.size == 0:
        return qpos
    return qpos.at[t.quat_address].set(normalize(qpos[t.quat_address].T).T)


def _local_frames(m: Model, d: Data, t: Tree, qpos: Float[Array, " nq"]) -> _Local:
    """Every node in the frame of its parent: the body's fixed frame, then the joint's motion."""
    base, fixed_quat = _fixed_frames(m, d, t)
    fixed = quat_to_mat(fixed_quat)
    anchor, axis = spread(m.jnt_pos.T, t.node_joint), spread(m.jnt_axis.T, t.node_joint)
    travel = spread(qpos - m.qpos0, t.qpos_scalar)
    slide = axis * (travel * t.slide)
    free = jnp.tensordot(qpos, jnp.asarray(t.qpos_free, qpos.dtype), 1, precision=HIGHEST)
    turn, turn_quat, turned_axis = _joint_turns(t, qpos, axis, travel)
    return _Local(
        pos=base + free + rotate(fixed, anchor - rotate(turn, anchor) + slide),
        mat=compose(fixed, turn),
        quat=quat_mul(fixed_quat, turn_quat),
        anchor=anchor - slide,
        axis=turned_axis,
    )


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
) -> tuple[Matrices, Quats, Vectors]:
    """Rotation of every joint as matrix and quaternion, and its axis seen after the rotation."""
    angle = travel * t.hinge
    sin, cos = jnp.sin(angle), jnp.cos(angle)
    a, b, c = axis_angle_parts(axis)
    turn = a * ((1 + cos) / 2) + b * sin + c * ((1 - cos) / 2)
    quat = jnp.concatenate([jnp.cos(angle / 2)[None], axis * jnp.sin(angle / 2)])
    if t.quat_address.size == 0:
        return turn, quat, axis
    free_quat = qpos[t.quat_address].T
    free_turn = quat_to_mat(free_quat)
    other = ~t.quat_node.any(0)
    turn = turn * other + spread(free_turn, t.quat_node)
    quat = quat * other + spread(free_quat, t.quat_node)
    free_axis = rotate(free_turn.swapaxes(0, 1), spread(axis, t.quat_node.T))
    return turn, quat, axis * other + spread(free_axis, t.quat_node)


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
