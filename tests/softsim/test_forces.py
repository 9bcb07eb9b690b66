"""Row forces against their own cost: force = -ds/dx, curvature = -df/dx, in every zone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softsim.constraint.forces import cone_index, cost, curvature, forces
from softsim.constraint.rows import Rows, impedance

DIMS = (3, 4, 6)


def _rows() -> Rows:
    """Two equality, three friction loss, two limit rows, and cones of 3, 4 and 6 rows."""
    rng = np.random.default_rng(0)
    n = 7 + sum(DIMS)
    friction = rng.uniform(0.2, 1.0, (3, 5))
    cone = np.concatenate([friction[:, :1] / np.sqrt(2.0), friction], axis=1)
    cone = cone * (np.arange(6) < np.array(DIMS)[:, None])
    D = rng.uniform(0.5, 3.0, n)
    start = 7
    for i, dim in enumerate(DIMS):  # MuJoCo's relation between the rows of one cone
        D[start : start + dim] = D[start] * np.square(cone[i, :dim] / cone[i, 0])
        start += dim
    z = jnp.zeros(n)
    return Rows(
        J=jnp.zeros((n, 1)),
        D=jnp.asarray(D),
        aref=z,
        pos=z,
        margin=z,
        frictionloss=z.at[2:5].set(0.4),
        cone=jnp.asarray(cone),
        ne=2,
        nf=3,
        nl=2,
        cone_adr=(7, 10, 14),
        cone_dim=DIMS,
    )


def _points() -> jnp.ndarray:
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.normal(size=(400, _rows().n)))


def test_force_is_minus_gradient_of_cost():
    rows = _rows()
    got = jax.jit(jax.vmap(lambda x: forces(rows, x)))(_points())
    want = -jax.jit(jax.vmap(jax.grad(lambda x: cost(rows, x))))(_points())
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_curvature_is_minus_jacobian_of_force():
    rows = _rows()

    def dense(x):
        diagonal, blocks = curvature(rows, x)
        full = jnp.diag(diagonal)
        index = cone_index(rows)
        return full.at[index[:, :, None], index[:, None, :]].add(blocks)

    got = jax.jit(jax.vmap(dense))(_points())
    want = -jax.jit(jax.vmap(jax.jacfwd(lambda x: forces(rows, x))))(_points())
    np.testing.assert_allclose(got, want, atol=1e-11)


def test_all_zones_are_met():
    rows = _rows()
    f = np.asarray(jax.jit(jax.vmap(lambda x: forces(rows, x)))(_points()))
    for adr in rows.cone_adr:
        assert (f[:, adr] == 0).any() and (f[:, adr] > 0).any()
    assert (np.abs(f[:, 2:5]) == 0.4).any() and (np.abs(f[:, 2:5]) < 0.4).any()


def test_apex_and_axis_of_the_cone_are_finite():
    rows = _rows()
    x = jnp.asarray([np.zeros(20), np.eye(20)[7], -np.eye(20)[7]])
    force = lambda x: forces(rows, x)
    all_of = jax.jit(jax.vmap(lambda x: (force(x), curvature(rows, x), jax.jacrev(force)(x))))
    assert all(np.isfinite(part).all() for part in jax.tree.leaves(all_of(x)))


def test_sticking_cone_is_the_quadratic_of_its_rows():
    """Straight penetration without slip: every row of a cone is on its quadratic branch."""
    rows = _rows()
    x = jnp.zeros(rows.n).at[7].set(-1.0).at[8].set(1e-3)
    np.testing.assert_allclose(forces(rows, x)[7:10], -(rows.D * x)[7:10], rtol=1e-12)


def test_impedance_curve():
    solimp = jnp.array([0.9, 0.95, 0.001, 0.5, 2.0])
    at = lambda pos: float(jax.jit(impedance)(solimp, jnp.asarray(pos)))
    slopes = jax.jit(jax.grad(lambda s, p: impedance(s, p), argnums=(0, 1)))
    assert at(0.0) == pytest.approx(0.9)
    assert at(-0.0005) == pytest.approx(0.925)
    assert at(-0.001) == at(-1.0) == pytest.approx(0.95)
    for pos in (0.0, -0.001, -3.0):
        grads = slopes(solimp, jnp.asarray(pos))
        assert all(np.isfinite(g).all() for g in grads)
