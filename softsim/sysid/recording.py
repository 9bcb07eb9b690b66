"""Recorded motion: what a user hands in, in arrays or in a file.

Units and frames are those of MuJoCo's `qpos` and `qvel`: metres, radians, quaternions w, x, y, z,
the angular velocity of a free joint in the frame of its body. Files hold several recordings:

    .npz    qpos (N, nq) and dt (s), and optionally qvel (N, nv), ctrl (N, nu), time (N,), and
            start (n,), length (n,): first row and number of rows of each of n recordings
            (without them, all rows are one). Other arrays are ignored.
    .csv    a header with qpos0, qpos1, ... and time, and optionally qvel0, ..., ctrl0, ... and
            trajectory, a number that changes where the next recording begins.
"""

import csv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

UNEQUAL = 0.01  # of a time step, by which times may differ from equal ones
LEAST = 3  # rows of a recording: velocities and their change need as many


@dataclass(frozen=True, kw_only=True, eq=False)
class Recording:
    """One stretch of motion, sampled every `dt` seconds without gaps.

    >>> import numpy as np
    >>> from softsim import sysid
    >>> time = 0.01 * np.arange(100)
    >>> fall = sysid.Recording(qpos=-4.905 * time[:, None] ** 2, dt=0.01)
    >>> fall.qpos.shape
    (100, 1)

    Attributes:
        qpos: (N, nq) positions, in the order and units of the model's `qpos`.
        dt: seconds between rows, a whole number of the model's time steps.
        qvel: (N, nv) velocities, if they were recorded.
        ctrl: (N, nu) controls, if the model has actuators: row k acts from row k to row k + 1.

    Raises:
        ValueError: shapes do not fit together, there are fewer than 3 rows, or a number is missing
            or infinite; the message names the argument.
    """

    qpos: Float[np.ndarray, "N nq"]
    dt: float
    qvel: Float[np.ndarray, "N nv"] | None = None
    ctrl: Float[np.ndarray, "N nu"] | None = None

    def __post_init__(self) -> None:
        if np.ndim(self.dt) or not 0 < float(self.dt) < np.inf:
            raise ValueError(f"dt: got {self.dt}, expected a positive number of seconds")
        object.__setattr__(self, "dt", float(self.dt))
        for name, width in (("qpos", "nq"), ("qvel", "nv"), ("ctrl", "nu")):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, self._table(name, width))
        if len(self.qpos) < LEAST:
            raise ValueError(f"qpos: got {len(self.qpos)} rows, expected at least {LEAST}")

    def _table(self, name: str, width: str) -> Float[np.ndarray, "N width"]:
        """An argument as floats of the right shape."""
        values = np.array(getattr(self, name), float)
        rows = "N" if name == "qpos" else str(len(self.qpos))
        if values.ndim != 2 or (name != "qpos" and len(values) != len(self.qpos)):
            raise ValueError(f"{name}: got shape {values.shape}, expected ({rows}, {width})")
        bad = np.argwhere(~np.isfinite(values))
        if bad.size:
            row, column = bad[0]
            raise ValueError(
                f"{name}: got {values[row, column]} in row {row}, column {column}, and {len(bad)} "
                "such values in all, expected finite ones; cut or fill what was not measured"
            )
        return values


