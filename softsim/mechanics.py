"""Pieces of the equations of motion on their own: what robotics asks a simulator for.

    M(q) qacc + bias(q, qvel) = passive + actuator + applied + J' force

Every function takes the state in `d` (its poses are not read but computed), works under jit, vmap,
grad and jvp, and agrees with the MuJoCo function that its docstring names.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

from softsim import dynamics
from softsim.acceleration import constrained, position, velocity
from softsim.constraint.forces import forces
from softsim.derivative_rule import softened
from softsim.implicit_velocity import continuous_acceleration
from softsim.model import check_inputs
from softsim.names import Element, only_one
from softsim.softening import Softening
from softsim.step import kinematics


def mass_matrix(m: mjx.Model, d: mjx.Data) -> Float[Array, "nv nv"]:
    """The joint-space inertia M(q), armature included; kg, kg m, kg m^2. As `mj_fullM`.

    >>> import mujoco, softsim
    >>> m = softsim.put_model(mujoco.MjModel.from_xml_string(
    ...     "<mujoco><worldbody><body><joint type='slide'/><geom size='.1' mass='2'/></body>"
    ...     "</worldbody></mujoco>"))
    >>> print(softsim.mass_matrix(m, softsim.make_data(m)))
    [[2.]]
    """
    check_inputs(m, d)
    return position(m, d)._impl.M


def bias(m: mjx.Model, d: mjx.Data) -> Float[Array, " nv"]:
    """The force (N, N m) that holds every velocity constant: gravity, Coriolis and centrifugal
    forces, and those of tendon armature. As `mjData.qfrc_bias`.
    """
    check_inputs(m, d)
    d = dynamics.com_vel(m, position(m, d))
    return dynamics.tendon_bias(m, dynamics.bias(m, d)).qfrc_bias


def jacobian(
    m: mjx.Model,
    d: mjx.Data,
    *,
    body: Element | None = None,
    geom: Element | None = None,
    site: Element | None = None,
    point: Float[Array, "3"] | None = None,
) -> tuple[Float[Array, "3 nv"], Float[Array, "3 nv"]]:
    """Velocity of a point and angular velocity of its body, per unit of `qvel`, in the world frame.

    As `mj_jacBody`, `mj_jacGeom` and `mj_jacSite`, and with `point` as `mj_jac`.

    Args:
        body, geom, site: the name or id of one element, which the point moves with.
        point: m, world frame; the origin of the element's frame if None.

    Returns:
        jacp: linear velocity of the point; jacr: angular velocity.

    Raises:
        ValueError: not exactly one element is given, or it does not exist.
    """
    kind, index = only_one(m, body=body, geom=geom, site=site)
    d = kinematics(m, d)
    origin = {"body": d.xpos, "geom": d.geom_xpos, "site": d.site_xpos}[kind][index]
    owner = {"body": np.arange(m.nbody), "geom": m.geom_bodyid, "site": m.site_bodyid}[kind][index]
    at = origin if point is None else jnp.asarray(point, origin.dtype)
    jacp, jacr = dynamics.point_jacobians(m, d, at[None], np.array([owner]))
    return jacp[0], jacr[0]


def inverse(
    m: mjx.Model,
    d: mjx.Data,
    qacc: Float[Array, " nv"],
    softening: Softening | None = None,
) -> Float[Array, " nv"]:
    """The force (N, N m) that actuators and applied forces must add up to for `qacc`.

    As `mj_inverse`, whose `qfrc_inverse` this is.

    The constraints' force at a given acceleration is explicit, so nothing is iterated. With the
    model's `invdiscrete` flag, `qacc` is what one step of its integrator makes of the velocity.

    Args:
        qacc: acceleration, m/s^2 and rad/s^2.
        softening: as in `step`.

    Raises:
        ValueError: `qacc` is not (nv,), `invdiscrete` is set with RK4, or `d` as in `step`.
    """
    check_inputs(m, d)
    if jnp.shape(qacc) != (m.nv,):
        raise ValueError(f"qacc: got shape {jnp.shape(qacc)}, expected ({m.nv},)")
    d = d.replace(qacc=jnp.asarray(qacc, d.qvel.dtype))
    return softened(_inverse, m, d, softening)


def _inverse(m: mjx.Model, d: mjx.Data, softening: Softening) -> Float[Array, " nv"]:
    d, rows = constrained(m, position(m, d), softening)
    d = velocity(m, dynamics.transmission(m, d))
    qacc = d.qacc
    if m.opt.enableflags & mujoco.mjtEnableBit.mjENBL_INVDISCRETE:
        qacc = continuous_acceleration(m, dynamics.actuation(m, d))
    pull = rows.J.T @ forces(rows, rows.J @ qacc - rows.aref) if rows.n else 0.0
    return d._impl.M @ qacc + d.qfrc_bias - d.qfrc_passive - pull


class Pose(NamedTuple):
    """Where one element is, in the world frame.

    Attributes:
        pos: m, the origin of its frame.
        mat: its rotation; the columns are its axes.
    """

    pos: Float[Array, "*T 3"]
    mat: Float[Array, "*T 3 3"]


def poses(
    m: mjx.Model,
    d: mjx.Data,
    qpos: Float[Array, "*T nq"],
    *,
    body: Element | None = None,
    geom: Element | None = None,
    site: Element | None = None,
) -> Pose:
    """The pose of one body, geom or site at many coordinates, such as `path.qpos` of a rollout.

    >>> import mujoco, softsim, jax.numpy as jnp
    >>> m = softsim.put_model(mujoco.MjModel.from_xml_string(
    ...     "<mujoco><worldbody><body><joint type='slide' axis='1 0 0'/><geom size='.1'/>"
    ...     "<site name='tip' pos='0 0 1'/></body></worldbody></mujoco>"))
    >>> print(softsim.poses(m, softsim.make_data(m), jnp.array([[0.0], [2.0]]), site="tip").pos)
    [[0. 0. 1.]
     [2. 0. 1.]]

    Args:
        d: gives the poses of mocap bodies.
        qpos: coordinates, with any number of leading axes.
        body, geom, site: the name or id of one element.

    Raises:
        ValueError: not exactly one element is given, or it does not exist, or `qpos` is not
            (..., nq).
    """
    kind, index = only_one(m, body=body, geom=geom, site=site)
    qpos = jnp.asarray(qpos, d.qpos.dtype)
    if qpos.ndim == 0 or qpos.shape[-1] != m.nq:
        raise ValueError(f"qpos: got shape {qpos.shape}, expected (..., {m.nq})")

    def at(q: Float[Array, " nq"]) -> Pose:
        y = dynamics.kinematics(m, d.replace(qpos=q))
        frames = {
            "body": (y.xpos, y.xmat),
            "geom": (y.geom_xpos, y.geom_xmat),
            "site": (y.site_xpos, y.site_xmat),
        }
        return Pose(*(x[index] for x in frames[kind]))

    flat = jax.vmap(at)(qpos.reshape(-1, m.nq))
    return jax.tree.map(lambda x: x.reshape(*qpos.shape[:-1], *x.shape[1:]), flat)
