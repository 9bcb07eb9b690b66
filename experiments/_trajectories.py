"""Recorded trajectories: reading them, refusing what cannot be a recording, cutting windows.

Layout of the data, in the units and frames of MuJoCo's `qpos` and `qvel` (SI; quaternions w, x, y,
z; the angular velocity of a free joint in the frame of the body):

    .npz    qpos (N, nq) and dt (s), and optionally qvel (N, nv), ctrl (N, nu), time (N,), and
            start (n,), length (n,): first row and number of rows of each of n trajectories
            (without them, all rows are one). Other arrays are ignored.
    .csv    a header with qpos0, qpos1, ... and time, and optionally qvel0, ..., ctrl0, ... and
            trajectory, a number that changes where the next trajectory begins.

Row k of qvel may be the velocity at row k or the mean velocity since row k - 1 (`backward`).
Without qvel, the velocity at every row is the slope of a parabola through the rows around it.
"""

import csv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int

MAX_SPEED = 20.0  # m/s; faster is taken for a wrong unit
NO_JUMP = 0.005  # m between rows; less may be noise at a high rate
UNEQUAL = 0.01  # of a time step
NORM_ERROR = 1e-3  # of a quaternion
DISAGREE = 0.5  # of the root mean square velocity
AROUND = 9  # rows
NEAR = np.array([-5, -4, -3, -2, 2, 3, 4, 5])


@dataclass(frozen=True)
class Recording:
    """n trajectories, one after the other in N rows, `dt` seconds apart."""

    qpos: Float[np.ndarray, "N nq"]
    qvel: Float[np.ndarray, "N nv"]
    ctrl: Float[np.ndarray, "N nu"]
    start: Int[np.ndarray, " n"]
    length: Int[np.ndarray, " n"]
    dt: float
    measured: bool  # qvel was recorded, not computed from qpos

    def rows(self, trajectory: int) -> slice:
        """Where a trajectory is."""
        first = int(self.start[trajectory])
        return slice(first, first + int(self.length[trajectory]))


class Windows(NamedTuple):
    """w stretches of trajectories: a first state, then W samples to be predicted."""

    qpos0: Float[np.ndarray, "w nq"]
    qvel0: Float[np.ndarray, "w nv"]
    qpos: Float[np.ndarray, "w W nq"]
    ctrl: Float[np.ndarray, "w W nu"]
    mask: Bool[np.ndarray, "w W"]
    trajectory: Int[np.ndarray, " w"]


def read(path: Path, mj_model: mujoco.MjModel) -> Recording:
    """The recording in a .npz or .csv file, checked against the model.

    Raises:
        ValueError: the file is not of the layout above, or holds what cannot be a recording of
            this model; the message names the row and says what was expected.
    """
    if not path.is_file():
        raise ValueError(f"--data {path}: no such file")
    readers = {".npz": _read_npz, ".csv": _read_csv}
    if path.suffix not in readers:
        raise ValueError(f"--data {path}: expected a .npz or .csv file")
    try:
        columns = readers[path.suffix](path)
    except (zipfile.BadZipFile, UnicodeDecodeError, ValueError) as error:
        if str(path) in str(error):
            raise
        raise ValueError(f"--data {path}: no readable {path.suffix} file ({error})") from None
    return make_recording(columns, mj_model, f"--data {path}")


