"""How slowly contact varies: what a body feels while it turns in shallow contact, soft and hard.

The second shape turns through `ANGLE` about a random axis while its centre moves along the line
from the first shape so that the two overlap by about `DEPTH`: exactly so at `KNOTS` poses, on a
cubic spline between them. So the path is smooth, and what is rough is the contact's doing.

Felt is the sum over the contacts of weight times depth times (normal, moment about the centre over
a length), in metres: the wrench of springs of one stiffness at the contacts. A whole step's
acceleration is felt through the solver. Of either path the total variation of the slope says how
ragged it is, the largest change between neighbouring poses how steep. Soft is compared with hard.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation

import softsim
from softsim.collision import Hit
from softsim.softening import Softening
from softsim.testing.contact_cases import Case, Poses, exact_distance, mujoco_model, sizes
from softsim.testing.contact_checks import contacts_of

ANGLE = 60.0  # degrees
DEPTH = 0.005  # m
KNOTS = 13
LENGTH = 0.1  # m, about the shapes' half extents: what moments are divided by
INERTIA = 0.4 * LENGTH**2  # kg m^2, of a ball of 1 kg and this radius


@dataclass(frozen=True)
class Turning:
    """A pair of shapes, and the pose in the middle of its turns.

    Attributes:
        case: the pair.
        middle: how the second shape stands in the middle of a turn, by a rotation vector (rad);
            None: level in every other turn, at random in the rest.
        first_turns: whether the first shape is turned at random, too, where the second is.
    """

    case: Case
    middle: tuple[float, float, float] | None = None
    first_turns: bool = False


LYING = (np.pi / 2, 0.0, 0.0)
TURNINGS = {
    "plane-box": Turning(Case("plane", "box")),
    "plane-cylinder lying": Turning(Case("plane", "cylinder"), LYING),
    "plane-cylinder standing": Turning(Case("plane", "cylinder"), (0.0, 0.0, 0.0)),
    "capsule-box": Turning(Case("capsule", "box"), first_turns=True),
    "box-box": Turning(Case("box", "box"), first_turns=True),
    "box-mesh": Turning(Case("box", "tetrahedron"), first_turns=True),
    "mesh-mesh": Turning(Case("tetrahedron", "prism"), first_turns=True),
    "hfield-box": Turning(Case("hfield", "box")),
}


def turns(turning: Turning, count: int, steps: int, seed: int = 0) -> Iterator[Poses]:
    """The `steps` + 1 poses of each of `count` turns."""
    rng = np.random.default_rng(seed)
    for k in range(count):
        if turning.middle is not None:
            middle = Rotation.from_rotvec(turning.middle)
        else:
            middle = Rotation.random(random_state=rng) if k % 2 else Rotation.identity()
        axis = rng.normal(size=3)
        axis /= np.linalg.norm(axis)
        # a turn does not pass the pose in its middle exactly, nor at a step
        off = Rotation.from_rotvec(0.02 * rng.normal(size=3))
        aside = rng.uniform(-0.03, 0.03, 2)
        first = Rotation.identity()
        if turning.first_turns and k % 2:
            first = Rotation.random(random_state=rng)
        yield _turn(turning.case, first, off * middle, axis, aside, steps)


def _turn(
    case: Case, first: Rotation, middle: Rotation, axis: np.ndarray, aside: np.ndarray, steps: int
) -> Poses:
    half = np.radians(ANGLE) / 2

    def poses(angle: np.ndarray, height: np.ndarray) -> Poses:
        n = len(angle)
        mat = np.broadcast_to(np.eye(3), (n, 2, 3, 3)).copy()
        mat[:, 0] = first.as_matrix()
        mat[:, 1] = (Rotation.from_rotvec(angle[:, None] * axis) * middle).as_matrix()
        pos = np.zeros((n, 2, 3))
        pos[:, 1] = np.column_stack([np.broadcast_to(aside, (n, 2)), height])
        return Poses(pos, mat, np.broadcast_to(sizes(case), (n, 2, 3)).copy())

    knots = np.linspace(-half, half, KNOTS)
    low, high = np.zeros(KNOTS), np.full(KNOTS, 0.5)
    for _ in range(30):
        height = 0.5 * (low + high)
        deep = exact_distance(case, poses(knots, height)) < -DEPTH
        low, high = np.where(deep, height, low), np.where(deep, high, height)
    angle = np.linspace(-half, half, steps + 1)
    return poses(angle, CubicSpline(knots, 0.5 * (low + high))(angle))


def felt(hit: Hit, center: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 6"]:
    """m: force and moment over `LENGTH` of springs of unit stiffness; see the module."""
    depth = hit.weight * np.maximum(-hit.dist, 0.0)
    normal = hit.frame[:, :, 0]
    moment = np.cross(hit.pos - center[:, None], normal) / LENGTH
    return np.sum(depth[..., None] * np.concatenate([normal, moment], axis=2), axis=1)


def accelerations(case: Case, softening: Softening) -> Callable[[Poses], np.ndarray]:
    """A function of poses: the force and moment over `LENGTH` (n, 6) on the second shape, N.

    It is at rest, has 1 kg, the inertia of a ball of its size, and no weight. (A body that hardly
    turns says little: all its contacts then ask for one acceleration, and the deepest takes the
    whole force, soft or hard.) Forces begin gently (solimp[0] is 0): that they begin with a jump by
    default is not a matter of which points touch.
    """
    weightless = copy.copy(mujoco_model(case))
    weightless.opt.gravity[:] = 0.0
    weightless.geom_solimp[:, 0] = 0.0
    weightless.body_inertia[1] = INERTIA
    mujoco.mj_setConst(weightless, mujoco.MjData(weightless))
    m = softsim.put_model(weightless)
    d = softsim.make_data(m)

    def acceleration(qpos: jax.Array) -> jax.Array:
        return softsim.forward(m, d.replace(qpos=qpos), softening).qacc

    run = jax.jit(jax.vmap(acceleration))

    def at(poses: Poses) -> np.ndarray:
        quat = Rotation.from_matrix(poses.mat[:, 1]).as_quat(scalar_first=True)
        found = np.asarray(run(jnp.asarray(np.concatenate([poses.pos[:, 1], quat], axis=1))))
        return found * np.repeat([1.0, INERTIA / LENGTH], 3)

    return at


def roughness(path: Float[np.ndarray, "n k"]) -> tuple[float, float]:
    """Total variation of a path's slope per step, and its steepest step, in the path's unit."""
    steps = np.diff(path, axis=0)
    variation = np.linalg.norm(np.diff(steps, axis=0), axis=1).sum()
    return float(variation), float(np.linalg.norm(steps, axis=1).max())


def ratios(hard: list[np.ndarray], soft: list[np.ndarray]) -> tuple[float, float]:
    """Soft over hard, of all turns: total variation of the slope, and the steepest step."""
    rough = [np.array([roughness(path) for path in paths]) for paths in (soft, hard)]
    variation = rough[0][:, 0].sum() / rough[1][:, 0].sum()
    return float(variation), float(rough[0][:, 1].max() / rough[1][:, 1].max())


def measure(turning: Turning, softness: float, count: int, steps: int) -> dict[str, float]:
    """How rough what a body feels is, soft over hard, by contacts alone and by a whole step."""
    paths = list(turns(turning, count, steps))
    softening = Softening.soft(softness)
    contacts, whole = [], []
    for mode, setting in (("hard", Softening.hard()), ("smooth", softening)):
        run = contacts_of(turning.case, mode)
        contacts.append([felt(run(softness, path), path.pos[:, 1]) for path in paths])
        at = accelerations(turning.case, setting)
        whole.append([at(path) for path in paths])
    names = ("raggedness", "steepest", "acceleration raggedness", "acceleration steepest")
    hard, soft = (1e3 * max(roughness(path)[1] for path in paths) for paths in contacts)
    found = dict(zip(names, (*ratios(*contacts), *ratios(*whole))))
    return found | {"hard steepest, mm": hard, "soft steepest, mm": soft}
