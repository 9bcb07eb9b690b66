"""Velocities at the start of recordings of free bodies, from all rows of the first flight.

A recorded velocity is a difference of two neighbouring rows, and carries their noise; errors of the
first one grow through every later contact. Until its first contact a free body moves on a parabola
and turns steadily, so that all those rows together tell the first velocity far better.
"""

from collections.abc import Sequence

import mujoco
import numpy as np
from jaxtyping import Float

from softsim.sysid.tracks import Track

FARTHEST = 2.0  # rad from the first attitude; rotation vectors jump at pi
LEAST = 5  # rows in flight; a recorded velocity is kept where there are fewer


def start_in_flight(
    tracks: Sequence[Track], mj_model: mujoco.MjModel, backward: bool
) -> list[Track]:
    """The tracks with other velocities in their first rows.

    The model serves only to find the first row in which anything touches. A model with joints other
    than free ones is not in flight: its tracks are returned as they are.

    Args:
        backward: velocities are means over the sample before, which is kept.
    """
    free = mj_model.jnt_type == int(mujoco.mjtJoint.mjJNT_FREE)
    if not free.size or not free.all():
        return list(tracks)
    found = []
    for track in tracks:
        qvel, count = track.qvel.copy(), _rows_before_contact(mj_model, track.qpos)
        if count >= LEAST:
            at = -0.5 * (track.dt if backward else _lag(mj_model))
            qvel[0] = _velocity(mj_model, track.qpos[:count], track.dt, at)
        found.append(track._replace(qvel=qvel))
    return found


def _lag(mj_model: mujoco.MjModel) -> float:
    """Positions of semi-implicit Euler steps lie on the parabola of half a step earlier."""
    exact = mj_model.opt.integrator == int(mujoco.mjtIntegrator.mjINT_RK4)
    return 0.0 if exact else float(mj_model.opt.timestep)


def _rows_before_contact(mj_model: mujoco.MjModel, qpos: Float[np.ndarray, "W nq"]) -> int:
    data = mujoco.MjData(mj_model)
    for k, pose in enumerate(qpos):
        data.qpos = pose
        mujoco.mj_fwdPosition(mj_model, data)
        if data.ncon:
            return k
    return len(qpos)


def _velocity(
    mj_model: mujoco.MjModel, qpos: Float[np.ndarray, "W nq"], dt: float, at: float
) -> Float[np.ndarray, " nv"]:
    """Slope at the time `at` after the first row of a least-squares parabola; of turns, a line.

    Turns are rotation vectors from the first row's attitude. They are straight for a body that
    turns steadily about a fixed axis, and curvature would only let noise in.
    """
    apart = np.zeros((len(qpos), mj_model.nv))
    for k, pose in enumerate(qpos):
        mujoco.mj_differentiatePos(mj_model, apart[k], 1.0, qpos[0], pose)
    time = dt * np.arange(len(qpos))
    fit = np.polynomial.polynomial.polyfit
    turned = np.linalg.norm(apart.reshape(len(qpos), -1, 6)[..., 3:], axis=2).max(axis=1)
    few = max(2, int(np.argmax(np.append(turned, np.inf) > FARTHEST)))
    curved, straight = fit(time, apart, 2), fit(time[:few], apart[:few], 1)
    turns = np.tile(np.arange(6) >= 3, mj_model.njnt)
    return np.where(turns, straight[1], curved[1] + 2 * at * curved[2])