def make_recording(
    columns: dict[str, np.ndarray], mj_model: mujoco.MjModel, where: str = "data"
) -> Recording:
    """Check arrays in the layout of .npz and put them in order; raises as `read`."""
    if "qpos" not in columns:
        raise ValueError(f"{where}: no qpos, only {', '.join(sorted(columns)) or 'nothing'}")
    qpos = _table(columns["qpos"], "qpos", mj_model.nq, where)
    if np.size(columns.get("time", qpos[:, 0])) != len(qpos):
        raise ValueError(f"{where}: {np.size(columns['time'])} times, qpos has {len(qpos)} rows")
    if mj_model.nu and "ctrl" not in columns:
        raise ValueError(
            f"{where}: no ctrl, but the model has {mj_model.nu} actuators; give zeros if they were "
            "idle"
        )
    start, length = _extent(columns, len(qpos), where)
    dt = _time_step(columns, start, length, where)
    _refuse_not_finite(qpos, "qpos", start, where)
    _refuse_unnormalised(qpos, mj_model, start, where)
    moved = mean_velocity(qpos, start, mj_model, dt)
    _refuse_jumps(moved, mj_model, start, length, dt, where)
    ctrl = _table(
        columns.get("ctrl", np.zeros((len(qpos), mj_model.nu))), "ctrl", mj_model.nu, where
    )
    measured = "qvel" in columns
    if measured:
        qvel = _table(columns["qvel"], "qvel", mj_model.nv, where)
    else:
        qvel = smooth_velocity(qpos, start, length, mj_model, dt)
    for name, table in (("qvel", qvel), ("ctrl", ctrl)):
        if len(table) != len(qpos):
            raise ValueError(f"{where}: {name} has {len(table)} rows, qpos has {len(qpos)}")
        _refuse_not_finite(table, name, start, where)
    if measured:
        _refuse_other_velocity(qvel, moved, mj_model, start, where)
    return Recording(qpos, qvel, ctrl, start, length, dt, measured)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    # opened here: numpy leaves a file open that is no archive
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = [row for row in csv.reader(stream) if row]
    if len(rows) < 3:
        raise ValueError(f"--data {path}: expected a header and at least two rows")
    header, body = [name.strip() for name in rows[0]], rows[1:]
    for i, row in enumerate(body, start=2):
        if len(row) != len(header):
            raise ValueError(
                f"--data {path}, line {i}: {len(row)} fields, the header has {len(header)}"
            )
    try:
        table = np.array([[float(x or "nan") for x in row] for row in body])
    except ValueError as error:
        raise ValueError(f"--data {path}: {error}") from None
    columns = {name: table[:, [i]] for i, name in enumerate(header)}
    found = {}
    for field in ("qpos", "qvel", "ctrl"):
        names = [f"{field}{i}" for i in range(len(header))]
        present = [columns[name] for name in names if name in columns]
        if present:
            found[field] = np.concatenate(present, axis=1)
    if "time" in columns:
        found["time"] = columns["time"][:, 0]
    if "trajectory" in columns:
        label = columns["trajectory"][:, 0]
        found["start"] = np.flatnonzero(np.concatenate([[True], label[1:] != label[:-1]]))
        found["length"] = np.diff(np.append(found["start"], len(label)))
    return found


def _table(values: np.ndarray, name: str, width: int, where: str) -> Float[np.ndarray, "N width"]:
    values = np.asarray(values, float)
    if values.ndim != 2 or values.shape[1] != width:
        raise ValueError(f"{where}: {name} has shape {values.shape}, the model needs (N, {width})")
    return values


