"""Every MuJoCo feature either moves as in MuJoCo C or is refused by name."""

from pathlib import Path

import jax
import mujoco
import numpy as np
import pytest

import softsim
from tests.softsim.features import REFUSED, SUPPORTED

FAST = (
    "muscle",
    "intvelocity servo",
    "tendon spring, damper",
    "fluid drag",
    "implicitfast",
    "elliptic cone, condim 1",
    "noslip, elliptic",
)


@pytest.mark.filterwarnings("ignore:.*flex.*")
@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name):
    xml, element, feature = REFUSED[name]
    with pytest.raises(softsim.UnsupportedModelError) as error:
        softsim.put_model(mujoco.MjModel.from_xml_string(xml))
    assert element in str(error.value) and feature in str(error.value)


@pytest.mark.parametrize(
    "name", [n if n in FAST else pytest.param(n, marks=pytest.mark.slow) for n in SUPPORTED]
)
def test_moves_as_in_mujoco(name):
    mj_model = mujoco.MjModel.from_xml_string(SUPPORTED[name])
    mj_model.opt.iterations, mj_model.opt.tolerance = 50, 1e-14
    mj_data = mujoco.MjData(mj_model)
    rng = np.random.default_rng(1)
    mj_data.qvel[:] = rng.normal(size=mj_model.nv) * 0.3
    m, d = softsim.put_model(mj_model), softsim.put_data(mj_model, mj_data)
    controls = rng.uniform(0, 0.5, size=(20, mj_model.nu))
    _, trajectory = jax.jit(softsim.rollout)(m, d, controls)
    for u in controls:
        mj_data.ctrl[:] = u
        mujoco.mj_step(mj_model, mj_data)
    np.testing.assert_allclose(trajectory.qpos[-1], mj_data.qpos, rtol=1e-7, atol=1e-8)
    np.testing.assert_allclose(trajectory.qvel[-1], mj_data.qvel, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(trajectory.act[-1], mj_data.act, rtol=1e-8, atol=1e-9)


def test_several_problems_are_listed_together():
    xml = REFUSED["geom surfacevel"][0].replace("<option ", '<option integrator="implicit" ')
    with pytest.raises(softsim.UnsupportedModelError) as error:
        softsim.put_model(mujoco.MjModel.from_xml_string(xml))
    assert len(error.value.problems) == 2


def test_not_a_model():
    with pytest.raises(ValueError, match=r"mj_model: got str, expected mujoco\.MjModel"):
        softsim.put_model("scene.xml")


@pytest.mark.parametrize("name", [*SUPPORTED, *REFUSED])
def test_the_documentation_lists_it(name):
    page = Path(__file__).parents[2] / "docs" / "supported.md"
    assert f"| {name} |" in page.read_text()
