"""Robots as published: hulls of any size, refusals that can be acted on, features left out."""

import logging
import re

import jax
import mujoco
import numpy as np
import pytest
from mujoco import mjx

import softsim
from softsim.collision.hulls import mesh_hull
from softsim.supported import CHECKS


def compiled(assets: str, bodies: str, option: str = "") -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(
        f"<mujoco><option {option}/><asset>{assets}</asset><worldbody>{bodies}</worldbody></mujoco>"
    )


def mesh(name: str, points: np.ndarray) -> str:
    return f'<mesh name="{name}" vertex="{" ".join(f"{x:.7f}" for x in points.ravel())}"/>'


def on_sphere(count: int, scale: tuple[float, float, float] = (0.1, 0.1, 0.1)) -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(count, 3))
    return points / np.linalg.norm(points, axis=1, keepdims=True) * scale


def prism(sides: int) -> np.ndarray:
    angle = 2 * np.pi * np.arange(sides) / sides
    ring = np.stack([np.cos(angle), np.sin(angle), np.ones(sides)], axis=1)
    return np.concatenate([ring, ring * (1, 1, -1)]) * 0.1


def free(kind: str, name: str = "g", **attributes: str) -> str:
    rest = " ".join(f'{k}="{v}"' for k, v in attributes.items())
    return f'<body><freejoint/><geom name="{name}" type="mesh" mesh="{kind}" {rest}/></body>'


def volume(vert: np.ndarray, face: np.ndarray) -> float:
    """By the divergence theorem, over the fans of the polygons."""
    total = 0.0
    for polygon in vert[face]:
        total += np.sum(np.cross(polygon[1:-1], polygon[2:]) @ polygon[0]) / 6
    return total


SHAPES = {
    "sphere": on_sphere(2000),
    "plate": on_sphere(500, (0.3, 0.2, 0.004)),
    "needle": on_sphere(500, (0.5, 0.01, 0.01)),
    "prism": prism(40),
    "cube": np.array([[x, y, z] for x in (0, 0.1) for y in (0, 0.1) for z in (0, 0.1)]),
    "grid": np.array([[x, y, z] for x in range(7) for y in range(7) for z in (0, 6)]) * 0.02,
}


