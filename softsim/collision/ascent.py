"""From nearly the best direction between two shapes to the best one.

The separation along n is the least over pairs of vertices of smooth functions of n. At its
greatest one, two or three pairs of vertices are equally far: a vertex, an edge or a face of the
difference of the polytopes. Each step takes the six pairs of vertices at hand, solves every choice
of up to three of them to second order, tries the best, moves there if that is better, and puts the
pair of vertices found there in the place of one that did not count: a bundle method with a trust
region (Kiwiel, 1990). Apart, it is GJK with curved faces.
"""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from softsim.collision.expansion import Nearly
from softsim.collision.minkowski import Difference, Vector, flat, tangents
from softsim.collision.numerics import div

_STEPS = 24
_KEPT = 6  # pairs of vertices at hand
_REACH = 0.3  # longest first step, as the tangent of an angle
_OFF_AXIS = 1e-3  # from the axis of a disc, where the separation has a kink, the ascent steps aside
_CURVED = 1e-3  # least curvature, relative to the size, that a step counts on
_PAIRS, _TRIPLES = (np.array(list(itertools.combinations(range(_KEPT), k))) for k in (2, 3))
_SUBSETS = np.concatenate(
    [np.eye(_KEPT)] + [np.eye(_KEPT)[choice].sum(axis=1) for choice in (_PAIRS, _TRIPLES)]
).astype(bool)


def curvature(pair: Difference, n: Vector) -> Float[Array, "3 3"]:
    """Derivative of `Difference.bulge` by n."""
    total = jnp.zeros((3, 3), n.dtype)
    for shape in (pair.one, pair.two):
        u, length = shape.lean(n)
        point = shape.axes.T @ u
        total += div(shape.axes.T @ shape.axes - jnp.outer(point, point), length)
    return total


def _solve2(h: Float[Array, "2 2"], y: Float[Array, "2"]) -> Float[Array, "2"]:
    """Solution of h x = y; 0 where h is singular."""
    turned = jnp.stack([h[1, 1] * y[0] - h[0, 1] * y[1], h[0, 0] * y[1] - h[1, 0] * y[0]])
    return div(turned, h[0, 0] * h[1, 1] - h[0, 1] * h[1, 0])


def _steps(
    values: Float[Array, " k"], slopes: Float[Array, "k 2"], h: Float[Array, "2 2"]
) -> Float[Array, "s 2"]:
    """To the maximum of value + slope x - x h x / 2 where a choice of the values is equal."""
    middle, half = 0.5 * (h[0, 0] + h[1, 1]), 0.5 * (h[0, 0] - h[1, 1])
    least = middle - jnp.sqrt(half**2 + h[0, 1] ** 2)
    definite = h + jnp.maximum(_CURVED - least, 0.0) * jnp.eye(2, dtype=h.dtype)
    alone = jax.vmap(lambda q: _solve2(definite, q))(slopes)

    def edge(k: Int[Array, "2"]) -> Float[Array, "2"]:
        across, rise = slopes[k[1]] - slopes[k[0]], values[k[1]] - values[k[0]]
        square = jnp.sum(across**2)
        foot = -div(rise * across, square)
        along = div(jnp.stack([-across[1], across[0]]), jnp.sqrt(square))
        slope = along @ (slopes[k[0]] - h @ foot)
        return foot + along * slope / jnp.maximum(along @ h @ along, _CURVED)

    def corner(k: Int[Array, "3"]) -> Float[Array, "2"]:
        return -_solve2(slopes[k[1:]] - slopes[k[0]], values[k[1:]] - values[k[0]])

    return jnp.concatenate(
        [alone, jax.vmap(edge)(jnp.asarray(_PAIRS)), jax.vmap(corner)(jnp.asarray(_TRIPLES))]
    )


class _State(eqx.Module):
    count: Int[Array, ""]
    n: Vector
    separation: Float[Array, ""]
    i: Int[Array, " k"]
    j: Int[Array, " k"]
    reach: Float[Array, ""]
    moved: Float[Array, ""]


def ascend(pair: Difference, near: Nearly) -> Vector:
    """The direction of greatest separation near one where it is nearly that."""
    precision = 4 * jnp.finfo(near.n.dtype).eps

    def unfinished(state: _State) -> Array:
        return (state.count < _STEPS) & (state.moved > precision) & (state.reach > precision)

    def step(state: _State) -> _State:
        n, i, j = state.n, state.i, state.j
        d, bulge, basis = pair.between(i, j), pair.bulge(n), tangents(n)
        h = basis @ curvature(pair, n) @ basis.T + state.separation * jnp.eye(2, dtype=n.dtype)
        moves = _steps((d - bulge) @ n, (d - bulge) @ basis.T, h)
        length = jnp.sqrt(jnp.sum(moves**2, axis=1, keepdims=True))
        moves *= jnp.minimum(1.0, state.reach / jnp.maximum(length, state.reach))
        trial = n + moves @ basis
        trial /= jnp.sqrt(jnp.sum(trial**2, axis=1, keepdims=True))
        reach = sum(
            jnp.sqrt(jnp.sum((trial @ shape.axes.T) ** 2, axis=1)) for shape in (pair.one, pair.two)
        )
        chosen = jnp.argmax(jnp.min(trial @ d.T, axis=1) - reach)
        new, moved = trial[chosen], jnp.max(jnp.abs(moves[chosen]))
        new_i, new_j = pair.vertices(new)
        known = jnp.any((i == new_i) & (j == new_j))
        spare = jnp.argmax(jnp.where(jnp.asarray(_SUBSETS)[chosen], -jnp.inf, d @ new))
        separation = pair.separation(new)
        better = separation >= state.separation
        return _State(
            state.count + 1,
            jnp.where(better, new, n),
            jnp.maximum(separation, state.separation),
            jnp.where(known, i, i.at[spare].set(new_i)),
            jnp.where(known, j, j.at[spare].set(new_j)),
            state.reach * jnp.where(better, 2.0, 0.5),
            jnp.where(known, moved, jnp.inf),
        )

    n = _aside(pair, near.n)
    i, j = pair.vertices(n)
    many = jnp.zeros(_KEPT - 3, i.dtype)
    start = _State(
        jnp.zeros((), int),
        n,
        pair.separation(n),
        jnp.concatenate([near.i, i + many]),
        jnp.concatenate([near.j, j + many]),
        jnp.full((), _REACH, n.dtype),
        jnp.full((), jnp.inf, n.dtype),
    )
    return jax.lax.while_loop(unfinished, step, start).n


def _aside(pair: Difference, n: Vector) -> Vector:
    """n, or a direction beside it where a disc is seen along its axis."""
    is_axis = jnp.any(jnp.stack(flat(pair, n)))
    apart = tangents(n) @ pair.between(*pair.vertices(n))
    length = jnp.sqrt(jnp.sum(apart**2))
    beside = n + _OFF_AXIS * div(apart, length) @ tangents(n)
    return jnp.where(is_axis, beside / jnp.sqrt(jnp.sum(beside**2)), n)
