"""What touches of two shapes along a direction: a vertex, an edge or a face of their difference.

Along the direction n of greatest separation the difference of the shapes has a flat part: the pairs
of points that are equally far along n. It holds the foot of the origin, that is, the two closest
points. `touching` finds it by GJK in the plane (Gilbert, Johnson & Keerthi, 1988).
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from softsim.collision.minkowski import Difference, Vector, flat, tangents, tie
from softsim.collision.numerics import div

_STEPS = 16
_AROUND = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
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
        share: weights of a mean, at least 0, with sum 1; 0 in a span.
    """

    i: Int[Array, " k"]
    j: Int[Array, " k"]
    u1: Float[Array, "k 3"]
    u2: Float[Array, "k 3"]
    flat1: Bool[Array, " k"]
    flat2: Bool[Array, " k"]
    share: Float[Array, " k"]


def touching(pair: Difference, n: Vector) -> tuple[Points, Points]:
    """The foot, as a mean of three pairs of points that touch along n, and the span around it.

    The span is of three pairs of points; one that spans nothing more repeats the first.
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
    foot = jax.lax.while_loop(unfinished, step, start)[1]

    def some(which: Array, w: Float[Array, "2"]) -> tuple[Points, Float[Array, "2"]]:
        """`least`, but shape 1 (`which` 0) or shape 2 (`which` 1) stays where `first` is."""
        new, _ = least(w)
        i, u1 = jax.tree.map(
            lambda x, y: jnp.where(which == 0, x, y), (first.i, first.u1), (new.i, new.u1)
        )
        j, u2 = jax.tree.map(
            lambda x, y: jnp.where(which == 1, x, y), (first.j, first.u2), (new.j, new.u2)
        )
        point = pair.between(i, j) - u1 @ pair.one.axes - u2 @ pair.two.axes
        return Points(i, j, u1, u2, flat1, flat2, none), basis @ point

    return foot, _span(some, jnp.asarray(_AROUND, n.dtype), 1e2 * near)


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


def _span(
    some: Callable[[Array, Float[Array, "2"]], tuple[Points, Float[Array, "2"]]],
    around: Float[Array, "m 2"],
    bound: float,
) -> Points:
    """Three points that touch and span the flat part widely; fewer where it is an edge or point.

    Where faces of both shapes touch, those of the face of shape 2, or else of shape 1, alone: then
    the normal turns with that shape.

    Args:
        some: the point of the flat part that is least along a direction; see `touching`.
        around: directions to begin with.
        bound: below this a length is 0, relative to the shapes.
    """

    def widest(which: Array) -> tuple[Points, Array]:
        points, place = jax.vmap(lambda w: some(which, w))(around)
        away = place - place[0]
        second = jnp.argmax(jnp.sum(away**2, axis=1))
        along = away[second]
        length = jnp.sqrt(jnp.sum(along**2))
        turned = div(jnp.stack([-along[1], along[0]]), length)
        beside, there = jax.vmap(lambda w: some(which, w))(jnp.stack([turned, -turned]))
        across = jnp.abs((there - place[0]) @ turned)
        third = jnp.argmax(across)
        repeats = jnp.stack([jnp.array(False), length <= bound, across[third] <= bound])
        chosen = jax.tree.map(lambda x, y: jnp.stack([x[0], x[second], y[third]]), points, beside)
        chosen = jax.tree.map(
            lambda x: jnp.where(repeats.reshape(3, *[1] * (x.ndim - 1)), x[0], x), chosen
        )
        return chosen, ~repeats[2]

    options, is_face = jax.vmap(widest)(jnp.arange(3))
    option = jnp.argmax(is_face.at[-1].set(True))
    return jax.tree.map(lambda x: x[option], options)
