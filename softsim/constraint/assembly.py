"""All constraint rows of a step, in MuJoCo's order."""

import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from softsim._mjx import MjxContact
from softsim.collision import Contact
from softsim.constraint.contact import contact_blocks, elliptic_cones
from softsim.constraint.drift import equality_drift
from softsim.constraint.equality import equality_blocks
from softsim.constraint.friction_limit import friction_blocks, limit_blocks
from softsim.constraint.rows import Rows, concatenate, reference_acceleration
from softsim.follow import follows
from softsim.softening import Softening


def make_rows(m: mjx.Model, d: mjx.Data, contact: Contact, softening: Softening) -> Rows:
    """All constraint rows at the state `d`, which has its positions and tendons computed.

    Args:
        softening: `reach` and `limit` are read here; `contact` has its mask already.
    """
    if m.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_CONSTRAINT:
        kinds: list[list] = [[], [], [], []]
    else:
        kinds = [
            equality_blocks(m, d),
            friction_blocks(m, d),
            limit_blocks(m, d, softening.limit),
            contact_blocks(m, d, contact, softening.reach),
        ]
    count = lambda blocks: sum(b.D.shape[0] for b in blocks)
    rows = concatenate([block for kind in kinds for block in kind], m.nv)
    ne, nf, nl, nc = map(count, kinds)
    aref = reference_acceleration(m, d.qvel, rows)
    if ne and follows(m) == "mujoco":
        aref = aref.at[:ne].add(-equality_drift(m, d))
    fields = (rows.J, rows.D, aref, rows.pos, rows.margin, rows.frictionloss)
    return _rows(m, contact, fields, (ne, nf, nl, nc))


def rows_of(m: mjx.Model, d: mjx.Data) -> Rows:
    """The constraint rows that a step left in its data."""
    x = d._impl
    fields = (x.efc_J, x.efc_D, x.efc_aref, x.efc_pos, x.efc_margin, x.efc_frictionloss)
    ne, nf, nl = int(x.ne), int(x.nf), int(x.nl)
    counts = (ne, nf, nl, x.efc_D.shape[0] - ne - nf - nl)
    return _rows(m, x.contact, fields, counts)


def _rows(
    m: mjx.Model, contact: Contact | MjxContact, fields: tuple, counts: tuple[int, int, int, int]
) -> Rows:
    """Rows with the addresses of their elliptic cones."""
    ne, nf, nl, nc = counts
    dims, cone = elliptic_cones(m, contact) if nc else ((), jnp.zeros((0, 6)))
    frictionless = int((np.asarray(contact.dim) == 1).sum())
    addresses = ne + nf + nl + frictionless + np.cumsum([0, *dims])[:-1]
    J, D, aref, pos, margin, frictionloss = fields
    where = tuple(int(a) for a in addresses)
    return Rows(J, D, aref, pos, margin, frictionloss, cone, ne, nf, nl, where, dims)
