"""PyTorch tensors on a CUDA device: the same results there, in order, by the same memory."""

import mujoco
import pytest

torch = pytest.importorskip("torch")
if not torch.cuda.is_available():
    pytest.skip("needs a CUDA device", allow_module_level=True)

import jax  # noqa: E402

import softjax_ops.torch as st  # noqa: E402
import softsim  # noqa: E402
import softsim.torch  # noqa: E402
from softjax_ops.torch import bridge  # noqa: E402

if jax.default_backend() != "gpu":
    pytest.skip("JAX has no CUDA device", allow_module_level=True)

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
torch.manual_seed(0)
X = torch.randn(3, 5, dtype=torch.float64)
SLIDER = """<mujoco><option timestep="0.01"/><worldbody><geom type="plane" size="1 1 .1"/>
<body pos="0 0 .2"><joint name="x" type="slide" axis="1 0 0"/><joint type="slide" axis="0 0 1"/>
<geom type="sphere" size=".1" mass="1"/></body></worldbody>
<actuator><motor joint="x"/></actuator></mujoco>"""
CALLS = {
    "sort": lambda x, **how: st.sort(x, dim=-1, **how).values,
    "rank": lambda x, **how: st.rank(x, dim=0, **how),
    "argmax": lambda x, **how: st.argmax(x, dim=1, **how),
    "topk": lambda x, **how: st.topk(x, 2, **how).values,
    "quantile": lambda x, **how: st.quantile(x, 0.3, dim=1, **how),
    "clamp": lambda x, mode: st.clamp(x, -0.5, 0.5, mode=mode),
    "greater": lambda x, mode: st.greater(x, 0.1, mode=mode),
}


def value_and_slope(call, x):
    x = x.clone().requires_grad_()
    found = call(x)
    weights = torch.linspace(1, 2, found.numel(), dtype=x.dtype, device=x.device)
    (slope,) = torch.autograd.grad(found.flatten() @ weights, x)
    assert found.device == slope.device == x.device
    return found.detach().cpu(), slope.cpu()


@pytest.mark.parametrize("mode", ["smooth", "c0", "c1"])
@pytest.mark.parametrize("name", CALLS)
def test_results_are_those_of_the_cpu(name, mode):
    call = lambda x: CALLS[name](x, mode=mode)
    here, there = value_and_slope(call, X.cuda()), value_and_slope(call, X)
    torch.testing.assert_close(here, there, rtol=1e-9, atol=1e-11)
    single = value_and_slope(call, X.float().cuda())
    torch.testing.assert_close(single, tuple(a.float() for a in there), rtol=1e-3, atol=1e-4)


def test_derivatives_of_both_modes_and_orders():
    x = X.cuda().requires_grad_()
    f = lambda x: st.sort(x, dim=-1).values
    assert torch.autograd.gradcheck(f, x, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(f, x)
    each = torch.func.vmap(torch.func.grad(lambda row: st.rank(row).square().sum()))(x.detach())
    one = torch.func.grad(lambda row: st.rank(row).square().sum())(x.detach()[1])
    torch.testing.assert_close(each[1], one)
    torch._dynamo.reset()
    graph = torch.compile(f, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(graph(x), f(x))


def test_jax_reads_the_memory_of_a_tensor():
    x = torch.randn(1 << 20, device="cuda")
    with bridge._settings([x]):
        array = bridge._to_jax(x)
    assert array.unsafe_buffer_pointer() == x.data_ptr()


def test_streams_are_in_order():
    """What is queued before a call is seen by it, and later work does not change its result."""
    side, expected = torch.cuda.Stream(), None
    slow = torch.randn(4096, 4096, device="cuda")
    for _ in range(20):
        x = torch.zeros(256, 1024, device="cuda")
        torch.cuda.synchronize()
        with torch.cuda.stream(side):
            for _ in range(5):  # keeps the stream busy while Python goes on
                slow = torch.tanh(slow @ slow)
            x.copy_(torch.linspace(1, 0, 1024, device="cuda").expand_as(x))
            found = st.sort(x, dim=-1, softness=0.01).values
            x.fill_(7.0)
            again = st.sort(found, dim=-1, softness=0.01).values  # takes the memory that is free
        torch.cuda.synchronize()
        assert found.isfinite().all() and again.isfinite().all()
        expected = found if expected is None else expected
        torch.testing.assert_close(found, expected, rtol=0, atol=0)
        assert found[0, 0] < 0.1 and found[0, -1] > 0.9


def test_a_result_is_not_written_by_what_jax_does_next():
    """A result is copied out; the copy is done before JAX may use that memory again."""
    x = torch.rand(1 << 22, device="cuda")
    expected = st.sort(x.view(-1, 64), dim=-1).values
    results = [st.sort(x.view(-1, 64), dim=-1).values for _ in range(20)]
    for found in results:
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@pytest.mark.parametrize("where", ["cpu", "cuda"])
def test_the_simulator(where):
    mj_model = mujoco.MjModel.from_xml_string(SLIDER)
    simulator = softsim.torch.Simulator(mj_model, softsim.Softening.soft(), dtype=torch.float64)

    def slopes(device):
        place = {"dtype": torch.float64, "device": device, "requires_grad": True}
        qpos, qvel = torch.tensor([[0.0, -0.11], [0.1, 0.3]], **place), torch.zeros(2, **place)
        ctrl, mass = torch.full((4, 1), 0.3, **place), torch.tensor([0.0, 1.3], **place)
        path = simulator.rollout(qpos, qvel, ctrl, parameters={"body_mass": mass})
        found = torch.autograd.grad(path.qpos[:, -1].square().sum(), (qpos, qvel, ctrl, mass))
        assert {a.device.type for a in (path.qpos, *found)} == {device}
        return [path.qpos.detach().cpu(), *(a.cpu() for a in found)]

    torch.testing.assert_close(slopes(where), slopes("cpu"), rtol=1e-8, atol=1e-10)


def test_tensors_of_two_devices_are_refused():
    with pytest.raises(ValueError, match="cuda:0, cpu"):
        st.sort(X.cuda(), where=X > 0)
