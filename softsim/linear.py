"""Linear solves with symmetric positive definite matrices, by Cholesky.

On the CPU a batch is solved matrix by matrix. jaxlib (0.9 and 0.10 at least) would split a batched
factorisation over its thread pool and wait for it inside that same pool: as many factorisations in
one program as there are cores, and it waits forever.
"""

import jax
import jax.numpy as jnp
from jax.custom_batching import custom_vmap
from jax.scipy.linalg import cho_factor, cho_solve
from jaxtyping import Array, Float


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
    found = jax.lax.platform_dependent(
        A,
        B,
        cpu=lambda A, B: jax.lax.map(lambda ab: cholesky_solve(*ab), (A, B)),
        default=jax.vmap(lambda A, B: cho_solve(cho_factor(A), B)),
    )
    return found, True
