"""What must hold on a device before its speed means anything, each check one row.

Values against stock MJX and against the same program on the CPU, derivatives against central
differences, float32 against float64, two runs of one program against each other, and the batched
linear solver on the path that only accelerators take.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

import softsim
from experiments.bench.engine import MODELS
from experiments.bench.parity import converged
from softsim.linear import solve_spd

STEPS = 5
SIZES = (6, 27, 100)
"""Degrees of freedom of a free body, a humanoid, and a crowd."""
DIFFERENCE = 1e-6


class Check(NamedTuple):
    """A number that is to be at most `bound`, computed with 64-bit floats or not."""

    name: str
    double: bool
    bound: float
    value: Callable[[int], float]


def outcome(check: Check, batch: int) -> dict[str, Any]:
    """The value of a check on `batch` worlds, and whether it holds."""
    with jax.enable_x64(check.double):
        jax.clear_caches()  # no trace of the other dtype is met again
        value = check.value(batch)
    return {"value": value, "bound": check.bound, "ok": bool(value <= check.bound)}


def checks(models: tuple[str, ...]) -> list[Check]:
    """All checks, on benchmark models of these names."""
    table = [Check(f"SPD solve, n = {n}, float64", True, 1e-10, _solver(n)) for n in SIZES]
    table += [Check(f"SPD solve, n = {n}, float32", False, 1e-4, _solver(n)) for n in SIZES]
    for name in models:
        table += [
            Check(f"{name}: step, float64, from MJX's", True, 1e-7, _from_mjx(name)),
            Check(f"{name}: step, float64, from the CPU's", True, 1e-9, _from_cpu(name)),
            Check(f"{name}: step, float32, from float64", False, 1e-3, _from_double(name)),
            Check(f"{name}: gradient, from differences", True, 1e-5, _from_differences(name)),
            Check(f"{name}: gradient, float32, from float64", False, 1e-2, _gradients(name)),
            Check(f"{name}: gradient, twice the same", False, 0.0, _twice(name)),
        ]
    return table


def _worlds(name: str, batch: int) -> tuple[mjx.Model, mjx.Data, jax.Array, jax.Array]:
    """The model, its data, and `batch` states (qpos, qvel) on a path of MuJoCo C in contact."""
    mj_model = converged(MODELS[name], jnp.zeros(()).dtype == jnp.float64)
    mj_data = mujoco.MjData(mj_model)
    if mj_model.nkey:
        mujoco.mj_resetDataKeyframe(mj_model, mj_data, 0)
    mujoco.mj_step(mj_model, mj_data, 50)
    rng, states = np.random.default_rng(0), []
    for _ in range(batch):
        mj_data.ctrl[:] = 0.1 * rng.uniform(-1, 1, mj_model.nu)
        mujoco.mj_step(mj_model, mj_data, 2)
        states.append((mj_data.qpos.copy(), mj_data.qvel.copy()))
    qpos, qvel = (jnp.asarray(np.stack(x), jnp.zeros(()).dtype) for x in zip(*states))
    return softsim.put_model(mj_model), softsim.put_data(mj_model, mj_data), qpos, qvel


def _stepped(step: Callable, name: str, batch: int) -> np.ndarray:
    """Velocities after one step of each world."""
    m, d, qpos, qvel = _worlds(name, batch)
    one = lambda qpos, qvel: step(m, d.replace(qpos=qpos, qvel=qvel)).qvel
    return np.asarray(jax.jit(jax.vmap(one))(qpos, qvel), np.float64)


def _apart(x: np.ndarray, y: np.ndarray) -> float:
    """Relative error of all entries together; infinite where one is not finite."""
    error = float(np.linalg.norm(x - y) / np.linalg.norm(y))
    return error if np.isfinite(error) else float("inf")


def _from_mjx(name: str) -> Callable[[int], float]:
    return lambda batch: _apart(
        _stepped(softsim.step, name, batch), _stepped(mjx.step, name, batch)
    )


def _from_cpu(name: str) -> Callable[[int], float]:
    def value(batch: int) -> float:
        here = _stepped(softsim.step, name, batch)
        with jax.default_device(jax.devices("cpu")[0]):
            jax.clear_caches()
            return _apart(here, _stepped(softsim.step, name, batch))

    return value


def _from_double(name: str) -> Callable[[int], float]:
    def value(batch: int) -> float:
        single = _stepped(softsim.step, name, batch)
        with jax.enable_x64(True):
            jax.clear_caches()
            return _apart(single, _stepped(softsim.step, name, batch))

    return value


def _loss(name: str, batch: int) -> tuple[Callable, jax.Array]:
    """A weighted sum of where a short rollout ends, of the first velocity, and velocities."""
    m, d, qpos, qvel = _worlds(name, batch)
    softening = softsim.Softening.soft()  # a hard step has kinks that differences may straddle

    def loss(qvel: jax.Array, qpos: jax.Array) -> jax.Array:
        start = d.replace(qpos=qpos, qvel=qvel)
        _, path = softsim.rollout(m, start, jnp.zeros((STEPS, m.nu)), softening)
        return path.qpos[-1] @ jnp.linspace(1, 2, m.nq) + path.qvel[-1] @ jnp.linspace(1, 2, m.nv)

    return lambda qvel: jax.vmap(loss)(qvel, qpos), qvel


def _gradient(name: str, batch: int) -> np.ndarray:
    loss, qvel = _loss(name, batch)
    return np.asarray(jax.jit(jax.grad(lambda v: loss(v).sum()))(qvel), np.float64)


def _from_differences(name: str) -> Callable[[int], float]:
    def value(batch: int) -> float:
        loss, qvel = _loss(name, batch)
        along = jax.random.normal(jax.random.key(0), qvel.shape, qvel.dtype)
        ends = jax.jit(lambda v: loss(v))
        plus, minus = (np.asarray(ends(qvel + s * DIFFERENCE * along)) for s in (1, -1))
        slope = np.sum(_gradient(name, batch) * np.asarray(along), axis=1)
        return _apart(slope, (plus - minus) / (2 * DIFFERENCE))

    return value


def _gradients(name: str) -> Callable[[int], float]:
    def value(batch: int) -> float:
        single = _gradient(name, batch)
        with jax.enable_x64(True):
            jax.clear_caches()
            return _apart(single, _gradient(name, batch))

    return value


def _twice(name: str) -> Callable[[int], float]:
    def value(batch: int) -> float:
        loss, qvel = _loss(name, batch)
        gradient = jax.jit(jax.grad(lambda v: loss(v).sum()))
        return float(jnp.max(jnp.abs(gradient(qvel) - gradient(qvel))))

    return value


def _solver(n: int) -> Callable[[int], float]:
    def value(batch: int) -> float:
        rng = np.random.default_rng(0)
        root = rng.normal(size=(batch, n, n))
        A, b = root @ root.transpose(0, 2, 1) + n * np.eye(n), rng.normal(size=(batch, n))
        dtype = jnp.zeros(()).dtype
        A, b = A.astype(dtype), b.astype(dtype)
        found = jax.jit(jax.vmap(solve_spd))(A, b)
        exact = np.linalg.solve(A.astype(np.float64), b.astype(np.float64)[..., None])[..., 0]
        return _apart(np.asarray(found, np.float64), exact)

    return value
