"""An `mjx.Data` with room for every contact and constraint row that a model can have.

`mjx.make_data` counts contacts by MJX's colliders and refuses elliptic cones with condim 1; here
they are counted by softsim's own table of pairs, whatever their cone.
"""

import copy

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Int
from mujoco import mjx

from softsim._mjx import geom_groups, numeric
from softsim.collision.contract import NO_BROADPHASE, PAIRS

_CONSTRAINT, _CONTACT = mujoco.mjtDisableBit.mjDSBL_CONSTRAINT, mujoco.mjtDisableBit.mjDSBL_CONTACT
_ELLIPTIC = mujoco.mjtCone.mjCONE_ELLIPTIC


def allocate(m: mjx.Model | mujoco.MjModel, device: jax.Device) -> mjx.Data:
    """The data of `m` at `qpos0`, as `mjx.make_data` makes it."""
    d = mjx.make_data(_without_contacts(m), device=device, impl="jax")
    dims = contact_dims(m)
    kinds = [int(_row_type(m, dim)) for dim in dims for _ in range(_row_count(m, dim))]
    if m.opt.disableflags & _CONSTRAINT:
        kinds = []
    kept = d._impl.efc_type.astype(np.int32)
    row_type = np.concatenate([kept, np.array(kinds, np.int32)])
    sizes = [_row_count(m, dim) for dim in dims]
    address = len(kept) + np.cumsum([0, *sizes])[:-1]
    rows = ("pos", "margin", "frictionloss", "D", "aref", "force")
    impl = d._impl.replace(
        ncon=len(dims),
        nefc=len(row_type),
        contact=jax.device_put(_contacts(dims, address), device),
        efc_type=row_type,
        efc_J=jnp.zeros((len(row_type), m.nv), device=device),
        **{f"efc_{name}": jnp.zeros(len(row_type), device=device) for name in rows},
    )
    return d.replace(_impl=impl)


def contact_dims(m: mjx.Model | mujoco.MjModel) -> Int[np.ndarray, " ncon"]:
    """The dimension of each contact that `collide` returns, in its order."""
    if m.opt.disableflags & _CONTACT:
        return np.zeros(0, np.int32)
    max_pairs, max_points = numeric(m, "max_geom_pairs"), numeric(m, "max_contact_points")
    counts: dict[int, int] = {}
    for key, ids in geom_groups(m).items():
        pairs = len(ids)
        if max_pairs > -1 and not set(key.types) & NO_BROADPHASE:
            pairs = min(pairs, max_pairs)
        dim = int(key.condim)
        counts[dim] = counts.get(dim, 0) + pairs * PAIRS[key.types].ncon
    if max_points > -1:
        counts = {dim: min(count, max_points) for dim, count in counts.items()}
    return np.repeat(sorted(counts), [counts[dim] for dim in sorted(counts)]).astype(np.int32)


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
