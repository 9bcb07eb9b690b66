"""Constants that MuJoCo's compiler derives from the rest of a model, recomputed and differentiable.

Change a mass and the softness of every contact of that body changes with it, through its inverse
weight; change an anchor and the other half of the constraint must follow. A recompiled model has
all that; `m.replace(...)` alone has not.
"""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float, Int
from mujoco import mjx
from mujoco.mjx import GeomType

from softsim.dynamics import point_jacobians
from softsim.dynamics.tree import spread, tree
from softsim.linear import solve_spd
from softsim.model import make_data
from softsim.rotations import matrices_last, quat_to_mat
from softsim.step import kinematics

DERIVED = (
    "body_subtreemass", "body_invweight0", "dof_invweight0", "tendon_length0", "tendon_invweight0",
    "eq_data", "actuator_acc0", "geom_rbound",
)  # fmt: skip
"""The recomputed leaves that a step or a sensor reads."""
_SLIDES = 2
"""Of `body_simple`: all joints of the body are slides, and its inertia is diagonal."""


def set_const(m: mjx.Model) -> mjx.Model:
    """`m` with its derived constants at `m.qpos0`, as `mj_setConst`; to be called after `replace`.

    Recomputed: subtree masses, `dof_M0`, the inverse weights of bodies, dofs and tendons (which
    scale the softness of constraints), tendon lengths, the second anchor of `connect`, actuators'
    `acc0`, reference poses of cameras and, as the compiler does, the
    bounding radii of primitive geoms. Jit, vmap and derivatives work.

    >>> import mujoco, softsim
    >>> m = softsim.put_model(mujoco.MjModel.from_xml_string(
    ...     "<mujoco><worldbody><body><joint type='slide'/><geom size='.1' mass='2'/></body>"
    ...     "</worldbody></mujoco>"))
    >>> heavier = softsim.set_const(m.replace(body_mass=m.body_mass * 2))
    >>> print(*m.dof_invweight0, *heavier.dof_invweight0)
    0.5 0.25
    """
    d = make_data(m)
    d = kinematics(m, d.replace(qpos=m.qpos0))
    inverse = jax.vmap(solve_spd, in_axes=(None, 0))(d._impl.M, jnp.eye(m.nv, dtype=m.qpos0.dtype))
    tendon, moment = d._impl.ten_J, d._impl.actuator_moment
    return m.replace(
        body_subtreemass=spread(m.body_mass, tree(m).subtree),
        dof_M0=jnp.diagonal(d._impl.M),
        body_invweight0=_body_weights(m, d, inverse),
        dof_invweight0=_dof_weights(m, jnp.diagonal(inverse)),
        tendon_length0=d.ten_length,
        tendon_invweight0=jnp.einsum("tv,vw,tw->t", tendon, inverse, tendon),
        eq_data=_second_anchors(m, d),
        actuator_acc0=jnp.sqrt(jnp.sum(jnp.square(moment @ inverse), axis=1)),
        geom_rbound=_bounding_radii(m),
        **_camera_poses(m, d),
    )


def _body_weights(
    m: mjx.Model, d: mjx.Data, inverse: Float[Array, "nv nv"]
) -> Float[Array, "nbody 2"]:
    """Means of the diagonal of J M^-1 J' at the centres of mass: translation and rotation.

    A body that only slides has the inverse of its mass, along however few axes.
    """
    jacobians = point_jacobians(m, d, d.xipos, np.arange(m.nbody))
    weights = [jnp.einsum("nkv,vw,nkw->n", J, inverse, J) / 3 for J in jacobians]
    return jnp.stack([_sliding(m, np.arange(m.nbody), weights[0]), weights[1]], axis=1)


def _sliding(
    m: mjx.Model, body: Int[np.ndarray, " n"], weight: Float[Array, " n"]
) -> Float[Array, " n"]:
    """The weight, or the inverse of its mass for a body that only slides, as MuJoCo has it."""
    slides = np.asarray(m.body_simple)[body] == _SLIDES
    mass = jnp.where(slides, m.body_mass[body], 1.0)
    return jnp.where(slides, 1.0 / mass, weight)


def _dof_weights(m: mjx.Model, diagonal: Float[Array, " nv"]) -> Float[Array, " nv"]:
    """The diagonal of M^-1, averaged over the three dofs of a translation or rotation.

    Of a body that only slides it is the inverse of its mass, without armature.
    """
    group = np.arange(m.nv)
    for kind, first in zip(m.jnt_type, m.jnt_dofadr):
        if kind == mujoco.mjtJoint.mjJNT_FREE:
            group[first : first + 6] = np.repeat([first, first + 3], 3)
        elif kind == mujoco.mjtJoint.mjJNT_BALL:
            group[first : first + 3] = first
    same = (group[:, None] == group[None, :]).astype(float)
    mean = jnp.asarray(same / same.sum(axis=1, keepdims=True), diagonal.dtype)
    return _sliding(m, np.asarray(m.dof_bodyid), mean @ diagonal)


def _second_anchors(m: mjx.Model, d: mjx.Data) -> Float[Array, "neq 11"]:
    """`eq_data` in which the anchor of body 2 is where that of body 1 is at the reference pose."""
    between_bodies = m.eq_objtype == int(mujoco.mjtObj.mjOBJ_BODY)
    ids = np.nonzero((m.eq_type == int(mujoco.mjtEq.mjEQ_CONNECT)) & between_bodies)[0]
    if not ids.size:
        return m.eq_data
    body1, body2 = m.eq_obj1id[ids], m.eq_obj2id[ids]
    world = d.xpos[body1] + jnp.einsum("kij,kj->ki", d.xmat[body1], m.eq_data[ids, :3])
    local = jnp.einsum("kij,ki->kj", d.xmat[body2], world - d.xpos[body2])
    return m.eq_data.at[ids, 3:6].set(local)


def _bounding_radii(m: mjx.Model) -> Float[Array, " ngeom"]:
    """Radii (m) of spheres about the geoms' centres; those of meshes and height fields as given."""
    x, y, _ = m.geom_size.T
    box = jnp.sqrt(jnp.sum(jnp.square(m.geom_size), axis=1))
    radius = {
        GeomType.SPHERE: x,
        GeomType.CAPSULE: x + y,
        GeomType.CYLINDER: jnp.sqrt(jnp.square(x) + jnp.square(y)),
        GeomType.ELLIPSOID: jnp.max(m.geom_size, axis=1),
        GeomType.BOX: box,
    }
    bound = jnp.asarray(m.geom_rbound)
    for kind, value in radius.items():
        bound = jnp.where(m.geom_type == int(kind), value, bound)
    return bound


def _camera_poses(m: mjx.Model, d: mjx.Data) -> dict[str, Array]:
    """Poses of cameras at the reference pose (m, world axes), relative to what they track: the
    body's origin, or the centre of mass of the target's (without a target the body's) subtree.
    """
    body, target = m.cam_bodyid, m.cam_targetbodyid
    offset = jnp.einsum("nij,nj->ni", d.xmat[body], m.cam_pos)
    com = d.subtree_com[np.where(target >= 0, target, body)]
    mat = matrices_last(quat_to_mat(m.cam_quat.T))
    return {
        "cam_pos0": offset,
        "cam_poscom0": d.xpos[body] + offset - com,
        "cam_mat0": d.xmat[body] @ mat,
    }
