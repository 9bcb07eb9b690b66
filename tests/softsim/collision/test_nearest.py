"""Contacts said to be nearest points: their distance changes as those points of the bodies move."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softsim._mjx import geom_groups
from softsim.collision import PAIRS
from softsim.softening import Part
from softsim.testing.contact_cases import CASES, Poses, model, random_poses
from softsim.testing.contact_checks import pair_contacts


def types(case):
    ((key, _),) = geom_groups(model(case)[0]).items()
    return key.types


# m/s, of speeds around 3 m/s: MJX's nearest point of a segment or edge, which hard contacts keep to
# the last bit, is that of a length^2 that is 1e-6 m^2 longer
SEGMENT = 2e-3
NEAREST = [case for case in CASES if PAIRS[types(case)].nearest]


def test_rim_points_and_clipped_edges_are_not_among_them():
    wandering = {"plane-cylinder", "capsule-box", "box-box", "hfield-box", "cylinder-cylinder"}
    assert not wandering & {case.name for case in NEAREST}


@pytest.mark.parametrize("case", NEAREST, ids=lambda case: case.name)
def test_distance_changes_with_the_velocity_of_the_contact_point(case):
    contacts, _ = pair_contacts(case)
    poses = random_poses(case, 128, apart=(0.5, 1.1))
    move, turn = np.random.default_rng(3).normal(size=(2, 128, 2, 3))

    def speeds(pose, move, turn):
        """Of the distance, and of the points that belong to the two bodies there."""
        turned = jax.vmap(lambda w, mat: jnp.cross(w, mat, axisb=0, axisc=0))(turn, pose.mat)
        moving = Poses(move, turned, jnp.zeros_like(pose.size))
        hit, change = jax.jvp(lambda pose: contacts(Part(), pose), (pose,), (moving,))
        at = lambda i: move[i] + jnp.cross(turn[i], hit.pos - pose.pos[i])
        return hit, change.dist, jnp.sum(hit.frame[:, 0] * (at(1) - at(0)), axis=1)

    hit, change, speed = jax.jit(jax.vmap(speeds))(poses, move, turn)
    there = np.asarray(hit.weight) > 0
    assert there.sum() > 100
    exact = case.first == "plane" or case.name == "sphere-sphere"
    tolerance = 1e-9 if exact else SEGMENT
    np.testing.assert_allclose(change[there], speed[there], rtol=0, atol=tolerance)
