"""Checks of one pair of shapes: against MJX, finite, gradients, continuity, convergence.

Every check returns plain numbers, so that the tests assert on them and the bench tabulates them.
"""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from mujoco import mjx
from mujoco.mjx import GeomType

from softsim._mjx import geom_groups
from softsim.collision import PAIRS, Hit, collide, shapes
from softsim.collision.batches import batches
from softsim.rotations import quat_exp, quat_to_mat
from softsim.softening import Mode, Part, Softening
from softsim.testing.contact_cases import (
    Case,
    Poses,
    exact_distance,
    mixed_poses,
    model,
    random_poses,
)

Evaluate = Callable[[np.ndarray, Poses, np.ndarray | float], tuple[np.ndarray, Hit, np.ndarray]]


def pair_contacts(case: Case, x64: bool = True) -> tuple[Callable[[Part, Poses], Hit], int]:
    """The pair function of a case for one pose of both geoms, and how many contacts it returns."""
    m, _ = model(case, x64)
    (key,) = geom_groups(m)
    entry = PAIRS[tuple(GeomType(t) for t in key.types)]
    (batch,) = batches(m, [key], [1])
    with jax.enable_x64(x64):
        build = [shapes.builder(m, batch, i) for i in (0, 1)]

    def contacts(part: Part, pose: Poses) -> Hit:
        one, two = (
            make(pose.pos[i], pose.mat[i], pose.size[i], *jax.tree.map(lambda x: x[0], rows))
            for i, (make, rows) in enumerate(build)
        )
        return entry.function(part, one, two)

    return contacts, entry.count(key.subgrid_size)


@cache
def contacts_of(case: Case, mode: Mode) -> Callable[[float, Poses], Hit]:
    """A function of softness and poses: the contacts alone, leaves (n, k, ...), float64."""
    contacts, _ = pair_contacts(case)
    run = jax.jit(jax.vmap(lambda s, pose: contacts(Part(s, mode), pose), in_axes=(None, 0)))
    return lambda softness, poses: jax.tree.map(np.asarray, run(np.float64(softness), poses))


@cache
def evaluator(case: Case, mode: str, x64: bool = True) -> Evaluate:
    """The pair function of a case and the gradient of a fixed random projection of its contacts.

    Returns:
        a function of (shift (n, 18), poses, softness) giving phi (n,), the contacts with leaves
        (n, k, ...), and d phi / d shift (n, 18). A shift moves both geoms: two displacements (m),
        two rotation vectors (rad), two changes of size (m).
    """
    contacts, k = pair_contacts(case, x64)
    rng = np.random.default_rng(1)
    weights = rng.normal(size=k), rng.normal(size=(k, 3)), rng.normal(size=(k, 3, 3))
    weight_w = 0.1 * rng.normal(size=k)

    def phi(shift, pose, softness):
        move, turn, grow = shift.reshape(3, 2, 3)
        moved = Poses(pose.pos + move, jax.vmap(_turn)(turn, pose.mat), pose.size + grow)
        hit = contacts(Part(softness, mode), moved)
        a, b, c = (jnp.asarray(w, shift.dtype) for w in weights)
        each = a * hit.dist + jnp.sum(b * hit.pos, -1) + 0.1 * jnp.sum(c * hit.frame, (-2, -1))
        # a contact that is not there may be anywhere
        value = jnp.sum(hit.weight * (each + jnp.asarray(weight_w, shift.dtype)))
        return value, hit

    run = jax.jit(jax.vmap(jax.value_and_grad(phi, has_aux=True), in_axes=(0, 0, None)))

    def evaluate(shift, poses, softness):
        dtype = np.float64 if x64 else np.float32
        args = jax.tree.map(lambda x: np.asarray(x, dtype), (shift, poses))
        with jax.enable_x64(x64):
            outs = [
                run(*jax.tree.map(lambda x, rows=rows: x[rows], args), dtype(softness))
                for rows in _chunks(len(shift))
            ]
        outs = jax.tree.map(lambda *x: np.concatenate(x)[: len(shift)], *outs)
        (value, hit), slope = outs
        return value, hit, slope

    return evaluate


