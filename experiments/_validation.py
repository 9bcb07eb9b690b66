"""How well a model predicts recorded trajectories, simulated by MuJoCo itself."""

import importlib
import os
from collections.abc import Callable

import mujoco
import numpy as np
from jaxtyping import Float, Int

from experiments._trajectories import Recording, angular

# by name: MuJoCo's Python parts are typed, its compiled ones are not, and mypy cannot have both
rollout = importlib.import_module("mujoco.rollout")
Judge = Callable[[mujoco.MjModel], Float[np.ndarray, "n 2"]]


def predict(
    mj_model: mujoco.MjModel,
    recording: Recording,
    chosen: Int[np.ndarray, " n"],
    backward: bool,
) -> list[Float[np.ndarray, "W nq"]]:
    """Positions that follow the first sample of each trajectory, sampled as the recording."""
    substeps = round(recording.dt / mj_model.opt.timestep)
    first, count = recording.start[chosen], recording.length[chosen] - 1
    qvel = recording.qvel[first].copy()
    if backward:
        # from the mean velocity over the sample before to the velocity now
        half = mj_model.opt.timestep * (substeps - 1) / 2
        for kind, address in zip(mj_model.jnt_type, mj_model.jnt_dofadr):
            if kind == int(mujoco.mjtJoint.mjJNT_FREE):
                qvel[:, address : address + 3] += mj_model.opt.gravity * half
    state = np.concatenate([np.zeros((len(first), 1)), recording.qpos[first], qvel], axis=1)
    ahead = np.minimum(np.arange(count.max()), count[:, None] - 1)
    ctrl = np.repeat(recording.ctrl[first[:, None] + ahead], substeps, axis=1)
    threads = [mujoco.MjData(mj_model) for _ in range(os.cpu_count() or 1)]
    path, _ = rollout.rollout(
        mj_model, threads, state, ctrl if mj_model.nu else None, nstep=substeps * count.max()
    )
    seen = path[:, substeps - 1 :: substeps, 1 : 1 + mj_model.nq]
    return [positions[:n] for positions, n in zip(seen, count)]


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


def make_judge(recording: Recording, chosen: Int[np.ndarray, " n"], backward: bool) -> Judge:
    """A model's mean distance (m) and mean turn (degrees) over each of the trajectories."""

    def judge(mj_model: mujoco.MjModel) -> Float[np.ndarray, "n 2"]:
        found = zip(chosen, predict(mj_model, recording, chosen, backward))
        return np.array([distances(mj_model, recording, i, p).mean(axis=0) for i, p in found])

    return judge
