"""Passive forces: springs, dampers, gravity compensation and the drag of a fluid.

A spring or damper may be nonlinear: with coefficients (c0, c1) it is stiffness + c0 x + c1 x^2
times the displacement x, damping + c0 |v| + c1 v^2 times the velocity v.

Reference: MuJoCo documentation, "Computation", sections "Passive forces" and "Fluid forces".
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from mujoco.mjx import Data, DisableBit, Model

from softsim.dynamics.jacobian import point_jacobians
from softsim.dynamics.tree import BALL, FREE, HIGHEST, spread, tree
from softsim.numerics import safe_norm
from softsim.rotations import (
    cross,
    dot,
    matrices_first,
    planes,
    quat_conj,
    quat_mul,
    quat_to_rotvec,
    rotate,
)

TINY = 1e-15
"""MuJoCo's mjMINVAL: kg, kg m^2."""

Coefficients = Float[Array, "n 2"]


def passive(m: Model, d: Data) -> Data:
    """Fills `qfrc_passive` and `qfrc_gravcomp`.

    Reads poses, velocities and tendons. As in MuJoCo, nothing of it is left where the flags of
    springs and dampers are both disabled.
    """
    no_spring, no_damper = _disabled(m)
    zero = jnp.zeros_like(d.qvel)
    if no_spring and no_damper:
        return d.replace(qfrc_passive=zero, qfrc_gravcomp=zero)
    qfrc, tension = zero, jnp.zeros_like(d.ten_length)
    if not no_spring:
        qfrc -= _joint_springs(m, d)
        stretch = tendon_stretch(m, d)
        tension -= _polynomial(m.tendon_stiffness, m.tendon_stiffnesspoly, stretch) * stretch
    if not no_damper:
        qfrc -= _polynomial(m.dof_damping, m.dof_dampingpoly, _speed(d.qvel)) * d.qvel
        rate = d._impl.ten_velocity
        tension -= _polynomial(m.tendon_damping, m.tendon_dampingpoly, _speed(rate)) * rate
    if m.ntendon:
        qfrc += jnp.matmul(d._impl.ten_J.T, tension, precision=HIGHEST)
    gravcomp = zero
    if m.flg_gravcomp and not m.opt.disableflags & DisableBit.GRAVITY:
        lift = -m.opt.gravity[:, None] * (m.body_mass * m.body_gravcomp)
        gravcomp = _on_dofs(m, d, lift, jnp.zeros_like(lift))
        qfrc += gravcomp * ~m.jnt_actgravcomp[m.dof_jntid]
    if m.opt._impl.has_fluid_params:
        qfrc += _fluid(m, d)
    return d.replace(qfrc_passive=qfrc, qfrc_gravcomp=gravcomp)


class Strain(NamedTuple):
    """Displacements of joints from the rest of their springs.

    Attributes:
        scalar: (nq,) of hinge and slide joints, m or rad; 0 at the other coordinates.
        linear: (nfree, 3) of free joints, m.
        turn: (nquat, 3) of free and ball joints, rad, in the frame of the body.
    """

    scalar: Float[Array, " nq"]
    linear: Float[Array, "free 3"]
    turn: Float[Array, "quat 3"]


def strain(m: Model, d: Data) -> Strain:
    """Displacements of all joints, with or without a spring."""
    t = tree(m)
    moved = d.qpos - m.qpos_spring
    rest, quat = m.qpos_spring[t.quat_address], d.qpos[t.quat_address]
    return Strain(
        moved * t.qpos_scalar.any(axis=1),
        moved[m.jnt_qposadr[m.jnt_type == FREE][:, None] + np.arange(3)],
        quat_to_rotvec(quat_mul(quat_conj(rest.T), quat.T)).T,
    )


def rotating_joints(m: Model) -> np.ndarray:
    """The free and ball joints, in the order of `Strain.turn`."""
    return np.flatnonzero(np.isin(m.jnt_type, (FREE, BALL)))


def tendon_stretch(m: Model, d: Data) -> Float[Array, " ntendon"]:
    """m; how far tendons are longer (or, negative, shorter) than their springs' range of rest."""
    slack, taut = m.tendon_lengthspring.T
    return jnp.maximum(d.ten_length - taut, 0) - jnp.maximum(slack - d.ten_length, 0)


def damping_rates(m: Model, d: Data) -> tuple[Float[Array, " nv"], Float[Array, " ntendon"]]:
    """-d force / d velocity of the dampers of dofs and tendons, 0 where they are disabled."""
    if _disabled(m)[1]:
        return jnp.zeros_like(d.qvel), jnp.zeros_like(d.ten_length)
    rate = lambda damping, poly, v: _polynomial(damping, poly * np.array([2, 3]), _speed(v))
    return (
        rate(m.dof_damping, m.dof_dampingpoly, d.qvel),
        rate(m.tendon_damping, m.tendon_dampingpoly, d._impl.ten_velocity),
    )


