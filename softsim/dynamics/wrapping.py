"""Tendons around spheres and cylinders: the shortest path of given side between two points.

A sphere is wrapped in the plane through its centre and both points, a cylinder in the plane across
its axis, where the path is two straight lines and an arc about a circle. Along the axis of a
cylinder the path climbs evenly: it is straight on the unrolled surface. With a sidesite inside the
circle the tendon is held inside: it touches the circle at one point and is reflected there.

Which way round, and whether the path touches at all, is decided as in MuJoCo's `mju_wrap`; lengths
and directions are closed forms of the distances, with finite derivatives also where a point lies on
the surface or a line only touches it. (There, MuJoCo's direction of a line of length zero is
arbitrary; here it is the tangent.)
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from softsim.numerics import safe_norm, safe_normalize

TINY = 1e-15
"""MuJoCo's mjMINVAL."""

SLACK = 1e-5
"""rad; an arc of less than 0 by at most this, which is rounding, is not a full turn."""

INSIDE_STEPS, INSIDE_TOLERANCE, INSIDE_START = 20, 1e-6, 1 - 1e-7
"""Newton's method for inside wrapping, as in MuJoCo: steps, residual in rad, first sine."""

Planar = Float[Array, "n 2"]
Points = Float[Array, "n 3"]


class Arc(NamedTuple):
    """The wrapped paths from x0 to x1.

    Attributes:
        touches: whether the path touches its geom; all else is meaningless where it does not.
        length: m, of the whole path.
        point0, point1: where it reaches and leaves the geom, world frame.
        direction0, direction1: unit vectors along the lines before and after it, world frame.
    """

    touches: Bool[Array, " n"]
    length: Float[Array, " n"]
    point0: Points
    point1: Points
    direction0: Points
    direction1: Points


class _Planar(NamedTuple):
    """A path about a circle in its plane: three lengths, unit directions, unit normals at touch."""

    touches: Bool[Array, " n"]
    before: Float[Array, " n"]
    arc: Float[Array, " n"]
    after: Float[Array, " n"]
    direction0: Planar
    direction1: Planar
    normal0: Planar
    normal1: Planar


class Geoms(NamedTuple):
    """What paths may wrap.

    Attributes:
        pos, mat: pose in the world.
        radius: m.
        sphere: (n,), else a cylinder along z.
        side: the sidesites, world frame.
        sided: (n,), whether there is one.
        may_hold: whether any sidesite may lie inside its geom (static).
    """

    pos: Points
    mat: Float[Array, "n 3 3"]
    radius: Float[Array, " n"]
    sphere: Bool[Array, " n"]
    side: Points
    sided: Bool[Array, " n"]
    may_hold: bool


def wrap(x0: Points, x1: Points, g: Geoms) -> Arc:
    """The paths from x0 to x1 (m, world frame), each about its geom."""
    local = lambda x: jnp.einsum("nji,nj->ni", g.mat, x - g.pos, precision=_HIGHEST)
    p0, p1, side = local(x0), local(x1), jax.lax.stop_gradient(local(g.side))
    plane = jnp.where(g.sphere[:, None, None], _sphere_plane(p0, p1), jnp.eye(2, 3))
    flat = lambda p: jnp.einsum("nki,ni->nk", plane, p, precision=_HIGHEST)
    path = _around(flat(p0), flat(p1), g.radius, flat(side), g.sided)
    if g.may_hold:
        held = _inside(flat(p0), flat(p1), g.radius)
        inside = g.sided & (safe_norm(side) < g.radius)
        path = jax.tree.map(lambda a, b: jnp.where(_like(inside, a), a, b), held, path)
    off_centre = (safe_norm(p0) >= TINY) & (safe_norm(p1) >= TINY)
    return _lift(path._replace(touches=path.touches & off_centre), plane, p0, p1, g)


_HIGHEST = jax.lax.Precision.HIGHEST


