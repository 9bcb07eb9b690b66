"""Linear solves with symmetric positive definite matrices, by Cholesky or without pivots.

On the CPU a batch of small matrices is eliminated in step, the batch along the fastest axis: a call
of LAPACK for each costs ten times as much. Larger matrices are solved one by one. jaxlib (0.9 and
0.10 at least) would split a batched factorisation over its thread pool and wait for it inside that
same pool: as many factorisations in one program as there are cores, and it waits forever.
"""

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Float

SMALL = 3000  # multiplications in a solve, from which on one call per matrix is faster


def solve_spd(A: Float[Array, "n n"], b: Float[Array, " n"]) -> Float[Array, " n"]:
    """A^-1 b for a symmetric positive definite A; NaN for one that is not.

    The derivative is implicit, dx = A^-1 (db - dA x): no factorisation is differentiated. Forward
    mode, reverse mode and higher derivatives.
    """
    constant = jax.lax.stop_gradient(A)
    return jax.lax.custom_linear_solve(
        lambda x: jnp.matmul(A, x, precision=jax.lax.Precision.HIGHEST),
        b,
        lambda _, b: cholesky_solve(constant, b[:, None])[:, 0],
        symmetric=True,
    )


@custom_vmap
def cholesky_solve(A: Float[Array, "n n"], B: Float[Array, "n k"]) -> Float[Array, "n k"]:
    """A^-1 B; values only, it has no derivative (`solve_spd` has)."""
    return cho_solve(cho_factor(A), B)


@cholesky_solve.def_vmap
def _cholesky_solve_batch(
    size: int, batched: list[bool], A: Float[Array, "..."], B: Float[Array, "..."]
) -> tuple[Float[Array, "size n k"], bool]:
    if not batched[0]:  # one matrix, more right-hand sides
        n, k = B.shape[1:]
        columns = cholesky_solve(A, jnp.moveaxis(B, 0, 1).reshape(n, size * k))
        return jnp.moveaxis(columns.reshape(n, size, k), 1, 0), True
    B = B if batched[1] else jnp.broadcast_to(B, (size, *B.shape))
    n, k = B.shape[1:]
    one_by_one = lambda A, B: jax.lax.map(lambda ab: cholesky_solve(*ab), (A, B))
    found = jax.lax.platform_dependent(
        A,
        B,
        cpu=eliminate if n * n * (n + k) < SMALL else one_by_one,
        default=jax.vmap(lambda A, B: cho_solve(cho_factor(A), B)),
    )
    return found, True


def eliminate(A: Float[Array, "s n n"], B: Float[Array, "s n k"]) -> Float[Array, "s n k"]:
    """A^-1 B by Gauss; without pivots, which positive definite matrices do not need."""
    n = A.shape[-1]
    place = jnp.arange(n)[:, None, None]
    at = lambda W, k: jax.lax.dynamic_index_in_dim(W, k, keepdims=False)

    def pivot(row: Float[Array, "m s"], k: Array) -> Float[Array, " s"]:
        return jnp.where(at(row, k) > 0, at(row, k), jnp.nan)

    def below(k: Array, W: Float[Array, "n m s"]) -> Float[Array, "n m s"]:
        row = at(W, k)
        share = jax.lax.dynamic_index_in_dim(W, k, axis=1) / pivot(row, k)
        return W - jnp.where(place > k, share, 0.0) * row

    W = jnp.concatenate([A, B], axis=-1).transpose(1, 2, 0)
    W = jax.lax.fori_loop(0, n, below, W)

    def back(i: Array, X: Float[Array, "n k s"]) -> Float[Array, "n k s"]:
        k = n - 1 - i
        row = at(W, k)
        found = (row[n:] - jnp.sum(row[:n, None] * X, axis=0)) / pivot(row, k)
        return jnp.where(place == k, found, X)

    return jax.lax.fori_loop(0, n, back, jnp.zeros_like(W[:, n:])).transpose(2, 0, 1)
