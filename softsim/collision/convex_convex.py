"""Boxes and convex hulls of meshes: faces by the separating axis test, edges by the Gauss map.

Two edges can only be the contact if the arcs that their adjacent face normals span on the unit
sphere cross (Gregorius, The Separating Axis Test between Convex Polyhedra, GDC 2013); so unlike
faces, pairs of edges need no pass over the vertices.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
from mujoco.mjx import GeomType

import softjax_ops as sj
from softsim.collision.clipping import face_contacts
from softsim.collision.contract import Convex, Hit, pair
from softsim.collision.convex import settled
from softsim.collision.manifold import (
    BLUNT,
    EDGE,
    NONE,
    PLATEAU,
    at_least,
    decided,
    leading,
    no_deeper,
    pick,
    ruled_out,
    soft_index,
    soft_max,
)
from softsim.collision.numerics import frame, norm, soft, unit, width
from softsim.collision.patch import PAIRS, FaceContacts
from softsim.collision.polygon import closest_on_convex, inradius, smaller
from softsim.collision.segment import closest_of_segments
from softsim.collision.separating import Point, blend, extent, gap, placed, separation
from softsim.softening import Part

NO_AXIS = 1e-3  # MJX's bound on the sine between two edges
FURTHER = 0.2  # of the width of a switch: how round the bound on how far other vertices reach is
LEVEL = 0.07
"""Share of edges that is none: two level shapes have many pairs of edges that are as deep as a
face, and these have a share of 0.063; which of them it is may change with the last bit."""
TIE = 1e-6  # m; MJX takes an edge contact this much deeper than the shallowest point on the faces


class Edges(eqx.Module):
    """The contact of the best pair of edges: as a point, and its normal."""

    point: Point
    normal: Float[Array, "3"]


def _radius(convex: Convex) -> Float[Array, ""]:
    """m, from the centre to the furthest vertex."""
    return jnp.max(norm(convex.vert - convex.pos))


def _walls(normals: Float[Array, "e 2 3"]) -> Float[Array, "e 3 3"]:
    """Bounds of the arcs between pairs of normals: unit vectors that point out of each arc.

    Two point along the great circle beyond the arc's ends, the third to the other side of the
    sphere. A direction on the circle is on the arc if it is along none of the three.
    """
    x = jnp.array([1.0, 0.0, 0.0], normals.dtype)
    other = normals[:, ::-1]
    beyond, _ = unit(jnp.sum(normals * other, axis=-1, keepdims=True) * normals - other, x)
    middle, _ = unit(jnp.sum(normals, axis=1, keepdims=True), x)
    return jnp.concatenate([beyond, -middle], axis=1)


def nearest_edges(part: Part, a: Convex, b: Convex, size: Float[Array, ""]) -> Edges:
    """The pair of edges of largest separation among those whose arcs cross.

    The axis of a pair supports a shape in its edge if it is on the edge's arc. Beyond the arc by an
    angle, other vertices reach further than the edge by at most the sine times the diameter. Soft,
    arcs cross as long as this length is small, the edges' separation counts less by it, and that of
    the contact is the one of all vertices.
    """
    x = jnp.array([1.0, 0.0, 0.0], a.vert.dtype)
    of_a, of_b = a.vert[a.edge], b.vert[b.edge]
    dir_a, _ = unit(of_a[:, 0] - of_a[:, 1], x)
    dir_b, _ = unit(of_b[:, 0] - of_b[:, 1], x)
    axes, sine = unit(jnp.cross(dir_a, dir_b[:, None]), x)
    walls_a, walls_b = _walls(a.edge_face_normal), _walls(b.edge_face_normal)
    inward = jnp.sum(axes * walls_a[:, 2], axis=-1) > 0
    axes = jnp.where(inward[..., None], -axes, axes)
    separated = jnp.sum(axes * (of_b[:, None, 0] - of_a[:, 0]), axis=-1)

    # on the end of an arc by rounding, as between aligned boxes, it is the axis of a face
    inside = 16 * jnp.finfo(axes.dtype).eps
    beyond_a = 2 * _radius(a) * (jnp.einsum("jik,iwk->wji", axes, walls_a) + inside)
    beyond_b = 2 * _radius(b) * (jnp.einsum("jik,jwk->wji", -axes, walls_b) + inside)
    beyond, far = jnp.concatenate([beyond_a, beyond_b]), extent(a, b)
    crossed = sj.greater_equal(sine, NO_AXIS + width(part), **soft(part, EDGE))
    if part.mode == "hard":
        real = crossed * jnp.all(beyond <= 0, axis=0)
        score = separated - far * (1 - real)
    else:  # at most the separation of all vertices
        further = jnp.sum(sj.relu(beyond, **soft(part, FURTHER * size)), axis=0)
        score = separated - further - ruled_out(part, crossed, far, size)
    there = _all(b, "edge")[:, None] & _all(a, "edge")
    index = soft_index(part, score.ravel(), size, there.ravel())
    place, lead = leading(part, index, PAIRS)
    weight = (lead**2 + 1e-6) / jnp.sum(lead**2 + 1e-6)
    j, i = jnp.unravel_index(place, separated.shape)
    on_a, on_b = jax.vmap(lambda p, q: closest_of_segments(part, *p, *q))(of_a[i], of_b[j])
    axes = axes[j, i]
    dist, pos = weight @ separation(part, a, b, axes, size), weight @ (0.5 * (on_a + on_b))
    supports = jnp.prod(at_least(part, -beyond[:, j, i], 0.0, size), axis=0)
    return Edges(Point(dist, pos, weight @ decided(crossed[j, i] * supports)), weight @ axes)


def _all(convex: Convex, name: Literal["face", "edge"]) -> Bool[Array, " n"]:
    real = convex.real(name)
    return jnp.ones(len(getattr(convex, name)), bool) if real is None else real


def _prefers_edges(
    part: Part, faces: FaceContacts, point: Point, size: Float[Array, ""]
) -> Float[Array, ""]:
    """Truth value: the edges are less deep than all points on the faces, or those are not there."""
    below = at_least(part, soft_max(part, faces.dist, size) - TIE, point.dist, size)
    return point.there * (1 - faces.there[0] * below)


def convex_near(
    part: Part, c1: Convex, c2: Convex
) -> tuple[Float[Array, "4"], Float[Array, "4 3"], Float[Array, "3"], Float[Array, "4"]]:
    """dist, pos, normal and weight of the contacts of two convex shapes, world frame.

    As in MJX the shape with fewer vertices is a, the first in the tests. What fills up arrays must
    not change which one that is.
    """
    swapped = c1.vert.shape[0] > c2.vert.shape[0]
    one, two = (c2, c1) if swapped else (c1, c2)
    size = smaller(inradius(one), inradius(two))
    a = placed(one, two.mat.T @ (one.pos - two.pos), two.mat.T @ one.mat)
    b = placed(two, jnp.zeros_like(two.pos), jnp.eye(3, dtype=two.mat.dtype))

    soft_mode, far = part.mode != "hard", extent(a, b)
    apart = gap(part, a, b, lambda c, p: _project(part, c, p, size), size, rounds=3)
    edges = nearest_edges(part, a, b, size)
    later = width(part, PLATEAU * size) if soft_mode else 2 * far
    on_edges = edges.point.dist - later
    if not soft_mode:
        on_edges = on_edges - far * (1 - edges.point.there)
    axes = jnp.vstack([a.face_normal, -b.face_normal, apart.axis, edges.normal])
    gaps = separation(part, a, b, axes[:-2], size)
    gaps = jnp.append(gaps, jnp.stack([apart.separation, on_edges]))
    real = jnp.concatenate([_all(a, "face"), _all(b, "face"), jnp.ones(2, bool)])
    best = soft_index(part, gaps, size, real)
    if soft_mode:  # hard, one axis has it all
        best = _without_ties(best)
    mean = pick(best, axes)
    normal, _ = settled(mean)

    least = soft_max(part, gaps.at[-1].add(later * soft_mode), BLUNT * size, real)
    a_refers = jnp.sum(best[: a.face_normal.shape[0]])
    faces = face_contacts(part, a, b, normal, a_refers, least, size, far)
    at_edges, at_point = best[-1], best[-1] + best[-2]
    if not soft_mode:  # MJX looks at the edges after the faces
        at_edges = edges.point.dist >= apart.separation
        at_edges = at_edges * _prefers_edges(part, faces, edges.point, size)
        mean = at_edges * edges.normal + (1 - at_edges) * mean
        at_point = jnp.maximum(at_edges, best[-2])
    share = at_edges / jnp.maximum(at_point, NONE)
    point = Point(
        at_edges * edges.point.dist + (1 - at_edges) * least,
        share * edges.point.pos + (1 - share) * apart.middle,
        at_point,
    )
    dist, pos, weight = blend(part, faces, point, at_point, size)
    dist = no_deeper(part, dist, least, size)
    normal, clear = settled(mean)
    normal = two.mat @ normal * (-1.0 if swapped else 1.0)
    return dist, two.pos + pos @ two.mat.T, normal, weight * clear


def _without_ties(best: Float[Array, " n"]) -> Float[Array, " n"]:
    """The shares of axes, the last one none where the edges are only as good as a face."""
    at_edges = decided(best[-1], LEVEL)
    others = best * (1 - at_edges) / jnp.maximum(1 - best[-1], NONE)
    return others.at[-1].set(at_edges)


def _project(
    part: Part, convex: Convex, point: Float[Array, "3"], size: Float[Array, ""]
) -> Float[Array, "3"]:
    """Closest point of a convex shape to a point; the point itself if inside."""
    near, distance, _ = closest_on_convex(part, convex, point, size)
    outside = sj.greater(distance, 0.0, **soft(part, size))
    return point + outside * (near - point)


@pair(GeomType.BOX, GeomType.MESH, ncon=4)
@pair(GeomType.MESH, GeomType.MESH, ncon=4)
def convex_convex(part: Part, convex1: Convex, convex2: Convex) -> Hit:
    """Four contacts on faces, or one (contact 0) of two edges or closest points."""
    dist, pos, normal, weight = convex_near(part, convex1, convex2)
    return Hit(dist, pos, jnp.broadcast_to(frame(part, normal), (4, 3, 3)), weight)
