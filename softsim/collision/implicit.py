"""Round shapes against each other, by minimising over points what their signed distances say.

At the point p between (or inside) both surfaces dist = d1(p) + d2(p), and the normal is
grad d1 - grad d2. Mode "hard" finds p as MJX does, with ten steps of descent on the clearance
d1 + d2 + |max(d1, d2)| from a start point. Inside an overlap that clearance is flat between the two
surfaces and its descent wanders, at times with the last bit of rounding. Soft modes minimise
    max(d1, d2) + pull / (2 size) |p - start|^2
instead: convex, so with a unique minimiser, half-way between the surfaces; the weak pull to the
start decides where the shapes leave it open (two flat faces), so that several starts give several
support points. Its derivative is that of the minimiser (implicit function theorem), not of the
iterations.
"""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from mujoco.mjx import GeomType

from softsim.collision import signed_distance as sd
from softsim.collision.contract import Geom, Hit, pair
from softsim.collision.numerics import frame, norm, width
from softsim.softening import Part

Point = Float[Array, "3"]
Field = Callable[[Point], Float[Array, ""]]

_DESCENT_STEPS = 10
_DESCENT_RATES = np.geomspace(1e-4, 2.0, 10)
_NEWTON_STEPS = 60
_SOFT_START = 0.05  # softness with which a search begins
_SHARPER = 0.4  # factor from one softness to the next
_FOUND = 0.1  # slope of the field, a number, below which the next softness follows
_DAMPING = np.array([0.0, 1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3])
_PULL = 0.1
_CENTRE = 0.01  # of the smaller shape's size


def _contact(
    part: Part,
    distance1: sd.SignedDistance,
    distance2: sd.SignedDistance,
    one: Geom,
    two: Geom,
    start: Point,
) -> Hit:
    """The contact found from one start point (world frame)."""
    turn = jnp.sum(one.mat[:, :, None] * two.mat[:, None, :], axis=0)
    shift = one.mat.T @ (two.pos - one.pos)

    def d1(p: Point, part: Part = part) -> Float[Array, ""]:
        return distance1(part, turn @ p + shift, one.size)

    def d2(p: Point, part: Part = part) -> Float[Array, ""]:
        return distance2(part, p, two.size)

    start = two.mat.T @ (start - two.pos)
    scale = jnp.minimum(one.size[0], two.size[0])
    if part.mode == "hard":

        def central(p: Point) -> Bool[Array, ""]:
            return jnp.minimum(norm(p), norm(turn @ p + shift)) < _CENTRE * scale

        p = _descend(lambda p: d1(p) + d2(p) + jnp.abs(jnp.maximum(d1(p), d2(p))), central, start)
    else:

        def overlap(part: Part, p: Point) -> Float[Array, ""]:
            pull = _PULL * width(part) / scale
            larger = sd.larger(part, d1(p, part), d2(p, part), scale)
            return larger + 0.5 * pull * jnp.sum((p - start) ** 2)

        p = minimiser(overlap, part, start, scale)
    a, slope1 = jax.value_and_grad(d1)(p)
    b, slope2 = jax.value_and_grad(d2)(p)
    normal = two.mat @ (slope1 - slope2)
    return Hit(a + b, two.pos + two.mat @ p, frame(part, normal), jnp.ones_like(a))


def _descend(clearance: Field, central: Callable[[Point], Bool[Array, ""]], start: Point) -> Point:
    """MJX's descent: along the gradient, each time to the best of ten step sizes.

    So close to a centre that the direction of descent is a matter of chance, points are constants:
    the product of several derivatives from there would overflow float32.
    """
    rates = jnp.asarray(_DESCENT_RATES, start.dtype)[:, None]

    def step(p: Point, _: None) -> tuple[Point, None]:
        p = jnp.where(central(p), jax.lax.stop_gradient(p), p)
        candidates = p - rates * jax.grad(clearance)(p)
        return candidates[jnp.argmin(jax.vmap(clearance)(candidates))], None

    return jax.lax.scan(step, start, length=_DESCENT_STEPS)[0]


