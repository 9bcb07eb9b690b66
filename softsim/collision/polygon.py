"""Faces of convex shapes: size of a shape, point to face, segment against the sides of a face.

Hard, the formulas and their small constants are MJX's: contacts agree to rounding.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

import softjax_ops as sj
from softsim.collision.contract import Convex
from softsim.collision.manifold import at_least, pick, soft_index, soft_max
from softsim.collision.numerics import div, norm, soft, unit, width
from softsim.softening import Part

IN_FRONT = 1e-6
"""MJX's tolerance: closer in front of a plane than this is behind it."""

NEVER = -100.0
"""Score of a side without a length; those of the others are between -2 and 2."""


def inradius(convex: Convex) -> Float[Array, ""]:
    """Size of a shape that lengths are softened by, m: root harmonic mean square face distance.

    A smooth stand-in for the radius of the inscribed sphere: the half-length of a cube, and close
    to the half-thickness of a plate, so that opposite faces never blend.
    """
    distance = jnp.sum(convex.face[:, 0] * convex.face_normal, axis=1)
    return jnp.mean(jnp.maximum(distance, 1e-9) ** -2, where=convex.real("face")) ** -0.5


def smaller(x: Float[Array, ""], y: Float[Array, ""]) -> Float[Array, ""]:
    """Smooth minimum of two positive sizes, exact where they agree."""
    return jnp.sqrt(2.0) * x * y / jnp.sqrt(x * x + y * y)


def rim(
    part: Part, v: Float[Array, "*s 3"], fallback: Float[Array, "*s 3"], size: Float[Array, ""]
) -> tuple[Float[Array, "*s 3"], Float[Array, "*s"]]:
    """Direction and length of v, rounded off near v = 0 where the length has a kink.

    Soft, shorter than e = 0.4 widths: direction v/e (15 - 10 q + 3 q^2)/8 with q = |v|^2/e^2, and
    length v . direction: both 0 at v = 0, and twice continuously differentiable. Longer, and
    hard: exact, with `fallback` at v = 0.
    """
    exact, length = unit(v, fallback)
    e = width(part, 0.4 * size)
    near = length < e
    q = jnp.where(near, length, 0.0) ** 2 / jnp.where(near, e, 1.0) ** 2
    rounded = v / jnp.where(near, e, 1.0)[..., None] * ((15 - 10 * q + 3 * q**2) / 8)[..., None]
    length = jnp.where(near, jnp.sum(v * rounded, axis=-1), length)
    return jnp.where(near[..., None], rounded, exact), length


def sides(
    face: Float[Array, "k 3"], normal: Float[Array, "3"]
) -> tuple[Float[Array, "k 3"], Float[Array, "k 3"]]:
    """Side planes of a face: a point on each, and outward normals as long as the edges."""
    start = jnp.roll(face, 1, axis=0)
    return start, jnp.cross(face - start, normal)


def real_sides(face: Float[Array, "k 3"]) -> Bool[Array, " k"]:
    """Which sides of a face have a length; the others are corners that fill up its array."""
    return jnp.any(face != jnp.roll(face, 1, axis=0), axis=1)


def closest_on_face(
    part: Part,
    face: Float[Array, "k 3"],
    normal: Float[Array, "3"],
    point: Float[Array, "3"],
    size: Float[Array, ""],
) -> tuple[Float[Array, "3"], Float[Array, ""], Float[Array, "3"]]:
    """Closest point of a convex face to a point, as MJX finds it.

    The foot on the face's plane if it is inside; else the closest point on the edge whose side
    plane the foot is in front of, but least. Soft, the nearest edge where the foot is well inside.

    Args:
        part: settings of the collision part.
        face: m, vertices, counter-clockwise.
        normal: outward unit normal.
        point: m.
        size: m, of the shapes.

    Returns:
        closest point (m), signed distance (m, negative behind the face), and the direction from
        `point` to the face: at most unit length, -normal if the foot is inside.
    """
    height = (point - face[0]) @ normal
    foot = point - height * normal
    start, side = sides(face, normal)
    edge = face - start
    squared = jnp.sum(edge * edge, axis=1)
    real = squared > 0
    length = jnp.sqrt(jnp.where(real, squared, 1.0))
    ahead = jnp.sum((foot - start) * side, axis=1)  # m^2, distance times edge length

    beyond = jnp.where(real, ahead / length, -1e3 * size)
    inside = jnp.prod(sj.less_equal(beyond, 0.0, **soft(part, size)))
    front = sj.greater_equal(beyond, 0.0, **soft(part, size)) * real
    over = jnp.maximum(ahead, 0.0) ** 2
    behind = jnp.minimum(beyond, 0.0) ** 2
    score = 2 * front - over / (over + size**4) - behind / (behind + size**2)
    score = jnp.where(real, score, NEVER)
    t = jnp.sum((foot - start) * edge, axis=1) / (squared + 1e-6)
    t = sj.clip(t, 0.0, 1.0, **soft(part, size / length))
    near = soft_index(part, score) @ (start + t[:, None] * edge)

    closest = inside * foot + (1 - inside) * near
    direction, distance = rim(part, near - point, -normal, size)
    distance = inside * height + (1 - inside) * distance
    return closest, distance, (1 - inside) * direction - inside * normal


