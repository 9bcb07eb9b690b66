"""Rotations and cross products on component-first arrays: vectors (3, n), matrices (3, 3, n).

Sums over components are written out: XLA turns them into one vectorised loop over the elements,
where a reduction over an axis of length 3 becomes a scalar loop, ten times slower on a CPU.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Vectors = Float[Array, "3 n"]
Matrices = Float[Array, "3 3 n"]
Quats = Float[Array, "4 n"]

SMALL_SQUARE = 1e-4
"""rad^2; below it the first term left out of `quat_exp`'s series is under the float64 rounding."""


def cross(a: Vectors, b: Vectors) -> Vectors:
    """Cross product a x b, column by column."""
    return jnp.stack(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )


def dot(a: Float[Array, "k *n"], b: Float[Array, "k *n"]) -> Float[Array, "*n"]:
    """Inner products, column by column."""
    total = a[0] * b[0]
    for k in range(1, a.shape[0]):
        total += a[k] * b[k]
    return total


def rotate(mat: Matrices, vec: Vectors) -> Vectors:
    """Matrix-vector products mat @ vec, column by column."""
    return mat[:, 0] * vec[0] + mat[:, 1] * vec[1] + mat[:, 2] * vec[2]


def compose(a: Matrices, b: Matrices) -> Matrices:
    """Matrix products a @ b, column by column."""
    return a[:, 0, None] * b[0] + a[:, 1, None] * b[1] + a[:, 2, None] * b[2]


def matrices_first(mat: Float[Array, "n 3 3"]) -> Matrices:
    """Matrices as `mjx.Data` stores them, element last."""
    return jnp.moveaxis(mat, 0, -1)


def matrices_last(mat: Matrices) -> Float[Array, "n 3 3"]:
    """Matrices as `mjx.Data` stores them, from element last."""
    return jnp.moveaxis(mat, -1, 0)


def skew(a: Vectors) -> Matrices:
    """Matrices [a] with [a] @ b = a x b."""
    zero = jnp.zeros_like(a[0])
    rows = [[zero, -a[2], a[1]], [a[2], zero, -a[0]], [-a[1], a[0], zero]]
    return jnp.stack([jnp.stack(row) for row in rows])


def outer(a: Vectors, b: Vectors) -> Matrices:
    """Outer products a b', column by column."""
    return a[:, None] * b[None]


def identity(dtype: jnp.dtype) -> Float[Array, "3 3 1"]:
    """Unit matrix, to be broadcast over columns."""
    return jnp.eye(3, dtype=dtype)[:, :, None]


def normalize(q: Quats) -> Quats:
    """Unit quaternions. At the zero quaternion: value (1, 0, 0, 0) as in MuJoCo, gradient 0."""
    square = dot(q, q)
    zero = square == 0
    unit = jnp.asarray(np.eye(4, 1), q.dtype)
    return jnp.where(zero, unit, q * jax.lax.rsqrt(jnp.where(zero, 1, square)))


def quat_mul(a: Quats, b: Quats) -> Quats:
    """Hamilton products a b, (w, x, y, z)."""
    return jnp.stack(
        [
            a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
            a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
            a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
            a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
        ]
    )


def quat_exp(turn: Vectors) -> Quats:
    """Unit quaternions of rotation vectors (axis times angle in rad).

    Near 0 by its power series in the squared angle: value and all derivatives are right there.
    """
    square = dot(turn, turn)
    small = square < SMALL_SQUARE
    angle = jnp.sqrt(jnp.where(small, 1, square))
    cos = jnp.where(small, 1 - square / 8 + square**2 / 384, jnp.cos(angle / 2))
    sinc = jnp.where(small, 1 / 2 - square / 48 + square**2 / 3840, jnp.sin(angle / 2) / angle)
    return jnp.concatenate([cos[None], sinc * turn])


def quat_to_mat(q: Quats) -> Matrices:
    """Rotation matrices of unit quaternions: (w^2 - u'u) 1 + 2 u u' + 2 w [u]."""
    w, u = q[0], q[1:]
    diagonal = (w * w - dot(u, u)) * identity(q.dtype)
    return diagonal + 2 * outer(u, u) + 2 * w * skew(u)
