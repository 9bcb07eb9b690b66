"""MuJoCo's noslip solver: friction solved again, without regularisation, after the constraints.

The constraint solver is soft in the directions of friction too, so contacts creep. With the normal
forces fixed, a few sweeps of projected Gauss-Seidel look for the friction forces f that minimise

    1/2 f' A f + f' b,        A = J M^-1 J',   b = J a0 - aref,       a0 = M^-1 qfrc_smooth,

within their cones: one friction loss, one pair of opposing pyramid edges or one elliptic contact at
a time, in the order of the rows. As few sweeps need not converge, it is the sweeps that are
differentiated. Reference: MuJoCo documentation, "Computation", section "Constraint solver".
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

from softsim.constraint.rows import Rows
from softsim.linear import solve_spd
from softsim.solver import Problem, Solution

NEWTON = 20
"""Iterations for the multiplier of an elliptic cone; from outside they converge monotonically."""


class Option(mjx.Option):
    """MJX's options and those of the noslip solver, named as in MuJoCo's `mjOption`."""

    noslip_iterations: int
    noslip_tolerance: jax.Array


class _Group(NamedTuple):
    """n blocks of k friction rows, each with |y| <= bound; rows and forces are linear in y."""

    J: Float[Array, "n k nv"]
    W: Float[Array, "n k nv"]  # M^-1 J'
    aref: Float[Array, "n k"]
    bound: Float[Array, " n"]


def without_slip(
    m: mjx.Model, problem: Problem, dims: Sequence[int], solution: Solution
) -> Solution:
    """The solution after the sweeps that follow the constraint solver's.

    Args:
        dims: dimension of each contact, in the order of the rows.
    """
    M, rows, force = problem.M, problem.rows, solution.efc_force
    to_rows = _friction(rows, dims, force.dtype)
    groups, starts = [], []
    for index, U, radius in to_rows:
        J = jnp.einsum("nik,niv->nkv", U, rows.J[index])
        W = jax.vmap(lambda j: solve_spd(M, j))(J.reshape(-1, m.nv)).reshape(J.shape)
        aref = jnp.einsum("nik,ni->nk", U, rows.aref[index])
        groups.append(_Group(J, W, aref, radius(force)))
        starts.append(jnp.einsum("nik,ni->nk", U, force[index]) / jnp.sum(U**2, axis=1))
    active = rows.D > 0
    softness = jnp.sum(jnp.where(active, force**2 / jnp.where(active, rows.D, 1.0), 0.0)) / 2
    scale = 1 / (m.stat.meaninertia * max(1, m.nv))

    def sweep(carry: tuple, gain: Float[Array, ""]) -> tuple[tuple, None]:
        acc, ys, done = carry
        state, new = (acc, gain), []
        for group, y in zip(groups, ys):
            state, y = jax.lax.scan(_solve_block, state, (group, y))
            new.append(y)
        kept = jax.tree.map(lambda old, now: jnp.where(done, old, now), (acc, ys), (state[0], new))
        return (*kept, done | (state[1] * scale < m.opt.noslip_tolerance)), None

    acc = solve_spd(M, problem.qfrc_smooth + rows.J.T @ force)
    gains = jnp.zeros(m.opt.noslip_iterations, force.dtype).at[0].set(softness)
    (_, ys, _), _ = jax.lax.scan(sweep, (acc, starts, jnp.zeros((), bool)), gains)
    for (index, U, _), start, y in zip(to_rows, starts, ys):
        force = force.at[index].add(jnp.einsum("nik,nk->ni", U, y - start))
    qfrc_constraint = rows.J.T @ force
    qacc = solve_spd(M, problem.qfrc_smooth + qfrc_constraint)
    return Solution(qacc, force, qfrc_constraint, solution.niter)


def _friction(rows: Rows, dims: Sequence[int], dtype: jnp.dtype) -> list[tuple]:
    """Friction rows in groups: their indices (n, i), U with force = U y + const, and the bound."""
    loss = np.arange(rows.ne, rows.ne + rows.nf)
    groups = [(loss[:, None], jnp.ones((rows.nf, 1, 1), dtype), lambda f: rows.frictionloss[loss])]
    if rows.cone_dim:
        adr, cone_dim = np.array(rows.cone_adr), np.array(rows.cone_dim)
        for dim in sorted(set(rows.cone_dim)):
            which = np.flatnonzero(cone_dim == dim)
            index = adr[which, None] + np.arange(1, dim)
            U = jax.vmap(jnp.diag)(rows.cone[which, 1:dim])
            groups.append((index, U, lambda f, at=adr[which]: jnp.maximum(f[at], 0.0)))
    else:
        first = rows.ne + rows.nf + rows.nl + sum(dim == 1 for dim in dims)
        pair = np.arange(first, rows.n).reshape(-1, 2)
        U = jnp.broadcast_to(jnp.array([[1.0], [-1.0]], dtype), (len(pair), 2, 1))
        groups.append((pair, U, lambda f: jnp.maximum(jnp.mean(f[pair], axis=1), 0.0)))
    return [group for group in groups if len(group[0])]


def _solve_block(
    state: tuple[Float[Array, " nv"], Float[Array, ""]], block: tuple[_Group, Float[Array, " k"]]
) -> tuple[tuple[Float[Array, " nv"], Float[Array, ""]], Float[Array, " k"]]:
    """The best y of one block while all other forces stay; the acceleration and cost follow."""
    (acc, gain), (group, y) = state, block
    A, residual = group.J @ group.W.T, group.J @ acc - group.aref
    new = _in_ball(A, residual - A @ y, group.bound)
    step = new - y
    gain -= 0.5 * step @ A @ step + step @ residual
    return (acc + step @ group.W, gain), new


def _in_ball(
    A: Float[Array, "k k"], b: Float[Array, " k"], radius: Float[Array, ""]
) -> Float[Array, " k"]:
    """The y with |y| <= radius of least 1/2 y' A y + y' b.

    On the boundary it is -(A + c I)^-1 b, with the multiplier c at which its length is the radius.
    The last two of Newton's steps are differentiated: exact to second order.
    """
    k = len(b)
    eye = jnp.eye(k, dtype=A.dtype)
    A = A + (jnp.finfo(A.dtype).eps * jnp.trace(A) + mujoco.mjMINVAL) * eye
    if k == 1:
        return jnp.clip(-b / A[0], -radius, radius)
    free = solve_spd(A, -b)
    touching = radius > mujoco.mjMINVAL
    outside = touching & (free @ free > radius**2)
    # where nothing is outside, a problem of the same kind that has a regular answer
    A, b = jnp.where(outside, A, eye), jnp.where(outside, b, 1.0)
    length = jnp.where(outside, radius, 0.5)

    def newton(A: Array, b: Array, length: Array, c: Array) -> Array:
        y = solve_spd(A + c * eye, -b)
        squared = y @ y
        return c + (jnp.sqrt(squared) / length - 1) * squared / (y @ solve_spd(A + c * eye, y))

    constant = jax.lax.stop_gradient((A, b, length))
    c = jax.lax.fori_loop(0, NEWTON, lambda _, c: newton(*constant, c), jnp.zeros((), A.dtype))
    c = newton(A, b, length, newton(A, b, length, jax.lax.stop_gradient(c)))
    return jnp.where(outside, solve_spd(A + c * eye, -b), jnp.where(touching, free, 0.0))
