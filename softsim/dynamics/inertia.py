"""Inertia: centres of mass, motion axes, the mass matrix and products with its inverse.

Spatial vectors are (angular, linear), about the centre of mass of the whole tree a body belongs
to, `subtree_com[body_rootid]`, in world axes (Featherstone, Rigid Body Dynamics Algorithms, 2008,
with MuJoCo's choice of the reference point). Within a tree they add without a change of frame.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from mujoco.mjx import Data, Model

from softsim.dynamics.tree import HIGHEST, spread, tree
from softsim.rotations import cross, dot, matrices_first, rotate

MIN_MASS = 1e-15
"""kg; a lighter subtree has its centre of mass where its body has (MuJoCo's mjMINVAL)."""

Inertias = Float[Array, "10 n"]
"""Spatial inertias: xx, yy, zz, xy, xz, yz of the rotational inertia, mass * offset, mass."""


def com_pos(m: Model, d: Data) -> Data:
    """Fills `subtree_com`, `cinert` (body inertia) and `cdof` (motion of a dof, per unit speed)."""
    t = tree(m)
    mass, pos = m.body_mass, d.xipos.T
    total = spread(jnp.concatenate([pos * mass, mass[None]]), t.subtree)
    light = total[3] < MIN_MASS
    com = jnp.where(light, pos, total[:3] / jnp.where(light, 1, total[3]))
    inertia = _inertia_about(pos - spread(com, t.root), d.ximat, m.body_inertia, mass)
    d = d.replace(subtree_com=com.T, cdof=_motion_axes(m, d, com).T)
    return d.tree_replace({"_impl.cinert": inertia.T})


def _inertia_about(
    offset: Float[Array, "3 n"],
    ximat: Float[Array, "n 3 3"],
    diagonal: Float[Array, "n 3"],
    mass: Float[Array, " n"],
) -> Inertias:
    """Inertia about the point that lies `-offset` from the centre of mass (parallel axes)."""
    axes = matrices_first(ximat)
    row, col = np.array([0, 1, 2, 0, 0, 1]), np.array([0, 1, 2, 1, 2, 2])
    turned = sum(axes[row, k] * axes[col, k] * diagonal[:, k] for k in range(3))
    same = jnp.asarray(row == col, mass.dtype)[:, None]
    square = dot(offset, offset)
    shifted = mass * (same * square - offset[row] * offset[col])
    return jnp.concatenate([turned + shifted, mass * offset, mass[None]])


def _motion_axes(m: Model, d: Data, com: Float[Array, "3 body"]) -> Float[Array, "6 dof"]:
    t = tree(m)
    axis = spread(d.xaxis.T, t.dof_joint)
    if t.dof_frame.any():
        frames = matrices_first(d.xmat)
        axis += sum(spread(frames[:, k], t.dof_frame[k]) for k in range(3))
        axis += jnp.asarray(t.dof_fixed, axis.dtype)
    arm = spread(com, t.dof_root) - spread(d.xanchor.T, t.dof_anchor)
    turns = jnp.asarray(t.dof_turns, axis.dtype)
    return jnp.concatenate([axis * turns, cross(axis, arm) * turns + axis * (1 - turns)])


def inertia_times(inertia: Inertias, motion: Float[Array, "6 n"]) -> Float[Array, "6 n"]:
    """Momentum of a spatial inertia that moves with a spatial velocity, column by column."""
    ang, lin = motion[:3], motion[3:]
    xx, yy, zz, xy, xz, yz = inertia[:6]
    matrix = jnp.stack([jnp.stack(r) for r in ([xx, xy, xz], [xy, yy, yz], [xz, yz, zz])])
    moment, mass = inertia[6:9], inertia[9]
    return jnp.concatenate(
        [rotate(matrix, ang) + cross(moment, lin), mass * lin - cross(moment, ang)]
    )


def mass_matrix(m: Model, d: Data) -> Data:
    """Fills `crb` (inertia of each body's subtree) and the dense joint-space inertia `M`.

    M[i, j] = cdof_j . (inertia of the subtree that dof i moves) cdof_i where j is an ancestor of
    i, symmetric, plus the armature; 0 where neither dof moves the other's body.
    """
    t = tree(m)
    cinert, cdof = d._impl.cinert.T, d.cdof.T
    crb = spread(cinert, t.subtree) * (np.arange(m.nbody) > 0)
    momentum = inertia_times(spread(cinert, t.moves.T), cdof)
    half = jnp.matmul(momentum.T, cdof, precision=HIGHEST) * t.mass_mask.astype(cdof.dtype)
    full = half + half.T + jnp.diag(m.dof_armature)
    return d.tree_replace({"_impl.crb": crb.T, "_impl.M": full})


def inertia_pattern(m: Model) -> Bool[np.ndarray, "nv nv"]:
    """Where MuJoCo stores entries of M: each dof with itself and its ancestors, but for bodies
    with a diagonal inertia (a centred mass on slides) the diagonal alone.
    """
    pattern = np.zeros((m.nv, m.nv), bool)
    pattern[np.repeat(np.arange(m.nv), m.M_rownnz), m.M_colind] = True
    return pattern | pattern.T
