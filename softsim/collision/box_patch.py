"""Two boxes in MuJoCo C: all corners of the patch in which two faces overlap, or one pair of edges.

Facts of MuJoCo 3.17 (`engine_collision_box.c`), where MJX differs: of the 15 axes a pair of edges
wins only if its separation is greater by a millionth, and, where it is within 8 degrees of the
best face's normal, by 5 % of that face's; a contact on faces is at each corner of the incident
face clipped by the sides of the reference face, halfway to it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from mujoco.mjx import GeomType

from softsim.collision.box_box import box_box
from softsim.collision.contract import Convex, Hit, absent_added, pair
from softsim.collision.numerics import div, frame, norm
from softsim.softening import Part

CORNERS = 8
"""A parallelogram clipped by a rectangle has no more."""
EDGE_BIAS, FACE_SHARE, ALIGNED = 1e-6, 0.05, 0.99
"""How much better an edge must be: of its own separation; of the face's, if so well aligned."""
_SIDES = np.array([[1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [1.0, -1.0]])
_PARALLEL_EDGES = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])


class Patch(NamedTuple):
    """Up to k points: dist (m), pos (m) in the frame of box 1, and whether each is there."""

    dist: Float[Array, " k"]
    pos: Float[Array, "k 3"]
    there: Bool[Array, " k"]


class Seen(NamedTuple):
    """Box 2 from box 1: rot turns its frame into that of box 1, pos (m) is its centre there."""

    size1: Float[Array, "3"]
    size2: Float[Array, "3"]
    rot: Float[Array, "3 3"]
    pos: Float[Array, "3"]


@pair(GeomType.BOX, GeomType.BOX, ncon=CORNERS, follow="mujoco")
def box_patch(part: Part, box1: Convex, box2: Convex) -> Hit:
    """Eight contacts, as many there as MuJoCo C has. Soft, the four of `box_box`: a choice of the
    four points that span most moves slowly, the corners of a clipped polygon come and go.
    """
    if part.mode != "hard":
        return absent_added(box_box(part, box1, box2), CORNERS)
    turn, away = box1.mat.T, box2.pos - box1.pos
    seen = Seen(box1.size, box2.size, turn @ box2.mat, turn @ away)
    face, edges, on_edges = _best_axes(seen)
    patch, normal = _on_faces(seen, face)
    point, crossing = _on_edges(seen, edges)
    patch = jax.tree.map(lambda x, y: jnp.where(on_edges, y, x), patch, point)
    normal = jnp.where(on_edges, crossing, normal)
    pos = box1.pos + patch.pos @ box1.mat.T
    frames = jnp.broadcast_to(frame(part, box1.mat @ normal), (CORNERS, 3, 3))
    return Hit(patch.dist, pos, frames, patch.there.astype(pos.dtype))


def _crossed(seen: Seen) -> tuple[Float[Array, "9 3"], Bool[Array, " 9"]]:
    """Unit vectors across an axis of either box, and whether the two axes are not parallel."""
    axes = jnp.cross(jnp.eye(3, dtype=seen.rot.dtype)[:, None], seen.rot.T).reshape(9, 3)
    sine = norm(axes)
    return div(axes, jnp.broadcast_to(sine[:, None], axes.shape)), sine > 0


def _best_axes(seen: Seen) -> tuple[Array, Array, Bool[Array, ""]]:
    """The best of the 6 faces' axes, of the 9 pairs of edges, and whether the edges win."""
    crossed, real = _crossed(seen)
    axes = jax.lax.stop_gradient(
        jnp.concatenate([jnp.eye(3, dtype=crossed.dtype), seen.rot.T, crossed])
    )
    reach = jnp.abs(axes) @ seen.size1 + jnp.abs(axes @ seen.rot) @ seen.size2
    gaps = jnp.abs(axes @ seen.pos) - reach
    of_faces, of_edges = gaps[:6], jnp.where(real, gaps[6:], -jnp.inf)
    face, best = jnp.argmax(of_faces), jnp.max(of_edges)
    edges = jnp.argmax(of_edges + EDGE_BIAS * jnp.abs(best) >= best)  # the first of equal ones
    on_face, on_edges = of_faces[face], of_edges[edges]
    wins = on_edges - EDGE_BIAS * jnp.abs(on_edges) > on_face
    aligned = jnp.abs(axes[6 + edges] @ axes[face]) > ALIGNED
    wins &= ~aligned | (on_edges >= on_face + FACE_SHARE * jnp.abs(on_face))
    return face, edges, wins


def _on_edges(seen: Seen, edges: Array) -> tuple[Patch, Float[Array, "3"]]:
    """The closest points of the edges that touch along the axis, and that from box 1 to box 2.

    Of the four parallel edges of a box two are equally far where the axis is level with a face.
    """
    i, j = edges // 3, edges % 3
    axis = _crossed(seen)[0][edges]
    axis = jnp.where(axis @ seen.pos < 0, -axis, axis)
    along1, along2 = jnp.eye(3, dtype=axis.dtype)[i], seen.rot[:, j]
    middles1, middles2 = (
        jnp.zeros((4, 3), axis.dtype).at[:, (k + jnp.array([1, 2])) % 3].set(_PARALLEL_EDGES) * size
        for k, size in ((i, seen.size1), (j, seen.size2))
    )
    middles2 = seen.pos + middles2 @ seen.rot.T
    ahead1, ahead2 = middles1 @ axis, middles2 @ axis
    level = jnp.sum(seen.size1 + seen.size2) * 1e-9
    behind = (jnp.max(ahead1) - ahead1)[:, None] > level
    behind |= ahead2 - jnp.min(ahead2) > level

    # closest points of two lines, each kept on its segment
    apart = middles2 - middles1[:, None]
    cosine = along1 @ along2
    to1, to2 = apart @ along1, apart @ along2
    length1, length2 = seen.size1[i], seen.size2[j]
    crossing = div(to1 - cosine * to2, jnp.broadcast_to(1 - cosine**2, to1.shape))
    s = jnp.clip(crossing, -length1, length1)
    t = jnp.clip(cosine * s - to2, -length2, length2)
    s = jnp.clip(to1 + cosine * t, -length1, length1)
    point1 = middles1[:, None] + s[..., None] * along1
    point2 = middles2 + t[..., None] * along2
    gap = point2 - point1
    chosen = jnp.argmin(jnp.where(behind, jnp.inf, jnp.sum(gap**2, axis=-1)))
    gap, point1, point2 = (x.reshape(16, 3)[chosen] for x in (gap, point1, point2))
    fill = lambda x: jnp.broadcast_to(x, (CORNERS, *x.shape))
    there = jnp.arange(CORNERS) == 0
    return Patch(fill(gap @ axis), fill(0.5 * (point1 + point2)), there), axis


