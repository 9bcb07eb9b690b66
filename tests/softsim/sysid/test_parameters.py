"""Parameters: their names, coordinates, and that what they insert reaches MuJoCo and MJCF."""

from pathlib import Path

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim
from softsim.sysid import Settings
from softsim.sysid.kinds import scale_lengths
from softsim.sysid.mjcf import last_read, pick, to_mujoco, write_mjcf
from softsim.sysid.parameters import make_table
from softsim.sysid.problem import make_problem
from tests.softsim.sysid.models import ZOO

EVERY = ("friction:box", "torsion:box", "rolling:box", "timeconst:box", "dampratio:box", "dmin:box",
         "dmax:box", "width:box", "damping:hinge", "armature:hinge", "frictionloss:hinge",
         "stiffness:hinge", "gain:motor", "gear:motor", "kp:servo", "kv:servo", "kv:brake",
         "mass:box", "moments:flap", "inertia:box", "com:flap", "axes:box", "size:box", "place:box",
         "gravity", "tilt", "geom_margin:box")  # fmt: skip


@pytest.fixture(scope="module")
def zoo() -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(ZOO)


def test_parameters_start_at_the_model_and_reach_a_file(tmp_path: Path) -> None:
    """At 0 the model is as compiled; elsewhere the written MJCF compiles to the same fields."""
    mj_model = mujoco.MjModel.from_xml_string(ZOO)
    source = last_read(mj_model)
    table, m = make_table(mj_model, EVERY), softsim.put_model(mj_model)
    fitted = jax.jit(lambda u: (pick(table.insert(m, u)), table.values(u)))
    for name, value in fitted(jnp.zeros(table.size))[0].items():
        wanted = mj_model.opt.gravity if name == "gravity" else getattr(mj_model, name)
        np.testing.assert_allclose(
            np.reshape(value, wanted.shape), wanted, rtol=1e-9, atol=1e-12, err_msg=name
        )
    leaves, values = fitted(0.1 * np.random.default_rng(0).normal(size=table.size))
    model = to_mujoco(mj_model, leaves)
    np.testing.assert_allclose(model.body_invweight0, leaves["body_invweight0"], rtol=1e-9)
    value = dict(zip(table.labels, np.asarray(values)))
    np.testing.assert_allclose(model.actuator("motor").gear[0], value["gear:motor"])
    np.testing.assert_allclose(model.actuator("motor").gainprm[0], value["gain:motor"])
    servo = [value["kp:servo"], -value["kp:servo"], -value["kv:servo"]]
    brake = [value["kv:brake"], 0, -value["kv:brake"]]
    for name, (gain, *bias) in {"servo": servo, "brake": brake}.items():
        np.testing.assert_allclose(model.actuator(name).gainprm[0], gain)
        np.testing.assert_allclose(model.actuator(name).biasprm[1:3], bias)
    for spec in (source, mujoco.MjSpec.from_string(ZOO)):
        write_mjcf(tmp_path / "fitted.xml", spec, model, tmp_path)
        written = mujoco.MjModel.from_xml_path(str(tmp_path / "fitted.xml"))
        np.testing.assert_allclose(written.body_invweight0, model.body_invweight0, rtol=1e-4)
    # a model of other elements was read since, or the model is not of this source
    assert last_read(mj_model) is not None
    ball = mujoco.MjModel.from_xml_string("<mujoco><worldbody/></mujoco>")
    assert last_read(mj_model) is None
    for other in (
        mujoco.MjSpec.from_string(
            ZOO.replace('name="hinge"', 'name="pivot"').replace('joint="hinge"', 'joint="pivot"')
        ),
        last_read(ball),
    ):
        with pytest.raises(ValueError, match="source: it"):
            write_mjcf(tmp_path / "other.xml", other, model, tmp_path)


