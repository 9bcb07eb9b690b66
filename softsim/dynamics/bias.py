"""Velocities of bodies, and the bias force: gravity, Coriolis and centrifugal forces."""

import jax.numpy as jnp
from jaxtyping import Array, Float
from mujoco.mjx import Data, DisableBit, Model

from softsim.dynamics.inertia import inertia_times
from softsim.dynamics.tree import spread, tree
from softsim.rotations import cross, dot

Spatial = Float[Array, "6 n"]


def com_vel(m: Model, d: Data) -> Data:
    """Fills `cvel`, spatial velocities of bodies, and `cdof_dot`, rates of change of `cdof`.

    A dof's axis is carried by what moves before it: its ancestors, the earlier joints of its own
    body, and for the rotations of a free joint its translations; never by its own joint's turn.
    """
    t = tree(m)
    cdof = d.cdof.T
    moving = cdof * d.qvel
    cdof_dot = motion_cross(spread(moving, t.precedes), cdof)
    return d.replace(cvel=spread(moving, t.moves).T, cdof_dot=cdof_dot.T)


def bias(m: Model, d: Data) -> Data:
    """Fills `qfrc_bias`: the force that keeps every dof at constant velocity.

    Recursive Newton-Euler without acceleration (Featherstone 2008, table 5.1), its recursions
    written as sums over the tree.
    """
    t = tree(m)
    cinert, cvel = d._impl.cinert.T, d.cvel.T
    cacc = spread(d.cdof_dot.T * d.qvel, t.moves)
    if not m.opt.disableflags & DisableBit.GRAVITY:
        cacc -= jnp.concatenate([jnp.zeros_like(m.opt.gravity), m.opt.gravity])[:, None]
    force = inertia_times(cinert, cacc) + force_cross(cvel, inertia_times(cinert, cvel))
    return d.replace(qfrc_bias=dot(d.cdof.T, spread(force, t.moves.T)))


def motion_cross(v: Spatial, u: Spatial) -> Spatial:
    """Rate of change of a spatial motion u carried along by a spatial velocity v: v x u."""
    angular, linear = v[:3], v[3:]
    return jnp.concatenate([cross(angular, u[:3]), cross(linear, u[:3]) + cross(angular, u[3:])])


def force_cross(v: Spatial, f: Spatial) -> Spatial:
    """Rate of change of a spatial force f carried along by a spatial velocity v: v x* f."""
    angular, linear = v[:3], v[3:]
    return jnp.concatenate([cross(angular, f[:3]) + cross(linear, f[3:]), cross(angular, f[3:])])
