"""What touches of two shapes along a direction: a vertex, an edge or a face of their difference.

Along the direction n of greatest separation the difference of the shapes has a flat part: the pairs
of points that are equally far along n. It holds the foot of the origin, that is, the two closest
points. `touching` finds it by GJK in the plane (Gilbert, Johnson & Keerthi, 1988).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from softsim.collision.minkowski import Difference, Vector, flat, tangents, tie
from softsim.collision.numerics import div

_STEPS = 16
_AROUND = np.stack([[np.cos(a), np.sin(a)] for a in np.arange(8) * np.pi / 4])
_CHOICES = np.array(
    [[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]], bool
)


class Points(eqx.Module):
    """Pairs of points, one of each shape: vertices i, j and points u1, u2 of the flat ellipsoids.

    Attributes:
        i: vertex of shape 1.
        j: vertex of shape 2.
        u1: point of the unit ball that shape 1's disc is at; 0 where its ellipsoid is not flat.
        u2: the same of shape 2, seen from shape 1: in the direction from 2 to 1, negated.
        flat1: whether the ellipsoid of shape 1 is a disc seen along its axis.
        flat2: the same of shape 2.
        share: weights that give the foot, at least 0, with sum 1.
    """

    i: Int[Array, " k"]
    j: Int[Array, " k"]
    u1: Float[Array, "k 3"]
    u2: Float[Array, "k 3"]
    flat1: Bool[Array, " k"]
    flat2: Bool[Array, " k"]
    share: Float[Array, " k"]


def touching(pair: Difference, n: Vector) -> Points:
    """Up to three pairs of points that touch along n, in the plane around the foot.

    The first has the largest share; the others span as much of the flat part as there is, with a
    share of 0 where the foot is without them; a pair that spans nothing more repeats the first.
    """
    basis, near = tangents(n), tie(n)
    reach1, reach2 = pair.one.vert @ n, pair.two.vert @ n
    far1 = jnp.where(reach1 < jnp.max(reach1) - near, jnp.inf, 0.0)
    far2 = jnp.where(reach2 > jnp.min(reach2) + near, jnp.inf, 0.0)
    flat1, flat2 = flat(pair, n)
    bulge = (~flat1) * (pair.one.axes.T @ pair.one.lean(n)[0])
    bulge += (~flat2) * (pair.two.axes.T @ pair.two.lean(n)[0])
    none = jnp.zeros((), n.dtype)

    def least(w: Float[Array, "2"]) -> tuple[Points, Float[Array, "2"]]:
        """The pair of points least along w, and its place in the plane."""
        along = w @ basis
        i = jnp.argmax(pair.one.vert @ along - far1)
        j = jnp.argmin(pair.two.vert @ along + far2)
        u1, u2 = flat1 * pair.one.lean(along)[0], flat2 * pair.two.lean(along)[0]
        point = pair.between(i, j) - pair.one.axes.T @ u1 - pair.two.axes.T @ u2 - bulge
        return Points(i, j, u1, u2, flat1, flat2, none), basis @ point

    resolution = 64 * jnp.finfo(n.dtype).eps

    def unfinished(state) -> Array:
        count, _, _, gap, square = state
        return (count < _STEPS) & (square > resolution**2) & (gap > resolution)

    def step(state):
        count, points, place, _, _ = state
        towards = points.share @ place
        new, new_place = least(towards)
        gap = div(towards @ (towards - new_place), jnp.sqrt(jnp.sum(towards**2)))
        slot = jnp.argmin(points.share)
        points = jax.tree.map(lambda x, y: x.at[slot].set(y), points, new)
        place = place.at[slot].set(new_place)
        share = jax.vmap(lambda c: _nearest(place, c))(_CHOICES)
        square = jnp.sum((share @ place) ** 2, axis=1)
        valid = jnp.all(share >= 0, axis=1) & (jnp.sum(share, axis=1) > 0.5)
        square = jnp.where(valid, jnp.maximum(square, resolution**2), jnp.inf)
        best = jnp.argmin(square)
        points = eqx.tree_at(lambda p: p.share, points, share[best])
        return count + 1, points, place, gap, square[best]

    first, place = least(jnp.array([1.0, 0.0], n.dtype))
    points = jax.tree.map(lambda x: jnp.stack([x] * 3), first)
    points = eqx.tree_at(lambda p: p.share, points, jnp.array([1.0, 0.0, 0.0], n.dtype))
    place = jnp.stack([place] * 3)
    start = (0, points, place, jnp.inf + none, jnp.inf + none)
    _, points, place, _, _ = jax.lax.while_loop(unfinished, step, start)
    order = jnp.argsort(-points.share)
    points, place = jax.tree.map(lambda x: x[order], (points, place))
    return _spread(points, place, *jax.vmap(least)(jnp.asarray(_AROUND, n.dtype)))


def _nearest(place: Float[Array, "3 2"], choice: Array) -> Float[Array, "3"]:
    """Shares of up to three points in the plane whose mean, on their line or plane, is nearest 0.

    Negative where that is outside them; all 0 where they do not span one.
    """
    a, b, c = place
    wedge = jnp.stack([_cross(b, c), _cross(c, a), _cross(a, b)])
    three = div(wedge, jnp.sum(wedge))
    # the two that are chosen: the line through them
    other = ~choice
    first = jnp.argmax(choice)
    second = 2 - jnp.argmax(choice[::-1])
    along = place[second] - place[first]
    t = -div(place[first] @ along, along @ along)
    two = jnp.zeros_like(three).at[second].add(t).at[first].add(1 - t)
    count = jnp.sum(choice)
    one = choice.astype(three.dtype)
    spans = (along @ along > 0) & jnp.any(other)
    return jnp.where(count == 3, three, jnp.where(count == 2, two * spans, one))


def _cross(a: Float[Array, "*k 2"], b: Float[Array, "*k 2"]) -> Float[Array, "*k"]:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _spread(
    points: Points, place: Float[Array, "3 2"], more: Points, at: Float[Array, "m 2"]
) -> Points:
    """The same foot, with points of no share replaced by ones that span the flat part."""
    least = 64 * jnp.finfo(place.dtype).eps ** 0.6

    def put(points: Points, place: Array, slot: int, distance: Array) -> tuple[Points, Array]:
        far = jnp.argmax(distance)
        source = jnp.where(distance[far] > least, far, -1)
        chosen = jax.tree.map(lambda x, y: jnp.where(source < 0, x[0], y[far]), points, more)
        chosen = eqx.tree_at(lambda p: p.share, chosen, jnp.zeros_like(points.share[0]))
        free = points.share[slot] <= 0
        points = jax.tree.map(
            lambda x, y: x.at[slot].set(jnp.where(free, y, x[slot])), points, chosen
        )
        new = jnp.where(source < 0, place[0], at[far])
        return points, place.at[slot].set(jnp.where(free, new, place[slot]))

    points, place = put(points, place, 1, jnp.sqrt(jnp.sum((at - place[0]) ** 2, axis=1)))
    along = place[1] - place[0]
    across = jnp.abs(_cross(jnp.broadcast_to(along, at.shape), at - place[0]))
    return put(points, place, 2, div(across, jnp.sqrt(along @ along)))[0]
