"""put_model, make_data, put_data: dtypes, and bad input named."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim

XML = """<mujoco><worldbody><body><freejoint/><geom type="box" size=".1 .1 .1"/></body></worldbody>
</mujoco>"""


def floats(tree) -> set:
    leaves = [x.dtype for x in jax.tree.leaves(tree) if isinstance(x, jax.Array)]
    return {d for d in leaves if jnp.issubdtype(d, jnp.floating)}


@pytest.mark.parametrize("x64", [True, False])
def test_one_float_dtype_throughout(x64):
    mj_model = mujoco.MjModel.from_xml_string(XML)
    with jax.enable_x64(x64):
        m = softsim.put_model(mj_model)
        wanted = {jnp.dtype("float64" if x64 else "float32")}
        assert floats(m) == floats(softsim.make_data(m)) == wanted
        assert floats(softsim.put_data(mj_model, mujoco.MjData(mj_model))) == wanted


def test_put_model_leaves_the_given_model_alone():
    mj_model = mujoco.MjModel.from_xml_string(XML)
    before = mj_model.opt.jacobian
    softsim.put_model(mj_model)
    assert mj_model.opt.jacobian == before


def test_put_data_copies_the_inputs_of_a_step():
    mj_model = mujoco.MjModel.from_xml_string(XML)
    mj_data = mujoco.MjData(mj_model)
    mj_data.qpos[:3], mj_data.qvel[:], mj_data.time = (1, 2, 3), np.arange(6), 0.5
    d = softsim.put_data(mj_model, mj_data)
    np.testing.assert_array_equal(d.qpos, mj_data.qpos)
    np.testing.assert_array_equal(d.qvel, mj_data.qvel)
    assert d.time == 0.5
    mj_data.qpos[:] = 7.0
    np.testing.assert_array_equal(d.qpos[:3], (1, 2, 3))


def test_put_data_names_what_is_not_finite():
    mj_model = mujoco.MjModel.from_xml_string(XML)
    mj_data = mujoco.MjData(mj_model)
    mj_data.qvel[4] = np.nan
    with pytest.raises(ValueError, match=r"mj_data\.qvel, entry 4, is nan"):
        softsim.put_data(mj_model, mj_data)


def test_put_data_of_another_model():
    other = mujoco.MjModel.from_xml_string("<mujoco/>")
    with pytest.raises(ValueError, match=r"mj_data\.qpos: got shape \(0,\), expected \(7,\)"):
        softsim.put_data(mujoco.MjModel.from_xml_string(XML), mujoco.MjData(other))


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: softsim.Part(-0.1, "smooth"), "softness: got -0.1"),
        (lambda: softsim.Part(float("nan"), "smooth"), "softness: got nan"),
        (lambda: softsim.Part(0.1, "soft"), "mode: got 'soft', expected one of hard, smooth"),
        (lambda: softsim.Part(skin=-1.0), "skin: got -1.0"),
        (lambda: softsim.Softening(reach=-1.0), "reach: got -1.0"),
        (lambda: softsim.Softening.soft(reach=float("nan")), "reach: got nan"),
    ],
)
def test_bad_softening(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_softness_and_reach_never_recompile():
    traces = []

    @jax.jit
    def f(softening):
        traces.append(None)
        return softening.collision.softness + softening.reach

    for softness, reach in ((0.1, 0.0), (0.2, 0.1), (1, 2)):
        f(softsim.Softening.soft(softness, reach))
    assert len(traces) == 1
