"""The gradient doctor on conditions that are known: what it finds, whose, and when it is silent."""

from collections.abc import Callable

import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim
from softsim import differences, doctor

# without contacts, so that one compiled program serves many states
LINKS = """<mujoco><option timestep=".002"/><worldbody>
<body><joint name="upper" axis="0 1 0" range="-60 60" limited="true" damping=".1"/>
<geom type="capsule" fromto="0 0 0 .3 0 0" size=".02" mass="1"/>
<body pos=".3 0 0"><joint name="lower" axis="0 1 0" range="-60 60" limited="true" damping=".1"/>
<geom type="capsule" fromto="0 0 0 .2 0 0" size=".02" mass=".5"/></body></body>
<body pos="0 1 0"><joint name="swivel" type="ball" damping=".1"/>
<geom type="box" size=".1 .05 .03" pos=".1 0 0" mass="1"/></body>
</worldbody><actuator>
<motor name="pull" joint="upper" ctrlrange="-1 1" ctrllimited="true"/>
<general name="slow" joint="lower" dyntype="filter" dynprm=".1" actlimited="true" actrange="-1 1"/>
</actuator></mujoco>"""
LIMIT = np.radians(60)


@pytest.fixture(scope="module")
def links() -> softsim.model.mjx.Model:
    return softsim.put_model(mujoco.MjModel.from_xml_string(LINKS))


def state(m, upper=0.3, lower=-0.2, qvel=0.1, ctrl=0.3, act=0.2, turn=0.0):
    quat = jnp.array([np.cos(turn / 2), 0.0, np.sin(turn / 2), 0.0])
    return softsim.make_data(m).replace(
        qpos=jnp.concatenate([jnp.array([upper, lower]), quat]),
        qvel=qvel * jnp.arange(1.0, 6.0),
        ctrl=jnp.array([ctrl, -ctrl]),
        act=jnp.array([act]),
    )


@pytest.mark.parametrize(
    "healthy",
    [
        {},
        {"upper": 0.0, "lower": 0.0, "qvel": 0.0, "ctrl": 0.0, "act": 0.0},  # rows flip, unfelt
        {"upper": LIMIT + 0.02},  # pushed beyond its limit
        {"turn": np.pi},
        {"ctrl": 1.5},  # clamped: the derivative is 0 on both sides
    ],
    ids=["generic", "rest in the middle of the ranges", "in a limit", "half a turn", "clamped"],
)
def test_nothing_is_found_where_nothing_is(links, healthy: dict) -> None:
    report = softsim.check_gradients(links, state(links, **healthy))
    assert report.healthy, str(report)
    assert not report.advice


@pytest.mark.parametrize(
    ("condition", "wrt", "verdicts", "named", "bound"),
    [
        ({"ctrl": 1.0}, "control", {"kink"}, 'actuator "pull"', "upper bound, 1"),
        ({"ctrl": -1.0}, "control", {"kink"}, 'actuator "pull"', "lower bound, -1"),
        ({"act": 1.0, "ctrl": -1.5}, "activation", {"kink"}, 'actuator "slow"', "upper bound, 1"),
        ({"lower": LIMIT}, "position", {"kink", "jump nearby"}, 'joint "lower"', "1.0472"),
        ({"upper": -LIMIT}, "position", {"kink", "jump nearby"}, 'joint "upper"', "-1.0472"),
    ],
    ids=["control above", "control below", "activation", "joint above", "joint below"],
)
def test_a_bound_is_a_kink_by_name(links, condition, wrt, verdicts, named, bound) -> None:
    report = softsim.check_gradients(links, state(links, **condition))
    found = [f for f in report.findings if f.verdict not in ("ok", "zero")]
    assert found and {f.verdict for f in found} <= verdicts, str(report)
    assert {f.wrt for f in found} == {wrt}, str(report)
    assert all(f.where.startswith(named) for f in found), found
    assert any(named in a and bound in a for a in report.advice), report.advice


@pytest.mark.parametrize(
    ("change", "first"),
    [
        (lambda m: m.replace(dof_damping=m.dof_damping.at[1].set(jnp.nan)),
         'smooth forces by position is the first that is not finite: the value itself, forces of '
         'joint "lower"'),
        (lambda m: m.replace(body_pos=m.body_pos.at[3, 1].set(jnp.inf)),
         "poses by position is the first that is not finite: the value itself, positions of body 3"),
    ],
    ids=["damping", "place"],
)  # fmt: skip
def test_the_cause_of_a_nan_is_named(links, change: Callable, first: str) -> None:
    report = softsim.check_gradients(change(links), state(links))
    assert any(a.startswith(first) for a in report.advice), report.advice
    assert "nan" not in str(report).lower().replace("not finite", "").split("- ")[0]


