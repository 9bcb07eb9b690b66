"""One scalar input of a model, named on the command line, and how to put a value into it."""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

OBJECTS = {
    "body": mujoco.mjtObj.mjOBJ_BODY,
    "jnt": mujoco.mjtObj.mjOBJ_JOINT,
    "geom": mujoco.mjtObj.mjOBJ_GEOM,
    "site": mujoco.mjtObj.mjOBJ_SITE,
    "tendon": mujoco.mjtObj.mjOBJ_TENDON,
    "actuator": mujoco.mjtObj.mjOBJ_ACTUATOR,
    "eq": mujoco.mjtObj.mjOBJ_EQUALITY,
    "key": mujoco.mjtObj.mjOBJ_KEY,
}
OPTIONS = ("timestep", "gravity", "wind", "density", "viscosity")
SPEC = re.compile(r"(?P<field>\w+):(?P<name>[^\[\]]+)(\[(?P<index>\d+)\])?")

# of fields whose entries all have the same; others are measured in units of themselves
UNITS = {
    "body_mass": "kg",
    "body_pos": "m",
    "body_ipos": "m",
    "body_inertia": "kg m^2",
    "geom_size": "m",
    "geom_pos": "m",
    "geom_margin": "m",
    "site_pos": "m",
    "jnt_pos": "m",
    "opt.timestep": "s",
    "opt.gravity": "m/s^2",
    "opt.wind": "m/s",
    "opt.density": "kg/m^3",
    "opt.viscosity": "Pa s",
}

State = tuple[mjx.Model, mjx.Data, Float[Array, " nu"]]


@dataclass(frozen=True)
class Input:
    """A scalar input: its name, its value in the model, `insert(state, x) -> state`, its unit."""

    name: str
    value: float
    insert: Callable[[State, Float[Array, ""]], State]
    unit: str


def find_input(mj_model: mujoco.MjModel, state: State, spec: str) -> Input:
    """Find the input that `spec` names.

    Args:
        spec: `qpos:joint[i]`, `qvel:joint[i]`, `ctrl:actuator`, `dof_damping:joint[i]`,
            `opt:gravity[i]`, or any float field of the model with the name of its element,
            such as `geom_friction:floor[0]` or `body_mass:torso`. `[i]` counts from 0 (default).

    Raises:
        ValueError: the spec, field, name or index does not exist; names close to it are listed.
    """
    match = SPEC.fullmatch(spec)
    if match is None:
        example = next(iter(names_of(mj_model, "jnt")), "joint")
        raise ValueError(f"--input {spec}: expected FIELD:NAME[i], such as qvel:{example}[0]")
    name, i = match["name"], int(match["index"] or 0)
    if match["field"] in ("qpos", "qvel"):
        return _state_input(mj_model, state, spec, match["field"], name, i)
    if match["field"] == "ctrl":
        return _control_input(mj_model, state, spec, name, i)
    return _model_input(mj_model, state, spec, match["field"], name, i)


def _state_input(
    mj_model: mujoco.MjModel, state: State, spec: str, field: str, name: str, i: int
) -> Input:
    joint = find_name(mj_model, "jnt", name, f"--input {spec}")
    address = mj_model.jnt_qposadr if field == "qpos" else mj_model.jnt_dofadr
    widths = {"qpos": (7, 4, 1, 1), "qvel": (6, 3, 1, 1)}[field]
    kind = mujoco.mjtJoint(mj_model.jnt_type[joint])
    at = _offset(spec, i, widths[kind]) + int(address[joint])

    def insert(state: State, x: Float[Array, ""]) -> State:
        m, d, ctrl = state
        return m, d.replace(**{field: getattr(d, field).at[at].set(x)}), ctrl

    length = kind == mujoco.mjtJoint.mjJNT_SLIDE or (kind == mujoco.mjtJoint.mjJNT_FREE and i < 3)
    quaternion = field == "qpos" and widths[kind] > 1 and not length
    unit = "m" if length else "unit of the quaternion" if quaternion else "rad"
    unit += "/s" if field == "qvel" else ""
    return Input(spec, float(getattr(state[1], field)[at]), insert, unit)


