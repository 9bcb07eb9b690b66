"""Contacts of two convex shapes that touch face to face: one face clipped against the other.

The reference face is the face of one shape that looks most along the contact normal, the incident
face the one of the other shape that looks most against it. Candidates are the corners of the
polygon in which the two overlap, seen along the reference normal; the manifold takes four.

Soft, either choice is a distribution, and so is which shape gives the reference. The candidates
of the likeliest combinations are put in ONE list, each with the truth value of its combination,
before the four points are chosen. Where two combinations are equally likely their polygons have
points in common, so that the four points stay apart while the roles change.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

import softjax_ops as sj
from softsim.collision.contract import Convex
from softsim.collision.manifold import (
    counted,
    decided,
    four_points,
    leading,
    log_not,
    masked,
    pick,
    ruled_out,
    soft_index,
    soft_max,
)
from softsim.collision.numerics import div, soft, unit, width
from softsim.collision.polygon import clip_segment, real_sides, sides
from softsim.softening import Part

TOUCHING = 1e-6  # m; MJX's smallest penetration
PERPENDICULAR = 1e-9
CANDIDATES = 4
"""Combinations of faces that are clipped in soft modes; 2 to 3 have weight, but for symmetry."""


class FaceContacts(eqx.Module):
    """Four contacts.

    Attributes:
        dist: m, signed, from the reference face along its normal.
        pos: m, on the reference face.
        there: truth value.
        alone: truth value that no earlier contact is the same.
    """

    dist: Float[Array, "4"]
    pos: Float[Array, "4 3"]
    there: Float[Array, "4"]
    alone: Float[Array, "4"]


def _clip(
    part: Part,
    reference: Float[Array, "k 3"],
    reference_normal: Float[Array, "3"],
    incident: Float[Array, "k 3"],
    incident_normal: Float[Array, "3"],
    size: Float[Array, ""],
    filled: bool,
) -> tuple[Float[Array, "n 3"], Float[Array, " n"]]:
    """Corners on the incident face of its overlap with the reference face, and truth values.

    `filled`: whether corners may repeat the one before; such a corner is none.
    """
    cosine = reference_normal @ incident_normal
    cosine = cosine * (jnp.abs(cosine) > PERPENDICULAR)
    cosine = cosine + div(width(part, 0.5) ** 2, cosine)
    rise = incident[0] @ incident_normal - reference @ incident_normal
    t = div(rise, jnp.broadcast_to(cosine, rise.shape))
    shadow = reference + t[:, None] * reference_normal
    real, real_incident = (real_sides(x) if filled else None for x in (reference, incident))

    def clip(corners: Array, start: Array, side: Array, real: Array | None):
        one = lambda p, q: clip_segment(part, p, q, start, side, size, real)
        return jax.vmap(one)(jnp.roll(corners, 1, axis=0), corners)

    of_incident, on_incident = clip(incident, *sides(reference, reference_normal), real)
    of_reference, on_reference = clip(shadow, *sides(incident, incident_normal), real_incident)
    ends = jnp.concatenate([of_incident, of_reference])
    inside = jnp.concatenate([masked(on_incident, real_incident), masked(on_reference, real)])
    return ends.reshape(-1, 3), jnp.repeat(inside, 2)


def _edges(face: Float[Array, "k 3"]) -> tuple[Float[Array, "k 3"], Float[Array, " k"]]:
    """Unit vectors of the edges that end in each corner, and by how much the face turns there.

    A corner that repeats the one before ends no edge and does not turn.
    """
    along, length = unit(face - jnp.roll(face, 1, axis=0), jnp.zeros(3, face.dtype))
    real = length > 0
    after = jnp.where(jnp.roll(real, -1)[:, None], jnp.roll(along, -1, axis=0), along[0])
    return along, real * (1 - jnp.sum(along * after, axis=1))


def _overlap(
    part: Part,
    reference: Float[Array, "k 3"],
    reference_normal: Float[Array, "3"],
    incident: Float[Array, "k 3"],
    incident_normal: Float[Array, "3"],
    size: Float[Array, ""],
) -> tuple[Float[Array, "n 3"], Float[Array, " n"], Float[Array, " n"]]:
    """Corners of the overlap as `_clip`, how much each counts, and truth values.

    These are corners of either face within the other, and crossings of two edges. Each counts by
    how much the outline turns there, 1 - cos(angle): so a corner that is cut off goes over into the
    two that replace it, and a crossing of edges in line is none.
    """
    cosine = reference_normal @ incident_normal
    cosine = cosine + div(width(part, 0.5) ** 2, cosine)
    rise = incident[0] @ incident_normal - reference @ incident_normal
    shadow = reference + div(rise, jnp.broadcast_to(cosine, rise.shape))[:, None] * reference_normal
    edge, turn = _edges(incident)
    other, other_turn = _edges(shadow)

    def ahead(points: Array, face: Array, along: Array, normal: Array) -> Float[Array, "k k"]:
        """How far points are beyond the sides of a face, m; far behind a side without length."""
        outward = jnp.cross(along, normal)
        none = jnp.all(along == 0, axis=1)
        return points @ outward.T - jnp.sum(face * outward, axis=1) - none * size

    def across(end: Array, start: Array) -> Array:
        """Truth value that two points are on different sides."""
        one, two = (sj.greater(x, 0.0, **soft(part, size)) for x in (end, start))
        return one * (1 - two) + two * (1 - one)

    end = ahead(incident, shadow, other, reference_normal)
    other_end = ahead(shadow, incident, edge, incident_normal)
    within = jnp.prod(sj.less(end, 0.0, **soft(part, size)), axis=1)
    other_within = jnp.prod(sj.less(other_end, 0.0, **soft(part, size)), axis=1)

    start = jnp.roll(end, 1, axis=0)
    way = end - start
    oblique = way**2 / (way**2 + width(part, size) ** 2)  # parallel edges cross nowhere
    t = jnp.clip(0.5 - 0.5 * oblique * (end + start) / jnp.where(way == 0, 1.0, way), 0.0, 1.0)
    begin = jnp.roll(incident, 1, axis=0)[:, None]
    crossing = begin + t[..., None] * (incident[:, None] - begin)
    crosses = across(end, start) * across(other_end, jnp.roll(other_end, 1, axis=0)).T
    crosses = crosses * oblique * (turn > 0)[:, None] * (other_turn > 0)
    angle = 1 + edge @ other.T  # seen from one side, the outlines run in opposite directions

    points = jnp.concatenate([incident, shadow, crossing.reshape(-1, 3)])
    inside = jnp.concatenate([within, other_within, crosses.ravel()])
    return points, jnp.concatenate([turn, other_turn, angle.ravel()]), inside


def _padded(face: Float[Array, "f k 3"], count: int) -> Float[Array, "f m 3"]:
    return jnp.pad(face, ((0, 0), (0, count - face.shape[1]), (0, 0)), "edge")


def face_contacts(
    part: Part,
    a: Convex,
    b: Convex,
    normal: Float[Array, "3"],
    a_refers: Float[Array, ""],
    size: Float[Array, ""],
    far: Float[Array, ""],
) -> FaceContacts:
    """Contacts of the faces of two shapes that look at each other.

    Args:
        part: settings of the collision part.
        a: one shape; vertices, faces and normals in a frame common to both.
        b: the other.
        normal: contact normal, from a to b.
        a_refers: truth value, whether the reference face is of a.
        size: m, of the shapes.
        far: m, more than any depth.
    """
    corners = max(a.face.shape[1], b.face.shape[1])
    whole = a.count is None and b.count is None
    filled = not whole or a.face.shape[1] != b.face.shape[1]
    faces = _padded(a.face, corners), _padded(b.face, corners)
    of_a = soft_index(part, a.face_normal @ normal, real=a.real("face"))
    of_b = soft_index(part, -b.face_normal @ normal, real=b.real("face"))
    roles = jnp.stack([a_refers, 1 - a_refers])
    chance = roles[:, None, None] * of_a[:, None] * of_b
    place, lead = leading(part, chance.ravel(), CANDIDATES)
    role, i, j = jnp.unravel_index(place, chance.shape)

    def candidates(role: Array, i: Array, j: Array):
        one, two = (faces[0][i], a.face_normal[i]), (faces[1][j], b.face_normal[j])
        (ref, ref_normal), incident = jax.tree.map(
            lambda x, y: jnp.where(role == 0, x, y), (one, two), (two, one)
        )
        if part.mode == "hard":
            points, inside = _clip(part, ref, ref_normal, *incident, size, filled)
            share = jnp.ones_like(inside)
        else:
            points, share, inside = _overlap(part, ref, ref_normal, *incident, size)
        upward, _ = unit(ref_normal, normal)
        depth = (ref[0] - points) @ upward
        deepest = soft_max(part, depth - far * ruled_out(inside), size)
        bound = TOUCHING - sj.relu(TOUCHING - deepest, **soft(part, size))
        near = inside * sj.greater_equal(depth, bound, **soft(part, size))
        points = points + depth[:, None] * upward
        return points, depth, share * near, ref_normal * (1 - 2 * role), inside

    points, depth, member, facing, inside = jax.vmap(candidates)(role, i, j)
    member = (lead[:, None] * member).ravel()
    points = points.reshape(-1, 3)
    index = four_points(part, points, member, lead @ facing, size)
    if part.mode == "hard":
        there = pick(index, member)
    else:
        found = 1 - jnp.exp(jnp.sum(log_not(lead[:, None] * inside)))
        there = jnp.broadcast_to(decided(2 * found), (4,))
    alone = counted(part, index)
    return FaceContacts(-pick(index, depth.ravel()), pick(index, points), there, alone)
