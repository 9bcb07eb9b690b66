"""The simulator for PyTorch: values of softsim, derivatives of both orders, batches, the docs."""

import re
from pathlib import Path

import jax
import mujoco
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import softsim  # noqa: E402
import softsim.torch  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
DOCS = Path(__file__).parents[2] / "docs" / "torch.md"
BOUNCE = """<mujoco><option timestep="0.01"/><worldbody><geom type="plane" size="1 1 .1"/>
<body pos="0 0 .2"><joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 0 1"/>
<geom type="sphere" size=".1" mass="1"/></body></worldbody>
<actuator><motor joint="x"/><motor joint="z"/></actuator></mujoco>"""
BOUNCE = BOUNCE.replace('<joint type="slide" axis="1', '<joint name="x" type="slide" axis="1')
BOUNCE = BOUNCE.replace('<joint type="slide" axis="0', '<joint name="z" type="slide" axis="0')


def real(values, grad=True):
    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


@pytest.fixture(scope="module")
def bounce():
    mj_model = mujoco.MjModel.from_xml_string(BOUNCE)
    return softsim.torch.Simulator(mj_model, softsim.Softening.soft(), dtype=torch.float64)


def test_values_batches_and_slopes_are_those_of_softsim(bounce):
    m, soft = bounce.model, softsim.Softening.soft()
    u = 0.3 * torch.randn(4, 1, 3, 2, dtype=torch.float64)
    qpos = real([[0.0, -0.11], [0.0, -0.09], [0.1, 0.3]])
    qvel, mass = real([0.1, 0.0]), real([0.0, 1.3])
    path = bounce.rollout(qpos, qvel, u, parameters={"body_mass": mass})
    assert path.qpos.shape == (4, 3, 3, 2) and path.act.shape == (4, 3, 3, 0)
    slopes = torch.autograd.grad(path.qvel[2, 1].sum(), (qpos, qvel, mass))
    d = softsim.make_data(m)

    @jax.jit
    @jax.value_and_grad
    def expected(x):
        inside = d.replace(qpos=x[0], qvel=x[1])
        end = softsim.rollout(m.replace(body_mass=x[2]), inside, u[2, 0].numpy(), soft)[1]
        return end.qvel.sum()

    value, theirs = expected(tuple(a.detach().numpy() for a in (qpos[1], qvel, mass)))
    np.testing.assert_allclose(path.qvel[2, 1].sum().item(), value, rtol=1e-9)
    np.testing.assert_allclose(slopes[0][1].numpy(), theirs[0], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(slopes[1].numpy(), theirs[1], rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(slopes[2].numpy(), theirs[2], rtol=1e-6, atol=1e-9)
    one = bounce.step(qpos[1], qvel, u[2, 0, 0], parameters={"body_mass": mass})
    torch.testing.assert_close(one.qpos, path.qpos[2, 1, 0], rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_derivatives_of_both_modes_and_orders(bounce):
    inputs = real([0.0, -0.11]), real([0.1, 0.0]), real([[0.2, -0.1]] * 2), real([0.0, 1.3])
    f = lambda q, v, u, m: bounce.rollout(q, v, u, parameters={"body_mass": m})[:2]
    assert torch.autograd.gradcheck(f, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(f, inputs)
    g = lambda q: bounce.rollout(q, *inputs[1:3])[1].square().sum()
    H = torch.func.hessian(g)(inputs[0].detach())
    torch.testing.assert_close(H, H.T, rtol=1e-8, atol=1e-8)


def test_one_graph(bounce):
    q, v, u, m = real([0.0, -0.11]), real([0.1, 0.0]), real([[0.2, -0.1]] * 2), real([0.0, 1.3])
    f = lambda q, m: bounce.rollout(q, v, u, parameters={"body_mass": m}).qpos.square().sum()
    torch._dynamo.reset()
    graph = torch.compile(f, fullgraph=True, backend="aot_eager")
    found = torch.autograd.grad(graph(q, m), (q, m))
    torch.testing.assert_close(found, torch.autograd.grad(f(q, m), (q, m)))


REFUSED = [
    (lambda s: s.step(torch.zeros(2), torch.zeros(2)), "qpos: got dtype torch.float32"),
    (lambda s: s.step(real([0.0]), real([0.0, 0.0])), r"qpos: got shape \(1,\), expected \(..., 2"),
    (lambda s: s.step([0.0], real([0.0, 0.0]), real([0.0, 0.0]), real([])), "qpos: got list"),
    (lambda s: s.rollout(real([0.0, 0.0]), real([0.0, 0.0]), real([0.0, 0.0])), "ctrl: got shape"),
    (
        lambda s: s.step(real([0.0] * 2), real([0.0] * 2).to("meta"), real([0.0] * 2)),
        "tensors are on cpu, meta, expected one device",
    ),
    (
        lambda s: s.step(real([0.0] * 2), real([0.0] * 2), parameters={"body_weight": real([1.0])}),
        "'body_weight' is not a float array",
    ),
]


@pytest.mark.parametrize("call, message", REFUSED)
def test_refusals(bounce, call, message):
    with pytest.raises(ValueError, match=message):
        call(bounce)


BLOCKS = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_docs(block):
    assert len(block.splitlines()) < 60
    exec(compile(block, str(DOCS), "exec"), {})
