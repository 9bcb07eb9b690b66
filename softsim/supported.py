"""What MuJoCo offers and softsim does not simulate: found by name, never silently ignored.

Every entry of `CHECKS` was found by comparing MJX with MuJoCo C on a model per feature; the same
models are the test (`tests/softsim/features.py`) and the table in `docs/supported.md`. A feature
with a word may be left out on the user's request: the model then moves as if it did not have it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import NamedTuple

import mujoco
import numpy as np
from mujoco.mjx import SensorType

from softsim.collision import unsupported_meshes, unsupported_pairs
from softsim.elements import element

SHOWN = 3
"""Elements that a refusal names before it counts the others."""
MAX_REASONS = 18
"""Reasons that an error lists, so that with its first and last line it has at most 20."""


class UnsupportedModelError(ValueError):
    """The model uses features that softsim does not simulate.

    Attributes:
        problems: one line for each reason: the elements, the feature, and what can be done.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        lines = problems[:MAX_REASONS]
        if hidden := len(problems) - len(lines):
            lines.append(f"and {hidden} more reasons, in the attribute `problems` of this error")
        super().__init__("this model cannot be simulated faithfully:\n  " + "\n  ".join(lines))


class Problem(NamedTuple):
    """One element and a feature of it that is not simulated."""

    element: str
    feature: str


_Problems = Iterable[Problem]


class Check(NamedTuple):
    """How a feature is found, what helps, and the word with which it may be left out, or ""."""

    find: Callable[[mujoco.MjModel], _Problems]
    remedy: str
    word: str = ""


def find_unsupported(mj_model: mujoco.MjModel, ignore: Collection[str] = ()) -> list[str]:
    """One line for each unsupported feature: the elements by name, how many, and the remedy.

    Args:
        ignore: words of `WORDS`, features that the user accepts to lose.

    Raises:
        ValueError: a word in `ignore` belongs to no feature.
    """
    words = {ignore} if isinstance(ignore, str) else set(ignore)
    if unknown := sorted(words - WORDS):
        raise ValueError(f"ignore: got {unknown[0]!r}, expected some of {sorted(WORDS)}")
    lines = []
    for check in CHECKS:
        if check.word in words:
            continue
        elements: dict[str, list[str]] = {}
        for problem in check.find(mj_model):
            elements.setdefault(problem.feature, []).append(problem.element)
        remedy = f"{check.remedy}, or put_model(..., ignore=[{check.word!r}])"
        remedy = remedy if check.word else check.remedy
        lines += [f"{_few(names)}: {feature}; {remedy}" for feature, names in elements.items()]
    return lines


