"""The slope of the outcome: derivatives that see when a contact or limit begins and ends.

A step is x[n+1] = F_i(x[n]), its mode i the set of active rows; inside a mode autodiff is exact.
But the inputs also move the step at which a mode begins, which autodiff does not see. A trajectory
moved by one whole step is again a trajectory, and its shift x[n+1] - x[n] obeys the tangent
recursion inside a mode; where mode j follows mode i, a tangent that moves the crossing by theta
steps lacks theta times the difference of the two steps:

    theta = dphi(x[n])[dx] / (phi(x[n]) - phi(x[n-1])),
    dx[n] <- dx[n] + theta (F_j(x[n]) - F_i(x[n])),

before step n, the first in mode j, is differentiated as usual. As the step goes to 0 this is the
saltation matrix I + (f_j - f_i) grad(phi)' / phidot (Aizerman and Gantmakher 1958; Kong, Payne,
Zhu, Johnson, "Saltation matrices: the essential tool for linearizing hybrid dynamical systems",
Proceedings of the IEEE 2024); in this discrete form it is right to second order in the step.

*Onset*: phi is the violation of a contact or limit, phi(x[n-1]) = phi - dt dphi/dt, and F_j - F_i
is its force: dt H^-1 J' f in velocity, with H = M + J' D J of the constraints that stand already
and give way to it. dphi[dx] is J dq and dphi/dt is J v, where contacts are corners or the nearest
points of their shapes. Where they wander over the body (on the rim of a cylinder, along a clipped
edge), phi is differentiated by the step's own tangent.
*Release*: phi is the force itself, which follows aref - J a. Where it is to go through zero before
x[n+1], the attached mode would pull there, and F_j - F_i undoes the pull. Force is continuous at a
release, so this is a smaller term, but it is what makes bouncing contacts right.
"""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree
from mujoco import mjx
from mujoco.mjx import IntegratorType

from softsim.collision import contacts_are_nearest
from softsim.constraint import Switches, rows_of
from softsim.derivative_rule import Run, softened
from softsim.integrators import (
    Stages,
    difference_pos,
    position_rate,
    stages_of,
    velocity_change,
)
from softsim.linear import cholesky_solve
from softsim.softening import Softening
from softsim.solver import Problem, hessian

GUARD = 1.5
"""A crossing counts in full while the switch changes its speed by less than the share 1 / GUARD
per step. Beyond, the steps do not resolve the contact and their outcome has no slope: the weight
1 / (1 + (GUARD share)^8) goes back to the plain derivative. The contact that MuJoCo makes by
default takes a share of 0.2 at 2 ms and 0.5 at 5 ms."""
SHARPNESS = 8


def event_aware(run: Run, m: mjx.Model, d: mjx.Data, softening: Softening | None) -> mjx.Data:
    """The step `run(m, d, softening)`; with `softening.events`, its derivative is the one above.

    Args:
        run: gives the next state, and the evaluations of its stages, as `integrators.advance`.
    """
    if softening is None or not softening.events:
        return softened(run, m, d, softening)[0]
    return _step(run, m, d, softening)


@eqx.filter_custom_jvp
def _step(run: Run, m: mjx.Model, d: mjx.Data, softening: Softening) -> mjx.Data:
    return softened(run, m, d, softening)[0]


@_step.def_jvp
def _step_jvp(primals: tuple, tangents: tuple) -> tuple:
    return _rule(primals, tangents)


@eqx.filter_custom_jvp
def _known_step(after: mjx.Data, *inputs: PyTree) -> mjx.Data:
    """`after`, already computed from the inputs; its derivative is that of `_step`."""
    return after


@_known_step.def_jvp
def _known_step_jvp(primals: tuple, tangents: tuple) -> tuple:
    return _rule(primals[1:], tangents[1:])


def _rule(primals: tuple, tangents: tuple) -> tuple[mjx.Data, mjx.Data]:
    """The step, and its tangent with what crossings add before and after it."""
    run, *inputs = primals
    m, d, softening = inputs
    given = list(tangents[1:])
    given[1] = _with_state(d, given[1])
    moving, kept = _split(inputs, given)

    def step(moving: PyTree) -> tuple[tuple, tuple]:
        results = softened(run, *eqx.combine(moving, kept))
        return eqx.partition(results, eqx.is_inexact_array)

    moved, linear, rest = jax.linearize(step, moving, has_aux=True)
    after, at = eqx.combine(moved, rest)
    stages = stages_of(m)
    if _moves_with_points(m, softening, given[:2]):
        J = jax.vmap(lambda at: rows_of(m, at).J)(at)
        rate = jnp.einsum("srv,sv->sr", J, at.qvel)
        change = jnp.einsum("srv,sv->sr", J, _drift(m, d.qpos, given[1], stages))
    else:
        rate, change = (_violation(linear(x)[1]) for x in (_along_flow(m, d, given), given))
    constants = jax.lax.stop_gradient((at, after.qvel, rate))
    crossing = jax.vmap(_crossing, (None, 0, None, 0))(m, *constants)
    onset = jax.vmap(_onset, (None, 0, 0, 0))(m, at, crossing, change)
    given[1] = _add(m, d, given[1], onset, stages)
    tangent, _ = linear(given)
    way = _drift(m, after.qpos, tangent, stages)
    release = jax.vmap(_release, (None, 0, 0, 0, None))(m, at, crossing, way, tangent.qvel)
    return _known_step(after, *primals), _add(m, after, tangent, release, stages)


