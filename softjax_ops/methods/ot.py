"""Optimal transport to sorted anchors (Cuturi et al., arXiv 1905.11885; top-k: Xie et al., 2020).

Every live entry carries mass 1, every slot takes mass 1, and the entries above and below the
requested slots share one anchor each. With cost (z_j - anchor_a)^2, of which only -2 z_j anchor_a
depends on the pairing, and a regularised plan (entropy
for "smooth", p-norms for c0, c1, c2: Blondel et al., arXiv 1710.06276), the plan given the prices g
of the anchors is, entry by entry, a projection on the simplex:

    P_j = project((g + 2 z_j anchors) / width),    prices such that sum_j P_ja = mass of a

The prices minimise a convex function of as many variables as anchors: damped Newton, started from
the prices of the hard transport (known in closed form in one dimension), and differentiated
implicitly. O(n a^2) time per step and O(n a) memory for a anchors.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from softjax_ops.projections import (
    EXPONENT,
    NEVER,
    expectation,
    from_top,
    log_project,
    normalize,
    power,
    project,
    threshold,
)
from softjax_ops.standardize import Rows, resolved, rounded

GIVE_UP = 1e8
"""Damping at which rounding, not the step, limits the progress."""


class Options(NamedTuple):
    """`ot_kwargs`. The names are those of SoftJAX; both solvers are Newton's method here.

    Attributes:
        use_entropic_ot_sinkhorn_on_entropic: only True; the entropic problem has one solver.
        sinkhorn_tol: largest error of a marginal (1 is the mass of an entry) in mode "smooth".
        sinkhorn_max_iter: largest number of steps in mode "smooth".
        lbfgs_tol: as sinkhorn_tol, in the other modes.
        lbfgs_max_iter: as sinkhorn_max_iter, in the other modes.
        implicit_diff: only True; steps are never differentiated.
    """

    use_entropic_ot_sinkhorn_on_entropic: bool = True
    sinkhorn_tol: float = 1e-5
    sinkhorn_max_iter: int = 10000
    lbfgs_tol: float = 1e-5
    lbfgs_max_iter: int = 10000
    implicit_diff: bool = True


def parse_options(options: Mapping[str, Any] | None) -> Options:
    """`Options` from `ot_kwargs`; an unknown key raises TypeError, a bad value ValueError."""
    given = Options(**(options or {}))
    for name in ("use_entropic_ot_sinkhorn_on_entropic", "implicit_diff"):
        if getattr(given, name) is not True:
            raise ValueError(f"ot_kwargs[{name!r}]: got {getattr(given, name)}, expected True")
    for name in ("sinkhorn_tol", "sinkhorn_max_iter", "lbfgs_tol", "lbfgs_max_iter"):
        if not getattr(given, name) > 0:
            raise ValueError(f"ot_kwargs[{name!r}]: got {getattr(given, name)}, expected > 0")
    return given


class _Problem(NamedTuple):
    """One row: scores z (n,), live (n,), anchors (a,) and their masses (a,), width ()."""

    z: Float[Array, " n"]
    live: Float[Array, " n"]
    anchors: Float[Array, " a"]
    mass: Float[Array, " a"]
    width: Float[Array, ""]

    def scores(self, prices: Float[Array, " a"]) -> Float[Array, "n a"]:
        return jnp.where(self.mass > 0, rounded(2 * self.z[:, None] * self.anchors) + prices, NEVER)

    def marginal(self, prices: Float[Array, " a"], mode: str) -> Float[Array, " a"]:
        return self.live @ project(self.scores(prices), mode, self.width)


def _hessian(problem: _Problem, prices: Array, mode: str) -> Float[Array, "a a"]:
    """Derivative of the marginal with respect to the prices, made regular.

    It is singular along equal changes of all prices, and where no entry links two groups of
    anchors; there the prices stay. It is zero where every entry goes to one anchor. What is added
    for that is the root of the rounding unit: rounding divided by it still moves no price.
    """
    scores = problem.scores(prices)
    if mode == "smooth":
        weight = project(scores, mode, problem.width)
    else:
        e = EXPONENT[mode]
        scores = from_top(scores) / problem.width
        rest = scores - threshold(scores, e)
        weight = jnp.where(rest > 0, e * power(jnp.where(rest > 0, rest, 0), e - 1), 0)
    weight = weight * problem.live[:, None]
    total = jnp.sum(weight, axis=1, keepdims=True)
    spread = weight / jnp.where(total > 0, total, 1)
    matrix = (jnp.diag(jnp.sum(weight, axis=0)) - weight.T @ spread) / problem.width
    size = jnp.trace(matrix) / len(matrix)
    size = jnp.where(size > 0, size, 1.0)
    unused = jnp.where(problem.mass > 0, jnp.finfo(matrix.dtype).eps ** 0.5, 1) * size
    return matrix + size / len(matrix) + jnp.diag(unused)


def _start(problem: _Problem) -> Float[Array, " a"]:
    """Prices of the hard transport: the entry midway between two groups is indifferent."""
    z = -jnp.sort(-problem.z)
    below = jnp.cumsum(problem.mass)[:-1].astype(int)
    last = jnp.maximum(jnp.sum(problem.live).astype(int) - 1, 0)
    upper, lower = (z[jnp.clip(i, 0, last)] for i in (below - 1, below))
    middle = (upper + lower) / 2
    steps = 2 * middle * (problem.anchors[:-1] - problem.anchors[1:])
    return jnp.concatenate([jnp.zeros(1, z.dtype), jnp.cumsum(steps)])


def _newton(problem: _Problem, mode: str, tolerance: float, max_iter: int) -> Float[Array, " a"]:
    """Damped Newton; a step that does not lower the error of the marginals raises the damping.

    One step more than the tolerance asks for makes derivatives exact to rounding where curvature is
    regular.
    """
    dtype = problem.z.dtype
    limit = jnp.maximum(tolerance, 4 * jnp.finfo(dtype).eps * jnp.sum(problem.live))

    def error(prices):
        return problem.mass - problem.marginal(prices, mode)

    def cond(state):
        count, _, rest, damping = state
        return (count < max_iter) & (jnp.max(jnp.abs(rest)) > limit) & (damping < GIVE_UP)

    def body(state):
        count, prices, rest, damping = state
        matrix = _hessian(problem, prices, mode)
        extra = damping * (jnp.trace(matrix) / len(matrix)) * jnp.eye(len(matrix), dtype=dtype)
        new = prices + jnp.linalg.solve(matrix + extra, rest)
        new_rest = error(new)
        better = jnp.sum(new_rest**2) < jnp.sum(rest**2)
        damping = jnp.where(better, damping / 10, jnp.maximum(10 * damping, 1e-4))
        return (
            count + 1,
            jnp.where(better, new, prices),
            jnp.where(better, new_rest, rest),
            jnp.where(damping < 1e-6, 0, damping),
        )

    start = _start(problem)
    state = (0, start, error(start), jnp.zeros((), dtype))
    return body(jax.lax.while_loop(cond, body, state))[1]


def _prices(problem: _Problem, mode: str, options: Options) -> Float[Array, " a"]:
    """The prices of the anchors, differentiable in the scores, the anchors and the width."""
    smooth = mode == "smooth"
    tolerance = options.sinkhorn_tol if smooth else options.lbfgs_tol
    max_iter = options.sinkhorn_max_iter if smooth else options.lbfgs_max_iter

    @jax.custom_jvp
    def solve(problem):
        return _newton(problem, mode, tolerance, max_iter)

    @solve.defjvp
    def solve_jvp(primals, tangents):
        (problem,), (change,) = primals, tangents
        prices = solve(problem)

        def marginal(z, anchors, width):
            return problem._replace(z=z, anchors=anchors, width=width).marginal(prices, mode)

        moved = (change.z, change.anchors, change.width)
        shift = jax.jvp(marginal, (problem.z, problem.anchors, problem.width), moved)[1]
        return prices, -jnp.linalg.solve(_hessian(problem, prices, mode), shift)

    return solve(problem)


def _plan(
    z, live, softness, first, *, mode: str, count: int, log: bool, options: Options
) -> Float[Array, "count n"]:
    """The soft index of one row: the columns of the plan that belong to the slots."""
    n, number = z.shape[-1], jnp.sum(live)
    exact = isinstance(first, int) and first == 0
    k = jnp.arange(count)
    start = jnp.maximum(first, 0)
    share = ((first + k >= 0) & (first + k < number)).astype(z.dtype)
    above = jnp.minimum(start, number).astype(z.dtype)
    below = number - above - jnp.sum(share)
    if exact and count == n:
        mass = share
        anchors = 1 - k / jnp.maximum(number - 1, 1)
        offset = 0
    else:
        parts = ([] if exact else [above[None]], [share], [below[None]])
        mass = jnp.concatenate([p for group in parts for p in group])
        anchors = jnp.linspace(1, 0, len(mass), dtype=z.dtype)
        offset = 0 if exact else 1
    strength = 1.0 if mode == "smooth" else jnp.maximum(number, 1) ** (1 / EXPONENT[mode])
    width = resolved(softness / strength)
    problem = _Problem(z, live, anchors.astype(z.dtype), mass, width)
    scores = problem.scores(_prices(problem, mode, options))
    plan = (log_project if log else project)(scores, mode, problem.width)
    plan = plan[:, offset : offset + count].T
    filled, nothing = share[:, None] > 0, -jnp.inf if log else 0.0
    plan = jnp.where(live > 0, plan, nothing)
    if log:
        return plan - jnp.where(filled, jax.nn.logsumexp(plan, axis=-1, keepdims=True), 0)
    return normalize(jnp.where(filled, plan, 1 / n))


def index(
    rows: Rows,
    mode: str,
    first: int | Int[Array, "... 1"],
    count: int,
    log: bool = False,
    *,
    options: Options,
) -> Float[Array, "... count n"]:
    """Rows first .. first + count - 1 of the soft permutation."""
    z, softness = rows.z, jnp.broadcast_to(rows.softness, (*rows.z.shape[:-1], 1))
    live = rows.live.astype(z.dtype)
    n = z.shape[-1]
    batch = (z.reshape(-1, n), live.reshape(-1, n), softness.reshape(-1))
    plan = partial(_plan, mode=mode, count=count, log=log, options=options)
    if isinstance(first, int):
        found = jax.vmap(lambda z, live, width: plan(z, live, width, first))(*batch)
    else:
        starts = jnp.broadcast_to(first, softness.shape).reshape(-1)
        found = jax.vmap(plan)(*batch, starts)
    return found.reshape(*z.shape[:-1], count, n)


def values(
    rows: Rows,
    mode: str,
    first: int | Int[Array, "... 1"],
    count: int,
    *,
    options: Options,
) -> Float[Array, "... count"]:
    """The soft values at the slots."""
    return expectation(index(rows, mode, first, count, options=options), rows.x)


def rank(rows: Rows, mode: str, *, options: Options) -> Float[Array, "... n"]:
    """Soft ranks, 1 for the largest: the expected slot of every entry."""
    n = rows.z.shape[-1]
    plan = index(rows, mode, 0, n, options=options)
    filled = jnp.arange(n) < jnp.sum(rows.live, axis=-1, keepdims=True)
    plan = jnp.where(filled[..., None], plan, 0)  # slots past the last entry hold nothing
    places = jnp.arange(1, n + 1, dtype=plan.dtype)
    return jnp.einsum("...kn,k->...n", plan, places) / jnp.sum(plan, axis=-2)
