"""The torch face: values of softjax_ops, derivatives of any order, torch.func, torch.compile."""

import functools
import inspect
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import softjax_ops as sj  # noqa: E402
import softjax_ops.torch as st  # noqa: E402

# what torch's own forward mode says of torch
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
torch.manual_seed(0)
X = torch.randn(3, 5, dtype=torch.float64)
Y = torch.randn(3, 5, dtype=torch.float64)
SOFT = ("smooth", "c0", "c1", "c2")


def from_jax(tree):
    """Arrays as tensors."""
    return [torch.from_numpy(np.array(a)) for a in (tree if isinstance(tree, tuple) else (tree,))]


def tensors(found):
    """The tensors of a result of one or several."""
    return [found] if isinstance(found, torch.Tensor) else [t for t in found if t is not None]


# name here, name in softjax_ops, numbers that follow x
ELEMENTWISE = [
    ("sigmoidal", "sigmoidal", 0), ("softrelu", "softrelu", 0), ("heaviside", "heaviside", 0),
    ("sign", "sign", 0), ("abs", "abs", 0), ("relu", "relu", 0), ("round", "round", 0),
    ("clamp", "clip", 2), ("greater", "greater", 1), ("greater_equal", "greater_equal", 1),
    ("less", "less", 1), ("less_equal", "less_equal", 1), ("eq", "equal", 1),
    ("not_equal", "not_equal", 1), ("isclose", "isclose", 1),
]  # fmt: skip
CORNERS = torch.tensor(
    [-np.inf, -1e200, -3.0, -0.5, -1e-3, -0.0, 0.0, 1e-3, 0.5, 1.5, 3.0, 1e200, np.inf, np.nan],
    dtype=torch.float64,
)


@pytest.mark.parametrize("mode", ["hard", *SOFT, "_c1_pnorm", "_c2_pnorm"])
@pytest.mark.parametrize("name, jax_name, more", ELEMENTWISE)
def test_elementwise_values_and_slopes(name, jax_name, more, mode):
    import jax

    if mode == "hard" and name in ("sigmoidal", "softrelu"):
        pytest.skip("no hard kernel")
    others = (0.25, 0.75)[:more]
    x = CORNERS.clone().requires_grad_()
    width = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    found = getattr(st, name)(x, *others, softness=width, mode=mode)
    f = lambda a, s: getattr(sj, jax_name)(a, *others, softness=s, mode=mode)
    expected, pull = jax.vjp(f, jnp.asarray(CORNERS.numpy()), jnp.asarray(0.1))
    tight = {"rtol": 1e-13, "atol": 1e-14, "equal_nan": True}
    torch.testing.assert_close(found.detach(), *from_jax(expected), **tight)
    if mode == "hard":
        return
    ends = (~CORNERS.isnan()).double()
    slopes = torch.autograd.grad((found * ends).nansum(), (x, width))
    expected = pull(jnp.asarray(ends.numpy()))
    good = ~CORNERS.isnan()
    torch.testing.assert_close(slopes[0][good], from_jax(expected)[0][good], **tight)
    assert slopes[0][good].isfinite().all()


