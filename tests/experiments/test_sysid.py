"""The command of system identification, on swings that MuJoCo simulated; the fit itself is tested
in tests/softsim/sysid."""

import json
from pathlib import Path

import mujoco
import numpy as np
import pytest

from experiments import sysid
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
COUNT, LENGTH = 6, 60


def test_recovers_what_mujoco_simulated(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model, rows = mujoco.MjModel.from_xml_string(PENDULUM.format(**TRUTH)), []
    generator = np.random.default_rng(0)
    for _ in range(COUNT):
        data = mujoco.MjData(model)
        data.qpos[0], data.qvel[0] = generator.uniform(-2, 2), generator.uniform(-1, 1)
        for _ in range(LENGTH):
            data.ctrl[0] = generator.uniform(-1, 1)
            rows.append([data.qpos[0], data.qvel[0], data.ctrl[0]])
            mujoco.mj_step(model, data, 4)
    arrays = dict(zip(("qpos", "qvel", "ctrl"), np.array(rows).T[..., None]))
    arrays |= {"start": LENGTH * np.arange(COUNT), "length": np.full(COUNT, LENGTH)}
    np.savez(tmp_path / "swing.npz", **arrays, dt=0.02)
    xml, out = tmp_path / "pendulum.xml", tmp_path / "out"
    xml.write_text(PENDULUM.format(damping=0.08, mass=1.1))
    args = Args(
        data=tmp_path / "swing.npz", out=out, model=xml, parameters=("damping:hinge", "mass:arm"),
        fit=3, window=20, velocity="instant", noise=(1e-5, 1e-3), spread=0.0, peer=True,
    )  # fmt: skip
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


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"fit": 0}, "--fit: got 0"), ({"judge": -1}, "--judge"), ({"window": -1}, "window: got -1")],
)
def test_bad_settings_name_themselves(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Args(data=Path("data.npz"), **settings)
