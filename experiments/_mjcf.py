"""From a fitted `mjx.Model` back to MuJoCo: a compiled model for C, and an MJCF file."""

import copy
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from experiments._run import write_with

# field of the model: list of elements in the spec, attribute
FIELDS = {
    "geom_size": ("geoms", "size"),
    "geom_pos": ("geoms", "pos"),
    "geom_friction": ("geoms", "friction"),
    "geom_solref": ("geoms", "solref"),
    "geom_solimp": ("geoms", "solimp"),
    "geom_margin": ("geoms", "margin"),
    "geom_gap": ("geoms", "gap"),
    "body_pos": ("bodies", "pos"),
    "jnt_pos": ("joints", "pos"),
    "jnt_stiffness": ("joints", "stiffness"),
    "site_pos": ("sites", "pos"),
    "actuator_gainprm": ("actuators", "gainprm"),
    "actuator_biasprm": ("actuators", "biasprm"),
}
INERTIAL = {
    "body_mass": "mass",
    "body_ipos": "ipos",
    "body_iquat": "iquat",
    "body_inertia": "inertia",
}
PER_DOF = {"dof_damping": "damping", "dof_armature": "armature", "dof_frictionloss": "frictionloss"}
DERIVED = ("body_invweight0", "dof_invweight0", "qpos0", "geom_rbound")
DIGITS = 2e-6  # relative: MJCF is written with six significant digits


def pick(m: mjx.Model) -> dict[str, Any]:
    """The float fields in which a fitted model may differ from the compiled one, and gravity."""
    names = [*FIELDS, *INERTIAL, *PER_DOF, *DERIVED]
    return {name: jnp.asarray(getattr(m, name)) for name in names} | {"gravity": m.opt.gravity}


def in_shape(leaves: dict[str, Any], mj_model: mujoco.MjModel) -> dict[str, np.ndarray]:
    """The same fields in numpy, in the shapes that MuJoCo gives them."""
    return {
        name: np.asarray(value, float).reshape(_field(mj_model, name).shape)
        for name, value in leaves.items()
    }


def _field(mj_model: mujoco.MjModel, name: str) -> np.ndarray:
    return mj_model.opt.gravity if name == "gravity" else getattr(mj_model, name)


def to_mujoco(mj_model: mujoco.MjModel, leaves: dict[str, np.ndarray]) -> mujoco.MjModel:
    """A copy of the compiled model with other values in these fields.

    The constants that follow from them are computed again: MuJoCo takes the inertia of a lone free
    body from those, not from `body_inertia`.
    """
    fitted = copy.copy(mj_model)
    for name, values in leaves.items():
        _field(fitted, name)[...] = values
    mujoco.mj_setConst(fitted, mujoco.MjData(fitted))
    return fitted


def write_mjcf(
    path: Path, source: Path, mj_model: mujoco.MjModel, leaves: dict[str, np.ndarray]
) -> None:
    """Write the MJCF of `source` with the fitted values, every body's inertia spelt out.

    Raises:
        ValueError: the file would not compile to the fitted model, because a field of it that was
            fitted has no attribute in MJCF that says it.
    """
    spec = mujoco.MjSpec.from_file(str(source))
    spec.compile()
    for name, (kind, attribute) in FIELDS.items():
        for element in getattr(spec, kind):
            old, new = getattr(mj_model, name)[element.id], leaves[name][element.id]
            if not np.array_equal(old, new):
                _assign(element, attribute, new)
    for joint in spec.joints:
        for name, attribute in PER_DOF.items():
            at = mj_model.jnt_dofadr[joint.id]
            if getattr(mj_model, name)[at] != leaves[name][at]:
                _assign(joint, attribute, leaves[name][at])
    if any(not np.array_equal(getattr(mj_model, n), leaves[n]) for n in (*INERTIAL, "geom_size")):
        for body in spec.bodies[1:]:
            body.explicitinertial = True
            body.fullinertia = np.full(6, np.nan)
            for name, attribute in INERTIAL.items():
                _assign(body, attribute, leaves[name][body.id])
    spec.option.gravity = leaves["gravity"]
    text = spec.to_xml()
    _check(text, mj_model, leaves, source)
    write_with(path, lambda file: file.write_text(text))


def _assign(element, attribute: str, value: np.ndarray) -> None:
    """Set a number, or the leading entries of an array of the spec."""
    held = getattr(element, attribute)
    if np.ndim(held) == 0:
        setattr(element, attribute, float(np.ravel(value)[0]))
    elif np.ndim(value) == 0:
        held[0] = value
    else:
        held[: len(value)] = value


def _check(
    text: str, mj_model: mujoco.MjModel, leaves: dict[str, np.ndarray], source: Path
) -> None:
    directory = source.resolve().parent
    files = {
        file.name: file.read_bytes()
        for file in directory.iterdir()
        if file.suffix.lower() in (".obj", ".stl", ".png", ".msh")
    }
    compiled = mujoco.MjModel.from_xml_string(text, files)
    for name, wanted in leaves.items():
        got = _field(compiled, name)
        if got.shape != wanted.shape or not np.allclose(got, wanted, rtol=5 * DIGITS, atol=1e-9):
            raise ValueError(f"the fitted {name} cannot be written as MJCF; keep it out of the fit")
