"""The constraint solve, differentiated at its optimum instead of through its iterations.

The acceleration minimises the strictly convex

    1/2 (a - a0)' M (a - a0) + s(J a - aref),         a0 = M^-1 qfrc_smooth,

so at the optimum F(a) = M a - qfrc_smooth - J' f(J a - aref) = 0. Newton (or conjugate gradient)
iterations with an exact line search find it. Its derivative is the implicit function theorem's,

    da = -H^-1 dF,        H = M + J' (-df/dx) J,

one factorisation for any number of iterations, in forward and reverse mode and to any order.
Reference: MuJoCo documentation, "Computation", section "Constraint solver"; E. Todorov, ICRA 2014.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco
from jaxtyping import Array, Bool, Float, Int
from mujoco import mjx

from softsim.constraint.forces import cone_index, cost, curvature, forces
from softsim.constraint.rows import Rows
from softsim.linear import cholesky_solve, solve_spd


class Problem(eqx.Module):
    """What the optimum depends on: inertia (nv, nv), smooth force (nv,), constraint rows."""

    M: Float[Array, "nv nv"]
    qfrc_smooth: Float[Array, " nv"]
    rows: Rows


class Settings(NamedTuple):
    """Static solver settings, from `m.opt`."""

    newton: bool
    iterations: int
    ls_iterations: int


class Solution(NamedTuple):
    """qacc (nv,), row forces (nefc,), qfrc_constraint (nv,), and iterations used."""

    qacc: Float[Array, " nv"]
    efc_force: Float[Array, " nefc"]
    qfrc_constraint: Float[Array, " nv"]
    niter: Int[Array, ""]


def solve(
    m: mjx.Model,
    problem: Problem,
    qacc_smooth: Float[Array, " nv"],
    qacc_warmstart: Float[Array, " nv"],
) -> Solution:
    """Constrained acceleration and the constraint forces.

    The warm start is where the iterations begin if its cost is below that of `qacc_smooth`; it is
    not differentiated. `niter == m.opt.iterations` tells that the tolerance was not reached.
    """
    rows = problem.rows
    if rows.n == 0:
        zero = jnp.zeros_like(qacc_smooth)
        return Solution(qacc_smooth, jnp.zeros(0), zero, jnp.zeros((), int))
    settings = Settings(
        newton=m.opt.solver == mujoco.mjtSolver.mjSOL_NEWTON,
        iterations=int(m.opt.iterations),
        ls_iterations=int(m.opt.ls_iterations),
    )
    start = qacc_smooth
    if not m.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_WARMSTART:
        start = _cheaper(problem, qacc_smooth, qacc_warmstart)
    tolerance = (m.opt.tolerance, m.opt.tolerance * m.opt.ls_tolerance)
    qacc, niter = _optimum(settings, problem, jax.lax.stop_gradient((start, tolerance)))
    force = forces(rows, rows.J @ qacc - rows.aref)
    return Solution(qacc, force, rows.J.T @ force, niter)


def _total_cost(problem: Problem, a: Float[Array, " nv"]) -> Float[Array, ""]:
    """The objective up to a constant."""
    rows = problem.rows
    quadratic = 0.5 * a @ (problem.M @ a) - a @ problem.qfrc_smooth
    return quadratic + cost(rows, rows.J @ a - rows.aref)


def _cheaper(
    problem: Problem, a: Float[Array, " nv"], b: Float[Array, " nv"]
) -> Float[Array, " nv"]:
    problem, a, b = jax.lax.stop_gradient((problem, a, b))
    return jnp.where(_total_cost(problem, b) < _total_cost(problem, a), b, a)


def _residual(problem: Problem, a: Float[Array, " nv"]) -> Float[Array, " nv"]:
    """F(a): the gradient of the objective."""
    rows = problem.rows
    return problem.M @ a - problem.qfrc_smooth - rows.J.T @ forces(rows, rows.J @ a - rows.aref)


def hessian(problem: Problem, x: Float[Array, " nefc"]) -> Float[Array, "nv nv"]:
    """H = M + J' (-df/dx) J at x = J a - aref."""
    rows = problem.rows
    diagonal, blocks = curvature(rows, x)
    H = problem.M + (rows.J.T * diagonal) @ rows.J
    if rows.cone_dim:
        J = rows.J[cone_index(rows)]
        H += jnp.einsum("cki,ckl,clj->ij", J, blocks, J)
    return 0.5 * (H + H.T)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _optimum(
    settings: Settings, problem: Problem, constants: tuple
) -> tuple[Float[Array, " nv"], Int[Array, ""]]:
    start, tolerance = constants
    return _minimise(settings, problem, start, tolerance)


@_optimum.defjvp
def _optimum_jvp(settings: Settings, primals: tuple, tangents: tuple) -> tuple:
    problem, constants = primals
    a, niter = _optimum(settings, problem, constants)
    _, dF = jax.jvp(lambda p: _residual(p, a), (problem,), (tangents[0],))
    H = hessian(problem, problem.rows.J @ a - problem.rows.aref)
    da = -solve_spd(H, dF)
    return (a, niter), (da, jnp.zeros(niter.shape, jax.dtypes.float0))


class _State(NamedTuple):
    """Iterate a with x = J a - aref and Ma; search direction memory is used by CG only."""

    a: Float[Array, " nv"]
    x: Float[Array, " nefc"]
    Ma: Float[Array, " nv"]
    grad: Float[Array, " nv"]
    Mgrad: Float[Array, " nv"]
    search: Float[Array, " nv"]
    niter: Int[Array, ""]
    done: Bool[Array, ""]


