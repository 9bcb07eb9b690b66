"""Error-controlled integration: as many substeps as the tolerance asks for, differentiated.

A fixed step integrates a stiff contact wrongly, and its derivative is faithful to the wrong thing;
here the step size follows an estimate of the local error (Hairer, Norsett, Wanner, 1993, II.4).
Rotations move on their manifold: over one interval they are q0 exp(v / 2) with
dv/dt = w + v x w / 2 + c(|v|) v x (v x w), w the angular velocity in the frame of the body
(Munthe-Kaas 1998), so that errors are in radians and quaternions need no renormalisation.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from mujoco.mjx import Data, Model

from softsim.dynamics.rotation import SMALL_SQUARE, Vectors, cross, dot
from softsim.dynamics.tree import tree
from softsim.integrators import integrate_pos
from softsim.numerics import default_float

Method = Literal["bosh3", "tsit5", "dopri5", "dopri8"]
METHODS: dict[str, str] = {
    "bosh3": "Bosh3",
    "tsit5": "Tsit5",
    "dopri5": "Dopri5",
    "dopri8": "Dopri8",
}
CONTROLS = ("zoh", "linear")
ADJOINTS: dict[str, str] = {"reverse": "RecursiveCheckpointAdjoint", "forward": "ForwardMode"}

Field = Callable[[Model, Data], tuple[Float[Array, " nv"], Float[Array, " na"]]]


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
) -> Data:
    """The state `dt` s later.

    Reverse mode recomputes substeps from checkpoints (diffrax's `RecursiveCheckpointAdjoint`), so
    memory grows with the square root of `config.max_steps` at most. No rotation may turn by a full
    revolution within `dt`.

    Args:
        field: acceleration and rate of activation at a state, a pure function of it.
        ctrl0, ctrl1: control at the beginning and at the end; only "linear" reads `ctrl1`.

    Returns:
        `d` with the new time, qpos, qvel, act, and the mean acceleration as warm start.

    Raises:
        RuntimeError: more than `config.max_steps` substeps are needed, or the state overflowed.
    """
    import diffrax  # takes seconds, and only this needs it

    def rate(t: ArrayLike, y: _State, _: None) -> _State:
        ctrl = ctrl0 if config.control == "zoh" else ctrl0 + (ctrl1 - ctrl0) * (t / dt)
        at = d.replace(
            qpos=integrate_pos(m, d.qpos, y.moved, jnp.ones_like(dt)),
            qvel=y.qvel,
            act=_clamp(m, y.act),
            ctrl=ctrl,
            time=d.time + t,
        )
        qacc, act_dot = field(m, at)
        return _State(_displacement_rate(m, y.moved, y.qvel), qacc, act_dot)

    dt = jnp.asarray(dt, d.qpos.dtype)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(rate),
        getattr(diffrax, METHODS[config.method])(),
        t0=jnp.zeros_like(dt),
        t1=dt,
        dt0=dt,
        y0=_State(jnp.zeros_like(d.qvel), d.qvel, d.act),
        stepsize_controller=diffrax.PIDController(rtol=config.rtol, atol=config.atol),
        max_steps=config.max_steps,
        adjoint=getattr(diffrax, ADJOINTS[config.derivative])(),
    )
    end = jax.tree.map(lambda x: x[0], solution.ys)
    return d.replace(
        time=d.time + dt,
        qpos=integrate_pos(m, d.qpos, end.moved, jnp.ones_like(dt)),
        qvel=end.qvel,
        act=_clamp(m, end.act),
        qacc_warmstart=(end.qvel - d.qvel) / dt,
    )


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
