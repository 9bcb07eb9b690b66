"""Solves with positive definite matrices: right, differentiable, and never stuck in a batch."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from softsim.linear import solve_spd

# As many independent factorisations as can keep every core busy: the batched LAPACK kernels of
# jaxlib 0.9 and 0.10 then wait for each other.
MANY = """
import os, jax, jax.numpy as jnp
from softsim.linear import solve_spd
A = jax.random.normal(jax.random.key(0), (64, 32, 32))
A = A @ A.mT + jnp.eye(32)
shifts = range(1, 2 * os.cpu_count() + 1)
f = jax.jit(jax.vmap(lambda A: [solve_spd(A + s * jnp.eye(32), A[0]) for s in shifts]))
for _ in range(50):
    jax.block_until_ready(f(A))
"""


def problem(*batch: int) -> tuple[jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    root = rng.normal(size=(*batch, 5, 5))
    return jnp.asarray(root @ np.swapaxes(root, -1, -2) + np.eye(5)), jnp.asarray(
        rng.normal(size=(*batch, 5))
    )


def test_batches_of_any_depth_are_those_of_numpy() -> None:
    A, b = problem(3, 4)
    want = np.linalg.solve(A, b[..., None])[..., 0]
    both = jax.jit(jax.vmap(jax.vmap(solve_spd)))(A, b)
    np.testing.assert_allclose(both, want, rtol=1e-11)
    right = jax.jit(jax.vmap(solve_spd, in_axes=(None, 0)))(A[0, 0], b[0])
    np.testing.assert_allclose(right, np.linalg.solve(A[0, 0], b[0].T).T, rtol=1e-11)
    left = jax.jit(jax.vmap(solve_spd, in_axes=(0, None)))(A[0], b[0, 0])
    np.testing.assert_allclose(left, np.linalg.solve(A[0], b[0, 0]), rtol=1e-11)


def test_small_and_large_matrices_of_a_batch_are_refused_alike() -> None:
    for n in (5, 20):
        good = jnp.eye(n) + 0.1
        last = jnp.eye(n).at[-1, -1].set(-1.0)  # only the last pivot is negative
        found = jax.jit(jax.vmap(solve_spd))(jnp.stack([good, -good, last]), jnp.ones((3, n)))
        np.testing.assert_allclose(found[0], np.linalg.solve(good, np.ones(n)), rtol=1e-12)
        assert jnp.isnan(found[1]).all()
        assert jnp.isnan(found[2]).any()


def test_derivatives_of_both_arguments_at_second_order() -> None:
    A, b = problem(2)
    symmetric = lambda A, b: jax.vmap(solve_spd)(A + A.mT, b)
    check_grads(symmetric, (A, b), order=2, modes=("fwd", "rev"))


def test_many_batches_at_once_do_not_wait_for_each_other() -> None:
    subprocess.run([sys.executable, "-c", MANY], check=True, timeout=120, capture_output=True)
