"""Spatial tendons against MuJoCo C on every kind of path, all in one scene: lengths, moments and
their derivatives, and finite derivatives where a path only just touches."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from numpy.testing import assert_allclose

import softsim
from softsim import dynamics
from softsim.integrators import integrate_pos


class Path(NamedTuple):
    """From a site on a swinging arm at `start` to one on three slides at `end`, by a geom.

    `side` is where the sidesite is relative to the geom, and `carrier` the body that has it.
    `then` is more of the tendon; `{n}` stands for the name.
    """

    geom: str
    start: tuple
    end: tuple
    side: tuple | None = None
    carrier: str = "geom"
    then: str = ""


BALL, ROD = 'type="sphere" size=".2"', 'type="cylinder" size=".2 .5" euler="20 10 0"'
UPRIGHT = 'type="cylinder" size=".2 .5"'
PULLEY = '<pulley divisor="2"/><site site="{n}1"/><site site="{n}0"/><pulley divisor="3"/>\
<site site="{n}0"/><geom geom="{n}"/><site site="{n}1"/><site site="{n}2"/>'

REGULAR = {
    "sphere": Path(BALL, (-0.5, 0.02, 0.03), (0.6, 0.05, -0.04)),
    "sphere, far side": Path(BALL, (-0.5, 0.02, 0.03), (0.6, 0.05, -0.04), (0.05, 0.04, -0.4)),
    "sphere, the long way": Path(BALL, (-0.2, 0.02, 0.3), (0.3, 0.05, 0.25), (0.0, 0.04, -0.4)),
    "sphere, missed": Path(BALL, (-0.5, 0.3, 0.3), (0.6, 0.2, 0.3)),
    "sphere, missed on the side": Path(BALL, (-0.5, 0, 0.3), (0.6, 0, 0.3), (0, 0, 0.4)),
    "sphere, one site inside": Path(BALL, (-0.5, 0.02, 0.03), (0.1, 0.05, -0.04)),
    "sphere, held": Path(BALL, (-0.5, 0.02, 0.5), (0.4, 0.05, 0.4), (0.02, 0.01, 0.03)),
    "sphere, held and straight": Path(BALL, (-0.5, 0.02, 0.1), (0.4, 0.05, 0.1), (0.02, 0, 0)),
    "cylinder": Path(ROD, (-0.5, 0.02, 0.03), (0.6, 0.05, -0.34)),
    "cylinder, far side": Path(ROD, (-0.5, 0.04, 0.3), (0.6, 0.05, -0.04), (0.05, -0.4, 0.1)),
    "cylinder, the long way": Path(ROD, (-0.2, 0.35, 0.1), (0.3, 0.4, 0.2), (0, -0.4, 0)),
    "cylinder, missed": Path(ROD, (-0.5, 0.5, 0.3), (0.6, 0.5, 0.3)),
    "cylinder, one site inside": Path(ROD, (-0.05, 0.02, 0.4), (0.6, 0.05, -0.34)),
    "cylinder, held": Path(ROD, (-0.5, 0.5, 0.2), (0.4, 0.6, -0.1), (0.02, 0.01, 0.03)),
    "cylinder, held and straight": Path(ROD, (-0.5, 0.1, 0.2), (0.4, 0, -0.1), (0.02, 0.01, 0.03)),
    "cylinder, held by a moving site": Path(
        ROD, (-0.5, 0.5, 0.2), (0.4, 0.6, -0.1), (0.02, 0.01, 0.03), "slides"
    ),
    "cylinder, round a moving site": Path(
        ROD, (-0.5, 0.1, 0.2), (0.4, 0.1, -0.1), (0.02, 0.3, 0.03), "slides"
    ),
    "straight": Path("", (-0.5, 0.02, 0.03), (0.6, 0.05, -0.04)),
    "pulleys": Path(BALL, (-0.5, 0.02, 0.03), (0.6, 0.05, -0.04), then=PULLEY),
    "two geoms": Path(
        ROD, (-0.5, 0.02, 0.03), (0.6, 0.05, -0.34), then='<geom geom="sphere"/><site site="{n}2"/>'
    ),
}
# where C decides by rounding, or divides it: only finite derivatives are asked for, and lengths
EDGES = {
    "sphere, through the centre": Path(BALL, (-0.5, 0, 0), (0.6, 0, 0)),
    "sphere, tangent inside": Path(BALL, (-0.5, 0, 0.2 - 1e-9), (0.6, 0, 0.2 - 1e-9)),
    "sphere, tangent outside": Path(BALL, (-0.5, 0, 0.2 + 1e-9), (0.6, 0, 0.2 + 1e-9)),
    "sphere, site on it": Path(BALL, (-0.5, 0, 0.1), (0, 0, 0.2)),
    "sphere, site at its centre": Path(BALL, (-0.5, 0, 0.1), (0, 0, 0)),
    "sphere, one direction": Path(BALL, (0.3, 0, 0), (0.6, 0, 0)),
    "sphere, one direction, held": Path(BALL, (0.3, 0, 0), (0.6, 0, 0), (0.05, 0, 0)),
    "sphere, held tangent": Path(BALL, (-0.5, 0, 0.2 + 1e-9), (0.6, 0, 0.2 + 1e-9), (0, 0, 0.1)),
    "sphere, coincident": Path(BALL, (0.3, 0, 0), (0.3, 0, 0)),
    "cylinder, through the axis": Path(UPRIGHT, (-0.5, 0, 0.1), (0.6, 0, -0.2)),
    "cylinder, tangent": Path(UPRIGHT, (-0.5, 0.2, 0.1), (0.6, 0.2, -0.2)),
    "cylinder, both sites on it": Path(UPRIGHT, (0.2, 0, 0.1), (0, 0.2, -0.2)),
    "cylinder, along the axis": Path(UPRIGHT, (0.3, 0, 0.3), (0.3, 0, -0.3)),
    "cylinder, site on the axis": Path(UPRIGHT, (0, 0, 0.3), (0.3, 0, -0.3)),
    "cylinder, side on the axis": Path(UPRIGHT, (-0.5, 0, 0.1), (0.6, 0, -0.2), (0, 0, 0.4)),
    "cylinder, coincident and held": Path(UPRIGHT, (0.3, 0, 0), (0.3, 0, 0), (0.1, 0, 0)),
    "coincident": Path("", (0.3, 0, 0), (0.3, 0, 0)),
}


def _scene(paths: dict[str, Path]) -> mujoco.MjModel:
    bodies, tendons = "", ""
    at = "{} {} {}".format
    for i, (n, p) in enumerate(paths.items()):
        side = f'<site name="{n}s" pos="{at(*p.side)}"/>' if p.side else ""
        geom = f'<geom name="{n}" {p.geom} mass="1"/>' if p.geom else '<geom size=".1" mass="1"/>'
        where = {"geom": side if p.carrier == "geom" else "", "slides": ""}
        if p.side and p.carrier == "slides":
            offset = np.subtract(p.side, p.end)
            where["slides"] = f'<site name="{n}s" pos="{at(*offset)}"/>'
        bodies += f"""<frame pos="0 {3 * i} 0">
          <body><joint axis=".1 1 .2"/><joint type="slide" axis="1 0 1"/>
            {geom}{where["geom"]}</body>
          <body><joint axis=".3 .2 1" pos="0 .1 0"/><geom size=".05"/>
            <site name="{n}0" pos="{at(*p.start)}"/></body>
          <body pos="{at(*p.end)}"><joint type="slide" axis="1 0 0"/>
            <joint type="slide" axis="0 1 0"/><joint type="slide" axis="0 0 1"/><geom size=".05"/>
            <site name="{n}1"/>{where["slides"]}</body>
          <site name="{n}2" pos=".7 .1 .9"/></frame>"""
        wrap = f'<geom geom="{n}" {f"""sidesite="{n}s" """ if p.side else ""}/>' if p.geom else ""
        then = p.then.replace("{n}", n)
        tendons += f"""<spatial><site site="{n}0"/>{wrap}<site site="{n}1"/>{then}</spatial>"""
    return mujoco.MjModel.from_xml_string(f"""<mujoco><default><geom contype="0" conaffinity="0"/>
      </default><worldbody>{bodies}</worldbody><tendon>{tendons}</tendon></mujoco>""")


def _in_c(mj_model: mujoco.MjModel, dq: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lengths and moments in MuJoCo C after a displacement from the default pose."""
    mj_data = mujoco.MjData(mj_model)
    mj_data.qpos[:] += dq
    mujoco.mj_fwdPosition(mj_model, mj_data)
    moment = np.zeros((mj_model.ntendon, mj_model.nv))
    for t, (adr, n) in enumerate(zip(mj_model.ten_J_rowadr, mj_model.ten_J_rownnz)):
        moment[t, mj_model.ten_J_colind[adr : adr + n]] = mj_data.ten_J[adr : adr + n]
    return mj_data.ten_length.copy(), moment


