"""Nonlinear least squares over windows of trajectories, with exact Jacobians from softsim.

For parameters u (P,) and, if the initial states are estimated too, their offsets z (w, K), the cost

    1/2 sum_w ( sum_k rho(|r_wk(u, z_w)|^2 / v_wk) + |z_w|^2 ) + 1/2 s^2 |prior(u)|^2

is minimised. r_wk holds the errors at sample k of window w in standard deviations of the noise, z_w
how far the initial state of the window is from the measured one, likewise. rho is Cauchy's,
c^2 log(1 + s / c^2): quadratic up to about c = `robust` standard deviations per coordinate, then a
matter of ratios, so that what follows after a toss has tipped over the other way hardly counts.

v_wk = 1 + spread^2 |dr_wk/du|^2 / nv is the variance that parameters which differ by `spread` from
trajectory to trajectory would add. Without it the few chaotic samples with enormous derivatives
dictate every step, and determine parameters to absurd precision. It is held fixed within a step.

s is the level of the noise as a multiple of the assumed one. It is not known before, and the prior
must be weighed against the noise there is: data with a hundredth of the assumed noise tell ten
thousand times as much. The fit first converges with s = 1; then s^2 is estimated at the beginning
of every further step (`prior_variance`). What the prior itself adds to the misfit does not keep s
up: along a direction with information h, a prior of weight s^2 leaves squares of
s^4 h / (h + s^2)^2 u^2, at most s^2 u^2 / 4, to be shared by all residuals, so that without noise
s^2 shrinks from step to step, in the end quadratically, and the prior only decides what the data
leave open.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from mujoco import mjx

import softsim
from experiments._arrow import Blocks, Reduced, prior_variance, reduce
from experiments._parameters import Table
from experiments._sensitivity import push, sweep, vary
from experiments._trajectories import Windows
from softsim.integrators import difference_pos, integrate_pos

SKIN = 1.0  # m: all touching corners, as in MuJoCo C, which judges the fit; MJX drops some
CHUNK = 128  # windows per call at most; the last call is filled up with copies
ROUGHLY = 0.02  # steps of 2 %: the misfit is that of a fit, and tells the noise


class Problem(eqx.Module):
    """A model to be fitted and how its predictions are compared with windows.

    Attributes:
        noise: (nv,), standard deviation of the measured positions, m and rad.
        state_noise: (K,), of the measured initial state, positions then velocities; K is 2 nv, or 0
            if the initial states are taken as measured.
        spread: of parameters between trajectories, in natural steps of their coordinates.
        robust: standard deviations, error of a sample from which the cost grows as its logarithm.
        substeps: steps of the model per sample.
        backward: measured velocities are means over the sample before.
    """

    model: mjx.Model
    data: mjx.Data
    table: Table = eqx.field(static=True)
    noise: Float[Array, " nv"]
    state_noise: Float[Array, " K"]
    robust: Float[Array, ""]
    spread: Float[Array, ""]
    substeps: int = eqx.field(static=True)
    backward: bool = eqx.field(static=True)

    def errors(
        self, u: Float[Array, " P"], z: Float[Array, "w K"], windows: Windows
    ) -> tuple[Float[Array, "w W nv"], Float[Array, "w W nv n"]]:
        """Errors of the prediction of windows, in standard deviations, and their derivatives.

        The n = P + K derivatives are those by u and by the z of the window. 0 where masked.
        """
        along = jnp.eye(u.size + z.shape[1], dtype=u.dtype)
        du, dz = along[:, : u.size], along[:, u.size :]
        model = vary(lambda u: self.table.insert(self.model, u), u, du)
        first = lambda leaves, z, w: self.first_state(model.assemble(leaves), z, w)

        def begin(z: Float[Array, " K"], w: Windows) -> tuple:
            return push(
                lambda leaves, z: first(leaves, z, w), (model.leaves, z), (model.tangents, dz)
            )

        def compare(seen: Float[Array, "W nq"], w: Windows) -> Float[Array, "W nv"]:
            apart = jax.vmap(lambda a, b: difference_pos(self.model, a, b))(w.qpos, seen)
            return jnp.where(w.mask[:, None], apart / self.noise, 0.0)

        def judge(
            seen: Float[Array, "W nq"], tangents: Float[Array, "W n nq"], w: Windows
        ) -> tuple:
            tangents = jnp.moveaxis(tangents, 1, 0)
            return push(lambda seen: compare(seen, w), (seen,), (tangents,))

        windows = jax.tree.map(jnp.asarray, windows)
        ctrl = jnp.repeat(windows.ctrl, self.substeps, axis=1)
        corners = softsim.Softening(collision=softsim.Part(skin=jnp.asarray(SKIN)))
        start, tangents = jax.vmap(begin)(z, windows)
        path, slopes = sweep(model, self.data, start, tangents, ctrl, corners)
        at = slice(self.substeps - 1, None, self.substeps)
        r, J = jax.vmap(judge)(path[:, at], slopes[:, at], windows)
        return r, jnp.moveaxis(J, 1, -1)

    def first_state(
        self, m: mjx.Model, z: Float[Array, " K"], window: Windows
    ) -> tuple[Float[Array, " nq"], Float[Array, " nv"]]:
        """Position and velocity where the prediction of a window begins."""
        qpos, qvel = jnp.asarray(window.qpos0), jnp.asarray(window.qvel0)
        if self.backward:
            qvel = qvel + half_sample(m, self.substeps)
        if z.size:
            offset = z * self.state_noise
            qpos = integrate_pos(m, qpos, offset[: m.nv], jnp.ones(()))
            qvel = qvel + offset[m.nv :]
        return qpos, qvel

    def robustify(self, square: Float[Array, " W"]) -> tuple[Array, Array]:
        """rho and its derivative at squared errors of samples."""
        bound = self.noise.size * self.robust**2
        return bound * jnp.log1p(square / bound), 1.0 / (1.0 + square / bound)

    def blocks(
        self, u: Float[Array, " P"], z: Float[Array, "w K"], windows: Windows
    ) -> tuple[Array, ...]:
        """The fields of `Blocks`: value and exact Jacobian in one forward sweep."""
        r, J = self.errors(u, z, windows)
        return jax.vmap(lambda *x: self.weigh(u.size, *x))(r, J, z, jnp.asarray(windows.mask))

    def weigh(
        self,
        P: int,
        r: Float[Array, "W nv"],
        J: Float[Array, "W nv n"],
        z: Float[Array, " K"],
        mask: Bool[Array, " W"],
    ) -> tuple[Array, ...]:
        """The fields of `Blocks` for one window."""
        square = jnp.sum(jnp.square(r), axis=1)
        steep = jnp.sum(jnp.square(J[:, :, :P]), axis=(1, 2)) / self.noise.size
        variance = 1.0 + jnp.square(self.spread) * steep
        weight = self.robustify(square / variance)[1] / variance
        H = jnp.einsum("k,kvi,kvj->ij", weight, J, J)
        H = H + jnp.diag((jnp.arange(P + z.size) >= P) * 1.0)
        g = jnp.einsum("k,kvi,kv->i", weight, J, r) + jnp.concatenate([jnp.zeros(P), z])
        return (
            square, variance, z @ z, jnp.sum(weight * square) + z @ z,
            jnp.sum(mask) * self.noise.size,
            g[:P], g[P:], H[:P, :P], H[:P, P:], H[P:, P:],
        )  # fmt: skip


def half_sample(m: mjx.Model, substeps: int) -> Float[Array, " nv"]:
    """From the mean velocity over the sample before to the velocity now, for free bodies in flight.

    Gravity alone acts: g dt / 2 (1 - 1 / n) with n semi-implicit Euler steps to a sample.
    """
    free = np.flatnonzero(m.jnt_type == 0)
    at = (m.jnt_dofadr[free][:, None] + np.arange(3)).astype(int)
    change = m.opt.gravity * m.opt.timestep * (substeps - 1) / 2
    return jnp.zeros(m.nv, m.qpos0.dtype).at[at].set(change)


Evaluate = Callable[[np.ndarray, np.ndarray, Windows], Blocks]


def make_evaluator(problem: Problem) -> Evaluate:
    """`blocks` of any number of windows, in calls of one compiled program, one call per core."""
    # settings are arguments, so that other settings are not another program
    settings = (problem.noise, problem.state_noise, problem.robust, problem.spread)
    # a batch of small steps keeps one core of a CPU busy
    cores = (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1
    compiled: set[int] = set()

    @jax.jit
    def program(settings: tuple, u: Array, z: Array, windows: Windows) -> tuple[Array, ...]:
        noise, state_noise, robust, spread = settings
        p = replace(problem, noise=noise, state_noise=state_noise, robust=robust, spread=spread)
        return p.blocks(u, z, windows)

    def evaluate(u: np.ndarray, z: np.ndarray, windows: Windows) -> Blocks:
        n = len(z)
        size = min(CHUNK, -(-n // cores))
        double = bool(jax.config.read("jax_enable_x64"))  # a thread does not inherit it

        def call(first: int) -> tuple[np.ndarray, ...]:
            index = np.minimum(np.arange(first, first + size), n - 1)
            some = Windows(*(np.asarray(x)[index] for x in windows))
            with jax.enable_x64(double):
                out = program(settings, jnp.asarray(u), jnp.asarray(z[index]), some)
                return tuple(map(np.asarray, out))

        first, *others = range(0, n, size)
        if size not in compiled:  # alone: two threads would compile the same program
            compiled.add(size)
            parts = [call(first)]
        else:
            parts, others = [], [first, *others]
        with ThreadPoolExecutor(cores) as pool:  # JAX runs the calls of one thread one by one
            parts += pool.map(call, others)
        return Blocks(*(np.concatenate(x)[:n] for x in zip(*parts)))

    return evaluate


def total(problem: Problem, blocks: Blocks, variance: Float[np.ndarray, "w W"]) -> float:
    """The cost without the prior on u; infinite if the simulation was not finite."""
    bound = problem.noise.size * float(problem.robust) ** 2
    rho = bound * np.log1p(blocks.samples / variance / bound)
    cost = 0.5 * float(np.sum(rho) + np.sum(blocks.offset))
    return cost if np.isfinite(cost) else np.inf


@dataclass
class Point:
    """Where a minimisation is."""

    u: Float[np.ndarray, " P"]
    z: Float[np.ndarray, "w K"]
    blocks: Blocks
    cost: float
    noise: float  # s^2, against which the prior is weighed
    evaluations: int  # passes over the windows, each giving errors and Jacobian at once
    done: bool = False
    stalled: bool = False  # done because no step, however short, lowers the cost


def levenberg_marquardt(
    problem: Problem,
    windows: Windows,
    evaluate: Evaluate,
    start: Float[np.ndarray, " P"] | None = None,
    tolerance: float = 1e-3,
) -> Iterator[Point]:
    """Points, `start` (or 0) first; done when steps get below `tolerance`.

    Every step lowers the cost for the variances, of the samples and of the noise, at its beginning.
    Steps are in natural units of the coordinates: 1e-3 is 0.1 % of a positive parameter.
    """
    prior, slope = _prior_functions(problem.table)
    known = False  # whether the noise is estimated: not before the misfit is one of a fit
    u = np.zeros(problem.table.size) if start is None else start
    z = np.zeros((len(windows.mask), problem.state_noise.size))
    blocks = evaluate(u, z, windows)
    evaluations, damping = 1, 1e-3
    if not np.isfinite(total(problem, blocks, blocks.variance)):
        raise ValueError("the model as given does not predict finite motion; check it and the data")
    prior_cost = lambda u: 0.5 * float(prior(u) @ prior(u))
    done = stalled = False
    while True:
        variance = blocks.variance
        noise = prior_variance(blocks, windows.trajectory) if known else 1.0
        cost = total(problem, blocks, variance) + noise * prior_cost(u)
        yield Point(u, z, blocks, cost, noise, evaluations, done, stalled)
        if done:
            return
        accepted, small, ordinary, rise = False, False, damping, 8.0
        while not accepted and not small:
            scale = np.sqrt(noise)
            du, dz, expected = _step(
                reduce(blocks, damping), scale * slope(u), scale * prior(u), damping
            )
            tried = evaluate(u + du, z + dz, windows)
            evaluations += 1
            gain = cost - total(problem, tried, variance) - noise * prior_cost(u + du)
            accepted = gain > 0
            small = float(np.max(np.abs(du))) < (tolerance if known else ROUGHLY)
            good = gain > 0.5 * expected
            damping = max(1e-9, damping / 8.0) if good else damping if accepted else damping * rise
            rise *= 4.0  # ever faster, as after Nielsen (1999): each try costs a pass over the data
        done, known = small and known, small or known
        stalled = done and not accepted and damping > ordinary
        if accepted:
            u, z, blocks = u + du, z + dz, tried
        elif not done:
            damping = ordinary  # a step that the weaker prior allows has not been tried yet


def _step(
    reduced: Reduced, slope: np.ndarray, prior: np.ndarray, damping: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Changes of u and z, and the decrease of the cost they promise."""
    H, g = reduced.H + slope.T @ slope, reduced.g + slope.T @ prior
    du = -np.linalg.solve(H + damping * np.diag(np.diag(H) + 1e-12), g)
    dz = -(reduced.back_g + reduced.back_u @ du)
    return du, dz, -float(g @ du + 0.5 * du @ H @ du)


