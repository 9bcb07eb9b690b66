"""The kinematic tree as constant 0/1 matrices: a sum over the tree is one matrix product.

Arrays inside `softsim.dynamics` keep their components first and the element they belong to last:
positions are (3, n), rotations (3, 3, n). A sum or a lookup over elements is then a product from
the right with a constant matrix, and a batch is only more rows of the same product.
"""

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from mujoco.mjx import JointType, Model

HIGHEST = jax.lax.Precision.HIGHEST
FREE, BALL, SLIDE, HINGE = JointType.FREE, JointType.BALL, JointType.SLIDE, JointType.HINGE


class Tree(NamedTuple):
    """Constant tables of one kinematic tree; entry [i, j] of a table is 1 where i feeds j.

    A *node* is a joint, or a body without joints: a frame that the pose recursion visits. The
    nodes of a body follow each other, and the last one is the body's own frame.

    Attributes:
        jumps: one table (node, node) per round of pointer jumping: the 2^k-th ancestor of a node.
        parent: (node, node), a node's parent.
        above: (node, node), all ancestors of a node, itself included.
        body_node: (node, body), the last node of a body.
        node_body: (body, node), the body whose fixed frame a node starts from: its first node;
            none for the world, free joints and mocap bodies, which are placed in the world.
        node_joint: (joint, node), a node's joint.
        node_mocap: (mocap, node), a node's mocap body.
        joint_node: (node, joint), the node of a joint.
        qpos_scalar: (qpos, node), the coordinate of a hinge or slide node.
        qpos_free: (qpos, 3, node), the position coordinates of a free node.
        quat_address: (quat, 4), where the quaternions lie in qpos.
        spin_address: (quat, 3), where their angular velocities lie in qvel.
        quat_node: (quat, node), ball and free nodes.
        hinge, slide: (node,), 1 on nodes of that kind.
        subtree: (body, body), [i, j] = 1 where i lies in the subtree of j.
        root: (body, body), a body's root.
        moves: (dof, body), [i, j] = 1 where dof i moves body j.
        precedes: (dof, dof), [i, j] = 1 where dof i acts before the frame of dof j turns.
        dof_joint: (joint, dof), a dof's joint, for hinge and slide joints.
        dof_frame: (3, body, dof), a dof about an axis of its body's frame, axis by axis.
        dof_anchor: (joint, dof), a dof's joint, for all joints.
        dof_root: (body, dof), the root of a dof's body.
        dof_qpos: (dof, qpos), the coordinate that a dof changes, quaternions left out.
        dof_turns: (dof,), 1 for rotations and 0 for translations.
        dof_fixed: (3, dof), world axes of the translations of free joints.
        mass_mask: (dof, dof), [i, j] = 1 where j is an ancestor of i, 1/2 on the diagonal.
    """

    jumps: tuple[np.ndarray, ...]
    parent: np.ndarray
    above: np.ndarray
    body_node: np.ndarray
    node_body: np.ndarray
    node_joint: np.ndarray
    node_mocap: np.ndarray
    joint_node: np.ndarray
    qpos_scalar: np.ndarray
    qpos_free: np.ndarray
    quat_address: np.ndarray
    spin_address: np.ndarray
    quat_node: np.ndarray
    hinge: np.ndarray
    slide: np.ndarray
    subtree: np.ndarray
    root: np.ndarray
    moves: np.ndarray
    precedes: np.ndarray
    dof_joint: np.ndarray
    dof_frame: np.ndarray
    dof_anchor: np.ndarray
    dof_root: np.ndarray
    dof_qpos: np.ndarray
    dof_turns: np.ndarray
    dof_fixed: np.ndarray
    mass_mask: np.ndarray


_FIELDS = (
    "body_parentid", "body_rootid", "body_mocapid", "body_jntnum", "body_jntadr",
    "jnt_type", "jnt_bodyid", "jnt_qposadr", "dof_bodyid", "dof_jntid", "dof_parentid",
    "jnt_dofadr",
)  # fmt: skip


def tree(m: Model) -> Tree:
    """The constant tables of `m`, built once per kinematic structure."""
    fields = (np.ascontiguousarray(getattr(m, name), dtype=np.int64) for name in _FIELDS)
    return _tree(m.nq, *(field.tobytes() for field in fields))


def spread(x: Float[Array, "*c n"], table: np.ndarray) -> Float[Array, "*c k"]:
    """`x @ table`: sums or looks up the elements of `x` (last axis) along a constant table.

    Exact precision is asked for: accelerators would otherwise round positions to 10 bits.
    """
    return jnp.matmul(x, jnp.asarray(table, x.dtype), precision=HIGHEST)


def one_hot(index: np.ndarray, size: int | np.integer) -> np.ndarray:
    """Lookup table (size, n): column j has a 1 in row index[j], and is zero where index[j] < 0."""
    return np.asarray(index)[None, :] == np.arange(size)[:, None]


def ancestors(parent: np.ndarray) -> np.ndarray:
    """Table (n, n) with [i, j] = 1 where i is j or an ancestor of j; roots have parent < 0."""
    above = np.eye(len(parent), dtype=bool)
    for j, p in enumerate(parent):
        if p >= 0:
            above[:, j] |= above[:, p]
    return above