def _like(mask: Bool[Array, " n"], x: Array) -> Array:
    return mask.reshape(mask.shape + (1,) * (x.ndim - 1))


def _sphere_plane(p0: Points, p1: Points) -> Float[Array, "n 2 3"]:
    """Two unit vectors that span the plane of the points: along p0, and across it."""
    first = safe_normalize(p0)
    normal = jnp.cross(p0, p1)
    scale = safe_norm(p0) * safe_norm(p1)
    # of parallel points only rounding would decide: some plane, the same as in MuJoCo
    parallel = safe_norm(normal) < jnp.maximum(TINY, 4 * jnp.finfo(p0.dtype).eps * scale)
    normal = jnp.where(parallel[:, None], _some_normal(first), normal)
    second = jnp.cross(safe_normalize(normal), first)
    return jnp.stack([first, safe_normalize(second)], axis=1)


def _some_normal(axis: Points) -> Points:
    x, y, z = jnp.abs(jax.lax.stop_gradient(axis)).T
    largest = jnp.where((z > x) & (z > y), 2, jnp.where((y > x) & (y > z), 1, 0))
    return jnp.cross(axis, 1.0 - jax.nn.one_hot(largest, 3, dtype=axis.dtype))


def _lift(path: _Planar, plane: Float[Array, "n 2 3"], p0: Points, p1: Points, g: Geoms) -> Arc:
    """The path in space; on a cylinder it climbs in proportion to its length."""
    flat = path.before + path.arc + path.after
    climb = jnp.where(g.sphere, 0.0, p1[:, 2] - p0[:, 2])
    used = path.touches & (flat > 0)
    per_length = climb / jnp.where(used, flat, 1.0)
    length = jnp.where(used, flat, 1.0) * jnp.sqrt(1 + jnp.square(per_length))
    axis = jnp.asarray([0.0, 0.0, 1.0], p0.dtype)
    start = jnp.where(g.sphere, 0.0, p0[:, 2])
    in_space = lambda v: jnp.einsum("nk,nki->ni", v, plane, precision=_HIGHEST)
    world = lambda v: jnp.einsum("nij,nj->ni", g.mat, v, precision=_HIGHEST)

    def point(normal: Planar, way: Float[Array, " n"]) -> Points:
        height = (start + per_length * way)[:, None] * axis
        return g.pos + world(in_space(g.radius[:, None] * normal) + height)

    def direction(v: Planar) -> Points:
        slope = jnp.sqrt(1 + jnp.square(per_length))[:, None]
        return world((in_space(v) + per_length[:, None] * axis) / slope)

    return Arc(
        path.touches,
        length,
        point(path.normal0, path.before),
        point(path.normal1, path.before + path.arc),
        direction(path.direction0),
        direction(path.direction1),
    )


def _around(
    d0: Planar, d1: Planar, radius: Float[Array, " n"], side: Planar, sided: Bool[Array, " n"]
) -> _Planar:
    """About the outside: of the two ways round the one nearer to `side`, else the shorter."""
    possible = _may_wrap(d0, d1, radius, side, sided)
    d0, d1, radius = _or_safe(possible, d0, d1, radius)
    ways = []
    for turn in (-1.0, 1.0):  # clockwise first, as in MuJoCo
        n0, before = _tangent(d0, radius, turn)
        n1, after = _tangent(d1, radius, -turn)
        angle = turn * jnp.arctan2(_cross(n0, n1), _dot(n0, n1))
        angle = jnp.where(angle < -SLACK, angle + 2 * jnp.pi, angle)
        # beyond half a turn the two lines meet again, this far behind where they touch
        behind = jnp.pi - angle / 2
        reach = jnp.minimum(before, after)
        crossed = (angle > jnp.pi) & (reach * jnp.cos(behind) >= radius * jnp.sin(behind))
        lines = (turn * _quarter_turn(n0), turn * _quarter_turn(n1))
        way = _Planar(possible & ~crossed, before, radius * angle, after, *lines, n0, n1)
        near = _dot(_unit_or_x(n0 + n1), _unit_or_x(side))
        good = jnp.where(sided, near, -jnp.sum(jnp.square(n0 - n1), axis=1))
        ways.append((way, jnp.where(crossed, -jnp.inf, jax.lax.stop_gradient(good))))
    (first, good0), (second, good1) = ways
    return jax.tree.map(lambda a, b: jnp.where(_like(good0 > good1, a), a, b), first, second)


