"""Which bodies meet: a model with contacts between those alone compiles and runs in less time.

Contacts of all pairs of geoms that could touch are compiled into a step, with room for each in the
constraint solver. Most never touch in the motion at hand. Which do is found by MuJoCo C's own
collision detection, along positions that are known: recordings, a plan, a grid of poses.
"""

import copy
from collections.abc import Iterable

import mujoco
import numpy as np
from jaxtyping import Float
from mujoco import mjx

from softsim._mjx import geom_pairs

Bodies = frozenset[tuple[int, int]]
"""Pairs of ids of bodies, the smaller one first."""
_SHIFT = 16  # bits: MuJoCo's signature of a pair of bodies is (first << 16) + second


def encounters(
    mj_model: mujoco.MjModel, qpos: Float[np.ndarray, "N nq"], within: float = 0.0
) -> Bodies:
    """The pairs of bodies that touch at some of the positions, or come near each other.

    >>> import mujoco, numpy as np, softsim
    >>> ball = '<body pos="0 0 {}"><joint type="slide" axis="0 0 1"/><geom size=".1"/></body>'
    >>> floor = '<geom type="plane" size="1 1 .1"/>'
    >>> mj_model = mujoco.MjModel.from_xml_string(
    ...     f"<mujoco><worldbody>{floor}{ball.format(0.15)}{ball.format(0.5)}</worldbody></mujoco>")
    >>> sorted(softsim.encounters(mj_model, np.zeros((1, 2)), within=0.1))
    [(0, 1)]

    Args:
        qpos: (N, nq).
        within: m, the distance between two surfaces, beyond their margins, that counts as near.
    """
    wide = copy.copy(mj_model)
    wide.geom_margin[:] += within / 2  # those of two geoms add up
    wide.pair_margin[:] += within
    data, found = mujoco.MjData(wide), set[tuple[int, int]]()
    possible = can_meet(mj_model)
    for row in qpos:
        if found >= possible:
            break
        data.qpos[:] = row
        mujoco.mj_kinematics(wide, data)
        mujoco.mj_comPos(wide, data)
        mujoco.mj_collision(wide, data)
        bodies = np.sort(wide.geom_bodyid[data.contact.geom[: data.ncon]], axis=1)
        found.update(map(tuple, np.unique(bodies, axis=0).tolist()))
    return frozenset(found)


def can_meet(m: mujoco.MjModel | mjx.Model) -> Bodies:
    """The pairs of bodies between which the model has contacts at all."""
    geoms = np.array([pair[:2] for pair in geom_pairs(m)], int).reshape(-1, 2)
    bodies = np.sort(np.asarray(m.geom_bodyid)[geoms], axis=1)
    return frozenset(map(tuple, np.unique(bodies, axis=0).tolist()))


def keep_contacts(m: mjx.Model, bodies: Iterable[tuple[int, int]]) -> mjx.Model:
    """The model with contacts between these pairs of bodies alone, as by MJCF's `<exclude>`.

    All others pass through each other; pairs of geoms that a `<pair>` names still touch. Data must
    be made anew (`softsim.make_data`), as it has room for the contacts of its model.

    >>> import mujoco, softsim
    >>> mj_model = mujoco.MjModel.from_xml_string('''<mujoco><worldbody>
    ...     <geom type="plane" size="1 1 .1"/><body><freejoint/><geom size=".1"/></body>
    ...     <body><freejoint/><geom size=".1"/></body></worldbody></mujoco>''')
    >>> m = softsim.put_model(mj_model)
    >>> fewer = softsim.keep_contacts(m, [(0, 1), (0, 2)])
    >>> len(softsim.collide(fewer, softsim.make_data(fewer)).dist)
    2

    Args:
        bodies: pairs of ids, for example what `encounters` returns.

    Raises:
        ValueError: an id is not that of a body of the model.
    """
    kept = {(min(pair), max(pair)) for pair in bodies}
    if wrong := [pair for pair in kept if not 0 <= pair[0] <= pair[1] < m.nbody]:
        raise ValueError(
            f"bodies: got {wrong[0]}, expected pairs of ids of bodies, from 0 to {m.nbody - 1}"
        )
    touching = [i for i in range(m.nbody) if m.body_geomnum[i]]
    others = [(i << _SHIFT) + j for i in touching for j in touching if i < j and (i, j) not in kept]
    excluded = np.union1d(m.exclude_signature, np.array(others, int)).astype(
        np.asarray(m.exclude_signature).dtype
    )
    return m.replace(exclude_signature=excluded, nexclude=len(excluded))
