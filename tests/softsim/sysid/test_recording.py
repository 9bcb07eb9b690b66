"""Recordings: what cannot be one is refused by name, files are read, velocities found."""

import csv
from pathlib import Path

import mujoco
import numpy as np
import pytest

from softsim import sysid
from softsim.sysid.flight import start_in_flight
from softsim.sysid.recording import divide
from softsim.sysid.tracks import complete, count_substeps, cut
from tests.softsim.sysid.models import ARM, ZOO

BOX = ZOO.split('<body name="flap"')[0] + "</body></worldbody></mujoco>"


def good(rows: int = 30) -> dict[str, np.ndarray]:
    """A box that falls without turning."""
    time = 0.02 * np.arange(rows)
    qpos = np.zeros((rows, 7))
    qpos[:, 2], qpos[:, 3] = 5.0 - 4.905 * time**2, 1.0
    return {"qpos": qpos, "dt": np.array(0.02)}


def spoil(change: str) -> dict[str, np.ndarray]:
    """The same with one thing wrong."""
    columns, qpos = good(), good()["qpos"]
    time = 0.02 * np.arange(30)
    match change:
        case "nan":
            qpos[7, 1] = np.nan
        case "norm":
            qpos[:, 3] = 0.9
        case "millimetres":
            qpos[:, :3] *= 1000
        case "jump":
            qpos[12:, 0] += 0.3
        case "gap":
            time[20:] += 0.1
        case "unequal":
            time[10] += 0.004
        case "missing":
            time[10] = np.nan
        case "columns":
            qpos = qpos[:, :6]
        case "velocity":
            columns["qvel"] = np.ones((30, 6))
        case "rows":
            columns["qvel"] = np.ones((20, 6))
        case "short":
            columns |= {"start": np.array([0]), "length": np.array([2])}
        case "outside":
            columns |= {"start": np.array([20]), "length": np.array([20])}
        case "times":
            time = time[:20]
        case "shared":
            columns |= {"start": np.array([0, 10]), "length": np.array([20, 20])}
        case "none":
            columns |= {"start": np.zeros(0, int), "length": np.zeros(0, int)}
    if change in ("gap", "unequal", "times", "missing"):
        columns["time"] = time
    return columns | {"qpos": qpos}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("nan", "trajectory 0, from row 0 on: qpos: got nan in row 7, column 1, and 1 such"),
        ("norm", r"recordings\[0\].qpos: the quaternion in columns 3 to 6 has length 0.9"),
        ("millimetres", "is the unit right"),
        ("jump", "between rows 11 and 12: several times the speed"),
        ("gap", "a gap in trajectory 0: row 20"),
        ("unequal", "unequal time steps in trajectory 0: row 10"),
        ("missing", "unequal time steps in trajectory 0: row 10"),
        ("columns", r"qpos: got shape \(30, 6\), the model needs \(30, 7\)"),
        ("velocity", "qvel: the angular part is|qvel: the linear part is"),
        ("rows", "20 rows of qvel, but 30 of qpos"),
        ("short", "trajectory 0, from row 0 on: qpos: got 2 rows, expected at least 3"),
        ("outside", "ends at row 40 of 30"),
        ("times", "20 rows of time, but 30 of qpos"),
        ("shared", "trajectories 0 and 1 share rows"),
        ("none", "there are no trajectories"),
    ],
)
def test_bad_data_is_named(change: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        complete(divide(spoil(change)), mujoco.MjModel.from_xml_string(BOX))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"qpos": np.zeros(9)}, r"qpos: got shape \(9,\), expected \(N, nq\)"),
        ({"qvel": np.zeros((8, 2))}, r"qvel: got shape \(8, 2\), expected \(9, nv\)"),
        ({"ctrl": np.zeros(9)}, r"ctrl: got shape \(9,\), expected \(9, nu\)"),
        ({"ctrl": np.full((9, 2), np.inf)}, "ctrl: got inf in row 0"),
        ({"dt": 0.0}, "dt: got 0.0, expected a positive number"),
        ({"ctrl": None}, r"recordings\[0\].ctrl: got None, .* 2 actuators, expected \(9, 2\)"),
        ({"ctrl": np.zeros((9, 1))}, r"recordings\[0\].ctrl: got shape \(9, 1\), .* \(9, 2\)"),
        ({"qvel": np.zeros((9, 3))}, r"recordings\[0\].qvel: got shape \(9, 3\), .* \(9, 2\)"),
        ({"dt": 0.012}, r"recordings\[0\].dt: got 0.012 s, which is not a whole number"),
        ({"dt": 0.002}, r"recordings\[0\].dt: got 0.002 s, which is not a whole number"),
    ],
)
def test_arguments_are_refused_by_name(arguments: dict, message: str) -> None:
    model = mujoco.MjModel.from_xml_string(ARM.format(damping=0.1, friction=0.1, mass=1))
    fine = {"qpos": np.zeros((9, 2)), "ctrl": np.zeros((9, 2)), "dt": 0.01}
    with pytest.raises(ValueError, match=message):
        complete([sysid.Recording(**fine | arguments)], model)
        count_substeps(model, (fine | arguments)["dt"])


