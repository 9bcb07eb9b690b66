"""How messages call elements of a model, and the single numbers that a step reads and makes.

A person finds the element in the XML by it; from names to ids: `softsim.names`.
"""

import mujoco
import numpy as np
from mujoco import mjx

_OBJ = mujoco.mjtObj
_FREE = ("x", "y", "z", "rotation x", "rotation y", "rotation z")
_JOINT = mujoco.mjtJoint
_ROWS = {
    "EQUALITY": "equality",
    "FRICTION_DOF": "friction loss",
    "FRICTION_TENDON": "friction loss",
    "LIMIT_JOINT": "limit",
    "LIMIT_TENDON": "limit",
}


def element(m: mujoco.MjModel | mjx.Model, kind: mujoco.mjtObj, index: int) -> str:
    """'geom "floor"', or where it has no name 'geom 6 of body "FL_hip"', by what it belongs to."""
    label = mujoco.mju_type2Str(kind)
    name = mjx.id2name(m, kind, index)
    if name:
        return f'{label} "{name}"'
    owners = [element(m, *owner) for owner in _owners(m, kind, index)]
    return f"{label} {index}" + (f" of {' and '.join(owners)}" if owners else "")


def _owners(
    m: mujoco.MjModel | mjx.Model, kind: mujoco.mjtObj, index: int
) -> list[tuple[mujoco.mjtObj, int]]:
    """Kinds and ids of what an element without a name hangs on."""
    if kind == _OBJ.mjOBJ_GEOM:
        return [(_OBJ.mjOBJ_BODY, int(m.geom_bodyid[index]))]
    if kind == _OBJ.mjOBJ_JOINT:
        return [(_OBJ.mjOBJ_BODY, int(m.jnt_bodyid[index]))]
    if kind == _OBJ.mjOBJ_DOF:
        return [(_OBJ.mjOBJ_JOINT, int(m.dof_jntid[index]))]
    if kind == _OBJ.mjOBJ_SITE:
        return [(_OBJ.mjOBJ_BODY, int(m.site_bodyid[index]))]
    if kind == _OBJ.mjOBJ_BODY and index > 0:
        return [(_OBJ.mjOBJ_BODY, int(m.body_parentid[index]))]
    if kind == _OBJ.mjOBJ_PAIR:
        return [(_OBJ.mjOBJ_GEOM, int(g)) for g in (m.pair_geom1[index], m.pair_geom2[index])]
    if kind == _OBJ.mjOBJ_SENSOR and m.sensor_objtype[index] != _OBJ.mjOBJ_UNKNOWN:
        return [(_OBJ(m.sensor_objtype[index]), int(m.sensor_objid[index]))]
    if kind == _OBJ.mjOBJ_EQUALITY:
        ids = [int(i) for i in (m.eq_obj1id[index], m.eq_obj2id[index]) if i >= 0]
        return [(_OBJ(m.eq_objtype[index]), i) for i in ids]
    if kind == _OBJ.mjOBJ_ACTUATOR:
        return _driven(m, index)
    return []


def _driven(m: mujoco.MjModel | mjx.Model, index: int) -> list[tuple[mujoco.mjtObj, int]]:
    """What an actuator pulls at."""
    kinds = {
        mujoco.mjtTrn.mjTRN_JOINT: _OBJ.mjOBJ_JOINT,
        mujoco.mjtTrn.mjTRN_JOINTINPARENT: _OBJ.mjOBJ_JOINT,
        mujoco.mjtTrn.mjTRN_SLIDERCRANK: _OBJ.mjOBJ_SITE,
        mujoco.mjtTrn.mjTRN_TENDON: _OBJ.mjOBJ_TENDON,
        mujoco.mjtTrn.mjTRN_SITE: _OBJ.mjOBJ_SITE,
        mujoco.mjtTrn.mjTRN_BODY: _OBJ.mjOBJ_BODY,
    }
    kind = kinds.get(mujoco.mjtTrn(m.actuator_trntype[index]))
    return [(kind, int(m.actuator_trnid[index, 0]))] if kind else []


def dofs(m: mjx.Model) -> list[str]:
    """The degrees of freedom: their joints, and which way where a joint has several."""
    names = []
    for index, kind in enumerate(m.jnt_type):
        joint = element(m, _OBJ.mjOBJ_JOINT, index)
        ways: tuple[str, ...] = {
            int(_JOINT.mjJNT_FREE): _FREE,
            int(_JOINT.mjJNT_BALL): _FREE[3:],
        }.get(int(kind), ("",))
        names += [f"{joint}, {way}" if way else joint for way in ways]
    return names


def actuators(m: mjx.Model) -> list[str]:
    """The actuators, in the order of the controls."""
    return [element(m, _OBJ.mjOBJ_ACTUATOR, i) for i in range(m.nu)]


def activations(m: mjx.Model) -> list[str]:
    """The actuators that the activation states belong to."""
    names = [""] * m.na
    for name, address, count in zip(actuators(m), m.actuator_actadr, m.actuator_actnum):
        if address >= 0:
            names[address : address + count] = [name] * int(count)
    return names


def bodies(m: mjx.Model) -> list[str]:
    """The bodies, the world first."""
    return [element(m, _OBJ.mjOBJ_BODY, i) for i in range(m.nbody)]


def geom_pairs(m: mjx.Model, geom: np.ndarray) -> list[str]:
    """The geoms of contacts, from their ids (n, 2)."""
    names = [element(m, _OBJ.mjOBJ_GEOM, i) for i in range(m.ngeom)]
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
