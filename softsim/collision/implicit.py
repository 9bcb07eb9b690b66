"""Round shapes against each other, by descent on the clearance of their signed distances.

As in MJX: from a start point, ten steps of gradient descent with a line search over ten step sizes
minimise d1 + d2 + |max(d1, d2)|, least at the point of the gap or overlap that both surfaces are
nearest to. There dist = d1 + d2 and the normal is grad d1 - grad d2. The same steps with soft
operators are a smooth function of pose and size, so plain differentiation is right, for the sizes
too.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from mujoco.mjx import GeomType

import softjax_ops as sj
from softsim.collision.contract import Geom, Hit, pair
from softsim.collision.numerics import frame, soft
from softsim.collision.signed_distance import (
    SignedDistance,
    capsule,
    cylinder,
    ellipsoid,
    larger,
    sphere,
)
from softsim.softening import Part

_STEPS = 10
_RATES = np.geomspace(1e-4, 2.0, 10)


def _descend(
    part: Part,
    distance1: SignedDistance,
    distance2: SignedDistance,
    one: Geom,
    two: Geom,
    start: Float[Array, "3"],
) -> Hit:
    """The contact found from one start point (world frame)."""
    scale = jnp.minimum(jnp.min(one.size), jnp.min(two.size))
    turn = one.mat.T @ two.mat
    shift = one.mat.T @ (two.pos - one.pos)
    rates = jnp.asarray(_RATES, start.dtype)

    def d1(p: Float[Array, "3"]) -> Float[Array, ""]:
        return distance1(part, turn @ p + shift, one.size)

    def d2(p: Float[Array, "3"]) -> Float[Array, ""]:
        return distance2(part, p, two.size)

    def clearance(p: Float[Array, "3"]) -> Float[Array, ""]:
        a, b = d1(p), d2(p)
        return a + b + sj.abs(larger(part, a, b, scale), **soft(part, scale))

    def step(p: Float[Array, "3"], _: None) -> tuple[Float[Array, "3"], None]:
        downhill = -jax.grad(clearance)(p)
        values = jax.vmap(lambda rate: clearance(p + rate * downhill))(rates)
        best = sj.argmin(values, method=part.method, standardize=False, **soft(part, scale))
        return p + jnp.dot(best, rates) * downhill, None

    p, _ = jax.lax.scan(step, two.mat.T @ (start - two.pos), length=_STEPS)
    a, slope1 = jax.value_and_grad(d1)(p)
    b, slope2 = jax.value_and_grad(d2)(p)
    normal = two.mat @ (slope1 - slope2)
    return Hit(a + b, two.pos + two.mat @ p, frame(part, normal), jnp.ones_like(a))


def _single(distance1: SignedDistance, distance2: SignedDistance):
    """A pair function of one contact, started half-way between the two centres."""

    def collide(part: Part, one: Geom, two: Geom) -> Hit:
        hit = _descend(part, distance1, distance2, one, two, 0.5 * (one.pos + two.pos))
        return jax.tree.map(lambda x: x[None], hit)

    return collide


sphere_ellipsoid = pair(GeomType.SPHERE, GeomType.ELLIPSOID, ncon=1)(_single(sphere, ellipsoid))
sphere_cylinder = pair(GeomType.SPHERE, GeomType.CYLINDER, ncon=1)(_single(sphere, cylinder))
capsule_ellipsoid = pair(GeomType.CAPSULE, GeomType.ELLIPSOID, ncon=1)(_single(capsule, ellipsoid))
ellipsoid_ellipsoid = pair(GeomType.ELLIPSOID, GeomType.ELLIPSOID, ncon=1)(
    _single(ellipsoid, ellipsoid)
)
ellipsoid_cylinder = pair(GeomType.ELLIPSOID, GeomType.CYLINDER, ncon=1)(
    _single(ellipsoid, cylinder)
)


@pair(GeomType.CAPSULE, GeomType.CYLINDER, ncon=2)
def capsule_cylinder(part: Part, one: Geom, two: Geom) -> Hit:
    """Two contacts, started at the capsule's two ends moved half-way to the cylinder."""
    middle, half = 0.5 * (one.pos + two.pos), one.mat[:, 2] * one.size[1]
    starts = jnp.stack([middle - half, middle + half])
    return jax.vmap(lambda start: _descend(part, capsule, cylinder, one, two, start))(starts)


@pair(GeomType.CYLINDER, GeomType.CYLINDER, ncon=4)
def cylinder_cylinder(part: Part, one: Geom, two: Geom) -> Hit:
    """Four contacts, started around the middle of the two centres, at the larger radius."""
    tangents = frame(part, two.pos - one.pos)[1:]
    middle, radius = 0.5 * (one.pos + two.pos), jnp.maximum(one.size[0], two.size[0])
    starts = middle + radius * jnp.concatenate([tangents, -tangents])
    return jax.vmap(lambda start: _descend(part, cylinder, cylinder, one, two, start))(starts)
