"""Kinds of parameters: what each is called, where its numbers are in a model, how they get there.

Inertia stays physical: a body is a mass, a centre, principal axes and, along them, three positive
second moments of mass, whose sums in pairs are the principal moments of inertia. Every such body
exists and every body is one of these (positive definite pseudo-inertia: Wensing, Kim, Slotine,
2018).
"""

import difflib
import re
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

from softsim.names import element_names, name_to_id
from softsim.rotations import quat_exp, quat_mul
from softsim.sysid.mjcf import WRITTEN

Coordinate = Literal["positive", "signed", "fraction", "real"]
Insert = Callable[[mjx.Model, Array], mjx.Model]


class Made(NamedTuple):
    """A parameter of k numbers: its value in the model and how others get there."""

    value: Any  # a number or (k,)
    coordinate: Coordinate
    scale: float  # natural step of a real coordinate
    unit: str
    insert: Insert


# kind: element, leaf, entry, coordinate, unit
LEAVES: dict[str, tuple[str, str, int, Coordinate, str]] = {
    "friction": ("geom", "geom_friction", 0, "positive", ""),
    "torsion": ("geom", "geom_friction", 1, "positive", "m"),
    "rolling": ("geom", "geom_friction", 2, "positive", "m"),
    "timeconst": ("geom", "geom_solref", 0, "positive", "s"),
    "dampratio": ("geom", "geom_solref", 1, "positive", ""),
    "dmin": ("geom", "geom_solimp", 0, "fraction", ""),
    "dmax": ("geom", "geom_solimp", 1, "fraction", ""),
    "width": ("geom", "geom_solimp", 2, "positive", "m"),
    "damping": ("joint", "dof_damping", 0, "positive", "N s/m or N m s"),
    "armature": ("joint", "dof_armature", 0, "positive", "kg or kg m^2"),
    "frictionloss": ("joint", "dof_frictionloss", 0, "positive", "N or N m"),
    "stiffness": ("joint", "jnt_stiffness", 0, "positive", "N/m or N m/rad"),
    "gear": ("actuator", "actuator_gear", 0, "signed", ""),
}
SERVOS: dict[str, Coordinate] = {"gain": "signed", "kp": "positive", "kv": "positive"}
BODIES = ("mass", "inertia", "moments", "com", "axes")
GEOMS = ("size", "place")
WORLD = ("gravity", "tilt", "length_scale")
KINDS = (*LEAVES, *SERVOS, *BODIES, *GEOMS, *WORLD)
PREFIXES = {"geom": "geom", "body": "body", "jnt": "joint", "dof": "joint", "site": "site",
            "actuator": "actuator"}  # fmt: skip
NAMED = ("body", "joint", "geom", "actuator")
FIELD = re.compile(r"(?P<field>\w+):(?P<element>[^\[\]]+)(\[(?P<index>\d+)\])?")
CENTIMETRE, DEGREE = 0.01, np.pi / 180


def describe(mj_model: mujoco.MjModel, m: mjx.Model, name: str) -> Made:
    """The parameter of a name.

    Raises:
        ValueError: there is no such kind or element; the message lists those that come close.
    """
    kind, _, element = str(name).partition(":")
    if kind in LEAVES:
        owner = LEAVES[kind][0]
        return _leaf(mj_model, m, name, kind, _find(mj_model, owner, element, name))
    if kind in SERVOS:
        return _servo(mj_model, name, kind, _find(mj_model, "actuator", element, name))
    if kind in GEOMS:
        return _of_geom(m, kind, _find(mj_model, "geom", element, name))
    if kind in BODIES:
        return _of_body(m, kind, _find(mj_model, "body", element, name))
    if kind in WORLD:
        if element:
            raise ValueError(f"parameters: {name!r} belongs to the world, expected {kind!r} alone")
        return _of_world(mj_model, m, kind)
    if "_" in kind:
        return _field(mj_model, m, name)
    close = difflib.get_close_matches(kind, KINDS, n=1)
    meant = f" (did you mean {close[0]!r}?)" if close else ""
    raise ValueError(
        f"parameters: {name!r} is of no such kind{meant}; expected one of {', '.join(KINDS)}, or "
        "a float field of the model such as geom_friction:GEOM[1]"
    )


def _find(mj_model: mujoco.MjModel, owner: str, element: str, name: str) -> int:
    """The id of a named element; the message also says what else has that name."""
    try:
        return name_to_id(mj_model, owner, element)
    except ValueError as error:
        message = f"parameters: {name!r} needs a {error}"
    same = [kind for kind in NAMED if element and element in element_names(mj_model, kind)]
    if same:
        message += f"; there is {', '.join(same)} {element!r}"
    if "joint" in same and name.startswith("friction:"):
        message += f", and its friction is 'frictionloss:{element}'"
    raise ValueError(message)


