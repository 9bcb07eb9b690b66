"""What MuJoCo offers and softsim does not simulate: found by name, never silently ignored.

Every entry of `CHECKS` was found by comparing MJX with MuJoCo C on a model per feature; the same
models are the test (`tests/softsim/features.py`) and the table in `docs/supported.md`.
"""

from collections.abc import Callable, Iterator

import mujoco
import numpy as np

from softsim._mjx import geom_pairs

_Problems = Iterator[str]


class UnsupportedModelError(ValueError):
    """The model uses features that softsim does not simulate; `problems` lists all of them."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("this model cannot be simulated faithfully:\n  " + "\n  ".join(problems))


def find_unsupported(mj_model: mujoco.MjModel) -> list[str]:
    """One line per element and unsupported feature, with the element's name."""
    return [problem for check in CHECKS for problem in check(mj_model)]


def element(mj_model: mujoco.MjModel, kind: mujoco.mjtObj, index: int) -> str:
    """'geom "floor"', or 'geom 3' where it has no name."""
    label = mujoco.mju_type2Str(kind)
    name = mujoco.mj_id2name(mj_model, kind, index)
    return f'{label} "{name}"' if name else f"{label} {index}"


def _nonzero(field: str, kind: mujoco.mjtObj, feature: str) -> Callable[..., _Problems]:
    """Refuse elements whose field is not zero (or, for ids of plugins, not -1)."""
    absent = -1 if field.endswith("_plugin") else 0

    def check(m: mujoco.MjModel) -> _Problems:
        value = getattr(m, field, None)
        if value is None or not len(value):  # None: not in this version of MuJoCo
            return
        used = (np.asarray(value) != absent).reshape(len(value), -1).any(axis=1)
        for index in np.flatnonzero(used):
            yield f"{element(m, kind, int(index))}: {feature} is not supported"

    return check


def _enum(
    field: str, kind: mujoco.mjtObj, enum: type, accepted: tuple[str, ...], feature: str
) -> Callable[..., _Problems]:
    """Refuse elements whose type is not one of the accepted members of a MuJoCo enum."""

    def check(m: mujoco.MjModel) -> _Problems:
        for index, value in enumerate(getattr(m, field)):
            name = enum(int(value)).name.split("_", 1)[1]
            if name not in accepted:
                yield (
                    f"{element(m, kind, index)}: {feature} {name.lower()} is not supported "
                    f"(expected one of {', '.join(accepted).lower()})"
                )

    return check


def _option(m: mujoco.MjModel) -> _Problems:
    integrator = mujoco.mjtIntegrator(m.opt.integrator).name.removeprefix("mjINT_")
    if integrator not in ("EULER", "IMPLICITFAST", "RK4"):
        yield f"option: integrator {integrator} is not supported (euler, implicitfast, rk4 are)"
    solver = mujoco.mjtSolver(m.opt.solver).name.removeprefix("mjSOL_")
    if solver not in ("NEWTON", "CG"):
        yield f"option: solver {solver} is not supported (Newton, CG are)"
    if m.opt.noslip_iterations:
        yield "option: noslip_iterations > 0 is not supported"
    if m.opt.disableactuator:
        yield "option: actuatorgroupdisable is not supported"
    harmless = {"INVDISCRETE"}
    for bit in range(int(mujoco.mjtEnableBit.mjNENABLE)):
        name = mujoco.mjtEnableBit(2**bit).name.removeprefix("mjENBL_")
        if m.opt.enableflags & 2**bit and name not in harmless:
            yield f"option: enable flag {name.lower()} is not supported"


def _flexes(m: mujoco.MjModel) -> _Problems:
    for index in range(m.nflex):
        yield f"{element(m, _OBJ.mjOBJ_FLEX, index)}: flexes are not supported"


