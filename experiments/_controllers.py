"""Planners for model-predictive control: each improves a plan by one round.

A plan is a sequence of H actions (H, nu) in [-1, 1]. All planners see the same task: a state, how
an action moves it on, and what a step costs. Two follow derivatives, two sample.

Work is counted in simulated physics steps. A gradient of a step is charged as four steps (forward
once, backward about three times the work), a linearisation as one step per input and one for the
value.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

import softsim
from envs import Env
from softsim.derivatives import difference_pos
from softsim.integrators import integrate_pos

GRADIENT_COST = 4
LENGTHS = np.array([0.0, 0.03, 0.1, 0.3, 1.0])  # of steps tried along a direction
REGULARISATION = 1e-3


class X(NamedTuple):
    """The state that is carried from step to step."""

    qpos: Float[Array, " nq"]
    qvel: Float[Array, " nv"]
    warmstart: Float[Array, " nv"]


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
        improve: (task, state, plan, key) -> plan.
        work: task -> simulated physics steps of one round.
    """

    improve: Callable[[Task, X, Array, PRNGKeyArray], Array]
    work: Callable[[Task], int]


def shooting(
    task: Task, x: X, plan: Float[Array, "H nu"], key: PRNGKeyArray
) -> Float[Array, "H nu"]:
    """One step down the gradient of the whole plan, of the best of several lengths."""
    gradient = jax.grad(lambda p: task.total(x, p))(plan)
    gradient = jnp.where(jnp.isfinite(gradient), gradient, 0.0)
    direction = gradient / (jnp.max(jnp.abs(gradient)) + 1e-9)
    plans = jnp.clip(plan - jnp.asarray(LENGTHS)[:, None, None] * direction, -1.0, 1.0)
    costs = jax.vmap(lambda p: task.total(x, p))(plans)
    return plans[jnp.nanargmin(costs)]


class Expansion(NamedTuple):
    """A step to first order, its cost to second, in the tangent space of the state (n)."""

    A: Float[Array, "n n"]
    B: Float[Array, "n nu"]
    cx: Float[Array, " n"]
    cu: Float[Array, " nu"]
    H: Float[Array, "m m"]  # of (state, action), positive semidefinite


def ilqr(task: Task, x: X, plan: Float[Array, "H nu"], key: PRNGKeyArray) -> Float[Array, "H nu"]:
    """One round of iLQR (Li and Todorov, 2004): Riccati backward, the best of several lengths."""

    def body(x: X, action: Array) -> tuple[X, X]:
        return task.advance(x, action), x

    end, before = jax.lax.scan(body, x, plan)
    after = X(*(jnp.concatenate([b[1:], e[None]]) for b, e in zip(before, end)))
    expansions = jax.vmap(lambda b, a, u: _expand(task, b, a, u))(before, after, plan)
    feedforward, feedback = _riccati(expansions)

    def follow(length: Float[Array, ""]) -> tuple[Array, Array]:
        def body(y: X, reference: tuple) -> tuple[X, tuple]:
            x, action, k, K = reference
            action = jnp.clip(action + length * k + K @ _apart(task, x, y), -1.0, 1.0)
            y = task.advance(y, action)
            return y, (action, task.stage(y, action))

        actions, costs = jax.lax.scan(body, x, (before, plan, feedforward, feedback))[1]
        return actions, jnp.sum(costs)

    plans, costs = jax.vmap(follow)(jnp.asarray(LENGTHS))
    return plans[jnp.nanargmin(costs)]


def _expand(task: Task, before: X, after: X, action: Float[Array, " nu"]) -> Expansion:
    m, nv = task.env.model, task.env.model.nv

    def substep(carry: tuple, _: None) -> tuple[tuple, None]:
        y, A, B = carry
        d = task.data(y, action)
        a, b = softsim.linearize(m, d, task.softening)
        b = b * _ctrl_scale(task, y, action)
        following = softsim.step(m, d, task.softening)
        y = X(following.qpos, following.qvel, following.qacc_warmstart)
        return (y, a @ A, a @ B + b), None

    start = (before, jnp.eye(2 * nv), jnp.zeros((2 * nv, action.size)))
    (_, A, B), _ = jax.lax.scan(substep, start, None, length=task.env.frame_skip)

    def cost(z: Array) -> Array:
        qpos = integrate_pos(m, after.qpos, z[:nv], jnp.ones(()))
        moved = X(qpos, after.qvel + z[nv : 2 * nv], after.warmstart)
        return task.stage(moved, action + z[2 * nv :])

    zero = jnp.zeros(2 * nv + action.size)
    slope, curve = jax.grad(cost)(zero), jax.hessian(cost)(zero)
    values, axes = jnp.linalg.eigh(curve)
    curve = (axes * jnp.maximum(values, 0.0)) @ axes.T
    return Expansion(A, B, slope[: 2 * nv], slope[2 * nv :], curve)


