"""Parameters of a model in a user's terms, in coordinates that no optimiser can leave.

A parameter is named KIND:ELEMENT, such as `friction:cube`, or KIND for the whole world, such as
`gravity`. Its coordinates u are 0 at the start, unbounded, and have natural steps of order one:

    positive    x = x0 exp(u)                                  (u is a relative change)
    fraction    x = sigmoid(logit(x0) + u)                     (between 0 and 1)
    real        x = x0 + scale u
    bounded     x = low + (high - low) sigmoid(u + ...)        (any of these, given bounds)

Inertia stays physical: a body is a mass, a centre, principal axes and, along them, three positive
second moments of mass, whose sums in pairs are the principal moments of inertia. Every such body
exists and every body is one of these (positive definite pseudo-inertia: Wensing, Kim, Slotine,
2018). What the compiler derives from inertia is derived again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

import softsim
from experiments._mjcf import FIELDS, INERTIAL, PER_DOF
from experiments.compare_gradients.inputs import close, find_input, find_name
from softsim.rotations import quat_exp, quat_mul

Coordinates = Float[Array, " P"] | Float[np.ndarray, " P"]
Coordinate = Literal["positive", "fraction", "real"]

# kind: element, leaf, entry, coordinate, unit
LEAVES: dict[str, tuple[str, str, int, Coordinate, str]] = {
    "friction": ("geom", "geom_friction", 0, "positive", ""),
    "torsion": ("geom", "geom_friction", 1, "positive", "m"),
    "rolling": ("geom", "geom_friction", 2, "positive", "m"),
    "timeconst": ("geom", "geom_solref", 0, "positive", "s"),
    "dampratio": ("geom", "geom_solref", 1, "positive", ""),
    "dmin": ("geom", "geom_solimp", 0, "fraction", ""),
    "dmax": ("geom", "geom_solimp", 1, "fraction", ""),
    "width": ("geom", "geom_solimp", 2, "positive", "m"),
    "damping": ("dof", "dof_damping", 0, "positive", "N s/m or N m s"),
    "armature": ("dof", "dof_armature", 0, "positive", "kg or kg m^2"),
    "frictionloss": ("dof", "dof_frictionloss", 0, "positive", "N or N m"),
    "stiffness": ("jnt", "jnt_stiffness", 0, "positive", "N/m or N m/rad"),
    "gain": ("actuator", "actuator_gainprm", 0, "positive", ""),
}
WHOLE = ("mass", "inertia", "moments", "com", "axes", "size", "place", "gravity", "tilt",
         "length_scale")  # fmt: skip
KINDS = (*LEAVES, *WHOLE)
CENTIMETRE, DEGREE = 0.01, np.pi / 180


@dataclass(frozen=True)
class Parameter:
    """One parameter of k numbers.

    Attributes:
        start: (k,), its value at u = 0.
        decode: u (k,) to values (k,).
        relative: values to the coordinate the prior is on: log ratio, logit or scaled difference.
        insert: model and values to model.
        prior: standard deviation of `relative`.
    """

    name: str
    labels: tuple[str, ...]
    unit: str
    start: Float[np.ndarray, " k"]
    decode: Callable[[Array], Array]
    relative: Callable[[Array], Array]
    insert: Callable[[mjx.Model, Array], mjx.Model]
    prior: float


@dataclass(frozen=True)
class Table:
    """All parameters of a fit; u (P,) are their coordinates, one after the other."""

    parameters: tuple[Parameter, ...]

    @property
    def labels(self) -> list[str]:
        return [label for p in self.parameters for label in p.labels]

    @property
    def units(self) -> list[str]:
        return [p.unit for p in self.parameters for _ in p.labels]

    @property
    def size(self) -> int:
        return len(self.labels)

    def split(self, u: Coordinates) -> list[Array]:
        """The coordinates of each parameter."""
        ends = np.cumsum([len(p.labels) for p in self.parameters])[:-1]
        return jnp.split(jnp.asarray(u), ends)

    def values(self, u: Coordinates) -> Float[Array, " P"]:
        """What the coordinates mean."""
        return jnp.concatenate([p.decode(x) for p, x in zip(self.parameters, self.split(u))])

    def prior(self, u: Coordinates) -> Float[Array, " P"]:
        """Distance from the start in standard deviations of the prior."""
        parts = zip(self.parameters, self.split(u))
        return jnp.concatenate([p.relative(p.decode(x)) / p.prior for p, x in parts])

    def insert(self, m: mjx.Model, u: Coordinates) -> mjx.Model:
        """The model with these parameters, and with what the compiler would derive from them."""
        pairs = zip(self.parameters, self.split(u))
        # a mass takes the inertia with it, which may be a parameter of its own
        for p, x in sorted(pairs, key=lambda pair: not pair[0].name.startswith("mass:")):
            m = p.insert(m, p.decode(x))
        return softsim.set_const(m)


def make_table(
    mj_model: mujoco.MjModel,
    names: Sequence[str],
    start: Mapping[str, float],
    bounds: Mapping[str, tuple[float, float]],
    prior: Mapping[str, float],
    default_prior: float,
) -> Table:
    """The parameters that `names` name.

    Args:
        start: values to start from instead of the model's, for parameters of one number.
        bounds: intervals, for every number of a parameter.
        prior: standard deviations around the start: relative for positive parameters, in log odds
            for fractions, in units of 1 cm or 1 degree (or of the value) for real ones.

    Raises:
        ValueError: an unknown name, a name in `start`, `bounds` or `prior` that is not fitted, or a
            start outside its bounds.
    """
    if not names:
        raise ValueError(f"--parameters: got none, expected some of {', '.join(KINDS)}")
    for option, given in (("start", start), ("bounds", bounds), ("prior", prior)):
        for name in given:
            if name not in names:
                raise ValueError(f"--{option} {name}: not among --parameters{close(name, names)}")
    ordered = sorted(dict.fromkeys(names), key=lambda name: name == "length_scale")
    m = softsim.put_model(mj_model)
    return Table(
        tuple(
            _make(
                mj_model, m, name, start.get(name), bounds.get(name), prior.get(name, default_prior)
            )
            for name in ordered
        )
    )


def _make(
    mj_model: mujoco.MjModel,
    m: mjx.Model,
    name: str,
    start: float | None,
    bounds: tuple[float, float] | None,
    prior: float,
) -> Parameter:
    kind, _, element = name.partition(":")
    if kind in LEAVES:
        values, coordinate, scale, unit, insert = _leaf(mj_model, m, name, kind, element)
    elif kind in WHOLE:
        values, coordinate, scale, unit, insert = _whole(mj_model, m, name, kind, element)
    elif "_" in kind or kind in ("opt",):
        values, coordinate, scale, unit, insert = _other(mj_model, m, name)
    else:
        raise ValueError(f"--parameters {name}: no such kind of parameter{close(kind, KINDS)}")
    if not prior > 0:
        raise ValueError(f"--prior {name}: got {prior}, expected a positive standard deviation")
    x0 = np.atleast_1d(np.asarray(values if start is None else start, float))
    if x0.shape != np.shape(np.atleast_1d(values)):
        raise ValueError(f"--start {name}: one number given, the parameter has {np.size(values)}")
    decode, relative = _coordinates(name, coordinate, x0, scale, bounds)
    k = x0.size
    labels = (name,) if k == 1 else tuple(f"{name}[{i}]" for i in range(k))
    return Parameter(name, labels, unit, x0, decode, relative, insert, prior)


def _coordinates(
    name: str,
    kind: Coordinate,
    x0: np.ndarray,
    scale: float,
    bounds: tuple[float, float] | None,
) -> tuple[Callable, Callable]:
    """`decode` and `relative` of a parameter."""
    if kind == "positive" and not (x0 > 0).all():
        raise ValueError(
            f"--parameters {name}: starts at {x0.min():.3g}, expected a positive start; give one "
            f"with --start {name} VALUE"
        )
    if kind == "fraction" and not ((x0 > 0) & (x0 < 1)).all():
        raise ValueError(f"--parameters {name}: starts at {x0}, expected between 0 and 1")
    logit = lambda x: jnp.log(x) - jnp.log1p(-x)
    relative = {
        "positive": lambda x: jnp.log(x / x0),
        "fraction": lambda x: logit(x) - logit(x0),
        "real": lambda x: (x - x0) / scale,
    }[kind]
    if bounds is not None:
        low, high = bounds
        if not (low < x0.min() and x0.max() < high):
            raise ValueError(f"--bounds {name}: {x0} is not inside ({low}, {high})")
        if (kind != "real" and low < 0) or (kind == "fraction" and high > 1):
            ends = "0 and 1" if kind == "fraction" else "0 and infinity"
            raise ValueError(f"--bounds {name}: ({low}, {high}) is not between {ends}")
        offset, width = logit((x0 - low) / (high - low)), high - low
        return lambda u: low + width * jax.nn.sigmoid(offset + u), relative
    decode = {
        "positive": lambda u: x0 * jnp.exp(u),
        "fraction": lambda u: jax.nn.sigmoid(logit(x0) + u),
        "real": lambda u: x0 + scale * u,
    }[kind]
    return decode, relative


Made = tuple[Any, Coordinate, float, str, Callable[[mjx.Model, Array], mjx.Model]]


def _leaf(mj_model: mujoco.MjModel, m: mjx.Model, name: str, kind: str, element: str) -> Made:
    """One entry of a float leaf; a joint's number applies to all its degrees of freedom."""
    owner, leaf, entry, coordinate, unit = LEAVES[kind]
    where = f"--parameters {name}"
    row: Any = find_name(mj_model, "jnt" if owner == "dof" else owner, element, where)
    if owner == "dof":
        first = mj_model.jnt_dofadr[row]
        row = slice(first, first + {0: 6, 1: 3}.get(int(mj_model.jnt_type[row]), 1))
    values = np.asarray(getattr(m, leaf))
    at = (row, entry) if values.ndim == 2 else (row,)
    x0 = np.ravel(values[at])[0]
    if kind in ("timeconst", "dampratio") and x0 <= 0:
        raise ValueError(f"{where}: solref is in its direct form; expected (timeconst, dampratio)")
    if kind == "gain":
        return x0, coordinate, 1.0, unit, _gain(mj_model, row)
    insert = lambda m, x: m.tree_replace({leaf: getattr(m, leaf).at[at].set(x[0])})
    return x0, coordinate, 1.0, unit, insert


