"""An `mjx.Data` with room for every contact and constraint row that a model can have.

`mjx.make_data` counts contacts by MJX's colliders and refuses elliptic cones with condim 1; here
they are counted by softsim's own table of pairs, whatever their cone.
"""

import copy
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Int
from mujoco import mjx

from softsim._mjx import geom_groups, numeric
from softsim.collision.contract import NO_BROADPHASE, pair_of
from softsim.follow import Follow, follows

_CONSTRAINT, _CONTACT = mujoco.mjtDisableBit.mjDSBL_CONSTRAINT, mujoco.mjtDisableBit.mjDSBL_CONTACT
_ELLIPTIC = mujoco.mjtCone.mjCONE_ELLIPTIC
_ROWS = ("efc_pos", "efc_margin", "efc_frictionloss", "efc_D", "efc_aref", "efc_force")


def allocate(m: mjx.Model | mujoco.MjModel, device: jax.Device) -> mjx.Data:
    """The data of `m` at `qpos0`, as `mjx.make_data` makes it."""
    d = mjx.make_data(_without_contacts(m), device=device, impl="jax")
    others = d._impl.efc_type.astype(np.int32)
    fields = _contact_fields(m, len(others))
    fields["efc_type"] = np.concatenate([others, fields["efc_type"]])
    for name in ("contact", "efc_J", *_ROWS):
        fields[name] = jax.device_put(fields[name], device)
    return d.replace(_impl=d._impl.replace(**fields))


def with_room(m: mjx.Model, d: mjx.Data) -> mjx.Data:
    """`d` with room for the contacts of `m`, if it has room for those of MJX.

    What makes data from an `MjModel` does not know which engine the model is to follow.
    """
    if not has_room_of_mjx(m, d):
        return d
    rows = sum(_row_count(m, dim) for dim in d._impl.contact.dim)
    others = d._impl.efc_type[: max(len(d._impl.efc_type) - rows, 0)]
    fields = _contact_fields(m, len(others))
    fields["efc_type"] = jnp.concatenate([others, fields["efc_type"]])
    return d.replace(_impl=d._impl.replace(**fields))


def has_room_of_mjx(m: mjx.Model, d: mjx.Data) -> bool:
    """Whether `m` has other numbers of contacts than in MJX and `d` has room for those of MJX."""
    if follows(m) == "mjx" or np.array_equal(d._impl.contact.dim, contact_dims(m)):
        return False
    return np.array_equal(d._impl.contact.dim, contact_dims(m, "mjx"))


def unknown_contacts(given: mjx.Data, made: mjx.Data) -> mjx.Data:
    """`made` with room for contacts as in `given`; they and their rows are NaN."""

    def unknown(x):
        is_float = jnp.issubdtype(jnp.asarray(x).dtype, jnp.floating)
        return jnp.full_like(x, jnp.nan) if is_float else x

    fields = {name: getattr(given._impl, name) for name in ("ncon", "nefc", "efc_type")}
    for name in ("contact", "efc_J", *_ROWS):
        fields[name] = jax.tree.map(unknown, getattr(given._impl, name))
    return made.replace(_impl=made._impl.replace(**fields))


def contact_dims(
    m: mjx.Model | mujoco.MjModel, follow: Follow | None = None
) -> Int[np.ndarray, " ncon"]:
    """The dimension of each contact that `collide` returns, in its order.

    Args:
        follow: the engine whose contacts are counted; None for the one that the model follows.
    """
    if m.opt.disableflags & _CONTACT:
        return np.zeros(0, np.int32)
    max_pairs, max_points = numeric(m, "max_geom_pairs"), numeric(m, "max_contact_points")
    counts: dict[int, int] = {}
    for key, ids in geom_groups(m).items():
        pairs = len(ids)
        if max_pairs > -1 and not set(key.types) & NO_BROADPHASE:
            pairs = min(pairs, max_pairs)
        dim = int(key.condim)
        per_pair = pair_of(follow or follows(m), key.types).count(key.subgrid_size)
        counts[dim] = counts.get(dim, 0) + pairs * per_pair
    if max_points > -1:
        counts = {dim: min(count, max_points) for dim, count in counts.items()}
    return np.repeat(sorted(counts), [counts[dim] for dim in sorted(counts)]).astype(np.int32)


def _contact_fields(m: mjx.Model | mujoco.MjModel, others: int) -> dict[str, Any]:
    """The fields of a data's `_impl` that have room for contacts and rows, all zero.

    Of `efc_type` the rows of contacts alone.

    Args:
        others: number of rows of all other constraints.
    """
    dims = contact_dims(m)
    kinds = [int(_row_type(m, dim)) for dim in dims for _ in range(_row_count(m, dim))]
    if m.opt.disableflags & _CONSTRAINT:
        kinds = []
    sizes = [_row_count(m, dim) for dim in dims]
    rows = others + len(kinds)
    return {
        "ncon": len(dims),
        "nefc": rows,
        "contact": _contacts(dims, others + np.cumsum([0, *sizes])[:-1]),
        "efc_type": np.array(kinds, np.int32),
        "efc_J": np.zeros((rows, m.nv), jnp.zeros(()).dtype),
        **{name: np.zeros(rows, jnp.zeros(()).dtype) for name in _ROWS},
    }


def _row_type(m: mjx.Model | mujoco.MjModel, dim: int) -> mjx.ConstraintType:
    if dim == 1:
        return mjx.ConstraintType.CONTACT_FRICTIONLESS
    if m.opt.cone == _ELLIPTIC:
        return mjx.ConstraintType.CONTACT_ELLIPTIC
    return mjx.ConstraintType.CONTACT_PYRAMIDAL


def _row_count(m: mjx.Model | mujoco.MjModel, dim: int) -> int:
    """Rows of one contact; a pyramid has two edges for each direction of friction."""
    return int(dim) if dim == 1 or m.opt.cone == _ELLIPTIC else 2 * (int(dim) - 1)


def _without_contacts(m: mjx.Model | mujoco.MjModel) -> mjx.Model | mujoco.MjModel:
    if isinstance(m, mjx.Model):
        return m.tree_replace({"opt.disableflags": m.opt.disableflags | int(_CONTACT)})
    m = copy.copy(m)
    m.opt.disableflags |= int(_CONTACT)
    m.opt.jacobian = mujoco.mjtJacobian.mjJAC_DENSE
    return m


def _contacts(dims: Int[np.ndarray, " n"], address: Int[np.ndarray, " n"]) -> mjx.Contact:
    """Contacts that are not there yet: all zero, between the geoms -1."""
    n, real, integer = len(dims), jnp.zeros(()).dtype, jnp.zeros((), int).dtype
    zeros = lambda *shape: np.zeros((n, *shape), real)
    return mjx.Contact(
        dist=zeros(),
        pos=zeros(3),
        frame=zeros(3, 3),
        includemargin=zeros(),
        friction=zeros(5),
        solref=zeros(mujoco.mjNREF),
        solreffriction=zeros(mujoco.mjNREF),
        solimp=zeros(mujoco.mjNIMP),
        dim=dims,
        geom1=np.full(n, -1, integer),
        geom2=np.full(n, -1, integer),
        geom=np.full((n, 2), -1, integer),
        efc_address=address,
    )