@eqx.filter_custom_jvp
def velocity_in_flow(
    field: Callable[[mjx.Model, mjx.Data], mjx.Data], m: mjx.Model, d: mjx.Data, dt: Array
) -> Float[Array, " nv"]:
    """`d.qvel`, for the end of a substep of `dt` s of continuous motion; in its derivative, what a
    switch adds that has gone on in this substep.

    Args:
        field: accelerations, forces and rows at a state.
    """
    return d.qvel


@velocity_in_flow.def_jvp
def _velocity_in_flow_jvp(primals: tuple, tangents: tuple) -> tuple:
    field, m, d, dt = primals
    inputs, given = [field, m, d], list(tangents[:3])
    given[2] = _with_state(d, given[2])
    moving, kept = _split(inputs, given)

    def evaluate(moving: PyTree) -> tuple[Array, mjx.Data]:
        field, m, d = eqx.combine(moving, kept)
        at = field(m, d)
        return _violation(at), at

    _, linear, at = jax.linearize(evaluate, moving, has_aux=True)
    explicit = m.opt.replace(timestep=dt, integrator=IntegratorType.RK4)
    rate = linear(_along_flow(m, d, given, 2))
    constants = jax.lax.stop_gradient((m.replace(opt=explicit), at, at.qvel, rate))
    return d.qvel, given[2].qvel + _onset(m, at, _crossing(*constants), linear(given))


def _split(inputs: list, tangents: list) -> tuple[list, list]:
    """The inputs that have a tangent, and the others."""
    has_tangent = jax.tree.map(lambda t: t is not None, tangents, is_leaf=lambda t: t is None)
    return eqx.partition(inputs, has_tangent)


def _moves_with_points(m: mjx.Model, softening: Softening, tangents: list) -> bool:
    """Whether the violation of all rows changes by J dq: only the joints move the shapes.

    Args:
        tangents: of the model and of the data.
    """
    of_model, of_data = tangents
    others = of_model, of_data.mocap_pos, of_data.mocap_quat
    return not jax.tree.leaves(others) and contacts_are_nearest(m, softening.collision)


def _violation(at: mjx.Data) -> Float[Array, "*s nefc"]:
    """Of all rows; negative where they act. Linear, so of a tangent its change."""
    return at._impl.efc_pos - at._impl.efc_margin


def _drift(
    m: mjx.Model, qpos: Float[Array, " nq"], tangent: mjx.Data, stages: Stages
) -> Float[Array, "s nv"]:
    """How a tangent of the state at `qpos` moves the degrees of freedom at each stage of a step."""
    way = lambda moved: difference_pos(m, qpos, moved)
    motion = jax.jvp(way, (qpos,), (tangent.qpos,))[1]
    return motion + m.opt.timestep * stages.node[:, None] * tangent.qvel


def _with_state(d: mjx.Data, tangent: mjx.Data) -> mjx.Data:
    """Zeros where position and velocity have no tangent."""
    fill = lambda x, dx: jnp.zeros_like(x) if dx is None else dx
    return tangent.replace(qpos=fill(d.qpos, tangent.qpos), qvel=fill(d.qvel, tangent.qvel))


def _along_flow(m: mjx.Model, d: mjx.Data, tangents: list, place: int = 1) -> list:
    """Like `tangents`, but the position alone moves, as it does at `d.qvel` per second.

    Args:
        place: of `d` among the tangents.
    """
    moved = jax.tree.map(jnp.zeros_like, tangents)
    moved[place] = moved[place].replace(qpos=position_rate(m, d.qpos, d.qvel))
    return moved


def _add(
    m: mjx.Model, at: mjx.Data, tangent: mjx.Data, change: Float[Array, "s nv"], stages: Stages
) -> mjx.Data:
    """`tangent`, of the state in `at`, with what changes of acceleration at the stages do to it.

    Args:
        change: of acceleration, times the time step, m/s or rad/s.
    """
    dtype = change.dtype
    velocity, position = (jnp.asarray(x, dtype) @ change for x in stages[1:])
    way = m.opt.timestep * position_rate(m, at.qpos, position)
    return tangent.replace(qpos=tangent.qpos + way, qvel=tangent.qvel + velocity)


