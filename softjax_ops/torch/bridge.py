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

Tensors are handed over without a copy where the memory is aligned; results are copied out, so that
torch may write to them. A call returns when JAX is done with the memory of its arguments. Programs
with a 64-bit argument run in 64 bits, others in 32, whatever `jax_enable_x64` says.
"""

import os
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import torch

Function = Callable[..., tuple[jax.Array, ...]]

SOURCES: dict[str, Callable[[str], Function]] = {}
"""What makes the function of a key `<source>:<text>` from its text."""

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
_WIDE = (torch.float64, torch.int64)
_DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in _FLOATS + _INTEGERS}


class Program:
    """A JAX function of arrays, compiled in the forms that torch asks for."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.run = jax.jit(function)
        self._recorders: dict[str, Callable] = {}

    def recorder(self, mask: str) -> Callable:
        """The compiled (outputs, pullback on the inputs marked in `mask`); a pullback is data."""

        def record(*arrays: jax.Array) -> tuple:
            outputs = self.function(*arrays)
            chosen = [a for a, c in zip(arrays, mask) if c == "1"]
            return outputs, jax.vjp(_of_chosen(self.function, mask, arrays), *chosen)[1]

        return self._recorders.setdefault(mask, jax.jit(record))


_pull = jax.jit(lambda pullback, cotangents: pullback(cotangents))
_PROGRAMS: dict[str, Program] = {}


def program(key: str) -> Program:
    """The program that a key names; made on first use."""
    found = _PROGRAMS.get(key)
    if found is None:
        parent, bar, how = key.rpartition("|")
        if bar:
            rule, _, detail = how.partition(":")
            function = _DERIVATIONS[rule](program(parent).function, detail)
        else:
            source, _, text = key.partition(":")
            function = SOURCES[source](text)
        found = _PROGRAMS.setdefault(key, Program(function))
    return found


def _of_chosen(function: Function, mask: str, inputs: Sequence[jax.Array]) -> Function:
    """The float outputs as a function of the inputs marked in `mask`."""

    def chosen(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        given = iter(arrays)
        full = [next(given) if c == "1" else a for a, c in zip(inputs, mask)]
        return tuple(o for o in function(*full) if jnp.issubdtype(o.dtype, jnp.floating))

    return chosen


def _pullback(function: Function, mask: str) -> Function:
    def pulled(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        inputs, cotangents = arrays[: len(mask)], arrays[len(mask) :]
        chosen = [a for a, c in zip(inputs, mask) if c == "1"]
        return jax.vjp(_of_chosen(function, mask, inputs), *chosen)[1](cotangents)

    return pulled


def _pushforward(function: Function, mask: str) -> Function:
    def pushed(*arrays: jax.Array) -> tuple[jax.Array, ...]:
        inputs, tangents = arrays[: len(mask)], arrays[len(mask) :]
        chosen = [a for a, c in zip(inputs, mask) if c == "1"]
        return jax.jvp(_of_chosen(function, mask, inputs), chosen, list(tangents))[1]

    return pushed


def _vmap(function: Function, detail: str) -> Function:
    axes = [None if axis == "-" else int(axis) for axis in detail.split(",")]
    return jax.vmap(function, in_axes=axes)


_DERIVATIONS: dict[str, Callable[[Function, str], Function]] = {
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


def _to_jax(tensor: torch.Tensor) -> jax.Array:
    try:
        return jax.dlpack.from_dlpack(tensor.detach().contiguous())
    except RuntimeError as error:
        if tensor.device.type == "cpu":
            raise
        raise RuntimeError(
            f"JAX cannot read a tensor on {tensor.device}: its devices are {jax.devices()}; "
            "install jax for that device (softsim[cuda]) or move the tensor to the CPU"
        ) from error


def check_dtype(name: str, tensor: torch.Tensor) -> None:
    """Raise a ValueError that names a dtype which JAX or the soft operators do not know."""
    if tensor.dtype not in _DTYPES.values():
        raise ValueError(f"{name}: got dtype {tensor.dtype}, expected a real float or an integer")


def _x64(tensors: Sequence[torch.Tensor]) -> Any:
    return jax.enable_x64(any(t.dtype in _WIDE for t in tensors))


def _to_torch(arrays: Sequence[jax.Array]) -> tuple[torch.Tensor, ...]:
    return tuple(torch.from_dlpack(a).clone() for a in jax.block_until_ready(arrays))


def _run(key: str, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    _check_process()
    with _x64(tensors):
        return _to_torch(program(key).run(*map(_to_jax, tensors)))


class _Call:
    """One call of a program: its key, and the pullback if the forward pass was to keep it."""

    def __init__(self, key: str, mask: str) -> None:
        self.key, self.mask, self.pullback = key, mask, None

    def forward(self, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        if "1" not in self.mask:
            return _run(self.key, tensors)
        _check_process()
        with _x64(tensors):
            recorder = program(self.key).recorder(self.mask)
            outputs, self.pullback = recorder(*map(_to_jax, tensors))
            return _to_torch(outputs)

    def backward(
        self, mask: str, tensors: Sequence[torch.Tensor], grads: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, ...]:
        """Gradients of the inputs marked in `mask`."""
        if self.pullback is None or mask != self.mask or torch.is_grad_enabled():
            return call(f"{self.key}|pullback:{mask}", *tensors, *grads)
        _check_process()
        with _x64(tensors):
            return _to_torch(_pull(self.pullback, tuple(map(_to_jax, grads))))


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
        ctx.mark_non_differentiable(*(o for o in output if not o.is_floating_point()))

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple:
        mask = _mask(ctx.needs_input_grad[1:])
        grads = tuple(g for g, real in zip(grads, ctx.is_float) if real)
        return None, *_spread(mask, ctx.call.backward(mask, ctx.saved_tensors, grads))

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
    """
    if torch.compiler.is_compiling():
        return tuple(_operator(list(tensors), key))
    record = torch.is_grad_enabled()
    mask = _mask([record and t.requires_grad for t in tensors])
    return _Apply.apply(_Call(key, mask), *tensors)


@torch.library.custom_op("softjax_ops::run", mutates_args=())
def _operator(tensors: list[torch.Tensor], key: str) -> list[torch.Tensor]:
    return list(_run(key, tensors))


@_operator.register_fake
def _shapes(tensors: list[torch.Tensor], key: str) -> list[torch.Tensor]:
    names = [str(t.dtype).removeprefix("torch.") for t in tensors]
    with _x64(tensors):
        given = [jax.ShapeDtypeStruct(tuple(map(int, t.shape)), d) for t, d in zip(tensors, names)]
        found = program(key).run.eval_shape(*given)
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