def _leaf(mj_model: mujoco.MjModel, m: mjx.Model, name: str, kind: str, i: int) -> Made:
    """One entry of a float leaf; a joint's number applies to all its degrees of freedom."""
    _, leaf, entry, coordinate, unit = LEAVES[kind]
    row: int | slice = i
    if leaf.startswith("dof"):
        first = mj_model.jnt_dofadr[i]
        row = slice(first, first + {0: 6, 1: 3}.get(int(mj_model.jnt_type[i]), 1))
    values = np.asarray(getattr(m, leaf))
    at = (row, entry) if values.ndim == 2 else (row,)
    x0 = np.ravel(values[at])[0]
    if kind in ("timeconst", "dampratio") and x0 <= 0:
        raise ValueError(
            f"parameters: {name!r}: solref is in its direct form, expected (timeconst, dampratio)"
        )
    insert = lambda m, x: m.tree_replace({leaf: getattr(m, leaf).at[at].set(x[0])})
    return Made(x0, coordinate, 1.0, unit, insert)


def _servo(mj_model: mujoco.MjModel, name: str, kind: str, i: int) -> Made:
    """The gain of an actuator, or one of a servo's two gains.

    A position servo pushes by kp (ctrl - length) - kv velocity, a velocity servo by
    kv (ctrl - velocity): there the gain is in the bias too.
    """
    gain, bias = float(mj_model.actuator_gainprm[i, 0]), mj_model.actuator_biasprm[i]
    affine = mj_model.actuator_biastype[i] == int(mujoco.mjtBias.mjBIAS_AFFINE)
    servo = next((k for k in (1, 2) if affine and gain and bias[k] == -gain), 0)
    column = {"gain": servo, "kp": 1, "kv": 2}[kind]
    if kind != "gain" and not (affine and (servo == 1 or column == servo)):
        raise ValueError(
            f"parameters: {name!r}: the actuator is no {'position' if kind == 'kp' else ''} servo; "
            f"its gain is 'gain:{name.partition(':')[2]}'"
        )
    in_gain = kind == "gain" or column == servo
    x0 = gain if in_gain else -float(bias[column])

    def insert(m: mjx.Model, x: Array) -> mjx.Model:
        changes = {}
        if in_gain:
            changes["actuator_gainprm"] = m.actuator_gainprm.at[i, 0].set(x[0])
        if column:
            changes["actuator_biasprm"] = m.actuator_biasprm.at[i, column].set(-x[0])
        return m.tree_replace(changes)

    return Made(x0, SERVOS[kind], 1.0, "", insert)


def _field(mj_model: mujoco.MjModel, m: mjx.Model, name: str) -> Made:
    """Any other float field that MJCF holds, as FIELD:ELEMENT[i]; i counts from 0, the default."""
    match = FIELD.fullmatch(name)
    field = match["field"] if match else ""
    if match is None or field not in WRITTEN:
        raise ValueError(
            f"parameters: {name!r}: expected a kind of parameter ({', '.join(KINDS)}), or "
            f"FIELD:ELEMENT[i] of a field that MJCF holds ({', '.join(WRITTEN)})"
        )
    row = _find(mj_model, PREFIXES[field.split("_")[0]], match["element"], name)
    if field.startswith("dof"):
        row = int(mj_model.jnt_dofadr[row])
    values, index = np.asarray(getattr(m, field)), int(match["index"] or 0)
    size = int(np.prod(values.shape[1:]))
    if index >= size:
        raise ValueError(f"parameters: {name!r}: got index {index}, expected 0 to {size - 1}")
    inner = np.unravel_index(index, values.shape[1:]) if values.ndim > 1 else ()
    at = (row, *(int(k) for k in inner))
    x0 = float(values[at])
    insert = lambda m, x: m.tree_replace({field: jnp.asarray(getattr(m, field)).at[at].set(x[0])})
    return Made(x0, "real", abs(x0) or 1.0, "", insert)


def _times(leaf: Any, row: int, factor: Array) -> Array:
    """A leaf with one row multiplied."""
    leaf = jnp.asarray(leaf)
    return leaf.at[row].set(leaf[row] * factor)


def _of_geom(m: mjx.Model, kind: str, g: int) -> Made:
    size = m.geom_size[g]
    if kind == "place":
        insert = lambda m, x: m.replace(geom_pos=m.geom_pos.at[g].set(x))
        return Made(np.asarray(m.geom_pos[g]), "real", CENTIMETRE, "m", insert)

    def resize(m: mjx.Model, x: Array) -> mjx.Model:
        factor = x[0] / size[0]
        return m.replace(
            geom_size=_times(m.geom_size, g, factor),
            geom_rbound=_times(m.geom_rbound, g, factor),
        )

    return Made(size[0], "positive", 1.0, "m, first size; all scale with it", resize)


