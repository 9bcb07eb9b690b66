"""Norms, directions, frames and widths of switches, each with a stated value at its bad point.

Vectors shorter than `TINY` count as zero, like in MuJoCo: they have length 0, direction
`fallback`, and zero gradient.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

import softjax_ops as sj
from softsim.softening import Part

TINY = 1e-8  # m; MJX takes a vector for zero when no component exceeds this


def soft(part: Part, scale: Float[Array, ""] | float = 1.0) -> dict[str, Any]:
    """The keyword arguments that tell a soft operator how soft to be.

    Args:
        part: settings of the collision part.
        scale: size of the quantity that switches, in its own unit (m for lengths); the switch is
            smeared over `part.softness * scale`.
    """
    return {"softness": part.softness * scale, "mode": part.mode}


def width(part: Part, scale: Float[Array, ""] | float = 1.0) -> Float[Array, ""]:
    """The length `part.softness * scale` over which a switch is smeared; 0 in mode "hard"."""
    return part.softness * scale * (part.mode != "hard")


def div(x: Float[Array, "*s"], y: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """x / y; where y is 0: value 0, gradient 0."""
    bad = y == 0
    return jnp.where(bad, 0.0, x / jnp.where(bad, 1.0, y))


def norm(v: Float[Array, "*s n"]) -> Float[Array, "*s"]:
    """Euclidean length over the last axis, m; below `TINY`: value 0, gradient 0."""
    zero = jnp.max(jnp.abs(v), axis=-1, keepdims=True) <= TINY
    length = jnp.sqrt(jnp.sum(jnp.where(zero, 1.0, v) ** 2, axis=-1))
    return jnp.where(zero[..., 0], 0.0, length)


def unit(
    v: Float[Array, "*s n"], fallback: Float[Array, " n"]
) -> tuple[Float[Array, "*s n"], Float[Array, "*s"]]:
    """Direction and length of v; below `TINY`: direction `fallback`, length 0, gradients 0."""
    length = norm(v)
    zero = (length == 0)[..., None]
    return jnp.where(zero, fallback, v / jnp.where(zero, 1.0, length[..., None])), length


def frame(part: Part, normal: Float[Array, "3"]) -> Float[Array, "3 3"]:
    """Right-handed contact frame with rows (normal, tangent, normal x tangent).

    The tangent is MuJoCo's: the projection of y, or of z where the normal leans to y by
    more than 30 degrees. That choice is a switch, so soft modes mix the two projections. No
    tangent field is continuous on the whole sphere (hairy ball theorem): this one turns quickly
    near two opposite normals in the y-z plane at about 30 degrees from z, and nowhere else.

    Args:
        part: settings of the collision part.
        normal: any length; below `TINY` it counts as +x.
    """
    n, _ = unit(normal, jnp.array([1.0, 0.0, 0.0], normal.dtype))
    return _complete(n, _tangent(part, n))


def frame_along(
    part: Part, normal: Float[Array, "3"], axis: Float[Array, "3"], shortest: float = 0.5
) -> Float[Array, "3 3"]:
    """Contact frame whose tangent is the projection of `axis`, or `frame`'s where that is short.

    Args:
        part: settings of the collision part.
        normal: unit vector.
        axis: unit vector.
        shortest: a shorter projection counts as short; 0.5 is an axis 30 degrees off the normal.
    """
    default = _tangent(part, normal)
    along = axis - normal * jnp.dot(normal, axis)
    upright = sj.less(norm(along), shortest, **soft(part))
    return _complete(normal, unit(upright * default + (1 - upright) * along, default)[0])


def _tangent(part: Part, n: Float[Array, "3"]) -> Float[Array, "3"]:
    """The projection of y on the plane of n, or of z where n leans to y; see `frame`."""
    y = jnp.array([0.0, 1.0, 0.0], n.dtype)
    z = jnp.array([0.0, 0.0, 1.0], n.dtype)
    along_y = sj.less(n[1], 0.5, **soft(part)) * sj.greater(n[1], -0.5, **soft(part))
    on_y, on_z = y - n * n[1], z - n * n[2]
    return unit(along_y * on_y + (1 - along_y) * on_z, unit(on_y, z)[0])[0]


def _complete(n: Float[Array, "3"], tangent: Float[Array, "3"]) -> Float[Array, "3 3"]:
    return jnp.stack([n, tangent, jnp.cross(n, tangent)])
