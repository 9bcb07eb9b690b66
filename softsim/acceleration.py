"""From a state to its acceleration: read `accelerate` as the table of contents of the physics."""

import jax.numpy as jnp
from mujoco import mjx

from softsim import _mjx, collision, dynamics
from softsim.constraint import Rows, make_rows
from softsim.layout import with_room
from softsim.linear import solve_spd
from softsim.noslip import without_slip
from softsim.softening import Softening
from softsim.solver import Problem, solve


def accelerate(m: mjx.Model, d: mjx.Data, softening: Softening) -> mjx.Data:
    """From the state to the constrained acceleration."""
    d, rows = constrained(m, position(m, d), softening)
    d = velocity(m, dynamics.transmission(m, d))
    d = dynamics.actuation(m, d)
    d = smooth(m, d)
    return constrain(m, d, rows)


def position(m: mjx.Model, d: mjx.Data) -> mjx.Data:
    """Poses, inertia and tendons: everything the coordinates alone decide."""
    d = dynamics.kinematics(m, d)
    d = dynamics.com_pos(m, d)
    d = dynamics.tendon(m, d)
    return dynamics.tendon_armature(m, dynamics.mass_matrix(m, d))


def constrained(m: mjx.Model, d: mjx.Data, softening: Softening) -> tuple[mjx.Data, Rows]:
    """Contacts at the poses in `d`, and all constraint rows."""
    d = with_room(m, d)
    contact = collision.collide(m, d, softening)
    d = d.tree_replace({"_impl.contact": contact.to_mjx(d._impl.contact)})
    return d, make_rows(m, d, contact, softening)


def velocity(m: mjx.Model, d: mjx.Data) -> mjx.Data:
    """Passive forces and bias forces at the present velocity."""
    d = d.tree_replace(
        {
            "_impl.actuator_velocity": d._impl.actuator_moment @ d.qvel,
            "_impl.ten_velocity": d._impl.ten_J @ d.qvel,
        }
    )
    d = dynamics.com_vel(m, d)
    d = dynamics.passive(m, d)
    return dynamics.tendon_bias(m, dynamics.bias(m, d))


def smooth(m: mjx.Model, d: mjx.Data) -> mjx.Data:
    """All forces but the constraints', and the acceleration they would give."""
    applied = d.qfrc_applied + _mjx.xfrc_accumulate(m, d)
    qfrc_smooth = d.qfrc_passive - d.qfrc_bias + d.qfrc_actuator + applied
    qacc_smooth = solve_spd(d._impl.M, qfrc_smooth)
    return d.replace(qfrc_smooth=qfrc_smooth, qacc_smooth=qacc_smooth)


def constrain(m: mjx.Model, d: mjx.Data, rows: Rows) -> mjx.Data:
    """The accelerations that satisfy the constraints, and their forces."""
    problem = Problem(d._impl.M, d.qfrc_smooth, rows)
    solution = solve(m, problem, d.qacc_smooth, d.qacc_warmstart)
    if rows.n and getattr(m.opt, "noslip_iterations", 0):
        solution = without_slip(m, problem, d._impl.contact.dim, solution)
    d = d.replace(qacc=solution.qacc, qfrc_constraint=solution.qfrc_constraint)
    return d.tree_replace(
        {
            "_impl.efc_J": rows.J,
            "_impl.efc_D": rows.D,
            "_impl.efc_aref": rows.aref,
            "_impl.efc_pos": rows.pos,
            "_impl.efc_margin": rows.margin,
            "_impl.efc_frictionloss": rows.frictionloss,
            "_impl.efc_force": solution.efc_force,
            "_impl.solver_niter": jnp.asarray(solution.niter, d._impl.solver_niter.dtype),
        }
    )


def observe(m: mjx.Model, d: mjx.Data) -> mjx.Data:
    """Cameras, lights and sensors, which nothing in the dynamics depends on."""
    d = _mjx.camlight(m, d)
    d = _mjx.sensor_pos(m, d)
    d = _mjx.sensor_vel(m, d)
    return _mjx.sensor_acc(m, d)