def _of_body(m: mjx.Model, kind: str, b: int) -> Made:
    principal = m.body_inertia[b]
    second = jnp.sum(principal) / 2 - principal  # of mass, along the principal axes
    if kind == "com":
        insert = lambda m, x: m.replace(body_ipos=m.body_ipos.at[b].set(x))
        return Made(np.asarray(m.body_ipos[b]), "real", CENTIMETRE, "m", insert)
    if kind == "axes":
        quat = m.body_iquat[b]
        turn = lambda m, x: m.replace(
            body_iquat=m.body_iquat.at[b].set(quat_mul(quat, quat_exp(x)))
        )
        return Made(np.zeros(3), "real", 10 * DEGREE, "rad", turn)
    if kind == "moments":
        insert = lambda m, x: m.replace(body_inertia=m.body_inertia.at[b].set(jnp.sum(x) - x))
        return Made(np.asarray(second), "positive", 1.0, "kg m^2, second moments of mass", insert)
    if kind == "inertia":
        shape = principal / principal[0]
        insert = lambda m, x: m.replace(body_inertia=m.body_inertia.at[b].set(shape * x[0]))
        return Made(
            principal[0], "positive", 1.0, "kg m^2, first moment; all scale with it", insert
        )

    def weigh(m: mjx.Model, x: Array) -> mjx.Model:
        factor = x[0] / m.body_mass[b]
        return m.replace(
            body_mass=m.body_mass.at[b].set(x[0]),
            body_inertia=_times(m.body_inertia, b, factor),
        )

    return Made(m.body_mass[b], "positive", 1.0, "kg, inertia in proportion", weigh)


def _of_world(mj_model: mujoco.MjModel, m: mjx.Model, kind: str) -> Made:
    gravity = np.asarray(m.opt.gravity)
    strength = float(np.linalg.norm(gravity))
    if kind == "length_scale":
        _refuse_without_scale(mj_model)
        return Made(1.0, "positive", 1.0, "length in the data per true length", scale_lengths)
    if not strength > 0:
        raise ValueError(f"parameters: {kind!r}: the model has no gravity")
    if kind == "gravity":
        insert = lambda m, x: m.tree_replace({"opt.gravity": m.opt.gravity * x[0] / strength})
        return Made(strength, "positive", 1.0, "m/s^2", insert)
    across = np.linalg.svd(gravity[None])[2][1:]

    def tilt(m: mjx.Model, x: Array) -> mjx.Model:
        down = gravity / strength + x @ across
        size = jnp.sqrt(jnp.sum(jnp.square(m.opt.gravity)))
        return m.tree_replace({"opt.gravity": size * down / jnp.sqrt(jnp.sum(jnp.square(down)))})

    return Made(np.zeros(2), "real", DEGREE, "rad", tilt)


def _refuse_without_scale(mj_model: mujoco.MjModel) -> None:
    """A length scale means one thing only where gravity and contact alone make forces."""
    slide = mj_model.jnt_type == int(mujoco.mjtJoint.mjJNT_SLIDE)
    there = {
        "actuators": mj_model.nu, "tendons": mj_model.ntendon, "equalities": mj_model.neq,
        "meshes or height fields": mj_model.nmesh + mj_model.nhfield,
        "springs": np.any(mj_model.jnt_stiffness), "damped joints": np.any(mj_model.dof_damping),
        "joint friction": np.any(mj_model.dof_frictionloss),
        "armature": np.any(mj_model.dof_armature),
        "limits of sliding joints": np.any(mj_model.jnt_limited[slide]),
        "a fluid": mj_model.opt.density or mj_model.opt.viscosity,
        "direct solref": np.any(mj_model.geom_solref <= 0),
    }  # fmt: skip
    found = [name for name, count in there.items() if count]
    if found:
        raise ValueError(
            f"parameters: 'length_scale': not defined for a model with {', '.join(found)}"
        )


def scale_lengths(m: mjx.Model, x: Float[Array, " 1"]) -> mjx.Model:
    """The same world with all lengths multiplied, gravity as well; mass and time stay."""
    s = x[0]
    free = np.flatnonzero(m.jnt_type == int(mujoco.mjtJoint.mjJNT_FREE))
    slide = np.flatnonzero(m.jnt_type == int(mujoco.mjtJoint.mjJNT_SLIDE))
    lengths = (m.jnt_qposadr[free][:, None] + np.arange(3)).ravel()
    at = np.concatenate([lengths, m.jnt_qposadr[slide]]).astype(int)
    linear = ("body_pos", "body_ipos", "geom_pos", "geom_size", "geom_rbound", "geom_margin",
              "geom_gap", "site_pos", "jnt_pos")  # fmt: skip
    scaled: dict[str, Any] = {name: jnp.asarray(getattr(m, name)) * s for name in linear}
    scaled["body_inertia"] = m.body_inertia * s**2
    # the coefficients of torsion and rolling are lengths
    scaled["geom_friction"] = m.geom_friction.at[:, 1:].multiply(s)
    scaled["geom_solimp"] = m.geom_solimp.at[:, 2].set(m.geom_solimp[:, 2] * s)
    scaled["qpos0"] = m.qpos0.at[at].set(m.qpos0[at] * s)
    scaled["opt.gravity"] = m.opt.gravity * s
    return m.tree_replace(scaled)
