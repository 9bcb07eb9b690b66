"""Shapes that lie flat and aligned on each other, where faces and edges tie: faces hold them."""

import jax
import mujoco
import numpy as np
import pytest

import softsim

CUBE = " ".join(f"{x} {y} {z}" for x in (-0.1, 0.1) for y in (-0.1, 0.1) for z in (-0.1, 0.1))
SCENE = f"""<mujoco><asset><mesh name="cube" vertex="{CUBE}"/></asset><worldbody>
<geom type="mesh" mesh="cube"/><body pos="{{}} {{}} .1995"><freejoint/><geom {{}} mass="1"/></body>
</worldbody></mujoco>"""
UPPER = {"mesh": 'type="mesh" mesh="cube"', "box": 'type="box" size=".1 .1 .1"'}


@pytest.mark.parametrize("upper", [pytest.param("box", marks=pytest.mark.slow), "mesh"])
def test_four_corners_hold_a_cube_on_a_cube_as_in_mujoco(upper):
    collide = None
    for x, y in ((0.0, 0.0), (0.03, 0.02), (0.0, 0.08)):
        mj_model = mujoco.MjModel.from_xml_string(SCENE.format(x, y, UPPER[upper]))
        mj_data = mujoco.MjData(mj_model)
        mujoco.mj_forward(mj_model, mj_data)
        m = softsim.put_model(mj_model)
        collide = collide or jax.jit(lambda d, m=m: softsim.collide(m, d))
        contact = collide(softsim.put_data(mj_model, mj_data))
        there = np.asarray(contact.weight) == 1
        np.testing.assert_allclose(contact.dist[there], mj_data.contact.dist, atol=1e-9)
        ours, theirs = (
            np.array(sorted(np.round(p, 6).tolist()))
            for p in (contact.pos[there][:, :2], mj_data.contact.pos[:, :2])
        )
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