def _few(names: list[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def unknown_sensors(m: mujoco.MjModel) -> list[int]:
    """Ids of the sensors that MJX has no code for."""
    known = [int(kind) for kind in SensorType]
    contact = m.sensor_type == mujoco.mjtSensor.mjSENS_CONTACT
    kinds = (_OBJ.mjOBJ_SITE, _OBJ.mjOBJ_BODY, _OBJ.mjOBJ_XBODY)
    other = np.isin(m.sensor_objtype, kinds) | np.isin(m.sensor_reftype, kinds[1:])
    netforce = m.sensor_intprm[:, 1] == _NETFORCE
    return np.flatnonzero(~np.isin(m.sensor_type, known) | contact & (other | netforce)).tolist()


# value of `reduce` of a contact sensor; MuJoCo's XML reference, element sensor/contact
_NETFORCE = 3


def _sensors(m: mujoco.MjModel) -> Iterator[Problem]:
    for index in unknown_sensors(m):
        kind = mujoco.mjtSensor(m.sensor_type[index]).name.removeprefix("mjSENS_")
        by_what = " by site, body or net force" if kind == "CONTACT" else ""
        yield Problem(
            element(m, _OBJ.mjOBJ_SENSOR, index),
            f"a sensor of type {kind}{by_what} is not computed",
        )


def _nonzero(
    field: str, kind: mujoco.mjtObj, feature: str, remedy: str = "", word: str = ""
) -> Check:
    """Refuse elements whose field is not zero (or, for ids of plugins, not -1)."""
    absent = -1 if field.endswith("_plugin") else 0

    def find(m: mujoco.MjModel) -> Iterator[Problem]:
        value = getattr(m, field, None)
        if value is None or not len(value):  # None: not in this version of MuJoCo
            return
        used = (np.asarray(value) != absent).reshape(len(value), -1).any(axis=1)
        for index in np.flatnonzero(used):
            yield Problem(element(m, kind, int(index)), f"{feature} is not simulated")

    return Check(find, remedy or "remove it", word)


def _enum(
    field: str,
    kind: mujoco.mjtObj,
    enum: type,
    accepted: tuple[str, ...],
    feature: str,
    remedy: str,
) -> Check:
    """Refuse elements whose type is not one of the accepted members of a MuJoCo enum."""

    def find(m: mujoco.MjModel) -> Iterator[Problem]:
        for index, value in enumerate(getattr(m, field)):
            name = enum(int(value)).name.split("_", 1)[1]
            if name not in accepted:
                yield Problem(element(m, kind, index), f"{feature} {name.lower()} is not simulated")

    return Check(find, f"use {', '.join(accepted).lower()}{remedy}")


def _integrator(m: mujoco.MjModel) -> Iterator[Problem]:
    name = mujoco.mjtIntegrator(m.opt.integrator).name.removeprefix("mjINT_")
    if name not in ("EULER", "IMPLICITFAST", "RK4"):
        yield Problem("option", f"integrator {name} is not simulated")


def _disabled_actuators(m: mujoco.MjModel) -> Iterator[Problem]:
    if m.opt.disableactuator:
        yield Problem("option", "actuatorgroupdisable is not simulated")


def _enable_flags(m: mujoco.MjModel) -> Iterator[Problem]:
    for bit in range(int(mujoco.mjtEnableBit.mjNENABLE)):
        name = mujoco.mjtEnableBit(2**bit).name.removeprefix("mjENBL_")
        if m.opt.enableflags & 2**bit and name not in HARMLESS_FLAGS:
            yield Problem("option", f"enable flag {name.lower()} is not simulated")


HARMLESS_FLAGS = ("INVDISCRETE", "ENERGY", "FWDINV", "ISLAND")
"""Enable flags that change nothing in a forward step: inverse dynamics, what is written out, or the
order in which the one optimum of the constraints is found."""


def _flexes(m: mujoco.MjModel) -> Iterator[Problem]:
    for index in range(m.nflex):
        yield Problem(element(m, _OBJ.mjOBJ_FLEX, index), "flexes are not simulated")


def _geoms(m: mujoco.MjModel, *ids: int) -> str:
    return " and ".join(element(m, _OBJ.mjOBJ_GEOM, int(g)) for g in ids)


def _colliders(m: mujoco.MjModel) -> Iterator[Problem]:
    for ids, types in unsupported_pairs(m):
        yield Problem(_geoms(m, *ids), f"no collider for the pair {'-'.join(types).lower()}")


def _meshes(m: mujoco.MjModel) -> Iterator[Problem]:
    for geom, reason in unsupported_meshes(m):
        mesh = element(m, _OBJ.mjOBJ_MESH, int(m.geom_dataid[geom]))
        yield Problem(f"{mesh} of {_geoms(m, geom)}", reason)


_OBJ = mujoco.mjtObj
_GEOM, _PAIR, _BODY, _JOINT = _OBJ.mjOBJ_GEOM, _OBJ.mjOBJ_PAIR, _OBJ.mjOBJ_BODY, _OBJ.mjOBJ_JOINT
_DOF, _TENDON, _ACTUATOR = _OBJ.mjOBJ_DOF, _OBJ.mjOBJ_TENDON, _OBJ.mjOBJ_ACTUATOR
_NO_COLLISION = "keep the geoms apart by contype and conaffinity or an <exclude>"

CHECKS: tuple[Check, ...] = (
    Check(_integrator, 'set integrator="implicitfast"'),
    Check(_disabled_actuators, "remove the actuators of these groups"),
    Check(_enable_flags, "disable the flag"),
    Check(_flexes, "remove them or build them of rigid bodies"),
    Check(_colliders, f"use another shape for one of them, or {_NO_COLLISION}"),
    Check(_meshes, f"use a thin box instead, or {_NO_COLLISION}"),
    Check(_sensors, "remove it", "sensors"),
    _nonzero("geom_surfacevel", _GEOM, "surfacevel", word="surfacevel"),
    _nonzero("geom_adhesion", _GEOM, "adhesion", word="adhesion"),
    _nonzero("pair_adhesion", _PAIR, "adhesion", word="adhesion"),
    _nonzero("geom_fluid", _GEOM, "fluidshape (ellipsoid fluid model)",
             'leave fluidshape="none", the drag of the bodies\' inertia boxes'),
    _nonzero("geom_plugin", _GEOM, "a plugin of a geom", "use a shape of MuJoCo's own"),
    _nonzero("body_plugin", _BODY, "a plugin of a body", word="plugins"),
    _nonzero("actuator_plugin", _ACTUATOR, "a plugin of an actuator",
             "use a <general> actuator"),
    _nonzero("jnt_springyield", _JOINT, "springyield", word="springyield"),
    _nonzero("actuator_damping", _ACTUATOR, "damping of an actuator",
             "give it to the joint", "actuator damping"),
    _nonzero("actuator_armature", _ACTUATOR, "armature of an actuator",
             "give it to the joint", "actuator armature"),
    _nonzero("actuator_actearly", _ACTUATOR, "actearly", word="actearly"),
    _nonzero("actuator_delay", _ACTUATOR, "delay", word="delay"),
    _nonzero("sensor_delay", _OBJ.mjOBJ_SENSOR, "delay", word="delay"),
    _nonzero("sensor_interval", _OBJ.mjOBJ_SENSOR, "interval", word="delay"),
    _enum("actuator_dyntype", _ACTUATOR, mujoco.mjtDyn,
          ("NONE", "INTEGRATOR", "FILTER", "FILTEREXACT", "MUSCLE"), "dyntype", ""),
    _enum("actuator_gaintype", _ACTUATOR, mujoco.mjtGain,
          ("FIXED", "AFFINE", "MUSCLE"), "gaintype", ""),
    _enum("actuator_biastype", _ACTUATOR, mujoco.mjtBias,
          ("NONE", "AFFINE", "MUSCLE"), "biastype", ""),
    _enum("actuator_trntype", _ACTUATOR, mujoco.mjtTrn,
          ("JOINT", "JOINTINPARENT", "SITE", "TENDON"), "transmission", ""),
    _enum("eq_type", _OBJ.mjOBJ_EQUALITY, mujoco.mjtEq,
          ("CONNECT", "WELD", "JOINT", "TENDON"), "equality", ""),
)  # fmt: skip

WORDS = {check.word for check in CHECKS if check.word}
"""What `put_model(..., ignore=...)` accepts."""
