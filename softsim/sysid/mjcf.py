"""From a fitted `mjx.Model` back to MuJoCo: a compiled model for C, and an MJCF file."""

import copy
import tempfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

# float fields that may be fitted, as MJCF can hold them
WRITTEN = (
    "geom_size", "geom_pos", "geom_friction", "geom_solref", "geom_solimp", "geom_margin",
    "geom_gap", "body_pos", "jnt_pos", "jnt_stiffness", "site_pos", "actuator_gainprm",
    "actuator_biasprm", "actuator_gear", "body_mass", "body_ipos", "body_iquat", "body_inertia",
    "dof_damping", "dof_armature", "dof_frictionloss",
)  # fmt: skip
DERIVED = ("body_invweight0", "dof_invweight0", "qpos0", "geom_rbound")
DIGITS = 1e-5  # relative: MJCF is written with six significant digits
# what differs between a changed and a compiled model without mattering: references of springs that
# do not pull, bounding boxes, what is drawn
ASIDE = (
    "_",
    "mesh_",
    "vis_",
    "bvh_",
    "qpos_spring",
    "geom_aabb",
    "light_",
    "cam_",
    "tex_",
    "skin_",
)
ASSETS = (".obj", ".stl", ".png", ".msh")


def pick(m: mjx.Model) -> dict[str, Any]:
    """The float fields in which a fitted model may differ from the compiled one, and gravity."""
    fields = {name: jnp.asarray(getattr(m, name)) for name in (*WRITTEN, *DERIVED)}
    return fields | {"gravity": m.opt.gravity}


def to_mujoco(mj_model: mujoco.MjModel, leaves: dict[str, Any]) -> mujoco.MjModel:
    """A copy of the compiled model with other values in these fields.

    The constants that follow from them are computed again: MuJoCo takes the inertia of a lone free
    body from those, not from `body_inertia`.
    """
    fitted = copy.copy(mj_model)
    for name, values in leaves.items():
        field = fitted.opt.gravity if name == "gravity" else getattr(fitted, name)
        field[...] = np.asarray(values, float).reshape(field.shape)
    mujoco.mj_setConst(fitted, mujoco.MjData(fitted))
    return fitted


def last_read(mj_model: mujoco.MjModel) -> mujoco.MjSpec | None:
    """The spec that MuJoCo read last, if the model has its elements: MuJoCo keeps that one only."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.xml"
        try:
            mujoco.mj_saveLastXML(str(path), mj_model)
            return mujoco.MjSpec.from_string(path.read_text())
        except (mujoco.FatalError, ValueError, OSError):
            return None


def write_mjcf(path: Path, spec: mujoco.MjSpec, fitted: mujoco.MjModel, folder: Path) -> None:
    """Write the MJCF of `spec` with the numbers of a model of the same elements.

    Args:
        folder: where the files of its assets are.

    Raises:
        ValueError: the file would not compile to this model; the message names the fields.
    """
    files = {f.name: f.read_bytes() for f in folder.iterdir() if f.suffix.lower() in ASSETS}
    spec = spec.copy()
    spec.assets = {**files, **spec.assets}
    try:
        spec.compile()
        spec.copy_back(fitted)
        text = spec.to_xml()
        compiled = mujoco.MjModel.from_xml_string(text, spec.assets)
    except (mujoco.FatalError, ValueError) as error:
        raise ValueError(f"source: it does not compile to the fitted model ({error})") from None
    other = [name for name in dir(fitted) if not _alike(fitted, compiled, name)]
    other += ["names"] if fitted.names != compiled.names else []
    if other:
        raise ValueError(
            f"source: it would compile to another {', '.join(other)} than the fitted model has; "
            "give the MJCF file or MjSpec of this model, and keep out of the fit what MJCF cannot "
            "hold"
        )
    path.write_text(text)


def _alike(one: mujoco.MjModel, two: mujoco.MjModel, name: str) -> bool:
    """Whether two models agree in a field, up to the digits of an MJCF file."""
    x = getattr(one, name, None)
    if not isinstance(x, np.ndarray) or name.startswith(ASIDE):
        return True
    y = getattr(two, name)
    scale = np.abs(x).max(initial=0.0) if x.dtype.kind == "f" else 0.0
    return x.shape == y.shape and np.allclose(x, y, rtol=DIGITS, atol=1e-9 + DIGITS * scale)
