"""Recordings beside a model: refused where they cannot be its motion, completed, cut in windows."""

from collections.abc import Sequence
from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int

from softsim.sysid.recording import Recording

MAX_SPEED = 20.0  # m/s; faster is taken for a wrong unit
NO_JUMP = 0.005  # m between rows; less may be noise at a high rate
NORM_ERROR = 1e-3  # of a quaternion
DISAGREE = 0.5  # of the root mean square velocity, beside:
SLOW = {"linear": 0.05, "angular": 0.2}  # m/s, rad/s; impacts that shake a body make as much
AROUND = 9  # rows, to which a parabola is fitted for a velocity
NEAR = np.array([-5, -4, -3, -2, 2, 3, 4, 5])  # rows, whose speed a jump exceeds
UNEVEN = 1e-4  # relative, by which samples may miss the model's time steps


class Track(NamedTuple):
    """A recording with everything filled in, as a model needs it."""

    qpos: Float[np.ndarray, "N nq"]
    qvel: Float[np.ndarray, "N nv"]
    ctrl: Float[np.ndarray, "N nu"]
    dt: float


class Windows(NamedTuple):
    """w stretches of recordings: a first state, then W samples to be predicted."""

    qpos0: Float[np.ndarray, "w nq"]
    qvel0: Float[np.ndarray, "w nv"]
    qpos: Float[np.ndarray, "w W nq"]
    ctrl: Float[np.ndarray, "w W nu"]
    mask: Bool[np.ndarray, "w W"]
    recording: Int[np.ndarray, " w"]


def complete(recordings: Sequence[Recording], mj_model: mujoco.MjModel) -> list[Track]:
    """Tracks of the model; without qvel, the velocity of a parabola through the rows around each.

    Raises:
        ValueError: a recording is of another model, in other units, jumps, or its velocities are
            not the rate of its positions; the message names the recording and the row.
    """
    if isinstance(recordings, Recording):
        recordings = [recordings]
    if not len(recordings):
        raise ValueError("recordings: got none, expected at least one Recording")
    tracks, rates = [], []
    for i, recording in enumerate(recordings):
        where = f"recordings[{i}]"
        if not isinstance(recording, Recording):
            raise ValueError(f"{where}: got {type(recording).__name__}, expected a Recording")
        if abs(recording.dt - recordings[0].dt) > UNEVEN * recording.dt:
            raise ValueError(
                f"{where}.dt: got {recording.dt:.6g} s, expected that of the first recording, "
                f"{recordings[0].dt:.6g} s; resample it"
            )
        _refuse_widths(recording, mj_model, where)
        _refuse_unnormalised(recording.qpos, mj_model, where)
        rate = mean_velocity(recording.qpos, mj_model, recording.dt)
        _refuse_jumps(rate, mj_model, recording.dt, where)
        qvel = recording.qvel
        if qvel is None:
            qvel = smooth_velocity(recording.qpos, mj_model, recording.dt)
        ctrl = np.zeros((len(qvel), 0)) if recording.ctrl is None else recording.ctrl
        tracks.append(Track(recording.qpos, qvel, ctrl, recording.dt))
        rates.append(rate)
    measured = [i for i, recording in enumerate(recordings) if recording.qvel is not None]
    if measured:
        _refuse_other_velocity(
            [tracks[i] for i in measured], [rates[i] for i in measured], mj_model
        )
    return tracks


def count_substeps(mj_model: mujoco.MjModel, dt: float) -> int:
    """The time steps of the model in a sample.

    Raises:
        ValueError: it is not a whole number.
    """
    substeps = round(dt / mj_model.opt.timestep)
    if substeps < 1 or abs(substeps * mj_model.opt.timestep / dt - 1) > UNEVEN:
        raise ValueError(
            f"recordings[0].dt: got {dt:.6g} s, which is not a whole number of the model's time "
            f"steps of {mj_model.opt.timestep:.6g} s; change the timestep of the model, or resample"
        )
    return substeps


def _refuse_widths(recording: Recording, mj_model: mujoco.MjModel, where: str) -> None:
    sizes = {"qpos": mj_model.nq, "qvel": mj_model.nv, "ctrl": mj_model.nu}
    for name, size in sizes.items():
        values = getattr(recording, name)
        if values is not None and values.shape[1] != size:
            raise ValueError(
                f"{where}.{name}: got shape {values.shape}, the model needs ({len(values)}, {size})"
            )
    if mj_model.nu and recording.ctrl is None:
        raise ValueError(
            f"{where}.ctrl: got None, but the model has {mj_model.nu} actuators, expected "
            f"({len(recording.qpos)}, {mj_model.nu}); give zeros if they were idle"
        )


def _refuse_unnormalised(qpos: np.ndarray, mj_model: mujoco.MjModel, where: str) -> None:
    shift = {int(mujoco.mjtJoint.mjJNT_FREE): 3, int(mujoco.mjtJoint.mjJNT_BALL): 0}
    for kind, address in zip(mj_model.jnt_type, mj_model.jnt_qposadr):
        if int(kind) not in shift:
            continue
        first = address + shift[int(kind)]
        norm = np.linalg.norm(qpos[:, first : first + 4], axis=1)
        bad = np.flatnonzero(np.abs(norm - 1) > NORM_ERROR)
        if bad.size:
            raise ValueError(
                f"{where}.qpos: the quaternion in columns {first} to {first + 3} has length "
                f"{norm[bad[0]]:.4g} in row {bad[0]}, expected 1 ({bad.size} such rows); is the "
                "order of the columns position, then w, x, y, z?"
            )


