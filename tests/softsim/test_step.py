"""A step against MuJoCo C and MJX for values, against central differences for derivatives."""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
import pytest
from mujoco import mjx

import softsim
from tests.softsim.models import CONSTRAINTS, MIXED

# float64: what rounding and the solver's tolerance (1e-14) leave after a stiff solve
VALUE, GRADIENT = 1e-9, 1e-5


class Case(NamedTuple):
    """A model at a generic state near its qpos0, moving, with constraints active."""

    mj_model: mujoco.MjModel
    mj_data: mujoco.MjData
    m: mjx.Model
    d: mjx.Data


@functools.cache
def case(xml: str) -> Case:
    mj_model = mujoco.MjModel.from_xml_string(xml)
    mj_data = mujoco.MjData(mj_model)
    rng = np.random.default_rng(0)
    qpos = mj_data.qpos.copy()
    mujoco.mj_integratePos(mj_model, qpos, rng.normal(size=mj_model.nv) * 0.01, 1.0)
    mj_data.qpos[:] = qpos
    mj_data.qvel[:] = rng.normal(size=mj_model.nv) * 0.3
    mj_data.ctrl[:] = rng.normal(size=mj_model.nu)
    mj_data.act[:] = rng.normal(size=mj_model.na)
    mj_data.qfrc_applied[:] = rng.normal(size=mj_model.nv) * 0.1
    return Case(mj_model, mj_data, softsim.put_model(mj_model), softsim.put_data(mj_model, mj_data))


# one compiled program per model, for every test of a value
compiled_step = jax.jit(softsim.step)


def flat_step(c: Case, step: Callable):
    """The next state as a function of position, velocity, activation, control and forces."""
    parts = ("qpos", "qvel", "act", "ctrl", "qfrc_applied")
    z0 = jnp.concatenate([getattr(c.d, name) for name in parts])
    bounds = np.cumsum([getattr(c.d, name).size for name in parts])[:-1]

    def run(z):
        y = step(c.m, c.d.replace(**dict(zip(parts, jnp.split(z, bounds)))))
        return jnp.concatenate([y.qpos, y.qvel, y.act])

    return run, z0


def relative(a, b) -> float:
    return float(np.linalg.norm(np.asarray(a) - b) / max(np.linalg.norm(b), 1e-12))


def check_derivatives(xml: str, modes: tuple[Callable, ...] = (jax.jacfwd, jax.jacrev)) -> None:
    c = case(xml)
    run, z0 = flat_step(c, softsim.step)
    move, _ = flat_step(c, compiled_step)
    h = 1e-6
    shifts = h * jnp.eye(z0.size)
    differences = jnp.stack([(move(z0 + e) - move(z0 - e)) / (2 * h) for e in shifts], axis=1)
    for mode in modes:
        assert relative(jax.jit(mode(run))(z0), differences) < GRADIENT


def test_forward_and_reverse_derivatives_of_every_kind_of_row():
    check_derivatives(MIXED["rows"])


# of the pyramid: `test_linearize_like_mujoco` in test_derivatives.py
@pytest.mark.parametrize("name", [pytest.param("pyramidal", marks=pytest.mark.slow), "elliptic"])
def test_forward_derivatives_of_contacts(name):
    """In reverse mode: `test_gradient_of_every_float_leaf`, and below."""
    check_derivatives(MIXED[name], (jax.jacfwd,))


@pytest.mark.slow
@pytest.mark.parametrize("name", CONSTRAINTS)
def test_derivatives_of_each_constraint_type(name):
    check_derivatives(CONSTRAINTS[name])


# of the elliptic cone the acceleration is compared below
@pytest.mark.parametrize(
    "name", ["rows", "pyramidal", pytest.param("elliptic", marks=pytest.mark.slow)]
)
def test_fifty_steps_like_mjx(name):
    c = case(MIXED[name])
    theirs = jax.jit(mjx.step)
    a = b = c.d
    for _ in range(50):
        a, b = compiled_step(c.m, a), theirs(c.m, b)
    np.testing.assert_allclose(a.qpos, b.qpos, rtol=VALUE, atol=VALUE)
    np.testing.assert_allclose(a.qvel, b.qvel, rtol=VALUE, atol=VALUE)


@pytest.mark.parametrize("name", ["pyramidal", "elliptic"])
def test_acceleration_like_mujoco(name):
    """Not the model of all rows: for connect and weld MuJoCo C adds a velocity term MJX omits."""
    c = case(MIXED[name])
    mujoco.mj_forward(c.mj_model, c.mj_data)
    d = compiled_step(c.m, c.d)  # accelerations and forces are those at the old state
    np.testing.assert_allclose(d.qacc, c.mj_data.qacc, rtol=VALUE, atol=VALUE)
    np.testing.assert_allclose(d.qfrc_constraint, c.mj_data.qfrc_constraint, rtol=VALUE, atol=VALUE)