def planted(monkeypatch, change: Callable) -> None:
    """Another acceleration stage, compiled anew."""
    right = doctor.accelerate

    def accelerate(m, d, softening):
        d = right(m, d, softening)
        return d.replace(qacc=d.qacc + change(d))

    def compiled(m, d, softening, z):
        return doctor.jax.jacfwd(doctor._stages, 3, has_aux=True)(m, d, softening, z)

    monkeypatch.setattr(doctor, "accelerate", accelerate)
    monkeypatch.setattr(doctor, "_differentiate", doctor.jax.jit(compiled))
    evaluate = lambda m, d, s, z: doctor.jax.vmap(lambda z: doctor._stages(m, d, s, z)[0])(z)
    monkeypatch.setattr(doctor, "_evaluate", doctor.jax.jit(evaluate))


SLIDE = """<mujoco><worldbody><body><joint name="rail" type="slide" axis="1 0 0"/>
<geom size=".1" mass="1"/></body></worldbody></mujoco>"""


@pytest.mark.parametrize(
    ("fault", "verdict"),
    [
        (lambda d: jnp.sqrt(jnp.square(d.qvel)), "not finite"),  # |v| with a derivative of 0/0
        (lambda d: doctor.jax.lax.stop_gradient(5 * d.qvel), "off"),
        (lambda d: jnp.abs(d.qvel), "kink"),
        (lambda d: jnp.where(d.qvel > 0, 1.0, 0.0), "jump nearby"),
    ],
    ids=["not finite", "wrong", "kink", "jump"],
)
def test_planted_faults_are_told_apart(monkeypatch, fault: Callable, verdict: str) -> None:
    planted(monkeypatch, fault)
    m = softsim.put_model(mujoco.MjModel.from_xml_string(SLIDE))
    report = softsim.check_gradients(m, softsim.make_data(m))
    found = {(f.stage, f.wrt): f for f in report.findings}
    about = found["acceleration", "velocity"]
    assert about.verdict == verdict, str(report)
    assert about.where == 'joint "rail" (accelerations of joint "rail")'
    assert found["smooth forces", "velocity"].verdict == "zero"


@pytest.mark.parametrize(
    ("function", "slope", "kind"),
    [
        (np.sin, 1.0, None),
        (np.sin, 1.1, "off"),
        (lambda x: np.where(x > 0, 3.0, 1.0) * x, 1.0, "kink"),
        (lambda x: np.where(x > 0, 3.0, 1.0) * x, 3.0, "kink"),
        (lambda x: np.where(x > 0, 3.0, 1.0) * x, 2.0, "kink"),  # between, as of max at a tie
        (lambda x: np.where(x > 0, 3.0, 1.0) * x, 4.0, "off"),
        (lambda x: 1.0 * (x > 0), 0.0, "jump"),
        (lambda x: np.where(x > 1e-6, 3.0, 1.0) * (x - 1e-6), 1.0, "kink"),  # beside the point
        (lambda x: np.sin(400 * x) / 400, 1.0, None),  # curved within a step
        (lambda x: 1e3 + 0 * x, 0.0, None),
    ],
)  # fmt: skip
def test_differences_on_both_sides(function: Callable, slope: float, kind: str | None) -> None:
    h = 6e-6
    seen = differences.samples(function(differences.steps(1, h, np.dtype(float))))
    judged = differences.judge(np.array([[slope]]), seen, h, abs(slope), 1e-3)
    assert {k for k in ("off", "jump", "kink") if getattr(judged, k).any()} == (
        {kind} if kind else set()
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_is_no_derivative(dtype) -> None:
    """Values that do not depend on the input, but are computed from it."""
    h = float(np.finfo(dtype).eps) ** (1 / 3)
    z = differences.steps(1, h, np.dtype(dtype))
    values = ((dtype(100.3) + z) - z) * dtype(1.7)
    judged = differences.judge(np.zeros((1, 1), dtype), differences.samples(values), h, 1.0, 1e-3)
    assert judged.zero and not (judged.off | judged.kink | judged.jump).any()