def _gain(mj_model: mujoco.MjModel, i: int) -> Callable[[mjx.Model, Array], mjx.Model]:
    """Insertion of a gain; in a servo, whose bias opposes the gain, it is in both.

    A position servo pushes by kp (ctrl - length), a velocity servo by kv (ctrl - velocity).
    """
    gain, bias = mj_model.actuator_gainprm[i, 0], mj_model.actuator_biasprm[i]
    affine = mj_model.actuator_biastype[i] == int(mujoco.mjtBias.mjBIAS_AFFINE)
    servo = [k for k in (1, 2) if affine and gain and bias[k] == -gain][:1]

    def insert(m: mjx.Model, x: Array) -> mjx.Model:
        changes = {"actuator_gainprm": m.actuator_gainprm.at[i, 0].set(x[0])}
        for k in servo:
            changes["actuator_biasprm"] = m.actuator_biasprm.at[i, k].set(-x[0])
        return m.tree_replace(changes)

    return insert


def _other(mj_model: mujoco.MjModel, m: mjx.Model, name: str) -> Made:
    """Any other float leaf, as FIELD:ELEMENT[i]."""
    field = name.partition(":")[0]
    written = (*FIELDS, *INERTIAL, *PER_DOF)
    if field not in written:
        raise ValueError(
            f"--parameters {name}: expected a field that can be written to an MJCF file: "
            + ", ".join(written)
        )
    state = (m, softsim.make_data(m), jnp.zeros(mj_model.nu))
    found = find_input(mj_model, state, name)
    insert = lambda m, x: found.insert((m, state[1], state[2]), x[0])[0]
    return found.value, "real", abs(found.value) or 1.0, "", insert


