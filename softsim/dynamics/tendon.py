"""Tendons: fixed ones are constant linear maps of the coordinates, spatial ones run along paths.

A spatial tendon is a chain of legs, from site to site, straight or around a geom, each divided by
the divisor of the pulley before it.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from mujoco import mjtGeom, mjtWrap
from mujoco.mjx import Data, Model

from softsim.dynamics.inertia import inertia_pattern
from softsim.dynamics.jacobian import point_jacobians
from softsim.dynamics.tree import HIGHEST, one_hot, spread, tree
from softsim.dynamics.wrapping import Arc, Geoms, wrap
from softsim.numerics import safe_norm, safe_normalize

TINY = 1e-15
"""m; a leg shorter than this has the direction x (MuJoCo's mjMINVAL)."""

WRAPPED = (int(mjtWrap.mjWRAP_SPHERE), int(mjtWrap.mjWRAP_CYLINDER))


class Legs(NamedTuple):
    """The legs of all spatial tendons, constant.

    Attributes:
        tendon: whose leg it is.
        site0, site1: its ends.
        geom, side: the geom that it may wrap, and the sidesite of that; -1: none.
        share: 1 / divisor.
    """

    tendon: Int[np.ndarray, " n"]
    site0: Int[np.ndarray, " n"]
    site1: Int[np.ndarray, " n"]
    geom: Int[np.ndarray, " n"]
    side: Int[np.ndarray, " n"]
    share: Float[np.ndarray, " n"]


def tendon(m: Model, d: Data) -> Data:
    """Fills `ten_length` (m or rad), `ten_J` (ntendon, nv) and, for spatial tendons, their path."""
    if not m.ntendon:
        return d
    length, moment = _fixed(m, d)
    legs = _legs(m)
    if legs.tendon.size:
        on_tendon = one_hot(legs.tendon, m.ntendon) * legs.share
        lengths, moments, arc = _run(m, d, legs)
        length += spread(lengths, on_tendon.T)
        moment += spread(moments.T, on_tendon.T).T
        d = _path(m, d, legs, arc)
    return d.tree_replace({"ten_length": length, "_impl.ten_J": moment})


def tendon_armature(m: Model, d: Data) -> Data:
    """Adds the tendons' armature to `M`, where MuJoCo stores entries, along branches of trees."""
    if not m.ntendon:
        return d
    J = d._impl.ten_J
    added = jnp.matmul(J.T * m.tendon_armature, J, precision=HIGHEST) * inertia_pattern(m)
    return d.tree_replace({"_impl.M": d._impl.M + added})


def tendon_bias(m: Model, d: Data) -> Data:
    """Adds the bias force of tendon armature: the armature times the acceleration that a tendon
    has at constant joint velocities. Fixed tendons have none, wrapped legs no armature.
    """
    legs = _legs(m)
    straight = legs.geom < 0
    if not straight.any():
        return d
    legs = Legs(*(field[straight] for field in legs))
    apart = d.site_xpos[legs.site1] - d.site_xpos[legs.site0]
    distance, unit = safe_norm(apart), _direction(apart)
    velocity, acceleration = _site_motion(m, d)
    dv = velocity[legs.site1] - velocity[legs.site0]
    along = jnp.sum(unit * dv, axis=1)
    across = jnp.sum(jnp.square(dv), axis=1) - jnp.square(along)
    long = distance > TINY
    turning = jnp.where(long, across / jnp.where(long, distance, 1.0), 0.0)
    pull = jnp.sum(unit * (acceleration[legs.site1] - acceleration[legs.site0]), axis=1)
    moved = m.site_bodyid[legs.site0] != m.site_bodyid[legs.site1]
    rate = spread((pull + turning) * moved, (one_hot(legs.tendon, m.ntendon) * legs.share).T)
    bias = jnp.matmul(d._impl.ten_J.T, m.tendon_armature * rate, precision=HIGHEST)
    return d.replace(qfrc_bias=d.qfrc_bias + bias)


def _fixed(m: Model, d: Data) -> tuple[Float[Array, " ntendon"], Float[Array, "ntendon nv"]]:
    """Lengths and moments of fixed tendons, 0 for spatial ones."""
    wraps = np.concatenate([a + np.arange(n) for a, n in zip(m.tendon_adr, m.tendon_num)])
    row = np.repeat(np.arange(m.ntendon), m.tendon_num)
    at_joint = m.wrap_type[wraps] == mjtWrap.mjWRAP_JOINT
    if not at_joint.any():
        return jnp.zeros_like(d.ten_length), jnp.zeros((m.ntendon, m.nv), d.qpos.dtype)
    row, wraps = row[at_joint], wraps[at_joint]
    joint = m.wrap_objid[wraps]
    length, moment = np.zeros((m.ntendon, m.nq)), np.zeros((m.ntendon, m.nv))
    np.add.at(length, (row, m.jnt_qposadr[joint]), m.wrap_prm[wraps])
    np.add.at(moment, (row, m.jnt_dofadr[joint]), m.wrap_prm[wraps])
    return spread(d.qpos, length.T), jnp.asarray(moment, d.qpos.dtype)


def _legs(m: Model) -> Legs:
    """Reads the paths as MuJoCo does: a pulley starts a new branch with its divisor."""
    legs = []
    kind, thing, prm = m.wrap_type, m.wrap_objid, m.wrap_prm
    for t, (first, count) in enumerate(zip(m.tendon_adr, m.tendon_num)):
        share, i = 1.0, int(first)
        if kind[i] == mjtWrap.mjWRAP_JOINT:
            continue
        while i < first + count - 1:
            if kind[i] == mjtWrap.mjWRAP_PULLEY:
                share = 1 / prm[i]
                i += 1
            elif kind[i + 1] in WRAPPED:
                legs.append((t, thing[i], thing[i + 2], thing[i + 1], round(prm[i + 1]), share))
                i += 2
            else:
                if kind[i + 1] != mjtWrap.mjWRAP_PULLEY:
                    legs.append((t, thing[i], thing[i + 1], -1, -1, share))
                i += 1
    columns = np.array(legs, float).reshape(-1, 6).T
    tendon, site0, site1, geom, side = columns[:5].astype(int)
    return Legs(tendon, site0, site1, geom, side, columns[5])


def _run(
    m: Model, d: Data, legs: Legs
) -> tuple[Float[Array, " n"], Float[Array, "n nv"], Arc | None]:
    """Length and moment of every leg, and the arcs of those that may wrap."""
    start, end = d.site_xpos[legs.site0], d.site_xpos[legs.site1]
    length, unit = safe_norm(end - start), _direction(end - start)
    leave, arrive, arc = unit, unit, None
    bent = np.flatnonzero(legs.geom >= 0)
    if bent.size:
        arc = wrap(start[bent], end[bent], _geoms(m, d, legs.geom[bent], legs.side[bent]))
        touches = arc.touches[:, None]
        length = length.at[bent].set(jnp.where(arc.touches, arc.length, length[bent]))
        leave = leave.at[bent].set(jnp.where(touches, arc.direction0, unit[bent]))
        arrive = arrive.at[bent].set(jnp.where(touches, arc.direction1, unit[bent]))
    moment = _moment(m, d, arrive, end, m.site_bodyid[legs.site1])
    moment -= _moment(m, d, leave, start, m.site_bodyid[legs.site0])
    if arc is not None:
        body = m.geom_bodyid[legs.geom[bent]]
        turn = _moment(m, d, arc.direction0, arc.point0, body)
        turn -= _moment(m, d, arc.direction1, arc.point1, body)
        moment = moment.at[bent].add(jnp.where(touches, turn, 0.0))
    return length, moment, arc


def _moment(
    m: Model, d: Data, unit: Float[Array, "n 3"], point: Float[Array, "n 3"], body: np.ndarray
) -> Float[Array, "n nv"]:
    """Speed of body-fixed points along unit vectors, per dof."""
    linear, _ = point_jacobians(m, d, point, body)
    return jnp.einsum("ni,niv->nv", unit, linear, precision=HIGHEST)


def _direction(apart: Float[Array, "n 3"]) -> Float[Array, "n 3"]:
    short = (safe_norm(apart) < TINY)[:, None]
    return jnp.where(short, jnp.asarray([1.0, 0.0, 0.0], apart.dtype), safe_normalize(apart))


def _geoms(m: Model, d: Data, geom: np.ndarray, side: np.ndarray) -> Geoms:
    """The geoms of wrapping legs. A sidesite fixed to its geom is inside or outside for good."""
    sided = side >= 0
    side = np.where(sided, side, 0)
    moving = sided & (m.site_bodyid[side] != m.geom_bodyid[geom])
    return Geoms(
        pos=d.geom_xpos[geom],
        mat=d.geom_xmat[geom],
        radius=m.geom_size[geom, 0],
        sphere=jnp.asarray(m.geom_type[geom] == mjtGeom.mjGEOM_SPHERE),
        side=d.site_xpos[side],
        sided=jnp.asarray(sided),
        may_hold=bool(moving.any() or m._impl.is_wrap_inside.any()),
    )


def _site_motion(m: Model, d: Data) -> tuple[Float[Array, "nsite 3"], Float[Array, "nsite 3"]]:
    """Velocities of sites, and their accelerations at constant joint velocities, world frame."""
    t = tree(m)
    body = m.site_bodyid
    drift = spread(d.cdof_dot.T * d.qvel, t.moves).T[body]
    arm = d.site_xpos - spread(d.subtree_com.T, t.root).T[body]
    spin = d.cvel[body, :3]
    velocity = d.cvel[body, 3:] + jnp.cross(spin, arm)
    acceleration = drift[:, 3:] + jnp.cross(drift[:, :3], arm) + jnp.cross(spin, velocity)
    return velocity, acceleration


def _path(m: Model, d: Data, legs: Legs, arc: Arc | None) -> Data:
    """Fills the points that tendons run through, for drawing: sites (object -1), pulleys (-2) and
    the points on geoms, those that are not touched left out.
    """
    wraps = np.concatenate([a + np.arange(n) for a, n in zip(m.tendon_adr, m.tendon_num)])
    of_tendon = np.repeat(np.arange(m.ntendon), m.tendon_num)
    drawn = m.wrap_type[wraps] != mjtWrap.mjWRAP_JOINT
    wraps, of_tendon = wraps[drawn], of_tendon[drawn]
    bent = np.isin(m.wrap_type[wraps], WRAPPED)
    twice = np.repeat(np.arange(wraps.size), 1 + bent)
    site = np.where(m.wrap_type[wraps] == mjtWrap.mjWRAP_SITE, m.wrap_objid[wraps], -1)[twice]
    points = jnp.where((site >= 0)[:, None], d.site_xpos[site], 0.0)
    keep = jnp.ones(twice.size, bool)
    if arc is not None:
        both = jnp.stack([arc.point0, arc.point1], axis=1).reshape(-1, 3)
        points = points.at[bent[twice]].set(both)
        keep = keep.at[bent[twice]].set(jnp.repeat(arc.touches, 2))
    thing = np.where(
        bent, m.wrap_objid[wraps], np.where(m.wrap_type[wraps] == mjtWrap.mjWRAP_SITE, -1, -2)
    )[twice]
    order = jnp.argsort(~keep, stable=True)
    count = jnp.sum(keep[:, None] & (of_tendon[twice][:, None] == np.arange(m.ntendon)), axis=0)
    room = ((0, 2 * m.nwrap - twice.size),)
    xpos = jnp.pad((points * keep[:, None])[order], (*room, (0, 0)))
    like = d._impl
    return d.tree_replace(
        {
            "_impl.wrap_xpos": xpos.reshape(m.nwrap, 6),
            "_impl.wrap_obj": jnp.pad(
                (jnp.asarray(thing) * keep)[order].astype(like.wrap_obj.dtype), room
            ).reshape(m.nwrap, 2),
            "_impl.ten_wrapnum": count.astype(like.ten_wrapnum.dtype),
            "_impl.ten_wrapadr": (jnp.cumsum(count) - count).astype(like.ten_wrapadr.dtype),
        }
    )