def test_gradient_of_every_float_leaf():
    """One reverse pass; every leaf that matters against differences along a random direction."""
    c = case(MIXED["elliptic"])
    rng = np.random.default_rng(3)
    weight = jnp.asarray(rng.normal(size=c.m.nq + c.m.nv))

    def loss(m, d, step):
        y = step(m, d)
        return weight @ jnp.concatenate([y.qpos, y.qvel])

    reverse = jax.grad(lambda m, d: loss(m, d, softsim.step), argnums=(0, 1), allow_int=True)
    grads = jax.jit(reverse)(c.m, c.d)
    paths, leaves = zip(*jax.tree_util.tree_leaves_with_path((c.m, c.d)))
    structure = jax.tree.structure((c.m, c.d))
    checked = set()
    for i, (path, leaf, grad) in enumerate(zip(paths, leaves, jax.tree.leaves(grads))):
        if not jnp.issubdtype(jnp.asarray(leaf).dtype, jnp.floating):
            continue
        assert np.isfinite(grad).all(), path
        if not np.any(grad):
            continue
        shift = jnp.asarray(rng.normal(size=leaf.shape)) * jnp.maximum(jnp.abs(leaf), 0.01) * 1e-6
        moved = [[*leaves[:i], leaf + s * shift, *leaves[i + 1 :]] for s in (1, -1)]
        plus, minus = (loss(*jax.tree.unflatten(structure, x), compiled_step) for x in moved)
        exact = float(jnp.sum(grad * shift))
        assert float(plus - minus) / 2 == pytest.approx(exact, rel=1e-4, abs=1e-12), path
        checked.add(str(path[-1]))
    wanted = {
        "body_mass", "body_inertia", "body_ipos", "geom_size", "geom_pos", "geom_friction",
        "geom_solref", "geom_solimp", "geom_margin", "gravity", "timestep", "impratio",
        "body_invweight0", "qpos", "qvel", "qfrc_applied", "xfrc_applied",
    }  # fmt: skip
    assert wanted <= {name.strip(".") for name in checked}, wanted - checked


def test_hessian_of_a_constrained_step():
    """Second derivatives of a joint at its limit with dry friction, against differenced ones."""
    c = case(
        """<mujoco><option timestep=".004" tolerance="1e-14"/><worldbody><body>
        <joint axis="0 1 0" range="10 90" limited="true" frictionloss=".3"/>
        <geom size=".1" pos=".2 0 0"/></body></worldbody></mujoco>"""
    )

    def loss(z):
        y = softsim.step(c.m, c.d.replace(qpos=z[:1], qvel=z[1:]))
        return y.qpos[0] ** 2 + y.qvel[0] ** 2

    z, h = jnp.array([0.05, 0.3]), 1e-5
    gradient = jax.jit(jax.vmap(jax.grad(loss)))(
        jnp.concatenate([z + h * jnp.eye(2), z - h * jnp.eye(2)])
    )
    want = (gradient[:2] - gradient[2:]) / (2 * h)
    np.testing.assert_allclose(jax.jit(jax.hessian(loss))(z), want, rtol=1e-5, atol=1e-8)


def test_straight_through_value_is_the_hard_one_and_derivative_the_soft_one():
    c = case(MIXED["pyramidal"])
    through = softsim.Softening.straight_through()
    soft = dataclasses.replace(through, gradient_only=False)

    def velocity(softening):
        return lambda qvel: softsim.step(c.m, c.d.replace(qvel=qvel), softening).qvel

    hard_value = jax.jit(velocity(softsim.Softening.hard()))(c.d.qvel)
    np.testing.assert_array_equal(jax.jit(velocity(through))(c.d.qvel), hard_value)
    pulled = jax.jit(lambda v: jax.vjp(velocity(through), v)[1](jnp.ones_like(v))[0])(c.d.qvel)
    wanted = jax.jit(lambda v: jax.vjp(velocity(soft), v)[1](jnp.ones_like(v))[0])(c.d.qvel)
    np.testing.assert_allclose(pulled, wanted, rtol=1e-10, atol=1e-12)


BAD = {
    "NaN position": ({"qpos": lambda x: x.at[2].set(jnp.nan)}, r"d\.qpos, entry 2, is nan"),
    "infinite velocity": ({"qvel": lambda x: x.at[0].set(jnp.inf)}, r"d\.qvel, entry 0, is inf"),
    "control too long": ({"ctrl": lambda x: jnp.zeros(7)}, r"d\.ctrl: got shape \(7,\), expected"),
    "wrong dtype": ({"qpos": lambda x: x.astype(jnp.float32)}, r"d\.qpos: got dtype float32"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_state_is_refused_by_name(name):
    c = case(MIXED["pyramidal"])
    change, message = BAD[name]
    d = c.d.replace(**{field: edit(getattr(c.d, field)) for field, edit in change.items()})
    with pytest.raises(ValueError, match=message):
        softsim.step(c.m, d)


def test_float32_stays_float32():
    c = case(MIXED["elliptic"])
    with jax.enable_x64(False):
        m, d = softsim.put_model(c.mj_model), softsim.put_data(c.mj_model, c.mj_data)
        after = compiled_step(m, d)
    leaves = jax.tree.leaves(after)
    assert not [x.dtype for x in leaves if x.dtype in (jnp.float64, jnp.int64)]
    exact = compiled_step(c.m, c.d)
    # stock MJX, in float32 too, is 1e-4 off here
    assert relative(after.qacc, exact.qacc) < 1e-5


BODIES = """<mujoco><asset><hfield name="h" nrow="3" ncol="3" size="1 1 .1 .1"/></asset><worldbody>
<geom type="hfield" hfield="h"/><body pos="0 0 .5"><freejoint/><geom type="box" size=".1 .1 .1"/>
</body><body pos="0 .3 .5"><joint type="ball"/><geom type="box" size=".1 .1 .1"/></body>
<body pos="0 0 .9"><freejoint/><geom type="capsule" size=".1 .1"/></body></worldbody></mujoco>"""


def test_either_width_after_the_other():
    """JAX 0.10 remembers the width of NumPy index arrays that it has seen."""
    mj_model = mujoco.MjModel.from_xml_string(BODIES)
    for x64 in (True, False, True):
        with jax.enable_x64(x64):
            m = softsim.put_model(mj_model)
            after = jax.eval_shape(softsim.step, m, softsim.make_data(m))
        assert after.qpos.dtype == (jnp.float64 if x64 else jnp.float32)