def _whole(mj_model: mujoco.MjModel, m: mjx.Model, name: str, kind: str, element: str) -> Made:
    """Parameters of several leaves or numbers."""
    where = f"--parameters {name}"
    if kind in ("gravity", "tilt", "length_scale"):
        if element:
            raise ValueError(f"{where}: belongs to the world, expected {kind} alone")
        return _of_world(mj_model, m, kind, where)
    if kind in ("size", "place"):
        return _of_geom(m, kind, find_name(mj_model, "geom", element, where))
    return _of_body(m, kind, find_name(mj_model, "body", element, where))


def _times(leaf: Any, row: int, factor: Array) -> Array:
    """A leaf with one row multiplied."""
    leaf = jnp.asarray(leaf)
    return leaf.at[row].set(leaf[row] * factor)


def _of_geom(m: mjx.Model, kind: str, g: int) -> Made:
    size = m.geom_size[g]
    if kind == "place":
        insert = lambda m, x: m.replace(geom_pos=m.geom_pos.at[g].set(x))
        return np.asarray(m.geom_pos[g]), "real", CENTIMETRE, "m", insert

    def resize(m: mjx.Model, x: Array) -> mjx.Model:
        factor = x[0] / size[0]
        return m.replace(
            geom_size=_times(m.geom_size, g, factor),
            geom_rbound=_times(m.geom_rbound, g, factor),
        )

    return size[0], "positive", 1.0, "m, first size; all scale with it", resize


