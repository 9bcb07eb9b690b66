"""Differentiable MuJoCo for PyTorch: steps and rollouts of tensors, by the engine of `softsim`.

    simulator = softsim.torch.Simulator(mj_model, softsim.Softening.soft())
    path = simulator.rollout(qpos, qvel, ctrl, parameters={"body_mass": mass})
    path.qpos[..., -1, 0].sum().backward()

See docs/torch.md.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, NamedTuple

try:
    import torch
except ImportError as error:
    raise ImportError("softsim.torch needs PyTorch: pip install 'softsim[torch]'") from error

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

import softsim
from softjax_ops.torch import bridge
from softsim.follow import Follow
from softsim.softening import Softening

Parameters = Mapping[str, torch.Tensor]


class State(NamedTuple):
    """Positions, velocities and activations; after a rollout with an axis of T steps."""

    qpos: torch.Tensor
    qvel: torch.Tensor
    act: torch.Tensor


class Simulator:
    """A model whose steps are torch functions.

    `step` and `rollout` are differentiable to any order with respect to state, controls and
    `parameters`, in eager mode, under `torch.func` and under `torch.compile`. Their tensors may
    have leading batch dimensions, which broadcast; a tensor without them is shared by the batch.
    JAX compiles once per shape.

    Args:
        mj_model: what `softsim.put_model` takes, and refuses with `UnsupportedModelError`.
        softening: as in `softsim.step`; None for the hard step.
        dtype: `torch.float32` or `torch.float64`, that of all tensors; torch's default if None.
        segment: of a rollout: steps between stored states, as in `softsim.rollout`.
        truncate: of a rollout: steps over which derivatives flow back, as in `softsim.rollout`.
        follow: "mjx" or "mujoco", as in `softsim.put_model`.

    Attributes:
        model: the `mjx.Model`; a float leaf of it may be named in `parameters`.
    """

    def __init__(
        self,
        mj_model: mujoco.MjModel,
        softening: Softening | None = None,
        *,
        dtype: torch.dtype | None = None,
        segment: int | None = None,
        truncate: int | None = None,
        follow: Follow = "mjx",
    ) -> None:
        self.dtype = torch.get_default_dtype() if dtype is None else dtype
        if self.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"dtype: got {self.dtype}, expected torch.float32 or torch.float64")
        with jax.enable_x64(self.dtype == torch.float64):
            self.model: mjx.Model = softsim.put_model(mj_model, follow=follow)
            self._data = softsim.make_data(self.model)
            real = self._data.qpos.dtype
            self._softening = jax.tree.map(lambda a: jnp.asarray(a, real), softening)
        self._leaves = _float_leaves(self.model)
        self._rules: dict[str, Any] = {"segment": segment, "truncate": truncate}
        self._digest = _digest(mj_model, self._softening, self.dtype, follow, self._rules)
        _SIMULATORS.setdefault(self._digest, self)

    def step(
        self,
        qpos: torch.Tensor,
        qvel: torch.Tensor,
        ctrl: torch.Tensor | None = None,
        act: torch.Tensor | None = None,
        *,
        parameters: Parameters | None = None,
    ) -> State:
        """The state after one time step of `model.opt.timestep` seconds.

        Args:
            qpos: (..., nq), in the units and conventions of MuJoCo, like all other arguments.
            qvel: (..., nv).
            ctrl: (..., nu); zero if None.
            act: (..., na); zero if None.
            parameters: float leaves of the model by name ("body_mass", "opt.gravity"), each of
                the shape it has in the model, after batch dimensions of its own.

        Raises:
            ValueError: names the tensor with a wrong shape or dtype, or an unknown parameter.
        """
        ctrl = qpos.new_zeros(self.model.nu) if ctrl is None else ctrl
        return self._call("step", qpos, qvel, ctrl, act, parameters or {})

    def rollout(
        self,
        qpos: torch.Tensor,
        qvel: torch.Tensor,
        ctrl: torch.Tensor,
        act: torch.Tensor | None = None,
        *,
        parameters: Parameters | None = None,
    ) -> State:
        """The states after each of T steps, one row of `ctrl` per step.

        Args:
            ctrl: (..., T, nu), also for a model without actuators; the rest is as in `step`.

        Returns:
            qpos (..., T, nq), qvel (..., T, nv) and act (..., T, na).
        """
        return self._call("rollout", qpos, qvel, ctrl, act, parameters or {})

    def _call(self, what: str, qpos, qvel, ctrl, act, parameters: Parameters) -> State:
        m = self.model
        act = qpos.new_zeros(m.na) if act is None else act
        shapes: dict[str, tuple] = {"qpos": (m.nq,), "qvel": (m.nv,), "ctrl": (m.nu,)}
        if what == "rollout":
            if ctrl.ndim < 2 or ctrl.shape[-2] < 1:
                got = tuple(ctrl.shape)
                raise ValueError(f"ctrl: got shape {got}, expected (..., T, {m.nu}) with T > 0")
            shapes["ctrl"] = (ctrl.shape[-2], m.nu)
        shapes["act"] = (m.na,)
        for name in parameters:
            if name not in self._leaves:
                raise ValueError(
                    f"parameters: {name!r} is not a float array of the model; names are those of "
                    'mjx.Model, such as "body_mass", "geom_friction" or "opt.gravity"'
                )
            shapes[name] = self._leaves[name]
        given = {"qpos": qpos, "qvel": qvel, "ctrl": ctrl, "act": act, **parameters}
        batches = [self._batch(name, given[name], shape) for name, shape in shapes.items()]
        batch = torch.broadcast_shapes(*batches)
        key = f"softsim:{self._digest} {what} {' '.join(parameters)}"
        tensors, axes = [], []
        for (name, shape), own in zip(shapes.items(), batches):
            tensor = given[name]
            if own:
                tensor = tensor.expand(*batch, *shape).reshape(-1, *shape)
            tensors.append(tensor)
            axes.append("0" if own else "-")
        if batch:
            key += f"|vmap:{','.join(axes)}"
        found = bridge.call(key, *tensors)
        return State(*(o.reshape(*batch, *o.shape[1:]) if batch else o for o in found))

    def _batch(self, name: str, tensor: torch.Tensor, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The leading dimensions of a tensor, whose dtype and other dimensions are checked."""
        if not isinstance(tensor, torch.Tensor):
            raise ValueError(f"{name}: got {type(tensor).__name__}, expected a torch.Tensor")
        if tensor.dtype != self.dtype:
            raise ValueError(
                f"{name}: got dtype {tensor.dtype}, expected {self.dtype}, the dtype of the "
                "simulator; convert it, or make the simulator with that dtype"
            )
        lead = tensor.ndim - len(shape)
        if lead < 0 or tuple(tensor.shape[lead:]) != shape:
            expected = ", ".join(("...", *map(str, shape)))
            raise ValueError(f"{name}: got shape {tuple(tensor.shape)}, expected ({expected})")
        return tuple(tensor.shape[:lead])

    def function(self, what: str, names: list[str]) -> bridge.Function:
        """The JAX function behind `step` or `rollout` with these parameters."""

        def run(qpos: Any, qvel: Any, ctrl: Any, act: Any, *values: Any) -> tuple:
            m = self.model.tree_replace(dict(zip(names, values))) if names else self.model
            d = self._data.replace(qpos=qpos, qvel=qvel, act=act)
            if what == "step":
                end = softsim.step(m, d.replace(ctrl=ctrl), self._softening)
            else:
                _, end = softsim.rollout(m, d, ctrl, self._softening, **self._rules)
            return end.qpos, end.qvel, end.act

        return run


