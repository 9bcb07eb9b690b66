"""Broad phase: the costly pairs are tested nearest first, and only as many as can touch.

Pairs are sorted by the gap between their bounding spheres and tested in chunks; a chunk none of
whose pairs can touch is passed over, so that cost follows the pairs that meet. It is exact: a pair
that can touch is never dropped. In a batch a chunk runs if one of the worlds needs it: the order is
each world's own, the decision is common, so that it stays a branch and does not become both sides.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Bool, Float
from mujoco.mjx import GeomType

from softsim.collision.batches import Batch
from softsim.collision.contract import NO_BROADPHASE, Convex, Geom, Hit
from softsim.collision.numerics import norm
from softsim.softening import Softening

CHUNK = 8
"""Pairs at once: of Panda's 58 pairs of meshes 5 meet; smaller ones leave little to do at once."""
Narrow = Callable[[Any], Hit]


def applies(batch: Batch, softening: Softening) -> bool:
    """Whether the pairs of a batch are costly, many, and without effect before they touch.

    Soft shapes are felt from afar, and so are the events that begin within a step.
    """
    costly = GeomType.MESH in batch.types and not set(batch.types) & NO_BROADPHASE
    abrupt = softening.collision.mode == "hard" and softening.mask.mode != "smooth"
    return costly and len(batch.place) > CHUNK and abrupt and not softening.events


def gap(geom1: Geom, geom2: Geom) -> Float[Array, ""]:
    """Between the balls about the positions of two geoms that hold them, m; negative: they meet."""
    return norm(geom1.pos - geom2.pos) - _radius(geom1) - _radius(geom2)


def _radius(geom: Geom) -> Float[Array, ""]:
    return jnp.max(norm(geom.vert)) if isinstance(geom, Convex) else jnp.sum(geom.size)


@custom_vmap
def _in_any_world(truth: Bool[Array, ""]) -> Bool[Array, ""]:
    return truth


@_in_any_world.def_vmap
def _in_any_world_batch(
    size: int, batched: list[bool], truth: Bool[Array, "..."]
) -> tuple[Bool[Array, "..."], bool]:
    return _in_any_world(jnp.any(truth, axis=0) if batched[0] else truth), False


def of_those_that_meet(narrow: Narrow, pairs: Any, gap: Float[Array, " p"], ncon: int) -> Hit:
    """The contacts of p pairs; those of pairs that are apart are not there.

    Args:
        narrow: the contacts of pairs, whose arrays have the pairs first.
        pairs: the p pairs.
        gap: m, between the balls around each pair; a pair with a positive one cannot touch.
        ncon: contacts of a pair.
    """
    count = len(gap)
    order = jnp.argsort(gap)
    chunks = -(-count // CHUNK)
    place = order[np.minimum(np.arange(chunks * CHUNK), count - 1)].reshape(chunks, CHUNK)
    absent = _absent(ncon, gap.dtype)

    def test(_: None, places: Array) -> tuple[None, Hit]:
        run = lambda: narrow(jax.tree.map(lambda x: x[places], pairs))
        found = jax.lax.cond(_in_any_world(gap[places[0]] < 0), jax.checkpoint(run), lambda: absent)
        there = (gap[places] < 0)[:, None]
        return None, replace(found, weight=jnp.where(there, found.weight, 0.0))

    found = jax.lax.scan(test, None, place)[1]
    back = jnp.argsort(order)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[back], found)


def _absent(ncon: int, dtype: jnp.dtype) -> Hit:
    """A chunk of contacts that are not there, a metre apart."""
    fill = lambda value: jnp.broadcast_to(
        jnp.asarray(value, dtype), (CHUNK, ncon, *np.shape(value))
    )
    return Hit(fill(1.0), fill(np.zeros(3)), fill(np.eye(3)), fill(0.0))
