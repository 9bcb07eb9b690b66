"""From PyTorch to JAX and back: one primitive through which a JAX program becomes a torch function.

A program is a JAX function of arrays that returns a tuple of arrays. It is named by a key, a string
that says how to make it: `<source>:<text>`, followed by what was derived from it:

| derivation       | program                                                                    |
|------------------|----------------------------------------------------------------------------|
| pullback:101     | (inputs, cotangents of float outputs) -> gradients of the inputs marked 1  |
| pushforward:101  | (inputs, tangents of the inputs marked 1) -> tangents of float outputs     |
| vmap:0,-,1       | the program over a batch axis of each input, - for none; outputs: axis 0   |

Programs are closed under these, so derivatives of any order and batches of derivatives are again
programs: the torch rules below only name them. A key means the same in every process, so compiled
torch graphs may be kept on disk. JAX compiles a program once per shape and dtype.

Eager code goes through `torch.autograd.Function`, which knows reverse and forward mode and vmap;
code under `torch.compile` through a custom operator, which makes whole graphs but has no forward
mode. A plain backward pass reuses what the forward pass computed; a differentiable one
(`create_graph`, `torch.func`) computes it again.

Tensors are handed over without a copy where the memory is aligned (by DLPack, by NumPy on the CPU);
results are copied out, so that torch may write to them. A call returns when JAX is done with the
memory of its arguments. Programs with a 64-bit argument run in 64 bits, others in 32, whatever
`jax_enable_x64` says.
"""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.interpreters import ad

Function = Callable[..., tuple[jax.Array, ...]]

SOURCES: dict[str, Callable[[str], Function]] = {}
"""What makes the function of a key `<source>:<text>` from its text."""

TOGETHER: set[str] = set()
"""Sources whose outputs one loop computes: its backward pass is that of all of them, and JAX cannot
transpose a scan that has no cotangent for some."""

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_WIDE = (torch.float64, torch.int64)
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in _FLOATS + _INTEGERS}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class Program:
    """A JAX function of arrays, compiled in the forms that torch asks for.

    Attributes:
        function: what is computed.
        made: how it was derived: the rule, from which program, and the detail; None for a source.
    """

    def __init__(self, function: Function, made: "tuple[str, Program, str] | None" = None) -> None:
        self.function, self.made = function, made
        self._compiled: dict[str, Any] = {}

    def compiled(self, mask: str) -> Any:
        """Compiled (outputs, pullback to the inputs marked in `mask`); a pullback is data.

        Without a mark it is None.
        """

        def record(*arrays: jax.Array) -> tuple:
            if "1" not in mask:
                return self.function(*arrays), None
            chosen, inputs = _chosen(self.function, mask, arrays)
            found: Any = jax.vjp(chosen, *inputs, has_aux=True)
            return found[2], found[1]  # all outputs, the pullback of the float ones

        if mask not in self._compiled:
            self._compiled.setdefault(mask, jax.jit(record))
        return self._compiled[mask]


@partial(jax.jit, static_argnums=2)
def _pull(pullback: Callable, cotangents: Sequence[jax.Array], absent: Sequence) -> tuple:
    """The gradients of one recorded call, for the outputs that something was computed from.

    Args:
        pullback: of all float outputs.
        cotangents: of the outputs that were used.
        absent: for each output None if it was used, else its shape and dtype: nothing is
            computed for it, where a cotangent of zeros would pass through everything.
    """
    given = iter(cotangents)
    full = [next(given) if a is None else ad.Zero(jax.typeof(jnp.zeros(*a))) for a in absent]
    return pullback(tuple(full)), None


_PROGRAMS: dict[str, Program] = {}


def program(key: str) -> Program:
    """The program that a key names; made on first use."""
    if key not in _PROGRAMS:
        parent, bar, how = key.rpartition("|")
        if bar:
            known, (rule, _, detail) = program(parent), how.partition(":")
            found = Program(_DERIVATIONS[rule](known, detail), (rule, known, detail))
        else:
            source, _, text = key.partition(":")
            found = Program(SOURCES[source](text))
        _PROGRAMS.setdefault(key, found)  # another thread may have been first
    return _PROGRAMS[key]


