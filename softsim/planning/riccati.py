"""The linear quadratic problem that a round of iLQR solves, controls within limits.

Backward in time (Tassa, Mansard and Todorov, "Control-limited differential dynamic programming",
ICRA 2014): with the value V after a step, dx' = A dx + B du and the cost to second order,

    Q_x = l_x + A'v,  Q_u = l_u + B'v,
    Q_xx = l_xx + A'V A,  Q_ux = l_ux + B'V A,  Q_uu = l_uu + B'V B,

the change of the control is k + K dx, k the minimum between the limits.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

BACKTRACK = np.array([1.0, 0.3, 0.1, 0.03])  # lengths of a projected Newton step
LEAST_CURVATURE = 1e-12  # of controls without any effect or cost, which then do not change


class Expansion(NamedTuple):
    """A step to first order, its cost to second, in the tangent space of the state (n)."""

    A: Float[Array, "*T n n"]
    B: Float[Array, "*T n nu"]
    slope: Float[Array, "*T n+nu"]  # of the cost, by (state, action)
    curve: Float[Array, "*T n+nu n+nu"]  # positive semidefinite


class Value(NamedTuple):
    """Cost to go to second order."""

    slope: Float[Array, " n"]
    curve: Float[Array, "n n"]


def riccati(
    e: Expansion,
    last: Value,
    low: Float[Array, "T nu"],
    high: Float[Array, "T nu"],
    damping: Float[Array, ""],
) -> tuple[Float[Array, "T nu"], Float[Array, "T nu n"]]:
    """Changes k between low and high and feedback K of every action.

    Args:
        damping: added to the curvature by the actions, relative to its mean; the gains are damped,
            the value they lead to is not.
    """
    n, nu = e.B.shape[-2:]

    def body(value: Value, now: tuple) -> tuple[Value, tuple]:
        e, low, high = now
        v, V = value
        qx, qu = e.slope[:n] + e.A.T @ v, e.slope[n:] + e.B.T @ v
        qxx = e.curve[:n, :n] + e.A.T @ V @ e.A
        qux = e.curve[n:, :n] + e.B.T @ V @ e.A
        quu = e.curve[n:, n:] + e.B.T @ V @ e.B
        firm = damping * jnp.trace(quu) / nu + LEAST_CURVATURE
        k, K = gains(quu + firm * jnp.eye(nu), qu, qux, low, high)
        v = qx + K.T @ qu + qux.T @ k + K.T @ quu @ k
        V = qxx + K.T @ quu @ K + K.T @ qux + qux.T @ K
        return Value(v, 0.5 * (V + V.T)), (k, K)

    return jax.lax.scan(body, last, (e, low, high), reverse=True)[1]


def gains(
    quu: Float[Array, "nu nu"],
    qu: Float[Array, " nu"],
    qux: Float[Array, "nu n"],
    low: Float[Array, " nu"],
    high: Float[Array, " nu"],
) -> tuple[Float[Array, " nu"], Float[Array, "nu n"]]:
    """Minimum of the quadratic function between low and high; actions at a limit give no feedback.

    Projected Newton steps: those at a limit and pushed against it are held, the others are solved.
    """
    nu = qu.size

    def free_problem(k: Array) -> tuple[Array, Array]:
        slope = quu @ k + qu
        free = ~(((k <= low) & (slope > 0)) | ((k >= high) & (slope < 0)))
        return free, jnp.where(free[:, None] & free[None, :], quu, jnp.eye(nu))

    def newton(_: int, k: Array) -> Array:
        free, matrix = free_problem(k)
        right = jnp.where(free, -(qu + quu @ jnp.where(free, 0.0, k)), k)
        change = jnp.linalg.solve(matrix, right) - k
        tried = jnp.clip(k + jnp.asarray(BACKTRACK)[:, None] * change, low, high)
        value = jnp.sum(tried * (0.5 * tried @ quu + qu), axis=1)
        return tried[jnp.argmin(value)]

    k = jnp.clip(jnp.linalg.solve(quu, -qu), low, high)
    k = jax.lax.fori_loop(0, nu + 1, newton, k) if nu > 1 else k  # one number is exact at once
    free, matrix = free_problem(k)
    return k, -jnp.linalg.solve(matrix, jnp.where(free[:, None], qux, 0.0))
