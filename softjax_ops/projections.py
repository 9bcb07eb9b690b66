"""Projections on the probability simplex: what turns scores into a soft index.

    P(z) = argmax over y in the simplex of <y, z> - R(y)

| mode   | R                | y_j                   | exponent e |
|--------|------------------|-----------------------|------------|
| smooth | sum y log y      | softmax(z)_j          |            |
| c0     | sum y^2 / 2      | max(z_j - theta, 0)   | 1          |
| c1     | sum y^p/p, p=3/2 | max(z_j - theta, 0)^2 | 2          |
| c2     | sum y^p/p, p=4/3 | max(z_j - theta, 0)^3 | 3          |

c0 is the Euclidean projection (Wang & Carreira-Perpinan, arXiv 1309.1541), c1 and c2 use the
p-norm regularisers of Sander et al. (arXiv 2302.01425). The threshold theta makes y sum to one. It
is found by Newton's method on the convex function |max(z - theta, 0)|_e = 1, which needs no sort.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

EXPONENT = {"c0": 1, "c1": 2, "c2": 3}
NEVER = -1e9
"""A score without weight: below those of every row, and finite over any softness squared."""
MAX_NEWTON = 100
"""Far above what is needed: Newton's method here is monotone and takes about ten steps."""


def power(base: Float[Array, "..."], exponent: int) -> Float[Array, "..."]:
    """base^exponent for a static exponent >= 0; its derivative at 0 is finite at every order."""
    out = jnp.ones_like(base)
    for _ in range(exponent):
        out = out * base
    return out


def _newton(z: Float[Array, "... n"], exponent: int) -> Float[Array, "... 1"]:
    """theta for scores with maximum 0, from the left: theta in [-1, 0)."""
    tolerance = 2 * jnp.finfo(z.dtype).eps

    def step(theta):
        rest = jnp.maximum(z - theta, 0)
        slope = jnp.sum(
            power(rest, exponent - 1) if exponent > 1 else (rest > 0).astype(z.dtype),
            axis=-1,
            keepdims=True,
        )
        total = jnp.sum(power(rest, exponent), axis=-1, keepdims=True)
        norm = total ** (1 / exponent) if exponent > 1 else total
        return theta + (norm - 1) * norm ** (exponent - 1) / jnp.maximum(slope, 1e-30)

    def cond(state):
        count, theta, previous = state
        return (count < MAX_NEWTON) & jnp.any(theta > previous + tolerance)

    def body(state):
        count, theta, _ = state
        return count + 1, step(theta), theta

    start = jnp.full_like(z[..., :1], -1)
    return jax.lax.while_loop(cond, body, (0, step(start), start))[1]


def from_top(scores: Float[Array, "... n"]) -> Float[Array, "... n"]:
    """The scores of each row from their maximum, which no projection depends on."""
    return scores - jax.lax.stop_gradient(jnp.max(scores, axis=-1, keepdims=True))


def threshold(z: Float[Array, "... n"], exponent: int) -> Float[Array, "... 1"]:
    """theta such that sum_j max(z_j - theta, 0)^exponent = 1, for scores `from_top`; in [-1, 0)."""

    @jax.custom_jvp
    def solve(z):
        return _newton(z, exponent)

    @solve.defjvp
    def solve_jvp(primals, tangents):
        (z,), (dz,) = primals, tangents
        theta = solve(z)
        inside = z > theta
        weight = jnp.where(inside, power(jnp.where(inside, z - theta, 0), exponent - 1), 0)
        total = jnp.sum(weight, axis=-1, keepdims=True)
        return theta, jnp.sum(weight / total * dz, axis=-1, keepdims=True)

    return solve(z)


def project(
    scores: Float[Array, "... n"], mode: str, softness: Float[Array, "... 1"] | float = 1.0
) -> Float[Array, "... n"]:
    """The projection of `scores / softness` on the simplex, last axis.

    Args:
        scores: finite or -inf (weight 0), at least one finite in each row.
        mode: static; "smooth", "c0", "c1" or "c2".
        softness: positive. The scores are subtracted before they are divided by it, so that equal
            ones stay equal.

    Returns:
        Non-negative weights that sum to one along the last axis. Forward and reverse mode and
        higher derivatives work; the memory is O(n).
    """
    scores = from_top(scores) / softness
    if mode == "smooth":
        weights = jnp.exp(scores)
        return weights / jnp.sum(weights, axis=-1, keepdims=True)
    exponent = EXPONENT[mode]
    return power(jnp.maximum(scores - threshold(scores, exponent), 0), exponent)


def log_project(
    scores: Float[Array, "... n"], mode: str, softness: Float[Array, "... 1"] | float = 1.0
) -> Float[Array, "... n"]:
    """log of `project`; exact in "smooth" (no underflow), -inf at the exact zeros of the others."""
    if mode == "smooth":
        scores = from_top(scores) / softness
        return scores - jnp.log(jnp.sum(jnp.exp(scores), axis=-1, keepdims=True))
    return jnp.log(project(scores, mode, softness))


def normalize(index: Float[Array, "... n"], log: bool = False) -> Float[Array, "... n"]:
    """A distribution along the last axis, or its logarithms; NaN where there is no mass."""
    found = index / jnp.sum(index, axis=-1, keepdims=True)
    return jnp.log(found) if log else found


@jax.custom_jvp
def expectation(index: Float[Array, "... k n"], x: Float[Array, "... n"]) -> Float[Array, "... k"]:
    """The mean of `x` under each distribution.

    Its derivative is taken about that mean. The change of a distribution sums to zero, so this adds
    nothing, and equal entries, which a hard index tells apart by rounding alone, add nothing too.
    """
    return jnp.einsum("...kn,...n->...k", index, x)


@expectation.defjvp
def _expectation_jvp(primals: tuple, tangents: tuple) -> tuple:
    (index, x), (dindex, dx) = primals, tangents
    found = expectation(index, x)
    moved = jnp.sum(dindex * (x[..., None, :] - found[..., None]), axis=-1)
    return found, moved + jnp.einsum("...kn,...n->...k", index, dx)
