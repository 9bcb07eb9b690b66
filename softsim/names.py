"""From names to ids: elements of a model by the names its MJCF file gives them."""

import difflib

import mujoco
from mujoco import mjx

Element = int | str
"""The name of an element, or its id."""

KINDS: dict[str, mujoco.mjtObj] = {
    "body": mujoco.mjtObj.mjOBJ_BODY,
    "joint": mujoco.mjtObj.mjOBJ_JOINT,
    "geom": mujoco.mjtObj.mjOBJ_GEOM,
    "site": mujoco.mjtObj.mjOBJ_SITE,
    "camera": mujoco.mjtObj.mjOBJ_CAMERA,
    "tendon": mujoco.mjtObj.mjOBJ_TENDON,
    "equality": mujoco.mjtObj.mjOBJ_EQUALITY,
    "actuator": mujoco.mjtObj.mjOBJ_ACTUATOR,
    "sensor": mujoco.mjtObj.mjOBJ_SENSOR,
    "keyframe": mujoco.mjtObj.mjOBJ_KEY,
}
_SHOWN = 12  # names that an error lists


def element_names(m: mjx.Model | mujoco.MjModel, kind: str) -> list[str]:
    """The names of all elements of a kind, in the order of their ids; "" where there is none."""
    if kind not in KINDS:
        raise ValueError(f"kind: got {kind!r}, expected one of {', '.join(KINDS)}")
    sizes = {
        "body": m.nbody, "joint": m.njnt, "geom": m.ngeom, "site": m.nsite, "camera": m.ncam,
        "tendon": m.ntendon, "equality": m.neq, "actuator": m.nu, "sensor": m.nsensor,
        "keyframe": m.nkey,
    }  # fmt: skip
    return [mjx.id2name(m, KINDS[kind], i) or "" for i in range(sizes[kind])]


def name_to_id(m: mjx.Model | mujoco.MjModel, kind: str, name: Element) -> int:
    """The id of an element, an index into the model's and data's arrays of its kind.

    >>> import mujoco, softsim
    >>> m = softsim.put_model(mujoco.MjModel.from_xml_string(
    ...     "<mujoco><worldbody><site name='tip'/></worldbody></mujoco>"))
    >>> softsim.name_to_id(m, "site", "tip")
    0

    Args:
        kind: "body", "joint", "geom", "site", "camera", "tendon", "equality", "actuator",
            "sensor" or "keyframe".
        name: the name; an id is checked and returned.

    Raises:
        ValueError: there is no such element; the message lists those that are there, of many the
            closest.
    """
    names = element_names(m, kind)
    if isinstance(name, str):
        if name and name in names:
            return names.index(name)
        named = [n for n in names if n]
        shown = difflib.get_close_matches(name, named, _SHOWN, 0) if len(named) > _SHOWN else named
        listed = ", ".join(shown) + (", ..." if len(named) > _SHOWN else "")
        raise ValueError(f"{kind}: got {name!r}, expected one of: {listed or 'none has a name'}")
    if not 0 <= int(name) < len(names):
        raise ValueError(f"{kind}: got id {name}, expected 0 <= id < {len(names)}")
    return int(name)


def only_one(m: mjx.Model, **elements: Element | None) -> tuple[str, int]:
    """Kind and id of the one element that is given, by keyword.

    Raises:
        ValueError: none or several are given, or the element does not exist.
    """
    given = {kind: name for kind, name in elements.items() if name is not None}
    if len(given) != 1:
        got = " and ".join(given) or "none"
        raise ValueError(f"got {got}, expected exactly one of {', '.join(elements)}")
    ((kind, name),) = given.items()
    return kind, name_to_id(m, kind, name)