def test_recordings_go_together() -> None:
    model = mujoco.MjModel.from_xml_string(BOX)
    one, two = (sysid.Recording(qpos=good()["qpos"], dt=dt) for dt in (0.02, 0.01))
    with pytest.raises(ValueError, match=r"recordings\[1\].dt: got 0.01 s, expected .* 0.02 s"):
        complete([one, two], model)
    for nothing, message in (([], "got none"), ([good()], "got dict, expected a Recording")):
        with pytest.raises(ValueError, match=message):
            complete(nothing, model)


def test_noise_of_positions_is_no_other_velocity() -> None:
    """At a high rate differences are mostly noise; the velocities are right all the same."""
    model = mujoco.MjModel.from_xml_string(BOX)
    time, generator = 0.002 * np.arange(500), np.random.default_rng(0)
    qpos, qvel = np.zeros((500, 7)), np.zeros((500, 6))
    qpos[:, 0], qvel[:, 0], qpos[:, 3] = np.sin(time), np.cos(time), 1.0
    qpos[:, :3] += 0.002 * generator.normal(size=(500, 3))
    fine = sysid.Recording(qpos=qpos, qvel=qvel, dt=0.002)
    np.testing.assert_array_equal(complete([fine], model)[0].qvel, qvel)
    with pytest.raises(ValueError, match="the linear part is"):
        complete([sysid.Recording(qpos=qpos, qvel=-qvel, dt=0.002)], model)


def test_files_that_are_missing_or_broken_are_named(tmp_path: Path) -> None:
    for name in ("torn.npz", "text.npz", "latin.csv"):
        (tmp_path / name).write_bytes(b"PK\x03\x04\xff" if name == "torn.npz" else b"qpos0,\xe9")
        with pytest.raises(ValueError, match=f"{name}: not readable"):
            sysid.read(tmp_path / name)
    (tmp_path / "arm.csv").write_text("time,qpos0\n0,1\n1,2,3\n")
    for name, message in (
        ("arm.csv", "line 3 has 3 fields"), ("no.csv", "there is no file"), ("a.txt", "a .npz or"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            sysid.read(str(tmp_path / name))


def test_good_data_is_read_from_both_layouts(tmp_path: Path) -> None:
    mj_model = mujoco.MjModel.from_xml_string(BOX)
    columns = good()
    np.savez(tmp_path / "fall.npz", **columns)
    with (tmp_path / "fall.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["trajectory", "time", *(f"qpos{i}" for i in range(7))])
        for k, row in enumerate(columns["qpos"]):
            writer.writerow([k // 18, 0.02 * k, *row])
    (one,), two = sysid.read(tmp_path / "fall.npz"), sysid.read(tmp_path / "fall.csv")
    np.testing.assert_array_equal(one.qpos, np.concatenate([part.qpos for part in two]))
    assert one.dt == pytest.approx(two[0].dt)
    assert [len(part.qpos) for part in two] == [18, 12]
    # without qvel the velocity is that of parabolas, which falling bodies follow
    (track,) = complete([one], mj_model)
    np.testing.assert_allclose(track.qvel[:, 2], -9.81 * 0.02 * np.arange(30), atol=1e-6)
    windows = cut([track], 10)
    assert windows.mask.sum(axis=1).tolist() == [10, 10, 9]
    np.testing.assert_array_equal(windows.qpos0[1], windows.qpos[0, -1])
    assert cut(complete(two, mj_model), 0).mask.sum(axis=1).tolist() == [17, 11]


@pytest.mark.parametrize("spin", [[2.0, -3.0, 1.0], [0.0, 0.0, 12.0]])
def test_flight_tells_the_first_velocity(spin: list[float]) -> None:
    """Noise of the recorded one does not matter, nor more than half a turn; other rows stay."""
    mj_model = mujoco.MjModel.from_xml_string(BOX)
    mj_model.body_inertia[1] = mj_model.body_inertia[1, 0]  # a steady turn
    data, rows = mujoco.MjData(mj_model), []
    data.qpos[2], data.qvel[:3], data.qvel[3:] = 5.0, [1.0, 0.2, -0.1], spin
    truth = data.qvel.copy()
    for _ in range(25):
        rows.append(np.concatenate([data.qpos, data.qvel]))
        mujoco.mj_step(mj_model, data, 4)
    qpos, qvel = np.split(np.array(rows), [7], axis=1)
    qvel[0] += 0.3
    tracks = complete([sysid.Recording(qpos=qpos, qvel=qvel, dt=0.02)], mj_model)
    (found,) = start_in_flight(tracks, mj_model, backward=False)
    np.testing.assert_allclose(found.qvel[0], truth, atol=1e-5)
    np.testing.assert_array_equal(found.qvel[1:], qvel[1:])
    np.testing.assert_array_equal(tracks[0].qvel[0], qvel[0])
