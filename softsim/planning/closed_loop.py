"""Model-predictive control: replan at every control, apply the first action, move on."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray
from mujoco import mjx

from softsim.planning.planner import Planner
from softsim.planning.task import State, Task, actions


class Memory(NamedTuple):
    """What a controller carries from one control to the next."""

    plan: Float[Array, "T nu"]  # in units of actions
    planner: Any
    key: PRNGKeyArray


class Controller(eqx.Module):
    """Feedback by replanning: rounds of a planner at every control, from the shifted last plan on.

    >>> import mujoco, softsim, jax, jax.numpy as jnp
    >>> from softsim import planning
    >>> mj_model = mujoco.MjModel.from_xml_string('''
    ... <mujoco><option timestep="0.05"/>
    ...   <worldbody><body><joint name="x" type="slide" axis="1 0 0"/>
    ...     <geom size="0.1" mass="1"/></body></worldbody>
    ...   <actuator><motor joint="x" ctrlrange="-2 2"/></actuator></mujoco>''')
    >>> m = softsim.put_model(mj_model)
    >>> d = softsim.make_data(m)
    >>> cost = lambda d, u: (d.qpos[0] - 0.3) ** 2 + 0.1 * d.qvel[0] ** 2 + 1e-3 * u @ u
    >>> controller = planning.Controller(planning.Task(m, d, cost), planning.Ilqr())
    >>> step = jax.jit(softsim.step)
    >>> memory = controller.begin(jnp.zeros((15, 1)))
    >>> for _ in range(60):
    ...     ctrl, memory = controller.act(memory, d)
    ...     d = step(m, d.replace(ctrl=ctrl))
    >>> bool(jnp.abs(d.qpos[0] - 0.3) < 0.01)
    True

    Attributes:
        task: its model is the one that plans; its start is not read but for what stays as it is.
        planner: `Ilqr()`, `Shooting()`, `Mppi(...)`, `Cem(...)` or `Proposing(...)`.
        rounds: traced; improvements of the plan per control.
    """

    task: Task
    planner: Planner = eqx.field(static=True)
    rounds: Array | int = 1

    def begin(self, ctrl0: ArrayLike, seed: int = 0) -> Memory:
        """The memory before the first control, from a plan (T, nu) in the actuators' units."""
        ctrl0 = jnp.asarray(ctrl0, self.task.model.qpos0.dtype)
        if ctrl0.ndim != 2 or ctrl0.shape[1] != self.task.model.nu or not len(ctrl0):
            raise ValueError(
                f"ctrl0: got shape {ctrl0.shape}, expected (T, {self.task.model.nu}), T > 0"
            )
        plan = actions(self.task.model).from_ctrl(ctrl0)
        return Memory(plan, self.planner.begin(plan), jax.random.key(seed))

    @eqx.filter_jit
    def act(self, memory: Memory, d: mjx.Data | State) -> tuple[Float[Array, " nu"], Memory]:
        """The control to apply at a state, in the actuators' units, and the memory after it.

        Compiled by itself; `jax.jit` is not needed.
        """
        x = State(*(getattr(d, name) for name in State._fields))
        key, following = jax.random.split(memory.key)

        def improve(i: Array, known: tuple) -> tuple:
            plan, kept = known
            return self.planner.improve(self.task, x, plan, kept, jax.random.fold_in(key, i))

        known = (memory.plan, memory.planner)
        plan, kept = jax.lax.fori_loop(0, self.rounds, improve, known)
        ctrl = actions(self.task.model).to_ctrl(plan[0])
        shifted = jnp.concatenate([plan[1:], plan[-1:]])
        return ctrl, Memory(shifted, self.planner.shift(kept), following)


class Controlled(NamedTuple):
    """A run in closed loop: what was applied, where it led, and what each control cost."""

    ctrl: Float[Array, "N nu"]
    path: State
    costs: Float[Array, " N"]


def control(controller: Controller, memory: Memory, length: int) -> Controlled:
    """Run a controller on its own model for `length` controls from the task's start on.

    Pure, so that it can be jitted and vmapped. `costs` are those of the task at each control.

    Args:
        memory: from `Controller.begin`.
    """
    task = controller.task

    def body(carry: tuple, _: None) -> tuple[tuple, tuple]:
        x, memory = carry
        ctrl, memory = controller.act(memory, x)
        return (task.advance(x, ctrl), memory), (ctrl, x, task.stage(x, ctrl))

    (end, _), (ctrl, path, costs) = jax.lax.scan(body, (task.state, memory), None, length=length)
    path = jax.tree.map(lambda all, one: jnp.concatenate([all, one[None]]), path, end)
    return Controlled(ctrl, path, costs)
