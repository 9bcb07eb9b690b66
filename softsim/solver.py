"""The constraint solve, and the derivative of what it returns.

The acceleration minimises the strictly convex

    1/2 (a - a0)' M (a - a0) + s(J a - aref),         a0 = M^-1 qfrc_smooth,

so at the optimum F(a) = M a - qfrc_smooth - J' f(J a - aref) = 0. Newton (or conjugate gradient)
iterations with an exact line search find it. The derivative there is the implicit function
theorem's,

    da = -H^-1 dF,        H = M + J' (-df/dx) J,

one factorisation for any number of iterations, in forward and reverse mode and to any order.

A model that allows only a few iterations may stop before the optimum; its acceleration is then
another function, of the start as well, whose derivative only the iterations know. At most `FEW`
iterations, and line searches of at most `SHORT` rounds within them, are therefore differentiated
themselves, longer ones where they end.
Reference: MuJoCo documentation, "Computation", section "Constraint solver"; E. Todorov, ICRA 2014.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco
from jaxtyping import Array, Bool, Float, Int
from mujoco import mjx

from softsim.constraint.forces import cone_index, cost, curvature, forces
from softsim.constraint.rows import Rows
from softsim.linear import solve_spd
from softsim.numerics import safe_norm

# Rounds up to which a loop is differentiated itself. Published MJX models allow 1 to 5 iterations,
# which often do not suffice. With more, Newton has converged as a rule, and the derivative at the
# end costs one round instead of all; where it has not, `convergence` says so.
FEW = 5
# Rounds of a line search, likewise. Each halves the slope or the bracket, so that what a longer
# search leaves of either is below 2^-16, and the derivative at the root right to some 1e-5.
SHORT = 16
# where the line search begins: along a Newton direction the minimum, unless rows switch on the way
FULL_STEP = 1.0


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

    The warm start is where the iterations begin if its cost is below that of `qacc_smooth`; the
    derivative follows it where the iterations are few (`FEW`). `niter == m.opt.iterations` tells
    that the tolerance was not reached.
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
    qacc, niter = _solved(settings, problem, start, jax.lax.stop_gradient(tolerance))
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
    cost_a, cost_b = jax.lax.stop_gradient((_total_cost(problem, a), _total_cost(problem, b)))
    return jnp.where(cost_b < cost_a, b, a)


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
def _solved(
    settings: Settings, problem: Problem, start: Float[Array, " nv"], tolerance: tuple
) -> tuple[Float[Array, " nv"], Int[Array, ""]]:
    return _minimise(settings, problem, start, tolerance, jax.lax.while_loop)


@_solved.defjvp
def _solved_jvp(settings: Settings, primals: tuple, tangents: tuple) -> tuple:
    """Through the iterations where they are few, else at the optimum."""
    problem, start, tolerance = primals
    if settings.iterations <= FEW:
        loop = _rounds(settings.iterations)
        run = lambda problem, start: _minimise(settings, problem, start, tolerance, loop)
        return jax.jvp(run, (problem, start), tangents[:2])
    a, niter = _solved(settings, *primals)
    _, dF = jax.jvp(lambda p: _residual(p, a), (problem,), (tangents[0],))
    H = hessian(problem, problem.rows.J @ a - problem.rows.aref)
    da = -solve_spd(H, dF)
    return (a, niter), (da, jnp.zeros(niter.shape, jax.dtypes.float0))


Loop = Callable[[Callable, Callable, Any], Any]


def _rounds(count: int) -> Loop:
    """A `while_loop` of at most `count` rounds that has a reverse mode: a scan that does nothing
    any more once it is done.
    """

    def loop(unfinished: Callable, body: Callable, init: Any) -> Any:
        def once(state: Any, _: None) -> tuple[Any, None]:
            go = unfinished(state)
            return jax.tree.map(lambda new, old: jnp.where(go, new, old), body(state), state), None

        return jax.lax.scan(jax.checkpoint(once, prevent_cse=False), init, length=count)[0]

    return loop


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
    settings: Settings,
    problem: Problem,
    start: Float[Array, " nv"],
    tolerance: tuple,
    loop: Loop,
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
        gtol = ls_tol * jnp.linalg.norm(jax.lax.stop_gradient(search)) / scale
        line = _Line(rows, s.x, Jv, search @ (s.Ma - problem.qfrc_smooth), search @ Mv)
        alpha = _linesearch(settings.ls_iterations, line, gtol)
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
            done=(scale * gain < tol) | (scale * safe_norm(grad) < tol),
        )

    zero = jnp.zeros_like(start)
    init = _State(
        start, rows.J @ start - rows.aref, M @ start, zero, zero, zero, jnp.zeros((), int),
        jnp.zeros((), bool),
    )  # fmt: skip
    final = loop(lambda s: ~s.done & (s.niter < settings.iterations), iterate, init)
    return final.a, final.niter


Direction = Callable[[_State, Float[Array, " nv"]], tuple[Array, Array]]


def _newton_direction(problem: Problem) -> Direction:
    """H^-1 grad, and the search direction against it."""

    def direction(s: _State, grad: Float[Array, " nv"]) -> tuple[Array, Array]:
        Hgrad = solve_spd(hessian(problem, s.x), grad)
        return Hgrad, -Hgrad

    return direction


def _cg_direction(M: Float[Array, "nv nv"]) -> Direction:
    """M^-1 grad, and the direction conjugate to the last one (Polak and Ribiere).

    Where that one does not descend, the search starts again along -M^-1 grad.
    """
    inverse = jax.vmap(lambda column: solve_spd(M, column), out_axes=1)(jnp.eye(M.shape[0]))

    def direction(s: _State, grad: Float[Array, " nv"]) -> tuple[Array, Array]:
        Mgrad = inverse @ grad
        last = s.grad @ s.Mgrad
        usable = last > mujoco.mjMINVAL  # not so before the first iteration
        beta = jnp.where(usable, grad @ (Mgrad - s.Mgrad) / jnp.where(usable, last, 1.0), 0.0)
        search = -Mgrad + jnp.maximum(beta, 0.0) * s.search
        return Mgrad, jnp.where(grad @ search < 0, search, -Mgrad)

    return direction


class _Line(eqx.Module):
    """The objective along x + alpha Jv: the rows, and slope and curvature of the quadratic part."""

    rows: Rows
    x: Float[Array, " nefc"]
    Jv: Float[Array, " nefc"]
    slope0: Float[Array, ""]
    curve0: Float[Array, ""]

    def at(self, alpha: Float[Array, ""]) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Slope and curvature at alpha."""
        x = self.x + alpha * self.Jv
        diagonal, blocks = curvature(self.rows, x)
        curve = self.curve0 + jnp.sum(diagonal * jnp.square(self.Jv))
        if self.rows.cone_dim:
            v = self.Jv[cone_index(self.rows)]
            curve += jnp.einsum("ci,cij,cj->", v, blocks, v)
        slope = self.slope0 + alpha * self.curve0 - forces(self.rows, x) @ self.Jv
        return slope, jnp.maximum(curve, mujoco.mjMINVAL)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _linesearch(iterations: int, line: _Line, gtol: Float[Array, ""]) -> Float[Array, ""]:
    """Minimiser of the objective along the search direction: the root of its increasing slope."""
    return _root(iterations, line, gtol, jax.lax.while_loop)


