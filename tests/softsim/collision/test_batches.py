"""Meshes of several sizes in one scene share programs: contacts do not feel it."""

import jax
import jax.extend.core
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

import softsim
from softsim.collision import batches, collide
from softsim.softening import Part, Softening

MODES = {"hard": Part(), "smooth": Part(0.05, "smooth"), "c1": Part(0.05, "c1")}
PRISM = 14


def mesh(vertices: int) -> str:
    """Points on an ellipsoid, which make triangles; `PRISM`: a prism over a heptagon."""
    rng = np.random.default_rng(vertices)
    points = rng.normal(size=(vertices, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    if vertices == PRISM:
        turn = np.repeat(np.arange(7) * 2 * np.pi / 7, 2)
        points = np.stack([np.cos(turn), np.sin(turn), np.tile([-1.0, 1.0], 7)], axis=1)
    values = " ".join(f"{x:.6f}" for x in (points * [0.05, 0.04, 0.06]).ravel())
    return f'<mesh name="m{vertices}" vertex="{values}"/>'


def scene(meshes: tuple[int, ...], others: str = "", alone: str = "") -> mujoco.MjModel:
    """Free meshes and other shapes above a plane."""
    body = "<body><freejoint/><geom {}/></body>"
    bodies = "".join(body.format(f'type="mesh" mesh="m{n}" {alone}') for n in meshes)
    return mujoco.MjModel.from_xml_string(f"""<mujoco>
      <asset>{"".join(mesh(n) for n in set(meshes))}</asset>
      <worldbody><geom type="plane" size="1 1 1"/>{bodies}{others}</worldbody></mujoco>""")


def poses(m: mjx.Model, count: int, seed: int = 0) -> mjx.Data:
    """Bodies in a heap, some apart and some deep in each other and in the plane."""
    rng = np.random.default_rng(seed)
    qpos = rng.normal(size=(count, m.nbody - 1, 7))
    qpos[..., :3] = [0, 0, 0.04] + rng.uniform(-0.06, 0.06, (count, m.nbody - 1, 3))
    d = softsim.make_data(m)
    place = lambda q: mjx.kinematics(m, d.replace(qpos=q))
    return jax.jit(jax.vmap(place))(jnp.asarray(qpos.reshape(count, -1)))


def check_the_same(m: mjx.Model, d: mjx.Data, part: Part, monkeypatch) -> None:
    """Contacts are those of programs for meshes of one size alone.

    Compared are pairs whose contacts are steady: where two features are equally near, rounding
    chooses. A contact that is not there repeats one of the others, no matter which.
    """
    nudge = np.random.default_rng(5).normal(size=(3, *d.geom_xpos.shape)) * 1e-11

    def run(d: mjx.Data) -> jax.Array:
        found = collide(m, d, Softening(collision=part))
        there = found.presence[:, None]
        values = (found.dist[:, None], found.pos, found.frame.reshape(-1, 9))
        return jnp.concatenate([there, jnp.where(there > 1e-6, jnp.column_stack(values), 0)], 1)

    nudged = jax.vmap(lambda x: d.replace(geom_xpos=d.geom_xpos + x))(jnp.asarray(nudge))
    results = []
    for waste in (1e9, 1.0):
        monkeypatch.setattr(batches, "WASTE", waste)
        results.append(np.asarray(jax.jit(jax.vmap(jax.vmap(run)))(nudged)))
    together, alone = results
    steady = np.all([np.ptp(x, axis=0).max(axis=-1) < 1e-6 for x in results], axis=0)
    assert steady.mean() > 0.9 and np.mean(alone[0, ..., 0] * (alone[0, ..., 1] < 0)) > 0.1
    np.testing.assert_allclose(together[0][steady], alone[0][steady], rtol=0, atol=1e-10)


BALL = '<body><freejoint/><geom type="{}" size=".03 .04 .05" {}/></body>'
OTHERS = BALL.format("box", "") + BALL.format("capsule", 'condim="4"')


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "others"), [("hard", ""), *((mode, OTHERS) for mode in MODES)])
def test_contacts_are_those_of_programs_for_each_size(mode: str, others: str, monkeypatch) -> None:
    # the tetrahedron has fewer vertices than a box: their order in the tests is the other one
    m = softsim.put_model(scene((PRISM, 4, 9), others))
    check_the_same(m, poses(m, 12), MODES[mode], monkeypatch)


def test_corners_that_rest_are_those_of_programs_for_each_size(monkeypatch) -> None:
    m = softsim.put_model(scene((4, PRISM, 9, PRISM), alone='contype="0"'), follow="mujoco")
    check_the_same(m, poses(m, 50), MODES["hard"], monkeypatch)


@pytest.mark.slow
def test_derivative_is_that_of_the_values() -> None:
    m = softsim.put_model(scene((PRISM, 12, 9)))
    d = poses(m, 6, seed=1)
    weigh = np.random.default_rng(2).normal(size=(len(softsim.make_data(m)._impl.contact.dim), 4))

    def value(x: jax.Array, mat: jax.Array) -> jax.Array:
        at = softsim.make_data(m).replace(geom_xpos=x, geom_xmat=mat)
        found = collide(m, at, Softening(collision=MODES["smooth"]))
        felt = found.presence[:, None] * jnp.column_stack([found.dist, found.pos])
        return jnp.sum(weigh * felt)

    eps = 1e-8  # m; second derivatives jump
    step = eps * np.random.default_rng(3).normal(size=d.geom_xpos.shape)

    @jax.jit
    @jax.vmap
    def both(x: jax.Array, mat: jax.Array, step: jax.Array):
        ends = jax.vmap(lambda x: jax.value_and_grad(value)(x, mat))(x + jnp.stack([step, -step]))
        return (ends[0][0] - ends[0][1]) / 2, jnp.sum(ends[1].mean(axis=0) * step)

    expected, slope = both(d.geom_xpos, d.geom_xmat, jnp.asarray(step))
    np.testing.assert_allclose(slope / eps, expected / eps, rtol=3e-5, atol=1e-4)


def equations(jaxpr: jax.extend.core.Jaxpr) -> int:
    inner = [
        getattr(x, "jaxpr", x)
        for eqn in jaxpr.eqns
        for value in eqn.params.values()
        for x in (value if isinstance(value, tuple | list) else [value])
    ]
    return len(jaxpr.eqns) + sum(equations(x) for x in inner if hasattr(x, "eqns"))


def test_programs_do_not_grow_with_the_number_of_meshes() -> None:
    sizes = []
    for meshes in ((8, 10, 12, 14, 16), (8, 9, 10, 11, 12, 13, 14, 15, 16)):
        m = softsim.put_model(scene(meshes))
        traced = jax.jit(collide).trace(m, softsim.make_data(m), Softening.hard())
        sizes.append(equations(traced.jaxpr.jaxpr))
    # on a plane and on either side of a pair of meshes, one to look up the faces of a mesh
    assert sizes[1] - sizes[0] <= 3 * 4, sizes


def test_no_batch_does_more_than_twice_the_work() -> None:
    rng = np.random.default_rng(0)
    for size in (rng.integers(4, 65, (200, 2)), np.full((5, 2), 64), [[4, 4]] * 9 + [[64, 64]]):
        size = np.asarray(size)
        parts = list(batches._affordable(size))
        np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(size)))
        work = sum(len(part) * np.prod(size[part].max(axis=0)) for part in parts)
        assert work <= batches.WASTE * np.sum(np.prod(size, axis=1)) and len(parts) <= 4
