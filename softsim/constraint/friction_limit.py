"""Friction loss rows (dofs, tendons) and limit rows (ball, slide, hinge, tendon)."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

from softsim.constraint.rows import Block, make_block
from softsim.numerics import safe_norm, safe_normalize
from softsim.rotations import quat_to_rotvec
from softsim.softening import Part

_JOINT = mujoco.mjtJoint


def friction_blocks(m: mjx.Model, d: mjx.Data) -> list[Block]:
    """Dry friction: rows that want zero velocity, with a force of at most `frictionloss`."""
    if m.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_FRICTIONLOSS:
        return []
    dof = np.nonzero(m._impl.dof_hasfrictionloss)[0]
    ten = np.nonzero(m._impl.tendon_hasfrictionloss)[0]
    blocks = []
    if dof.size:
        blocks.append(
            _friction(
                jnp.asarray(np.eye(m.nv)[dof], dtype=d.qvel.dtype),
                m.dof_frictionloss[dof],
                m.dof_invweight0[dof],
                m.dof_solref[dof],
                m.dof_solimp[dof],
            )
        )
    if ten.size:
        blocks.append(
            _friction(
                d._impl.ten_J[ten],
                m.tendon_frictionloss[ten],
                m.tendon_invweight0[ten],
                m.tendon_solref_fri[ten],
                m.tendon_solimp_fri[ten],
            )
        )
    return blocks


def _friction(
    J: Float[Array, "n nv"],
    frictionloss: Float[Array, " n"],
    invweight: Float[Array, " n"],
    solref: Float[Array, "n 2"],
    solimp: Float[Array, "n 5"],
) -> Block:
    zero = jnp.zeros_like(frictionloss)
    return make_block(J, zero, zero, invweight, solref, solimp, frictionloss=frictionloss)


def _limited(m: mjx.Model) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids of the limited ball joints, slides and hinges, and tendons, in the order of the rows."""
    limited = np.asarray(m.jnt_limited).astype(bool)
    scalar = np.isin(m.jnt_type, (int(_JOINT.mjJNT_SLIDE), int(_JOINT.mjJNT_HINGE)))
    ball = np.nonzero(limited & (m.jnt_type == int(_JOINT.mjJNT_BALL)))[0]
    return ball, np.nonzero(limited & scalar)[0], np.nonzero(m.tendon_limited)[0]


def limit_parameters(m: mjx.Model) -> tuple[Float[Array, "nl 2"], Float[Array, "nl 5"]]:
    """solref and solimp of every limit row, in the order of the rows."""
    if m.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_LIMIT:
        return jnp.zeros((0, 2)), jnp.zeros((0, 5))
    ball, slide_hinge, tendon = _limited(m)
    joint = np.concatenate([ball, slide_hinge])
    return (
        jnp.concatenate([m.jnt_solref[joint], m.tendon_solref_lim[tendon]]),
        jnp.concatenate([m.jnt_solimp[joint], m.tendon_solimp_lim[tendon]]),
    )


def limit_blocks(m: mjx.Model, d: mjx.Data, part: Part) -> list[Block]:
    """Limit rows, active while the distance to the nearer bound is below the margin.

    Args:
        part: softens the onset, relative to the range of the joint or tendon.
    """
    if m.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_LIMIT:
        return []
    ball, slide_hinge, tendon = _limited(m)
    blocks = []
    if ball.size:
        blocks.append(_ball(m, d, ball, part))
    if slide_hinge.size:
        blocks.append(_slide_hinge(m, d, slide_hinge, part))
    if tendon.size:
        blocks.append(_tendon(m, d, tendon, part))
    return blocks


def _limit(
    part: Part,
    bounds: Float[Array, "n 2"],
    J: Float[Array, "n nv"],
    dist: Float[Array, " n"],
    margin: Float[Array, " n"],
    invweight: Float[Array, " n"],
    solref: Float[Array, "n 2"],
    solimp: Float[Array, "n 5"],
) -> Block:
    pos = dist - margin
    width = jax.lax.stop_gradient(jnp.max(bounds, axis=1) - jnp.min(bounds, axis=1))
    active = part.below_zero(pos, width)
    return make_block(J, pos, pos, invweight, solref, solimp, active=active, margin=margin)


def _nearer_bound(
    value: Float[Array, " n"], bounds: Float[Array, "n 2"]
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Distance to the nearer bound and the sign with which `value` changes it."""
    lower, upper = value - bounds[:, 0], bounds[:, 1] - value
    is_lower = lower < upper
    return jnp.where(is_lower, lower, upper), jnp.where(is_lower, 1.0, -1.0)


def _ball(m: mjx.Model, d: mjx.Data, ids: np.ndarray, part: Part) -> Block:
    quat = d.qpos[m.jnt_qposadr[ids][:, None] + np.arange(4)]
    rotvec = quat_to_rotvec(quat.T).T
    dofs = m.jnt_dofadr[ids][:, None] + np.arange(3)
    select = np.eye(m.nv)[dofs]
    J = -jnp.einsum("ki,kij->kj", safe_normalize(rotvec), select)
    dist = jnp.max(m.jnt_range[ids], axis=1) - safe_norm(rotvec)
    return _limit(
        part,
        m.jnt_range[ids],
        J,
        dist,
        m.jnt_margin[ids],
        m.dof_invweight0[m.jnt_dofadr[ids]],
        m.jnt_solref[ids],
        m.jnt_solimp[ids],
    )


def _slide_hinge(m: mjx.Model, d: mjx.Data, ids: np.ndarray, part: Part) -> Block:
    dist, sign = _nearer_bound(d.qpos[m.jnt_qposadr[ids]], m.jnt_range[ids])
    dof = m.jnt_dofadr[ids]
    J = sign[:, None] * np.eye(m.nv)[dof]
    return _limit(
        part,
        m.jnt_range[ids],
        J,
        dist,
        m.jnt_margin[ids],
        m.dof_invweight0[dof],
        m.jnt_solref[ids],
        m.jnt_solimp[ids],
    )


def _tendon(m: mjx.Model, d: mjx.Data, ids: np.ndarray, part: Part) -> Block:
    dist, sign = _nearer_bound(d.ten_length[ids], m.tendon_range[ids])
    return _limit(
        part,
        m.tendon_range[ids],
        sign[:, None] * d._impl.ten_J[ids],
        dist,
        m.tendon_margin[ids],
        m.tendon_invweight0[ids],
        m.tendon_solref_lim[ids],
        m.tendon_solimp_lim[ids],
    )
