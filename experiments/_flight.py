"""Velocities at the start of trajectories of free bodies, from all rows of the first flight.

A recorded velocity is a difference of two neighbouring rows, and carries their noise; errors of the
first one grow through every later contact. Until its first contact a free body moves on a parabola
and turns steadily, so that all those rows together tell the first velocity far better.
"""

from dataclasses import replace

import mujoco
import numpy as np
from jaxtyping import Float

from experiments._trajectories import Recording

FARTHEST = 2.0  # rad from the first attitude; rotation vectors jump at pi
LEAST = 5  # rows in flight; a recorded velocity is kept where there are fewer


def start_in_flight(recording: Recording, mj_model: mujoco.MjModel, backward: bool) -> Recording:
    """The recording with other velocities in the first row of each trajectory.

    The model serves only to find the first row in which anything touches. A model with joints other
    than free ones is not in flight: its recording is returned as it is.

    Args:
        backward: velocities are means over the sample before, which is kept.
    """
    if mj_model.njnt == 0 or (mj_model.jnt_type != int(mujoco.mjtJoint.mjJNT_FREE)).any():
        return recording
    qvel = recording.qvel.copy()
    for trajectory in range(len(recording.start)):
        rows = recording.rows(trajectory)
        qpos = recording.qpos[rows]
        count = _rows_before_contact(mj_model, qpos)
        if count >= LEAST:
            at = -0.5 * (recording.dt if backward else _lag(mj_model))
            qvel[rows.start] = _velocity(mj_model, qpos[:count], recording.dt, at)
    return replace(recording, qvel=qvel)


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
