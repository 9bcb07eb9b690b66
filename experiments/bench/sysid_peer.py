"""The same fit by finite differences in MuJoCo C: `mujoco.sysid`, or the optimiser inside it.

`mujoco.sysid` needs the extra packages of `pip install 'mujoco[sysid]'`. Without them its optimiser
`mujoco.minimize.least_squares`, which comes with MuJoCo, is called directly. Both minimise the cost
of `softsim.sysid` over the same coordinates and windows, from the same start.
"""

import importlib
import io
import os
import time
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Float

from softsim import sysid
from softsim.integrators import difference_pos
from softsim.sysid.mjcf import pick, to_mujoco
from softsim.sysid.problem import half_sample

# by name: MuJoCo's Python parts are typed, its compiled ones are not, and mypy cannot have both
minimize = importlib.import_module("mujoco.minimize")
rollout = importlib.import_module("mujoco.rollout")
REACH = 5.0  # bounds of the coordinates; the optimiser wants some


@dataclass
class Peer:
    """What the peer found, and its price."""

    name: str = "mujoco.minimize"
    u: Float[np.ndarray, " P"] = field(default_factory=lambda: np.zeros(0))
    evaluations: int = 0  # passes over the windows
    seconds: float = 0.0
    history: list[tuple[int, float]] = field(default_factory=list)  # evaluations, cost so far

    def summary(self, goal: float) -> dict[str, Any]:
        """Numbers, among them the evaluations until the cost was at `goal`."""
        reached = [n for n, cost in self.history if cost <= goal]
        return {
            "name": self.name,
            "cost": self.history[-1][1],
            "evaluations": self.evaluations,
            "evaluations_to_our_cost_within_1_percent": reached[0] if reached else None,
            "seconds": self.seconds,
        }


def fit_peer(fit: sysid.Fit, iterations: int) -> Peer:
    """Minimise the cost of `fit` by finite differences, until the optimiser stops by itself.

    Initial states are as measured. The variances of the samples, which take derivatives, and that
    of the noise, against which the prior is weighed, are those of the fit.
    """
    peer, P = Peer(), fit.problem.table.size
    residual = _make_residual(fit, peer)
    begin = time.perf_counter()
    library = importlib.import_module("mujoco.sysid")
    if hasattr(library, "optimize"):
        peer.name, parameters = "mujoco.sysid", library.ParameterDict()
        for label in fit.problem.table.labels:
            parameters.add(library.Parameter(label, 0.0, -REACH, REACH))
        found, _ = library.optimize(
            parameters, lambda x, _: ([residual(x)], [], []), verbose=False, max_iters=iterations,
            output=io.StringIO(),
        )  # fmt: skip
        peer.u = found.as_vector()
    else:
        bounds = [np.full(P, -REACH), np.full(P, REACH)]
        x, _ = minimize.least_squares(np.zeros(P), residual, bounds, max_iter=iterations, verbose=0)
        peer.u = x.ravel()
    peer.seconds = time.perf_counter() - begin
    return peer


def _make_residual(fit: sysid.Fit, peer: Peer):
    """A function of coordinates (P,) or, for finite differences, of several columns (P, k)."""
    problem, windows, mj_model = fit.problem, fit.windows, fit.given
    variance, noise = jnp.asarray(fit.point.blocks.variance), fit.point.noise
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
            models += [to_mujoco(mj_model, leaves)] * count
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
        peer.evaluations += columns.shape[1]
        if columns.shape[1] == 1:
            cost = 0.5 * float(out[0] @ out[0])
            best = min(cost, peer.history[-1][1]) if peer.history else cost
            peer.history.append((peer.evaluations, best))
        stacked = np.stack(out, axis=1)
        return stacked if np.ndim(x) > 1 else stacked[:, 0]

    return residual
