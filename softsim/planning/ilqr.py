"""iLQR: plans by exact linearisation along the path, solved backward, followed with feedback."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from softsim.derivatives import linearize
from softsim.integrators import difference_pos, integrate_pos
from softsim.planning.levers import Levers, levers
from softsim.planning.planner import Plan, best_of, search
from softsim.planning.riccati import Expansion, Value, riccati
from softsim.planning.task import State, Task, actions

DAMPING = np.array([0.1, 1.0, 10.0, 100.0])  # of the last good damping
DAMPINGS = (1e-8, 1e6)  # relative to the curvature of the cost by the actions
WORSE = 1e3  # the damping after a round in which none of those tried was good


def ilqr(
    task: Task, ctrl0: ArrayLike, iterations: int = 50, *, seed: int = 0, tolerance: float = 1e-6
) -> Plan:
    """Plan by iLQR within the actuators' ranges (Tassa, Mansard and Todorov, ICRA 2014).

    The planner to take for smooth costs and states of up to a few dozen numbers: it converges in
    tens of iterations, each worth one simulation per number in state and control.

    Args:
        ctrl0: controls to begin with (T, nu), in the units of the actuators; moved into their
            ranges. Zeros are a fair start where nothing better is known.
        iterations: rounds, at most.
        seed: has no effect on this planner, which draws nothing.
        tolerance: the search ends when five rounds in a row improved the cost by less than this
            share of it.

    Raises:
        ValueError: `ctrl0` has the wrong shape, or its cost is not finite.
    """
    return search(task, Ilqr(), ctrl0, iterations, seed=seed, tolerance=tolerance)


@dataclass(frozen=True)
class Ilqr:
    """One round of iLQR; its memory is the last good damping.

    Backward passes simulate nothing, so that instead of several lengths along one direction, plans
    of several dampings (of Levenberg and Marquardt) are tried, around the one that was best the
    last time.
    """

    def begin(self, plan: Float[Array, "T nu"]) -> Float[Array, ""]:
        return jnp.ones((), plan.dtype)

    def improve(
        self, task: Task, x: State, plan: Float[Array, "T nu"], memory: Any, key: PRNGKeyArray
    ) -> tuple[Float[Array, "T nu"], Float[Array, ""]]:
        units, lever = actions(task.model), levers(task.model)
        ctrl = units.to_ctrl(plan)
        path, costs = task.simulate(x, ctrl)
        before, end = jax.tree.map(lambda s: s[:-1], path), jax.tree.map(lambda s: s[-1], path)
        now = jax.vmap(lever.from_ctrl)(before, ctrl)
        expansion = jax.vmap(lambda x, a: expand(task, lever, x, a))(before, now)
        last = expand_last(task, end)
        dampings = jnp.clip(memory * DAMPING, *DAMPINGS)

        def follow(damping: Array) -> tuple[Array, Array]:
            k, K = riccati(expansion, last, lever.low - now, lever.high - now, damping)

            def body(y: State, reference: tuple) -> tuple[State, tuple]:
                x, action, k, K = reference
                action = lever.clip(action + k + K @ apart(task, x, y))
                ctrl = lever.to_ctrl(y, action)
                return task.advance(y, ctrl), (ctrl, task.stage(y, ctrl))

            end, (found, costs) = jax.lax.scan(body, x, (before, now, k, K))
            return units.from_ctrl(found), jnp.sum(costs) + task.last(end)

        plans, found = jax.vmap(follow)(dampings)
        plan, i, better = best_of(plan, jnp.sum(costs), plans, found)
        return plan, jnp.clip(jnp.where(better, dampings[i], memory * WORSE), *DAMPINGS)

    def shift(self, memory: Any) -> Any:
        return memory

    def simulations(self, task: Task) -> int:
        inputs = 2 * task.model.nv + task.model.na + task.model.nu
        return 1 + (1 + inputs) + len(DAMPING)


def expand(task: Task, lever: Levers, x: State, action: Float[Array, " nu"]) -> Expansion:
    """A control's physics steps to first order, its cost to second."""
    m = task.model
    n, ctrl = 2 * m.nv + m.na, lever.to_ctrl(x, action)

    def substep(carry: tuple, _: None) -> tuple[tuple, None]:
        x, A, B = carry
        a, b = linearize(m, task.data(x, ctrl), task.softening)
        return (task.substep(x, ctrl), a @ A, a @ B + b), None

    begin = (x, jnp.eye(n, dtype=ctrl.dtype), jnp.zeros((n, m.nu), ctrl.dtype))
    (_, A, B), _ = jax.lax.scan(substep, begin, None, length=task.substeps)

    def asked(z: Float[Array, " n+nu"]) -> tuple[State, Float[Array, " nu"]]:
        y = moved(task, x, z[:n])
        return y, lever.asked(y, action + z[n:])

    by_state, by_action = jnp.split(
        jax.jacfwd(lambda z: asked(z)[1])(jnp.zeros(n + m.nu, ctrl.dtype)), [n], axis=1
    )
    cost = lambda z: task.stage(*asked(z))
    return Expansion(A + B @ by_state, B @ by_action, *_to_second_order(cost, n + m.nu, ctrl.dtype))


def expand_last(task: Task, x: State) -> Value:
    """The final cost to second order."""
    n = 2 * task.model.nv + task.model.na
    cost = lambda z: task.last(moved(task, x, z))
    return Value(*_to_second_order(cost, n, x.qpos.dtype))


def _to_second_order(cost: Any, size: int, dtype: Any) -> tuple[Array, Array]:
    """Slope and curvature at zero; negative curvature is taken as none."""
    zero = jnp.zeros(size, dtype)
    values, axes = jnp.linalg.eigh(jax.hessian(cost)(zero))
    return jax.grad(cost)(zero), (axes * jnp.maximum(values, 0.0)) @ axes.T


def moved(task: Task, x: State, z: Float[Array, " n"]) -> State:
    """A state, moved in its tangent space: positions (nv), velocities (nv), activations (na)."""
    m = task.model
    dq, dv, da = jnp.split(z, np.array([m.nv, 2 * m.nv]))
    qpos = integrate_pos(m, x.qpos, dq, jnp.ones((), z.dtype))
    return x._replace(qpos=qpos, qvel=x.qvel + dv, act=x.act + da)


def apart(task: Task, x: State, y: State) -> Float[Array, " n"]:
    """From the state x to the state y, in the tangent space at x."""
    turned = difference_pos(task.model, x.qpos, y.qpos)
    return jnp.concatenate([turned, y.qvel - x.qvel, y.act - x.act])
