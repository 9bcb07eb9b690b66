"""Rotations and cross products on component-first arrays: vectors (3, ...), quaternions (4, ...),
matrices (3, 3, ...), with any number of axes of elements, or none. Quaternions are (w, x, y, z).

Sums over components are written out: XLA turns them into one vectorised loop over the elements,
where a reduction over an axis of length 3 becomes a scalar loop, ten times slower on a CPU.
"""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

Vectors = Float[Array, "3 *n"]
Matrices = Float[Array, "3 3 *n"]
Quats = Float[Array, "4 *n"]

SMALL_SQUARE = 1e-4
"""rad^2 of `quat_exp`'s angle, tan^2 of `quat_to_rotvec`'s half angle: below it the first term left
out of their series is under the rounding of float64."""


def planes(x: Float[Array, " k *n"]) -> list[Float[Array, "*n"]]:
    """The k components. Their derivatives are gathered by one concatenation."""
    return [part.reshape(x.shape[1:]) for part in jax.lax.split(x, (1,) * x.shape[0])]


def cross(a: Vectors, b: Vectors) -> Vectors:
    """Cross product a x b, column by column."""
    (a0, a1, a2), (b0, b1, b2) = planes(a), planes(b)
    return jnp.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0])


def dot(a: Float[Array, " k *n"], b: Float[Array, " k *n"]) -> Float[Array, "*n"]:
    """Inner products, column by column."""
    return functools.reduce(operator.add, map(operator.mul, planes(a), planes(b)))


def rotate(mat: Matrices, vec: Vectors) -> Vectors:
    """Matrix-vector products mat @ vec, column by column."""
    return jnp.stack([dot(row, vec) for row in planes(mat)])


def compose(a: Matrices, b: Matrices) -> Matrices:
    """Matrix products a @ b, column by column."""
    columns = planes(b.swapaxes(0, 1))
    return jnp.stack([rotate(a, column) for column in columns], axis=1)


def matrices_first(mat: Float[Array, "n 3 3"]) -> Matrices:
    """Matrices as `mjx.Data` stores them, element last."""
    return jnp.moveaxis(mat, 0, -1)


def matrices_last(mat: Matrices) -> Float[Array, "n 3 3"]:
    """Matrices as `mjx.Data` stores them, from element last."""
    return jnp.moveaxis(mat, -1, 0)


def normalize(q: Quats) -> Quats:
    """Unit quaternions. At the zero quaternion: value (1, 0, 0, 0) as in MuJoCo, gradient 0."""
    square = dot(q, q)
    zero = square == 0
    unit = jnp.asarray(np.eye(4, 1), q.dtype)
    return jnp.where(zero, unit, q * jax.lax.rsqrt(jnp.where(zero, 1, square)))


def quat_mul(a: Quats, b: Quats) -> Quats:
    """Hamilton products a b, (w, x, y, z)."""
    (a0, a1, a2, a3), (b0, b1, b2, b3) = planes(a), planes(b)
    return jnp.stack(
        [
            a0 * b0 - a1 * b1 - a2 * b2 - a3 * b3,
            a0 * b1 + a1 * b0 + a2 * b3 - a3 * b2,
            a0 * b2 - a1 * b3 + a2 * b0 + a3 * b1,
            a0 * b3 + a1 * b2 - a2 * b1 + a3 * b0,
        ]
    )


def pure(v: Vectors) -> Quats:
    """Vectors as quaternions without a real part."""
    return jnp.concatenate([jnp.zeros_like(v[:1]), v])


def quat_conj(q: Quats) -> Quats:
    """Conjugates: the inverses of unit quaternions."""
    return jnp.concatenate([q[:1], -q[1:]])


def quat_rotate(q: Quats, v: Vectors) -> Vectors:
    """Vectors turned by unit quaternions."""
    axis = q[1:]
    return v + 2 * cross(axis, cross(axis, v) + q[0] * v)


def quat_to_rotvec(q: Quats) -> Vectors:
    """Rotation vectors (axis times angle in [0, pi]) of quaternions of any positive length.

    They are 2 atan(t) / t times v / w for q = (w, v) and t = |v| / w, near the identity by their
    power series in t^2: value and all derivatives are right there. At pi the axis changes its sign;
    the derivatives are those of one side.
    """
    q = jnp.where(q[0] < 0, -q, q)
    w, v = q[0], q[1:]
    square = dot(v, v)
    small = square < SMALL_SQUARE * w * w
    t2 = square / jnp.where(small, w, 1.0) ** 2
    series = (1 - t2 * (1 / 3 - t2 * (1 / 5 - t2 / 7))) / jnp.where(small, w, 1.0)
    sine = jnp.sqrt(jnp.where(small, 1.0, square))
    return 2 * v * jnp.where(small, series, jnp.arctan2(sine, w) / sine)


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
    """Rotation matrices of unit quaternions."""
    w, x, y, z = planes(q)
    ww, xx, yy, zz = w * w, x * x, y * y, z * z
    xy, xz, yz, wx, wy, wz = (2 * p for p in (x * y, x * z, y * z, w * x, w * y, w * z))
    rows = (
        (ww + xx - yy - zz, xy - wz, xz + wy),
        (xy + wz, ww - xx + yy - zz, yz - wx),
        (xz - wy, yz + wx, ww - xx - yy + zz),
    )
    return jnp.stack([jnp.stack(row) for row in rows])
