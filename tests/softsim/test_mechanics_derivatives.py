"""Derivatives of every public piece of mechanics, forward and reverse, against differences.

One model with a joint of every kind, tendons, a mocap body, an active limit, friction loss and a
connect; one program returns all pieces, their tangents and their pullbacks along random ways.
"""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

import softsim
from softsim.integrators import integrate_pos

XML = """<mujoco><option timestep=".004" density="20"><flag invdiscrete="{}"/></option>
<default><geom contype="0" conaffinity="0"/></default>
<worldbody><body name="hand" mocap="true" pos="0 -1 1"><geom name="grip" size=".05"/></body>
<body name="slider" pos="0 0 1"><joint name="s" type="slide" axis="1 0 .5" stiffness="3"/>
  <geom name="block" type="box" size=".1 .08 .06"/>
  <body name="arm" pos=".1 0 0"><joint name="h" axis="0 1 0" frictionloss=".4" armature=".02"
    limited="true" range="-60 10"/>
    <geom name="rod" type="capsule" size=".03" fromto="0 0 0 .3 0 0"/>
    <site name="tip" pos=".3 0 .02" euler="10 20 30"/>
    <body name="wrist" pos=".3 0 0"><joint name="b" type="ball" damping=".1" stiffness="1"/>
      <geom name="egg" type="ellipsoid" size=".06 .04 .05" pos=".05 .02 0"/></body></body></body>
<body name="free" pos=".9 .3 1"><freejoint/>
  <geom name="can" type="cylinder" size=".06 .1"/><site name="lid" pos="0 0 .1"/></body></worldbody>
<equality><connect body1="wrist" body2="free" anchor=".1 0 .05"/></equality>
<tendon><fixed name="f" stiffness="2"><joint joint="s" coef="1"/><joint joint="h" coef="-.5"/>
</fixed><spatial damping=".2"><site site="tip"/><site site="lid"/></spatial></tendon>
<actuator><motor tendon="f" gear="3"/><position joint="h" kp="9" kv="2"/></actuator></mujoco>"""
_H = 1e-6
_FIELDS = ("body_subtreemass", "body_invweight0", "dof_invweight0", "tendon_length0",
    "tendon_invweight0", "eq_data", "actuator_acc0")  # fmt: skip


def _model(discrete: str) -> tuple[mujoco.MjModel, mujoco.MjData]:
    mj_model = mujoco.MjModel.from_xml_string(XML.format(discrete))
    mj_data, rng = mujoco.MjData(mj_model), np.random.default_rng(0)
    mujoco.mj_integratePos(mj_model, mj_data.qpos, 0.3 * rng.normal(size=mj_model.nv), 1.0)
    mj_data.qvel[:], mj_data.ctrl[:] = rng.normal(size=mj_model.nv), rng.normal(size=mj_model.nu)
    return mj_model, mj_data


def _pieces(x: dict[str, jax.Array], m: mjx.Model, d: mjx.Data, discrete: mjx.Model) -> dict:
    """Every piece at coordinates moved by x["q"], velocities x["v"], accelerations x["a"] and
    masses multiplied by 1 + x["m"]."""
    scaled = m.body_mass * (1 + x["m"])
    m, discrete = (y.replace(body_mass=scaled) for y in (m, discrete))
    q = integrate_pos(m, d.qpos, x["q"], 1.0)
    moved = d.replace(qpos=q, qvel=d.qvel + x["v"])
    y, const = softsim.kinematics(m, moved), softsim.set_const(m)
    return {
        "kinematics": (y.xpos, y.xmat, y.geom_xpos, y.geom_xmat, y.site_xmat, y.ten_length),
        "poses": softsim.poses(m, moved, jnp.stack([q, q]), site="tip"),
        "jacobian": softsim.jacobian(m, moved, site="tip"),
        "jacobian of a point": softsim.jacobian(m, moved, body="wrist", point=jnp.ones(3)),
        "mass_matrix": softsim.mass_matrix(m, moved),
        "bias": softsim.bias(m, moved),
        "inverse": softsim.inverse(m, moved, x["a"]),
        "inverse, invdiscrete": softsim.inverse(discrete, moved, x["a"]),
        "distance": softsim.distance(m, moved, "block", "egg"),
        "set_const": [getattr(const, field) for field in _FIELDS],
    }


@pytest.fixture(scope="module")
def found() -> dict[str, tuple[np.ndarray, ...]]:
    """For each piece: tangents, differences, and both with random cotangents in reverse."""
    (mj_model, mj_data), (discrete, _) = _model("disable"), _model("enable")
    m, d = softsim.put_model(mj_model), softsim.put_data(mj_model, mj_data)
    other = softsim.put_model(discrete)
    rng = np.random.default_rng(1)
    zero = {"q": np.zeros(m.nv), "v": np.zeros(m.nv), "m": np.zeros(m.nbody)}
    zero["a"] = rng.normal(size=m.nv)
    size = {"q": 0.5, "v": 0.5, "a": 0.5, "m": 5.0}  # differences by masses round more
    ways = {k: jnp.asarray(size[k] * rng.normal(size=(2, *v.shape))) for k, v in zero.items()}
    zero = {k: jnp.asarray(v) for k, v in zero.items()}

    def flat(x):
        join = lambda piece: jnp.concatenate([jnp.ravel(y) for y in jax.tree.leaves(piece)])
        return {name: join(piece) for name, piece in _pieces(x, m, d, other).items()}

    @jax.jit
    def program(ways):
        def along(h, way):
            x = jax.tree.map(lambda z, w: z + h * w, zero, way)
            return jax.jvp(flat, (x,), (way,))

        shifts = jnp.array([_H, -_H, 0.0])
        values, tangents = jax.vmap(jax.vmap(along, (None, 0)), (0, None))(shifts, ways)
        differences = jax.tree.map(lambda y: (y[0] - y[1]) / (2 * _H), values)
        value, back = jax.vjp(flat, zero)
        rate = {name: jnp.cos(jnp.arange(y.size) + 1.0) for name, y in value.items()}
        only = [{n: y * (n == name) for n, y in rate.items()} for name in rate]
        (pulled,) = jax.vmap(back)(jax.tree.map(lambda *y: jnp.stack(y), *only))
        reverse = sum(pulled[k] @ ways[k].T for k in ways)
        forward = {name: tangents[name][2] @ rate[name] for name in rate}
        reverse = dict(zip(rate, reverse))
        return jax.tree.map(lambda y: y[2], tangents), differences, forward, reverse

    results = jax.tree.map(np.asarray, program(ways))
    return {name: tuple(part[name] for part in results) for name in results[0]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["kinematics", "poses", "jacobian", "jacobian of a point", "mass_matrix", "bias", "inverse",
     "inverse, invdiscrete", "distance", "set_const"],
)  # fmt: skip
def test_derivative_of_a_piece_against_differences(found, name: str) -> None:
    tangents, differences, forward, reverse = found[name]
    scale = np.abs(differences).max()
    assert scale > 0
    np.testing.assert_allclose(tangents, differences, rtol=0, atol=1e-7 * (1 + scale))
    np.testing.assert_allclose(reverse, forward, rtol=1e-9, atol=1e-9 * (1 + scale))