def _or_safe(
    mask: Bool[Array, " n"], d0: Planar, d1: Planar, radius: Float[Array, " n"]
) -> tuple[Planar, Planar, Float[Array, " n"]]:
    """The arguments, or, where the mask does not hold, some with finite derivatives."""
    some = lambda d, x: jnp.where(mask[:, None], d, jnp.asarray([x, 0.0], d.dtype))
    return some(d0, 2.0), some(d1, 3.0), jnp.where(mask, radius, 1.0)


def _may_wrap(
    d0: Planar, d1: Planar, radius: Float[Array, " n"], side: Planar, sided: Bool[Array, " n"]
) -> Bool[Array, " n"]:
    """Both points outside, and the straight line through the circle or on the wrong side."""
    square = jnp.square(radius)
    outside = (_dot(d0, d0) >= square) & (_dot(d1, d1) >= square) & (radius >= TINY)
    apart = _dot(d1 - d0, d1 - d0) >= TINY
    nearest = d0 + jnp.clip(_nearest(d0, d1), 0.0, 1.0)[:, None] * (d1 - d0)
    clear = (_dot(nearest, nearest) > square) & (~sided | (_dot(_unit_or_x(side), nearest) >= 0))
    return outside & apart & ~clear


def _tangent(
    d: Planar, radius: Float[Array, " n"], turn: float
) -> tuple[Planar, Float[Array, " n"]]:
    """Unit normal where the tangent from `d` touches, `turn` (1: ccw) from d, and its length."""
    square = _dot(d, d)
    rest = square - jnp.square(radius)
    outside = rest > 4 * jnp.finfo(d.dtype).eps * square  # closer, the slope is rounding
    length = jnp.where(outside, jnp.sqrt(jnp.where(outside, rest, 1.0)), 0.0)
    per_square = 1 / jnp.where(square > 0, square, 1.0)
    normal = radius[:, None] * d + turn * length[:, None] * _quarter_turn(d)
    return normal * per_square[:, None], length


def _inside(d0: Planar, d1: Planar, radius: Float[Array, " n"]) -> _Planar:
    """Held inside: reflected at the point of the circle where the path is shortest."""
    len0, len1 = safe_norm(d0), safe_norm(d1)
    between = _nearest(d0, d1)
    nearest = d0 + between[:, None] * (d1 - d0)
    cut = (between > 0) & (between < 1) & (safe_norm(nearest) <= radius)
    opposite = _dot(d0, d1) < (-1 + TINY) * len0 * len1
    touches = (len0 > radius) & (len1 > radius) & (radius >= TINY) & ~cut & ~opposite
    a, b, r = _or_safe(touches, d0, d1, radius)
    normal = _reflection(a, b, r)
    point = r[:, None] * normal
    before, after = safe_norm(point - a), safe_norm(b - point)
    return _Planar(
        touches, before, jnp.zeros_like(before), after,
        safe_normalize(point - a), safe_normalize(b - point), normal, normal,
    )  # fmt: skip


