"""A convex shape as a sum of a polytope, an ellipsoid and a ball, and the difference of two.

Every shape here is such a Minkowski sum: a capsule is a segment and a ball, a cylinder a segment
and a disc (an ellipsoid without thickness). So one support function serves all pairs: along a unit
vector n the sum reaches  max over its vertices of v n  +  |A n|  +  r  from the origin.

Along n, from shape 1 to shape 2, the two are apart by  n d - |A1 n| - |A2 n| - r1 - r2  with d the
difference of vertices that is least along n. The greatest such separation over all n is the signed
distance: the distance when apart, minus the penetration depth when not.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from mujoco.mjx import GeomType

from softsim.collision.contract import Convex, Geom

Vector = Float[Array, "3"]


class Sum(eqx.Module):
    """The points v + A^T u + r w, of v in the hull of vertices, |u| <= 1 and |w| <= 1.

    Attributes:
        vert: m, vertices of the polytope.
        axes: m, A: row k is the k-th semi-axis of the ellipsoid, a vector.
        radius: m, r, of the ball.
    """

    vert: Float[Array, "v 3"]
    axes: Float[Array, "3 3"]
    radius: Float[Array, ""]

    def lean(self, n: Vector) -> tuple[Vector, Float[Array, ""]]:
        """The point u of the unit ball that the ellipsoid reaches furthest with, and |A n|."""
        stretched = self.axes @ n
        zero = jnp.max(jnp.abs(stretched)) <= jnp.finfo(n.dtype).eps
        length = jnp.sqrt(jnp.sum(jnp.where(zero, 1.0, stretched) ** 2))
        return jnp.where(zero, 0.0, stretched / length), jnp.where(zero, 0.0, length)


class Difference(eqx.Module):
    """The pair (shape 1, shape 2), in one frame; lengths relative to `scale` (m).

    Attributes:
        thin: 1 if the two together have no volume without their balls, else 0.
    """

    one: Sum
    two: Sum
    scale: Float[Array, ""]
    thin: Float[Array, ""]

    def vertices(self, n: Vector) -> tuple[Int[Array, ""], Int[Array, ""]]:
        """The pair of vertices that is least apart along n."""
        return jnp.argmax(self.one.vert @ n), jnp.argmin(self.two.vert @ n)

    def between(self, i: Int[Array, "*k"], j: Int[Array, "*k"]) -> Float[Array, "*k 3"]:
        """The differences of vertices j of shape 2 and i of shape 1."""
        return self.two.vert[j] - self.one.vert[i]

    def bulge(self, n: Vector) -> Vector:
        """How far the two ellipsoids reach towards each other along n, as a vector."""
        return self.one.axes.T @ self.one.lean(n)[0] + self.two.axes.T @ self.two.lean(n)[0]

    def separation(self, n: Vector) -> Float[Array, ""]:
        """How far shape 2 without its ball is in front of shape 1 without its ball along n."""
        i, j = self.vertices(n)
        return n @ self.between(i, j) - self.one.lean(n)[1] - self.two.lean(n)[1]


def difference(kinds: tuple[GeomType, GeomType], shape1: Geom, shape2: Geom) -> Difference:
    """The pair in the world's axes about the centre of shape 2, in units of its size."""
    one = as_sum(kinds[0], shape1, shape1.pos - shape2.pos)
    two = as_sum(kinds[1], shape2, jnp.zeros_like(shape2.pos))
    extent = [
        jnp.max(jnp.abs(shape.vert - shape.vert[0])) + jnp.max(jnp.abs(shape.axes)) + shape.radius
        for shape in (one, two)
    ]
    scale = jax.lax.stop_gradient(extent[0] + extent[1])
    thin = jnp.asarray(set(kinds) <= {GeomType.SPHERE, GeomType.CAPSULE}, scale.dtype)
    one, two = jax.tree.map(lambda x: x / scale, (one, two))
    return Difference(one, two, scale, thin)


def as_sum(kind: GeomType, shape: Geom, pos: Vector) -> Sum:
    """A shape as a sum, its centre at `pos`, in the world's axes."""
    zero, size, mat = jnp.zeros_like(shape.size[0]), shape.size, shape.mat
    none = jnp.zeros_like(mat)
    if isinstance(shape, Convex):
        return Sum(pos + shape.vert @ mat.T, none, zero)
    ends = jnp.stack([pos - mat[:, 2] * size[1], pos + mat[:, 2] * size[1]])
    if kind == GeomType.SPHERE:
        return Sum(pos[None], none, size[0])
    if kind == GeomType.CAPSULE:
        return Sum(ends, none, size[0])
    if kind == GeomType.ELLIPSOID:
        return Sum(pos[None], size[:, None] * mat.T, zero)
    if kind == GeomType.CYLINDER:
        return Sum(ends, jnp.stack([size[0], size[0], zero])[:, None] * mat.T, zero)
    raise ValueError(
        f"closest_points: got {kind.name}, expected SPHERE, CAPSULE, ELLIPSOID, CYLINDER, or BOX "
        "or MESH as a Convex"
    )


def tangents(n: Vector) -> Float[Array, "2 3"]:
    """Two unit vectors that make an orthonormal basis with n (Duff et al., JCGT 2017)."""
    sign = jnp.where(n[2] < 0, -1.0, 1.0).astype(n.dtype)
    a = -1.0 / (sign + n[2])
    b = n[0] * n[1] * a
    return jnp.stack(
        [
            jnp.stack([1.0 + sign * n[0] ** 2 * a, sign * b, -sign * n[0]]),
            jnp.stack([b, sign + n[1] ** 2 * a, -n[1]]),
        ]
    )


def flat(pair: Difference, n: Vector) -> tuple[Array, Array]:
    """Whether each shape's ellipsoid is a disc seen along its axis: there it touches as a face."""
    bound = tie(n)
    size1, size2 = (jnp.max(jnp.abs(shape.axes)) for shape in (pair.one, pair.two))
    along1, along2 = (jnp.max(jnp.abs(shape.axes @ n)) for shape in (pair.one, pair.two))
    return (size1 > 0) & (along1 <= bound * size1), (size2 > 0) & (along2 <= bound * size2)


def tie(n: Vector) -> float:
    """How close two lengths count as equal, relative to the size of the shapes."""
    return float(jnp.finfo(n.dtype).eps) ** 0.6