def fluid_rate(m: Model, d: Data) -> Float[Array, "nv nv"]:
    """d force / d velocity of the fluid's drag, at constant poses."""
    velocity = _local_velocity(m, d)
    box = _equivalent_box(m)
    _, rate = jax.jvp(lambda v: _drag(m, box, v), (velocity,), (jnp.ones_like(velocity),))
    linear, angular = point_jacobians(m, d, d.xipos, np.arange(m.nbody))
    local = lambda J: jnp.einsum("nji,njv->niv", d.ximat, J, precision=HIGHEST)
    J = jnp.concatenate([local(angular), local(linear)], axis=1)
    return jnp.einsum("niv,in,niw->vw", J, rate, J, precision=HIGHEST)


def _disabled(m: Model) -> tuple[bool, bool]:
    flags = m.opt.disableflags
    return bool(flags & DisableBit.SPRING), bool(flags & DisableBit.DAMPER)


def _polynomial(
    first: Float[Array, " n"], higher: Coefficients, x: Float[Array, " n"]
) -> Float[Array, " n"]:
    return first + x * (higher[:, 0] + x * higher[:, 1])


def _speed(velocity: Float[Array, "*n"]) -> Float[Array, "*n"]:
    """|velocity|; at rest the slope is the mean of both sides, 0 (that of `jnp.abs` is 1)."""
    return velocity * jnp.sign(velocity)


def _joint_springs(m: Model, d: Data) -> Float[Array, " nv"]:
    """Generalised force that stretches the joints as far as they are."""
    t = tree(m)
    x = strain(m, d)
    on_dof = np.asarray(m.dof_jntid)
    moved = spread(x.scalar, t.dof_qpos.T)
    force = _polynomial(m.jnt_stiffness[on_dof], m.jnt_stiffnesspoly[on_dof], moved) * moved
    if t.quat_address.size == 0:
        return force
    force = force.at[t.spin_address].set(_radial(m, rotating_joints(m), x.turn))
    free = np.flatnonzero(m.jnt_type == FREE)
    return force.at[m.jnt_dofadr[free][:, None] + np.arange(3)].set(_radial(m, free, x.linear))


def _radial(m: Model, joint: np.ndarray, x: Float[Array, "n 3"]) -> Float[Array, "n 3"]:
    """Force along the displacement, its stiffness a function of the distance."""
    stiffness = _polynomial(m.jnt_stiffness[joint], m.jnt_stiffnesspoly[joint], safe_norm(x))
    return stiffness[:, None] * x


def _on_dofs(
    m: Model, d: Data, force: Float[Array, "3 body"], torque: Float[Array, "3 body"]
) -> Float[Array, " nv"]:
    """Generalised force of forces at the bodies' centres of mass, and torques; world axes."""
    t = tree(m)
    arm = d.xipos.T - spread(d.subtree_com.T, t.root)
    wrench = jnp.concatenate([torque + cross(arm, force), force])
    return dot(d.cdof.T, spread(wrench, t.moves.T))


def _fluid(m: Model, d: Data) -> Float[Array, " nv"]:
    """Viscosity, lift and drag on the box that has a body's inertia."""
    drag = _drag(m, _equivalent_box(m), _local_velocity(m, d))
    world = matrices_first(d.ximat)
    return _on_dofs(m, d, rotate(world, drag[3:]), rotate(world, drag[:3]))


def _equivalent_box(m: Model) -> Float[Array, "3 body"]:
    """m; sides of the solid box of uniform density with a body's mass and inertia."""
    total = jnp.sum(m.body_inertia, axis=1, keepdims=True)
    heavy = (m.body_mass >= TINY)[:, None]
    mass = jnp.where(heavy, m.body_mass[:, None], 1.0)
    square = 6 * jnp.maximum(total - 2 * m.body_inertia, TINY) / mass
    return jnp.where(heavy, jnp.sqrt(square), 0.0).T


def _local_velocity(m: Model, d: Data) -> Float[Array, "6 body"]:
    """Angular and linear velocity of bodies relative to the fluid, in their inertial frames."""
    t = tree(m)
    angular, linear = d.cvel.T[:3], d.cvel.T[3:]
    arm = d.xipos.T - spread(d.subtree_com.T, t.root)
    local = matrices_first(d.ximat).swapaxes(0, 1)
    through = linear + cross(angular, arm) - m.opt.wind[:, None]
    return jnp.concatenate([rotate(local, angular), rotate(local, through)])


def _drag(
    m: Model, box: Float[Array, "3 body"], velocity: Float[Array, "6 body"]
) -> Float[Array, "6 body"]:
    """Torque and force, component by component a function of that component of the velocity."""
    x, y, z = planes(box)
    diameter = (x + y + z) / 3
    viscous = jnp.stack([jnp.pi * diameter**3] * 3 + [3 * jnp.pi * diameter] * 3)
    torque = [x * (y**4 + z**4) / 64, y * (x**4 + z**4) / 64, z * (x**4 + y**4) / 64]
    inertial = jnp.stack(torque + [y * z / 2, x * z / 2, x * y / 2])
    resistance = m.opt.viscosity * viscous + m.opt.density * inertial * _speed(velocity)
    return -resistance * velocity