def _elliptic_frictionless(m: mujoco.MjModel) -> _Problems:
    if m.opt.cone != mujoco.mjtCone.mjCONE_ELLIPTIC:
        return
    for geom1, geom2, pair in geom_pairs(m):
        if (m.pair_dim[pair] if pair >= 0 else _mixed_condim(m, geom1, geom2)) == 1:
            names = " and ".join(element(m, _OBJ.mjOBJ_GEOM, int(g)) for g in (geom1, geom2))
            yield f"{names}: condim 1 with elliptic cones is not supported"


def _mixed_condim(m: mujoco.MjModel, geom1: int, geom2: int) -> int:
    """The contact dimension of two geoms: that of the higher priority, else the larger."""
    priority1, priority2 = m.geom_priority[geom1], m.geom_priority[geom2]
    if priority1 == priority2:
        return max(m.geom_condim[geom1], m.geom_condim[geom2])
    return m.geom_condim[geom1] if priority1 > priority2 else m.geom_condim[geom2]


_OBJ = mujoco.mjtObj
_TYPES = (
    ("actuator_dyntype", _OBJ.mjOBJ_ACTUATOR, mujoco.mjtDyn, "dyntype",
     ("NONE", "INTEGRATOR", "FILTER", "FILTEREXACT", "MUSCLE")),
    ("actuator_gaintype", _OBJ.mjOBJ_ACTUATOR, mujoco.mjtGain, "gaintype",
     ("FIXED", "AFFINE", "MUSCLE")),
    ("actuator_biastype", _OBJ.mjOBJ_ACTUATOR, mujoco.mjtBias, "biastype",
     ("NONE", "AFFINE", "MUSCLE")),
    ("actuator_trntype", _OBJ.mjOBJ_ACTUATOR, mujoco.mjtTrn, "transmission",
     ("JOINT", "JOINTINPARENT", "SITE", "TENDON")),
    ("eq_type", _OBJ.mjOBJ_EQUALITY, mujoco.mjtEq, "equality",
     ("CONNECT", "WELD", "JOINT", "TENDON")),
)  # fmt: skip

CHECKS: tuple[Callable[[mujoco.MjModel], _Problems], ...] = (
    _option,
    _flexes,
    _elliptic_frictionless,
    _nonzero("geom_surfacevel", _OBJ.mjOBJ_GEOM, "surfacevel"),
    _nonzero("geom_adhesion", _OBJ.mjOBJ_GEOM, "adhesion"),
    _nonzero("pair_adhesion", _OBJ.mjOBJ_PAIR, "adhesion"),
    _nonzero("geom_gap", _OBJ.mjOBJ_GEOM, "gap"),
    _nonzero("pair_gap", _OBJ.mjOBJ_PAIR, "gap"),
    _nonzero("geom_fluid", _OBJ.mjOBJ_GEOM, "fluidshape (ellipsoid fluid model)"),
    _nonzero("geom_plugin", _OBJ.mjOBJ_GEOM, "plugin"),
    _nonzero("body_plugin", _OBJ.mjOBJ_BODY, "plugin"),
    _nonzero("actuator_plugin", _OBJ.mjOBJ_ACTUATOR, "plugin"),
    _nonzero("sensor_plugin", _OBJ.mjOBJ_SENSOR, "plugin"),
    _nonzero("jnt_springyield", _OBJ.mjOBJ_JOINT, "springyield"),
    _nonzero("actuator_damping", _OBJ.mjOBJ_ACTUATOR, "damping of an actuator"),
    _nonzero("actuator_dampingpoly", _OBJ.mjOBJ_ACTUATOR, "damping of an actuator"),
    _nonzero("actuator_armature", _OBJ.mjOBJ_ACTUATOR, "armature of an actuator"),
    _nonzero("actuator_actearly", _OBJ.mjOBJ_ACTUATOR, "actearly"),
    _nonzero("actuator_delay", _OBJ.mjOBJ_ACTUATOR, "delay"),
    _nonzero("sensor_delay", _OBJ.mjOBJ_SENSOR, "delay"),
    _nonzero("sensor_interval", _OBJ.mjOBJ_SENSOR, "interval"),
    *(_enum(field, kind, enum, names, what) for field, kind, enum, what, names in _TYPES),
)
