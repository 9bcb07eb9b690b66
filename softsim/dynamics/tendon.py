"""Tendons. Fixed ones are constant linear maps of the coordinates; spatial ones are MJX's stage."""

import jax.numpy as jnp
import numpy as np
from mujoco import mjtWrap
from mujoco.mjx import Data, Model

from softsim import _mjx
from softsim.dynamics.tree import HIGHEST


def tendon(m: Model, d: Data) -> Data:
    """Fills `ten_length` (m or rad), `ten_J` (ntendon, nv) and, for spatial tendons, their path."""
    if not _all_fixed(m):
        return _mjx.tendon(m, d)
    tendon_of_wrap = np.repeat(np.arange(m.ntendon), m.tendon_num)
    wraps = np.concatenate([a + np.arange(n) for a, n in zip(m.tendon_adr, m.tendon_num)])
    joint = m.wrap_objid[wraps]
    length, moment = np.zeros((m.ntendon, m.nq)), np.zeros((m.ntendon, m.nv))
    np.add.at(length, (tendon_of_wrap, m.jnt_qposadr[joint]), m.wrap_prm[wraps])
    np.add.at(moment, (tendon_of_wrap, m.jnt_dofadr[joint]), m.wrap_prm[wraps])
    as_float = lambda x: jnp.asarray(x, d.qpos.dtype)
    d = d.replace(ten_length=jnp.matmul(as_float(length), d.qpos, precision=HIGHEST))
    return d.tree_replace({"_impl.ten_J": as_float(moment)})


def tendon_bias(m: Model, d: Data) -> Data:
    """Adds the bias force of tendon armature, which fixed tendons do not have (J' = 0)."""
    return d if _all_fixed(m) else _mjx.tendon_bias(m, d)


def _all_fixed(m: Model) -> bool:
    return m.ntendon > 0 and bool((m.wrap_type == mjtWrap.mjWRAP_JOINT).all())
