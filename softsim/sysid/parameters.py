"""Parameters of a model in a user's terms, in coordinates that no optimiser can leave.

A parameter is named KIND:ELEMENT, such as `friction:cube`, or KIND for the whole world, such as
`gravity` (see `kinds`). Its coordinates u are 0 at the start, unbounded, and have natural steps of
order one:

    positive    x = x0 exp(u)                                  (u is a relative change)
    signed      the same, for numbers that keep their sign but may be negative
    fraction    x = sigmoid(logit(x0) + u)                     (between 0 and 1)
    real        x = x0 + scale u
    bounded     x = low + (high - low) sigmoid(u + ...)        (any of these, given bounds)
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float
from mujoco import mjx

import softsim
from softsim.sysid.kinds import Coordinate, Insert, describe
from softsim.sysid.settings import Settings

Coordinates = Float[Array, " P"] | Float[np.ndarray, " P"]

DEFAULT = Settings()

# fields from which the compiler derives nothing
PLAIN = {"geom_friction", "geom_solref", "geom_solimp", "geom_margin", "geom_gap", "dof_damping",
         "dof_frictionloss", "jnt_stiffness", "actuator_gainprm", "actuator_biasprm",
         "opt"}  # fmt: skip


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
    insert: Insert
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
    def start(self) -> Float[np.ndarray, " P"]:
        return np.concatenate([p.start for p in self.parameters])

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
        given, pairs = m, zip(self.parameters, self.split(u))
        # a mass takes the inertia with it, which may be a parameter of its own
        for p, x in sorted(pairs, key=lambda pair: not pair[0].name.startswith("mass:")):
            m = p.insert(m, p.decode(x))
        changed = {name for name, old in vars(given).items() if getattr(m, name) is not old}
        return m if changed <= PLAIN else softsim.set_const(m)


def make_table(
    mj_model: mujoco.MjModel, names: Sequence[str], settings: Settings = DEFAULT
) -> Table:
    """The parameters that `names` name, with the start, bounds and prior that the settings give.

    Raises:
        ValueError: an unknown name, a name in `start`, `bounds` or `prior` that is not fitted, or a
            start outside its bounds.
    """
    names = [names] if isinstance(names, str) else names
    for argument in ("start", "bounds", "prior"):
        for name in getattr(settings, argument):
            if name not in names:
                raise ValueError(
                    f"{argument}: got {name!r}, expected one of the parameters, {', '.join(names)}"
                )
    if not len(names):
        raise ValueError("parameters: got none, expected names such as 'mass:BODY'")
    ordered = sorted(dict.fromkeys(names), key=lambda name: name == "length_scale")
    m = softsim.put_model(mj_model)
    return Table(tuple(_make(mj_model, m, name, settings) for name in ordered))


def _make(mj_model: mujoco.MjModel, m: mjx.Model, name: str, settings: Settings) -> Parameter:
    made = describe(mj_model, m, name)
    prior = settings.prior.get(name, settings.default_prior)
    if not prior > 0:
        raise ValueError(f"prior[{name!r}]: got {prior}, expected a positive standard deviation")
    value = np.atleast_1d(np.asarray(made.value, float))
    x0 = np.atleast_1d(np.asarray(settings.start.get(name, value), float))
    if x0.shape != value.shape or not np.isfinite(x0).all():
        raise ValueError(f"start[{name!r}]: got {x0}, expected {value.size} finite numbers")
    decode, relative = _coordinates(
        name, made.coordinate, x0, made.scale, settings.bounds.get(name)
    )
    k = x0.size
    labels = (name,) if k == 1 else tuple(f"{name}[{i}]" for i in range(k))
    return Parameter(name, labels, made.unit, x0, decode, relative, made.insert, prior)


def _coordinates(
    name: str,
    kind: Coordinate,
    x0: np.ndarray,
    scale: float,
    bounds: tuple[float, float] | None,
) -> tuple[Callable, Callable]:
    """`decode` and `relative` of a parameter."""
    if (kind == "positive" and not (x0 > 0).all()) or (kind == "signed" and not x0.all()):
        raise ValueError(
            f"parameters: {name!r} starts at {x0.min():.3g}, expected "
            f"{'another number than 0' if kind == 'signed' else 'a positive start'}; give one with "
            f"start={{{name!r}: VALUE}}"
        )
    if kind == "fraction" and not ((x0 > 0) & (x0 < 1)).all():
        raise ValueError(f"parameters: {name!r} starts at {x0}, expected between 0 and 1")
    logit = lambda x: jnp.log(x) - jnp.log1p(-x)
    ratio = (lambda x: jnp.log(x / x0), lambda u: x0 * jnp.exp(u))
    relative, decode = {
        "positive": ratio,
        "signed": ratio,
        "fraction": (lambda x: logit(x) - logit(x0), lambda u: jax.nn.sigmoid(logit(x0) + u)),
        "real": (lambda x: (x - x0) / scale, lambda u: x0 + scale * u),
    }[kind]
    if bounds is None:
        return decode, relative
    low, high = bounds
    if not (low < x0.min() and x0.max() < high):
        raise ValueError(f"bounds[{name!r}]: {x0} is not inside ({low}, {high})")
    ends = {"positive": (0.0, np.inf), "fraction": (0.0, 1.0)}.get(kind, (-np.inf, np.inf))
    if kind == "signed":
        ends = (0.0, np.inf) if x0.min() > 0 else (-np.inf, 0.0)
    if low < ends[0] or high > ends[1]:
        raise ValueError(
            f"bounds[{name!r}]: ({low}, {high}) is not between {ends[0]:g} and {ends[1]:g}"
        )
    offset, width = logit((x0 - low) / (high - low)), high - low
    return lambda u: low + width * jax.nn.sigmoid(offset + u), relative
