"""The same fit by finite differences in MuJoCo C: `mujoco.sysid`, or the optimiser inside it.

`mujoco.sysid` needs the extra packages of `pip install 'mujoco[sysid]'`. Without them its optimiser
`mujoco.minimize.least_squares`, which comes with MuJoCo, is called directly: the same algorithm,
finite differences and line search. Both minimise the cost of `_fitting` over the same coordinates
and windows, from the same start, with initial states as measured.
"""

import importlib
import io
import os
import time
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float

from experiments._fitting import Problem, half_sample
from experiments._mjcf import in_shape, pick, to_mujoco
from experiments._trajectories import Windows
from softsim.integrators import difference_pos

# by name: MuJoCo's Python parts are typed, its compiled ones are not, and mypy cannot have both
minimize = importlib.import_module("mujoco.minimize")
rollout = importlib.import_module("mujoco.rollout")
REACH = 5.0  # bounds of the coordinates; the optimiser wants some


@dataclass
class PeerFit:
    """What the peer found, and its price."""

    name: str
    u: Float[np.ndarray, " P"] = field(default_factory=lambda: np.zeros(0))
    evaluations: int = 0  # passes over the windows
    seconds: float = 0.0
    history: list[tuple[int, float]] = field(default_factory=list)  # evaluations, cost so far


def fit_peer(
    problem: Problem,
    windows: Windows,
    variance: Float[np.ndarray, "w W"],
    noise: float,
    mj_model: mujoco.MjModel,
    iterations: int,
) -> PeerFit:
    """Fit by finite differences, until the optimiser stops by itself or `iterations` are over.

    The `variance` of the samples, which takes derivatives, and that of the `noise`, against which
    the prior is weighed, are given.
    """
    fit = PeerFit("mujoco.minimize")
    residual = _make_residual(problem, windows, jnp.asarray(variance), noise, mj_model, fit)
    P = problem.table.size
    begin = time.perf_counter()
    sysid = _find_sysid()
    if sysid is None:
        bounds = [np.full(P, -REACH), np.full(P, REACH)]
        x, _ = minimize.least_squares(np.zeros(P), residual, bounds, max_iter=iterations, verbose=0)
        fit.u = x.ravel()
    else:
        fit.name = "mujoco.sysid"
        parameters = sysid.ParameterDict()
        for label in problem.table.labels:
            parameters.add(sysid.Parameter(label, 0.0, -REACH, REACH))
        found, _ = sysid.optimize(
            parameters,
            lambda x, _: ([residual(x)], [], []),
            verbose=False,
            max_iters=iterations,
            output=io.StringIO(),
        )
        fit.u = found.as_vector()
    fit.seconds = time.perf_counter() - begin
    return fit


def _find_sysid():
    sysid = importlib.import_module("mujoco.sysid")
    return sysid if hasattr(sysid, "optimize") else None


def _make_residual(
    problem: Problem,
    windows: Windows,
    variance: Array,
    noise: float,
    mj_model: mujoco.MjModel,
    fit: PeerFit,
):
    """A function of coordinates (P,) or, for finite differences, of several columns (P, k)."""
    table, model, substeps = problem.table, problem.model, problem.substeps

    @jax.jit
    def prepare(u):
        m = table.insert(model, u)
        return (
            pick(m),
            half_sample(m, substeps) * problem.backward,
            jnp.sqrt(noise) * table.prior(u),
        )

    @jax.jit
    def compare(seen):
        apart = jax.vmap(jax.vmap(lambda a, b: difference_pos(model, a, b)))(
            jnp.asarray(windows.qpos), seen
        )
        r = jnp.where(windows.mask[..., None], apart / problem.noise, 0.0)
        square = jnp.sum(jnp.square(r), axis=-1)
        square = square / variance
        rho = problem.robustify(square)[0]
        return r * jnp.sqrt(rho / variance / jnp.maximum(square, 1e-12))[..., None]

    threads = [mujoco.MjData(mj_model) for _ in range(os.cpu_count() or 1)]
    count = len(windows.mask)
    steps = windows.mask.shape[1] * substeps
    ctrl = np.repeat(windows.ctrl, substeps, axis=1)

    def residual(x: np.ndarray) -> np.ndarray:
        columns = np.asarray(x).reshape(table.size, -1)
        models, states, priors = [], [], []
        for u in columns.T:
            leaves, half, prior = prepare(jnp.asarray(u))
            models += [to_mujoco(mj_model, in_shape(leaves, mj_model))] * count
            qvel = windows.qvel0 + np.asarray(half)
            states.append(np.concatenate([np.zeros((count, 1)), windows.qpos0, qvel], axis=1))
            priors.append(np.asarray(prior))
        control = np.tile(ctrl, (columns.shape[1], 1, 1)) if mj_model.nu else None
        path, _ = rollout.rollout(models, threads, np.concatenate(states), control, nstep=steps)
        seen = path[:, substeps - 1 :: substeps, 1 : 1 + mj_model.nq]
        parts = np.split(seen, columns.shape[1])
        out = [
            np.concatenate([np.asarray(compare(jnp.asarray(p))).ravel(), prior])
            for p, prior in zip(parts, priors)
        ]
        fit.evaluations += columns.shape[1]
        if columns.shape[1] == 1:
            cost = 0.5 * float(out[0] @ out[0])
            best = min(cost, fit.history[-1][1]) if fit.history else cost
            fit.history.append((fit.evaluations, best))
        stacked = np.stack(out, axis=1)
        return stacked if np.ndim(x) > 1 else stacked[:, 0]

    return residual
