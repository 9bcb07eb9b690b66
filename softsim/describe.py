"""How an error calls an element of a model, so that a person finds it in the XML."""

import mujoco

_OBJ = mujoco.mjtObj


def element(m: mujoco.MjModel, kind: mujoco.mjtObj, index: int) -> str:
    """'geom "floor"', or where it has no name 'geom 6 of body "FL_hip"', by what it belongs to."""
    label = mujoco.mju_type2Str(kind)
    name = mujoco.mj_id2name(m, kind, index)
    if name:
        return f'{label} "{name}"'
    owners = [element(m, *owner) for owner in _owners(m, kind, index)]
    return f"{label} {index}" + (f" of {' and '.join(owners)}" if owners else "")


def _owners(m: mujoco.MjModel, kind: mujoco.mjtObj, index: int) -> list[tuple[mujoco.mjtObj, int]]:
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


def _driven(m: mujoco.MjModel, index: int) -> list[tuple[mujoco.mjtObj, int]]:
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