def _extent(columns: dict[str, np.ndarray], rows: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    start = np.atleast_1d(np.asarray(columns.get("start", 0), int))
    length = np.atleast_1d(np.asarray(columns.get("length", np.diff(np.append(start, rows))), int))
    if not start.size:
        raise ValueError(f"{where}: start is empty, there are no trajectories")
    if start.shape != length.shape:
        raise ValueError(f"{where}: {len(start)} starts but {len(length)} lengths of trajectories")
    outside = (start < 0) | (start + length > rows)
    if outside.any():
        i = int(np.argmax(outside))
        raise ValueError(f"{where}: trajectory {i} ends at row {start[i] + length[i]} of {rows}")
    order = np.argsort(start, kind="stable")
    into = start[order][:-1] + length[order][:-1] > start[order][1:]
    if into.any():
        i = int(np.argmax(into))
        raise ValueError(
            f"{where}: trajectories {order[i]} and {order[i + 1]} share rows, expected each row in "
            "one trajectory"
        )
    if (length < 3).any():
        i = int(np.argmin(length))
        raise ValueError(f"{where}: trajectory {i} has {length[i]} rows, expected at least 3")
    return start, length


def _time_step(
    columns: dict[str, np.ndarray], start: np.ndarray, length: np.ndarray, where: str
) -> float:
    """dt, or that of the column of times, which must be equal steps without gaps."""
    if "time" not in columns:
        if "dt" not in columns:
            raise ValueError(f"{where}: neither dt nor time is given")
        if np.size(columns["dt"]) != 1:
            raise ValueError(f"{where}: dt has {np.size(columns['dt'])} numbers, expected one")
        dt = float(np.ravel(columns["dt"])[0])
        if not dt > 0 or not np.isfinite(dt):
            raise ValueError(f"{where}: dt is {dt}, expected a positive number of seconds")
        return dt
    time = np.asarray(columns["time"], float).ravel()
    _refuse_not_finite(time[:, None], "time", start, where)
    steps = [np.diff(time[a : a + n]) for a, n in zip(start, length)]
    dt = float(np.median(np.concatenate(steps)))
    for i, step in enumerate(steps):
        bad = np.flatnonzero(np.abs(step - dt) > UNEQUAL * abs(dt))
        if bad.size or not dt > 0:
            k = int(bad[0]) if bad.size else 0
            what = "a gap" if step[k] > 1.5 * dt > 0 else "unequal time steps"
            raise ValueError(
                f"{where}: {what} in trajectory {i}: row {start[i] + k + 1} comes {step[k]:.6g} s "
                f"after the row before it, the others {dt:.6g} s; resample or cut it"
            )
    given = float(np.asarray(columns.get("dt", dt)))
    if abs(given - dt) > UNEQUAL * dt:
        raise ValueError(f"{where}: dt is {given:.6g} s, but the times are {dt:.6g} s apart")
    return dt


def _refuse_not_finite(values: np.ndarray, name: str, start: np.ndarray, where: str) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if bad.size:
        row, column = bad[0]
        trajectory = int(np.searchsorted(start, row, side="right")) - 1
        raise ValueError(
            f"{where}: {name} is {values[row, column]} in row {row}, column {column} (trajectory "
            f"{trajectory}); {len(bad)} such values. Cut or fill what was not measured"
        )


def _refuse_unnormalised(
    qpos: np.ndarray, mj_model: mujoco.MjModel, start: np.ndarray, where: str
) -> None:
    shift = {int(mujoco.mjtJoint.mjJNT_FREE): 3, int(mujoco.mjtJoint.mjJNT_BALL): 0}
    for kind, address in zip(mj_model.jnt_type, mj_model.jnt_qposadr):
        if int(kind) not in shift:
            continue
        first = address + shift[int(kind)]
        norm = np.linalg.norm(qpos[:, first : first + 4], axis=1)
        bad = np.flatnonzero(np.abs(norm - 1) > NORM_ERROR)
        if bad.size:
            raise ValueError(
                f"{where}: the quaternion qpos[{first}:{first + 4}] has length "
                f"{norm[bad[0]]:.4g} in row {bad[0]}, expected 1 ({bad.size} such rows); is the "
                "order of the columns position, then w, x, y, z?"
            )


def mean_velocity(
    qpos: Float[np.ndarray, "N nq"], start: np.ndarray, mj_model: mujoco.MjModel, dt: float
) -> Float[np.ndarray, "N nv"]:
    """Mean velocity since the row before; the first row of a trajectory gets that of its second."""
    velocity = np.zeros((len(qpos), mj_model.nv))
    for k in range(1, len(qpos)):
        mujoco.mj_differentiatePos(mj_model, velocity[k], dt, qpos[k - 1], qpos[k])
    velocity[start] = velocity[start + 1]
    return velocity


def smooth_velocity(
    qpos: Float[np.ndarray, "N nq"],
    start: np.ndarray,
    length: np.ndarray,
    mj_model: mujoco.MjModel,
    dt: float,
) -> Float[np.ndarray, "N nv"]:
    """Slope of a parabola fitted to the AROUND rows around each row (Savitzky and Golay, 1964)."""
    velocity = np.zeros((len(qpos), mj_model.nv))
    for a, n in zip(start, length):
        many = min(AROUND, int(n))
        for k in range(a, a + n):
            first = min(max(k - many // 2, a), a + n - many)
            apart = np.zeros((many, mj_model.nv))
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


def _refuse_jumps(
    moved: np.ndarray, mj_model: mujoco.MjModel, start: np.ndarray, length: np.ndarray,
    dt: float, where: str,
) -> None:  # fmt: skip
    """No faster than physics or sampling allows, and not several times faster than just nearby."""
    turns = angular(mj_model)
    unit = np.where(turns, "rad/s", "m/s")
    limit = np.where(turns, 0.5 * np.pi / dt, MAX_SPEED)
    slack = np.where(turns, 0.1 * np.pi / dt, max(1.0, NO_JUMP / dt))
    for i, (a, n) in enumerate(zip(start, length)):
        speed = np.abs(moved[a + 1 : a + n])
        index = np.arange(n - 1)[:, None] + NEAR
        valid = (index >= 0) & (index < n - 1)
        nearby = np.where(valid[..., None], speed[np.clip(index, 0, n - 2)], 0.0).max(axis=1)
        for bound, why in (
            (limit, "is the unit right? Lengths are in m, angles in rad"),
            (3.0 * nearby + slack, "several times the speed just before and after; a jump?"),
        ):
            bad = np.argwhere(speed > bound)
            if bad.size:
                k, j = bad[0]
                raise ValueError(
                    f"{where}: trajectory {i} moves at {speed[k, j]:.4g} {unit[j]} in degree of "
                    f"freedom {j} between rows {a + k} and {a + k + 1}: {why}"
                )


def _refuse_other_velocity(
    qvel: np.ndarray, moved: np.ndarray, mj_model: mujoco.MjModel, start: np.ndarray, where: str
) -> None:
    """qvel must be the rate of qpos, give or take noise and impacts."""
    inner = np.setdiff1d(np.arange(len(qvel)), start)
    for name, dofs in (("linear", ~angular(mj_model)), ("angular", angular(mj_model))):
        given, found = qvel[inner][:, dofs], moved[inner][:, dofs]
        scale = np.sqrt(np.mean(found**2)) if found.size else 0.0
        apart = np.sqrt(np.mean((given - found) ** 2)) if found.size else 0.0
        if apart > DISAGREE * scale + 1e-3:
            raise ValueError(
                f"{where}: the {name} part of qvel is {apart:.3g} (root mean square) away from the "
                f"rate of qpos, {scale:.3g}; units, frame (angular velocity is in the frame of the "
                "body) or dt do not match"
            )


def cut(
    recording: Recording, chosen: Int[np.ndarray, " n"], window: int, first_only: bool = False
) -> Windows:
    """The chosen trajectories in windows of `window` predicted samples (0: one window each).

    A window begins at the last sample of the one before. A last window that is shorter than a
    quarter of the others is left out; other short ones are masked.
    """
    size = window or int(recording.length[chosen].max()) - 1
    parts = []
    for i in chosen:
        rows = np.arange(recording.rows(i).start, recording.rows(i).stop)
        for first in range(0, len(rows) - 1, size):
            ahead = rows[first + 1 : first + 1 + size]
            if first and (first_only or len(ahead) < max(2, size / 4)):
                break
            padded = np.pad(ahead, (0, size - len(ahead)), mode="edge")
            parts.append((rows[first], padded, np.arange(size) < len(ahead), i))
    begin, ahead, mask, trajectory = (np.array(x) for x in zip(*parts))
    return Windows(
        recording.qpos[begin], recording.qvel[begin], recording.qpos[ahead],
        recording.ctrl[ahead - 1], mask, trajectory,
    )  # fmt: skip
