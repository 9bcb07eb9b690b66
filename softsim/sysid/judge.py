"""How well a model predicts recordings, simulated by MuJoCo C itself."""

import importlib
import os
from collections.abc import Sequence

import mujoco
import numpy as np
from jaxtyping import Float

from softsim.sysid.tracks import Track, angular, count_substeps

# by name: MuJoCo's Python parts are typed, its compiled ones are not, and mypy cannot have both
rollout = importlib.import_module("mujoco.rollout")


def simulate(
    mj_model: mujoco.MjModel, tracks: Sequence[Track], backward: bool
) -> list[Float[np.ndarray, "S nq"]]:
    """Positions after each time step from the first row of each track, for as long as it lasts.

    Args:
        backward: velocities are means over the sample before.
    """
    dt = tracks[0].dt
    substeps = count_substeps(mj_model, dt)
    count = np.array([len(track.qpos) - 1 for track in tracks])
    qpos, qvel = (np.stack([x[0] for x in part]) for part in list(zip(*tracks))[:2])
    if backward:
        # from the mean velocity over the sample before to the velocity now
        half = mj_model.opt.timestep * (substeps - 1) / 2
        for kind, address in zip(mj_model.jnt_type, mj_model.jnt_dofadr):
            if kind == int(mujoco.mjtJoint.mjJNT_FREE):
                qvel[:, address : address + 3] += mj_model.opt.gravity * half
    state = np.concatenate([np.zeros((len(qpos), 1)), qpos, qvel], axis=1)
    ahead = [np.minimum(np.arange(count.max()), n - 1) for n in count]
    ctrl = np.stack([track.ctrl[rows] for track, rows in zip(tracks, ahead)])
    threads = [mujoco.MjData(mj_model) for _ in range(os.cpu_count() or 1)]
    path, _ = rollout.rollout(
        mj_model, threads, state, np.repeat(ctrl, substeps, axis=1) if mj_model.nu else None,
        nstep=substeps * count.max(),
    )  # fmt: skip
    return [x[: substeps * n, 1 : 1 + mj_model.nq] for x, n in zip(path, count)]


def predict(
    mj_model: mujoco.MjModel, tracks: Sequence[Track], backward: bool
) -> list[Float[np.ndarray, "W nq"]]:
    """`simulate`, sampled as the tracks are."""
    substeps = count_substeps(mj_model, tracks[0].dt)
    return [path[substeps - 1 :: substeps] for path in simulate(mj_model, tracks, backward)]


def distances(
    mj_model: mujoco.MjModel, track: Track, positions: Float[np.ndarray, "W nq"]
) -> Float[np.ndarray, "W 2"]:
    """Distance (m) and turn (degrees) between positions and the track, sample by sample."""
    apart = np.empty((len(positions), mj_model.nv))
    for k in range(len(positions)):
        mujoco.mj_differentiatePos(mj_model, apart[k], 1.0, track.qpos[k + 1], positions[k])
    turns = angular(mj_model)
    place = np.linalg.norm(apart[:, ~turns], axis=1)
    turn = np.degrees(np.linalg.norm(apart[:, turns], axis=1))
    return np.stack([place, turn], axis=1)


def judge(
    mj_model: mujoco.MjModel, tracks: Sequence[Track], backward: bool
) -> Float[np.ndarray, "n 2"]:
    """A model's mean distance (m) and mean turn (degrees) over each of the tracks."""
    found = zip(tracks, predict(mj_model, tracks, backward))
    return np.array([distances(mj_model, *pair).mean(axis=0) for pair in found])