PATHS = REGULAR | EDGES
GOOD = slice(len(REGULAR))


def _everything(mj_model: mujoco.MjModel):
    """Lengths and moments, their forward derivatives, a reverse one, and what is drawn."""
    m = softsim.put_model(mj_model)
    d = softsim.make_data(m)
    weight = np.random.default_rng(5).normal(size=(mj_model.ntendon, mj_model.nv))

    def parts(dq):
        moved = d.replace(qpos=integrate_pos(m, d.qpos, dq, jnp.ones(())))
        after = dynamics.tendon(m, dynamics.com_pos(m, dynamics.kinematics(m, moved)))
        path = after._impl.wrap_xpos, after._impl.wrap_obj, after._impl.ten_wrapnum
        return (after.ten_length, after._impl.ten_J), path

    @jax.jit
    def everything(dq, v):
        value, slope, path = jax.jvp(parts, (dq,), (v,), has_aux=True)
        pull = jax.grad(lambda dq: jnp.sum(weight * parts(dq)[0][1]))(dq)
        return value, slope, (pull @ v, jnp.sum(weight * slope[1])), path

    return everything


@pytest.fixture(scope="module")
def scene():
    mj_model = _scene(PATHS)
    return mj_model, _everything(mj_model)


@pytest.mark.parametrize("scale", [0.0, 0.02])
def test_lengths_moments_and_their_derivatives_equal_mujoco(scene, scale):
    mj_model, everything = scene
    rng, h = np.random.default_rng(2), 1e-5
    dq, v = scale * rng.normal(size=mj_model.nv), rng.normal(size=mj_model.nv)
    (length, moment), (rate, change), _, _ = everything(dq, v)
    want_length, want_moment = _in_c(mj_model, dq)
    above, below = (_in_c(mj_model, dq + s * v) for s in (h, -h))
    want_rate, want_change = ((a - b) / (2 * h) for a, b in zip(above, below))
    assert_allclose(length[GOOD], want_length[GOOD], atol=1e-12)
    # where a tendon is held, MuJoCo takes the arc cosine of a number near -1
    assert_allclose(moment[GOOD], want_moment[GOOD], atol=1e-8)
    assert_allclose(rate[GOOD], want_rate[GOOD], atol=1e-7)
    assert_allclose(rate[GOOD], (moment @ v)[GOOD], atol=1e-11)
    assert_allclose(change[GOOD], want_change[GOOD], atol=1e-5)