def test_a_gain_is_in_the_bias_of_a_servo_too(zoo: mujoco.MjModel) -> None:
    m = softsim.put_model(zoo)
    for name, column in (("servo", 1), ("brake", 2)):
        table = make_table(zoo, [f"gain:{name}"])
        model = to_mujoco(zoo, pick(table.parameters[0].insert(m, jnp.array([3.0]))))
        assert model.actuator(name).gainprm[0] == 3 == -model.actuator(name).biasprm[column]


def test_length_scale_is_that_of_a_larger_world() -> None:
    """Everything with a length in its unit grows; MuJoCo C then moves the same, larger."""
    xml = ZOO.replace('damping="0.1" armature="0.02"', "").replace(
        'frictionloss="0.05" stiffness="0.3"', ""
    )
    xml = xml.split("<actuator>")[0] + "</mujoco>"
    xml = xml.replace("<freejoint", '<freejoint align="false"').replace(
        'name="box" type="box"', 'name="box" type="box" condim="6"'
    )
    model = mujoco.MjModel.from_xml_string(xml)
    scaled = scale_lengths(softsim.put_model(model), jnp.array([1.3]))
    ends = []
    for m in (model, to_mujoco(model, pick(scaled))):
        s = m.opt.gravity[2] / model.opt.gravity[2]
        data = mujoco.MjData(m)
        data.qpos[:3], data.qvel[:6] = [0, 0, 0.09 * s], [s, 0.2 * s, 0, 0.5, 1.0, 8.0]
        mujoco.mj_step(m, data, 60)
        assert data.ncon
        ends.append(data.qpos / np.where(np.arange(m.nq) < 3, s, 1.0))
    np.testing.assert_allclose(*ends, atol=1e-4)


def test_mass_and_inertia_fitted_together_are_what_they_say(zoo: mujoco.MjModel) -> None:
    """Bounds hold and inertia stays physical, wherever the coordinates go."""
    m = softsim.put_model(zoo)
    names = ("inertia:flap", "mass:flap", "mass:box", "moments:box", "friction:box", "dmax:box")
    table = make_table(zoo, names, Settings(bounds={"friction:box": (0.1, 0.6)}))
    np.testing.assert_allclose(table.values(jnp.zeros(table.size))[6], 0.4, rtol=1e-12)
    u = 3 * np.random.default_rng(0).normal(size=(20, table.size))

    def both(u):  # without the derived constants
        fitted = m
        for p, x in sorted(
            zip(table.parameters, table.split(u)), key=lambda p: p[0].name[0] != "m"
        ):
            fitted = p.insert(fitted, p.decode(x))
        return table.values(u), fitted.body_inertia, fitted.body_mass

    values, inertia, mass = map(np.asarray, jax.jit(jax.vmap(both))(u))
    value = dict(zip(table.labels, values.T))
    np.testing.assert_allclose(mass[:, 1], value["mass:box"])
    np.testing.assert_allclose(inertia[:, 2, 0], value["inertia:flap"])
    second = inertia[:, 1].sum(axis=1) / 2 - inertia[:, 1, 2]
    np.testing.assert_allclose(second, value["moments:box[2]"], rtol=1e-6)
    assert (value["friction:box"] >= 0.1).all() and (value["friction:box"] <= 0.6).all()
    assert (value["dmax:box"] > 0).all() and (value["dmax:box"] <= 1).all()
    box = inertia[:, 1]
    assert (2 * box.max(axis=1) < box.sum(axis=1) * (1 + 1e-12)).all()


def test_a_start_is_where_the_fit_starts(zoo: mujoco.MjModel) -> None:
    """Once, not on top of itself, and of friction loss also where there was none."""
    bare = mujoco.MjModel.from_xml_string(ZOO.replace('frictionloss="0.05"', ""))
    start = {"size:box": 0.2, "mass:box": 0.8, "gravity": 5.0, "frictionloss:hinge": 0.3}
    how = Settings(start=start)
    table = make_table(bare, list(start), how)
    problem = make_problem(bare, table, how, 0.005, measured=True)
    begin = jax.jit(lambda u: pick(table.insert(problem.model, u)))(jnp.zeros(table.size))
    np.testing.assert_allclose(begin["geom_size"][1], [0.2, 0.16, 0.1])
    np.testing.assert_allclose(begin["body_mass"][1], 0.8)
    np.testing.assert_allclose(begin["gravity"], [0, 0, -5])
    np.testing.assert_allclose(begin["dof_frictionloss"][6], 0.3)
    assert problem.model._impl.dof_hasfrictionloss[6]