@_linesearch.defjvp
def _linesearch_jvp(iterations: int, primals: tuple, tangents: tuple) -> tuple:
    """Through the rounds where they are few, else at the root.

    A full step that is accepted as it is depends on nothing. Near the optimum of the solve, where
    search directions are short, the rule at the root would divide rounding by their squares.
    """
    line, gtol = primals
    if iterations <= SHORT:
        run = lambda line: _root(iterations, line, gtol, _rounds(iterations))
        return jax.jvp(run, (line,), tangents[:1])
    alpha = _linesearch(iterations, line, gtol)
    (_, curve), (change, _) = jax.jvp(lambda line: line.at(alpha), (line,), tangents[:1])
    return alpha, jnp.where(alpha == FULL_STEP, 0.0, -change / curve)


def _root(iterations: int, line: _Line, gtol: Float[Array, ""], loop: Loop) -> Float[Array, ""]:
    """Newton steps on the slope inside a bracket; halving where they do not halve the slope.

    Between two kinks Newton can go back and forth for ever, inside a bracket that hardly shrinks.
    The flattest point counts: halving leaves a root that rounding keeps from being flat enough.
    """

    def refine(s: tuple) -> tuple:
        best, (lo, hi, alpha, value, curve, last), i = s
        lo = jnp.where(value < 0, alpha, lo)
        hi = jnp.where(value < 0, hi, alpha)
        step = alpha - value / curve
        middle = jnp.where(jnp.isfinite(hi), 0.5 * (lo + hi), 2.0 * lo)
        newton = (step > lo) & (step < hi) & (jnp.abs(value) < 0.5 * last)
        alpha = jnp.where(newton, step, middle)
        last = jnp.abs(jax.lax.stop_gradient(value))
        value, curve = line.at(alpha)
        best = _flatter((alpha, value), best)
        return best, (lo, hi, alpha, value, curve, last), i + 1

    start = jnp.full_like(line.slope0, FULL_STEP)
    infinite = jnp.full_like(start, jnp.inf)
    value, curve = line.at(start)
    init = (start, value), (jnp.zeros_like(start), infinite, start, value, curve, infinite), 0
    # below the rounding of the slope there is nothing left to find
    size = jnp.abs(line.slope0) + jnp.abs(forces(line.rows, line.x)) @ jnp.abs(line.Jv)
    enough = jnp.maximum(gtol, 4.0 * jnp.finfo(line.x.dtype).eps * size)
    unfinished = lambda s: (jnp.abs(s[0][1]) > enough) & (s[2] < iterations)
    return loop(unfinished, refine, init)[0][0]


def _flatter(a: tuple, b: tuple) -> tuple:
    """Of two points (alpha, slope) the one with the smaller slope."""
    return jax.tree.map(lambda x, y: jnp.where(jnp.abs(a[1]) < jnp.abs(b[1]), x, y), a, b)
