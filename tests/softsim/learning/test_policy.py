"""A policy's file stands alone: what is read acts as what was written, and nothing else is read."""

import pickle
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from softsim import learning

OBS = np.random.default_rng(0).normal(size=(5, 3))


@pytest.fixture(scope="module")
def policy() -> learning.Policy:
    def make(key):
        new = learning.new_policy(3, 2, (4, 5), key=key)
        return learning.Policy(new.actor, new.normalizer.update(jnp.array(OBS)))

    return jax.jit(make)(jax.random.key(0))


def test_what_is_read_acts_as_what_was_written(policy, tmp_path: Path) -> None:
    path = policy.save(str(tmp_path / "deep/er/policy.softsim"))
    assert path == tmp_path / "deep/er/policy.softsim" and [*path.parent.iterdir()] == [path]
    again = learning.load_policy(str(path))
    assert (again.observation_size, again.action_size, again.hidden) == (3, 2, (4, 5))
    for a, b in zip(jax.tree.leaves(policy), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)  # the statistics too, by which one could train on
    batch = jax.jit(again)(OBS.reshape(5, 1, 3))
    assert batch.shape == (5, 1, 2) and (abs(batch) < 1).all()
    np.testing.assert_allclose(again(OBS[1]), batch[1, 0], rtol=1e-12)  # NumPy, one by one
    np.testing.assert_allclose(again(list(OBS[1])), batch[1, 0], rtol=1e-12)


@pytest.mark.parametrize("obs", [np.zeros(4), np.zeros((3, 2)), 1.0, np.zeros(0)])
def test_a_wrong_observation_is_refused(policy, obs) -> None:
    with pytest.raises(ValueError, match=r"obs: got shape .*expected \(\.\.\., 3\).*size 3"):
        policy(obs)


def without(path: Path, name: str) -> None:
    with np.load(path) as file:
        arrays = {k: file[k] for k in file if k != name}
    np.savez(path, **arrays)


def renamed(path: Path) -> None:
    with np.load(path) as file:
        arrays = {k: file[k] for k in file}
    arrays["header"] = np.array(str(arrays["header"]).replace("policy 1", "policy 9"))
    np.savez(path, **arrays)


def reshaped(path: Path) -> None:
    with np.load(path) as file:
        arrays = {k: file[k] for k in file}
    arrays["normalizer.mean"] = np.zeros(7)
    np.savez(path, **arrays)


def pickled(path: Path) -> None:
    np.savez(path, header=np.array({"format": "softsim policy 1"}, dtype=object))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.write_bytes(p.read_bytes()[:200]), "no archive"),
        (lambda p: p.write_bytes(b""), "no archive"),
        (lambda p: p.write_bytes(pickle.dumps({"policy": 1})), "no archive"),
        (lambda p: zipfile.ZipFile(p, "w").close(), "header"),
        (pickled, "allow_pickle=False"),
        (lambda p: without(p, "actor.log_std"), "actor.log_std"),
        (renamed, "its format is 'softsim policy 9', expected 'softsim policy 1'"),
        (reshaped, r"normalizer.mean has shape \(7,\), expected \(3,\)"),
    ],
)
def test_what_is_no_whole_policy_is_refused(policy, damage, message, tmp_path: Path) -> None:
    path = policy.save(tmp_path / "policy.npz")
    damage(path)
    with pytest.raises(ValueError, match=rf"policy.npz: not a whole policy file .*({message})"):
        learning.load_policy(path)


def test_a_missing_file_is_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        learning.load_policy(tmp_path / "none.npz")
