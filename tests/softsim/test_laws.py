"""What mechanics says whoever wrote the code: symmetry, momentum, energy, order of integrators."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import softsim
from softsim import Softening, dynamics

BODIES = """
<mujoco>
  <option gravity="1 -2 -9" solver="Newton" iterations="100" tolerance="0" cone="{cone}"/>
  <worldbody>
    <body pos="0 0 0"> <freejoint/> <geom type="box" size=".1 .12 .08" condim="{condim}"/> </body>
    <body pos="0 0 .17"> <freejoint/>
      <geom type="capsule" size=".06 .1" pos=".01 0 .02" euler="80 20 0"/> </body>
    <body pos=".05 0 -.15"> <freejoint/> <geom type="ellipsoid" size=".06 .09 .08"/> </body>
  </worldbody>
</mujoco>
"""


def scene(cone: str = "elliptic", condim: int = 4) -> tuple:
    """Three free bodies that touch, moving and turning."""
    mj_model = mujoco.MjModel.from_xml_string(BODIES.format(cone=cone, condim=condim))
    m = softsim.put_model(mj_model)
    qvel = np.random.default_rng(0).normal(size=m.nv)
    return mj_model, m, softsim.make_data(m).replace(qvel=jnp.asarray(qvel))


def turned(mj_model: mujoco.MjModel, d, turn: Rotation, shift: np.ndarray) -> tuple:
    """Gravity, positions and velocities of the whole scene, turned about the origin and moved."""
    qpos, qvel = np.array(d.qpos).reshape(-1, 7), np.array(d.qvel).reshape(-1, 6)
    qpos[:, :3] = turn.apply(qpos[:, :3]) + shift
    old = Rotation.from_quat(qpos[:, 3:], scalar_first=True)
    qpos[:, 3:] = (turn * old).as_quat(scalar_first=True)
    qvel[:, :3] = turn.apply(qvel[:, :3])  # the spin is in the frame of the body
    return turn.apply(mj_model.opt.gravity), qpos.ravel(), qvel.ravel()


@pytest.mark.parametrize("name", [pytest.param("hard", marks=pytest.mark.slow), "soft"])
def test_a_turned_and_moved_scene_behaves_alike(name: str) -> None:
    """Accelerations and forces turn along, and so do derivatives, hard and soft."""
    softening = Softening.hard() if name == "hard" else Softening.soft(0.1, reach=0.05)
    mj_model, m, d = scene()
    weight = jnp.asarray(np.random.default_rng(1).normal(size=m.nv))

    def energy(gravity, qpos, qvel):
        """A scalar that does not turn: power of the spins and speeds that a step changes."""
        turned_m = m.tree_replace({"opt.gravity": gravity})
        after = softsim.forward(turned_m, d.replace(qpos=qpos, qvel=qvel), softening)
        spin = after.qacc.reshape(-1, 6)[:, 3:].ravel() @ weight[:9]
        return spin + after.qfrc_constraint @ qvel, (after.qacc, after.qfrc_constraint)

    run = jax.jit(jax.value_and_grad(energy, argnums=(1, 2), has_aux=True))
    begin = run(jnp.asarray(mj_model.opt.gravity), d.qpos, d.qvel)
    assert np.linalg.norm(begin[0][1][1]) > 10  # they touch
    for seed in range(5):
        random = np.random.default_rng(seed)
        turn = Rotation.random(rng=random)
        found = run(*map(jnp.asarray, turned(mj_model, d, turn, random.normal(size=3))))
        (value, (qacc, force)), (by_qpos, by_qvel) = found
        np.testing.assert_allclose(value, begin[0][0], rtol=1e-7)
        pairs = [(qacc, begin[0][1][0], 6), (force, begin[0][1][1], 6), (by_qvel, begin[1][1], 6)]
        for new, old, width in [*pairs, (by_qpos, begin[1][0], 7)]:
            new, old = (np.array(v).reshape(-1, width) for v in (new, old))
            scale = np.abs(old).max()
            np.testing.assert_allclose(new[:, :3], turn.apply(old[:, :3]), atol=1e-6 * scale)
            if width == 6:  # in the frame of the body, which turned along
                np.testing.assert_allclose(new[:, 3:], old[:, 3:], atol=1e-6 * scale)


@pytest.mark.parametrize("name", ["hard", "soft"])
def test_forces_between_bodies_keep_momentum(name: str) -> None:
    """Contact forces on all bodies add up to nothing, and so do their torques about any point."""
    softening = Softening.hard() if name == "hard" else Softening.soft(0.1, reach=0.05)
    _, m, d = scene()
    after = jax.jit(lambda d: softsim.forward(m, d, softening))(d)
    force = np.asarray(after.qfrc_constraint).reshape(-1, 6)
    assert np.abs(force).max() > 10
    # a free joint's force acts at the body's frame, its torque is in that frame
    torque = np.einsum("bij,bj->bi", after.xmat[1:], force[:, 3:])
    torque += np.cross(after.xpos[1:], force[:, :3])
    np.testing.assert_allclose(force[:, :3].sum(axis=0), 0.0, atol=1e-9 * np.abs(force).max())
    np.testing.assert_allclose(torque.sum(axis=0), 0.0, atol=1e-9 * np.abs(force).max())


PENDULUM = """
<mujoco>
  <option integrator="{integrator}"/>
  <worldbody>
    <body> <joint name="a" axis="0 1 0" damping="{damping}"/>
      <geom type="capsule" size=".02" fromto="0 0 0 .5 0 0"/>
      <body pos=".5 0 0"> <joint name="b" {joint}/>
        <geom type="capsule" size=".02" fromto="0 0 0 .3 .1 0"/> </body> </body>
  </worldbody>
</mujoco>
"""
HINGE, BALL = 'type="hinge" axis="1 0 .5"', 'type="ball"'
# RK4 averages the spins of its stages in frames that turn between them, as MuJoCo's does: with
# rotations in space its order is 2
ORDERS = {("Euler", BALL): 1, ("implicitfast", BALL): 1, ("RK4", HINGE): 4, ("RK4", BALL): 2}


@pytest.mark.parametrize(("integrator", "joint"), ORDERS)
def test_error_falls_with_the_order_of_the_integrator(integrator: str, joint: str) -> None:
    """Half the step, a half or a sixteenth of the error, after 0.4 s; energy where none is lost."""
    damping = 0.0 if integrator == "RK4" else 0.02
    xml = PENDULUM.format(integrator=integrator, damping=damping, joint=joint)
    m = softsim.put_model(mujoco.MjModel.from_xml_string(xml))
    d = softsim.make_data(m)
    d = d.replace(qvel=jnp.array([1.0, 2.0, -3.0, 1.0])[: m.nv])

    @jax.jit
    def end(count):
        """After `count` steps, one program for every number of them."""
        short = m.tree_replace({"opt.timestep": 0.4 / count})
        return jax.lax.fori_loop(0, count, lambda _, d: softsim.step(short, d), d)

    fine, *coarse = (end(n) for n in (6400, 40, 80))
    off = lambda f: [np.linalg.norm(f(d) - f(fine)) for d in coarse]
    errors = [off(lambda d: d.qpos)]
    if damping == 0.0:
        energy = lambda d: dynamics.kinetic_energy(m, d) + dynamics.potential_energy(m, d)
        errors.append(off(jax.jit(lambda d: energy(softsim.forward(m, d)))))
    for one, half in errors:
        np.testing.assert_allclose(np.log2(one / half), ORDERS[integrator, joint], atol=0.3)
