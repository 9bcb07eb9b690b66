"""Mechanical energy, as MuJoCo's `mjData.energy`."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from mujoco.mjx import Data, DisableBit, Model

from softsim.dynamics.tree import BALL, FREE, spread, tree
from softsim.numerics import quat_conj, quat_mul, quat_to_rotvec


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
    energy += jnp.sum(m.jnt_stiffness * _squared_strain(m, d)) / 2
    slack, taut = m.tendon_lengthspring[:, 0], m.tendon_lengthspring[:, 1]
    stretch = jnp.maximum(d.ten_length - taut, 0) - jnp.maximum(slack - d.ten_length, 0)
    return energy + jnp.sum(m.tendon_stiffness * jnp.square(stretch)) / 2


def _squared_strain(m: Model, d: Data) -> Float[Array, " njnt"]:
    """Squared displacement of every joint from its spring's rest: m^2 + rad^2."""
    t = tree(m)
    linear = t.dof_qpos.T @ t.dof_anchor.T.astype(float)
    squares = spread(jnp.square(d.qpos - m.qpos_spring), linear)
    if t.quat_address.size == 0:
        return squares
    rest, quat = m.qpos_spring[t.quat_address], d.qpos[t.quat_address]
    turn = quat_to_rotvec(quat_mul(quat_conj(rest), quat))
    joint = np.flatnonzero(np.isin(m.jnt_type, (FREE, BALL)))
    return squares.at[joint].add(jnp.sum(jnp.square(turn), axis=-1))
