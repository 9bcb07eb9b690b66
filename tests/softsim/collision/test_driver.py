"""The driver: order, number and parameters of contacts are MJX's; what it cannot do is named."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

from softsim.collision import collide, unsupported_meshes, unsupported_pairs
from softsim.softening import Part, Softening

FIELDS = (
    *("dist", "pos", "frame", "includemargin", "friction", "solref", "solreffriction", "solimp"),
    *("dim", "geom", "efc_address"),
)


def ball(x: float, options: str = "", size: str = "0.1", kind: str = "sphere") -> str:
    return f"""<body pos="{x} 0 {0.09 + 0.001 * x}"><freejoint/>
      <geom type="{kind}" size="{size}" {options}/></body>"""


def scene(bodies: str, extra: str = "", numeric: str = "", assets: str = "") -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(f"""<mujoco><custom>{numeric}</custom>
      <asset>{assets}</asset><worldbody>
      <geom name="floor" type="plane" size="1 1 1" quat="1 .1 .02 0" friction=".9 .1 .01"
        solimp=".8 .9 .002 .4 3"/>
      {bodies}</worldbody><contact>{extra}</contact></mujoco>""")


ALONE = 'conaffinity="0"'
BALLS = (
    ball(0, 'priority="1" friction=".3 .01 .001" solref=".01 .9"')
    + ball(0.15, 'solmix="3" name="b"')
    + ball(0.3, 'solref="-100 -10" margin=".1" name="a"')
    + ball(0.45, f'condim="6" solmix="0" {ALONE}')
    + ball(0.6, f'condim="4" euler="90 0 0" {ALONE}', "0.05 0.1", "capsule")
)
EXPLICIT = '<pair geom1="a" geom2="b" condim="4" margin=".05" friction="1 1 .1 .2 .3"/>'


def compare(m: mujoco.MjModel) -> None:
    model = mjx.put_model(m)
    data = jax.jit(mjx.kinematics)(model, mjx.make_data(model))
    expected = jax.jit(mjx.collision)(model, data)._impl.contact
    ours = jax.jit(collide)(model, data, Softening.hard())
    assert set(np.asarray(ours.weight)) <= {0.0, 1.0}
    for name in FIELDS:
        np.testing.assert_allclose(
            getattr(ours.to_mjx(expected), name), getattr(expected, name), atol=1e-12, err_msg=name
        )


@pytest.mark.parametrize(
    "numeric",
    [
        "",
        '<numeric name="max_contact_points" data="3"/><numeric name="max_geom_pairs" data="2"/>',
    ],
    ids=["all", "limited"],
)
def test_contacts_and_their_parameters_are_those_of_mjx(numeric: str) -> None:
    compare(scene(BALLS, EXPLICIT, numeric))


def test_capsule_frames_on_a_tilted_plane_are_orthonormal() -> None:
    # MJX's is skew where the capsule stands upright on a tilted plane
    model = mjx.put_model(scene(ball(0, "", "0.05 0.02", "capsule")))
    data = jax.jit(mjx.kinematics)(model, mjx.make_data(model))
    frame = np.asarray(jax.jit(collide)(model, data, Softening.hard()).frame[0])
    normal, y = frame[0], np.array([0.0, 1.0, 0.0])
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(frame), 1.0, atol=1e-12)
    np.testing.assert_allclose(np.cross(frame[1], y - normal * normal[1]), 0.0, atol=1e-12)


def test_no_contacts() -> None:
    model = mjx.put_model(scene(""))
    contact = collide(model, mjx.make_data(model), Softening.soft())
    assert contact.dist.shape == (0,)
    assert contact.to_mjx(mjx.make_data(model)._impl.contact).frame.shape == (0, 3, 3)


def test_soft_mask_fades_through_the_margin() -> None:
    model = mjx.put_model(scene(ball(0)))
    data = jax.jit(mjx.kinematics)(model, mjx.make_data(model))

    def weight(height: jax.Array) -> jax.Array:
        moved = data.replace(geom_xpos=data.geom_xpos.at[1, 2].add(height))
        return collide(model, moved, Softening(mask=Part(0.05, "c1"))).weight[0]

    heights = jnp.linspace(-0.1, 0.1, 401)
    weights, slopes = jax.jit(jax.vmap(jax.value_and_grad(weight)))(heights)
    assert weights[0] == 1 and weights[-1] == 0
    assert np.all(np.diff(weights) <= 0) and slopes.min() < -1
    assert np.abs(np.diff(slopes)).max() < 0.05 * np.abs(slopes).max()


def test_select_takes_arrays_and_static_fields() -> None:
    model = mjx.put_model(scene(ball(0) + ball(0.5, 'condim="4" conaffinity="0"') + ball(1)))
    contact = jax.jit(collide)(model, mjx.make_data(model), Softening.hard())
    some = contact.select(np.array([2, 0]))
    assert some.dim == (contact.dim[2], contact.dim[0])
    np.testing.assert_array_equal(some.dist, contact.dist[np.array([2, 0])])


def test_pairs_without_a_collider_are_named() -> None:
    cube = '<mesh name="cube" vertex="0 0 0 1 0 0 0 1 0 0 0 1"/>'
    bodies = ball(0, 'name="field" mesh="cube"', "0", "sdf") + ball(1, "", ".1 .1 .1", "box")
    found = dict(unsupported_pairs(scene(bodies, assets=cube)))
    assert found == {(0, 1): ("PLANE", "SDF"), (2, 1): ("BOX", "SDF")}


def test_flat_meshes_cannot_collide() -> None:
    corners = 'vertex="0 0 0 1 0 0 0 1 0 1 1 0 0 0 5e-7 1 0 5e-7 0 1 5e-7 1 1 5e-7"'
    asset = f'<mesh name="sheet" inertia="shell" {corners}/>'
    body = '<body><freejoint/><geom name="leaf" type="mesh" mesh="sheet"/></body>'
    ((geom, reason),) = unsupported_meshes(scene(body, assets=asset))
    assert geom == 1 and "flat" in reason
