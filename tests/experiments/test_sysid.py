"""System identification: refuses bad data, recovers what MuJoCo simulated, knows its limits."""

import csv
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim
from experiments import _run, sysid
from experiments._flight import start_in_flight
from experiments._intervals import unidentified
from experiments._mjcf import in_shape, pick, to_mujoco, write_mjcf
from experiments._parameters import make_table, scale_lengths
from experiments._refine import evolve
from experiments._sysid_report import sentences
from experiments._trajectories import cut, make_recording, read
from experiments.sysid import Args

PENDULUM = """
<mujoco model="pendulum">
  <option timestep="0.005"/>
  <worldbody>
    <body name="arm" pos="0 0 1">
      <joint name="hinge" type="hinge" axis="0 1 0" damping="{damping}" armature="0.01"/>
      <geom name="arm" type="capsule" fromto="0 0 0 0 0 -0.5" size="0.02" mass="{mass}"/>
    </body>
  </worldbody>
  <actuator> <motor name="motor" joint="hinge" gear="1"/> </actuator>
</mujoco>
"""
TRUTH = {"damping": 0.12, "mass": 0.8}
ZOO = """
<mujoco model="zoo">
  <option timestep="0.005"/>
  <worldbody>
    <geom name="floor" type="plane" size="1 1 0.1"/>
    <body name="box" pos="0 0 0.5">
      <freejoint name="box"/>
      <geom name="box" type="box" size="0.1 0.08 0.05" mass="0.4" friction="0.4 0.01 0.001"/>
      <body name="flap" pos="0.1 0 0">
        <joint name="flap" type="hinge" axis="0 1 0" damping="0.1" armature="0.02"
               frictionloss="0.05" stiffness="0.3"/>
        <geom name="flap" type="capsule" fromto="0 0 0 0.2 0 0" size="0.02" mass="0.1"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""


def swing(tmp_path: Path, name: str = "swing.npz") -> tuple[Path, Path]:
    """A model with wrong damping and mass, and swings of the right one by MuJoCo."""
    model = mujoco.MjModel.from_xml_string(PENDULUM.format(**TRUTH))
    generator = np.random.default_rng(0)
    rows, count, length = [], 6, 60
    for _ in range(count):
        data = mujoco.MjData(model)
        data.qpos[0], data.qvel[0] = generator.uniform(-2, 2), generator.uniform(-1, 1)
        for _ in range(length):
            ctrl = generator.uniform(-1, 1)
            rows.append((data.qpos[0], data.qvel[0], ctrl))
            data.ctrl[0] = ctrl
            mujoco.mj_step(model, data, 4)
    table = np.array(rows)
    arrays = {"qpos": table[:, :1], "qvel": table[:, 1:2], "ctrl": table[:, 2:]}
    arrays |= {"start": length * np.arange(count), "length": np.full(count, length)}
    path = tmp_path / name
    np.savez(path, **arrays, dt=0.02)
    xml = tmp_path / "pendulum.xml"
    xml.write_text(PENDULUM.format(damping=0.08, mass=1.1))
    return path, xml


def test_recovers_what_mujoco_simulated(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    data, xml = swing(tmp_path)
    names = ("damping:hinge", "mass:arm")
    out = tmp_path / "out"
    how = {"fit": 3, "window": 20, "velocity": "instant", "noise": (1e-5, 1e-3), "peer": True}
    how |= {"spread": 0.0, "refine": 0}
    args = Args(data, out, xml, names, **how)
    sysid.main(args)
    metrics = json.loads((out / "metrics.json").read_text())
    np.testing.assert_allclose(metrics["parameters"]["fitted"], list(TRUTH.values()), rtol=1e-4)
    np.testing.assert_allclose(metrics["parameters"]["peer"], list(TRUTH.values()), rtol=1e-4)
    assert metrics["errors_after"]["rotation_deg"]["median"] < 1e-2
    assert metrics["errors_before"]["rotation_deg"]["median"] > 1.0
    assert metrics["evaluations"] < metrics["peer"]["evaluations"]
    fitted = mujoco.MjModel.from_xml_path(str(out / "fitted.xml"))
    np.testing.assert_allclose(fitted.dof_damping[0], TRUTH["damping"], rtol=1e-4)
    files = {"metrics.json", "parameters.csv", "errors.csv", "fitted.xml", "sysid.png"}
    assert {file.name for file in out.iterdir()} == files
    assert "mass:arm" in capsys.readouterr().out


def test_what_the_data_cannot_tell_is_said(tmp_path: Path) -> None:
    """Without torque of the motor only ratios to the inertia matter."""
    data, xml = swing(tmp_path)
    with np.load(data) as file:
        still = {name: file[name] for name in file.files} | {"ctrl": 0 * file["ctrl"]}
    model = mujoco.MjModel.from_xml_string(PENDULUM.format(**TRUTH).replace('armature="0.01"', ""))
    state = mujoco.MjData(model)
    state.qpos[0] = 1.0
    for k in range(len(still["qpos"])):
        still["qpos"][k], still["qvel"][k] = state.qpos, state.qvel
        mujoco.mj_step(model, state, 4)
    del still["start"], still["length"]
    np.savez(data, **still)
    xml.write_text(xml.read_text().replace('armature="0.01"', ""))
    names = ("damping:hinge", "mass:arm")
    args = Args(data, tmp_path, xml, names, judge=0, window=20, velocity="instant", refine=0)
    mj_model = _run.load_model(xml)
    result, _ = sysid.identify(args, mj_model, read(data, mj_model))
    said = sentences(result, args.bounds, args.iterations)
    assert any("cannot tell damping:hinge, mass:arm apart" in text for text in said), said


def test_flight_tells_the_first_velocity() -> None:
    """Noise of the recorded one does not matter; other rows stay as they are."""
    mj_model = mujoco.MjModel.from_xml_path(str(sysid.MODEL))
    data = mujoco.MjData(mj_model)
    data.qpos[2], data.qvel[:] = 0.3, [1.0, 0.2, -0.1, 2.0, -3.0, 1.0]
    truth, rows = data.qvel.copy(), []
    for _ in range(60):
        rows.append(np.concatenate([data.qpos, data.qvel]))
        mujoco.mj_step(mj_model, data, 4)
    table = np.array(rows)
    table[0, 7:] += 0.3
    columns = {"qpos": table[:, :7], "qvel": table[:, 7:], "dt": np.array(1 / 148)}
    recording = make_recording(columns, mj_model)
    found = start_in_flight(recording, mj_model, backward=False)
    np.testing.assert_allclose(found.qvel[0], truth, atol=1e-6)
    np.testing.assert_array_equal(found.qvel[1:], recording.qvel[1:])
    np.testing.assert_array_equal(recording.qvel[0], table[0, 7:])


def test_evolution_finds_a_rotated_bowl() -> None:
    A = np.random.default_rng(1).normal(size=(4, 4))
    cost = lambda u: float(np.sum((A @ (u - 0.3)) ** 2))
    for best in evolve(cost, np.zeros(4), np.full(4, 0.1), seed=0):
        if best.evaluations > 1500:
            break
    np.testing.assert_allclose(best.u, 0.3, atol=1e-4)


def test_unidentified_directions() -> None:
    model = mujoco.MjModel.from_xml_string(PENDULUM.format(**TRUTH))
    table = make_table(model, ("damping:hinge", "mass:arm"), {}, {}, {}, 1.0)
    fine = unidentified(table, np.diag([1e4, 1e4]), np.eye(2))
    assert fine == []
    one = unidentified(table, np.diag([1e4, 0.0]), np.eye(2))
    assert len(one) == 1 and "mass:arm not at all" in one[0]
    alike = unidentified(table, np.diag([1e4, 1e4]), np.array([[1.0, 0.99], [0.99, 1.0]]))
    assert "hard to tell apart" in alike[0]


def test_gain_of_a_servo_is_in_its_bias_too() -> None:
    motor = '<motor name="motor" joint="hinge" gear="1"/>'
    servos = (
        '<position name="motor" joint="hinge" kp="2" kv="0.3"/>',
        '<velocity name="motor" joint="hinge" kv="2"/>',
    )
    for xml in (PENDULUM.format(**TRUTH).replace(motor, servo) for servo in servos):
        model = mujoco.MjModel.from_xml_string(xml)
        table = make_table(model, ("gain:motor",), {}, {}, {}, 1.0)
        m = table.parameters[0].insert(softsim.put_model(model), jnp.array([3.0]))
        leaves = in_shape(pick(m), model)
        expected = mujoco.MjModel.from_xml_string(xml.replace('="2"', '="3"'))
        for name in ("actuator_gainprm", "actuator_biasprm"):
            np.testing.assert_allclose(leaves[name], getattr(expected, name), rtol=1e-6)


def test_length_scale_is_that_of_a_larger_world() -> None:
    """Everything with a length in its unit grows; MuJoCo C then moves the same, larger."""
    xml = ZOO.replace('damping="0.1" armature="0.02"', "").replace(
        'frictionloss="0.05" stiffness="0.3"', ""
    )
    xml = xml.replace("<freejoint", '<freejoint align="false"').replace(
        'name="box" type="box"', 'name="box" type="box" condim="6"'
    )
    model = mujoco.MjModel.from_xml_string(xml)
    scaled = scale_lengths(softsim.put_model(model), jnp.array([1.3]))
    larger = to_mujoco(model, in_shape(pick(scaled), model))
    ends = []
    for m in (model, larger):
        s = m.opt.gravity[2] / model.opt.gravity[2]
        data = mujoco.MjData(m)
        data.qpos[:3], data.qvel[:6] = [0, 0, 0.09 * s], [s, 0.2 * s, 0, 0.5, 1.0, 8.0]
        mujoco.mj_step(m, data, 60)
        assert data.ncon
        ends.append(data.qpos / np.where(np.arange(m.nq) < 3, s, 1.0))
    np.testing.assert_allclose(*ends, atol=1e-4)


EVERY = ("friction:box", "torsion:box", "rolling:box", "timeconst:box", "dampratio:box", "dmin:box",
         "dmax:box", "width:box", "damping:flap", "armature:flap", "frictionloss:flap",
         "stiffness:flap", "mass:box", "moments:flap", "inertia:box", "com:flap", "axes:box",
         "size:box", "place:box", "gravity", "tilt", "geom_margin:box")  # fmt: skip


def test_parameters_start_at_the_model_and_reach_a_file(tmp_path: Path) -> None:
    """At 0 the model is as compiled; elsewhere the written MJCF compiles to the same fields."""
    mj_model = mujoco.MjModel.from_xml_string(ZOO)
    source = tmp_path / "zoo.xml"
    source.write_text(ZOO)
    table = make_table(mj_model, EVERY, {}, {}, {}, 1.0)
    m = softsim.put_model(mj_model)
    insert = jax.jit(lambda u: pick(table.insert(m, u)))
    for name, value in in_shape(insert(jnp.zeros(table.size)), mj_model).items():
        wanted = mj_model.opt.gravity if name == "gravity" else getattr(mj_model, name)
        np.testing.assert_allclose(value, wanted, rtol=1e-9, atol=1e-12, err_msg=name)
    u = 0.1 * np.random.default_rng(0).normal(size=table.size)
    leaves = in_shape(insert(u), mj_model)
    write_mjcf(tmp_path / "fitted.xml", source, mj_model, leaves)
    fitted = mujoco.MjModel.from_xml_path(str(tmp_path / "fitted.xml"))
    np.testing.assert_allclose(fitted.body_invweight0, leaves["body_invweight0"], rtol=1e-4)
    np.testing.assert_allclose(to_mujoco(mj_model, leaves).body_mass, fitted.body_mass, rtol=1e-5)


def test_mass_and_inertia_fitted_together_are_what_they_say() -> None:
    mj_model = mujoco.MjModel.from_xml_string(ZOO)
    m = softsim.put_model(mj_model)
    for names in (("inertia:box", "mass:box"), ("mass:box", "moments:box")):
        table = make_table(mj_model, names, {}, {}, {}, 1.0)
        u = 0.3 * jnp.arange(1, table.size + 1)
        values = dict(zip(table.labels, table.values(u)))
        fitted = jax.jit(lambda u, t=table: pick(t.insert(m, u)))(u)
        assert fitted["body_mass"][1] == pytest.approx(values["mass:box"])
        if "inertia:box" in values:
            assert fitted["body_inertia"][1, 0] == pytest.approx(values["inertia:box"])
        else:
            second = jnp.sum(fitted["body_inertia"][1]) / 2 - fitted["body_inertia"][1]
            assert second[2] == pytest.approx(values["moments:box[2]"])


def test_spin_is_right_beyond_half_a_turn() -> None:
    box = ZOO.split('<body name="flap"')[0] + "</body></worldbody></mujoco>"
    mj_model = mujoco.MjModel.from_xml_string(box)
    data = mujoco.MjData(mj_model)
    data.qpos[2], data.qvel[5] = 5.0, 12.0
    rows = []
    for _ in range(25):
        rows.append(data.qpos.copy())
        mujoco.mj_step(mj_model, data, 4)
    recording = make_recording({"qpos": np.array(rows), "dt": np.array(0.02)}, mj_model)
    found = start_in_flight(recording, mj_model, backward=False)
    np.testing.assert_allclose(found.qvel[0, 3:], [0, 0, 12.0], atol=1e-6)


def test_fitted_inertia_reaches_the_simulation() -> None:
    """Of a lone free body too, whose mass matrix MuJoCo computes only once."""
    mj_model = mujoco.MjModel.from_xml_path(str(sysid.MODEL))
    table = make_table(mj_model, ("inertia:cube",), {}, {}, {}, 1.0)
    m = softsim.put_model(mj_model)
    leaves = jax.jit(lambda u: pick(table.insert(m, u)))(jnp.log(jnp.full(1, 2.0)))
    fitted = to_mujoco(mj_model, in_shape(leaves, mj_model))
    turned = []
    for model in (mj_model, fitted):
        data = mujoco.MjData(model)
        data.qpos[2], data.qfrc_applied[3] = 1.0, 0.01
        mujoco.mj_step(model, data, 10)
        turned.append(data.qvel[3])
    np.testing.assert_allclose(turned[0], 2 * turned[1], rtol=1e-6)


def test_bounds_hold_and_inertia_stays_physical() -> None:
    mj_model = mujoco.MjModel.from_xml_string(ZOO)
    names = ("friction:box", "moments:box", "dmax:box")
    table = make_table(mj_model, names, {}, {"friction:box": (0.1, 0.6)}, {}, 1.0)
    np.testing.assert_allclose(table.values(jnp.zeros(table.size))[0], 0.4, rtol=1e-12)
    m = softsim.put_model(mj_model)
    u = 5 * np.random.default_rng(0).normal(size=(20, table.size))
    both = jax.jit(jax.vmap(lambda u: (table.values(u), table.insert(m, u).body_inertia[1])))
    values, inertia = both(u)
    assert (values[:, 0] >= 0.1).all() and (values[:, 0] <= 0.6).all()
    assert (values[:, -1] > 0).all() and (values[:, -1] <= 1).all()
    assert (2 * inertia.max(axis=1) < inertia.sum(axis=1) * (1 + 1e-12)).all()


def good() -> dict[str, np.ndarray]:
    """A box that falls without turning, 30 rows."""
    time = 0.02 * np.arange(30)
    qpos = np.zeros((30, 8))
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
        case "columns":
            qpos = qpos[:, :7]
        case "velocity":
            columns["qvel"] = np.ones((30, 7))
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
    if change in ("gap", "unequal", "times"):
        columns["time"] = time
    return columns | {"qpos": qpos}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("nan", r"qpos is nan in row 7, column 1 \(trajectory 0\)"),
        ("norm", r"quaternion qpos\[3:7\] has length 0.9"),
        ("millimetres", "is the unit right"),
        ("jump", "between rows 11 and 12: several times the speed"),
        ("gap", "a gap in trajectory 0: row 20"),
        ("unequal", "unequal time steps in trajectory 0: row 10"),
        ("columns", r"qpos has shape \(30, 7\), the model needs \(N, 8\)"),
        ("velocity", "part of qvel is"),
        ("short", "trajectory 0 has 2 rows"),
        ("outside", "ends at row 40 of 30"),
        ("times", "20 times, qpos has 30 rows"),
        ("shared", "trajectories 0 and 1 share rows"),
        ("none", "there are no trajectories"),
    ],
)
def test_bad_data_is_named(change: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_recording(spoil(change), mujoco.MjModel.from_xml_string(ZOO))


def test_controls_and_files_that_are_missing_or_broken_are_named(tmp_path: Path) -> None:
    motor = mujoco.MjModel.from_xml_string(PENDULUM.format(**TRUTH))
    with pytest.raises(ValueError, match="no ctrl, but the model has 1 actuators"):
        make_recording({"qpos": np.zeros((9, 1)), "dt": np.array(0.02)}, motor)
    for name in ("torn.npz", "text.npz", "latin.csv"):
        (tmp_path / name).write_bytes(b"PK\x03\x04\xff" if name == "torn.npz" else b"qpos0,\xe9")
        with pytest.raises(ValueError, match=f"{name}: no readable"):
            read(tmp_path / name, motor)


def test_good_data_is_read_from_both_layouts(tmp_path: Path) -> None:
    mj_model = mujoco.MjModel.from_xml_string(ZOO)
    columns = good()
    np.savez(tmp_path / "fall.npz", **columns)
    with (tmp_path / "fall.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["trajectory", "time", *(f"qpos{i}" for i in range(8))])
        for k, row in enumerate(columns["qpos"]):
            writer.writerow([k // 15, 0.02 * k, *row])
    one = read(tmp_path / "fall.npz", mj_model)
    two = read(tmp_path / "fall.csv", mj_model)
    np.testing.assert_array_equal(one.qpos, two.qpos)
    assert one.dt == pytest.approx(two.dt)
    assert two.length.tolist() == [15, 15]
    # without qvel the velocity is that of parabolas, which falling bodies follow
    fall = -9.81 * 0.02 * np.arange(30)
    np.testing.assert_allclose(one.qvel[:, 2], fall, atol=1e-6)
    windows = cut(one, np.array([0]), 10)
    assert windows.mask.sum(axis=1).tolist() == [10, 10, 9]
    np.testing.assert_array_equal(windows.qpos0[1], windows.qpos[0, -1])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"parameters": ("fricton:box",)}, "no such kind of parameter; there is friction"),
        ({"parameters": ("friction:bax",)}, "no geom named 'bax'; there is box"),
        ({"parameters": ("damping:box", "gain:motor")}, "starts at 0"),
        ({"parameters": ("gravity:box",)}, "belongs to the world"),
        ({"parameters": ("length_scale",)}, "not defined for a model with springs"),
        ({"parameters": ("mass:box",), "bounds": {"mass:box": (0.5, 1.0)}}, "is not inside"),
        ({"parameters": ("mass:box",), "bounds": {"mass:box": (-1.0, 1.0)}}, "not between 0 and"),
        ({"parameters": ("dmax:box",), "bounds": {"dmax:box": (0.5, 2.0)}}, "not between 0 and 1"),
        ({"parameters": ("mass:box",), "start": {"mass:bax": 1.0}}, "not among --parameters"),
        ({"parameters": ("qpos:box",)}, "no such kind"),
        ({"parameters": ("jnt_range:flap[0]",)}, "expected a field that can be written"),
        ({"parameters": ()}, "got none"),
    ],
)
def test_bad_parameters_are_named(settings: dict, message: str) -> None:
    mj_model = mujoco.MjModel.from_xml_string(ZOO)
    recording = make_recording(good(), mj_model)
    with pytest.raises(ValueError, match=message):
        sysid.make_problem(Args(Path("fall.npz"), **settings), mj_model, recording)


def test_samples_must_be_whole_steps() -> None:
    columns = good() | {"dt": np.array(0.021)}
    mj_model = mujoco.MjModel.from_xml_string(ZOO)
    recording = make_recording(columns, mj_model)
    with pytest.raises(ValueError, match="not a whole number"):
        sysid.make_problem(Args(Path("x.npz"), parameters=("gravity",)), mj_model, recording)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"fit": 0}, "--fit: got 0"),
        ({"noise": (0.0, 1.0)}, "--noise"),
        ({"robust": -1.0}, "--robust"),
        ({"robust": float("inf")}, "expected a finite number"),
        ({"window": -1}, "--window"),
    ],
)
def test_bad_settings_name_themselves(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Args(Path("data.npz"), **settings)
