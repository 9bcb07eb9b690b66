"""Error-controlled integration: as many substeps as the tolerance asks for, differentiated.

A fixed step integrates a stiff contact wrongly, and its derivative is faithful to the wrong thing;
here the step size follows an estimate of the local error (Hairer, Norsett, Wanner, 1993, II.4).
Rotations move on their manifold: over one interval they are q0 exp(v / 2) with
dv/dt = w + v x w / 2 + c(|v|) v x (v x w), w the angular velocity in the frame of the body
(Munthe-Kaas 1998), so that errors are in radians and quaternions need no renormalisation.
"""

import functools
from collections.abc import Callable
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PyTree
from mujoco.mjx import Data, Model

from softsim.dynamics.tree import tree
from softsim.integrators import integrate_pos
from softsim.numerics import default_float
from softsim.rotations import SMALL_SQUARE, Vectors, cross, dot
from softsim.saltation import velocity_in_flow

Method = Literal["bosh3", "tsit5", "dopri5", "dopri8"]
METHODS: dict[str, str] = {
    "bosh3": "Bosh3",
    "tsit5": "Tsit5",
    "dopri5": "Dopri5",
    "dopri8": "Dopri8",
}
CONTROLS = ("zoh", "linear")
# Proportional and integral gain of the step size: where contact begins and ends, steps that follow
# the last error alone are rejected half the time, and derivatives at loose tolerances far worse.
GAINS = (0.2, 0.4)
ADJOINTS: dict[str, str] = {"reverse": "RecursiveCheckpointAdjoint", "forward": "ForwardMode"}

Field = Callable[[Model, Data], Data]


class Adaptive(eqx.Module):
    """Integration with error control by diffrax, instead of one fixed step of the model.

    Attributes:
        rtol: traced; error accepted per substep, relative to the state.
        atol: traced; the same, absolute: m, rad, m/s, rad/s, units of activation.
        method: static; an embedded Runge-Kutta pair. Low order is best through contact.
        control: static; "zoh" holds the control over the interval, "linear" interpolates it.
        max_steps: static; substeps allowed per interval. Asking for more raises an error.
        derivative: static; "reverse" for `jax.grad` (checkpointed), "forward" for `jax.jvp` and
            `jax.jacfwd`, the cheaper one where few numbers are differentiated by. The other mode
            raises.

    Contacts keep the model's time constants, which MuJoCo's `refsafe` (on by default) raises to
    twice `m.opt.timestep`, here the length of the interval: switch it off for long intervals.
    """

    rtol: Float[Array, ""] = eqx.field(converter=default_float, default=1e-5)
    atol: Float[Array, ""] = eqx.field(converter=default_float, default=1e-5)
    method: Method = eqx.field(static=True, default="bosh3")
    control: Literal["zoh", "linear"] = eqx.field(static=True, default="zoh")
    max_steps: int = eqx.field(static=True, default=1000)
    derivative: Literal["reverse", "forward"] = eqx.field(static=True, default="reverse")

    def __check_init__(self) -> None:
        for name, value, expected in (
            ("method", self.method, METHODS),
            ("control", self.control, CONTROLS),
            ("derivative", self.derivative, ADJOINTS),
        ):
            if value not in expected:
                raise ValueError(f"{name}: got {value!r}, expected one of {', '.join(expected)}")
        if self.max_steps < 1:
            raise ValueError(f"max_steps: got {self.max_steps}, expected at least 1")


class _State(NamedTuple):
    """Displacement from the start (tangent space), velocity, activation."""

    moved: Float[Array, " nv"]
    qvel: Float[Array, " nv"]
    act: Float[Array, " na"]