def _of_body(m: mjx.Model, kind: str, b: int) -> Made:
    principal = m.body_inertia[b]
    second = jnp.sum(principal) / 2 - principal  # of mass, along the principal axes
    if kind == "com":
        insert = lambda m, x: m.replace(body_ipos=m.body_ipos.at[b].set(x))
        return np.asarray(m.body_ipos[b]), "real", CENTIMETRE, "m", insert
    if kind == "axes":
        quat = m.body_iquat[b]
        turn = lambda m, x: m.replace(
            body_iquat=m.body_iquat.at[b].set(quat_mul(quat, quat_exp(x)))
        )
        return np.zeros(3), "real", 10 * DEGREE, "rad", turn
    if kind == "moments":
        insert = lambda m, x: m.replace(body_inertia=m.body_inertia.at[b].set(jnp.sum(x) - x))
        return np.asarray(second), "positive", 1.0, "kg m^2, second moments of mass", insert
    if kind == "inertia":
        shape = principal / principal[0]
        insert = lambda m, x: m.replace(body_inertia=m.body_inertia.at[b].set(shape * x[0]))
        return principal[0], "positive", 1.0, "kg m^2, first moment; all scale with it", insert

    def weigh(m: mjx.Model, x: Array) -> mjx.Model:
        factor = x[0] / m.body_mass[b]
        return m.replace(
            body_mass=m.body_mass.at[b].set(x[0]),
            body_inertia=_times(m.body_inertia, b, factor),
        )

    return m.body_mass[b], "positive", 1.0, "kg, inertia in proportion", weigh


def _of_world(mj_model: mujoco.MjModel, m: mjx.Model, kind: str, where: str) -> Made:
    gravity = np.asarray(m.opt.gravity)
    strength = float(np.linalg.norm(gravity))
    if kind == "length_scale":
        refuse_without_scale(mj_model, where)
        return 1.0, "positive", 1.0, "length in the data per true length", scale_lengths
    if not strength > 0:
        raise ValueError(f"{where}: the model has no gravity")
    if kind == "gravity":
        insert = lambda m, x: m.tree_replace({"opt.gravity": m.opt.gravity * x[0] / strength})
        return strength, "positive", 1.0, "m/s^2", insert
    across = np.linalg.svd(gravity[None])[2][1:]

    def tilt(m: mjx.Model, x: Array) -> mjx.Model:
        down = gravity / strength + x @ across
        size = jnp.sqrt(jnp.sum(jnp.square(m.opt.gravity)))
        return m.tree_replace({"opt.gravity": size * down / jnp.sqrt(jnp.sum(jnp.square(down)))})

    return np.zeros(2), "real", DEGREE, "rad", tilt


def refuse_without_scale(mj_model: mujoco.MjModel, where: str) -> None:
    """A length scale means one thing only where gravity and contact alone make forces."""
    slide = mj_model.jnt_type == int(mujoco.mjtJoint.mjJNT_SLIDE)
    there = {
        "actuators": mj_model.nu, "tendons": mj_model.ntendon, "equalities": mj_model.neq,
        "meshes or height fields": mj_model.nmesh + mj_model.nhfield,
        "springs": np.any(mj_model.jnt_stiffness), "damped joints": np.any(mj_model.dof_damping),
        "joint friction": np.any(mj_model.dof_frictionloss),
        "armature": np.any(mj_model.dof_armature),
        "limits of sliding joints": np.any(mj_model.jnt_limited[slide]),
        "a fluid": mj_model.opt.density or mj_model.opt.viscosity,
        "direct solref": np.any(mj_model.geom_solref <= 0),
    }  # fmt: skip
    found = [name for name, count in there.items() if count]
    if found:
        raise ValueError(f"{where}: not defined for a model with {', '.join(found)}")


def scale_lengths(m: mjx.Model, x: Float[Array, " 1"]) -> mjx.Model:
    """The same world with all lengths multiplied, gravity as well; mass and time stay."""
    s = x[0]
    free = np.flatnonzero(m.jnt_type == int(mujoco.mjtJoint.mjJNT_FREE))
    slide = np.flatnonzero(m.jnt_type == int(mujoco.mjtJoint.mjJNT_SLIDE))
    lengths = (m.jnt_qposadr[free][:, None] + np.arange(3)).ravel()
    at = np.concatenate([lengths, m.jnt_qposadr[slide]]).astype(int)
    linear = ("body_pos", "body_ipos", "geom_pos", "geom_size", "geom_rbound", "geom_margin",
              "geom_gap", "site_pos", "jnt_pos")  # fmt: skip
    scaled: dict[str, Any] = {name: jnp.asarray(getattr(m, name)) * s for name in linear}
    scaled["body_inertia"] = m.body_inertia * s**2
    # the coefficients of torsion and rolling are lengths
    scaled["geom_friction"] = m.geom_friction.at[:, 1:].multiply(s)
    scaled["geom_solimp"] = m.geom_solimp.at[:, 2].set(m.geom_solimp[:, 2] * s)
    scaled["qpos0"] = m.qpos0.at[at].set(m.qpos0[at] * s)
    scaled["opt.gravity"] = m.opt.gravity * s
    return m.tree_replace(scaled)
