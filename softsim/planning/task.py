"""What is to be controlled: a model, where it starts, and what a control sequence costs."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

from softsim.model import STATE, check_inputs, put_data, put_model
from softsim.numerics import clamp
from softsim.rollout import with_poses
from softsim.softening import Softening
from softsim.step import next_state


class State(NamedTuple):
    """What is carried from step to step; a path has a leading axis of T + 1 states.

    Attributes:
        qpos, qvel, act: positions, velocities and activations, in MuJoCo's units.
        time: s.
        qacc_warmstart: where the contact solver of the next step begins.
    """

    qpos: Float[Array, "*T nq"]
    qvel: Float[Array, "*T nv"]
    act: Float[Array, "*T na"]
    time: Float[Array, "*T"]
    qacc_warmstart: Float[Array, "*T nv"]


class Task(eqx.Module):
    """A control problem: the sum of `cost` over T controls, and `final` of the state they lead to.

    Both see an `mjx.Data` with the poses of the state (`xpos`, `site_xpos`, `xquat`, ... in the
    world frame), so that a cost reads like MuJoCo. What needs more than positions (`cvel`,
    `sensordata`, contacts) is NaN there. They should be smooth: planners follow their derivatives.

    >>> import mujoco, softsim, jax.numpy as jnp
    >>> from softsim import planning
    >>> mj_model = mujoco.MjModel.from_xml_string('''
    ... <mujoco><option timestep="0.02"/>
    ...   <worldbody><body><joint name="x" type="slide" axis="1 0 0"/>
    ...     <geom size="0.1" mass="1"/></body></worldbody>
    ...   <actuator><motor joint="x" ctrlrange="-2 2"/></actuator></mujoco>''')
    >>> m = softsim.put_model(mj_model)
    >>> task = planning.Task(
    ...     model=m,
    ...     start=softsim.make_data(m),
    ...     cost=lambda d, u: 1e-3 * u @ u,
    ...     final=lambda d: 100 * (d.qpos[0] - 0.3) ** 2 + 10 * d.qvel[0] ** 2,
    ... )
    >>> plan = planning.ilqr(task, jnp.zeros((50, 1)))
    >>> bool(jnp.abs(plan.path.qpos[-1, 0] - 0.3) < 0.01)
    True

    Attributes:
        model: from `softsim.put_model`; a `mujoco.MjModel` is put.
        start: the state to start from, and the inputs that stay as they are (mocap poses, applied
            forces); a `mujoco.MjData` is put.
        cost: (data, control (nu,)) -> cost of applying the control there, a scalar.
        final: data -> cost of the last state, a scalar; None for none.
        softening: of the derivatives that gradient planners follow. With `Softening.saltation()`,
            the default, they are the slope of the outcome, and the simulation stays MuJoCo's own.
        substeps: static; physics steps for which each control is held.
    """

    model: mjx.Model
    start: mjx.Data
    cost: Callable[[mjx.Data, Array], Array]
    final: Callable[[mjx.Data], Array] | None
    softening: Softening
    substeps: int = eqx.field(static=True)

    def __init__(
        self,
        model: mjx.Model | mujoco.MjModel,
        start: mjx.Data | mujoco.MjData,
        cost: Callable[[mjx.Data, Array], Array],
        final: Callable[[mjx.Data], Array] | None = None,
        softening: Softening | None = None,
        substeps: int = 1,
    ) -> None:
        if isinstance(start, mujoco.MjData):
            if not isinstance(model, mujoco.MjModel):
                raise ValueError("start: got mujoco.MjData, which needs a mujoco.MjModel as model")
            start = put_data(model, start)
        model = put_model(model) if isinstance(model, mujoco.MjModel) else model
        check_inputs(model, start)
        if substeps < 1:
            raise ValueError(f"substeps: got {substeps}, expected at least 1 physics step")
        if not model.nu:
            raise ValueError("model: it has no actuator, so there is nothing to plan")
        self.model, self.start, self.cost, self.final = model, start, cost, final
        self.softening = Softening.saltation() if softening is None else softening
        self.substeps = substeps
        self._check_costs()

    def _check_costs(self) -> None:
        costs = {"cost": lambda x: self.stage(x, self.start.ctrl), "final": self.last}
        for name, of in costs.items():
            found = jax.eval_shape(of, self.state)
            if found.shape != () or not jnp.issubdtype(found.dtype, jnp.floating):
                raise ValueError(
                    f"{name}: returned {found.dtype} of shape {found.shape}, expected a float "
                    "scalar, shape ()"
                )

    @property
    def state(self) -> State:
        """The state of `start`."""
        return State(**{name: getattr(self.start, name) for name in State._fields})

    def data(self, x: State, ctrl: Float[Array, " nu"]) -> mjx.Data:
        """What a physics step reads: a state and a control."""
        return self.start.replace(**x._asdict(), ctrl=ctrl)

    def substep(self, x: State, ctrl: Float[Array, " nu"]) -> State:
        """The state one physics step later."""
        after = next_state(self.model, self.data(x, ctrl), self.softening)
        return State(**{name: getattr(after, name) for name in State._fields})

    def advance(self, x: State, ctrl: Float[Array, " nu"]) -> State:
        """The state after a control has been held for its physics steps."""
        step = lambda x, _: (self.substep(x, ctrl), None)
        return jax.lax.scan(step, x, None, length=self.substeps)[0]

    def stage(self, x: State, ctrl: Float[Array, " nu"]) -> Float[Array, ""]:
        """Cost of applying a control at a state."""
        return jnp.asarray(self.cost(with_poses(self.model, self.data(x, ctrl)), ctrl))

    def last(self, x: State) -> Float[Array, ""]:
        """Cost of the last state."""
        if self.final is None:
            return jnp.zeros((), x.qpos.dtype)
        return jnp.asarray(self.final(with_poses(self.model, self.data(x, self.start.ctrl))))

    def simulate(self, x: State, ctrl: Float[Array, "T nu"]) -> tuple[State, Float[Array, " T+1"]]:
        """The path of T + 1 states from x on, and its costs, the final one last."""

        def body(x: State, u: Array) -> tuple[State, tuple]:
            return self.advance(x, u), (x, self.stage(x, u))

        end, (path, costs) = jax.lax.scan(body, x, ctrl)
        path = jax.tree.map(lambda all, one: jnp.concatenate([all, one[None]]), path, end)
        return path, jnp.append(costs, self.last(end))

    def total(self, x: State, ctrl: Float[Array, "T nu"]) -> Float[Array, ""]:
        """Cost of a control sequence from a state on."""
        return jnp.sum(self.simulate(x, ctrl)[1])


assert set(State._fields) == set(STATE)


class Actions(NamedTuple):
    """Controls in units of their ranges: u = middle + half * action, actions between low and high.

    An actuator without a range has the middle 0, half the range 1 and no limits. Planners work in
    these units, so that lengths and spreads mean the same for a servo in rad and a motor in N m.
    """

    middle: Float[Array, " nu"]
    half: Float[Array, " nu"]
    low: Float[Array, " nu"]
    high: Float[Array, " nu"]

    def to_ctrl(self, action: Float[Array, "*T nu"]) -> Float[Array, "*T nu"]:
        """Controls, which rounding does not carry out of their ranges."""
        return self.within(self.middle + self.half * action)

    def within(self, ctrl: Float[Array, "*T nu"]) -> Float[Array, "*T nu"]:
        """Controls, moved into their ranges."""
        low, high = (self.middle + self.half * bound for bound in (self.low, self.high))
        return clamp(ctrl, low, high)

    def from_ctrl(self, ctrl: Float[Array, "*T nu"]) -> Float[Array, "*T nu"]:
        """Actions, moved into the limits."""
        return self.clip((ctrl - self.middle) / self.half)

    def clip(self, action: Float[Array, "*T nu"]) -> Float[Array, "*T nu"]:
        """Actions, moved into the limits."""
        return jnp.clip(action, self.low, self.high)


def actions(m: mjx.Model) -> Actions:
    """The units of a model's controls."""
    limited = np.asarray(m.actuator_ctrllimited, bool)
    low, high = jnp.asarray(m.actuator_ctrlrange, m.qpos0.dtype).T
    half = jnp.where(limited & (high > low), (high - low) / 2, 1.0)
    middle = jnp.where(limited, (low + high) / 2, 0.0)
    bound = jnp.where(limited, jnp.where(high > low, 1.0, 0.0), jnp.inf)
    return Actions(middle, half, -bound, bound)