def test_what_is_drawn_equals_mujoco(scene):
    mj_model, everything = scene
    mj_data = mujoco.MjData(mj_model)
    dq = 0.02 * np.random.default_rng(2).normal(size=mj_model.nv)  # away from the edges
    mj_data.qpos[:] += dq
    mujoco.mj_fwdPosition(mj_model, mj_data)
    xpos, thing, count = everything(dq, dq)[3]
    assert_allclose(xpos, mj_data.wrap_xpos.reshape(xpos.shape), atol=1e-6)
    np.testing.assert_array_equal(thing, mj_data.wrap_obj.reshape(thing.shape))
    np.testing.assert_array_equal(count, mj_data.ten_wrapnum)


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1e-6])
def test_edges_are_finite_in_both_modes(scene, scale):
    mj_model, everything = scene
    rng = np.random.default_rng(2)
    dq, v = scale * rng.normal(size=mj_model.nv), rng.normal(size=mj_model.nv)
    value, slope, (pulled, pushed), _ = everything(dq, v)
    assert all(np.isfinite(found).all() for found in jax.tree.leaves((value, slope)))
    # held and tangent: MuJoCo takes the mean direction, longer by less than this
    assert_allclose(value[0], _in_c(mj_model, dq)[0], atol=1e-4)
    assert_allclose(pulled, pushed, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.0, 1e-6])
def test_all_is_finite_in_single_precision(scale):
    with jax.enable_x64(False):
        mj_model = _scene(PATHS)
        everything = _everything(mj_model)
        rng = np.random.default_rng(2)
        dq = jnp.asarray(scale * rng.normal(size=mj_model.nv))
        value, slope, pulls, _ = everything(dq, jnp.ones_like(dq))
        assert all(np.isfinite(found).all() for found in jax.tree.leaves((value, slope, pulls)))
        assert_allclose(value[0][GOOD], _in_c(mj_model, np.asarray(dq))[0][GOOD], rtol=3e-5)
