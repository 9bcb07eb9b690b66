"""The names of what a step reads and makes, entry by entry, for messages about single numbers."""

import mujoco
import numpy as np
from mujoco import mjx

_FREE = ("x", "y", "z", "rotation x", "rotation y", "rotation z")
_JOINT = mujoco.mjtJoint
_ROWS = {
    "EQUALITY": "equality",
    "FRICTION_DOF": "friction loss",
    "FRICTION_TENDON": "friction loss",
    "LIMIT_JOINT": "limit",
    "LIMIT_TENDON": "limit",
}


def element(m: mjx.Model, kind: mujoco.mjtObj, index: int) -> str:
    """'geom "floor"', or 'geom 3' where it has no name."""
    name = mjx.id2name(m, kind, int(index))
    label = mujoco.mju_type2Str(kind)
    return f'{label} "{name}"' if name else f"{label} {index}"


def dofs(m: mjx.Model) -> list[str]:
    """The degrees of freedom: their joints, and which way where a joint has several."""
    names = []
    for index, kind in enumerate(m.jnt_type):
        joint = element(m, mujoco.mjtObj.mjOBJ_JOINT, index)
        ways: tuple[str, ...] = {
            int(_JOINT.mjJNT_FREE): _FREE,
            int(_JOINT.mjJNT_BALL): _FREE[3:],
        }.get(int(kind), ("",))
        names += [f"{joint}, {way}" if way else joint for way in ways]
    return names


def actuators(m: mjx.Model) -> list[str]:
    """The actuators, in the order of the controls."""
    return [element(m, mujoco.mjtObj.mjOBJ_ACTUATOR, i) for i in range(m.nu)]


def activations(m: mjx.Model) -> list[str]:
    """The actuators that the activation states belong to."""
    names = [""] * m.na
    for name, address, count in zip(actuators(m), m.actuator_actadr, m.actuator_actnum):
        if address >= 0:
            names[address : address + count] = [name] * int(count)
    return names


def bodies(m: mjx.Model) -> list[str]:
    """The bodies, the world first."""
    return [element(m, mujoco.mjtObj.mjOBJ_BODY, i) for i in range(m.nbody)]


def geom_pairs(m: mjx.Model, geom: np.ndarray) -> list[str]:
    """The geoms of contacts, from their ids (n, 2)."""
    names = [element(m, mujoco.mjtObj.mjOBJ_GEOM, i) for i in range(m.ngeom)]
    return [f"{names[a]} on {names[b]}" for a, b in geom]


def rows(kinds: np.ndarray) -> list[str]:
    """Constraint rows by their kind (`efc_type`) and their place among those of that kind."""
    names, count = [], dict[str, int]()
    for kind in kinds:
        label = mujoco.mjtConstraint(int(kind)).name.removeprefix("mjCNSTR_")
        label = _ROWS.get(label, "contact")
        names.append(f"{label} row {count.setdefault(label, 0)}")
        count[label] += 1
    return names