@pytest.mark.parametrize("limit", [-1, 64, 12, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_hulls_are_closed_convex_and_inside(shape, limit):
    m = compiled(mesh("m", SHAPES[shape]), free("m"))
    hull, whole = mesh_hull(m, 0, limit), mesh_hull(m, 0, -1)
    used = np.unique(hull.face)
    assert len(used) - len(hull.edge) + len(hull.face) == 2  # Euler: a closed surface
    assert limit == -1 or len(hull.vert) <= limit
    height = hull.vert @ hull.face_normal.T - np.einsum(
        "fi,fi->f", hull.vert[hull.face[:, 0]], hull.face_normal
    )
    assert height.max() <= 2e-6 * np.ptp(hull.vert)  # every vertex behind every face
    assert {tuple(v) for v in hull.vert} <= {tuple(v) for v in whole.vert}
    assert volume(hull.vert, hull.face) <= volume(whole.vert, whole.face) * (1 + 1e-6)
    np.testing.assert_allclose(np.linalg.norm(hull.edge_face_normal, axis=-1), 1)


@pytest.mark.parametrize("sides", [6, 21, 40])
def test_coplanar_triangles_become_one_face_of_any_size(sides):
    hull = mesh_hull(compiled(mesh("m", prism(sides)), free("m")), 0, -1)
    sizes = sorted(len(np.unique(face)) for face in hull.face)
    assert sizes == [4] * sides + [sides] * 2
    assert len(hull.edge) == 3 * sides


@pytest.mark.parametrize("shape, limit", [("sphere", 64), ("plate", 20), ("prism", 30)])
def test_the_error_is_the_distance_that_mujoco_measures(shape, limit):
    m = compiled(mesh("m", SHAPES[shape]), free("m"))
    hull, whole = mesh_hull(m, 0, limit), mesh_hull(m, 0, -1)
    probe = 1e-3  # m, radius
    bodies = free("small") + f'<body mocap="true"><geom name="p" size="{probe}"/></body>'
    small = compiled(mesh("small", hull.vert), bodies)
    d = mujoco.MjData(small)
    mujoco.mj_forward(small, d)
    to_hull = d.geom_xmat[0].reshape(3, 3)  # the compiler moved the mesh into its inertia's frame
    centre = d.geom_xpos[0]
    stored = small.mesh_vert.astype(float) @ to_hull.T + centre
    np.testing.assert_allclose(np.sort(stored[:, 0]), np.sort(hull.vert[:, 0]), atol=1e-6)
    found = []
    for point in whole.vert:
        d.mocap_pos[0] = point
        mujoco.mj_kinematics(small, d)
        found.append(mujoco.mj_geomDistance(small, d, 0, 1, 1.0, None) + probe)
    assert max(found) == pytest.approx(hull.error, rel=1e-3, abs=2e-6)
    assert whole.error == 0 < hull.error


def test_simplified_hulls_are_said_once(caplog):
    assets = mesh("round", on_sphere(2000)) + mesh("cube", SHAPES["cube"])
    bodies = free("round", "a") + free("cube", "b") + free("round", "c", contype="0")
    m = compiled(assets, bodies)
    with caplog.at_level(logging.WARNING, "softsim"):
        model = softsim.put_model(m)
        softsim.put_data(m, mujoco.MjData(m))
    (record,) = caplog.records
    error = float(re.search(r"at most ([\d.]+) mm", record.message)[1]) / 1e3
    assert "1 of 2" in record.message and 'mesh "round"' in record.message
    assert error == pytest.approx(mesh_hull(m, 0, 64).error, rel=0.06)
    assert model._impl.mesh_convex[0].vert.shape == (64, 3)
    caplog.clear()
    softsim.put_model(compiled(mesh("cube", SHAPES["cube"]), free("cube")))
    assert not caplog.records


def test_meshes_that_only_show_are_left_alone(caplog):
    shown = free("round", contype="0", conaffinity="0")
    model = softsim.put_model(compiled(mesh("round", on_sphere(2000)), shown))
    assert model._impl.mesh_convex == (None,) and not caplog.records


def test_nothing_is_printed(capsys, recwarn):
    softsim.put_model(compiled(mesh("m", prism(40)), free("m") + free("m", "h")))
    assert capsys.readouterr().out == "" and not recwarn.list


@pytest.mark.parametrize("limit", [3, 0, -2])
def test_bad_maxhullvert(limit):
    with pytest.raises(ValueError, match=f"maxhullvert: got {limit}, expected at least 4"):
        softsim.put_model(compiled("", ""), maxhullvert=limit)


def test_whole_hulls_collide_as_in_mjx():
    m = compiled(mesh("m", SHAPES["grid"]), free("m") + '<geom type="plane" size="1 1 1"/>')
    ours, theirs = softsim.put_model(m)._impl.mesh_convex[0], mjx.put_model(m)._impl.mesh_convex[0]
    normals = lambda hull: sorted(np.round(np.asarray(hull.face_normal), 5).tolist())
    np.testing.assert_allclose(normals(ours), normals(theirs), atol=1e-5)
    assert np.asarray(ours.vert).shape == np.asarray(theirs.vert).shape


def test_like_refusals_are_one_line_with_a_count_and_a_remedy():
    many = "".join(
        f'<body name="b{i}"><freejoint/><geom size=".1" surfacevel="1 0 0 0 0 0"/></body>'
        for i in range(40)
    )
    with pytest.raises(softsim.UnsupportedModelError) as error:
        softsim.put_model(compiled("", many, 'integrator="implicit"'))
    integrator, geoms = error.value.problems
    assert integrator.startswith("option:") and 'integrator="implicitfast"' in integrator
    assert geoms.startswith('geom 0 of body "b0", geom 1 of body "b1"') and "37 more" in geoms
    assert "ignore=['surfacevel']" in geoms


def test_a_refusal_has_at_most_20_lines():
    error = softsim.UnsupportedModelError([f"reason {i}" for i in range(50)])
    assert len(str(error).splitlines()) == 20 and "32 more reasons" in str(error)
    assert len(error.problems) == 50


def test_elements_without_a_name_are_called_by_what_they_hang_on():
    xml = """<mujoco><worldbody><body name="b"><joint name="j"/><geom size=".1"/>
    <site name="s" size=".1"/></body></worldbody>
    <actuator><general joint="j" dyntype="filter" actearly="true"/>
    <adhesion body="b" ctrlrange="0 1"/></actuator>
    <sensor><insidesite site="s" objtype="body" objname="b"/></sensor></mujoco>"""
    with pytest.raises(softsim.UnsupportedModelError) as error:
        softsim.put_model(mujoco.MjModel.from_xml_string(xml))
    for name in ('actuator 0 of joint "j"', 'actuator 1 of body "b"', "sensor 0 of"):
        assert name in str(error.value)


def test_unknown_words_are_named():
    with pytest.raises(ValueError, match=r"ignore: got 'surface', expected some of .*surfacevel"):
        softsim.put_model(compiled("", ""), ignore=["surfacevel", "surface"])


IGNORED = """<mujoco><option timestep=".004" {}/><worldbody>
<geom name="floor" type="plane" size="1 1 1" {}/>
<body name="b" pos="0 0 .099"><freejoint/><geom name="g" size=".1" {}/></body>
<body pos="1 0 1"><joint name="j" axis="0 1 0" range="-1 1" limited="true"/>
<geom size=".1" pos=".1 0 0"/></body></worldbody>
<actuator><general joint="j" dyntype="filter" dynprm=".1" {}/></actuator>
<sensor><jointpos joint="j"/>{}</sensor></mujoco>"""


def test_ignored_features_move_as_if_they_were_not_there():
    """All in one model: surfacevel, adhesion, actearly, an unknown sensor."""
    xml = IGNORED.format(
        "", 'surfacevel="1 0 0 0 0 0"', 'adhesion="5"', 'actearly="true"',
        '<jointlimitpos joint="j"/>',
    )  # fmt: skip
    m = mujoco.MjModel.from_xml_string(xml)
    words = ["surfacevel", "adhesion", "actearly", "sensors"]
    with pytest.raises(softsim.UnsupportedModelError) as error:
        softsim.put_model(m)
    assert all(f"ignore=['{word}']" in str(error.value) for word in words)
    plain = mujoco.MjModel.from_xml_string(IGNORED.format("", "", "", "", ""))
    expected = mujoco.MjData(plain)
    model, d = softsim.put_model(m, ignore=words), softsim.put_data(m, mujoco.MjData(m))
    expected.ctrl[:], d = 1.0, d.replace(ctrl=d.ctrl + 1.0)
    step = jax.jit(softsim.step)
    for _ in range(5):
        mujoco.mj_step(plain, expected)
        d = step(model, d)
    np.testing.assert_allclose(d.qvel, expected.qvel, atol=1e-9)
    np.testing.assert_allclose(d.act, expected.act, atol=1e-12)
    np.testing.assert_allclose(d.sensordata, [*expected.sensordata, 0.0], atol=1e-9)


def test_every_refusal_names_what_to_do():
    assert all(check.remedy for check in CHECKS)