# what is called, its namesake in softjax_ops and how arguments are called there
AXISWISE = {
    "argmax": ("argmax", {"dim": 1}, {"axis": 1}),
    "argmin": ("argmin", {"dim": None, "keepdim": True}, {"axis": None, "keepdims": True}),
    "max": ("max", {"dim": 0, "keepdim": True}, {"axis": 0, "keepdims": True}),
    "min": ("min", {"dim": None}, {"axis": None}),
    "argsort": ("argsort", {"descending": True}, {"axis": -1, "descending": True}),
    "sort": ("sort", {"dim": 0}, {"axis": 0}),
    "rank": ("rank", {"dim": -1}, {"axis": -1}),
    "topk": ("top_k", {"k": 2}, {"k": 2}),
    "argquantile": ("argquantile", {"q": [0.2, 0.7], "dim": 1}, {"q": [0.2, 0.7], "axis": 1}),
    "quantile": ("quantile", {"q": 0.3}, {"q": 0.3}),
    "percentile": ("percentile", {"p": 30.0, "dim": 0}, {"p": 30.0, "axis": 0}),
    "median": (
        "quantile", {"dim": 1}, {"q": 0.5, "axis": 1, "quantile_method": "lower"}
    ),
}  # fmt: skip
METHODS = [
    ("hard", "softsort"),
    ("smooth", "neuralsort"),
    ("c1", "softsort"),
    *(
        pytest.param(mode, method, marks=pytest.mark.slow)
        for mode, method in (
            ("smooth", "lapsum"),
            ("c0", "fast_soft_sort"),
            ("c2", "sorting_network"),
            ("smooth", "smooth_sort"),
            ("smooth", "ot"),
        )
    ),
]


@pytest.mark.parametrize("mode, method", METHODS)
@pytest.mark.parametrize("name", AXISWISE)
def test_axiswise_values_are_those_of_softjax_ops(name, mode, method):
    jax_name, ours, theirs = AXISWISE[name]
    if name.startswith("arg") and method in ("fast_soft_sort", "smooth_sort"):
        with pytest.raises(ValueError, match="method"):
            getattr(st, name)(X, **ours, mode=mode, method=method)
        return
    found = getattr(st, name)(X, **ours, mode=mode, method=method)
    expected = getattr(sj, jax_name)(jnp.asarray(X.numpy()), **theirs, mode=mode, method=method)
    first = (expected if isinstance(expected, tuple) else (expected,))[0]
    assert np.array_equal(tensors(found)[0].numpy(), np.asarray(first))


INDEXED = {"max": "argmax", "min": "argmin", "sort": "argsort", "median": "argmedian"}


@pytest.mark.parametrize("mode", ["hard", "smooth", "c2"])
@pytest.mark.parametrize("name", INDEXED)
def test_indices_are_those_of_the_arg_operators(name, mode):
    found = getattr(st, name)(X, dim=1, mode=mode)
    assert type(found) is getattr(torch.return_types, name)
    index = getattr(st, INDEXED[name])(X, dim=1, mode=mode)
    torch.testing.assert_close(found.indices, index, rtol=0, atol=0)
    if mode == "hard":
        expected = getattr(torch, name)(X, dim=1)
        torch.testing.assert_close(found.values, expected.values, rtol=0, atol=0)
        assert torch.equal(found.indices.argmax(-1), expected.indices)


@pytest.mark.parametrize("name", [*INDEXED, "topk", "quantile"])
def test_log_probabilities_of_values_with_an_index(name):
    more = {"topk": {"k": 3}, "quantile": {"q": 0.4, "return_argquantile": True}}.get(name, {})
    x, call = X[:, :4], functools.partial(getattr(st, name), dim=1, mode="c1", **more)
    (values, index), (same, logs) = call(x), call(x, return_log_probs=True)
    torch.testing.assert_close(same, values, rtol=0, atol=0)
    torch.testing.assert_close(logs.exp(), index)
    floored = call(x, return_log_probs=True, log_prob_eps=0.1)[1].exp()
    raised = index.clamp(min=0.1)
    torch.testing.assert_close(floored, raised / raised.sum(-1, keepdim=True))
    with pytest.raises(ValueError, match="return_log_probs=True"):
        call(x, log_prob_eps=0.1)
    if name in ("max", "topk"):
        assert call(x, method="fast_soft_sort", return_log_probs=True).indices is None


def test_topk_and_integers_are_those_of_torch():
    found, expected = st.topk(X, 3, mode="hard"), torch.topk(X, 3)
    assert type(found) is torch.return_types.topk
    torch.testing.assert_close(found.values, expected.values, rtol=0, atol=0)
    whole = torch.tensor([2**60 + 1, 2**60, 3])
    assert st.max(whole, mode="hard") == 2**60 + 1
    assert st.sort(torch.arange(4)).values.dtype == torch.float32
    levels = torch.tensor([0.125, 0.375, 0.5, 0.625, 0.875], dtype=torch.float64)
    torch.testing.assert_close(
        st.quantile(X, levels, dim=1, mode="hard", interpolation="nearest"),
        torch.quantile(X, levels, dim=1, interpolation="nearest"),
    )