def _reflection(d0: Planar, d1: Planar, radius: Float[Array, " n"]) -> Planar:
    """Unit normal of the circle where a path between two points outside it is stationary.

    The value is that of MuJoCo's iteration; the derivative is that of the condition, implicitly.
    """
    start = jax.lax.stop_gradient(_reflection_angle(d0, d1, radius))

    def uphill(angle: Float[Array, " n"]) -> Float[Array, " n"]:
        """Derivative of the length of the path."""
        normal = jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
        point = radius[:, None] * normal
        pull = safe_normalize(point - d0) + safe_normalize(point - d1)
        return _dot(pull, _quarter_turn(normal))

    def solve(linear, y: Float[Array, " n"]) -> Float[Array, " n"]:
        slope = linear(jnp.ones_like(y))
        steep = jnp.abs(slope) > jnp.finfo(y.dtype).eps
        return jnp.where(steep, y / jnp.where(steep, slope, 1.0), 0.0)

    angle = jax.lax.custom_root(uphill, start, lambda _, angle: angle, solve)
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)


def _reflection_angle(d0: Planar, d1: Planar, radius: Float[Array, " n"]) -> Float[Array, " n"]:
    """By Newton on the sine z of the angle of incidence; where that fails, the mean direction.

    The angles at the circle's centre must add up to that between the points, G:
    2 asin(z) - asin(A z) - asin(B z) = G, with A and B the radius over the points' distances.
    """
    A, B = radius / safe_norm(d0), radius / safe_norm(d1)
    G = jnp.arctan2(jnp.abs(_cross(d0, d1)), _dot(d0, d1))
    residual = lambda z: jnp.arcsin(A * z) + jnp.arcsin(B * z) - 2 * jnp.arcsin(z) + G
    root = lambda z: jnp.maximum(TINY, jnp.sqrt(1 - jnp.square(z)))
    tolerance = max(INSIDE_TOLERANCE, float(jnp.finfo(radius.dtype).eps) ** 0.5)

    def newton(_, state: tuple) -> tuple:
        z, failed = state
        f = residual(z)
        slope = A / root(A * z) + B / root(B * z) - 2 / root(z)
        new = z - f / jnp.where(slope < -TINY, slope, -1.0)
        bad = (slope > -TINY) | (new > z) | (residual(new) > tolerance)
        moves = (jnp.abs(f) > tolerance) & ~failed
        return jnp.where(moves & ~bad, new, z), failed | (moves & bad)

    z = jnp.full_like(radius, INSIDE_START)
    z, failed = jax.lax.fori_loop(0, INSIDE_STEPS, newton, (z, residual(z) > 0))
    failed |= jnp.abs(residual(z)) > tolerance
    left = _cross(d0, d1) > 0
    turned = jnp.arcsin(z) - jnp.arcsin(jnp.where(left, A, B) * z)
    from_point = jnp.where(left[:, None], d0, d1)
    mean = jnp.where(failed[:, None], d0 + d1, from_point)
    return jnp.arctan2(mean[:, 1], mean[:, 0]) + jnp.where(failed, 0.0, turned)


def _dot(a: Planar, b: Planar) -> Float[Array, " n"]:
    return a[:, 0] * b[:, 0] + a[:, 1] * b[:, 1]


def _cross(a: Planar, b: Planar) -> Float[Array, " n"]:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def _quarter_turn(a: Planar) -> Planar:
    """Turned by 90 degrees, counterclockwise."""
    return jnp.stack([-a[:, 1], a[:, 0]], axis=1)


def _unit_or_x(a: Planar) -> Planar:
    """The direction, or (1, 0) of the zero vector, as in MuJoCo."""
    zero = (safe_norm(a) < TINY)[:, None]
    return jnp.where(zero, jnp.asarray([1.0, 0.0], a.dtype), safe_normalize(a))


def _nearest(d0: Planar, d1: Planar) -> Float[Array, " n"]:
    """Where on the line from d0 (0) to d1 (1) the origin is nearest; only decides, no gradient."""
    d0, d1 = jax.lax.stop_gradient((d0, d1))
    step = d1 - d0
    square = _dot(step, step)
    return -_dot(step, d0) / jnp.where(square > TINY, square, jnp.inf)
