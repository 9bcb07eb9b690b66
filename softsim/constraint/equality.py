"""Equality rows: connect, weld, joint and tendon couplings."""

import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

from softsim.constraint.rows import Block, make_block
from softsim.dynamics import point_jacobians
from softsim.numerics import safe_norm
from softsim.rotations import pure, quat_conj, quat_mul

_EQ = mujoco.mjtEq


def equality_blocks(m: mjx.Model, d: mjx.Data) -> list[Block]:
    """The blocks of all equality constraints, in MuJoCo's order of kinds."""
    makers = (_connect, _weld, _joint, _tendon)
    return [make(m, d, ids) for make, ids in zip(makers, equality_ids(m)) if ids.size]


def equality_ids(m: mjx.Model) -> list[np.ndarray]:
    """The ids of the connect, weld, joint and tendon equalities; none where they are disabled."""
    kinds = (_EQ.mjEQ_CONNECT, _EQ.mjEQ_WELD, _EQ.mjEQ_JOINT, _EQ.mjEQ_TENDON)
    disabled = bool(m.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_EQUALITY)
    return [np.nonzero((m.eq_type == int(kind)) & (not disabled))[0] for kind in kinds]


def _block(
    m: mjx.Model,
    d: mjx.Data,
    ids: np.ndarray,
    J: Float[Array, "k n nv"],
    pos: Float[Array, "k n"],
    pos_imp: Float[Array, " k"],
    invweight: Float[Array, "k n"],
) -> Block:
    """Rows of k constraints with n rows each; impedance and activity are shared by the n rows."""
    n = pos.shape[1]
    rep = lambda x: jnp.repeat(x, n, axis=0)
    return make_block(
        J.reshape(-1, m.nv),
        pos.reshape(-1),
        rep(pos_imp),
        invweight.reshape(-1),
        rep(m.eq_solref[ids]),
        rep(m.eq_solimp[ids]),
        active=rep(jnp.asarray(d.eq_active)[ids].astype(pos.dtype)),
    )