_SIMULATORS: dict[str, Simulator] = {}
"""By content, so that two simulators of one model share their programs."""


def _float_leaves(m: mjx.Model) -> dict[str, tuple[int, ...]]:
    """The shapes of the float arrays of a model by their names, with dots between fields."""
    leaves = jax.tree_util.tree_flatten_with_path(m)[0]
    return {
        jax.tree_util.keystr(path).removeprefix("."): jnp.shape(leaf)
        for path, leaf in leaves
        if jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating)
    }


def _digest(mj_model: mujoco.MjModel, *settings: Any) -> str:
    """The name of a model with its settings, the same in every process."""
    content = np.empty(mujoco.mj_sizeModel(mj_model), np.uint8)
    mujoco.mj_saveModel(mj_model, None, content)
    leaves, tree = jax.tree.flatten(settings)
    parts = [content.tobytes(), str(tree).encode()]
    parts += [a.tobytes() if hasattr(a, "tobytes") else repr(a).encode() for a in leaves]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def _function(text: str) -> bridge.Function:
    digest, what, *names = text.split()
    if digest not in _SIMULATORS:
        raise RuntimeError("softsim.torch: a program needs its Simulator to be made first")
    return _SIMULATORS[digest].function(what, names)


bridge.SOURCES["softsim"] = _function
bridge.TOGETHER.add("softsim")