def _ctrl_scale(task: Task, x: X, action: Float[Array, " nu"]) -> Float[Array, " nu"]:
    """d ctrl / d action; actions act on their own control each."""
    return jnp.diag(jax.jacfwd(lambda a: task.data(x, a).ctrl)(action))


def _apart(task: Task, x: X, y: X) -> Float[Array, " n"]:
    return jnp.concatenate([difference_pos(task.env.model, x.qpos, y.qpos), y.qvel - x.qvel])


def _riccati(e: Expansion) -> tuple[Float[Array, "H nu"], Float[Array, "H nu n"]]:
    """Feedforward and feedback of the quadratic problem; the cost of a step is on its end."""
    n = e.A.shape[-1]
    nu = e.B.shape[-1]

    def body(value: tuple, e: Expansion) -> tuple[tuple, tuple]:
        v, V = value
        v, V = v + e.cx, V + e.H[:n, :n]
        qx, qu = e.A.T @ v, e.cu + e.B.T @ v
        cross = e.H[n:, :n]
        qxx = e.A.T @ V @ e.A
        qux = (e.B.T @ V + cross) @ e.A
        quu = e.H[n:, n:] + e.B.T @ V @ e.B + cross @ e.B + (cross @ e.B).T
        quu = quu + REGULARISATION * (1.0 + jnp.trace(jnp.abs(quu)) / nu) * jnp.eye(nu)
        gains = -jnp.linalg.solve(quu, jnp.concatenate([qu[:, None], qux], axis=1))
        k, K = gains[:, 0], gains[:, 1:]
        v = qx + K.T @ qu + qux.T @ k + K.T @ quu @ k
        V = qxx + K.T @ quu @ K + K.T @ qux + qux.T @ K
        return (v, 0.5 * (V + V.T)), (k, K)

    start = (jnp.zeros(n), jnp.zeros((n, n)))
    return jax.lax.scan(body, start, e, reverse=True)[1]


def mppi(samples: int, spread: float, temperature: float = 0.05) -> Planner:
    """Model-predictive path integral control (Williams et al., 2017).

    Args:
        samples: noisy plans in a round; the plan itself is one more.
        spread: standard deviation of the noise on actions.
        temperature: relative to the range of the costs of the round.
    """

    def improve(task: Task, x: X, plan: Array, key: PRNGKeyArray) -> Array:
        noise = spread * jax.random.normal(key, (samples, *plan.shape))
        plans = jnp.clip(jnp.concatenate([plan[None], plan + noise]), -1.0, 1.0)
        costs = jax.vmap(lambda p: task.total(x, p))(plans)
        costs = jnp.where(jnp.isfinite(costs), costs, jnp.inf)
        low = jnp.min(costs)
        scale = temperature * (jnp.median(costs) - low) + 1e-9
        weight = jax.nn.softmax(-(costs - low) / scale)
        return jnp.tensordot(weight, plans, axes=1)

    return Planner(improve, lambda task: (samples + 1) * task.steps)


def cem(samples: int, spread: float, elite: float = 0.1) -> Planner:
    """Cross-entropy method: the mean of the best plans of a round (de Boer et al., 2005).

    The spread is that of a first generation, since every round begins around the present plan.
    """

    def improve(task: Task, x: X, plan: Array, key: PRNGKeyArray) -> Array:
        noise = spread * jax.random.normal(key, (samples, *plan.shape))
        plans = jnp.clip(jnp.concatenate([plan[None], plan + noise]), -1.0, 1.0)
        costs = jax.vmap(lambda p: task.total(x, p))(plans)
        best = jnp.argsort(jnp.where(jnp.isfinite(costs), costs, jnp.inf))
        return jnp.mean(plans[best[: max(1, round(elite * samples))]], axis=0)

    return Planner(improve, lambda task: (samples + 1) * task.steps)


def _shooting_work(task: Task) -> int:
    return (GRADIENT_COST + len(LENGTHS)) * task.steps


def _ilqr_work(task: Task) -> int:
    inputs = 2 * task.env.model.nv + task.env.model.nu
    return (1 + (1 + inputs) + 1 + len(LENGTHS)) * task.steps


SHOOTING = Planner(shooting, _shooting_work)
ILQR = Planner(ilqr, _ilqr_work)