def _refuse_jumps(rate: np.ndarray, mj_model: mujoco.MjModel, dt: float, where: str) -> None:
    """No faster than physics or sampling allows, and not several times faster than just nearby."""
    turns = angular(mj_model)
    unit = np.where(turns, "rad/s", "m/s")
    limit = np.where(turns, 0.5 * np.pi / dt, MAX_SPEED)
    slack = np.where(turns, 0.1 * np.pi / dt, max(1.0, NO_JUMP / dt))
    speed = np.abs(rate[1:])
    index = np.arange(len(speed))[:, None] + NEAR
    valid = (index >= 0) & (index < len(speed))
    nearby = np.where(valid[..., None], speed[np.clip(index, 0, len(speed) - 1)], 0.0).max(axis=1)
    for bound, why in (
        (limit, "is the unit right? Lengths are in m, angles in rad"),
        (3.0 * nearby + slack, "several times the speed just before and after; a jump?"),
    ):
        bad = np.argwhere(speed > bound)
        if bad.size:
            k, j = bad[0]
            raise ValueError(
                f"{where}.qpos: degree of freedom {j} moves at {speed[k, j]:.4g} {unit[j]} between "
                f"rows {k} and {k + 1}: {why}"
            )


def _refuse_other_velocity(
    tracks: list[Track], rates: list[np.ndarray], mj_model: mujoco.MjModel
) -> None:
    """qvel must be the rate of qpos, give or take noise and impacts.

    White noise of positions makes their differences disagree with any velocity, in opposite
    directions from row to row: the products of neighbours tell how much, and it is left out.
    """
    found = np.concatenate([rate[1:] for rate in rates])
    apart = [track.qvel[1:] - rate[1:] for track, rate in zip(tracks, rates)]
    both = np.concatenate(apart)
    neighbours = np.concatenate([x[1:] * x[:-1] for x in apart])
    for name, dofs in (("linear", ~angular(mj_model)), ("angular", angular(mj_model))):
        if not dofs.any():
            continue
        scale = np.sqrt(np.mean(found[:, dofs] ** 2))
        noise = -2 * min(0.0, float(np.mean(neighbours[:, dofs])))
        off = np.sqrt(max(0.0, float(np.mean(both[:, dofs] ** 2)) - noise))
        if off > DISAGREE * scale + SLOW[name]:
            raise ValueError(
                f"recordings[...].qvel: the {name} part is {off:.3g} (root mean square) away from "
                f"the rate of qpos, {scale:.3g}; units, frame (angular velocity is in the frame of "
                "the body) or dt do not match"
            )


def mean_velocity(
    qpos: Float[np.ndarray, "N nq"], mj_model: mujoco.MjModel, dt: float
) -> Float[np.ndarray, "N nv"]:
    """Mean velocity since the row before; the first row gets that of the second."""
    velocity = np.zeros((len(qpos), mj_model.nv))
    for k in range(1, len(qpos)):
        mujoco.mj_differentiatePos(mj_model, velocity[k], dt, qpos[k - 1], qpos[k])
    velocity[0] = velocity[1]
    return velocity


def smooth_velocity(
    qpos: Float[np.ndarray, "N nq"], mj_model: mujoco.MjModel, dt: float
) -> Float[np.ndarray, "N nv"]:
    """Slope of a parabola fitted to the AROUND rows around each row (Savitzky and Golay, 1964)."""
    velocity, many = np.zeros((len(qpos), mj_model.nv)), min(AROUND, len(qpos))
    apart = np.zeros((many, mj_model.nv))
    for k in range(len(qpos)):
        first = min(max(k - many // 2, 0), len(qpos) - many)
        for j in range(many):
            mujoco.mj_differentiatePos(mj_model, apart[j], 1.0, qpos[k], qpos[first + j])
        time = dt * (np.arange(first, first + many) - k)
        velocity[k] = np.polynomial.polynomial.polyfit(time, apart, 2)[1]
    return velocity


def angular(mj_model: mujoco.MjModel) -> Bool[np.ndarray, " nv"]:
    """Which degrees of freedom are angles."""
    turns = np.ones(mj_model.nv, bool)
    for kind, address in zip(mj_model.jnt_type, mj_model.jnt_dofadr):
        if kind == int(mujoco.mjtJoint.mjJNT_SLIDE):
            turns[address] = False
        if kind == int(mujoco.mjtJoint.mjJNT_FREE):
            turns[address : address + 3] = False
    return turns


def cut(tracks: Sequence[Track], window: int, first_only: bool = False) -> Windows:
    """Tracks in windows of `window` predicted samples (0: one window each).

    A window begins at the last sample of the one before. A last window that is shorter than a
    quarter of the others is left out; other short ones are masked.
    """
    longest = max(len(track.qpos) for track in tracks) - 1
    size = min(window, longest) if window else longest
    parts = []
    for i, track in enumerate(tracks):
        last = len(track.qpos) - 1
        for first in range(0, last, size):
            count = min(size, last - first)
            if first and (first_only or count < max(2, size / 4)):
                break
            ahead = np.minimum(np.arange(first, first + size), last - 1)
            parts.append(
                (track.qpos[first], track.qvel[first], track.qpos[ahead + 1], track.ctrl[ahead],
                 np.arange(size) < count, i)
            )  # fmt: skip
    return Windows(*(np.array(x) for x in zip(*parts)))
