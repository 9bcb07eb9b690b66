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


def quat_conj(q: Float[Array, "*b 4"]) -> Float[Array, "*b 4"]:
    """Conjugate: the inverse of a unit quaternion."""
    return jnp.concatenate([q[..., :1], -q[..., 1:]], axis=-1)


def quat_to_rotvec(q: Float[Array, "*b 4"]) -> Float[Array, "*b 3"]:
    """Rotation vector (axis times angle in [0, pi]) of a quaternion of any positive length.

    Near the identity the ratio angle / sin(angle / 2) is replaced by its limit 2 / w, so that the
    value is 0 and the gradient 2 there.
    """
    q = jnp.where(q[..., :1] < 0, -q, q)
    sine = safe_norm(q[..., 1:])[..., None]
    turned = sine > 0
    ratio = 2.0 * jnp.arctan2(sine, q[..., :1]) / jnp.where(turned, sine, 1.0)
    return q[..., 1:] * jnp.where(turned, ratio, 2.0 / jnp.where(turned, 1.0, q[..., :1]))