def integrate(
    config: Adaptive,
    field: Field,
    m: Model,
    d: Data,
    dt: Float[Array, ""],
    ctrl0: Float[Array, " nu"],
    ctrl1: Float[Array, " nu"],
    *,
    events: bool = False,
) -> Data:
    """The state `dt` s later.

    Reverse mode recomputes substeps from checkpoints (diffrax's `RecursiveCheckpointAdjoint`), so
    memory grows with the square root of `config.max_steps` at most. Forward mode integrates the
    derivative beside the state, with the substeps that the state alone asks for. No rotation may
    turn by a full revolution within `dt`.

    Args:
        field: a state's acceleration, rate of activation and constraint rows, a pure function of
            it; what it closes over is differentiated only if it is a pytree, such as
            `jax.tree_util.Partial`.
        ctrl0, ctrl1: control at the beginning and at the end; only "linear" reads `ctrl1`.
        events: derivatives see that the moment at which a contact or limit begins moves with the
            inputs (`softsim.saltation`). Without, they stay off however tight the tolerance, where
            the force begins with a jump.

    Returns:
        `d` with the new time, qpos, qvel, act, and the mean acceleration as warm start.

    Raises:
        RuntimeError: more than `config.max_steps` substeps are needed, or the state overflowed.
    """
    dt = jnp.asarray(dt, d.qpos.dtype)
    interval = _Interval(field, m, d, dt, ctrl0, ctrl1)
    start = _State(jnp.zeros_like(d.qvel), d.qvel, d.act)
    rate = _linear_rate if config.control == "linear" else _held_rate
    if events:
        end = _solve(rate, config, start, interval, events=True)
    else:
        run = _with_tangents if config.derivative == "forward" else _solve
        end = run(rate, config, start, interval)
    return d.replace(
        time=d.time + dt,
        qpos=integrate_pos(m, d.qpos, end.moved, jnp.ones_like(dt)),
        qvel=end.qvel,
        act=_clamp(m, end.act),
        qacc_warmstart=(end.qvel - d.qvel) / dt,
    )


class _Interval(NamedTuple):
    """What the rate of change depends on besides the state."""

    field: Field
    m: Model
    d: Data
    dt: Float[Array, ""]
    ctrl0: Float[Array, " nu"]
    ctrl1: Float[Array, " nu"]


Rate = Callable[[ArrayLike, PyTree, PyTree], PyTree]


def _held_rate(s: ArrayLike, y: _State, i: _Interval) -> _State:
    """dy/ds at the share s of the interval, control held."""
    return _rate(s, y, i, i.ctrl0)


def _linear_rate(s: ArrayLike, y: _State, i: _Interval) -> _State:
    """dy/ds at the share s of the interval, control interpolated."""
    return _rate(s, y, i, i.ctrl0 + (i.ctrl1 - i.ctrl0) * s)


@eqx.filter_jit  # traced once for all the places where a solver evaluates it
def _rate(s: ArrayLike, y: _State, i: _Interval, ctrl: Float[Array, " nu"]) -> _State:
    d = i.field(i.m, _at(s, y, i, ctrl))
    rate = _State(_displacement_rate(i.m, y.moved, y.qvel), d.qacc, d.act_dot)
    return jax.tree.map(lambda x: i.dt * x, rate)


def _at(s: ArrayLike, y: _State, i: _Interval, ctrl: Float[Array, " nu"]) -> Data:
    """The state y at the share s of the interval."""
    return i.d.replace(
        qpos=integrate_pos(i.m, i.d.qpos, y.moved, jnp.ones_like(i.dt)),
        qvel=y.qvel,
        act=_clamp(i.m, y.act),
        ctrl=ctrl,
        time=i.d.time + s * i.dt,
    )


def _with_onsets(s0: Array, s1: Array, y: _State, i: _Interval) -> _State:
    """The state at the end s1 of a substep; its derivative knows what began in the substep."""
    at = _at(s1, y, i, i.ctrl0 + (i.ctrl1 - i.ctrl0) * s1)
    return y._replace(qvel=velocity_in_flow(i.field, i.m, at, (s1 - s0) * i.dt))


@functools.cache
def _event_aware_solver() -> type:
    """The class of diffrax solvers whose substeps end with `_with_onsets`."""
    import diffrax

    class EventAware(diffrax.AbstractAdaptiveSolver, diffrax.AbstractWrappedSolver):
        solver: diffrax.AbstractSolver

        term_structure = property(lambda self: self.solver.term_structure)
        interpolation_cls = property(lambda self: self.solver.interpolation_cls)
        term_compatible_contr_kwargs = property(
            lambda self: self.solver.term_compatible_contr_kwargs
        )
        scan_kind = property(lambda self: self.solver.scan_kind)

        def order(self, terms):
            return self.solver.order(terms)

        def strong_order(self, terms):
            return self.solver.strong_order(terms)

        def error_order(self, terms):
            return self.solver.error_order(terms)

        def init(self, terms, t0, t1, y0, args):
            return self.solver.init(terms, t0, t1, y0, args)

        def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
            # the tangent of y0 has changed: the rate there, kept from the last step, is not used
            y1, *rest = self.solver.step(terms, t0, t1, y0, args, solver_state, True)
            return _with_onsets(t0, t1, y1, args), *rest

        def func(self, terms, t0, y0, args):
            return self.solver.func(terms, t0, y0, args)

    return EventAware