def _on_faces(seen: Seen, face: Array) -> tuple[Patch, Float[Array, "3"]]:
    """The corners of the incident face clipped by the reference face, and the normal."""
    first = face < 3
    other = Seen(seen.size2, seen.size1, seen.rot.T, -seen.rot.T @ seen.pos)
    ref: Seen = jax.tree.map(lambda x, y: jnp.where(first, x, y), seen, other)
    order = (face + jnp.array([1, 2, 0])) % 3  # the face's two axes, then its normal
    sign = jnp.where(ref.pos[order[2]] >= 0, 1.0, -1.0)
    flip = jnp.stack([jnp.ones_like(sign), jnp.ones_like(sign), sign])
    size, centre = ref.size1[order], flip * ref.pos[order]
    axes = flip[:, None] * ref.rot[order]  # of the incident box, in columns

    k = jnp.argmax(jnp.abs(axes[2]))
    towards = jnp.where(axes[2, k] > 0, -1.0, 1.0)
    centre = centre + towards * ref.size2[k] * axes[:, k]
    sides = (k + jnp.array([1, 2])) % 3
    half = (axes * ref.size2)[:, sides].T
    points, there = _clipped(centre, half, size[:2])
    points, there = _packed(points, there, size[:2])

    height = points[:, 2] - size[2]
    middle = points.at[:, 2].add(-0.5 * height)
    back = jnp.argsort(order)
    pos = (flip * middle)[:, back]
    normal = jnp.zeros_like(size).at[order[2]].set(sign)
    pos = jnp.where(first, pos, seen.pos + pos @ seen.rot.T)
    normal = jnp.where(first, normal, -seen.rot @ normal)
    return Patch(height, pos, there), normal


def _clipped(
    centre: Float[Array, "3"], half: Float[Array, "2 3"], size: Float[Array, "2"]
) -> tuple[Float[Array, "12 3"], Bool[Array, " 12"]]:
    """Candidates for the corners of a parallelogram above a rectangle, and which ones are there.

    Where an edge of the parallelogram enters the rectangle or begins, where it leaves, and the
    corners of the rectangle that are inside the parallelogram. A corner may be there twice.

    Args:
        centre: m, of the parallelogram; x and y from the middle of the rectangle.
        half: m, from the centre to the middle of two of its sides.
        size: m, half-lengths of the rectangle.
    """
    slack = 64 * jnp.finfo(size.dtype).eps
    start = centre + _SIDES @ half
    along = jnp.roll(start, -1, axis=0) - start
    # inside: -size <= start + t along <= size, for x and for y
    x, dx = start[:, :2], along[:, :2]
    crossing = div(jnp.stack([-size - x, size - x]), jnp.stack([dx, dx]))
    level = dx == 0
    outside = jnp.any(level & (jnp.abs(x) > size * (1 + slack)), axis=1)
    entry = jnp.max(jnp.where(level, 0.0, jnp.min(crossing, axis=0)), axis=1)
    exit = jnp.min(jnp.where(level, 1.0, jnp.max(crossing, axis=0)), axis=1)
    entry, exit = jnp.maximum(entry, 0.0), jnp.minimum(exit, 1.0)
    passes = ~outside & (entry <= exit + slack)
    of_edges = [start + t[:, None] * along for t in (entry, exit)]

    corner = _SIDES * size
    from_centre = corner - centre[:2]
    wedge = lambda p, q: p[..., 0] * q[..., 1] - p[..., 1] * q[..., 0]
    area = wedge(half[0, :2], half[1, :2])
    u = wedge(from_centre, half[1, :2]) / area
    v = -wedge(from_centre, half[0, :2]) / area
    inside = jnp.maximum(jnp.abs(u), jnp.abs(v)) <= 1 + slack
    height = centre[2] + u * half[0, 2] + v * half[1, 2]
    corners = jnp.concatenate([corner, height[:, None]], axis=1)
    points = jnp.concatenate([*of_edges, corners])
    return points, jnp.concatenate([passes, passes & (exit < 1), inside])


def _packed(
    points: Float[Array, "12 3"], there: Bool[Array, " 12"], size: Float[Array, "2"]
) -> tuple[Float[Array, "8 3"], Bool[Array, " 8"]]:
    """Those that are there, each once, before the others."""
    near = jnp.sqrt(jnp.finfo(size.dtype).eps) * norm(size)
    apart = points[:, None, :2] - points[:, :2]
    same = jnp.tril(jnp.sum(apart**2, axis=-1) < near**2, k=-1) & there
    there = there & ~jnp.any(same, axis=1)
    place = jnp.argsort(~there, stable=True)[:CORNERS]
    return points[place], there[place]
