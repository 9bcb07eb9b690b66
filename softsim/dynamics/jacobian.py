"""Jacobians of points fixed to bodies, many points at once."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from mujoco.mjx import Data, Model

from softsim.dynamics.tree import spread, tree
from softsim.rotations import cross

Bodies = Int[np.ndarray, " n"] | Int[Array, " n"]
Jacobians = Float[Array, "n 3 nv"]


def point_jacobians(
    m: Model, d: Data, points: Float[Array, "n 3"], body: Bodies
) -> tuple[Jacobians, Jacobians]:
    """Jacobians of world points fixed to bodies, as `mj_jac`.

    Args:
        points: m, world frame.
        body: the body each point moves with; constant or traced.

    Returns:
        jacp, jacr: velocity of the point and angular velocity of the body, world frame, per unit
        of `qvel`.
    """
    return _jacobians(m, d, points, _moves(m, d, body))


def relative_jacobians(
    m: Model, d: Data, points: Float[Array, "n 3"], body1: Bodies, body2: Bodies
) -> tuple[Jacobians, Jacobians]:
    """Motion of body2 relative to body1 at common world points: the difference of the two
    `point_jacobians`, at the cost of one. Arguments and results are as there.
    """
    return _jacobians(m, d, points, _moves(m, d, body2) - _moves(m, d, body1))


def _moves(m: Model, d: Data, body: Bodies) -> Float[Array, "n 1 nv"]:
    moves = jnp.asarray(tree(m).moves.T, d.cdof.dtype)
    return moves[body][:, None]


def _jacobians(
    m: Model, d: Data, points: Float[Array, "n 3"], moves: Float[Array, "n 1 nv"]
) -> tuple[Jacobians, Jacobians]:
    """A dof's velocity field at the points, where it moves the body.

    The reference point is that of the dof, not of the body: they agree where the dof moves it.
    """
    cdof = d.cdof.T
    centre = spread(d.subtree_com.T, tree(m).dof_root)
    angular, linear = cdof[:3], cdof[3:]
    arm = jnp.moveaxis(points[:, :, None] - centre, 1, 0)
    turning = jnp.moveaxis(cross(angular, arm), 0, 1)
    return (linear + turning) * moves, angular * moves
