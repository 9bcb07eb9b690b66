"""Signed distance and closest points of any two convex shapes, apart or not, differentiable.

The signed distance is the greatest separation over all directions (see `minkowski`). `expansion`
finds the direction nearly and globally, `ascent` exactly, `touching` which points touch. What
these find solves a square system of equations, and the derivative is that of its solution.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from mujoco.mjx import GeomType

from softsim.collision.ascent import ascend
from softsim.collision.contract import Geom
from softsim.collision.expansion import deepest
from softsim.collision.minkowski import Difference, Sum, Vector, difference
from softsim.collision.touching import Points, touching
from softsim.linear import solve_spd

_NEWTON_STEPS = 3
_LONGEST = 1e-3  # change of the unknowns by a step of Newton's that still polishes
Unknowns = Float[Array, "6"]
"""n (3), the distance without balls, and steps in the two directions of the span."""


def closest_points(
    kinds: tuple[GeomType, GeomType], shape1: Geom, shape2: Geom
) -> tuple[Float[Array, ""], Vector, Vector, Vector]:
    """Signed distance of two convex shapes and the points where it is attained.

    Apart, the distance; in penetration, minus the length of the shortest way to move one out of the
    other. As `mujoco.mj_geomDistance` without a limit. Derivatives of any order, in positions,
    rotations and sizes, are right where the distance is differentiable so often, and finite
    everywhere. Where flat parts overlap (a box on a box), points are any two that face each other.

    Args:
        kinds: types of the two shapes: SPHERE, CAPSULE, ELLIPSOID, CYLINDER, BOX or MESH.
        shape1: in the world frame; a box, mesh or prism as a `Convex`.
        shape2: the same.

    Returns:
        distance (m), the point on shape 1 (m), the point on shape 2 (m), both in the world frame,
        and the unit normal from 1 to 2: point2 - point1 is distance times normal.
    """
    pair = difference(kinds, shape1, shape2)
    distance, on_one, on_two, n = nearest(pair)
    distance, on_one, on_two = (pair.scale * x for x in (distance, on_one, on_two))
    return distance, shape2.pos + on_one, shape2.pos + on_two, n


def nearest(pair: Difference) -> tuple[Float[Array, ""], Vector, Vector, Vector]:
    """Distance, closest points and normal of `closest_points`, in the frame and unit of the pair.

    The same program for shapes of all kinds, but for their numbers of vertices.
    """
    fixed = jax.lax.stop_gradient(pair)
    n = ascend(fixed, deepest(fixed))
    n = _on_axis(fixed, n)
    foot, span = touching(fixed, n)
    unknowns = _solve(pair, foot, span, n)
    n = unknowns[:3]
    first, second = _closest(pair, foot, span, unknowns)
    distance = unknowns[3] - pair.one.radius - pair.two.radius
    return distance, first + pair.one.radius * n, second - pair.two.radius * n, n


def _on_axis(pair: Difference, n: Vector) -> Vector:
    """n, or the axis of a disc where that is as good: there the separation has a kink."""
    best = pair.separation(n)
    tolerance = 16 * jnp.finfo(n.dtype).eps
    for shape in (pair.one, pair.two):
        axis = jnp.cross(shape.axes[0], shape.axes[1])
        length = jnp.sqrt(jnp.sum(axis**2))
        is_disc = (jnp.max(jnp.abs(shape.axes[2])) == 0) & (length > 0)
        axis = axis / jnp.where(is_disc, length, 1.0)
        axis = jnp.where(axis @ n < 0, -axis, axis)
        take = is_disc & (pair.separation(axis) >= best - tolerance)
        n = jnp.where(take, axis, n)
    return n


def _places(
    pair: Difference, points: Points, n: Vector
) -> tuple[Float[Array, "3 3"], Float[Array, "3 3"]]:
    """The points on the surfaces of the two shapes without their balls."""

    def place(shape: Sum, vertex: Array, u: Array, flat: Array, side: float) -> Array:
        curved, _ = shape.lean(n)
        return shape.vert[vertex] + side * (jnp.where(flat[:, None], u, curved) @ shape.axes)

    return (
        place(pair.one, points.i, points.u1, points.flat1, 1.0),
        place(pair.two, points.j, points.u2, points.flat2, -1.0),
    )


def _closest(
    pair: Difference, foot: Points, span: Points, unknowns: Unknowns
) -> tuple[Vector, Vector]:
    """The two closest points without balls: the foot, moved within the span."""
    n, steps = unknowns[:3], unknowns[4:]
    mean, aside = _places(pair, foot, n), _places(pair, span, n)
    first, second = (
        foot.share @ middle + steps @ (points[1:] - points[0])
        for middle, points in zip(mean, aside)
    )
    return first, second


def _solve(pair: Difference, foot: Points, span: Points, n: Vector) -> Unknowns:
    """Solution of the equations of two closest points, and its derivative.

    The second is straight ahead of the first; the flat part is level; n is a unit vector. Where
    the flat part is less than a plane, the steps in the missing directions are 0.
    """
    repeats = jnp.stack([_same(span, k) for k in (1, 2)])

    def residual(x: Unknowns) -> Float[Array, "6"]:
        n, distance, steps = x[:3], x[3], x[4:]
        first, second = _closest(pair, foot, span, x)
        sides = [points[1:] - points[0] for points in _places(pair, span, n)]
        level = (sides[1] - sides[0]) @ n + repeats * steps
        return jnp.concatenate([second - first - distance * n, level, 0.5 * (n @ n - 1.0)[None]])

    def solve(f: Callable[[Unknowns], Array], x: Unknowns) -> Unknowns:
        def step(_: Array, x: Unknowns) -> Unknowns:
            change = _linear(jax.jacfwd(f)(x), f(x))
            new = x - change
            better = jnp.max(jnp.abs(f(new))) < jnp.max(jnp.abs(f(x)))
            better &= jnp.max(jnp.abs(change[:4])) < _LONGEST
            return jnp.where(better, new, x)

        return jax.lax.fori_loop(0, _NEWTON_STEPS, step, x)

    def tangent_solve(linear: Callable[[Unknowns], Array], y: Array) -> Unknowns:
        return _linear(jax.vmap(linear, out_axes=1)(jnp.eye(6, dtype=y.dtype)), y)

    start = jnp.concatenate([n, pair.separation(n)[None], jnp.zeros(2, n.dtype)])
    return jax.lax.custom_root(residual, jax.lax.stop_gradient(start), solve, tangent_solve)


def _same(points: Points, k: int) -> Array:
    """1 where point k repeats point 0, else 0."""
    same = jax.tree.map(lambda x: jnp.all(x[k] == x[0]), (points.i, points.j, points.u1, points.u2))
    return jnp.all(jnp.stack(same)).astype(points.share.dtype)


def _linear(matrix: Float[Array, "6 6"], y: Float[Array, "6"]) -> Float[Array, "6"]:
    """Least-squares solution of matrix x = y, finite for every matrix, refined once.

    Exact but for rounding where the matrix is regular; where it is singular, a direction that is
    not determined does not move. Long rows (a disc leans all the faster, the nearer n is to its
    axis) are shortened: squared, they would drown the others and the ridge in rounding.
    """
    longest = jnp.finfo(y.dtype).eps ** -0.125
    length = jax.lax.stop_gradient(jnp.max(jnp.abs(matrix), axis=1))
    scale = longest / jnp.maximum(length, longest)
    matrix, y = scale[:, None] * matrix, scale * y
    ridge = 4 * jnp.finfo(y.dtype).eps ** 0.75
    square = matrix.T @ matrix + ridge * jnp.eye(6, dtype=y.dtype)
    x = solve_spd(square, matrix.T @ y)
    return x + solve_spd(square, matrix.T @ (y - matrix @ x))