CHUNK = 256


def _chunks(n: int) -> list[np.ndarray]:
    """Row numbers in chunks of one size, so that one compilation serves any n."""
    rows = np.arange(-(-n // CHUNK) * CHUNK) % n
    return list(rows.reshape(-1, CHUNK))


def _turn(rotation, mat):
    """mat turned by a rotation vector."""
    return quat_to_mat(quat_exp(rotation)) @ mat


@cache
def _compare(case: Case, x64: bool):
    """Both engines' contacts at given poses; MJX's also at poses moved by rounding errors."""
    m, d = model(case, x64)
    eps = np.finfo(np.float64 if x64 else np.float32).eps
    signs = np.random.default_rng(6).choice([-1.0, 0.0, 1.0], (17, 2, 3))
    signs[0] = 0

    def both(poses: Poses):
        here = m.replace(geom_size=poses.size)
        data = d.replace(geom_xpos=poses.pos, geom_xmat=poses.mat)

        def theirs(nudge):
            moved = data.replace(geom_xpos=poses.pos * (1 + 2 * eps * nudge))
            contact = mjx.collision(here, moved)._impl.contact
            return contact.dist, contact.pos, contact.frame

        nudges = jnp.asarray(signs, poses.pos.dtype)
        return collide(here, data, Softening.hard()), jax.vmap(theirs)(nudges)

    return jax.jit(jax.vmap(both))


def check_hard_parity(case: Case, n: int, x64: bool = True, seed: int = 0) -> dict[str, float]:
    """Hard contacts against `mjx.collision`: share of poses within tolerance, largest difference.

    Frames are compared where MJX's is orthonormal (its plane-capsule frame is not always). A pose
    is stable when moving it by a rounding error moves MJX's own answer less than the tolerance;
    largest differences are over the stable poses.
    """
    tol = 1e-10 if x64 else 1e-6
    dtype = np.float64 if x64 else np.float32
    poses = jax.tree.map(lambda x: x.astype(dtype), random_poses(case, n, seed))
    with jax.enable_x64(x64):
        parts = [_compare(case, x64)(poses[rows]) for rows in _chunks(n)]
    ours, theirs = jax.tree.map(lambda *x: np.concatenate(x)[:n], *parts)
    dist, pos, frame = (x[:, 0] for x in theirs)
    active, expected = (ours.dist < 0) & (ours.presence > 0.5), dist < 0
    proper = np.abs(frame @ frame.swapaxes(-1, -2) - np.eye(3)).max(axis=(-1, -2)) < 1e-3

    def differences(a: tuple, b: tuple, where: np.ndarray) -> np.ndarray:
        apart = [np.abs(x - y).reshape(*x.shape[:2], -1).max(axis=-1) for x, y in zip(a, b)]
        apart[2] = apart[2] * proper
        return np.max(np.stack(apart, axis=1) * where[:, None], axis=2)

    stable = np.ones(n, bool)
    for i in range(1, theirs[0].shape[1]):
        nudged = tuple(x[:, i] for x in theirs)
        stable &= (differences((dist, pos, frame), nudged, expected) < tol).all(axis=1)
        stable &= (expected == (nudged[0] < 0)).all(axis=1)
    errors = differences((dist, pos, frame), (ours.dist, ours.pos, ours.frame), active & expected)
    flipped = (active != expected) & (np.abs(np.where(expected, dist, ours.dist)) > tol)
    good = (errors < tol).all(axis=1) & ~flipped.any(axis=1)
    largest = errors[stable].max(axis=0)
    return {
        "good": float(good.mean()),
        "good_of_stable": float(good[stable].mean()),
        "unstable": float(1 - stable.mean()),
        "touching": float(expected.any(axis=1).mean()),
        "median": float(np.median(errors.max(axis=1))),
        "dist": float(largest[0]),
        "pos": float(largest[1]),
        "frame": float(largest[2]),
    }


def check_finite(case: Case, n: int, mode: str, x64: bool = True, softness: float = 0.05) -> float:
    """Share of poses, a third degenerate, where all contacts and gradients are finite."""
    poses = mixed_poses(case, n)
    value, hit, slope = evaluator(case, mode, x64)(np.zeros((n, 18)), poses, softness)
    fine = np.isfinite(value) & np.isfinite(slope).all(axis=1)
    for leaf in jax.tree.leaves(hit):
        fine &= np.isfinite(leaf.reshape(n, -1)).all(axis=1)
    return float(fine.mean())


def check_gradient(case: Case, n: int, mode: str, softness: float = 0.05) -> dict[str, float]:
    """Gradient against central differences along random directions, float64, all poses of a mix.

    Coinciding centres are left out where they have no normal to differentiate. The step is the best
    of four per pose: differences lose digits to curvature or to rounding. The error is relative to
    the larger of the difference and a tenth of the gradient's length.
    """
    poses, rng = mixed_poses(case, n), np.random.default_rng(2)
    together = np.abs(poses.pos[:, 1] - poses.pos[:, 0]).max(axis=1) < 1e-6
    run, zero = evaluator(case, mode), np.zeros((n, 18))
    direction = rng.normal(size=(n, 18)) / np.sqrt(18)
    _, _, slope = run(zero, poses, softness)
    exact = np.sum(slope * direction, axis=1)
    error = np.full(n, np.inf)
    for h in (1e-4, 1e-5, 1e-6, 1e-7):
        up, down = (run(sign * h * direction, poses, softness)[0] for sign in (1, -1))
        wide = (
            run(2 * h * direction, poses, softness)[0] - run(-2 * h * direction, poses, softness)[0]
        )
        difference = (8 * (up - down) - wide) / (12 * h)
        scale = np.maximum(np.abs(difference), 0.1 * np.linalg.norm(slope, axis=1)) + 1e-3
        error = np.minimum(error, np.abs(difference - exact) / scale)
    excluded = together & (case.first not in ("plane", "hfield"))
    return {
        "good": float(np.mean(error[~excluded] < 1e-4)),
        "median": float(np.median(error)),
        "steepest": float(np.linalg.norm(slope, axis=1).max()),
        "median_slope": float(np.median(np.linalg.norm(slope, axis=1))),
    }


def check_continuity(
    case: Case, mode: str, n: int = 1000, sweeps: int = 20, softness: float = 0.05
) -> dict[str, float]:
    """Largest change along random sweeps, ever closer to where it is: halves where smooth.

    Around the largest change of n steps the sweep is sampled finer, `ZOOMS` times in turn. Last,
    the same piece is sampled at half the step: a jump stays (ratio 1), else the change halves.

    Returns:
        of the contacts (weight; dist and pos times weight) and of the gradient: worst ratio over
        the sweeps, share of the sweeps that are smooth (ratio below 0.55), and the steepest change
        found, per unit of the sweep (of about 0.1 m and 1 rad): worst and median over the sweeps.
    """
    ends = random_poses(case, 2 * sweeps, seed=3)[np.arange(sweeps)]
    rng = np.random.default_rng(4)
    direction = rng.normal(size=(sweeps, 18)) * np.repeat([0.05, 0.5, 0.005], 6)
    run = evaluator(case, mode)

    def changes(low: np.ndarray, high: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
        t = np.linspace(low, high, steps + 1, axis=1)
        shift = (t[..., None] * direction[:, None]).reshape(-1, 18)
        _, hit, slope = run(shift, ends[np.repeat(np.arange(sweeps), steps + 1)], softness)
        felt = np.concatenate([hit.dist[..., None], hit.pos], axis=2) * hit.weight[..., None]
        rows = np.concatenate([hit.weight, felt.reshape(len(shift), -1)], axis=1)
        paths = [x.reshape(sweeps, steps + 1, -1) for x in (rows, slope)]
        return t, np.stack([np.linalg.norm(np.diff(p, axis=1), axis=-1) for p in paths])

    result: dict[str, float] = {}
    for i, name in enumerate(("contacts", "gradient")):
        low, high, steps, steepest = -np.ones(sweeps), np.ones(sweeps), n, np.zeros(sweeps)
        for _ in range(ZOOMS + 1):
            t, change = changes(low, high, steps)
            at, every = change[i].argmax(axis=1), np.arange(sweeps)
            steepest = np.maximum(steepest, change[i].max(axis=1) / (t[:, 1] - t[:, 0]))
            coarse = change[i].max(axis=1)
            low, high, steps = (
                t[every, np.maximum(at - 1, 0)],
                t[every, np.minimum(at + 2, steps)],
                48,
            )
        _, fine = changes(t[:, 0], t[:, -1], 96)
        ratio = np.where(coarse > 1e-11, fine[i].max(axis=1) / np.maximum(coarse, 1e-11), 0.5)
        result |= {
            name: float(ratio.max()),
            f"{name}_smooth": float(np.mean(ratio < 0.55)),
            f"{name}_steepest": float(steepest.max()),
            f"{name}_steep_median": float(np.median(steepest)),
        }
    return result


ZOOMS = 4


def check_convergence(case: Case, mode: str, n: int) -> dict[str, float]:
    """How soft contacts settle as softness halves from 0.02 to 0.005, near and in shallow contact.

    Returns:
        order: log2 of the ratio of two successive median changes (2 per halving: order 1).
        to_hard: m, median distance of the last from the hard contacts, dist and pos.
        dist_to_hard, dist_to_hard_90: m, the same for dist alone, median and 90th percentile.
        dist_to_exact, hard_to_exact: m, median error of the soft and the hard dist against
            MuJoCo C, where the shapes overlap by at most 5 mm.
    """
    apart = (1.2, 1.7) if case.first == "hfield" else (0.9, 1.1)  # hills rise above its half height
    poses = random_poses(case, n, seed=5, apart=apart)
    hard = _hard(case, poses)
    soft = [contacts_of(case, mode)(s, poses) for s in (0.02, 0.01, 0.005)]
    changes = [np.median(_apart(soft[i], soft[i + 1])) for i in (0, 1)]
    depth = np.abs(_deepest(soft[-1]) - _deepest(hard))
    exact = exact_distance(case, poses)
    shallow = exact > -0.005
    return {
        "order": float(np.log2(changes[0] / changes[1])) if changes[1] > 1e-12 else np.inf,
        "to_hard": float(np.median(_apart(soft[-1], hard))),
        "dist_to_hard": float(np.median(depth)),
        "dist_to_hard_90": float(np.quantile(depth, 0.9)),
        "dist_to_exact": float(np.median(np.abs(_deepest(soft[-1]) - exact)[shallow])),
        "hard_to_exact": float(np.median(np.abs(_deepest(hard) - exact)[shallow])),
    }


def _hard(case: Case, poses: Poses) -> Hit:
    """The hard contacts, leaves (n, k, ...)."""
    n = len(poses.pos)
    parts = [_compare(case, True)(poses[rows])[0] for rows in _chunks(n)]
    contact = jax.tree.map(lambda *x: np.concatenate(x)[:n], *parts)
    return Hit(contact.dist, contact.pos, contact.frame, contact.presence)


def _deepest(hit: Hit) -> np.ndarray:
    return np.min(np.where(hit.weight > 0.5, hit.dist, np.inf), axis=1)


def _apart(hits: Hit, others: Hit) -> np.ndarray:
    return np.maximum(_farthest(hits, others), _farthest(others, hits))


def _farthest(hits: Hit, others: Hit) -> np.ndarray:
    """How far (dist and pos, m) a present contact is, at worst, from the other set's nearest."""
    rows = [np.concatenate([h.dist[..., None], h.pos], axis=-1) for h in (hits, others)]
    apart = np.abs(rows[0][:, :, None] - rows[1][:, None]).max(axis=-1)
    apart = np.where(others.weight[:, None] > 0.5, apart, 1.0).min(axis=2)
    return np.max(apart * (hits.weight > 0.5), axis=1)
