"""One step of MuJoCo and the stages that users call, each hard or soft by one derivative rule.

The physics is in `softsim.acceleration`, the integrators are in `softsim.integrators`.
"""

from jax.tree_util import Partial
from jaxtyping import Array, Float
from mujoco import mjx

from softsim import _mjx, collision, dynamics, integrators
from softsim.acceleration import accelerate, observe, position
from softsim.adaptive import Adaptive, integrate
from softsim.derivative_rule import Run, softened
from softsim.layout import with_room
from softsim.model import check_inputs, like_given
from softsim.saltation import event_aware
from softsim.softening import Softening


def step(
    m: mjx.Model,
    d: mjx.Data,
    softening: Softening | None = None,
    *,
    adaptive: Adaptive | None = None,
) -> mjx.Data:
    """One time step of `m.opt.timestep` seconds, with the integrator of the model or `adaptive`.

    jit, vmap, grad, jvp, jacfwd, jacrev and hessian work, for any number of solver iterations, with
    respect to every float leaf of `m`, the state and the inputs in `d`, and the traced leaves of
    `softening`. Only the fields in `softsim.model.INPUTS` are read; all others are overwritten.

    Without `softening` the step is hard, MuJoCo's own. With `Softening.straight_through()` the
    value is the hard step, bit for bit, and the derivative that of the soft step at the same state:
    one substitution around the whole step, so that products inside it keep a consistent
    linearisation.

    Raises:
        ValueError: a field of `d` has the wrong shape or dtype or, where its value is known (not
            under jit), holds NaN or infinity. Under jit bad values show as NaN in the result.
    """
    check_inputs(m, d)
    if adaptive is not None:
        d = forward(m, d, softening)
    return like_given(m, d, _advanced(_full_step, m, d, softening, adaptive, d.ctrl))


def next_state(
    m: mjx.Model,
    d: mjx.Data,
    softening: Softening | None = None,
    adaptive: Adaptive | None = None,
    next_ctrl: Float[Array, " nu"] | None = None,
) -> mjx.Data:
    """`step` without cameras, lights and sensors: all that a rollout, which keeps states, needs.

    Args:
        next_ctrl: control at the end of the step, for `adaptive` with linear control.
    """
    after = d.ctrl if next_ctrl is None else next_ctrl
    return _advanced(_bare_step, m, d, softening, adaptive, after)


def _advanced(
    fixed: Run,
    m: mjx.Model,
    d: mjx.Data,
    softening: Softening | None,
    adaptive: Adaptive | None,
    next_ctrl: Float[Array, " nu"],
) -> mjx.Data:
    """The next state, by one fixed step or by the substeps of `adaptive`, which see events each."""
    if adaptive is None:
        return event_aware(fixed, m, d, softening)
    return softened(Partial(_adaptive_step, adaptive, next_ctrl), m, d, softening)


def forward(m: mjx.Model, d: mjx.Data, softening: Softening | None = None) -> mjx.Data:
    """Accelerations, forces, contacts and sensors at the state in `d`, without advancing it.

    Softening and errors are as in `step`.
    """
    check_inputs(m, d)
    return like_given(m, d, softened(_full_forward, m, d, softening))


def collide(m: mjx.Model, d: mjx.Data, softening: Softening | None = None) -> collision.Contact:
    """All contacts at the positions `d.qpos` (and mocap poses), active or not, as `Contact` says.

    Softening and errors are as in `step`; the poses in `d` are not read but computed.
    """
    check_inputs(m, d)
    return softened(_contacts, m, d, softening)


def kinematics(m: mjx.Model, d: mjx.Data) -> mjx.Data:
    """`d` with all that the positions `d.qpos` decide, as `mj_fwdPosition` without contacts.

    Fills poses of bodies, geoms, sites, joints, cameras and lights in the world frame (m, columns
    of rotation matrices are axes), centres of mass, motion axes `cdof`, tendon lengths and moment
    arms, actuator lengths and the mass matrix. Errors are as in `step`.
    """
    check_inputs(m, d)
    return like_given(m, d, _mjx.camlight(m, dynamics.transmission(m, position(m, d))))


def _contacts(m: mjx.Model, d: mjx.Data, softening: Softening) -> collision.Contact:
    return collision.collide(m, dynamics.kinematics(m, with_room(m, d)), softening)


def _full_forward(m: mjx.Model, d: mjx.Data, softening: Softening) -> mjx.Data:
    return observe(m, accelerate(m, d, softening))


def _full_step(m: mjx.Model, d: mjx.Data, softening: Softening) -> tuple[mjx.Data, mjx.Data]:
    return integrators.advance(m, d, lambda d: _full_forward(m, d, softening))


def _bare_step(m: mjx.Model, d: mjx.Data, softening: Softening) -> tuple[mjx.Data, mjx.Data]:
    return integrators.advance(m, d, lambda d: accelerate(m, d, softening))


def _adaptive_step(
    adaptive: Adaptive,
    next_ctrl: Float[Array, " nu"],
    m: mjx.Model,
    d: mjx.Data,
    softening: Softening,
) -> mjx.Data:
    field = Partial(_accelerated, softening)
    times = (m.opt.timestep, d.ctrl, next_ctrl)
    return integrate(adaptive, field, m, d, *times, events=softening.events)


def _accelerated(softening: Softening, m: mjx.Model, d: mjx.Data) -> mjx.Data:
    return accelerate(m, d, softening)
