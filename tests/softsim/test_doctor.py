"""The gradient doctor on conditions that are known: what it finds, whose, and when it is silent."""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim
from softsim import differences, doctor

# without contacts, so that one compiled program serves many states
LINKS = """<mujoco><option timestep=".002"><flag contact="disable"/></option><worldbody>
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


def state(m, upper=0.3, lower=-0.2, qvel=0.1, ctrl=0.3, slow=-0.3, act=0.2, turn=0.0):
    quat = jnp.array([np.cos(turn / 2), 0.0, np.sin(turn / 2), 0.0])
    return softsim.make_data(m).replace(
        qpos=jnp.concatenate([jnp.array([upper, lower]), quat]),
        qvel=qvel * jnp.arange(1.0, 6.0),
        ctrl=jnp.array([ctrl, slow]),
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
        ({"act": 1.0, "slow": 1.0}, "both", {"kink"}, 'actuator "slow"', "upper bound, 1"),
        ({"lower": LIMIT}, "position", {"kink", "jump nearby"}, 'joint "lower"', "1.0472"),
        (
            {"upper": LIMIT, "lower": LIMIT},
            "position",
            {"kink", "jump nearby"},
            'joint "upper"',
            "1.0472",
        ),
        ({"upper": -LIMIT}, "position", {"kink", "jump nearby"}, 'joint "upper"', "-1.0472"),
    ],
    ids=["control above", "control below", "activation", "joint above", "corner", "joint below"],
)
def test_a_bound_is_a_kink_by_name(links, condition, wrt, verdicts, named, bound) -> None:
    report = softsim.check_gradients(links, state(links, **condition))
    found = [f for f in report.findings if f.verdict not in ("ok", "zero")]
    assert found and {f.verdict for f in found} <= verdicts, str(report)
    assert {f.wrt for f in found} == ({"activation", "control"} if wrt == "both" else {wrt})
    assert all(f.where.startswith(named) for f in found), found
    assert any(named in a and bound in a for a in report.advice), report.advice


@pytest.mark.parametrize(
    ("field", "entry", "advice"),
    [
        ("dof_damping", 1, (
            "dof_damping[1] of the model is nan: give a finite value",
            "smooth forces by position is the first that is not finite: the value itself, forces "
            'of joint "lower"; look at this element',
        )),
        ("body_pos", (3, 1), ("body_pos[3][1] of the model is nan", "poses by position is the")),
    ],
)  # fmt: skip
def test_the_cause_of_a_nan_is_named(links, field: str, entry, advice: tuple[str, ...]) -> None:
    broken = links.replace(**{field: getattr(links, field).at[entry].set(jnp.nan)})
    report = softsim.check_gradients(broken, state(links))
    assert not report.healthy
    for text, start in zip(report.advice, advice, strict=True):
        assert text.startswith(start)
    assert " nan" not in str(report).split("\n\n")[0]


FAULTS: dict[str, Callable] = {
    "ok": jnp.zeros_like,
    "not finite": lambda v: jnp.sqrt(jnp.square(v)),  # |v| with a derivative of 0 / 0
    "off": lambda v: 5 * jax.lax.stop_gradient(v),
    "kink": jnp.abs,
    "jump nearby": lambda v: jnp.where(v > 0, 1.0, 0.0),
}
SLIDE = """<mujoco><worldbody><body><joint name="rail" type="slide" axis="1 0 0"/>
<geom size=".1" mass="1"/></body></worldbody></mujoco>"""


@pytest.fixture(scope="module")
def faulty() -> Iterator[Callable]:
    """A rail whose acceleration has the fault that the model's viscosity numbers, compiled once."""
    right = doctor.accelerate

    def accelerate(m, d, softening):
        d = right(m, d, softening)
        fault = jax.lax.switch(m.opt.viscosity.astype(int), list(FAULTS.values()), d.qvel)
        return d.replace(qacc=d.qacc + fault)

    def examine(verdict: str) -> softsim.Report:
        index = jnp.asarray(1.0 * list(FAULTS).index(verdict))
        return softsim.check_gradients(m.tree_replace({"opt.viscosity": index}), d)

    m = softsim.put_model(mujoco.MjModel.from_xml_string(SLIDE))
    d = softsim.make_data(m)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "accelerate", accelerate)
        yield examine


@pytest.mark.parametrize("verdict", FAULTS)
def test_planted_faults_are_told_apart(faulty: Callable, verdict: str) -> None:
    report = faulty(verdict)
    found = {(f.stage, f.wrt): f for f in report.findings}
    about = found["acceleration", "velocity"]
    assert about.verdict == ("zero" if verdict == "ok" else verdict), str(report)
    assert report.healthy == (verdict == "ok")
    if verdict != "ok":
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
        (lambda x: 1e5 * np.maximum(x, 0) ** 2, 0.0, None),  # a soft onset
        (lambda x: 1e5 * np.maximum(x, 0) ** 2, 5.0, "off"),
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