@lru_cache(maxsize=64)
def _tree(nq: int, *raw: bytes) -> Tree:
    f = dict(zip(_FIELDS, (np.frombuffer(r, dtype=np.int64) for r in raw)))
    return Tree(**_node_tables(nq, f), **_body_tables(f), **_dof_tables(nq, f))


def _nodes(f: dict[str, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Body, joint (-1: none), parent node (-1: the world) of every node; last node of a body."""
    body: list[int] = []
    joint: list[int] = []
    parent: list[int] = []
    last: list[int] = []
    for b, (num, adr) in enumerate(zip(f["body_jntnum"], f["body_jntadr"])):
        up = last[f["body_parentid"][b]] if b else -1
        for j in range(adr, adr + num) if num else (-1,):
            parent.append(up)
            up = len(body)
            body.append(b)
            joint.append(j)
        last.append(up)
    return np.array(body), np.array(joint), np.array(parent), np.array(last)


def _node_tables(nq: int, f: dict[str, np.ndarray]) -> dict:
    body, joint, parent, last = _nodes(f)
    n, njnt, nbody = len(body), len(f["jnt_type"]), len(f["body_parentid"])
    kind = np.where(joint >= 0, np.append(f["jnt_type"], -1)[joint], -1)
    address = np.append(f["jnt_qposadr"], -1)[joint]
    mocap = np.where(joint < 0, f["body_mocapid"][body], -1)
    is_quat = np.isin(kind, (FREE, BALL))
    skip = (3 * (kind == FREE))[is_quat][:, None]
    first = np.r_[False, body[1:] != body[:-1]] & (kind != FREE) & (mocap < 0)
    return {
        "jumps": _jumps(parent),
        "parent": one_hot(np.maximum(parent, 0), n),
        "above": ancestors(parent),
        "body_node": one_hot(last, n),
        "node_body": one_hot(np.where(first, body, -1), nbody),
        "node_joint": one_hot(joint, njnt),
        "node_mocap": one_hot(mocap, f["body_mocapid"].max(initial=-1) + 1),
        "joint_node": one_hot(np.flatnonzero(joint >= 0)[np.argsort(joint[joint >= 0])], n),
        "qpos_scalar": one_hot(np.where(np.isin(kind, (HINGE, SLIDE)), address, -1), nq),
        "qpos_free": np.stack(
            [one_hot(np.where(kind == FREE, address + k, -1), nq) for k in range(3)], 1
        ),
        # int32: an index of the default width would change with jax_enable_x64, but JAX (0.10)
        # remembers the width of a NumPy array that it has seen before
        "quat_address": (address[is_quat][:, None] + skip + np.arange(4)).astype(np.int32),
        "spin_address": (f["jnt_dofadr"][joint[is_quat]][:, None] + skip + np.arange(3)).astype(
            np.int32
        ),
        "quat_node": one_hot(np.where(is_quat, np.cumsum(is_quat) - 1, -1), is_quat.sum()),
        "hinge": kind == HINGE,
        "slide": kind == SLIDE,
    }


def _jumps(parent: np.ndarray) -> tuple[np.ndarray, ...]:
    """Tables of the 1st, 2nd, 4th, ... ancestor, as many as the depth asks for.

    Node 0 is the world: its own parent, and the identity in every composition.
    """
    up, tables = np.maximum(parent, 0), []
    while up.any():
        tables.append(one_hot(up, len(up)))
        up = up[up]
    return tuple(tables)


def _body_tables(f: dict[str, np.ndarray]) -> dict:
    parent = np.r_[-1, f["body_parentid"][1:]]
    return {
        "subtree": ancestors(parent).T,
        "root": one_hot(f["body_rootid"], len(parent)),
    }


def _dof_tables(nq: int, f: dict[str, np.ndarray]) -> dict:
    nv, njnt, nbody = len(f["dof_bodyid"]), len(f["jnt_type"]), len(f["body_parentid"])
    joint, body = f["dof_jntid"], f["dof_bodyid"]
    kind = f["jnt_type"][joint]
    number = np.arange(nv) - f["jnt_dofadr"][joint]
    shift = (kind == FREE) & (number < 3)
    frame = np.where((kind == BALL) | ((kind == FREE) & ~shift), number % 3, -1)
    above = ancestors(f["dof_parentid"])
    holder = ancestors(np.r_[-1, f["body_parentid"][1:]])
    start = f["jnt_dofadr"][joint] + 3 * (frame >= 0) * (kind == FREE)
    before = above & (np.arange(nv)[:, None] < start[None, :]) & ~shift
    return {
        "moves": holder[body],
        "precedes": before,
        "dof_joint": one_hot(np.where(np.isin(kind, (HINGE, SLIDE)), joint, -1), njnt),
        "dof_frame": np.stack([one_hot(np.where(frame == k, body, -1), nbody) for k in range(3)]),
        "dof_anchor": one_hot(joint, njnt),
        "dof_root": one_hot(f["body_rootid"][body], nbody),
        "dof_qpos": one_hot(np.where(frame >= 0, -1, f["jnt_qposadr"][joint] + number), nq).T,
        "dof_turns": (frame >= 0) | (kind == HINGE),
        "dof_fixed": (np.where(shift, number, -1)[None, :] == np.arange(3)[:, None]),
        "mass_mask": np.where(np.eye(nv, dtype=bool), 0.5, above.T),
    }
