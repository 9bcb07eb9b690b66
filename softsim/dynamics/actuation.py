"""Actuators: from controls and activations to forces on the dofs, with every limit on the way.

The order is MuJoCo's: controls are clamped to `ctrlrange`, forces of actuators on one tendon are
scaled into its `actfrcrange`, each force is clamped to its `forcerange`, and the sum on a joint to
its `actfrcrange`. Activations are clamped to `actrange` when they are integrated.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from mujoco.mjx import BiasType, Data, DisableBit, DynType, GainType, JointType, Model, TrnType

from softsim.dynamics import muscle
from softsim.dynamics.tree import HIGHEST, spread
from softsim.numerics import clamp, safe_norm

Actuators = Float[Array, " nu"]


def actuation(m: Model, d: Data) -> Data:
    """Fills `act_dot`, `actuator_force` and `qfrc_actuator`.

    Reads lengths, velocities and moments of the actuators, and `qfrc_gravcomp`.
    """
    if not m.nu or _disabled(m):
        return d.replace(
            act_dot=jnp.zeros_like(d.act),
            actuator_force=jnp.zeros_like(d.actuator_length),
            qfrc_actuator=jnp.zeros_like(d.qvel),
        )
    ctrl = _bounded_ctrl(m, d)
    force = _force(m, d, _setpoint(m, d, ctrl), d._impl.actuator_velocity)
    force = _limit_tendons(m, force)
    force = clamp(force, *_bounds(m.actuator_forcelimited, m.actuator_forcerange))
    qfrc = jnp.matmul(d._impl.actuator_moment.T, force, precision=HIGHEST)
    if m.flg_gravcomp:
        qfrc += d.qfrc_gravcomp * m.jnt_actgravcomp[m.dof_jntid]
    bounds = _bounds(m.jnt_actfrclimited, m.jnt_actfrcrange)
    qfrc = clamp(qfrc, *(bound[m.dof_jntid] for bound in bounds))
    return d.replace(act_dot=_activation_rate(m, d, ctrl), actuator_force=force, qfrc_actuator=qfrc)


def damping_of_actuators(m: Model, d: Data) -> tuple[np.ndarray, Float[Array, " k"]]:
    """Which actuators' forces may depend on velocity, and d force / d velocity of each.

    As in MuJoCo, 0 for a force that is clamped to its own range, while the limits of joints and
    tendons leave it as it is.
    """
    feels = (m.actuator_biastype == BiasType.AFFINE) | np.isin(
        m.actuator_gaintype, (GainType.AFFINE, GainType.MUSCLE)
    )
    ids = np.flatnonzero(feels)
    if not ids.size or _disabled(m):
        return ids[:0], jnp.zeros(0, d.qvel.dtype)
    setpoint = _setpoint(m, d, _bounded_ctrl(m, d))
    force = lambda velocity: _force(m, d, setpoint, velocity)
    velocity = d._impl.actuator_velocity
    _, rate = jax.jvp(force, (velocity,), (jnp.ones_like(velocity),))
    lower, upper = _bounds(m.actuator_forcelimited, m.actuator_forcerange)
    free = (d.actuator_force > lower) & (d.actuator_force < upper)
    return ids, jnp.where(free, rate, 0.0)[ids]


def next_activation(m: Model, d: Data, act_dot: Float[Array, " na"]) -> Float[Array, " na"]:
    """Activations one step later, clamped; those of exact filters follow the exponential."""
    if not m.na or _disabled(m):
        return d.act
    ids = _stateful(m)
    dt = m.opt.timestep
    step = jnp.broadcast_to(dt, ids.shape)
    exact = m.actuator_dyntype[ids] == DynType.FILTEREXACT
    if exact.any():
        tau = jnp.maximum(m.actuator_dynprm[ids, 0], muscle.TINY)
        step = jnp.where(exact, -tau * jnp.expm1(-dt / tau), step)
    act = d.act + act_dot * step
    act = clamp(act, *_bounds(m.actuator_actlimited[ids], m.actuator_actrange[ids]))
    integrators = _rotation_servos(m, (DynType.INTEGRATOR,))
    if not integrators.size:
        return act
    setpoint = jnp.zeros_like(d.actuator_length).at[ids].set(act)
    return _nearest_turn(m, d, setpoint, integrators)[ids]


def _disabled(m: Model) -> bool:
    return bool(m.opt.disableflags & DisableBit.ACTUATION)


def _stateful(m: Model) -> np.ndarray:
    """The actuators with an activation, in the order of the activations."""
    ids = np.flatnonzero(m.actuator_actadr >= 0)
    return ids[np.argsort(m.actuator_actadr[ids])]


def _bounds(
    limited: Bool[np.ndarray, " n"], span: Float[Array, "n 2"]
) -> tuple[Float[Array, " n"], Float[Array, " n"]]:
    """Lower and upper bounds, infinite where there is no limit."""
    return jnp.where(limited, span[:, 0], -jnp.inf), jnp.where(limited, span[:, 1], jnp.inf)


def _bounded_ctrl(m: Model, d: Data) -> Actuators:
    if m.opt.disableflags & DisableBit.CLAMPCTRL:
        return d.ctrl
    return clamp(d.ctrl, *_bounds(m.actuator_ctrllimited, m.actuator_ctrlrange))


def _activation_rate(m: Model, d: Data, ctrl: Actuators) -> Float[Array, " na"]:
    """act_dot: the control, a first-order filter of it, or a muscle's."""
    if not m.na:
        return d.act
    ids = _stateful(m)
    kind, prm, ctrl = m.actuator_dyntype[ids], m.actuator_dynprm[ids], ctrl[ids]
    filters = np.isin(kind, (DynType.FILTER, DynType.FILTEREXACT))
    tau = jnp.maximum(jnp.where(filters, prm[:, 0], 1.0), muscle.TINY)
    rate = jnp.where(filters, (ctrl - d.act) / tau, ctrl)
    (muscles,) = np.nonzero(kind == DynType.MUSCLE)
    if muscles.size:
        at = muscle.activation_rate(ctrl[muscles], d.act[muscles], prm[muscles])
        rate = rate.at[muscles].set(at)
    return rate


