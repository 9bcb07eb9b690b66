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
    at_least,
    decided,
    four_points,
    leading,
    masked,
    pick,
    ruled_out,
    saturate,
    soft_index,
    soft_max,
    unique,
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
        points, inside = _clip(part, ref, ref_normal, incident[0], incident[1], size, filled)
        upward, _ = unit(ref_normal, normal)
        depth = (ref[0] - points) @ upward
        deepest = soft_max(part, depth - far * ruled_out(inside), size)
        bound = TOUCHING - sj.relu(TOUCHING - deepest, **soft(part, size))
        near = inside * at_least(part, depth, bound, size)
        return points + depth[:, None] * upward, depth, near, ref_normal * (1 - 2 * role)

    points, depth, near, facing = jax.vmap(candidates)(role, i, j)
    member = (saturate(2.5 * lead)[:, None] * near).ravel()
    points = points.reshape(-1, 3)
    index = four_points(part, points, member, lead @ facing, size)
    there = decided(2 * pick(index, member))
    return FaceContacts(-pick(index, depth.ravel()), pick(index, points), there, unique(index))
