"""Only pairs that can touch are tested: contacts do not feel it, alone and in a batch."""

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest

import softsim
from softsim.collision import broad_phase
from softsim.softening import Part, Softening


def _model() -> mujoco.MjModel:
    """Six free meshes: 15 pairs, of which those with a margin act before they touch."""
    rng = np.random.default_rng(0)
    meshes = "".join(
        f'<mesh name="m{k}" vertex="{" ".join(f"{x:.5f}" for x in points.ravel())}"/>'
        for k, points in enumerate(rng.normal(size=(6, 8, 3)) * [0.05, 0.04, 0.06])
    )
    margin = 'margin=".05" gap=".05"'
    bodies = "".join(
        f'<body><freejoint/><geom type="mesh" mesh="m{k}" {margin if k > 3 else ""}/></body>'
        for k in range(6)
    )
    return mujoco.MjModel.from_xml_string(
        f"<mujoco><asset>{meshes}</asset><worldbody>{bodies}</worldbody></mujoco>"
    )


def _poses(count: int) -> jax.Array:
    """Bodies strewn so that of the pairs none, some or all meet."""
    rng = np.random.default_rng(1)
    qpos = rng.normal(size=(count, 6, 7))
    spread = np.geomspace(0.02, 1.0, count)[:, None, None]
    qpos[..., :3] = spread * rng.uniform(-1, 1, (count, 6, 3))
    return jnp.asarray(qpos.reshape(count, -1))


def _felt(reach: float):
    """What contacts that act add up to, and the contacts, at a pose.

    Without the fourth of each pair, where rounding may choose between two equally far points.
    """
    m = softsim.put_model(_model())
    d, softening = softsim.make_data(m), Softening(reach=reach)

    def felt(q: jax.Array) -> tuple[jax.Array, jax.Array]:
        contact = softsim.collide(m, d.replace(qpos=q), softening)
        acts = (contact.presence > 0) & (contact.dist < contact.includemargin + softening.reach)
        rows = jnp.column_stack([contact.dist, contact.pos, contact.frame.reshape(-1, 9)])
        rows = jnp.where(acts[:, None], rows, 0.0).reshape(-1, 4, 13)[:, :3].reshape(-1, 13)
        return jnp.sum(rows * jnp.cos(jnp.arange(rows.size).reshape(rows.shape))), rows

    return felt


def test_contacts_are_those_of_all_pairs(monkeypatch) -> None:
    found = []
    for chunk in (broad_phase.CHUNK, 10**6):
        monkeypatch.setattr(broad_phase, "CHUNK", chunk)
        found.append(jax.jit(jax.vmap(_felt(0.0)))(_poses(24))[1])
    count = np.sum(found[1][..., 0] != 0, axis=1)
    assert count[0] > 8 and count[-1] == 0 and found[1][..., 0].max() > 0.01
    np.testing.assert_allclose(*found, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("reach", [0.0, 0.1])
def test_derivatives_are_those_of_all_pairs(reach: float, monkeypatch) -> None:
    qpos = _poses(24)
    one_by_one = lambda q: jax.lax.map(jax.grad(_felt(reach), has_aux=True), q)
    batch = jax.vmap(jax.grad(_felt(reach), has_aux=True))
    found = [jax.jit(one_by_one)(qpos), jax.jit(batch)(qpos)]
    monkeypatch.setattr(broad_phase, "CHUNK", 10**6)
    slope, rows = jax.jit(jax.vmap(jax.grad(_felt(reach), has_aux=True)))(qpos)
    for gradient, ours in found:
        # where two features are equally near, rounding chooses, and may in another program
        same = np.all(np.abs(ours - rows) < 1e-12, axis=(1, 2))
        assert same.mean() > 0.9
        bound = 1e-9 * np.abs(slope).max()
        np.testing.assert_allclose(gradient[same], slope[same], rtol=0, atol=bound)


def test_a_batch_tests_no_more_chunks_than_its_worlds_need(monkeypatch) -> None:
    """The branch stays a branch under vmap: what a chunk runs is counted from inside."""
    monkeypatch.setattr(broad_phase, "CHUNK", 4)
    ran = []

    def narrow(pairs: jax.Array) -> softsim.collision.Hit:
        jax.debug.callback(lambda _: ran.append(1), pairs[0])
        zero = jnp.zeros((len(pairs), 1))
        return softsim.collision.Hit(
            pairs[:, None], zero[..., None] * jnp.ones(3), zero[..., None, None] * jnp.eye(3), zero
        )

    gaps = np.ones((3, 16))
    gaps[0, [2, 7, 11]] = -1.0  # three of one world: one chunk
    gaps[1, :6] = -1.0  # six of another: two chunks
    run = lambda gap: broad_phase.of_those_that_meet(narrow, jnp.arange(16.0), gap, ncon=1).dist
    found = jax.jit(jax.vmap(run))(jnp.asarray(gaps))
    jax.effects_barrier()
    assert len(ran) == 2 * 3  # two chunks of three worlds, not four
    np.testing.assert_array_equal(
        found[..., 0][gaps < 0], np.tile(np.arange(16.0), (3, 1))[gaps < 0]
    )


def test_soft_contacts_and_events_see_every_pair() -> None:
    """They are felt before anything touches."""
    m = softsim.put_model(_model())
    from softsim._mjx import geom_groups
    from softsim.collision.batches import batches

    groups = geom_groups(m)
    parts = list(batches(m, list(groups), [len(x) for x in groups.values()]))
    assert any(broad_phase.applies(part, Softening()) for part in parts)
    for softening in (
        Softening.soft(),
        Softening.saltation(),
        Softening(mask=Part(0.05, "smooth")),
    ):
        assert not any(broad_phase.applies(part, softening) for part in parts)
