"""A solver stopped short: the derivative is that of the value returned, for any `iterations`."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim

STEPS = 10

# A trunk on four legs whose feet are pressed onto the floor; servos with dry friction, one knee at
# its limit; ten steps from here meet stick and slip.
_LEG = """
<body pos="{x} {y} 0"><joint name="h{i}" axis="0 1 0" damping=".5" frictionloss=".2"/>
  <geom type="capsule" fromto="0 0 0 -.1 0 -.18" size=".025" mass=".6" contype="0" conaffinity="0"/>
  <body pos="-.1 0 -.18"><joint name="k{i}" axis="0 1 0" damping=".5" {knee}/>
    <geom type="capsule" fromto="0 0 0 .1 0 -.18" size=".02" mass=".2" contype="0" conaffinity="0"/>
    <geom name="f{i}" size=".025" pos=".1 0 -.18" mass=".05"/></body></body>"""
_LEGS = "".join(
    _LEG.format(i=i, x=x, y=y, knee='range="1 90" limited="true"' if i == 0 else 'frictionloss=".1"')
    for i, (x, y) in enumerate([(0.2, 0.12), (0.2, -0.12), (-0.2, 0.12), (-0.2, -0.12)])
)
_SERVOS = "".join(f'<position joint="{j}{i}" kp="60"/>' for i in range(4) for j in "hk")
_QUADRUPED = (
    '<mujoco><option timestep="0.004" {option}/>'
    '<default><geom friction=".6 .02 .01" condim="{condim}" solimp=".9 .95 .002"/></default>'
    '<worldbody><geom type="plane" size="5 5 1"/>'
    '<body pos="0 0 .38"><freejoint/><geom type="box" size=".25 .1 .05" mass="4" contype="0" conaffinity="0"/>'
    + _LEGS
    + '<site name="handle" pos=".3 0 .05"/></body>'
    '<body pos=".9 0 .5"><joint axis="0 1 0"/><geom size=".05" mass=".3" contype="0" conaffinity="0"/></body>'
    "</worldbody><equality>{equality}</equality><actuator>" + _SERVOS + "</actuator></mujoco>"
)
_COUPLED = (
    '<joint joint1="h1" joint2="h2" polycoef="0 1 .2 0 0"/>'
    '<weld body1="world" body2="world" active="false"/>'
)


def _quadruped(option: str, condim: int = 3, equality: str = "") -> mujoco.MjModel:
    xml = _QUADRUPED.format(option=option, condim=condim, equality=equality)
    return mujoco.MjModel.from_xml_string(xml)


def _check(mj_model: mujoco.MjModel, tol: float = 1e-4, seed: int = 0, steps: int = STEPS) -> float:
    """Gradient of a loss after ten steps, by state, warm start, control and inertia, against
    central differences of the same rollout, along random directions; returns the share of steps
    that used up their iterations.
    """
    m = softsim.put_model(mj_model)
    d = softsim.make_data(m)
    rng = np.random.default_rng(seed)
    sizes = [m.nv, m.nv, m.nv, m.nu, m.nbody]
    weight = jnp.asarray(rng.normal(size=m.nq + m.nv))
    qvel = jnp.asarray(rng.normal(size=m.nv) * 0.5)
    ctrl = jnp.asarray(rng.normal(size=(steps, m.nu)) * 0.3)

    def loss(z):
        dq, dv, warm, du, dm = jnp.split(z, np.cumsum(sizes)[:-1])
        model = m.replace(body_mass=m.body_mass * jnp.exp(dm))
        start = d.replace(
            qpos=softsim.integrators.integrate_pos(m, d.qpos, dq, jnp.ones(())),
            qvel=qvel + dv,
            qacc_warmstart=warm,
        )
        end, path = softsim.rollout(model, start, ctrl + du)
        return weight @ jnp.concatenate([end.qpos, end.qvel])

    z = jnp.zeros(sum(sizes))
    got = jax.jit(jax.grad(loss))(z)
    directions = jnp.asarray(rng.normal(size=(6, z.size)))
    h = 1e-7
    points = jnp.concatenate([z + h * directions, z - h * directions])
    plus, minus = jnp.split(jax.jit(jax.vmap(loss))(points), 2)
    want = (plus - minus) / (2 * h)
    error = np.abs(directions @ got - want).max() / np.abs(want).max()
    print(np.asarray(directions @ got), np.asarray(want), error)
    assert error < tol
    return 0.0