def _chosen(
    function: Function, mask: str, arrays: Sequence[jax.Array]
) -> tuple[Callable[..., tuple], list[jax.Array]]:
    """(float outputs, all outputs) as a function of the inputs marked in `mask`, and those."""

    def chosen(*marked: jax.Array) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
        given = iter(marked)
        outputs = function(*(next(given) if c == "1" else a for a, c in zip(arrays, mask)))
        return tuple(o for o in outputs if jnp.issubdtype(o.dtype, jnp.floating)), outputs

    return chosen, [a for a, c in zip(arrays, mask) if c == "1"]


def _pullback(source: Program, mask: str) -> Function:
    function = source.function
    if source.made is not None:
        rule, parent, detail = source.made
        if rule == "pullback":
            return _second_pullback(parent.function, detail, mask)
        if rule == "vmap" and parent.made is not None:
            return _pullback_of_batch(parent, detail, mask)

    def pulled(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        chosen, inputs = _chosen(function, mask, arrays[: len(mask)])
        return jax.vjp(chosen, *inputs, has_aux=True)[1](arrays[len(mask) :])

    return pulled


def _second_pullback(function: Function, first: str, mask: str) -> Function:
    """Forward over reverse: the pullback of (x, c) -> J(x)' c at a cotangent w.

    With respect to c it is J(x) w. With respect to x it is the derivative of <J(x) w, c>, and as
    second derivatives are symmetric, that is how J(x)' c changes along w. Reverse over reverse
    would cost more, and does not exist where a program iterates.
    """
    n = len(first)

    def pulled(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        inputs, cotangents, along = arrays[:n], arrays[n : len(mask)], arrays[len(mask) :]

        def gradient(*marked: jax.Array) -> tuple[tuple, tuple]:
            given = iter(marked)
            full = [next(given) if c == "1" else a for a, c in zip(inputs, first)]
            chosen, wanted = _chosen(function, mask[:n], full)
            if not wanted:
                return chosen()[0], ()
            found: Any = jax.vjp(chosen, *wanted, has_aux=True)
            return found[0], found[1](cotangents)

        marked = [a for a, c in zip(inputs, first) if c == "1"]
        _, (pushed, turned) = jax.jvp(gradient, marked, list(along))
        return *turned, *(t for t, c in zip(pushed, mask[n:]) if c == "1")

    return pulled


def _pullback_of_batch(source: Program, detail: str, mask: str) -> Function:
    """The pullback of a batch, as the batch of pullbacks: summed for what the batch shares."""
    axes = _axes(detail)
    one = _pullback(source, mask)

    def pulled(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        given = (*axes, *(0 for _ in arrays[len(mask) :]))
        found = jax.vmap(one, in_axes=given)(*arrays)
        places = [axis for axis, c in zip(axes, mask) if c == "1"]
        return tuple(
            g.sum(0) if axis is None else jnp.moveaxis(g, 0, axis) for g, axis in zip(found, places)
        )

    return pulled


def _pushforward(source: Program, mask: str) -> Function:
    def pushed(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        chosen, inputs = _chosen(source.function, mask, arrays[: len(mask)])
        return jax.jvp(chosen, inputs, list(arrays[len(mask) :]), has_aux=True)[1]

    return pushed


def _axes(detail: str) -> list[int | None]:
    return [None if axis == "-" else int(axis) for axis in detail.split(",")]


def _vmap(source: Program, detail: str) -> Function:
    return jax.vmap(source.function, in_axes=_axes(detail))


_DERIVATIONS: dict[str, Callable[[Program, str], Function]] = {
    "pullback": _pullback,
    "pushforward": _pushforward,
    "vmap": _vmap,
}

_started_in: int | None = None


def _check_process() -> None:
    """Refuse a process that was forked after JAX had started here: its threads are gone."""
    global _started_in
    if _started_in is None:
        _started_in = os.getpid()
    if _started_in != os.getpid():
        raise RuntimeError(
            "this process was forked after JAX had started in its parent, and would hang; start "
            'workers by "spawn" (DataLoader(..., multiprocessing_context="spawn")), or call soft '
            "operators outside of them"
        )


def _by_numpy(tensor: torch.Tensor) -> bool:
    """Whether NumPy, on the CPU several times faster than DLPack, knows the tensor."""
    return tensor.device.type == "cpu" and tensor.dtype != torch.bfloat16


def _to_jax(tensor: torch.Tensor) -> Any:
    tensor = tensor.detach()
    if _by_numpy(tensor):
        return tensor.numpy()
    try:
        return jax.dlpack.from_dlpack(tensor.contiguous())
    except RuntimeError as error:
        raise RuntimeError(
            f"JAX cannot read a tensor on {tensor.device}: its devices are {jax.devices()}; "
            "install jax for that device (softsim[cuda]) or move the tensor to the CPU"
        ) from error


def check_dtype(name: str, tensor: torch.Tensor) -> None:
    """Raise a ValueError that names a dtype which JAX or the soft operators do not know."""
    if tensor.dtype not in _DTYPES.values():
        raise ValueError(f"{name}: got dtype {tensor.dtype}, expected a real float or an integer")


@contextlib.contextmanager
def _settings(tensors: Sequence[torch.Tensor]) -> Iterator[None]:
    """JAX in the width of the tensors, on their device."""
    on_cpu = tensors[0].device.type == "cpu" and jax.default_backend() != "cpu"
    device = jax.default_device(jax.devices("cpu")[0]) if on_cpu else contextlib.nullcontext()
    with jax.enable_x64(any(t.dtype in _WIDE for t in tensors)), device:
        yield


def _run(compiled: Callable, tensors: Sequence[torch.Tensor]) -> tuple[tuple, Any]:
    """The first output of compiled code as tensors, which own their memory, and the other one."""
    _check_process()
    with _settings(tensors):
        arrays, other = jax.block_until_ready(compiled(*map(_to_jax, tensors)))
    if tensors[0].device.type == "cpu":
        return tuple(map(_from_host, arrays)), other
    outputs = tuple(torch.from_dlpack(a).clone() for a in arrays)
    if tensors[0].device.type == "cuda":  # JAX may use the memory again once `arrays` are gone
        torch.cuda.current_stream(tensors[0].device).synchronize()
    return outputs, other


def _from_host(array: jax.Array) -> torch.Tensor:
    if array.dtype == jnp.bfloat16:
        return torch.from_dlpack(array).clone()
    return torch.from_numpy(np.array(array))


class _Call:
    """One call of a program: its key, and the pullback if the forward pass was to keep it."""

    def __init__(self, key: str, mask: str) -> None:
        self.key, self.mask, self.pullback = key, mask, None

    def forward(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        outputs, self.pullback = _run(program(self.key).compiled(self.mask), tensors)
        return outputs

    def backward(
        self,
        mask: str,
        tensors: Sequence[torch.Tensor],
        outputs: Sequence[tuple[torch.Size, torch.dtype]],
        grads: Sequence[torch.Tensor | None],
    ) -> tuple[torch.Tensor, ...]:
        """Gradients of the inputs marked in `mask`; a cotangent of None is zero."""
        derived = torch.is_grad_enabled() or torch._C._are_functorch_transforms_active()
        if self.key.partition(":")[0] in TOGETHER:
            grads = _filled(grads, outputs, tensors[0].device)
        used = [g for g in grads if g is not None]
        if derived or not used or self.pullback is None or mask != self.mask:
            full = _filled(grads, outputs, tensors[0].device)
            return call(f"{self.key}|pullback:{mask}", *tensors, *full)
        absent = tuple(
            (tuple(shape), _NAMES[dtype]) if g is None else None
            for g, (shape, dtype) in zip(grads, outputs)
        )
        return _run(lambda *given: _pull(self.pullback, given, absent), used)[0]


def _filled(
    grads: Sequence[torch.Tensor | None],
    outputs: Sequence[tuple[torch.Size, torch.dtype]],
    device: torch.device,
) -> list[torch.Tensor]:
    """Cotangents, zeros where there is none."""
    return [
        torch.zeros(shape, dtype=dtype, device=device) if g is None else g
        for g, (shape, dtype) in zip(grads, outputs)
    ]


def _mask(flags: Sequence[bool]) -> str:
    return "".join("1" if flag else "0" for flag in flags)


def _spread(mask: str, values: Sequence[Any]) -> list[Any]:
    """The values at the places marked in `mask`, None at the others."""
    given = iter(values)
    return [next(given) if c == "1" else None for c in mask]


class _Apply(torch.autograd.Function):
    """A program as a differentiable torch function."""

    @staticmethod
    def forward(this: _Call, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return this.forward(tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple[torch.Tensor, ...]) -> None:
        ctx.call, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)
        ctx.is_float = [o.is_floating_point() for o in output]
        ctx.outputs = [(o.shape, o.dtype) for o in output if o.is_floating_point()]
        ctx.mark_non_differentiable(*(o for o in output if not o.is_floating_point()))
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple:
        mask = _mask(ctx.needs_input_grad[1:])
        grads = tuple(g for g, real in zip(grads, ctx.is_float) if real)
        found = ctx.call.backward(mask, ctx.saved_tensors, ctx.outputs, grads)
        return None, *_spread(mask, found)

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: torch.Tensor | None) -> tuple:
        mask = _mask([t is not None for t in tangents])
        given = [t for t in tangents if t is not None]
        pushed = call(f"{ctx.call.key}|pushforward:{mask}", *ctx.saved_tensors, *given)
        return tuple(_spread(_mask(ctx.is_float), pushed))

    @staticmethod
    def vmap(_: Any, in_dims: tuple, this: _Call, *tensors: torch.Tensor) -> tuple:
        axes = ",".join("-" if axis is None else str(axis) for axis in in_dims[1:])
        outputs = call(f"{this.key}|vmap:{axes}", *tensors)
        return outputs, (0,) * len(outputs)


def call(key: str, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The outputs of the program `key`, differentiable in its float inputs.

    Args:
        key: names the program; static.
        tensors: its inputs, all on one device; no other dtypes than `check_dtype` lets through.

    Raises:
        RuntimeError: the process was forked after JAX had started, or JAX lacks the device.
        ValueError: the inputs are on several devices.
    """
    if any(t.device != tensors[0].device for t in tensors):
        found = ", ".join(dict.fromkeys(str(t.device) for t in tensors))
        raise ValueError(f"tensors are on {found}, expected one device; move them with .to(...)")
    if torch.compiler.is_compiling():
        return tuple(_operator(list(tensors), key))
    record = torch.is_grad_enabled() and "|pullback:" not in key  # that has a rule of its own
    mask = _mask([record and t.requires_grad for t in tensors])
    return _Apply.apply(_Call(key, mask), *tensors)


@torch.library.custom_op("softjax_ops::run", mutates_args=())
def _operator(tensors: list[torch.Tensor], key: str) -> list[torch.Tensor]:
    return list(_run(program(key).compiled(""), tensors)[0])


@_operator.register_fake
def _shapes(tensors: list[torch.Tensor], key: str) -> list[torch.Tensor]:
    names = [_NAMES[t.dtype] for t in tensors]
    with _settings(tensors):
        given = [jax.ShapeDtypeStruct(tuple(map(int, t.shape)), d) for t, d in zip(tensors, names)]
        found, _ = program(key).compiled("").eval_shape(*given)
    return [tensors[0].new_empty(o.shape, dtype=_DTYPES[o.dtype.name]) for o in found]


def _keep(ctx: Any, inputs: tuple, output: list[torch.Tensor]) -> None:
    tensors, ctx.key = inputs
    ctx.save_for_backward(*tensors)
    ctx.is_float = [o.is_floating_point() for o in output]


def _operator_backward(ctx: Any, grads: list[torch.Tensor]) -> tuple:
    mask = _mask(ctx.needs_input_grad[0])
    grads = [g for g, real in zip(grads, ctx.is_float) if real]
    found = _operator([*ctx.saved_tensors, *grads], f"{ctx.key}|pullback:{mask}")
    return _spread(mask, found), None


def _operator_vmap(_: Any, in_dims: tuple, tensors: list[torch.Tensor], key: str) -> tuple:
    axes = ",".join("-" if axis is None else str(axis) for axis in in_dims[0])
    outputs = _operator(tensors, f"{key}|vmap:{axes}")
    return outputs, [0] * len(outputs)


_operator.register_autograd(_operator_backward, setup_context=_keep)
_operator.register_vmap(_operator_vmap)
