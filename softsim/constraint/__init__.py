"""Constraint rows of a step: what the solver must satisfy."""

import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from softsim.collision import Contact
from softsim.constraint.contact import contact_blocks, elliptic_cones
from softsim.constraint.drift import equality_drift
from softsim.constraint.equality import equality_blocks
from softsim.constraint.friction_limit import friction_blocks, limit_blocks
from softsim.constraint.rows import Rows as Rows
from softsim.constraint.rows import concatenate, reference_acceleration
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
    ne, nf, nl, nc = map(count, kinds)
    rows = concatenate([block for kind in kinds for block in kind], m.nv)
    dims, cone = elliptic_cones(m, contact) if nc else ((), jnp.zeros((0, 6)))
    frictionless = int((np.asarray(contact.dim) == 1).sum())
    addresses = ne + nf + nl + frictionless + np.cumsum([0, *dims])[:-1]
    aref = reference_acceleration(m, d.qvel, rows)
    if ne and follows(m) == "mujoco":
        aref = aref.at[:ne].add(-equality_drift(m, d))
    return Rows(
        J=rows.J,
        D=rows.D,
        aref=aref,
        pos=rows.pos,
        margin=rows.margin,
        frictionloss=rows.frictionloss,
        cone=cone,
        ne=ne,
        nf=nf,
        nl=nl,
        cone_adr=tuple(int(a) for a in addresses),
        cone_dim=dims,
    )