def closest_on_convex(
    part: Part, convex: Convex, point: Float[Array, "3"], size: Float[Array, ""]
) -> tuple[Float[Array, "3"], Float[Array, ""], Float[Array, "3"]]:
    """Closest point of a convex shape's surface to a point: on the face that is furthest out.

    Soft, the mean over the faces. Where two faces share the weight outside the shape, they share
    the closest point too.

    Args:
        part: settings of the collision part.
        convex: its arrays, and `point`, in one frame.
        point: m.
        size: m, of the shapes.

    Returns:
        closest point (m), signed distance (m, negative inside), and direction from `point` to the
        surface (if outside): shorter than 1 where opposite faces are equally near, deep inside.
    """
    height = jnp.sum((point - convex.face[:, 0]) * convex.face_normal, axis=1)
    index = soft_index(part, height, size, convex.real("face"))
    near = jax.vmap(lambda f, n: closest_on_face(part, f, n, point, size))
    return jax.tree.map(lambda x: pick(index, x), near(convex.face, convex.face_normal))


def clip_segment(
    part: Part,
    p0: Float[Array, "3"],
    p1: Float[Array, "3"],
    start: Float[Array, "k 3"],
    side: Float[Array, "k 3"],
    size: Float[Array, ""],
    real: Bool[Array, " k"] | None = None,
) -> tuple[Float[Array, "2 3"], Float[Array, ""]]:
    """The part of a segment that is behind all side planes.

    Args:
        part: settings of the collision part.
        p0: m, an end of the segment.
        p1: m, the other end.
        start: m, a point on each plane.
        side: normals of the planes, of any length (m); zero: no plane.
        size: m, of the shapes.
        real: which normals are not zero; None: not known.

    Returns:
        the ends of that part, and whether there is one: a truth value.
    """
    scale = size * norm(side) + 1e-9 * size**2
    plane, along = jnp.sum(start * side, axis=1), jnp.sum(side * (p1 - p0), axis=1)
    ahead0, ahead1 = (jnp.sum(side * p, axis=1) - plane for p in (p0, p1))
    front0, front1 = (sj.greater(x, IN_FRONT, **soft(part, scale)) for x in (ahead0, ahead1))
    # |ahead0| + |ahead1|: the length of the segment along the side's normal, if it crosses
    same_side = sj.relu(ahead0 * ahead1, **soft(part, scale**2))
    total = sj.sqrt(along**2 + 4 * same_side + width(part, scale) ** 2)
    crossing0 = div(ahead0, total)
    crossing1 = div(sj.abs(ahead0, **soft(part, scale)), total)

    scale_t = size / (norm(p1 - p0) + 1e-9 * size)
    t0 = soft_max(part, front0 * crossing0, scale_t, real)
    t1 = -soft_max(part, -(front1 * crossing1 + (1 - front1)), scale_t, real)
    clipped = 1 - jnp.prod(1 - front1)
    end0, end1 = p0 + t0 * (p1 - p0), p0 + t1 * (p1 - p0)
    ends = jnp.stack([end0, clipped * end1 + (1 - clipped) * p1])
    behind0, behind1 = (at_least(part, -x, -IN_FRONT, scale) for x in (ahead0, ahead1))
    behind = jnp.prod(1 - (1 - behind0) * (1 - behind1))
    return ends, behind * at_least(part, t1 - t0, 0.0, scale_t)