def _control_input(mj_model: mujoco.MjModel, state: State, spec: str, name: str, i: int) -> Input:
    at = find_name(mj_model, "actuator", name, f"--input {spec}") + _offset(spec, i, 1)

    def insert(state: State, x: Float[Array, ""]) -> State:
        m, d, ctrl = state
        return m, d, ctrl.at[at].set(x)

    return Input(spec, float(state[2][at]), insert, "unit of control")


def _model_input(
    mj_model: mujoco.MjModel, state: State, spec: str, field: str, name: str, i: int
) -> Input:
    if field == "opt":
        path, row = f"opt.{name}", None
        if name not in OPTIONS:
            raise ValueError(f"--input {spec}: opt has {', '.join(OPTIONS)}, not {name!r}")
    else:
        path, row = field, _row(mj_model, state[0], spec, field, name)
    values = _leaf(state[0], path)
    entry = values if row is None else values[row]
    at = (() if row is None else (row,)) + _entry(spec, i, entry.shape)

    def insert(state: State, x: Float[Array, ""]) -> State:
        m, d, ctrl = state
        return m.tree_replace({path: jnp.asarray(_leaf(m, path)).at[at].set(x)}), d, ctrl

    return Input(spec, float(values[at]), insert, UNITS.get(path, f"unit of {path}"))


def _row(mj_model: mujoco.MjModel, m: mjx.Model, spec: str, field: str, name: str) -> int:
    """The row of a model field that belongs to the element `name`."""
    kind = field.split("_")[0]
    fields = [f for f, x in vars(m).items() if isinstance(x, jax.Array) and x.dtype.kind == "f"]
    fields = [f for f in fields if f.split("_")[0] in {*OBJECTS, "dof"} - {"key"}]
    if field not in fields:
        raise ValueError(f"--input {spec}: no float field {field!r}{close(field, fields)}")
    if kind == "dof":
        return int(mj_model.jnt_dofadr[find_name(mj_model, "jnt", name, f"--input {spec}")])
    return find_name(mj_model, kind, name, f"--input {spec}")


def find_name(mj_model: mujoco.MjModel, kind: str, name: str, where: str) -> int:
    """The id of a named element; a ValueError lists the names there are."""
    index = mujoco.mj_name2id(mj_model, OBJECTS[kind], name)
    if index < 0:
        names = names_of(mj_model, kind)
        noun = {"jnt": "joint", "eq": "equality", "key": "keyframe"}.get(kind, kind)
        raise ValueError(f"{where}: no {noun} named {name!r}{close(name, names)}")
    return index


def names_of(mj_model: mujoco.MjModel, kind: str) -> list[str]:
    """The names the model gives to elements of a kind."""
    count = getattr(mj_model, {"jnt": "njnt", "actuator": "nu"}.get(kind, f"n{kind}"))
    names = (mujoco.mj_id2name(mj_model, OBJECTS[kind], i) for i in range(count))
    return [name for name in names if name]


def close(name: str, names: Sequence[str]) -> str:
    """The end of an error message: the likeliest of `names`."""
    if not names:
        return "; the model names none"
    likely = difflib.get_close_matches(name, names, n=5, cutoff=0.4) or sorted(names)[:8]
    return f"; there is {', '.join(likely)}" + (", ..." if len(likely) < len(names) else "")


def _offset(spec: str, i: int, width: int) -> int:
    if i >= width:
        raise ValueError(f"--input {spec}: index {i}, expected 0 to {width - 1}")
    return i


def _entry(spec: str, i: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    _offset(spec, i, int(np.prod(shape)))
    return tuple(int(k) for k in np.unravel_index(i, shape)) if shape else ()


def _leaf(m: mjx.Model, path: str) -> Array:
    for part in path.split("."):
        m = getattr(m, part)
    return m
