"""Constraint parameters at and beyond their bounds stand where MuJoCo C puts them, and stay finite.

One model per friction cone holds a contact of every dimension, one of an explicit pair, a limit, an
equality and friction loss, all active; a case changes parameters of them, as leaves of the model.
"""

import copy

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim

CONDIMS = {"pyramidal": (1, 3, 4, 6), "elliptic": (1, 3, 4, 6)}

_SCENE = """<mujoco>
<option timestep="0.004" cone="{cone}" iterations="100" ls_iterations="100" tolerance="1e-20"/>
<default><geom friction=".8 .02 .01"/></default>
<worldbody><geom name="floor" type="plane" size="9 9 1" condim="1" conaffinity="0"/>
  {spheres}
  <body pos="0 4 2"><joint name="a" axis="0 1 0" frictionloss=".3" limited="true" range="10 90"/>
    <geom size=".1" pos=".2 0 0" contype="0" conaffinity="0"/>
    <body pos=".4 0 0"><joint name="b" axis="0 1 0"/>
      <geom size=".1" pos=".2 0 0" contype="0" conaffinity="0"/></body></body>
</worldbody>
<equality><joint joint1="a" joint2="b" polycoef=".1 .5 0 0 0"/></equality>
<contact><pair geom1="floor" geom2="paired" condim="3" solreffriction=".03 .7"/></contact>
</mujoco>"""


def _scene(cone: str) -> mujoco.MjModel:
    spheres = [
        f'<body pos="{i} 0 .0993"><freejoint/><geom size=".1" condim="{k}" contype="0"/></body>'
        for i, k in enumerate(CONDIMS[cone])
    ]
    paired = '<geom name="paired" size=".1" contype="0" conaffinity="0"/>'
    spheres.insert(1, f'<body pos="-1 0 .0993"><freejoint/>{paired}</body>')
    return mujoco.MjModel.from_xml_string(_SCENE.format(cone=cone, spheres="".join(spheres)))


SOLREF = {
    "standard": (0.03, 0.8),
    "faster than two steps": (1e-4, 1.0),
    "no time": (0.0, 1.0),
    "no damping": (0.02, 0.0),
    "nothing": (0.0, 0.0),
    "stiffness": (-2000.0, -30.0),
    "stiffness alone": (-2000.0, 0.0),
    "damping alone": (0.0, -30.0),
    "mixed": (0.02, -30.0),
    "mixed the other way": (-2000.0, 1.0),
    "slow": (1e3, 1e3),
}
SOLIMP = {
    "no width": (0.9, 0.95, 0.0, 0.5, 2.0),
    "hardly a width": (0.9, 0.95, 1e-16, 0.5, 2.0),
    "narrow": (0.9, 0.95, 1e-12, 0.5, 2.0),
    "negative width": (0.9, 0.95, -1.0, 0.5, 2.0),
    "wide": (0.2, 0.95, 10.0, 0.5, 2.0),
    "soft onset": (0.0, 0.95, 0.002, 0.5, 2.0),
    "falling": (0.95, 0.3, 0.002, 0.5, 2.0),
    "flat": (0.7, 0.7, 0.002, 0.5, 2.0),
    "rigid": (1.0, 1.0, 0.002, 0.5, 2.0),
    "limp": (0.0, 0.0, 0.002, 0.5, 2.0),
    "beyond": (-1.0, 3.0, 0.002, 0.5, 2.0),
    "midpoint 0": (0.2, 0.95, 0.002, 0.0, 2.0),
    "midpoint 1": (0.2, 0.95, 0.002, 1.0, 2.0),
    "power 0": (0.2, 0.95, 0.002, 0.5, 0.0),
    "power 1": (0.2, 0.95, 0.002, 0.5, 1.0),
    "power 1.2": (0.2, 0.95, 0.002, 0.7, 1.2),
    "power 30": (0.2, 0.95, 0.002, 0.05, 30.0),
}
FRICTION = {
    "frictionless": (0.0, 0.0, 0.0),
    "hardly any": (1e-12, 1e-9, 1e-7),
    "no sliding": (0.0, 0.02, 0.01),
    "no torsion": (0.8, 0.0, 0.0),
    "much": (20.0, 5.0, 5.0),
}
SOLMIX = {"of one": (0.0, 1.0), "of the other": (1.0, 0.0), "of none": (0.0, 0.0),
    "hardly": (1e-16, 1e-17), "small": (1e-14, 3e-14), "uneven": (0.2, 3.0)}  # fmt: skip
IMPRATIO = {"0.01": 0.01, "10": 10.0, "1000": 1000.0}
MARGIN = {"both": (0.01, 0.02), "none needed": (0.0, 0.0)}

_REF = ("geom_solref", "jnt_solref", "dof_solref", "eq_solref")
_IMP = ("geom_solimp", "jnt_solimp", "dof_solimp", "eq_solimp")
_PAIR = ("pair_solref", "pair_solreffriction", "pair_solimp", "pair_friction", "pair_margin")
FLOATS = (*_REF, *_IMP, *_PAIR, "geom_friction", "geom_solmix", "geom_margin", "impratio")


