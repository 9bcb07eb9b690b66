"""Walks over the groups of geom pairs of a model and collects their contacts in MJX's order."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from mujoco import mjx
from mujoco.mjx import GeomType

from softsim._mjx import FunctionKey, geom_groups, numeric
from softsim.collision import shapes
from softsim.collision.contact import Contact, Parameters, explicit, mixed
from softsim.collision.contract import NO_BROADPHASE, Hit, pair_function
from softsim.softening import Part, Softening

T = TypeVar("T")


def collide(m: mjx.Model, d: mjx.Data, softening: Softening) -> Contact:
    """All contacts at the geom poses in `d`, active or not; nothing is dropped.

    The number of contacts, their order and their parameters are those of `mjx.collision`, and so
    are the custom numeric fields that limit them: max_geom_pairs keeps, of each group of equal
    shapes, the pairs with the nearest bounding spheres; max_contact_points keeps, of each contact
    dimension, the deepest contacts. Which ones are kept is a hard choice in every mode.

    Args:
        m: model, JAX implementation.
        d: data with `geom_xpos` and `geom_xmat` up to date.
        softening: `collision` softens the shapes' contacts, `mask` the weight.
    """
    max_pairs, max_points = numeric(m, "max_geom_pairs"), numeric(m, "max_contact_points")
    dims = d._impl.contact.dim
    by_dim: dict[int, list[Contact]] = {}
    if dims.size:
        for key, ids in geom_groups(m).items():
            contact = _collide_group(m, d, softening, key, np.array(ids), max_pairs)
            by_dim.setdefault(int(key.condim), []).append(contact)
    parts = [_deepest(_concatenate(by_dim[dim]), max_points) for dim in sorted(by_dim)]
    if not parts:
        return _none(m)
    address = d._impl.contact.efc_address
    return replace(
        _concatenate(parts), dim=tuple(dims.tolist()), efc_address=tuple(address.tolist())
    )


def _collide_group(
    m: mjx.Model,
    d: mjx.Data,
    softening: Softening,
    key: FunctionKey,
    ids: Int[np.ndarray, "p 3"],
    max_pairs: int,
) -> Contact:
    """Contacts of all pairs of one kind: same two types, same meshes, same contact dimension."""
    pair_id = ids[:, 2]
    tables = []
    if np.any(pair_id >= 0):
        tables.append(explicit(m, pair_id[pair_id >= 0]))
    if np.any(pair_id < 0):
        tables.append(mixed(m, *ids[pair_id < 0, :2].T))
    parameters: Parameters = _concatenate(tables)

    geom = jnp.asarray(ids[:, :2])
    if -1 < max_pairs < len(ids) and not set(key.types) & NO_BROADPHASE:
        gap = jnp.linalg.norm(jnp.subtract(*d.geom_xpos[geom.T]), axis=-1)
        nearest = jax.lax.top_k(jnp.sum(m.geom_rbound[geom], axis=1) - gap, max_pairs)[1]
        parameters, geom = jax.tree.map(lambda x: x[nearest], (parameters, geom))

    hit = _hit(m, d, softening.collision, key, geom)
    ncon = hit.dist.shape[1]
    hit = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), hit)
    parameters, geom = jax.tree.map(lambda x: jnp.repeat(x, ncon, axis=0), (parameters, geom))
    return Contact(
        dist=hit.dist,
        pos=hit.pos,
        frame=hit.frame,
        presence=hit.weight,
        mask=_inside(m, softening.mask, geom, hit.dist, parameters.includemargin),
        geom=geom,
        **vars(parameters),
    )


def _hit(m: mjx.Model, d: mjx.Data, part: Part, key: FunctionKey, geom: Int[Array, "p 2"]) -> Hit:
    """The pair function of the group, mapped over its pairs; leaves (p, k, ...)."""
    function = pair_function(m, GeomType(key.types[0]), GeomType(key.types[1]))
    build1, build2 = (shapes.builder(m, key, i) for i in (0, 1))
    pose1, pose2 = ((d.geom_xpos[g], d.geom_xmat[g], m.geom_size[g]) for g in geom.T)
    return jax.vmap(lambda a, b: function(part, build1(*a), build2(*b)))(pose1, pose2)


def _inside(
    m: mjx.Model,
    part: Part,
    geom: Int[Array, "n 2"],
    dist: Float[Array, " n"],
    margin: Float[Array, " n"],
) -> Float[Array, " n"]:
    """Soft `dist < margin`; its width is relative to the smaller geom's bounding radius.

    A plane has no bounding radius (0 in MuJoCo) and does not count.
    """
    radius = m.geom_rbound[geom]
    scale = jax.lax.stop_gradient(jnp.min(jnp.where(radius > 0, radius, jnp.inf), axis=1))
    return part.below_zero(dist - margin, scale)


def _deepest(contact: Contact, count: int) -> Contact:
    """The `count` deepest contacts (all, if `count` is -1), deepest first.

    A contact that the shapes rule out counts as 1 m further away, so that it goes first.
    """
    if count == -1 or contact.dist.shape[0] <= count:
        return contact
    keep = jax.lax.top_k(contact.presence - 1 - contact.dist, count)[1]
    return jax.tree.map(lambda x: x[keep], contact)


def _concatenate(trees: Sequence[T]) -> T:
    return jax.tree.map(lambda *x: jnp.concatenate(x), *trees)


def _none(m: mjx.Model) -> Contact:
    """The contacts of a model whose geoms cannot touch."""

    def zeros(*shape: int) -> Float[Array, "..."]:
        return jnp.zeros((0, *shape), m.geom_size.dtype)

    return Contact(
        dist=zeros(),
        pos=zeros(3),
        frame=zeros(3, 3),
        presence=zeros(),
        mask=zeros(),
        geom=jnp.zeros((0, 2), int),
        includemargin=zeros(),
        friction=zeros(5),
        solref=zeros(2),
        solreffriction=zeros(2),
        solimp=zeros(5),
    )