def _minimise(
    settings: Settings, problem: Problem, start: Float[Array, " nv"], tolerance: tuple
) -> tuple[Float[Array, " nv"], Int[Array, ""]]:
    """Newton or preconditioned conjugate gradient descent from `start`."""
    M, rows = problem.M, problem.rows
    scale = 1.0 / jnp.maximum(jnp.trace(M), mujoco.mjMINVAL)
    tol, ls_tol = tolerance
    direction = _newton_direction(problem) if settings.newton else _cg_direction(M)

    def iterate(s: _State) -> _State:
        grad = s.Ma - problem.qfrc_smooth - rows.J.T @ forces(rows, s.x)
        Mgrad, search = direction(s, grad)
        Mv, Jv = M @ search, rows.J @ search
        gtol = ls_tol * jnp.linalg.norm(search) / scale
        smooth = (search @ (s.Ma - problem.qfrc_smooth), search @ Mv)
        alpha = _linesearch(rows, s.x, Jv, smooth, gtol, settings.ls_iterations)
        # what this step gains, to second order: robust where costs cancel in float32
        gain = -0.5 * alpha * (grad @ search)
        return _State(
            a=s.a + alpha * search,
            x=s.x + alpha * Jv,
            Ma=s.Ma + alpha * Mv,
            grad=grad,
            Mgrad=Mgrad,
            search=search,
            niter=s.niter + 1,
            done=(scale * gain < tol) | (scale * jnp.linalg.norm(grad) < tol),
        )

    zero = jnp.zeros_like(start)
    init = _State(
        start, rows.J @ start - rows.aref, M @ start, zero, zero, zero, jnp.zeros((), int),
        jnp.zeros((), bool),
    )  # fmt: skip
    final = jax.lax.while_loop(lambda s: ~s.done & (s.niter < settings.iterations), iterate, init)
    return final.a, final.niter


Direction = Callable[[_State, Float[Array, " nv"]], tuple[Array, Array]]


def _newton_direction(problem: Problem) -> Direction:
    """H^-1 grad, and the search direction against it."""

    def direction(s: _State, grad: Float[Array, " nv"]) -> tuple[Array, Array]:
        Hgrad = cholesky_solve(hessian(problem, s.x), grad[:, None])[:, 0]
        return Hgrad, -Hgrad

    return direction


def _cg_direction(M: Float[Array, "nv nv"]) -> Direction:
    """M^-1 grad, and the direction conjugate to the last one (Polak and Ribiere).

    Where that one does not descend, the search starts again along -M^-1 grad.
    """
    inverse = cholesky_solve(M, jnp.eye(M.shape[0], dtype=M.dtype))

    def direction(s: _State, grad: Float[Array, " nv"]) -> tuple[Array, Array]:
        Mgrad = inverse @ grad
        beta = grad @ (Mgrad - s.Mgrad) / jnp.maximum(s.grad @ s.Mgrad, mujoco.mjMINVAL)
        search = -Mgrad + jnp.maximum(beta, 0.0) * s.search
        return Mgrad, jnp.where(grad @ search < 0, search, -Mgrad)

    return direction


def _linesearch(
    rows: Rows,
    x: Float[Array, " nefc"],
    Jv: Float[Array, " nefc"],
    smooth: tuple[Float[Array, ""], Float[Array, ""]],
    gtol: Float[Array, ""],
    iterations: int,
) -> Float[Array, ""]:
    """Minimiser of the objective along the search direction: the root of its increasing slope.

    Newton steps on the slope, kept inside a bracket by bisection; `smooth` holds slope and
    curvature of the quadratic part at 0.
    """
    slope0, curve0 = smooth
    v = Jv[cone_index(rows)] if rows.cone_dim else None

    def slope(alpha: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        at = x + alpha * Jv
        diagonal, blocks = curvature(rows, at)
        curve = curve0 + jnp.sum(diagonal * jnp.square(Jv))
        if rows.cone_dim:
            curve += jnp.einsum("ci,cij,cj->", v, blocks, v)
        return slope0 + alpha * curve0 - forces(rows, at) @ Jv, curve

    def refine(s: tuple) -> tuple:
        lo, hi, alpha, value, curve, i = s
        lo = jnp.where(value < 0, alpha, lo)
        hi = jnp.where(value < 0, hi, alpha)
        step = alpha - value / jnp.maximum(curve, mujoco.mjMINVAL)
        middle = jnp.where(jnp.isfinite(hi), 0.5 * (lo + hi), 2.0 * lo)
        alpha = jnp.where((step > lo) & (step < hi), step, middle)
        return lo, hi, alpha, *slope(alpha), i + 1

    start = jnp.ones_like(slope0)
    init = (jnp.zeros_like(start), jnp.full_like(start, jnp.inf), start, *slope(start), 0)
    # below the rounding of the slope there is nothing left to find
    floor = (
        4.0 * jnp.finfo(x.dtype).eps * (jnp.abs(slope0) + jnp.abs(forces(rows, x)) @ jnp.abs(Jv))
    )
    enough = jnp.maximum(gtol, floor)
    return jax.lax.while_loop(
        lambda s: (jnp.abs(s[3]) > enough) & (s[5] < iterations), refine, init
    )[2]