def test_fitted_inertia_reaches_the_simulation() -> None:
    """Of a lone free body too, whose mass matrix MuJoCo computes only once."""
    xml = ZOO.split('<body name="flap"')[0] + "</body></worldbody></mujoco>"
    mj_model = mujoco.MjModel.from_xml_string(xml)
    leaves = pick(softsim.put_model(mj_model))
    leaves["body_inertia"] = leaves["body_inertia"] * 2
    turned = []
    for model in (mj_model, to_mujoco(mj_model, leaves)):
        data = mujoco.MjData(model)
        data.qpos[2], data.qfrc_applied[3] = 1.0, 0.01
        mujoco.mj_step(model, data, 10)
        turned.append(data.qvel[3])
    np.testing.assert_allclose(turned[0], 2 * turned[1], rtol=1e-6)


@pytest.mark.parametrize(
    ("names", "settings", "message"),
    [
        (["fricton:box"], {}, "'fricton:box' is of no such kind .did you mean 'friction'"),
        (["friction:bax"], {}, "'friction:bax' needs a geom: got 'bax', expected one of: .*box"),
        (["mass:motor"], {}, "there is actuator 'motor'"),
        (
            ["friction:hinge"],
            {},
            "there is joint 'hinge', and its friction is 'frictionloss:hinge'",
        ),
        (["mass:"], {}, "needs a body: got '', expected one of: world, box, flap"),
        (["damping:box"], {}, r"'damping:box' starts at 0, .*start=\{'damping:box': VALUE\}"),
        (["kp:motor"], {}, "no position servo; its gain is 'gain:motor'"),
        (["kv:motor"], {}, "no .*servo; its gain is 'gain:motor'"),
        (["gravity:box"], {}, "belongs to the world, expected 'gravity' alone"),
        (["length_scale"], {}, "not defined for a model with actuators, springs"),
        (
            ["mass:box"],
            {"bounds": {"mass:box": (0.5, 1.0)}},
            r"bounds\['mass:box'\]: .* not inside",
        ),
        (["mass:box"], {"bounds": {"mass:box": (-1.0, 1.0)}}, "not between 0 and inf"),
        (["dmax:box"], {"bounds": {"dmax:box": (0.5, 2.0)}}, "not between 0 and 1"),
        (["gear:motor"], {"bounds": {"gear:motor": (-3.0, 1.0)}}, "not between -inf and 0"),
        (["mass:box"], {"start": {"mass:bax": 1.0}}, "start: got 'mass:bax', expected one of"),
        (["com:box"], {"start": {"com:box": 1.0}}, r"start\['com:box'\]: got .* expected 3"),
        (["mass:box"], {"prior": {"mass:box": 0.0}}, r"prior\['mass:box'\]: got 0"),
        (["qpos:box"], {}, "no such kind"),
        (["jnt_range:hinge[0]"], {}, "of a field that MJCF holds"),
        (["geom_size:box[3]"], {}, "got index 3, expected 0 to 2"),
        ([], {}, "parameters: got none"),
    ],
)
def test_bad_parameters_are_named(
    zoo: mujoco.MjModel, names: list[str], settings: dict, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make_table(zoo, names, Settings(**settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise": (0.0, 1.0)}, "noise: got"),
        ({"robust": -1.0}, "robust: got -1"),
        ({"robust": float("inf")}, "expected a finite number"),
        ({"window": -1}, "window: got -1"),
        ({"stages": (0.5, 2.0)}, "stages: got"),
    ],
)
def test_bad_settings_name_themselves(settings: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**settings)