def minimiser(
    field: Callable[[Part, Point], Float[Array, ""]],
    part: Part,
    start: Point,
    scale: Float[Array, ""],
) -> Point:
    """Minimiser of a convex field, differentiable to any order in what the field depends on.

    Damped Newton: each step tries several dampings, relative to 1 / scale, and takes the best, so
    the field never increases. Nearly sharp, a field is a fan of planes on which Newton's steps are
    no use far from the minimum: the softness starts at `_SOFT_START` and shrinks to that of `part`.

    Args:
        field: of the settings of the collision part and a point.
        part: settings of the collision part.
        start: m.
        scale: m, of the shapes.
    """
    damping = jnp.asarray(_DAMPING, start.dtype) / scale
    tolerance = 256 * jnp.finfo(start.dtype).eps
    goal = jax.lax.stop_gradient(jnp.asarray(part.softness, start.dtype))
    part = dataclasses.replace(part, softness=jnp.asarray(part.softness, start.dtype))

    def slope(p: Point) -> Point:
        return jax.grad(lambda p: field(part, p))(p)

    def solve(_: Callable[[Point], Point], start: Point) -> Point:
        fixed = jax.lax.stop_gradient(part)

        def unfinished(state) -> Array:
            count, softness, _, g = state
            return (count < _NEWTON_STEPS) & ((softness > goal) | (jnp.max(jnp.abs(g)) > tolerance))

        def step(state):
            count, softness, p, _ = state
            now = partial(field, dataclasses.replace(fixed, softness=softness))
            h, g = jax.jacfwd(lambda p: (jax.grad(now)(p),) * 2, has_aux=True)(p)
            steps = jax.vmap(lambda x: _solve3(h + x * jnp.eye(3, dtype=p.dtype), g))(damping)
            candidates = jnp.concatenate([p[None], p - steps])
            values = jax.vmap(now)(candidates)
            # so close to the minimum that values no longer tell points apart: Newton's step
            settling = jnp.abs(values[1] - values[0]) <= tolerance * scale
            found = jnp.max(jnp.abs(g)) < _FOUND
            sharper = jnp.maximum(goal, jnp.where(found, _SHARPER, 1.0) * softness)
            return count + 1, sharper, candidates[jnp.where(settling, 1, jnp.argmin(values))], g

        soft_start = jnp.maximum(goal, _SOFT_START)
        begin = (jnp.zeros((), int), soft_start, start, jnp.full_like(start, jnp.inf))
        return jax.lax.while_loop(unfinished, step, begin)[2]

    def tangent_solve(linear: Callable[[Point], Point], y: Point) -> Point:
        return _solve3(jax.vmap(linear)(jnp.eye(3, dtype=y.dtype)), y)

    return jax.lax.custom_root(slope, jax.lax.stop_gradient(start), solve, tangent_solve)


def _solve3(h: Float[Array, "3 3"], y: Point) -> Point:
    """Solution of h x = y for a symmetric h, by Cramer's rule; 0 where h is singular."""
    cofactors = jnp.stack([jnp.cross(h[1], h[2]), jnp.cross(h[2], h[0]), jnp.cross(h[0], h[1])])
    determinant = jnp.dot(h[0], cofactors[0])
    return (cofactors @ y) * jnp.where(
        determinant == 0, 0.0, 1.0 / jnp.where(determinant == 0, 1.0, determinant)
    )


def _enter(
    type1: GeomType, type2: GeomType, distance1: sd.SignedDistance, distance2: sd.SignedDistance
) -> Callable[..., Hit]:
    """Enters a pair of one contact, started half-way between the two centres."""

    def collide(part: Part, one: Geom, two: Geom) -> Hit:
        hit = _contact(part, distance1, distance2, one, two, 0.5 * (one.pos + two.pos))
        return jax.tree.map(lambda x: x[None], hit)

    return pair(type1, type2, ncon=1)(collide)


sphere_ellipsoid = _enter(GeomType.SPHERE, GeomType.ELLIPSOID, sd.sphere, sd.ellipsoid)
sphere_cylinder = _enter(GeomType.SPHERE, GeomType.CYLINDER, sd.sphere, sd.cylinder)
capsule_ellipsoid = _enter(GeomType.CAPSULE, GeomType.ELLIPSOID, sd.capsule, sd.ellipsoid)
ellipsoid_ellipsoid = _enter(GeomType.ELLIPSOID, GeomType.ELLIPSOID, sd.ellipsoid, sd.ellipsoid)
ellipsoid_cylinder = _enter(GeomType.ELLIPSOID, GeomType.CYLINDER, sd.ellipsoid, sd.cylinder)


@pair(GeomType.CAPSULE, GeomType.CYLINDER, ncon=2)
def capsule_cylinder(part: Part, one: Geom, two: Geom) -> Hit:
    """Two contacts, started from the capsule's two ends moved half-way to the cylinder."""
    middle, half = 0.5 * (one.pos + two.pos), one.mat[:, 2] * one.size[1]
    starts = jnp.stack([middle - half, middle + half])
    return jax.vmap(lambda start: _contact(part, sd.capsule, sd.cylinder, one, two, start))(starts)


@pair(GeomType.CYLINDER, GeomType.CYLINDER, ncon=4)
def cylinder_cylinder(part: Part, one: Geom, two: Geom) -> Hit:
    """Four contacts, started around the middle of the two centres, at the larger radius."""
    tangents = frame(part, two.pos - one.pos)[1:]
    radius = sd.larger(part, one.size[0], two.size[0], one.size[0])
    starts = 0.5 * (one.pos + two.pos) + radius * jnp.concatenate([tangents, -tangents])
    return jax.vmap(lambda start: _contact(part, sd.cylinder, sd.cylinder, one, two, start))(starts)