def adam(
    problem: Problem, windows: Windows, evaluate: Evaluate, rate: float, seed: int
) -> Iterator[Point]:
    """Adam on random chunks of the windows, for sets too large to be swept in every step.

    The initial states, where they are estimated, follow by a Gauss-Newton step of their own chunk
    before each step of u. Costs are those of the chunk.
    """
    prior, slope = _prior_functions(problem.table)
    generator = np.random.default_rng(seed)
    n, size = len(windows.mask), min(CHUNK, len(windows.mask))
    u, z = np.zeros(problem.table.size), np.zeros((n, problem.state_noise.size))
    mean, square = np.zeros_like(u), np.zeros_like(u)
    step = 0
    while True:
        index = generator.permutation(n)[:size]
        some = Windows(*(np.asarray(x)[index] for x in windows))
        blocks = evaluate(u, z[index], some)
        step += 1
        cost = total(problem, blocks, blocks.variance)
        noise = prior_variance(blocks, some.trajectory)
        yield Point(u, z, blocks, cost * n / size, noise, step)
        reduced = reduce(blocks, 1e-3)
        z[index] -= reduced.back_g
        gradient = reduced.g + noise * slope(u).T @ prior(u) * size / n
        if not np.isfinite(gradient).all():
            raise ValueError(
                f"step {step} of Adam at rate {rate}: the gradient is not finite, so the motion "
                "with these parameters has none; lower --rate, or fit fewer parameters"
            )
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        ratio = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.99**step)) + 1e-12)
        u = u - rate * ratio / np.sqrt(step)


def _prior_functions(table: Table):
    """Residuals of the prior and their Jacobian, in numpy."""
    value, jacobian = jax.jit(table.prior), jax.jit(jax.jacfwd(table.prior))
    return lambda u: np.asarray(value(u)), lambda u: np.asarray(jacobian(u))
