"""Contacts of two convex shapes that touch face to face: one face clipped against the other.

The reference face is the face of one shape that looks most along the contact normal, the incident
face the one of the other shape that looks most against it. Candidates are the corners of the
polygon in which the two overlap, seen along the reference normal; the manifold takes four.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from softsim.collision.contract import Convex
from softsim.collision.manifold import four_points, masked, pick, unique
from softsim.collision.numerics import div, unit
from softsim.collision.patch import FaceContacts, patch
from softsim.collision.polygon import clip_segment, real_sides, sides
from softsim.softening import Part

TOUCHING = 1e-6  # m; MJX's smallest penetration
PERPENDICULAR = 1e-9


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
    least: Float[Array, ""],
    size: Float[Array, ""],
    far: Float[Array, ""],
) -> FaceContacts:
    """Contacts of the faces of two shapes that look at each other; soft, those of `patch`.

    Args:
        part: settings of the collision part.
        a: one shape; vertices, faces and normals in a frame common to both.
        b: the other.
        normal: contact normal, from a to b.
        a_refers: truth value, whether the reference face is of a.
        least: m, separation of the shapes along the normal.
        size: m, of the shapes.
        far: m, more than any depth.
    """
    if part.mode != "hard":
        return patch(part, a, b, normal, least, size)
    corners = max(a.face.shape[1], b.face.shape[1])
    whole = a.count is None and b.count is None
    filled = not whole or a.face.shape[1] != b.face.shape[1]
    i, j = jnp.argmax(a.face_normal @ normal), jnp.argmax(-b.face_normal @ normal)
    one = _padded(a.face, corners)[i], a.face_normal[i]
    two = _padded(b.face, corners)[j], b.face_normal[j]
    (face, face_normal), (other, other_normal) = jax.tree.map(
        lambda x, y: jnp.where(a_refers > 0.5, x, y), (one, two), (two, one)
    )
    points, inside = _clip(part, face, face_normal, other, other_normal, size, filled)
    upward, _ = unit(face_normal, normal)
    depth = (face[0] - points) @ upward
    deepest = jnp.max(depth - far * (1 - inside))
    near = inside * (depth >= jnp.minimum(TOUCHING, deepest))
    points = points + depth[:, None] * upward
    index = four_points(part, points, near, face_normal, size)
    return FaceContacts(-pick(index, depth), pick(index, points), pick(index, near), unique(index))
