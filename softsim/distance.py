"""Signed distance between two geoms, with a derivative also when they are apart."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float
from mujoco import mjx
from mujoco.mjx import GeomType

from softsim import dynamics
from softsim.collision.closest import closest_points
from softsim.collision.contract import Geom
from softsim.collision.minkowski import as_sum
from softsim.collision.shapes import shape
from softsim.model import check_inputs
from softsim.names import Element, element_names, name_to_id


class Distance(NamedTuple):
    """How far two geoms are from each other.

    Attributes:
        dist: m, signed: negative is how deep they penetrate.
        point1, point2: m, world frame, on the surfaces of the two geoms; `point2 - point1` is
            `dist` times the unit vector from geom 1 to geom 2.
    """

    dist: Float[Array, ""]
    point1: Float[Array, "3"]
    point2: Float[Array, "3"]


def distance(m: mjx.Model, d: mjx.Data, geom1: Element, geom2: Element) -> Distance:
    """Signed distance of two geoms at the positions `d.qpos`. As `mj_geomDistance` without a limit.

    The derivative, forward and reverse, with respect to positions, sizes and poses is right also
    when the geoms are apart, where contacts have none: for obstacle avoidance, reaching and
    penalties on clearance. Whether the geoms may collide plays no role.

    >>> import mujoco, softsim
    >>> m = softsim.put_model(mujoco.MjModel.from_xml_string(
    ...     "<mujoco><worldbody><geom name='floor' type='plane' size='1 1 1'/><body pos='0 0 1'>"
    ...     "<joint type='slide' axis='0 0 1'/><geom name='ball' size='.25'/></body></worldbody>"
    ...     "</mujoco>"))
    >>> print(softsim.distance(m, softsim.make_data(m), "floor", "ball").dist)
    0.75

    Args:
        geom1, geom2: names or ids; planes, spheres, capsules, ellipsoids, cylinders, boxes and
            meshes (of a mesh, its convex hull).

    Raises:
        ValueError: there is no such geom, it is a height field, both are planes, or `d` is as in
            `step`.
    """
    check_inputs(m, d)
    ids = [name_to_id(m, "geom", g) for g in (geom1, geom2)]
    kinds = [GeomType(int(m.geom_type[g])) for g in ids]
    for g, kind in zip(ids, kinds):
        if kind == GeomType.HFIELD:
            name = element_names(m, "geom")[g] or str(g)
            raise ValueError(f"geom {name!r} is a height field, whose distance is not defined here")
    if kinds[0] == kinds[1] == GeomType.PLANE:
        raise ValueError(f"geoms {geom1!r} and {geom2!r} are two planes, expected one at most")
    order = sorted((0, 1), key=lambda i: kinds[i])
    y = dynamics.kinematics(m, d)
    first, second = (shape(m, y, ids[i]) for i in order)
    kind1, kind2 = (kinds[i] for i in order)
    if kind1 == GeomType.PLANE:
        dist, *points = _above_plane(first, second, kind2)
    else:
        dist, *points, _ = closest_points((kind1, kind2), first, second)
    return Distance(dist, points[order.index(0)], points[order.index(1)])


def _above_plane(
    plane: Geom, shape: Geom, kind: GeomType
) -> tuple[Float[Array, ""], Float[Array, "3"], Float[Array, "3"]]:
    """Signed distance of the lowest point of a shape, the point below it, and that point."""
    n = plane.mat[:, 2]
    parts = as_sum(kind, shape, shape.pos)
    lowest = parts.vert[jnp.argmin(parts.vert @ n)]
    lowest = lowest - parts.axes.T @ parts.lean(n)[0] - parts.radius * n
    dist = (lowest - plane.pos) @ n
    return dist, lowest - dist * n, lowest