class _Crossing(NamedTuple):
    """The k switches that change around an evaluation: all constants of its derivative.

    Attributes:
        row_J: (nefc, nv) Jacobian of all rows; J: (k, nv) of the switches' normals.
        begin: (k,) weight of an onset, per change of violation in the last step.
        end: (k,) weight of a release, per change of the reference acceleration in the next step.
        pushed: (nefc,) the force of switches that begin; pulled: (nefc,) that of switches that
            end, as it would be one step later.
        impulse: (nv, nv) the change of velocity in a step, per force.
        stiffness, damping: (k,) of the reference acceleration, 1/s^2 and 1/s.
    """

    row_J: Float[Array, "nefc nv"]
    J: Float[Array, "k nv"]
    begin: Float[Array, " k"]
    end: Float[Array, " k"]
    pushed: Float[Array, " nefc"]
    pulled: Float[Array, " nefc"]
    impulse: Float[Array, "nv nv"]
    stiffness: Float[Array, " k"]
    damping: Float[Array, " k"]


def _crossing(
    m: mjx.Model, at: mjx.Data, qvel_after: Float[Array, " nv"], rate: Float[Array, " nefc"]
) -> _Crossing:
    """Which switches go on or off around an evaluation `at` a stage of a step.

    Args:
        qvel_after: the velocity at the end of the step.
        rate: how fast the violation of each row changes with the motion, per second.
    """
    dt, rows, switches = m.opt.timestep, rows_of(m, at), Switches(m, at)
    J, force = switches.normal(rows.J), at._impl.efc_force
    stiffness, damping = switches.springs(m, rows)
    speed, speed_after = switches.normal(rate), J @ qvel_after

    violation = switches.normal(_violation(at))
    approach = dt * speed
    if m.opt.integrator == IntegratorType.RK4:
        approach -= 0.5 * dt**2 * (J @ at.qacc_smooth)
    begins = (violation < 0) & (violation - approach > 0)

    # the force of a switch is in proportion to aref - J a, with a the acceleration without it
    pressure = switches.normal(rows.aref) - J @ at.qacc_smooth
    change = -dt * (damping * (J @ at.qacc) + stiffness * speed_after)
    attached = (switches.sum(jnp.abs(force)) > 0) & (pressure > 0)
    ends = attached & ~begins & (speed_after > 0) & (pressure + change < 0)

    changing = switches.of_row(jnp.asarray(begins | ends, J.dtype))
    standing = eqx.tree_at(lambda r: r.D, rows, rows.D * (1.0 - changing))
    problem = Problem(at._impl.M, at.qfrc_smooth, standing)
    inverse = cholesky_solve(
        hessian(problem, rows.J @ at.qacc - rows.aref), jnp.eye(m.nv, dtype=J.dtype)
    )
    impulse = jax.vmap(lambda a: velocity_change(m, at, a), 1, 1)(inverse)

    def weight(on: Array, force: Array, speed: Array, per: Array) -> Array:
        share = J @ (impulse @ (rows.J.T @ force)) / jnp.where(on, speed, 1.0)
        guard = 1.0 / (1.0 + (GUARD * share) ** SHARPNESS)
        return jnp.where(on, guard / jnp.where(on, per, 1.0), 0.0)

    relative = jnp.where(ends, change / jnp.where(ends, pressure, 1.0), 0.0)
    pushed = switches.of_row(jnp.asarray(begins, J.dtype)) * force
    return _Crossing(
        row_J=rows.J,
        J=J,
        begin=weight(begins, pushed, speed, approach),
        end=weight(ends, switches.of_row(relative) * force, speed_after, change),
        pushed=pushed,
        pulled=switches.of_row(ends * (1.0 + relative)) * force,
        impulse=impulse,
        stiffness=stiffness,
        damping=damping,
    )


def _onset(
    m: mjx.Model, at: mjx.Data, c: _Crossing, violation: Float[Array, " nefc"]
) -> Float[Array, " nv"]:
    """The change of velocity in a step, for a tangent that changes the rows' violation."""
    switches = Switches(m, at)
    theta = c.begin * switches.normal(violation)
    return c.impulse @ (c.row_J.T @ (switches.of_row(theta) * c.pushed))


def _release(
    m: mjx.Model, at: mjx.Data, c: _Crossing, dq: Float[Array, " nv"], dv: Float[Array, " nv"]
) -> Float[Array, " nv"]:
    """The change of velocity in a step, for a tangent (dq, dv) of the state after it."""
    theta = c.end * (c.stiffness * (c.J @ dq) + c.damping * (c.J @ dv))
    return c.impulse @ (c.row_J.T @ (Switches(m, at).of_row(theta) * c.pulled))
