"""Mechanical energy, as MuJoCo's `mjData.energy`."""

import jax.numpy as jnp
from jaxtyping import Array, Float
from mujoco.mjx import Data, DisableBit, Model

from softsim.dynamics.passive import Coefficients, rotating_joints, strain, tendon_stretch
from softsim.dynamics.tree import FREE, one_hot, spread
from softsim.numerics import safe_norm


def kinetic_energy(m: Model, d: Data) -> Float[Array, ""]:
    """J; 1/2 v' M v, armature included. Reads `M` and `qvel`."""
    return d.qvel @ d._impl.M @ d.qvel / 2


def potential_energy(m: Model, d: Data) -> Float[Array, ""]:
    """J; of gravity (0 at the world origin), joint springs and tendon springs.

    Reads `xipos`, `qpos` and `ten_length`.
    """
    energy = jnp.zeros((), d.qpos.dtype)
    if not m.opt.disableflags & DisableBit.GRAVITY:
        energy -= jnp.sum(m.body_mass[:, None] * d.xipos * m.opt.gravity)
    if m.opt.disableflags & DisableBit.SPRING:
        return energy
    energy += _joint_energy(m, d)
    stretch = tendon_stretch(m, d)
    square = jnp.square(stretch)
    return energy + jnp.sum(_stored(m.tendon_stiffness, m.tendon_stiffnesspoly, square, stretch))


def _joint_energy(m: Model, d: Data) -> Float[Array, ""]:
    x = strain(m, d)
    spring = lambda joint: (m.jnt_stiffness[joint], m.jnt_stiffnesspoly[joint])
    scalar = spread(x.scalar, one_hot(m.jnt_qposadr, m.nq))
    energy = jnp.sum(_stored(*spring(slice(None)), jnp.square(scalar), scalar))
    for joint, moved in ((m.jnt_type == FREE, x.linear), (rotating_joints(m), x.turn)):
        square = jnp.sum(jnp.square(moved), axis=1)
        energy += jnp.sum(_stored(*spring(joint), square, safe_norm(moved)))
    return energy


def _stored(
    stiffness: Float[Array, " n"],
    higher: Coefficients,
    square: Float[Array, " n"],
    x: Float[Array, " n"],
) -> Float[Array, " n"]:
    """Work of stretching springs by x, whose square is given too: it is smooth at x = |0|."""
    return square * (stiffness / 2 + x * higher[:, 0] / 3 + square * higher[:, 1] / 4)
