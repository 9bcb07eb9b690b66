"""Delicate numerics in one place: every function states its bad point, value and gradient there."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def default_float(x: Array | float) -> Float[Array, ""]:
    """In the default float dtype and not weakly typed, so that no value ever recompiles."""
    return jnp.asarray(x, jnp.zeros(()).dtype)


def safe_norm(x: Float[Array, "*b n"]) -> Float[Array, "*b"]:
    """Euclidean norm over the last axis; at x = 0 the value is 0 and the gradient is 0."""
    square = jnp.sum(jnp.square(x), axis=-1)
    positive = square > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, square, 1.0)), 0.0)


def safe_normalize(x: Float[Array, "*b n"]) -> Float[Array, "*b n"]:
    """x / |x| over the last axis; at x = 0 the value is 0 and the gradient is 0."""
    norm = safe_norm(x)[..., None]
    positive = norm > 0
    return jnp.where(positive, x / jnp.where(positive, norm, 1.0), 0.0)


def quat_mul(p: Float[Array, "*b 4"], q: Float[Array, "*b 4"]) -> Float[Array, "*b 4"]:
    """Hamilton product of quaternions (w, x, y, z), broadcast over leading axes."""
    pw, qw = p[..., :1], q[..., :1]
    pv, qv = jnp.broadcast_arrays(p[..., 1:], q[..., 1:])
    scalar = pw * qw - jnp.sum(pv * qv, axis=-1, keepdims=True)
    return jnp.concatenate([scalar, pw * qv + qw * pv + jnp.cross(pv, qv)], axis=-1)


def clamp(
    x: Float[Array, "*b"], lower: Float[Array, "*b"] | float, upper: Float[Array, "*b"] | float
) -> Float[Array, "*b"]:
    """x, moved into [lower, upper]; at a bound the slope is that from inside, 1."""
    return jnp.where(x < lower, lower, jnp.where(x > upper, upper, x))


def quat_rotate(q: Float[Array, "*b 4"], v: Float[Array, "*b 3"]) -> Float[Array, "*b 3"]:
    """Vectors turned by unit quaternions."""
    axis = q[..., 1:]
    moved = jnp.cross(axis, v) + q[..., :1] * v
    return v + 2 * jnp.cross(axis, moved)


def quat_conj(q: Float[Array, "*b 4"]) -> Float[Array, "*b 4"]:
    """Conjugate: the inverse of a unit quaternion."""
    return jnp.concatenate([q[..., :1], -q[..., 1:]], axis=-1)


def quat_to_rotvec(q: Float[Array, "*b 4"]) -> Float[Array, "*b 3"]:
    """Rotation vector (axis times angle in [0, pi]) of a quaternion of any positive length.

    It is 2 atan(t) / t times v / w for q = (w, v) and t = |v| / w, near the identity by its power
    series in t^2: value and all derivatives are right there. At pi the axis changes its sign; the
    derivatives are those of one side.
    """
    q = jnp.where(q[..., :1] < 0, -q, q)
    w, v = q[..., :1], q[..., 1:]
    square = jnp.sum(jnp.square(v), axis=-1, keepdims=True)
    small = square < SMALL_SQUARE * jnp.square(w)
    t2 = square / jnp.square(jnp.where(small, w, 1.0))
    series = (1 - t2 * (1 / 3 - t2 * (1 / 5 - t2 / 7))) / jnp.where(small, w, 1.0)
    sine = jnp.sqrt(jnp.where(small, 1.0, square))
    return 2 * v * jnp.where(small, series, jnp.arctan2(sine, w) / sine)


SMALL_SQUARE = 1e-4
"""tan^2 of the half angle; below it the first term left out of the series is under float64's
rounding."""
