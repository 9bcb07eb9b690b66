"""Planners for model-predictive control: each improves a plan by one round.

A plan is a sequence of H actions (H, nu) in [-1, 1]. All planners see the same task: a state, how
an action moves it on, and what a step costs. Two follow derivatives, two sample. What a planner
learns about the problem (lengths of steps, spreads) it keeps in a memory, from round to round and
from one control step to the next.

Work is counted in simulated physics steps. A gradient of a step is charged as four steps (forward
once, backward about three times the work), a linearisation as one step per input and one for the
value.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

import softsim
from envs import Env
from softsim.integrators import difference_pos, integrate_pos

GRADIENT_COST = 4
STRETCH = np.array([0.25, 1.0, 4.0])  # of the last good length
LENGTHS = (1e-3, 1.0)  # shortest and longest step of shooting, in units of actions
DAMPING = np.array([0.1, 1.0, 10.0, 100.0])  # of the last good damping
DAMPINGS = (1e-6, 1e3)
BACKTRACK = np.array([1.0, 0.3, 0.1, 0.03])  # lengths of a projected Newton step


class X(NamedTuple):
    """The state that is carried from step to step."""

    qpos: Float[Array, "*T nq"]
    qvel: Float[Array, "*T nv"]
    warmstart: Float[Array, "*T nv"]


class Task(eqx.Module):
    """What is to be controlled.

    Attributes:
        env: gives the model, the meaning of actions and the start.
        cost: (env, state after, action, goal) -> cost of a step; smooth.
        goal: what `cost` needs beside the state.
        horizon: static; actions in a plan.
        softening: of the derivatives.
    """

    env: Env
    cost: Callable = eqx.field(static=True)
    goal: Array
    horizon: int = eqx.field(static=True)
    softening: softsim.Softening

    def data(self, x: X, action: Float[Array, " nu"]):
        """The physics at a state, with an action."""
        d = self.env.blank.replace(qpos=x.qpos, qvel=x.qvel, qacc_warmstart=x.warmstart)
        return self.env.act(d, action, {})

    def advance(self, x: X, action: Float[Array, " nu"]) -> X:
        """The state one action later."""
        d = self.data(x, action)
        ctrl = jnp.broadcast_to(d.ctrl, (self.env.frame_skip, d.ctrl.size))
        d, _ = softsim.rollout(self.env.model, d, ctrl, self.softening)
        return X(d.qpos, d.qvel, d.qacc_warmstart)

    def stage(self, x: X, action: Float[Array, " nu"]) -> Float[Array, ""]:
        """Cost of having come to x by an action."""
        return self.cost(self.env, x, action, self.goal)

    def total(self, x: X, plan: Float[Array, "H nu"]) -> Float[Array, ""]:
        """Cost of a plan."""

        def body(x: X, action: Array) -> tuple[X, Array]:
            x = self.advance(x, action)
            return x, self.stage(x, action)

        return jnp.sum(jax.lax.scan(body, x, plan)[1])

    @property
    def steps(self) -> int:
        """Physics steps in one simulation of a plan."""
        return self.horizon * self.env.frame_skip


class Planner(NamedTuple):
    """A way to improve plans.

    Attributes:
        start: task -> memory before the first round.
        improve: (task, state, plan, memory, key) -> plan, memory.
        shift: memory at the end of a control step -> at the beginning of the next.
        work: task -> simulated physics steps of one round.
    """

    start: Callable[[Task], Any]
    improve: Callable[[Task, X, Array, Any, PRNGKeyArray], tuple[Array, Any]]
    shift: Callable[[Any], Any]
    work: Callable[[Task], int]


class Descent(NamedTuple):
    """What shooting remembers: the last good length, free gradient and direction."""

    length: Float[Array, ""]
    gradient: Float[Array, "H nu"]
    direction: Float[Array, "H nu"]


def shooting() -> Planner:
    """One step of conjugate gradients on the whole plan, of the best of three lengths.

    Directions are those of Polak and Ribiere, without the actions that are at a limit and pushed
    against it; lengths are those around the one that was best the last time.
    """

    def start(task: Task) -> Descent:
        zero = jnp.zeros((task.horizon, task.env.action_size))
        return Descent(jnp.asarray(0.3), zero, zero)

    def improve(
        task: Task, x: X, plan: Array, last: Descent, key: PRNGKeyArray
    ) -> tuple[Array, Descent]:
        cost, gradient = jax.value_and_grad(lambda p: task.total(x, p))(plan)
        gradient = jnp.where(jnp.isfinite(gradient), gradient, 0.0)
        held = ((plan <= -1.0) & (gradient > 0)) | ((plan >= 1.0) & (gradient < 0))
        gradient = jnp.where(held, 0.0, gradient)
        direction = jnp.where(held, 0.0, _conjugate(gradient, last))
        lengths = jnp.clip(last.length * STRETCH, *LENGTHS)
        steps = lengths[:, None, None] * direction / (jnp.max(jnp.abs(direction)) + 1e-9)
        plans = jnp.clip(plan - steps, -1.0, 1.0)
        costs = jax.vmap(lambda p: task.total(x, p))(plans)
        plan, length, better = _best(plan, cost, plans, costs, lengths, 0.1 * last.length)
        return plan, Descent(length, gradient, jnp.where(better, direction, 0.0))

    def shift(last: Descent) -> Descent:
        gradient, direction = (jnp.concatenate([v[1:], 0.0 * v[:1]]) for v in last[1:])
        return Descent(last.length, gradient, direction)

    work = GRADIENT_COST + len(STRETCH)
    return Planner(start, improve, shift, lambda task: work * task.steps)


def _conjugate(gradient: Float[Array, "H nu"], last: Descent) -> Float[Array, "H nu"]:
    """The direction of Polak and Ribiere, or the gradient where that does not lead down."""
    change = jnp.sum(gradient * (gradient - last.gradient))
    share = jnp.clip(change / (jnp.sum(last.gradient**2) + 1e-12), 0.0, 2.0)
    direction = gradient + share * last.direction
    return jnp.where(jnp.sum(direction * gradient) > 0, direction, gradient)


def _best(
    plan: Array, cost: Array, plans: Array, costs: Array, settings: Array, otherwise: Array
) -> tuple[Array, Array, Array]:
    """The best plan, the setting that made it, and whether it is better than the one there was.

    If it is not, the plan there was and the setting `otherwise`.
    """
    best = jnp.argmin(jnp.where(jnp.isfinite(costs), costs, jnp.inf))
    better = costs[best] < cost
    plan = jnp.where(better, plans[best], plan)
    return plan, jnp.where(better, settings[best], otherwise), better


class Expansion(NamedTuple):
    """A step to first order, its cost to second, in the tangent space of the state (n)."""

    A: Float[Array, "*H n n"]
    B: Float[Array, "*H n nu"]
    slope: Float[Array, "*H m"]  # of (state after, action)
    curve: Float[Array, "*H m m"]  # positive semidefinite


def ilqr() -> Planner:
    """One round of iLQR within the limits of actions (Tassa et al., 2014).

    Backward passes simulate nothing, so that instead of several lengths along one direction, plans
    of several dampings (of Levenberg and Marquardt) are tried, around the one that was best the
    last time.
    """

    def improve(
        task: Task, x: X, plan: Array, damping: Array, key: PRNGKeyArray
    ) -> tuple[Array, Array]:
        before, after, costs = _simulate(task, x, plan)
        expansion = jax.vmap(lambda b, a, u: _expand(task, b, a, u))(before, after, plan)
        dampings = jnp.clip(damping * DAMPING, *DAMPINGS)
        start = jax.tree.map(lambda s: s[:, 0], before)

        def follow(damping: Array) -> tuple[Array, Array]:
            gains = riccati(expansion, plan, damping)

            def body(y: X, reference: tuple) -> tuple[X, tuple]:
                x, action, k, K = reference
                action = jnp.clip(action + k + K @ _apart(task, x, y), -1.0, 1.0)
                y = task.advance(y, action)
                return y, (action, task.stage(y, action))

            actions, costs = jax.lax.scan(body, x, (start, plan, *gains))[1]
            return actions, jnp.sum(costs)

        plans, found = jax.vmap(follow)(dampings)
        return _best(plan, jnp.sum(costs), plans, found, dampings, damping * 1e3)[:2]

    def work(task: Task) -> int:
        inputs = 2 * task.env.model.nv + task.env.model.nu
        return (1 + (1 + inputs) + len(DAMPING)) * task.steps

    return Planner(lambda task: jnp.asarray(1.0), improve, lambda damping: damping, work)


def _simulate(task: Task, x: X, plan: Float[Array, "H nu"]) -> tuple[X, X, Float[Array, " H"]]:
    """States before every physics step (H, frame_skip), after every action (H), and costs."""

    def body(x: X, action: Array) -> tuple[X, tuple]:
        ctrl = task.data(x, action).ctrl

        def substep(y: X, _: None) -> tuple[X, X]:
            d = softsim.step(
                task.env.model, task.data(y, action).replace(ctrl=ctrl), task.softening
            )
            return X(d.qpos, d.qvel, d.qacc_warmstart), y

        end, inside = jax.lax.scan(substep, x, None, length=task.env.frame_skip)
        return end, (inside, end, task.stage(end, action))

    return jax.lax.scan(body, x, plan)[1]


def _expand(task: Task, before: X, after: X, action: Float[Array, " nu"]) -> Expansion:
    m, nv = task.env.model, task.env.model.nv
    first = jax.tree.map(lambda s: s[0], before)
    control = lambda a: task.data(first, a).ctrl
    ctrl, scale = control(action), jax.jacfwd(control)(action)
    at = lambda y: softsim.linearize(m, task.data(y, action).replace(ctrl=ctrl), task.softening)
    steps = jax.vmap(at)(before)
    A, B = jnp.eye(2 * nv), jnp.zeros((2 * nv, action.size))
    for a, b in zip(*steps):
        A, B = a @ A, a @ B + b @ scale

    def cost(z: Array) -> Array:
        qpos = integrate_pos(m, after.qpos, z[:nv], jnp.ones(()))
        moved = X(qpos, after.qvel + z[nv : 2 * nv], after.warmstart)
        return task.stage(moved, action + z[2 * nv :])

    zero = jnp.zeros(2 * nv + action.size)
    values, axes = jnp.linalg.eigh(jax.hessian(cost)(zero))
    curve = (axes * jnp.maximum(values, 0.0)) @ axes.T
    return Expansion(A, B, jax.grad(cost)(zero), curve)


def _apart(task: Task, x: X, y: X) -> Float[Array, " n"]:
    return jnp.concatenate([difference_pos(task.env.model, x.qpos, y.qpos), y.qvel - x.qvel])


def riccati(
    e: Expansion, plan: Float[Array, "H nu"], damping: Float[Array, ""]
) -> tuple[Float[Array, "H nu"], Float[Array, "H nu n"]]:
    """Changes of the actions and feedback of the quadratic problem, actions within [-1, 1].

    The cost of a step is on the state it leads to. Gains are damped, the value they lead to is not.
    """
    n, nu = e.B.shape[-2:]

    def body(value: tuple, now: tuple) -> tuple[tuple, tuple]:
        (v, V), (e, action) = value, now
        v, V = v + e.slope[:n], V + e.curve[:n, :n]
        cross = e.curve[n:, :n]
        qx, qu = e.A.T @ v, e.slope[n:] + e.B.T @ v
        qxx = e.A.T @ V @ e.A
        qux = (e.B.T @ V + cross) @ e.A
        quu = e.curve[n:, n:] + e.B.T @ V @ e.B + cross @ e.B + (cross @ e.B).T
        k, K = _gains(quu + damping * jnp.eye(nu), qu, qux, -1.0 - action, 1.0 - action)
        v = qx + K.T @ qu + qux.T @ k + K.T @ quu @ k
        V = qxx + K.T @ quu @ K + K.T @ qux + qux.T @ K
        return (v, 0.5 * (V + V.T)), (k, K)

    start = (jnp.zeros(n), jnp.zeros((n, n)))
    return jax.lax.scan(body, start, (e, plan), reverse=True)[1]


def _gains(
    quu: Float[Array, "nu nu"],
    qu: Float[Array, " nu"],
    qux: Float[Array, "nu n"],
    low: Float[Array, " nu"],
    high: Float[Array, " nu"],
) -> tuple[Float[Array, " nu"], Float[Array, "nu n"]]:
    """Minimum of the quadratic function between low and high; actions at a limit give no feedback.

    Projected Newton steps: those at a limit and pushed against it are held, the others are solved.
    """
    nu = qu.size

    def reduced(k: Array) -> tuple[Array, Array]:
        slope = quu @ k + qu
        held = ((k <= low) & (slope > 0)) | ((k >= high) & (slope < 0))
        free = ~held
        return free, jnp.where(free[:, None] & free[None, :], quu, jnp.eye(nu))

    def newton(_: int, k: Array) -> Array:
        free, matrix = reduced(k)
        right = jnp.where(free, -(qu + quu @ jnp.where(free, 0.0, k)), k)
        change = jnp.linalg.solve(matrix, right) - k
        tried = jnp.clip(k + jnp.asarray(BACKTRACK)[:, None] * change, low, high)
        value = jnp.sum(tried * (0.5 * tried @ quu + qu), axis=1)
        return tried[jnp.argmin(value)]

    k = jnp.clip(jnp.linalg.solve(quu, -qu), low, high)
    k = jax.lax.fori_loop(0, nu + 1, newton, k) if nu > 1 else k  # one number is exact at once
    free, matrix = reduced(k)
    return k, -jnp.linalg.solve(matrix, jnp.where(free[:, None], qux, 0.0))


def mppi(samples: int, spread: float, temperature: float = 0.02, hold: float = 0.0) -> Planner:
    """Model-predictive path integral control (Williams et al., 2017).

    Args:
        samples: noisy plans in a round; the plan itself is one more.
        spread: standard deviation of the noise on actions.
        temperature: relative to the range of the costs of the round.
        hold: correlation of the noise on neighbouring actions.
    """

    def improve(
        task: Task, x: X, plan: Array, memory: None, key: PRNGKeyArray
    ) -> tuple[Array, None]:
        plans = _noisy(plan, spread, hold, samples, key)
        costs = jax.vmap(lambda p: task.total(x, p))(plans)
        costs = jnp.where(jnp.isfinite(costs), costs, jnp.inf)
        low = jnp.min(costs)
        scale = temperature * (jnp.median(costs) - low) + 1e-9
        weight = jax.nn.softmax(-(costs - low) / scale)
        return jnp.tensordot(weight, plans, axes=1), None

    return Planner(
        lambda task: None, improve, lambda _: None, lambda task: (samples + 1) * task.steps
    )


def cem(samples: int, spread: float, elite: float = 0.1, hold: float = 0.0) -> Planner:
    """Cross-entropy method: the mean of the best plans of a round (de Boer et al., 2005).

    Their standard deviation is the spread of the next round; a control step begins with `spread`.
    """

    def start(task: Task) -> Array:
        return jnp.full((task.horizon, task.env.action_size), spread)

    def improve(
        task: Task, x: X, plan: Array, memory: Array, key: PRNGKeyArray
    ) -> tuple[Array, Array]:
        plans = _noisy(plan, memory, hold, samples, key)
        costs = jax.vmap(lambda p: task.total(x, p))(plans)
        best = jnp.argsort(jnp.where(jnp.isfinite(costs), costs, jnp.inf))
        elites = plans[best[: max(2, round(elite * samples))]]
        return jnp.mean(elites, axis=0), jnp.std(elites, axis=0)

    def renew(memory: Array) -> Array:
        return jnp.full_like(memory, spread)

    return Planner(start, improve, renew, lambda task: (samples + 1) * task.steps)


def proposing(planner: Planner, samples: int, spread: float, hold: float) -> Planner:
    """Every round of `planner` begins from the best of a few noisy plans, the plan among them.

    Derivatives lead to the bottom of the valley in which a plan is; samples find other valleys.

    Args:
        samples, spread, hold: as for `mppi`.
    """

    def improve(task: Task, x: X, plan: Array, memory: Any, key: PRNGKeyArray) -> tuple[Array, Any]:
        plans = _noisy(plan, spread, hold, samples, key)
        costs = jax.vmap(lambda p: task.total(x, p))(plans)
        best = jnp.argmin(jnp.where(jnp.isfinite(costs), costs, jnp.inf))
        return planner.improve(task, x, plans[best], memory, key)

    work = lambda task: planner.work(task) + (samples + 1) * task.steps
    return Planner(planner.start, improve, planner.shift, work)


def _noisy(
    plan: Float[Array, "H nu"],
    spread: Array | float,
    hold: float,
    samples: int,
    key: PRNGKeyArray,
) -> Float[Array, "n H nu"]:
    """The plan, and plans with noise of a spread, correlated over time as hold^(steps apart)."""
    after = jnp.arange(len(plan))[:, None] - jnp.arange(len(plan))
    fresh = jnp.where(jnp.arange(len(plan)) > 0, jnp.sqrt(1.0 - hold**2), 1.0)
    mix = jnp.where(after >= 0, jnp.asarray(hold, plan.dtype) ** jnp.maximum(after, 0), 0.0) * fresh
    noise = spread * jnp.einsum("ij,sjk->sik", mix, jax.random.normal(key, (samples, *plan.shape)))
    return jnp.clip(jnp.concatenate([plan[None], plan + noise]), -1.0, 1.0)
