"""How well a model predicts recorded trajectories, simulated by MuJoCo itself."""

import mujoco
import numpy as np
from jaxtyping import Float, Int

from experiments._trajectories import Recording, angular


def predict(
    mj_model: mujoco.MjModel, recording: Recording, trajectory: int, backward: bool
) -> Float[np.ndarray, "W nq"]:
    """Positions that follow the first sample, simulated from it and sampled as the recording."""
    rows = recording.rows(trajectory)
    substeps = round(recording.dt / mj_model.opt.timestep)
    data = mujoco.MjData(mj_model)
    data.qpos, data.qvel = recording.qpos[rows.start], recording.qvel[rows.start]
    if backward:
        # from the mean velocity over the sample before to the velocity now
        for kind, first in zip(mj_model.jnt_type, mj_model.jnt_dofadr):
            if kind == int(mujoco.mjtJoint.mjJNT_FREE):
                half = mj_model.opt.timestep * (substeps - 1) / 2
                data.qvel[first : first + 3] += mj_model.opt.gravity * half
    positions = np.empty((rows.stop - rows.start - 1, mj_model.nq))
    for k in range(len(positions)):
        data.ctrl = recording.ctrl[rows.start + k]
        mujoco.mj_step(mj_model, data, substeps)
        positions[k] = data.qpos
    return positions


def distances(
    mj_model: mujoco.MjModel, recording: Recording, trajectory: int, positions: np.ndarray
) -> Float[np.ndarray, "W 2"]:
    """Distance (m) and turn (degrees) between positions and the recording, sample by sample."""
    measured = recording.qpos[recording.rows(trajectory)][1:]
    apart = np.empty((len(positions), mj_model.nv))
    for k in range(len(positions)):
        mujoco.mj_differentiatePos(mj_model, apart[k], 1.0, measured[k], positions[k])
    turns = angular(mj_model)
    place = np.linalg.norm(apart[:, ~turns], axis=1)
    turn = np.degrees(np.linalg.norm(apart[:, turns], axis=1))
    return np.stack([place, turn], axis=1)


def trajectory_errors(
    mj_model: mujoco.MjModel, recording: Recording, chosen: Int[np.ndarray, "n"], backward: bool
) -> Float[np.ndarray, "n 2"]:
    """Mean distance (m) and mean turn (degrees) over each trajectory."""
    errors = [
        distances(mj_model, recording, i, predict(mj_model, recording, i, backward)).mean(axis=0)
        for i in chosen
    ]
    return np.array(errors)
