"""What a planner changes: controls, or of servos with limited forces the force that they ask for.

The force of a servo is gain * ctrl + b0 + b1 * length + b2 * velocity, within its force range. A
stiff one is at the end of that range when the control is a few milliradians off: from there on the
force does not follow the control, and a planner in controls, which trusts its derivatives, can take
tiny steps only. So the action of such an actuator is the force, in units of its range, and the
control is the one that asks for it: within the range, derivatives hold.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx
from mujoco.mjx import BiasType, DynType, GainType, JointType, TrnType

from softsim.planning.task import Actions, State, actions

Controls = Float[Array, " nu"]
SHARE = 0.999
"""Of the range of a force. At its end the derivative is that from outside, 0, and implicit
integrators take a servo's damping there for none: a jump. In float32 the force of a stiff servo is
rounded by a tenth of what is left.
"""


class Levers(NamedTuple):
    """Actions of all actuators, between low and high, and the controls that they stand for.

    Attributes:
        controls: units of the actuators that are planned by their controls.
        servos: ids of those that are planned by their forces.
        qpos, qvel: where the joint of each servo is in the state.
        middle, half: of the force range of each servo, N or N m.
        gain, bias: of the forces of servos; bias (k, 3) by 1, position and velocity of the joint.
        low, high: of all actions.
    """

    controls: Actions
    servos: np.ndarray
    qpos: np.ndarray
    qvel: np.ndarray
    middle: Float[Array, " k"]
    half: Float[Array, " k"]
    gain: Float[Array, " k"]
    bias: Float[Array, "k 3"]
    low: Controls
    high: Controls

    def asked(self, x: State, action: Controls) -> Controls:
        """The controls that actions stand for, wherever the ranges of controls end."""
        ctrl = self.controls.middle + self.controls.half * action
        force = self.middle + self.half * action[self.servos]
        return ctrl.at[self.servos].set((force - self._bias(x)) / self.gain)

    def to_ctrl(self, x: State, action: Controls) -> Controls:
        """The controls that actions stand for, within their ranges."""
        return self.controls.within(self.asked(x, action))

    def from_ctrl(self, x: State, ctrl: Controls) -> Controls:
        """The actions that stand for controls, moved into their limits."""
        action = (ctrl - self.controls.middle) / self.controls.half
        force = self.gain * ctrl[self.servos] + self._bias(x)
        return self.clip(action.at[self.servos].set((force - self.middle) / self.half))

    def clip(self, action: Controls) -> Controls:
        """Actions, moved into their limits."""
        return jnp.clip(action, self.low, self.high)

    def _bias(self, x: State) -> Float[Array, " k"]:
        one, position, velocity = self.bias.T
        return one + position * x.qpos[self.qpos] + velocity * x.qvel[self.qvel]


def levers(m: mjx.Model) -> Levers:
    """The actions of a model: forces of servos at hinges and slides that have a range, else
    controls."""
    units, ids = actions(m), _servos(m)
    joint = np.asarray(m.actuator_trnid)[ids, 0].astype(int)
    gear = m.actuator_gear[ids, 0]
    gear = jnp.where(gear == 0, 1.0, gear)  # one of 0 has no effect, whatever is planned
    no_limit = jnp.array([-jnp.inf, jnp.inf])
    own = jnp.where(
        jnp.asarray(m.actuator_forcelimited[ids], bool)[:, None],
        m.actuator_forcerange[ids],
        no_limit,
    )
    shared = jnp.where(
        jnp.asarray(m.jnt_actfrclimited[joint], bool)[:, None],
        jnp.sort(m.jnt_actfrcrange[joint] / gear[:, None], axis=1),
        no_limit,
    )
    low, high = jnp.maximum(own[:, 0], shared[:, 0]), jnp.minimum(own[:, 1], shared[:, 1])
    gain, half = m.actuator_gainprm[ids, 0], SHARE * (high - low) / 2
    gain, half = (jnp.where(x == 0, 1.0, x) for x in (gain, half))  # of what has no effect
    bias = m.actuator_biasprm[ids, :3] * jnp.stack([jnp.ones_like(gear), gear, gear], axis=1)
    return Levers(
        units, ids, m.jnt_qposadr[joint], m.jnt_dofadr[joint], (low + high) / 2, half,
        gain, bias, units.low.at[ids].set(-1.0), units.high.at[ids].set(1.0),
    )  # fmt: skip


def _servos(m: mjx.Model) -> np.ndarray:
    """Ids of the actuators that are planned by their forces."""
    joint = np.asarray(m.actuator_trnid)[:, 0].astype(int)
    at_joint = np.isin(m.actuator_trntype, (TrnType.JOINT, TrnType.JOINTINPARENT))
    joint = np.where(at_joint, joint, 0)
    simple = np.isin(np.asarray(m.jnt_type)[joint], (JointType.HINGE, JointType.SLIDE))
    limited = (
        np.asarray(m.actuator_forcelimited, bool) | np.asarray(m.jnt_actfrclimited, bool)[joint]
    )
    affine = (m.actuator_biastype == BiasType.AFFINE) & (m.actuator_gaintype == GainType.FIXED)
    static = m.actuator_dyntype == DynType.NONE
    return np.flatnonzero(at_joint & simple & limited & affine & static)