def _cases(mj_model: mujoco.MjModel) -> dict[str, mujoco.MjModel]:
    """The model with each set of parameters; geom 0 is the plane."""
    cases = {}

    def case(name: str, **fields) -> None:
        made = copy.copy(mj_model)
        for field, value in fields.items():
            if field == "impratio":
                made.opt.impratio = value
            else:
                getattr(made, field)[:] = value
        cases[name] = made

    def geoms(field: str, plane, others) -> np.ndarray:
        value = getattr(mj_model, field).copy()
        value[:1], value[1:] = plane, others
        return value

    case("as it is")
    for name, ref in SOLREF.items():
        case(f"solref {name}", **{field: ref for field in _REF})
        case(f"solref {name}, ball only", geom_solref=geoms("geom_solref", (0.02, 1.0), ref))
    for name, imp in SOLIMP.items():
        case(f"solimp {name}", **{field: imp for field in _IMP})
        case(
            f"solimp {name}, plane only",
            geom_solimp=geoms("geom_solimp", imp, (0.5, 0.9, 0.001, 0.5, 2)),
        )
    for name, friction in FRICTION.items():
        case(f"friction {name}", geom_friction=friction)
    for name, (plane, ball) in SOLMIX.items():
        case(
            f"solmix {name}",
            geom_solmix=geoms("geom_solmix", plane, ball),
            geom_solref=geoms("geom_solref", (0.05, 0.5), (0.02, 1.0)),
            geom_solimp=geoms("geom_solimp", (0.5, 0.6, 0.01, 0.3, 3), (0.9, 0.95, 0.001, 0.5, 2)),
        )
    for name, impratio in IMPRATIO.items():
        case(f"impratio {name}", impratio=impratio)
        case(f"impratio {name}, no friction", impratio=impratio, geom_friction=0.0)
    for name, ref in SOLREF.items():
        case(f"pair solreffriction {name}", pair_solreffriction=ref)
        case(f"pair solref {name}", pair_solref=ref)
    case("pair solref both direct", pair_solref=(-2e3, -30.0), pair_solreffriction=(-500.0, -9.0))
    for name, imp in SOLIMP.items():
        case(f"pair solimp {name}", pair_solimp=imp)
    case("pair friction uneven", pair_friction=(0.8, 0.1, 0.02, 0.01, 0.001))
    case("pair friction none", pair_friction=0.0)
    for name, (plane, ball) in MARGIN.items():
        case(f"margin {name}", geom_margin=geoms("geom_margin", plane, ball))
    return cases


def _parameters(mj_model: mujoco.MjModel) -> dict[str, np.ndarray]:
    value = lambda f: mj_model.opt.impratio if f == "impratio" else getattr(mj_model, f)
    return {field: np.array(value(field)) for field in FLOATS}


def _replace(m, parameters: dict):
    leaves = dict(parameters)
    return m.replace(opt=m.opt.replace(impratio=leaves.pop("impratio")), **leaves)


def _accelerate(mj_model: mujoco.MjModel):
    """Rows and acceleration as a function of the parameters, at a state with velocity."""
    m = softsim.put_model(mj_model)
    d = softsim.make_data(m)
    qvel = 0.3 * np.random.default_rng(0).normal(size=m.nv)
    qvel[2:-2:6] = -0.1
    d = d.replace(qvel=jnp.asarray(qvel, d.qvel.dtype))

    def run(parameters: dict):
        y = softsim.forward(_replace(m, parameters), d)
        return y._impl.efc_D, y._impl.efc_aref, y.qacc

    return run, qvel


def _stacked(cases: dict[str, mujoco.MjModel]) -> dict:
    tables = [_parameters(case) for case in cases.values()]
    return {f: jnp.asarray(np.stack([t[f] for t in tables])) for f in FLOATS}


@pytest.mark.parametrize("cone", ["pyramidal", "elliptic"])
def test_rows_and_acceleration_are_those_of_mujoco(cone):
    mj_model = _scene(cone)
    cases = _cases(mj_model)
    run, qvel = _accelerate(mj_model)
    got = jax.jit(jax.vmap(run))(_stacked(cases))
    wrong = []
    for name, case, *mine in zip(cases, cases.values(), *map(np.asarray, got)):
        data = mujoco.MjData(case)
        data.qvel[:] = qvel
        mujoco.mj_forward(case, data)
        for what, value, want in zip(
            ("D", "aref", "qacc"), mine, (data.efc_D, data.efc_aref, data.qacc)
        ):
            scale = np.maximum(np.abs(want), 1e-4 * np.abs(want).max() + 1e-30)
            error = np.abs(value - want) / scale
            if not error.max() < (1e-10 if what != "qacc" else 1e-5):
                wrong.append(f"{name}: {what} is {error.max():.1e} off")
    assert not wrong, "\n".join(wrong)


_slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("cone", "double"),
    [
        ("elliptic", False),
        pytest.param("elliptic", True, marks=_slow),
        pytest.param("pyramidal", False, marks=_slow),
        pytest.param("pyramidal", True, marks=_slow),
    ],
)
def test_gradients_are_finite(cone, double):
    mj_model = _scene(cone)
    cases = _cases(mj_model)
    with jax.enable_x64(double):
        run, _ = _accelerate(mj_model)
        grad = jax.jit(jax.vmap(jax.value_and_grad(lambda p: jnp.sum(run(p)[2]))))
        value, gradient = grad(_stacked(cases))
    for i, name in enumerate(cases):
        assert np.isfinite(value[i]), name
        bad = [f for f in FLOATS if not np.isfinite(gradient[f][i]).all()]
        assert not bad, f"{name}: the derivative by {', '.join(bad)} is not finite"