def read(path: str | Path) -> list[Recording]:
    """The recordings in a .npz or .csv file of the layout above.

    Raises:
        ValueError: there is no such file, or it is not of that layout; the message names the
            recording and the row, counted in the file from 0 after the header.
    """
    path = Path(path)
    readers = {".npz": _read_npz, ".csv": _read_csv}
    if path.suffix not in readers:
        raise ValueError(f"path: got {path}, expected a .npz or .csv file")
    if not path.is_file():
        raise ValueError(f"path: there is no file {path}")
    try:
        columns = readers[path.suffix](path)
    except (zipfile.BadZipFile, UnicodeDecodeError, ValueError) as error:
        raise ValueError(f"{path}: not readable as {path.suffix} ({error})") from None
    try:
        return divide(columns)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def divide(columns: dict[str, np.ndarray]) -> list[Recording]:
    """Recordings from arrays in the layout of .npz; raises as `read`, without naming a file."""
    if "qpos" not in columns:
        raise ValueError(f"no qpos, only {', '.join(sorted(columns)) or 'nothing'}")
    rows = len(np.atleast_1d(columns["qpos"]))
    for name in ("time", "qvel", "ctrl"):
        if name in columns and len(np.atleast_1d(columns[name])) != rows:
            raise ValueError(f"{len(columns[name])} rows of {name}, but {rows} of qpos")
    start, length = _extent(columns, rows)
    dt = _time_step(columns, start, length)
    found = []
    for i, (first, count) in enumerate(zip(start, length)):
        parts = {
            k: columns[k][first : first + count] for k in ("qpos", "qvel", "ctrl") & columns.keys()
        }
        try:
            found.append(Recording(dt=dt, **parts))
        except ValueError as error:
            raise ValueError(f"trajectory {i}, from row {first} on: {error}") from None
    return found


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    # opened here: numpy leaves a file open that is no archive
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _read_csv(path: Path) -> dict[str, np.ndarray]:
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = [row for row in csv.reader(stream) if row]
    if len(rows) < 3:
        raise ValueError("expected a header and at least two rows")
    header, body = [name.strip() for name in rows[0]], rows[1:]
    for i, row in enumerate(body, start=2):
        if len(row) != len(header):
            raise ValueError(f"line {i} has {len(row)} fields, the header has {len(header)}")
    table = np.array([[float(x or "nan") for x in row] for row in body])
    columns = {name: table[:, i] for i, name in enumerate(header)}
    found = {}
    for field in ("qpos", "qvel", "ctrl"):
        names = [f"{field}{i}" for i in range(len(header))]
        present = [columns[name] for name in names if name in columns]
        if present:
            found[field] = np.stack(present, axis=1)
    if "time" in columns:
        found["time"] = columns["time"]
    if "trajectory" in columns:
        label = columns["trajectory"]
        found["start"] = np.flatnonzero(np.concatenate([[True], label[1:] != label[:-1]]))
    return found


def _extent(columns: dict[str, np.ndarray], rows: int) -> tuple[np.ndarray, np.ndarray]:
    """First row and number of rows of each recording, none of which share a row."""
    start = np.atleast_1d(np.asarray(columns.get("start", 0), int))
    length = np.atleast_1d(np.asarray(columns.get("length", np.diff(np.append(start, rows))), int))
    if not start.size:
        raise ValueError("start is empty, there are no trajectories")
    if start.shape != length.shape:
        raise ValueError(f"{len(start)} starts but {len(length)} lengths of trajectories")
    outside = (start < 0) | (start + length > rows)
    if outside.any():
        i = int(np.argmax(outside))
        raise ValueError(f"trajectory {i} ends at row {start[i] + length[i]} of {rows}")
    order = np.argsort(start, kind="stable")
    into = np.flatnonzero((start + length)[order][:-1] > start[order][1:])
    if into.size:
        raise ValueError(
            f"trajectories {order[into[0]]} and {order[into[0] + 1]} share rows, expected each row "
            "in one trajectory"
        )
    return start, length


def _time_step(columns: dict[str, np.ndarray], start: np.ndarray, length: np.ndarray) -> float:
    """The number dt, or that of the column of times, which must be equal steps without gaps."""
    if "time" not in columns:
        if "dt" not in columns:
            raise ValueError("neither dt nor time is given")
        if np.size(columns["dt"]) != 1:
            raise ValueError(f"dt has {np.size(columns['dt'])} numbers, expected one")
        return float(np.ravel(columns["dt"])[0])  # a Recording checks it
    time = np.asarray(columns["time"], float).ravel()
    steps = [np.diff(time[a : a + n]) for a, n in zip(start, length)]
    dt = float(np.nanmedian(np.concatenate(steps)))
    for i, step in enumerate(steps):
        bad = np.flatnonzero(~(np.abs(step - dt) <= UNEQUAL * abs(dt)))
        if bad.size or not dt > 0:
            k = int(bad[0]) if bad.size else 0
            what = "a gap" if step[k] > 1.5 * dt > 0 else "unequal time steps"
            raise ValueError(
                f"{what} in trajectory {i}: row {start[i] + k + 1} comes {step[k]:.6g} s after the "
                f"row before it, the others {dt:.6g} s; resample or cut it"
            )
    given = float(np.ravel(columns.get("dt", dt))[0])
    if abs(given - dt) > UNEQUAL * dt:
        raise ValueError(f"dt is {given:.6g} s, but the times are {dt:.6g} s apart")
    return dt
