"""The sweep: any model, any input, and clear errors before anything is written."""

import json
from pathlib import Path

import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim
from experiments.compare_gradients import __main__ as compare_gradients
from experiments.compare_gradients.inputs import find_input
from experiments.compare_gradients.problem import make_problem
from experiments.compare_gradients.settings import Args
from tests.experiments.tables import read_csv

SCENE = """
<mujoco>
  <worldbody>
    <geom name="floor" type="plane" size="5 5 .1"/>
    <body name="ball" pos="0 0 .1"> <freejoint name="root"/> <geom name="ball" size=".1"/> </body>
    <body name="arm" pos="0 2 1">
      <joint name="swing" axis="0 1 0" damping=".3"/> <joint name="turn" type="ball"/>
      <geom name="rod" type="capsule" size=".02" fromto="0 0 0 .3 0 0"/>
      <site name="tip" pos=".3 0 0"/> <site name="ball"/>
    </body>
  </worldbody>
  <actuator> <motor name="push" joint="swing"/> </actuator>
  <keyframe> <key name="good"/> <key name="pushed" ctrl="0.4"/>
    <key name="bad" qpos="nan 0 .1 1 0 0 0 0 1 0 0 0"/> </keyframe>
</mujoco>
"""


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    path = tmp_path / "scene.xml"
    path.write_text(SCENE)
    return path


def test_default_run(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    args = Args(tmp_path, points=9, low=0.2, high=1.4, methods=("hard",), refine=2)
    compare_gradients.main(args)
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"metrics.json", "gradients.csv", "gradients.png"}
    rows = read_csv(tmp_path / "gradients.csv")
    gradient = np.array([float(row["hard_gradient"]) for row in rows])
    differences = np.array([float(row["differences"]) for row in rows])
    np.testing.assert_allclose(gradient, differences, rtol=1e-4, atol=1e-6)
    assert gradient[0] == 0.0  # too slow to arrive
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert any("vanishes" in text for text in metrics["findings"])
    printed = capsys.readouterr()
    assert metrics["findings"][0] in printed.out
    assert "compiling hard" in printed.err and "hard: compiled in" in printed.err
    assert metrics["unit"] == "m/s" and " m/s." in metrics["findings"][0]


@pytest.mark.slow
def test_every_method(tmp_path: Path) -> None:
    compare_gradients.main(Args(tmp_path, points=9))
    rows = read_csv(tmp_path / "gradients.csv")
    for row in rows:
        assert row["straight_through_outcome"] == row["hard_outcome"]
        assert all(np.isfinite(float(value)) for value in row.values())


@pytest.mark.parametrize(
    ("spec", "where", "index"),
    [
        ("qpos:root[2]", "qpos", 2),
        ("qpos:swing", "qpos", 7),
        ("qvel:root[5]", "qvel", 5),
        ("qvel:turn[1]", "qvel", 8),
        ("geom_friction:floor[0]", "geom_friction", (0, 0)),
        ("body_mass:ball", "body_mass", 1),
        ("dof_damping:swing", "dof_damping", 6),
        ("opt:gravity[2]", "gravity", 2),
        ("ctrl:push", "ctrl", 0),
    ],
)
def test_inputs_reach_their_place(spec: str, where: str, index: int | tuple) -> None:
    mj_model = mujoco.MjModel.from_xml_string(SCENE)
    state = (softsim.put_model(mj_model), softsim.make_data(softsim.put_model(mj_model)))
    state = (*state, jnp.zeros(1))
    m, d, ctrl = find_input(mj_model, state, spec).insert(state, jnp.array(0.625))
    places = {"ctrl": ctrl, "gravity": m.opt.gravity}
    found = places.get(where, getattr(d if where in ("qpos", "qvel") else m, where, None))
    assert found[index] == 0.625


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"input": "qvel:swung"}, "no joint named 'swung'; there is swing"),
        ({"input": "qvel"}, r"expected FIELD:NAME\[i\], such as qvel:root"),
        ({"input": "qvel:swing[1]"}, "index 1, expected 0 to 0"),
        ({"input": "geom_frction:floor"}, "no float field 'geom_frction'; there is geom_friction"),
        ({"input": "geom_friction:flor"}, "no geom named 'flor'; there is floor"),
        ({"input": "geom_friction:floor[3]"}, "index 3, expected 0 to 2"),
        ({"input": "opt:speed"}, "opt has timestep, gravity"),
        ({"body": "bal"}, "no body or site named 'bal'; there is ball"),
        ({"body": "site:tap"}, "no site named 'tap'; there is tip"),
        ({"ctrl": (1.0, 2.0)}, "--ctrl: got 2 values, the model has 1"),
        ({"keyframe": "bad"}, "keyframe bad: qpos is not finite"),
        ({"keyframe": "goods"}, "no keyframe named 'goods'; there is good"),
        ({"low": 2.0, "high": 1.0}, "expected low < high"),
    ],
)
def test_bad_input_names_itself(scene: Path, settings: dict, message: str) -> None:
    out = scene.parent / "out"
    with pytest.raises(ValueError, match=message):
        compare_gradients.main(Args(out, scene, **settings))
    assert not out.exists()


@pytest.mark.parametrize(
    ("name", "kind", "index"),
    [("ball", "body", 1), ("arm", "body", 2), ("tip", "site", 0), ("site:ball", "site", 1),
     ("", "body", 2)],
)  # fmt: skip
def test_a_body_or_a_site_is_watched(scene: Path, name: str, kind: str, index: int) -> None:
    assert make_problem(Args(model=scene, body=name)).place == (kind, index)


@pytest.mark.parametrize(
    ("settings", "ctrl"),
    [({"keyframe": "pushed"}, 0.4), ({}, 0.0), ({"keyframe": "pushed", "ctrl": (0.1,)}, 0.1)],
)
def test_controls_are_those_of_the_keyframe(scene: Path, settings: dict, ctrl: float) -> None:
    problem = make_problem(Args(model=scene, **settings))
    np.testing.assert_array_equal(problem.state[2], [ctrl])
    swept = make_problem(Args(model=scene, input="ctrl:push", **settings))
    assert swept.input.value == ctrl and swept.input.unit == "unit of control"


@pytest.mark.parametrize(
    ("spec", "unit"),
    [("qpos:root[1]", "m"), ("qpos:root[4]", "unit of the quaternion"), ("qvel:root[1]", "m/s"),
     ("qvel:root[4]", "rad/s"), ("qpos:swing", "rad"), ("body_mass:ball", "kg"),
     ("opt:gravity[2]", "m/s^2"), ("geom_friction:floor", "unit of geom_friction")],
)  # fmt: skip
def test_inputs_have_units(scene: Path, spec: str, unit: str) -> None:
    assert make_problem(Args(model=scene, input=spec)).input.unit == unit


@pytest.mark.parametrize(
    ("text", "message"),
    [("<mujoco", "XML"), ("<mujoco><wall/></mujoco>", "wall"), ("<mujoco/>", "nothing in it")],
)
def test_bad_model(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "model.xml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        make_problem(Args(model=path))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"points": 1}, "--points: got 1, expected at least 5"),
        ({"low": float("nan")}, "--low: got nan"),
        ({"weights": (1.0, float("inf"), 0.0)}, "--weights"),
        ({"methods": ()}, "--methods"),
    ],
)
def test_bad_settings_name_themselves(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Args(**settings)