def _solve(
    rate: Rate, config: Adaptive, start: PyTree, args: PyTree, events: bool = False
) -> PyTree:
    """y(1) of dy/ds = rate(s, y, args), y(0) = start."""
    import diffrax  # takes seconds, and only this needs it

    loop = "lax" if config.derivative == "forward" else None  # over stages: one that has this mode
    solver = getattr(diffrax, METHODS[config.method])(scan_kind=loop)
    zero = jnp.zeros((), config.rtol.dtype)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(rate),
        _event_aware_solver()(solver) if events else solver,
        t0=zero,
        t1=zero + 1,
        dt0=zero + 1,
        y0=start,
        args=args,
        stepsize_controller=diffrax.PIDController(
            rtol=config.rtol, atol=config.atol, norm=_norm, pcoeff=GAINS[0], icoeff=GAINS[1]
        ),
        max_steps=config.max_steps,
        adjoint=getattr(diffrax, ADJOINTS[config.derivative])(),
    )
    return jax.tree.map(lambda x: x[0], solution.ys)


class _Dual(NamedTuple):
    """A state and its tangent."""

    value: PyTree
    tangent: PyTree


def _norm(y: PyTree) -> Float[Array, ""]:
    """Root mean square of a state, without its tangents: they follow the steps of the state.

    Step control is not differentiated, so neither is this, whose slope at 0 is infinite.
    """
    while isinstance(y, _Dual):
        y = y.value
    flat = jnp.concatenate([x.ravel() for x in jax.tree.leaves(y)])
    return jnp.sqrt(jnp.mean(jnp.square(jax.lax.stop_gradient(flat))))


@eqx.filter_custom_jvp
def _with_tangents(rate: Rate, config: Adaptive, start: PyTree, args: PyTree) -> PyTree:
    """`_solve` for forward mode, to any order: the state and its tangent are one larger state.

    Each Runge-Kutta step of the pair is the derivative of the step of the state, so this is what
    differentiating through the steps gives, and cheaper.
    """
    return _solve(rate, config, start, args)


@_with_tangents.def_jvp
def _with_tangents_jvp(primals: tuple, tangents: tuple) -> tuple:
    rate, config, start, args = primals
    _, _, dstart, dargs = tangents

    def both(s: ArrayLike, y: _Dual, args: tuple) -> _Dual:
        at = lambda y, args: rate(s, y, args)
        return _dual(*eqx.filter_jvp(at, (y.value, args[0]), (y.tangent, args[1])))

    return tuple(_with_tangents(both, config, _dual(start, dstart), (args, dargs)))


def _dual(value: PyTree, tangent: PyTree) -> _Dual:
    """With zeros where there is no tangent (None)."""
    fill = lambda x, t: jnp.zeros_like(x) if t is None else t
    return _Dual(value, jax.tree.map(fill, value, tangent, is_leaf=lambda x: x is None))


def _displacement_rate(
    m: Model, moved: Float[Array, " nv"], qvel: Float[Array, " nv"]
) -> Float[Array, " nv"]:
    address = tree(m).spin_address
    if address.size == 0:
        return qvel
    rate = rotation_vector_rate(moved[address].T, qvel[address].T)
    return qvel.at[address].set(rate.T)


def rotation_vector_rate(turn: Vectors, spin: Vectors) -> Vectors:
    """d(turn)/dt of exp(turn) that spins at `spin` rad/s in its own frame.

    c(a) = (1 - a/2 cot(a/2)) / a^2 is taken from its series near 0: value and derivatives are
    right there. Singular at a full turn, |turn| = 2 pi.
    """
    square = dot(turn, turn)
    small = square < SMALL_SQUARE
    angle = jnp.sqrt(jnp.where(small, 1, square))
    series = 1 / 12 + square / 720 + square**2 / 30240
    closed = (1 - angle / (2 * jnp.tan(angle / 2))) / angle**2
    swirl = cross(turn, spin)
    return spin + swirl / 2 + jnp.where(small, series, closed) * cross(turn, swirl)


def _clamp(m: Model, act: Float[Array, " na"]) -> Float[Array, " na"]:
    """Activations within their range, as at the end of a step of MuJoCo."""
    if not m.na:
        return act
    owner = jnp.repeat(jnp.arange(m.nu), m.actuator_actnum, total_repeat_length=m.na)
    limited = jnp.asarray(m.actuator_actlimited)[owner].astype(bool)
    low, high = m.actuator_actrange[owner].T
    return jnp.where(limited, jnp.clip(act, low, high), act)
