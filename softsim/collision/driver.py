"""Sorts a model's pairs of geoms into batches and collects their contacts in MJX's order."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from mujoco import mjx

from softsim._mjx import FunctionKey, geom_groups, numeric
from softsim.collision import broad_phase, shapes
from softsim.collision.batches import Batch, batches
from softsim.collision.contact import Contact, Parameters, explicit, mixed
from softsim.collision.contract import NO_BROADPHASE, Hit, pair_of
from softsim.follow import follows
from softsim.softening import Part, Softening

T = TypeVar("T")


def contacts_are_nearest(m: mjx.Model, part: Part) -> bool:
    """Whether the distances of all contacts change with the velocities of their points."""
    return part.mode == "hard" and all(
        pair_of(follows(m), key.types).nearest for key in geom_groups(m)
    )


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
    dims = d._impl.contact.dim
    if not dims.size:
        return _none(m)
    groups = geom_groups(m)
    keys = sorted(groups, key=lambda key: int(key.condim))
    ids = np.array([pair for key in keys for pair in groups[key]])
    parameters, geom = _parameters(m, ids), ids[:, :2]
    counts = [len(groups[key]) for key in keys]
    if (nearest := _nearest(m, d, keys, counts, geom)) is not None:
        counts = [len(places) for places in nearest]
        chosen = jnp.concatenate(nearest)
        parameters, geom = jax.tree.map(lambda x: jnp.asarray(x)[chosen], (parameters, geom))

    ncon = np.repeat([pair_of(follows(m), k.types).count(k.subgrid_size) for k in keys], counts)
    reach = parameters.includemargin + softening.reach
    hit = _hit(m, d, softening, batches(m, keys, counts), geom, ncon, reach)
    of_contact = np.repeat(np.arange(len(ncon)), ncon)
    parameters, geom = jax.tree.map(lambda x: x[of_contact], (parameters, jnp.asarray(geom)))
    contact = Contact(
        dist=hit.dist,
        pos=hit.pos,
        frame=hit.frame,
        presence=hit.weight,
        mask=_inside(m, softening.mask, geom, hit.dist, parameters.includemargin),
        geom=geom,
        **vars(parameters),
    )
    dim = np.repeat([int(key.condim) for key in keys], counts)[of_contact]
    contact = _deepest(contact, dim, numeric(m, "max_contact_points"))
    address = d._impl.contact.efc_address
    return replace(contact, dim=tuple(dims.tolist()), efc_address=tuple(address.tolist()))


def _parameters(m: mjx.Model, ids: Int[np.ndarray, "p 3"]) -> Parameters:
    """Of all pairs: those of a `<pair>` element have its own."""
    given = ids[:, 2] >= 0
    if not given.any():
        return mixed(m, *ids[:, :2].T)
    both = explicit(m, ids[given, 2]), mixed(m, *ids[~given, :2].T)
    place = np.argsort(np.argsort(~given, kind="stable"))
    return jax.tree.map(lambda *x: jnp.concatenate(x)[place], *both)


def _nearest(
    m: mjx.Model,
    d: mjx.Data,
    keys: Sequence[FunctionKey],
    counts: Sequence[int],
    geom: Int[np.ndarray, "p 2"],
) -> list[Int[Array, " k"]] | None:
    """Of each group of equal shapes, the pairs that max_geom_pairs keeps; None: all."""
    limit = numeric(m, "max_geom_pairs")
    limited = [-1 < limit < n and not set(k.types) & NO_BROADPHASE for k, n in zip(keys, counts)]
    if not any(limited):
        return None
    places = np.split(np.arange(len(geom)), np.cumsum(counts)[:-1])
    gap = jnp.linalg.norm(jnp.subtract(*d.geom_xpos[geom.T]), axis=-1)
    near = jnp.sum(m.geom_rbound[geom], axis=1) - gap
    return [
        jnp.asarray(p)[jax.lax.top_k(near[p], limit)[1]] if cut else jnp.asarray(p)
        for p, cut in zip(places, limited)
    ]


def _hit(
    m: mjx.Model,
    d: mjx.Data,
    softening: Softening,
    parts: Iterable[Batch],
    geom: Int[Array, "p 2"] | Int[np.ndarray, "p 2"],
    ncon: Int[np.ndarray, " p"],
    reach: Float[Array, " p"],
) -> Hit:
    """All contacts of all pairs, in their order; pair k has `ncon[k]` of them.

    They act from `reach` (m) on.
    """
    first = np.cumsum(ncon) - ncon
    hits, places = [], []
    for batch in parts:
        hit = _of_batch(m, d, softening, batch, geom[batch.place], reach[batch.place])
        count = hit.dist.shape[1]
        hits.append(jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), hit))
        places.append((first[batch.place][:, None] + np.arange(count)).ravel())
    order = np.argsort(np.concatenate(places))
    if np.all(order == np.arange(len(order))):
        return _concatenate(hits)
    return jax.tree.map(lambda *x: jnp.concatenate(x)[order], *hits)


def _of_batch(
    m: mjx.Model,
    d: mjx.Data,
    softening: Softening,
    batch: Batch,
    geom: Int[Array, "p 2"] | Int[np.ndarray, "p 2"],
    reach: Float[Array, " p"],
) -> Hit:
    """The pair function of a batch, mapped over its pairs; leaves (p, k, ...)."""
    entry = pair_of(follows(m), batch.types)
    if batch.swapped.any():
        geom = jnp.where(batch.swapped[:, None], geom[:, ::-1], geom)
    (build1, more1), (build2, more2) = (shapes.builder(m, batch, i) for i in (0, 1))
    pose1, pose2 = ((d.geom_xpos[g], d.geom_xmat[g], m.geom_size[g]) for g in geom.T)
    one = lambda a, b: entry.function(softening.collision, build1(*a), build2(*b))
    narrow = lambda pairs: jax.vmap(one)(*pairs)
    pairs = (*pose1, *more1), (*pose2, *more2)
    if broad_phase.applies(batch, softening):
        between = lambda a, b: broad_phase.gap(build1(*a), build2(*b))
        gap = jax.lax.stop_gradient(jax.vmap(between)(*pairs) - reach)
        hit = broad_phase.of_those_that_meet(narrow, pairs, gap, entry.count(batch.subgrid))
    else:
        hit = narrow(pairs)
    if batch.swapped.any():  # the frame of the opposite normal has the same first tangent
        sign = np.where(batch.swapped[:, None], [-1.0, 1.0, -1.0], 1.0)
        hit = replace(hit, frame=hit.frame * jnp.asarray(sign[:, None, :, None], hit.frame.dtype))
    return hit


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


def _deepest(contact: Contact, dim: Int[np.ndarray, " n"], count: int) -> Contact:
    """Of each contact dimension the `count` deepest contacts, deepest first; all, if there are less
    or `count` is -1.

    A contact that the shapes rule out counts as 1 m further away, so that it goes first.
    """
    places = [np.flatnonzero(dim == one) for one in np.unique(dim)]
    if count == -1 or all(len(place) <= count for place in places):
        return contact
    depth = contact.presence - 1 - contact.dist
    kept = [
        jnp.asarray(p)[jax.lax.top_k(depth[p], count)[1]] if len(p) > count else jnp.asarray(p)
        for p in places
    ]
    keep = jnp.concatenate(kept)
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
