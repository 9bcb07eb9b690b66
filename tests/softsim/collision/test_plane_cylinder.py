"""A soft cylinder on a plane: its support does not shrink, standing, lying, or in between."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softsim.collision import Geom, Hit
from softsim.collision.plane import plane_cylinder
from softsim.softening import Part

RADIUS, HALF = 0.07, 0.1


@jax.jit
def contacts(tilt: jax.Array) -> Hit:
    """Contacts of a cylinder whose axis leans by `tilt` rad, its lowest point on z = 0."""
    s, c = jnp.sin(tilt), jnp.cos(tilt)
    mat = jnp.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    height = HALF * jnp.abs(c) + RADIUS * jnp.abs(s)
    plane = Geom(jnp.zeros(3), jnp.eye(3), jnp.ones(3))
    cylinder = Geom(jnp.array([0.0, 0.0, height]), mat, jnp.array([RADIUS, HALF, 0.0]))
    return plane_cylinder(Part(0.05, "smooth"), plane, cylinder)


@pytest.mark.parametrize("tilt", [0.0, 1e-9, 1e-4, np.pi])
def test_standing_cylinder_has_a_triangle_on_its_rim(tilt: float) -> None:
    hit = contacts(jnp.asarray(tilt))
    a, b, c = np.asarray(hit.pos)
    area = 0.5 * np.linalg.norm(np.cross(b - a, c - a))
    assert area > 0.99 * 3 * np.sqrt(3) / 4 * RADIUS**2
    assert np.abs(hit.dist).max() < 2e-5


@pytest.mark.parametrize("tilt", [np.pi / 2, np.pi / 2 + 1e-3, -np.pi / 2])
def test_lying_cylinder_has_both_ends(tilt: float) -> None:
    hit = contacts(jnp.asarray(tilt))
    assert np.linalg.norm(hit.pos[0] - hit.pos[1]) > 0.99 * 2 * HALF
    assert np.abs(hit.dist[:2]).max() < 1e-3


def test_deepest_point_is_never_missed() -> None:
    tilts = jnp.linspace(-np.pi, np.pi, 2001)
    hit = jax.vmap(contacts)(tilts)
    assert np.abs(np.min(hit.dist, axis=1)).max() < 5e-4


def test_contacts_are_differentiable_where_it_stands() -> None:
    slope = jax.jacfwd(lambda t: contacts(t).dist)(0.0)
    up, down = contacts(jnp.asarray(1e-6)).dist, contacts(jnp.asarray(-1e-6)).dist
    # its height changes as |tilt|, so only differences between contacts are smooth
    np.testing.assert_allclose(slope - slope[0], (up - down - (up - down)[0]) / 2e-6, atol=1e-6)