def _setpoint(m: Model, d: Data, ctrl: Actuators) -> Actuators:
    """What the gain multiplies: the control, or the activation of actuators that have one."""
    if m.na:
        ids = _stateful(m)
        ctrl = ctrl.at[ids].set(d.act)
    servos = _rotation_servos(m, (DynType.NONE, DynType.INTEGRATOR))
    return _nearest_turn(m, d, ctrl, servos) if servos.size else ctrl


def _rotation_servos(m: Model, dyntypes: tuple) -> np.ndarray:
    """Actuators that may be position servos of a rotation: on a ball joint or a pair of sites."""
    at_joint = np.isin(m.actuator_trntype, (TrnType.JOINT, TrnType.JOINTINPARENT))
    joint = np.where(at_joint, m.actuator_trnid[:, 0], 0)
    ball = at_joint & (m.jnt_type[joint] == JointType.BALL) if m.njnt else at_joint
    site = (m.actuator_trntype == TrnType.SITE) & (m.actuator_trnid[:, 1] >= 0)
    servo = (m.actuator_gaintype == GainType.FIXED) & (m.actuator_biastype == BiasType.AFFINE)
    return np.flatnonzero(np.isin(m.actuator_dyntype, dyntypes) & servo & (ball | site))


def _nearest_turn(m: Model, d: Data, setpoint: Actuators, ids: np.ndarray) -> Actuators:
    """Setpoints of position servos, moved by full turns as near as can be to the present angle.

    Not those of a site that also measures a translation, nor of a gain that is not the stiffness.
    """
    gear, site = m.actuator_gear[ids], m.actuator_trntype[ids] == TrnType.SITE
    turning = jnp.where(site[:, None], gear[:, 3:], gear[:, :3])
    matched = m.actuator_gainprm[ids, 0] == -m.actuator_biasprm[ids, 1]
    pure = ~site | jnp.all(gear[:, :3] == 0, axis=1)
    period = 2 * jnp.pi * safe_norm(turning)
    periodic = matched & pure & (period > 0)
    period = jnp.where(periodic, period, 1.0)
    turns = (setpoint[ids] - d.actuator_length[ids]) / period
    nearest = jnp.trunc(turns + jnp.copysign(0.5, turns))  # half away from zero, as C's round
    shift = jnp.where(periodic, period * jax.lax.stop_gradient(nearest), 0.0)
    return setpoint.at[ids].add(-shift)


def _force(m: Model, d: Data, setpoint: Actuators, velocity: Actuators) -> Actuators:
    """N or Nm; gain * setpoint + bias, before any limit."""
    length = d.actuator_length
    affine = lambda prm: prm[:, 0] + prm[:, 1] * length + prm[:, 2] * velocity
    prm, bias_prm = m.actuator_gainprm, m.actuator_biasprm
    gain = prm[:, 0]
    if (m.actuator_gaintype == GainType.AFFINE).any():
        gain = jnp.where(m.actuator_gaintype == GainType.AFFINE, affine(prm), gain)
    bias = jnp.where(m.actuator_biastype == BiasType.AFFINE, affine(bias_prm), 0.0)
    (ids,) = np.nonzero(m.actuator_gaintype == GainType.MUSCLE)
    span, acc0 = m.actuator_lengthrange, m.actuator_acc0
    if ids.size:
        active = muscle.gain(length[ids], velocity[ids], span[ids], acc0[ids], prm[ids])
        gain = gain.at[ids].set(active)
    (ids,) = np.nonzero(m.actuator_biastype == BiasType.MUSCLE)
    if ids.size:
        bias = bias.at[ids].set(
            muscle.passive_force(length[ids], span[ids], acc0[ids], bias_prm[ids])
        )
    return gain * setpoint + bias


def _limit_tendons(m: Model, force: Actuators) -> Actuators:
    """Forces of the actuators on one limited tendon, scaled so that their sum is in its range."""
    pulls = m.actuator_trntype == TrnType.TENDON
    tendons = np.flatnonzero(m.tendon_actfrclimited)
    on = pulls & (m.actuator_trnid[:, 0] == tendons[:, None])
    if not on.any():
        return force
    total = spread(force, on.T)
    span = m.tendon_actfrcrange[tendons]
    moved = total != 0
    scale = clamp(total, span[:, 0], span[:, 1]) / jnp.where(moved, total, 1.0)
    scale = jnp.where(moved, scale, 1.0)
    return force * (spread(scale, on) + ~on.any(axis=0))