FEW_AND_MORE = [
    "sort",
    "quantile",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("rank", "topk", "max")),
]


@pytest.mark.parametrize("mode", SOFT)
@pytest.mark.parametrize("name", FEW_AND_MORE)
def test_derivatives_of_both_modes_and_orders(name, mode):
    _, ours, _ = AXISWISE[name]
    more = {"return_indices": False} if name == "sort" else {}
    x = torch.tensor([[0.1, -0.7, 1.3], [0.4, 0.9, -1.1]], dtype=torch.float64, requires_grad=True)
    width = torch.tensor([[0.3], [0.4]], dtype=torch.float64, requires_grad=True)
    if name == "quantile" or ours.get("dim") == 0:
        width = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    f = lambda x, s: tuple(
        t for t in tensors(getattr(st, name)(x, **ours, **more, softness=s, mode=mode))
    )
    assert torch.autograd.gradcheck(f, (x, width), check_forward_ad=True)
    if mode != "c0" or name != "topk":
        assert torch.autograd.gradgradcheck(f, (x, width), atol=1e-4)


@pytest.mark.parametrize("mode", SOFT)
def test_elementwise_derivatives_of_second_order(mode):
    x = torch.tensor([-0.31, -0.02, 0.17, 0.44], dtype=torch.float64, requires_grad=True)
    s = torch.tensor(0.11, dtype=torch.float64, requires_grad=True)
    for f in (st.relu, st.sign, st.round, lambda x, s, mode: st.clamp(x, -0.2, 0.3, s, mode),
              lambda x, s, mode: st.isclose(x, 0.1, s, mode=mode)):  # fmt: skip
        g = lambda x, s, f=f: f(x, s, mode=mode)
        assert torch.autograd.gradcheck(g, (x, s), check_forward_ad=True)
        assert torch.autograd.gradgradcheck(g, (x, s), check_fwd_over_rev=True)


@pytest.mark.parametrize("mode", SOFT)
def test_a_second_derivative_of_zero_is_there(mode):
    x = torch.tensor([-0.31, 0.0, 0.17, 9.0], dtype=torch.float64, requires_grad=True)
    for f in (st.sigmoidal, st.softrelu, st.heaviside, st.sign, st.abs, st.relu, st.round,
              lambda x, **more: st.clamp(x, -0.2, 0.3, **more),
              lambda x, **more: st.greater(x, 0.1, **more)):  # fmt: skip
        (slope,) = torch.autograd.grad(f(x, mode=mode).sum(), x, create_graph=True)
        (bend,) = torch.autograd.grad(slope.sum(), x)
        assert bend.isfinite().all()


SOFT_BY_COST = ["smooth", *(pytest.param(mode, marks=pytest.mark.slow) for mode in SOFT[1:])]


