"""A step is a citizen of JAX: it returns the pytree it was given, so every transformation runs."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

import softsim
from tests.softsim.models import MIXED

BALL = """<mujoco><option timestep="0.01"/><worldbody><geom type="plane" size="1 1 1"/>
<body name="ball" pos="0 0 .12"><joint type="slide" axis="0 0 1"/><geom size=".1" mass="1"/>
<site name="top" pos="0 0 .1"/></body></worldbody>
<keyframe><key name="low" qpos="-.03" qvel="1" time="2"/></keyframe></mujoco>"""

SOURCES: dict[str, Callable] = {
    "make_data": lambda mj_model, m: softsim.make_data(m),
    "put_data": lambda mj_model, m: softsim.put_data(mj_model, mujoco.MjData(mj_model)),
    "mjx.put_data": lambda mj_model, m: mjx.put_data(mj_model, mujoco.MjData(mj_model), impl="jax"),
    "mjx.make_data": lambda mj_model, m: mjx.make_data(mj_model, impl="jax"),
}


def signature(f: Callable, *args) -> tuple:
    """Tree of f(*args) with its static fields, shapes, dtypes and weak types."""
    tree = jax.eval_shape(f, *args)
    leaves = jax.tree.leaves(tree)
    return jax.tree.structure(tree), [(x.shape, x.dtype, x.weak_type) for x in leaves]


@functools.cache
def model(x64: bool, xml: str = BALL) -> tuple[mujoco.MjModel, mjx.Model]:
    mj_model = mujoco.MjModel.from_xml_string(xml)
    with jax.enable_x64(x64):
        return mj_model, softsim.put_model(mj_model)


@pytest.mark.parametrize("x64", [True, False])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("name", ["rows", "pyramidal"])
def test_the_same_pytree_comes_back(name, source, x64):
    mj_model, m = model(x64, MIXED[name])
    with jax.enable_x64(x64):
        d = SOURCES[source](mj_model, m)
        for f in (softsim.step, softsim.forward, softsim.kinematics):
            assert signature(f, m, d) == signature(lambda d: d, d)
        through = softsim.Softening.straight_through()
        assert signature(softsim.step, m, d, through) == signature(lambda d: d, d)


LOOPS: dict[str, Callable] = {
    "python": lambda step, d: [d := step(d) for _ in range(3)][-1],
    "scan": lambda step, d: jax.lax.scan(lambda d, _: (step(d), None), d, length=3)[0],
    "fori_loop": lambda step, d: jax.lax.fori_loop(0, 3, lambda _, d: step(d), d),
    "while_loop": lambda step, d: jax.lax.while_loop(lambda d: d.time < 0.025, step, d),
    "checkpoint": lambda step, d: jax.lax.scan(
        lambda d, _: (jax.checkpoint(step)(d), None), d, length=3
    )[0],
    "cond": lambda step, d: jax.lax.fori_loop(
        0, 3, lambda i, d: jax.lax.cond(i >= 0, step, lambda d: d, d), d
    ),
    "nested vmap": lambda step, d: jax.tree.map(
        lambda x: x[0, 0],
        LOOPS["scan"](
            jax.vmap(jax.vmap(step)),
            jax.tree.map(lambda x: jnp.broadcast_to(x, (2, 1, *jnp.shape(x))), d),
        ),
    ),
    "shard_map": lambda step, d: jax.shard_map(
        lambda d: LOOPS["scan"](step, d),
        mesh=jax.make_mesh((1,), ("x",), axis_types=(jax.sharding.AxisType.Explicit,)),
        in_specs=jax.sharding.PartitionSpec(),
        out_specs=jax.sharding.PartitionSpec(),
        check_vma=False,
    )(d),
}


@pytest.mark.parametrize("loop", LOOPS)
def test_three_steps_in_every_loop(loop):
    mj_model, m = model(True)
    mj_data = mujoco.MjData(mj_model)
    mujoco.mj_step(mj_model, mj_data, 3)
    step = jax.jit(lambda d: softsim.step(m, d))
    end = LOOPS[loop](step, softsim.make_data(m))
    assert float(end.qpos[0]) == pytest.approx(mj_data.qpos[0], abs=1e-9)


@pytest.mark.parametrize("x64", [True, False])
def test_a_jitted_step_compiles_once_also_ahead_of_time(x64):
    _, m = model(x64)
    with jax.enable_x64(x64):
        traced = []
        step = jax.jit(lambda d: traced.append(0) or softsim.step(m, d))
        d = softsim.make_data(m)
        end = step(step(step(d)))
        assert len(traced) == 1
        # arrays bound to a device beside others that are not: compiled for each mixture
        assert {x.committed for x in jax.tree.leaves((m, d, end))} == {False}
        compiled = step.lower(d).compile()
        compiled(compiled(d))


def test_data_of_another_model_is_refused_by_name():
    _, m = model(True)
    other = softsim.make_data(model(True, BALL.replace("<site", "<geom size='.1'/><site"))[1])
    with pytest.raises(ValueError, match=r"d\.geom_xpos: got shape \(3, 3\), expected \(2, 3\)"):
        jax.eval_shape(softsim.kinematics, m, other)


def test_nothing_of_another_time_is_left_after_a_rollout():
    """Poses are those of the last state; what is not computed there is NaN."""
    _, m = model(True)
    d = softsim.make_data(m)

    @jax.jit
    def run(height):
        end, path = softsim.rollout(m, d.replace(qpos=height[None]), jnp.zeros((4, 0)))
        return end, path, softsim.kinematics(m, end).site_xpos

    end, path, top = run(jnp.array(0.02))
    np.testing.assert_array_equal(end.site_xpos, top)
    assert float(end.site_xpos[0, 2]) == pytest.approx(float(path.qpos[-1, 0]) + 0.22)
    for field in ("qacc", "qfrc_bias", "qfrc_constraint", "cvel"):
        assert np.isnan(getattr(end, field)).all(), field
    assert np.isnan(end._impl.contact.dist).all() and np.isnan(end._impl.efc_force).all()
    slope = jax.jit(jax.grad(lambda h: run(h)[0].site_xpos[0, 2]))(jnp.array(0.02))
    assert float(slope) == pytest.approx(1.0)
    follow = jax.jit(lambda d: softsim.step(m, d))(end)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(follow) if x.dtype == float)


def test_collide_and_forward_see_the_poses_and_keep_hard_values():
    """`collide` computes the poses it needs; values of straight-through are the hard ones."""
    _, m = model(True)
    d = softsim.make_data(m, keyframe="low")
    through = softsim.Softening.straight_through()
    hard = jax.jit(softsim.collide)(m, d)
    assert float(hard.dist[0]) == pytest.approx(-0.01)
    height = lambda q, soft: softsim.collide(m, d.replace(qpos=q), soft).dist[0]
    slope = jax.jit(jax.grad(height))(d.qpos, softsim.Softening.hard())
    assert float(slope[0]) == pytest.approx(1.0)
    for f in (lambda s: softsim.forward(m, d, s).qacc, lambda s: softsim.collide(m, d, s).dist):
        np.testing.assert_array_equal(jax.jit(f)(softsim.Softening.hard()), jax.jit(f)(through))


def test_adaptive_steps_keep_hard_values():
    _, m = model(True)
    d = softsim.make_data(m, keyframe="low")
    adaptive = softsim.Adaptive(1e-4, 1e-4)
    step = jax.jit(lambda d, soft: softsim.step(m, d, soft, adaptive=adaptive))
    soft = softsim.Softening.soft(reach=0.05)
    through = softsim.Softening(soft.collision, reach=soft.reach, gradient_only=True)
    values = [step(d, s) for s in (softsim.Softening.hard(), through)]
    np.testing.assert_array_equal(*(v.qvel for v in values))
    np.testing.assert_array_equal(*(v.qacc for v in values))


def test_a_keyframe_by_name_and_by_id():
    mj_model, m = model(True)
    mj_data = mujoco.MjData(mj_model)
    mujoco.mj_resetDataKeyframe(mj_model, mj_data, 0)
    for keyframe in ("low", 0):
        d = softsim.make_data(m, keyframe=keyframe)
        for name in ("time", "qpos", "qvel", "act", "ctrl", "mocap_pos", "mocap_quat"):
            np.testing.assert_array_equal(getattr(d, name), getattr(mj_data, name))
    with pytest.raises(ValueError, match="keyframe: got 'high', expected one of: low"):
        softsim.make_data(m, keyframe="high")


def test_import_prints_nothing():
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-c", "import softsim, envs, experiments"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == ""
