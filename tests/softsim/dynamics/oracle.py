"""Smooth dynamics as one function of the state, and the same quantities from MuJoCo C."""

import mujoco
import numpy as np
from mujoco import mjx

from softsim import dynamics

FIELDS = (
    "xpos", "xquat", "xmat", "xipos", "ximat", "xanchor", "xaxis", "geom_xpos", "geom_xmat",
    "site_xpos", "site_xmat", "subtree_com", "cdof", "cvel", "cdof_dot", "qfrc_bias",
)  # fmt: skip


def stages(m: mjx.Model, d: mjx.Data) -> mjx.Data:
    """All stages of `softsim.dynamics`, one after the other."""
    d = dynamics.kinematics(m, d)
    d = dynamics.com_pos(m, d)
    d = dynamics.mass_matrix(m, d)
    d = dynamics.com_vel(m, d)
    return dynamics.bias(m, d)


def random_states(mj_model: mujoco.MjModel, count: int) -> list[mujoco.MjData]:
    """MuJoCo data after `mj_forward` at states with every coordinate far from its default."""
    rng = np.random.default_rng(0)
    states = []
    for _ in range(count):
        state = mujoco.MjData(mj_model)
        mujoco.mj_integratePos(mj_model, state.qpos, rng.normal(size=mj_model.nv), 1.0)
        state.qvel[:] = 3 * rng.normal(size=mj_model.nv)
        state.act[:] = rng.normal(size=mj_model.na)
        state.ctrl[:] = rng.normal(size=mj_model.nu)
        state.mocap_pos[:] = rng.normal(size=state.mocap_pos.shape)
        state.mocap_quat[:] = rng.normal(size=state.mocap_quat.shape)
        mujoco.mj_forward(mj_model, state)
        states.append(state)
    return states


def full_mass_matrix(mj_model: mujoco.MjModel, state: mujoco.MjData) -> np.ndarray:
    full = np.zeros((mj_model.nv, mj_model.nv))
    mujoco.mj_fullM(mj_model, state, full)
    return full
