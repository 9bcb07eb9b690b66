"""Row forces, their cost and their curvature: the constraint side of the solver.

With x = J a - aref, the cost s(x) is convex and the force is -ds/dx:

    equality            D x^2 / 2
    friction loss       Huber: D x^2 / 2 while |D x| <= frictionloss, linear beyond
    limit, contact      D min(x, 0)^2 / 2
    elliptic cone       c dist(u, K)^2 / 2 with u = cone * x, K = {N >= mu T}, N = u_0, T = |u_1..|

and c = D_0 / mu^2. The three zones of a cone: top (in K, no force), bottom (in the polar cone, all
rows quadratic), middle (the nearest point of K lies on its surface: sliding).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from softsim.constraint.rows import Rows
from softsim.numerics import safe_norm


class Cones(NamedTuple):
    """Elliptic contacts at one x, rows padded to six."""

    u: Float[Array, "ncone 6"]
    normal: Float[Array, " ncone"]
    tangent: Float[Array, " ncone"]
    mu: Float[Array, " ncone"]
    scale: Float[Array, " ncone"]
    bottom: Bool[Array, " ncone"]
    middle: Bool[Array, " ncone"]


def cone_index(rows: Rows) -> np.ndarray:
    """(ncone, 6) row of each padded cone entry (static); padding points at the cone's first row."""
    first = np.array(rows.cone_adr, dtype=int).reshape(-1, 1)
    dims = np.array(rows.cone_dim, dtype=int).reshape(-1, 1)
    step = np.arange(6)
    return first + np.where(step < dims, step, 0)


def _cones(rows: Rows, x: Float[Array, " nefc"]) -> Cones:
    u = x[cone_index(rows)] * rows.cone
    mu, normal, tangent = rows.cone[:, 0], u[:, 0], safe_norm(u[:, 1:])
    scale = rows.D[np.array(rows.cone_adr, dtype=int)] / jnp.square(mu)
    bottom = mu * normal + tangent <= 0
    top = (normal >= mu * tangent) & ~bottom
    return Cones(u, normal, tangent, mu, scale, bottom, ~top & ~bottom)


def _split(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """0/1 masks (static) of equality, friction loss and plain one-sided rows."""
    index = np.arange(rows.n)
    in_cone = np.zeros(rows.n, dtype=bool)
    for adr, dim in zip(rows.cone_adr, rows.cone_dim):
        in_cone[adr : adr + dim] = True
    friction = (index >= rows.ne) & (index < rows.ne + rows.nf)
    return index < rows.ne, friction, (index >= rows.ne + rows.nf) & ~in_cone


def _active(rows: Rows, x: Float[Array, " nefc"]) -> Float[Array, " nefc"]:
    """1 where a row outside the cones is on its quadratic branch."""
    equality, friction, one_sided = _split(rows)
    quadratic = equality | (one_sided & (x < 0))
    if rows.nf:
        quadratic = quadratic | (friction & (jnp.abs(rows.D * x) <= rows.frictionloss))
    return jnp.asarray(quadratic, x.dtype)


def forces(rows: Rows, x: Float[Array, " nefc"]) -> Float[Array, " nefc"]:
    """Constraint force of every row at x = J a - aref."""
    force = -rows.D * x * _active(rows, x)
    if rows.nf:
        _, friction, _ = _split(rows)
        dry = jnp.clip(-rows.D * x, -rows.frictionloss, rows.frictionloss)
        force = jnp.where(friction, dry, force)
    if not rows.cone_dim:
        return force
    c = _cones(rows, x)
    # distance to the surface of K, and its direction in u, in the middle zone
    outside = (c.mu * c.tangent - c.normal) / (1.0 + jnp.square(c.mu))
    over_tangent = c.mu * outside / jnp.where(c.middle, c.tangent, 1.0)
    sliding = jnp.concatenate([outside[:, None], -over_tangent[:, None] * c.u[:, 1:]], axis=1)
    pull = jnp.where(c.bottom[:, None], -c.u, jnp.where(c.middle[:, None], sliding, 0.0))
    return force.at[cone_index(rows)].add(c.scale[:, None] * rows.cone * pull)


def cost(rows: Rows, x: Float[Array, " nefc"]) -> Float[Array, ""]:
    """s(x), summed over the rows."""
    total = 0.5 * jnp.sum(rows.D * jnp.square(x) * _active(rows, x))
    if rows.nf:
        _, friction, _ = _split(rows)
        slip = jnp.asarray(friction, x.dtype) * (1.0 - _active(rows, x))
        half = 0.5 * rows.frictionloss / jnp.where(rows.D > 0, rows.D, 1.0)
        total += jnp.sum(slip * rows.frictionloss * (jnp.abs(x) - half))
    if rows.cone_dim:
        c = _cones(rows, x)
        sliding = jnp.square(c.mu * c.tangent - c.normal) / (1.0 + jnp.square(c.mu))
        sticking = jnp.square(c.normal) + jnp.square(c.tangent)
        dist2 = jnp.where(c.bottom, sticking, jnp.where(c.middle, sliding, 0.0))
        total += 0.5 * jnp.sum(c.scale * dist2)
    return total


def curvature(
    rows: Rows, x: Float[Array, " nefc"]
) -> tuple[Float[Array, " nefc"], Float[Array, "ncone 6 6"]]:
    """-df/dx: its diagonal outside the cones, and one block per cone (padded rows are zero)."""
    diagonal = rows.D * _active(rows, x)
    if not rows.cone_dim:
        return diagonal, jnp.zeros((0, 6, 6), x.dtype)
    c = _cones(rows, x)
    tangent = jnp.where(c.middle, c.tangent, 1.0)
    stretch = 1.0 / (1.0 + jnp.square(c.mu))
    unit = jnp.concatenate([jnp.ones_like(tangent)[:, None], c.u[:, 1:] / tangent[:, None]], 1)
    # middle zone: g g' / (1 + mu^2) along the surface normal g = (1, -mu e), plus its turning
    g = unit * jnp.concatenate([jnp.ones_like(c.u[:, :1]), -c.mu[:, None] * np.ones((1, 5))], 1)
    turning = c.mu * (c.mu * c.tangent - c.normal) * stretch / tangent
    e = unit.at[:, 0].set(0.0)
    flat = jnp.asarray(np.diag([0.0, 1, 1, 1, 1, 1]), x.dtype)
    middle = stretch[:, None, None] * g[:, :, None] * g[:, None, :]
    middle += turning[:, None, None] * (flat - e[:, :, None] * e[:, None, :])
    zone = jnp.where(c.middle[:, None, None], middle, 0.0)
    zone = jnp.where(c.bottom[:, None, None], jnp.eye(6, dtype=x.dtype), zone)
    outer = rows.cone[:, :, None] * rows.cone[:, None, :]
    return diagonal, c.scale[:, None, None] * outer * zone
