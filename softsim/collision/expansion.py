"""Where two shapes are least apart or least deep, globally: by growing a hull of their difference.

The hull of some points of the Minkowski difference grows by the point furthest out along the
normal of that face which is furthest from letting the origin out (van den Bergen, "Proximity
queries and penetration depth computation on 3D game objects", GDC 2001). Offsets of faces are
signed, so that the origin may lie outside: the same loop then finds a separating axis.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from softsim.collision.minkowski import Difference, Vector, tangents
from softsim.collision.numerics import unit

ROUNDS = 44
_START = 4
_CORNERS = _START + ROUNDS
_FACES = 2 * _CORNERS
_TETRAHEDRON = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]], np.int32)
# Directions are tilted by this much along a direction of no symmetry: of several vertices that are
# equally far, a corner of the hull is taken, never one in the middle of an edge or a face.
_TILT = 1e-2  # of the square root of the resolution
_ASKEW = np.array([0.548, 0.317, 0.774])


class Nearly(eqx.Module):
    """A unit vector of nearly the greatest separation, and the vertices that are least along it.

    Attributes:
        n: from shape 1 to shape 2.
        i: vertices of shape 1.
        j: vertices of shape 2.
        separation: along n, without balls.
    """

    n: Vector
    i: Int[Array, "3"]
    j: Int[Array, "3"]
    separation: Float[Array, ""]


class _Hull(eqx.Module):
    """A closed surface of triangles: corners, and which are alive; the best direction so far.

    A hull of points of the difference, whose faces look along -n where the shapes meet along n.
    """

    corner: Float[Array, "c 3"]
    vertex: Int[Array, "c 2"]
    face: Int[Array, "f 3"]
    alive: Bool[Array, " f"]
    normal: Float[Array, "f 3"]
    offset: Float[Array, " f"]
    count: Int[Array, ""]
    gap: Float[Array, ""]
    best: Nearly


def deepest(pair: Difference) -> Nearly:
    """The direction of nearly the greatest separation of all."""
    dtype = pair.scale.dtype
    tolerance = 8 * jnp.finfo(dtype).eps ** 0.5
    flat = 64 * jnp.finfo(dtype).eps
    inflated = pair.thin * (pair.one.radius + pair.two.radius)

    def point(n: Vector) -> tuple[Vector, Int[Array, "2"]]:
        """The point of the difference that is least along n, and its two vertices."""
        tilted = n + _TILT * jnp.finfo(dtype).eps ** 0.5 * jnp.asarray(_ASKEW, dtype)
        i, j = pair.vertices(tilted)
        return pair.between(i, j) - pair.bulge(n) - inflated * n, jnp.stack([i, j])

    def unfinished(hull: _Hull) -> Array:
        return (hull.count < _CORNERS) & (hull.gap > tolerance)

    def grow(hull: _Hull) -> _Hull:
        chosen = jnp.argmin(jnp.where(hull.alive, hull.offset, jnp.inf))
        n = -hull.normal[chosen]
        new, vertex = point(n)
        i, j = hull.vertex[hull.face[chosen]].T
        found = Nearly(n, i, j, pair.separation(n))
        better = found.separation > hull.best.separation
        height = hull.normal @ new - hull.offset
        seen = hull.alive & ((height > flat) | (jnp.arange(_FACES) == chosen))
        start, end = hull.face, jnp.roll(hull.face, -1, axis=1)
        edges = jnp.zeros((_CORNERS, _CORNERS), bool).at[start, end].max(seen[:, None])
        rim = edges & ~edges.T
        corner = hull.corner.at[hull.count].set(new)
        alive = hull.alive & ~seen
        places = jnp.nonzero(~alive, size=_CORNERS, fill_value=_FACES)[0]
        first = jnp.nonzero(jnp.any(rim, axis=1), size=_CORNERS, fill_value=_CORNERS)[0]
        real = first < _CORNERS
        places = jnp.where(real, places, _FACES)
        second = jnp.argmax(rim[jnp.minimum(first, _CORNERS - 1)], axis=1)
        face = jnp.stack([first, second, jnp.full_like(first, hull.count)], axis=1).astype(
            hull.face.dtype
        )
        normal, offset = _planes(corner, face)
        return _Hull(
            corner,
            hull.vertex.at[hull.count].set(vertex),
            hull.face.at[places].set(face, mode="drop"),
            alive.at[places].set(True, mode="drop"),
            hull.normal.at[places].set(normal, mode="drop"),
            hull.offset.at[places].set(offset, mode="drop"),
            hull.count + 1,
            height[chosen],
            jax.tree.map(lambda x, y: jnp.where(better, x, y), found, hull.best),
        )

    return jax.lax.while_loop(unfinished, grow, _tetrahedron(point, dtype)).best


def _tetrahedron(point: Callable[[Vector], tuple[Vector, Array]], dtype: jnp.dtype) -> _Hull:
    """Four points of the difference, far from a plane."""

    def further(n: Vector, origin: Vector) -> tuple[Vector, Array]:
        """Of the two points furthest along n and -n, that further from the plane at a point."""
        low, high = point(n), point(-n)
        first = jnp.abs(n @ (low[0] - origin)) > jnp.abs(n @ (high[0] - origin))
        return jax.tree.map(lambda x, y: jnp.where(first, x, y), low, high)

    x = jnp.asarray(_ASKEW, dtype)
    x = x / jnp.sqrt(jnp.sum(x**2))
    (a, of_a), (b, of_b) = point(x), point(-x)
    across = tangents(unit(b - a, x)[0])[0]
    c, of_c = further(across, a)
    d, of_d = further(unit(jnp.cross(b - a, c - a), x)[0], a)
    corner = jnp.zeros((_CORNERS, 3), dtype).at[:4].set(jnp.stack([a, b, c, d]))
    vertex = jnp.zeros((_CORNERS, 2), of_a.dtype).at[:4].set(jnp.stack([of_a, of_b, of_c, of_d]))
    outward = jnp.cross(b - a, c - a) @ (d - a) < 0
    face = jnp.where(outward, _TETRAHEDRON, _TETRAHEDRON[:, ::-1])
    face = jnp.zeros((_FACES, 3), face.dtype).at[:4].set(face)
    normal, offset = _planes(corner, face)
    worst = jnp.full((), jnp.inf, dtype)
    best = Nearly(x, vertex[:3, 0], vertex[:3, 1], -worst)
    alive = jnp.arange(_FACES) < 4
    return _Hull(corner, vertex, face, alive, normal, offset, jnp.array(4), worst, best)


def _planes(
    corner: Float[Array, "c 3"], face: Int[Array, "f 3"]
) -> tuple[Float[Array, "f 3"], Float[Array, " f"]]:
    """Outward unit normals of triangles and their offsets; one without area counts as far away."""
    a, b, c = (corner[jnp.minimum(face[:, k], _CORNERS - 1)] for k in range(3))
    normal = jnp.cross(b - a, c - a)
    area = jnp.sqrt(jnp.sum(normal**2, axis=1))
    flat = area < 1e2 * jnp.finfo(corner.dtype).tiny ** 0.5
    normal = jnp.where(flat[:, None], 0.0, normal / jnp.where(flat, 1.0, area)[:, None])
    return normal, jnp.where(flat, jnp.inf, jnp.sum(normal * a, axis=1))