@pytest.mark.parametrize("mode", SOFT_BY_COST)
def test_transforms_of_torch_func(mode):
    from torch.func import grad, hessian, jacrev, jvp, vmap

    weight = torch.arange(5.0, dtype=torch.float64)
    f = lambda x: (st.rank(x, method="softsort", mode=mode) ** 2 * weight).sum()
    rows = torch.stack([f(row) for row in X])
    torch.testing.assert_close(vmap(f)(X), rows, rtol=1e-12, atol=1e-12)
    slopes = vmap(grad(f))(X)
    torch.testing.assert_close(slopes[1], grad(f)(X[1]))
    along = jvp(f, (X[1],), (Y[1],))[1]
    torch.testing.assert_close(along, slopes[1] @ Y[1])
    H = hessian(f)(X[1])
    torch.testing.assert_close(H, H.T, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(H, jacrev(grad(f))(X[1]), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(vmap(hessian(f))(X)[1], H, rtol=1e-9, atol=1e-9)
    x = X[1].clone().requires_grad_()
    ranks = st.rank(x, method="softsort", mode=mode)
    rows = vmap(lambda c: torch.autograd.grad(ranks, x, c, retain_graph=True)[0])
    expected = jacrev(lambda x: st.rank(x, method="softsort", mode=mode))(X[1])
    torch.testing.assert_close(rows(torch.eye(5, dtype=torch.float64)), expected)


def test_compile_makes_one_graph():
    def f(x, s):
        ends = st.max(x, dim=-1, softness=s).values + st.median(x, dim=1).values
        hard = st.sort_st(x, softness=s).values + st.relu_st(x) + st.rank(x, -1, s)
        kept = st.topk(x, 2, softness=s)
        return ends.sum() + (hard * x).sum() + (kept.values * kept.indices[..., 0]).sum()

    x, s = X.clone().requires_grad_(), torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    torch._dynamo.reset()
    compiled = torch.compile(f, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x, s), f(x, s))
    slopes = torch.autograd.grad(compiled(x, s), (x, s))
    torch.testing.assert_close(slopes, torch.autograd.grad(f(x, s), (x, s)))


STRAIGHT = [
    "abs", "clamp", "heaviside", "relu", "round", "sign", "eq", "greater", "less", "isclose",
    "argmax", "max", "rank", "sort", "quantile",
]  # fmt: skip


@pytest.mark.parametrize("name", STRAIGHT)
def test_straight_through_has_hard_values_and_soft_slopes(name):
    more = {"clamp": (-0.2, 0.4), "eq": (Y,), "greater": (Y,), "less": (Y,), "isclose": (Y,)}
    more |= {"quantile": (0.4,), "max": (1,), "argmax": (1,)}
    x = (X * 0.5).requires_grad_()
    hard, soft, straight = (
        tensors(f(x, *more.get(name, ()), mode=mode))[0]
        for f, mode in (
            (getattr(st, name), "hard"),
            (getattr(st, name), "c1"),
            (getattr(st, name + "_st"), "c1"),
        )
    )
    assert torch.equal(straight, hard)
    weight = torch.randn_like(soft)
    first = [
        torch.autograd.grad((o * weight).sum(), x, create_graph=True)[0] for o in (straight, soft)
    ]
    assert torch.equal(*first)
    if first[0].requires_grad:
        second = [torch.autograd.grad(g.sum(), x, retain_graph=True)[0] for g in first]
        assert torch.equal(*second)


def test_grad_replace_and_refusals_of_st():
    f = st.grad_replace(lambda x, forward: x.round() if forward else 3 * x)
    x = torch.tensor([0.4, 1.7], requires_grad=True)
    assert torch.equal(f(x), x.round())
    assert torch.autograd.grad(f(x).sum(), x)[0].tolist() == [3.0, 3.0]
    assert st.relu_st(x, 0.1, "c0", True).tolist() == x.tolist()
    with pytest.raises(ValueError, match="must take an argument `mode`"):
        st.st(lambda x: x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_float_dtype_is_kept(dtype):
    x = X.to(dtype, copy=True).requires_grad_()
    found = st.sort(x, softness=0.3).values + st.rank(x, dim=-1) + st.relu(x)
    assert found.dtype == dtype
    found.sum().backward()
    assert x.grad.dtype == dtype and x.grad.isfinite().all()
    exact = st.sort(X, softness=0.3).values + st.rank(X, dim=-1) + st.relu(X)
    torch.testing.assert_close(found.double(), exact, rtol=8 * torch.finfo(dtype).eps, atol=0.1)


REFUSED = [
    (lambda: st.sort(X.to(torch.complex64)), "complex64"),
    (lambda: st.relu(X.to(torch.complex64)), "complex64"),
    (lambda: st.rank(X.to(torch.float8_e4m3fn)), "float8"),
    (lambda: st.sort(X, softness=0.0), "softness must be positive"),
    (lambda: st.relu(X, softness=-1.0), "softness must be positive"),
    (lambda: st.sort(X, dim=2), "out of bounds"),
    (lambda: st.sort(X, mode="c3"), "Invalid mode"),
    (lambda: st.sort(X, method="bubble"), "Invalid method"),
    (lambda: st.topk(X, 6), "exceeds dimension size 5"),
    (lambda: st.quantile(X, 1.5), r"q must be in \[0, 1\]"),
    (lambda: st.quantile(X, X), "scalar or 1-D"),
    (lambda: st.median(X, keepdim=True), "needs a dim"),
    (lambda: st.narrow(X, torch.ones(5), 6, 1), "length"),
    (lambda: st.round(X, neighbor_radius=0), "neighbor_radius"),
]


@pytest.mark.parametrize("call, message", REFUSED)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_bad_softness_in_a_tensor_is_nan_and_hard_does_not_read_it():
    bad = torch.tensor(-1.0)
    assert st.sort(X, softness=bad).values.isnan().all()
    assert st.relu(X, softness=bad).isnan().all()
    assert st.sort(X, softness=0.0, mode="hard").values.isfinite().all()


def test_selection_by_soft_indices():
    index = st.argsort(X)
    torch.testing.assert_close(st.take_along_dim(X, index, -1), st.sort(X).values)
    one = st.argmax(X[0], mode="hard")
    assert st.index_select(X, one, 1).shape == (3, 1)
    assert torch.equal(st.index_select(X, one, 1, keepdim=False), X[:, X[0].argmax()])
    start = torch.nn.functional.one_hot(torch.tensor(4), 5).double()
    assert torch.equal(st.narrow(X, start, 2, 1), X[:, 3:])
    expected = sj.take(jnp.asarray(X.numpy()), jnp.asarray(index[0].numpy()), 1)
    torch.testing.assert_close(st.take(X, index[0], 1), *from_jax(expected))
    assert torch.equal(
        st.where(torch.tensor([1.0, 0.0]), 2.0, float("inf")).isinf(), torch.tensor([False, True])
    )
    where = torch.tensor([True, True, False, True, False])
    masked = st.sort(X, where=where, softness=1e-6).values[:, :3]
    torch.testing.assert_close(masked, X[:, where].sort().values, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["sqrt", "log", "arcsin", "arccos"])
def test_safe_functions(name):
    x = torch.tensor([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    found = getattr(st, name)(x)
    torch.testing.assert_close(
        found.detach(), *from_jax(getattr(sj, name)(jnp.asarray(x.detach().numpy())))
    )
    assert torch.autograd.grad(found.sum(), x)[0].isfinite().all()
    rows = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    assert st.norm(rows, 1).tolist() == [0.0, 5.0]
    assert torch.autograd.grad(st.norm(rows, 1).sum(), rows)[0].isfinite().all()
    assert st.div(1.0, torch.tensor([0.0, 2.0])).tolist() == [0.0, 0.5]


LOGIC = ["logical_and", "logical_or", "logical_xor"]


@pytest.mark.parametrize("mean", [False, True])
def test_logic(mean):
    x, y = torch.rand(2, 3, 4, dtype=torch.float64), torch.rand(2, 3, 4, dtype=torch.float64)
    a, b = jnp.asarray(x.numpy()), jnp.asarray(y.numpy())
    for name in LOGIC:
        expected = getattr(sj, name)(a, b, use_geometric_mean=mean)
        torch.testing.assert_close(getattr(st, name)(x, y, mean), *from_jax(expected))
    for dim in (-1, 0, None, (0, 2)):
        for name in ("all", "any"):
            expected = getattr(sj, name)(a, dim, use_geometric_mean=mean)
            found = getattr(st, name)(x, dim, use_geometric_mean=mean)
            torch.testing.assert_close(found, *from_jax(expected))
    torch.testing.assert_close(st.logical_not(x), 1 - x)


def test_memory_is_never_shared():
    x = X.clone().requires_grad_()
    found = st.sort(x, return_indices=False).values
    expected, slope = found.detach().clone(), torch.autograd.grad(found.sum(), x, retain_graph=True)
    found.detach().zero_()  # torch owns it
    assert torch.equal(st.sort(x, return_indices=False).values, expected)
    assert torch.equal(torch.autograd.grad(found.sum(), x, retain_graph=True)[0], slope[0])
    with torch.no_grad():
        x.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(found.sum(), x)
    strided = torch.randn(5, 6, dtype=torch.float64)[::2, 1:].T
    assert torch.equal(st.rank(strided, 0), st.rank(strided.contiguous(), 0))


def test_threads_and_widths():
    pieces = [(X * (i + 1)).to(d) for i in range(4) for d in (torch.float32, torch.float64)]
    alone = [st.rank(p, dim=-1, softness=0.2) for p in pieces]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda p: st.rank(p, dim=-1, softness=0.2), pieces))
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(alone, together))


def test_a_forked_process_is_refused_and_torch_is_not_imported_alone():
    code = """
        import sys, warnings
        import softjax_ops
        assert "torch" not in sys.modules
        import os, torch, softjax_ops.torch as st
        st.rank(torch.ones(3, dtype=torch.float64))  # in 64 bits though jax_enable_x64 is off
        warnings.simplefilter("ignore")
        if os.fork() == 0:
            try:
                st.rank(torch.ones(3))
            except RuntimeError as error:
                print("refused:", error, flush=True)
            os._exit(0)
        os.wait()
    """
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert "refused: this process was forked" in run.stdout, run.stderr
    assert "spawn" in run.stdout


# SoftTorch 0.1.1, where it is installed: its calls, and its values but for what docs/torch.md lists

SAME = {
    "sigmoidal": SOFT, "heaviside": SOFT, "sign": SOFT, "abs": SOFT, "relu": SOFT,
    "greater": SOFT, "less": SOFT, "argmax": SOFT, "argmin": SOFT, "argsort": ("smooth",),
    "rank": ("smooth",), "argmedian": ("smooth",),
}  # fmt: skip


def test_calls_of_softtorch():
    softtorch = pytest.importorskip("softtorch")
    for name in softtorch.__all__:
        if name in ("SoftBool", "SoftIndex") or name.endswith("_st"):
            assert hasattr(st, name)
            continue
        theirs = list(inspect.signature(getattr(softtorch, name)).parameters.values())
        ours = list(inspect.signature(getattr(st, name)).parameters.values())[: len(theirs)]
        assert [(p.name, p.default) for p in ours] == [(p.name, p.default) for p in theirs], name


@pytest.mark.parametrize("name", SAME)
def test_values_of_softtorch(name):
    softtorch = pytest.importorskip("softtorch")
    more = (Y,) if name in ("greater", "less") else ()
    for mode in SAME[name] if name == "sigmoidal" else ("hard", *SAME[name]):
        found = getattr(st, name)(X, *more, mode=mode)
        expected = getattr(softtorch, name)(X, *more, mode=mode)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "method, modes", [("softsort", ("hard", *SOFT)), ("neuralsort", ("hard", "smooth"))]
)
def test_sorted_values_of_softtorch(method, modes):
    softtorch = pytest.importorskip("softtorch")
    x = torch.randn(2, 8, dtype=torch.float64)
    for mode in modes:
        more = {"mode": mode, "method": method}
        for name, arguments in (
            ("sort", {"return_indices": False}),
            ("topk", {"k": 3}),
            ("max", {"dim": 1}),
            ("median", {"dim": 1}),
        ):
            found = getattr(st, name)(x, **arguments, **more).values
            expected = getattr(softtorch, name)(x, **arguments, **more).values
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