def bodies(m: mjx.Model, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Body ids of both sides, and whether the constraint is between sites (all static)."""
    is_site = m.eq_objtype[ids] == int(mujoco.mjtObj.mjOBJ_SITE)
    obj1, obj2 = m.eq_obj1id[ids], m.eq_obj2id[ids]
    if not is_site.any():
        return obj1, obj2, is_site
    site_body = lambda obj: m.site_bodyid[np.where(is_site, obj, 0)]
    return (
        np.where(is_site, site_body(obj1), obj1),
        np.where(is_site, site_body(obj2), obj2),
        is_site,
    )


def _anchors(
    m: mjx.Model,
    d: mjx.Data,
    ids: np.ndarray,
    anchor1: Float[Array, "k 3"],
    anchor2: Float[Array, "k 3"],
) -> tuple[Float[Array, "k 3"], Float[Array, "k 3"]]:
    """World positions of the two anchor points (site positions where the objects are sites)."""
    body1, body2, is_site = bodies(m, ids)
    pos1 = d.xpos[body1] + jnp.einsum("kij,kj->ki", d.xmat[body1], anchor1)
    pos2 = d.xpos[body2] + jnp.einsum("kij,kj->ki", d.xmat[body2], anchor2)
    if is_site.any():
        site = is_site[:, None]
        pos1 = jnp.where(site, d.site_xpos[np.where(is_site, m.eq_obj1id[ids], 0)], pos1)
        pos2 = jnp.where(site, d.site_xpos[np.where(is_site, m.eq_obj2id[ids], 0)], pos2)
    return pos1, pos2


def _point_difference(
    m: mjx.Model, d: mjx.Data, ids: np.ndarray, pos1: Float[Array, "k 3"], pos2: Float[Array, "k 3"]
) -> tuple[Float[Array, "k 3 nv"], Float[Array, "k 3 nv"]]:
    """Linear and angular Jacobian of side 1 minus side 2."""
    body1, body2, _ = bodies(m, ids)
    linear1, angular1 = point_jacobians(m, d, pos1, body1)
    linear2, angular2 = point_jacobians(m, d, pos2, body2)
    return linear1 - linear2, angular1 - angular2


def connect_anchors(
    m: mjx.Model, d: mjx.Data, ids: np.ndarray
) -> tuple[Float[Array, "k 3"], Float[Array, "k 3"]]:
    """World positions of the two points that a connect joins."""
    return _anchors(m, d, ids, m.eq_data[ids, 0:3], m.eq_data[ids, 3:6])


def weld_anchors(
    m: mjx.Model, d: mjx.Data, ids: np.ndarray
) -> tuple[Float[Array, "k 3"], Float[Array, "k 3"]]:
    """The same of a weld, which stores the anchor of the second body first."""
    return _anchors(m, d, ids, m.eq_data[ids, 3:6], m.eq_data[ids, 0:3])


def weld_quaternions(
    m: mjx.Model, d: mjx.Data, ids: np.ndarray
) -> tuple[Float[Array, "4 k"], Float[Array, "4 k"]]:
    """p and q whose product p q is the rotation error: the second side's inverse, the first's."""
    body1, body2, is_site = bodies(m, ids)
    quat1 = quat_mul(d.xquat[body1].T, m.eq_data[ids, 6:10].T)
    quat2 = d.xquat[body2].T
    if is_site.any():
        site1 = m.site_quat[np.where(is_site, m.eq_obj1id[ids], 0)].T
        site2 = m.site_quat[np.where(is_site, m.eq_obj2id[ids], 0)].T
        quat1 = jnp.where(is_site, quat_mul(d.xquat[body1].T, site1), quat1)
        quat2 = jnp.where(is_site, quat_mul(quat2, site2), quat2)
    return quat_conj(quat2), quat1


def _connect(m: mjx.Model, d: mjx.Data, ids: np.ndarray) -> Block:
    pos1, pos2 = connect_anchors(m, d, ids)
    J, _ = _point_difference(m, d, ids, pos1, pos2)
    pos = pos1 - pos2
    body1, body2, _ = bodies(m, ids)
    weight = m.body_invweight0[body1, 0] + m.body_invweight0[body2, 0]
    return _block(m, d, ids, J, pos, safe_norm(pos), jnp.repeat(weight[:, None], 3, axis=1))


def _weld(m: mjx.Model, d: mjx.Data, ids: np.ndarray) -> Block:
    pos1, pos2 = weld_anchors(m, d, ids)
    torquescale = m.eq_data[ids, 10:11]
    body1, body2, _ = bodies(m, ids)
    left, right = weld_quaternions(m, d, ids)
    rotation_error = quat_mul(left, right)[1:].T * torquescale
    Jp, Jr = _point_difference(m, d, ids, pos1, pos2)
    Jr = rotation_rate(left, Jr * torquescale[:, :, None], right)
    pos = jnp.concatenate([pos1 - pos2, rotation_error], axis=1)
    weight = m.body_invweight0[body1] + m.body_invweight0[body2]
    J = jnp.concatenate([Jp, Jr], axis=1)
    return _block(m, d, ids, J, pos, safe_norm(pos), jnp.repeat(weight, 3, axis=1))


def rotation_rate(
    left: Float[Array, "4 k"], omega: Float[Array, "k 3 nv"], right: Float[Array, "4 k"]
) -> Float[Array, "k 3 nv"]:
    """Vector part of 1/2 left (0, omega) right for every column: the rate of a quaternion error."""
    left, right = (q[:, :, None] for q in (left, right))
    rate = quat_mul(quat_mul(left, pure(jnp.swapaxes(omega, 0, 1))), right)
    return 0.5 * jnp.swapaxes(rate[1:], 0, 1)


def _polynomial(
    data: Float[Array, "k 11"], x: Float[Array, " k"]
) -> tuple[Float[Array, " k"], Float[Array, " k"]]:
    """Value and derivative of the quartic coupling polynomial, by Horner's rule."""
    value, slope = jnp.zeros_like(x), jnp.zeros_like(x)
    for coefficient in jnp.moveaxis(data[:, 4::-1], 1, 0):
        slope = slope * x + value
        value = value * x + coefficient
    return value, slope


def _joint(m: mjx.Model, d: mjx.Data, ids: np.ndarray) -> Block:
    joint1, joint2 = m.eq_obj1id[ids], m.eq_obj2id[ids]
    coupled = (joint2 >= 0).astype(float)
    joint2 = np.maximum(joint2, 0)
    q1, q2 = m.jnt_qposadr[joint1], m.jnt_qposadr[joint2]
    v1, v2 = m.jnt_dofadr[joint1], m.jnt_dofadr[joint2]
    value, slope = _polynomial(m.eq_data[ids], (d.qpos[q2] - m.qpos0[q2]) * coupled)
    pos = d.qpos[q1] - m.qpos0[q1] - value
    unit = np.eye(m.nv)
    J = unit[v1] - (slope * coupled)[:, None] * unit[v2]
    weight = m.dof_invweight0[v1] + m.dof_invweight0[v2] * coupled
    return _block(m, d, ids, J[:, None], pos[:, None], pos, weight[:, None])


def _tendon(m: mjx.Model, d: mjx.Data, ids: np.ndarray) -> Block:
    tendon1, tendon2 = m.eq_obj1id[ids], m.eq_obj2id[ids]
    coupled = (tendon2 >= 0).astype(float)
    tendon2 = np.maximum(tendon2, 0)
    stretch = d.ten_length - m.tendon_length0
    value, slope = _polynomial(m.eq_data[ids], stretch[tendon2] * coupled)
    pos = stretch[tendon1] - value
    ten_J = d._impl.ten_J
    J = ten_J[tendon1] - (slope * coupled)[:, None] * ten_J[tendon2]
    weight = m.tendon_invweight0[tendon1] + m.tendon_invweight0[tendon2] * coupled
    return _block(m, d, ids, J[:, None], pos[:, None], pos, weight[:, None])
