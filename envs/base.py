"""What an environment is: a state, how it starts, how it steps."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar, dataclass_transform

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from mujoco import mjx

import softsim
from envs.contract import (
    check_actuators,
    check_defined,
    check_draws,
    check_loaded,
    check_task,
)
from envs.randomize import Draw, Randomization
from softsim.constants import DERIVED

Self = TypeVar("Self", bound="Env")
Info = dict[str, Any]
STATIC = {"static": True}  # fields that `jit` compiles in
SETTINGS = ("integrator", "cone", "solver")  # fields of mjOption that are enums
GEOM_SETTINGS = ("solref", "solimp", "friction", "margin", "gap")  # how geoms touch


class State(eqx.Module):
    """One environment between two actions; a batch of them has a leading axis on every leaf.

    Attributes:
        data: physics. Fields that follow from the state (poses, contacts) are those of `finish`.
        obs: what the policy sees.
        reward: of the last step.
        done: 1.0 where the episode ended with the last step, else 0.0.
        metrics: the terms of the reward by name; they add up to `reward`.
        info: what the task draws for an episode, such as a target, by name.
        steps: actions taken in this episode.
        truncation: 1.0 where only the time limit ended it (never in episodes of one step, which are
            whole).
        margin: how far it is from failing.
        key: for the next episode.
        model: the randomised leaves of the model, by name.
    """

    data: mjx.Data
    obs: Float[Array, " obs"]
    reward: Float[Array, ""]
    done: Float[Array, ""]
    metrics: dict[str, Float[Array, ""]]
    info: Info
    steps: Int[Array, ""]
    truncation: Float[Array, ""]
    margin: Float[Array, ""]
    key: PRNGKeyArray
    model: dict[str, Array]

    def replace(self, **changes: Any) -> "State":
        """A copy with other values in some fields."""
        return dataclasses.replace(self, **changes)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, eqx.field))
@dataclasses.dataclass(frozen=True, eq=False)
class Env:
    """A task: a MuJoCo model, what the policy sees of it, and a reward. A pytree of pure functions.

    `reset` and `step` work on one environment: `jax.vmap` gives a batch. A subclass says what the
    task is by `load`, `start`, `observe` and `reward`, and where needed `task`, `act`, `finish` and
    `margin`.

    Attributes:
        mj_model: static; the same model for MuJoCo C.
        model: the model; any float leaf may be differentiated or randomised.
        blank: data of the right shapes, at rest.
        softening: of the physics.
        adaptive: integrate with error control instead of by the model's integrator.
        randomization: static; how leaves of the model are drawn, afresh for every episode.
        frame_skip: static; physics steps per action.
        episode_length: static; actions after which an episode is truncated.
        segment: static; physics steps between checkpoints of the reverse pass within one action.
    """

    mj_model: mujoco.MjModel = dataclasses.field(metadata=STATIC)
    model: mjx.Model
    blank: mjx.Data
    softening: softsim.Softening
    adaptive: softsim.Adaptive | None = None
    randomization: Randomization = dataclasses.field(default=(), metadata=STATIC)
    frame_skip: int = dataclasses.field(default=1, metadata=STATIC)
    episode_length: int = dataclasses.field(default=1000, metadata=STATIC)
    segment: int | None = dataclasses.field(default=None, metadata=STATIC)

    def __init_subclass__(cls) -> None:
        """Make every task a frozen dataclass and a pytree.

        Compared by identity, unlike an `eqx.Module`, so that `jax.jit(env.step)` may hash it. A
        static field stays static where a task gives it another default.
        """
        dataclasses.dataclass(frozen=True, eq=False)(cls)
        kinds = [base for base in cls.__mro__ if dataclasses.is_dataclass(base)]
        every = [f for base in kinds for f in dataclasses.fields(base)]
        static = {f.name for f in every if f.metadata.get("static")}
        names = [f.name for f in dataclasses.fields(cls)]
        data = [name for name in names if name not in static]
        jax.tree_util.register_dataclass(cls, data, [name for name in names if name in static])

    @classmethod
    def create(
        cls: type[Self],
        softening: softsim.Softening | None = None,
        *,
        randomize: dict[str, Draw] | None = None,
        options: dict[str, Any] | None = None,
        geoms: dict[str, Any] | None = None,
        touching: Sequence[str] | None = None,
        **fields: Any,
    ) -> Self:
        """Build the environment, and check once what the functions of the task return.

        Args:
            softening: of the physics; default: hard.
            randomize: leaf of the model (such as "body_mass" or "opt.gravity") to a function
                `(key, value) -> value`, drawn at every reset; see `envs.randomize`.
            options: fields of the model's `<option>`, such as `timestep` or
                `integrator="implicitfast"`, in place of those of the file.
            geoms: attributes of every `<geom>`, such as `solref=(0.03, 2.0)`, in place of those of
                the file.
            touching: names of the geoms that keep their contacts, such as the floor and the feet;
                all others touch nothing. Default: all keep them.
            fields: any attribute of the class, such as `frame_skip` or a weight of the reward.

        Raises:
            ValueError: no such field, option, attribute or leaf (lists those there are); or a
                function of the task is missing or returns what cannot be used (names it, what it
                returned, what was expected and the remedy); or the default `act` would not move an
                actuator.
        """
        check_defined(cls, Env)
        fixed = ("mj_model", "model", "blank", "softening", "randomization")
        known = [f.name for f in dataclasses.fields(cls) if f.name not in fixed]
        for name in fields:
            if name not in known:
                raise ValueError(f"{cls.__name__} has no setting {name!r}; it has {known}")
        for name in ("frame_skip", "episode_length"):
            if fields.get(name, 1) < 1:
                raise ValueError(f"{name}: got {fields[name]}, expected at least 1")
        mj_model = cls.load()
        check_loaded(cls, mj_model)
        for name, value in (options or {}).items():
            _set_option(mj_model, name, value)
        for name, value in (geoms or {}).items():
            _set_geoms(mj_model, name, value)
        if touching is not None:
            _leave_touching(mj_model, touching)
        model = softsim.put_model(mj_model)
        env = cls(
            mj_model=mj_model,
            model=model,
            blank=softsim.make_data(model),
            softening=softsim.Softening.hard() if softening is None else softening,
            **fields,
        )
        if cls.act is Env.act:
            check_actuators(env)
        check_task(env)
        return env.with_randomization(randomize or {})

    @staticmethod
    def load() -> mujoco.MjModel:
        """The model, with the contact settings of the task."""
        raise NotImplementedError

    def start(self, key: PRNGKeyArray) -> mjx.Data:
        """The physics at the beginning of an episode."""
        raise NotImplementedError

    def task(self, key: PRNGKeyArray) -> Info:
        """What an episode is about, such as a target; read from `info` by the other functions."""
        return {}

    def act(self, data: mjx.Data, action: Float[Array, " nu"], info: Info) -> mjx.Data:
        """Put an action into the physics; by default it scales [-1, 1] to each `ctrlrange`."""
        low, high = self.model.actuator_ctrlrange.T
        return data.replace(ctrl=(low + high) / 2 + (high - low) / 2 * action)

    def finish(self, data: mjx.Data) -> mjx.Data:
        """Compute what `observe` and `reward` read beside the state; by default nothing."""
        return data

    def observe(self, data: mjx.Data, info: Info) -> Float[Array, " obs"]:
        """What the policy sees."""
        raise NotImplementedError

    def reward(
        self, before: mjx.Data, action: Float[Array, " nu"], after: mjx.Data, info: Info
    ) -> dict[str, Float[Array, ""]]:
        """The terms of the reward, by name."""
        raise NotImplementedError

    def margin(self, data: mjx.Data) -> Float[Array, ""]:
        """How far the episode is from failing: 1 well away from it, by default always."""
        return jnp.ones(())

    def terminated(self, data: mjx.Data) -> Bool[Array, ""]:
        """Whether the episode has failed, and no further reward can come: no margin is left."""
        return ~(self.margin(data) > 0)

    @property
    def dt(self) -> float:
        """Seconds per action."""
        return self.frame_skip * float(self.mj_model.opt.timestep)

    @property
    def action_size(self) -> int:
        """Numbers in an action, each in [-1, 1]."""
        return int(self.mj_model.nu)

    @property
    def observation_size(self) -> int:
        """Numbers in an observation."""
        return jax.eval_shape(lambda key: self.reset(key), jax.random.key(0)).obs.shape[-1]

    def reset(self, key: PRNGKeyArray) -> State:
        """The first state of an episode."""
        following, for_model, for_start, for_task = jax.random.split(key, 4)
        keys = jax.random.split(for_model, max(1, len(self.randomization)))
        leaves = {
            path: draw(key, get_leaf(self.model, path))
            for key, (path, draw) in zip(keys, self.randomization)
        }
        if leaves:  # what the compiler derives follows, such as the softness of contacts
            drawn = softsim.set_const(self._with(leaves).model)
            leaves = {name: getattr(drawn, name) for name in DERIVED} | leaves
        action = jnp.zeros(self.action_size)
        info = self.task(for_task)
        env = self._with(leaves)
        data = env.finish(env.start(for_start))
        terms = jax.eval_shape(lambda d: env.reward(d, action, d, info), data)
        zero = jnp.zeros(())
        return State(
            data=data,
            obs=env.observe(data, info),
            reward=zero,
            done=zero,
            metrics={name: zero for name in terms},
            info=info,
            steps=jnp.zeros((), int),
            truncation=zero,
            margin=env.margin(data),
            key=following,
            model=leaves,
        )

    def step(self, state: State, action: Float[Array, " nu"]) -> State:
        """The state one action, `dt` seconds, later."""
        env = self._with(state.model)
        data = env.act(state.data, action, state.info)
        ctrl = jnp.broadcast_to(data.ctrl, (self.frame_skip, data.ctrl.size))
        data, _ = softsim.rollout(
            env.model, data, ctrl, self.softening, segment=self.segment, adaptive=self.adaptive
        )
        return env.arrive(state, action, data)

    def arrive(self, state: State, action: Float[Array, " nu"], data: mjx.Data) -> State:
        """What comes of `action` in `state` if the physics has moved on to `data`."""
        data = self.finish(data)
        terms = self.reward(state.data, action, data, state.info)
        # one dtype, weak types too, as those of `reset`: else a second step compiles again
        metrics = {k: jnp.asarray(term, data.qpos.dtype) for k, term in terms.items()}
        steps = state.steps + 1
        ended = self.terminated(data)
        # an episode of one action is over by itself: nothing follows that a critic could value
        over = (steps >= self.episode_length) & ~ended
        truncated = over & (self.episode_length > 1)
        return state.replace(
            data=data,
            obs=self.observe(data, state.info),
            reward=jnp.sum(jnp.stack(list(metrics.values()))),
            done=(ended | over).astype(data.qpos.dtype),
            metrics=metrics,
            steps=steps,
            truncation=truncated.astype(data.qpos.dtype),
            margin=self.margin(data),
        )

    def diagnose(self, state: State) -> str:
        """The gradient doctor's report on a step from `state`; what is not finite comes first."""
        model = self.model.tree_replace(state.model)
        report = softsim.check_gradients(model, state.data, self.softening)
        bad = [f"{f.stage} by {f.wrt}" for f in report.findings if f.verdict == "not finite"]
        return f"Not finite: {', '.join(bad) or 'no stage of the physics'}.\n\n{report}"

    def with_softening(self: Self, softening: softsim.Softening) -> Self:
        """The same environment with another softening."""
        return dataclasses.replace(self, softening=softening)

    def with_randomization(self: Self, randomize: dict[str, Draw]) -> Self:
        """The same environment with these leaves of its model drawn for every episode.

        Raises:
            ValueError: no such leaf (lists those there are), or what is drawn does not fit it.
        """
        for path in randomize:
            _check_leaf(self.model, path)
        env = dataclasses.replace(self, randomization=tuple(randomize.items()))
        check_draws(env)
        return env

    def _with(self: Self, leaves: dict[str, Array]) -> Self:
        """The same environment with some leaves of its model replaced."""
        if not leaves:
            return self
        return dataclasses.replace(self, model=self.model.tree_replace(leaves))


def reset_where_done(env: Env, state: State) -> State:
    """Begin a new episode where the last has ended.

    `reward`, `done`, `truncation` and `metrics` stay those of the last. The observation
    becomes that of the new episode; take the last one from `state` before.
    """
    fresh = env.reset(state.key)
    kept = ("reward", "done", "metrics", "truncation")
    fresh = fresh.replace(**{name: getattr(state, name) for name in kept})
    return jax.tree.map(lambda new, old: jnp.where(state.done > 0, new, old), fresh, state)


def get_leaf(model: mjx.Model, path: str) -> Array:
    """A leaf of the model by its dotted name."""
    for name in path.split("."):
        model = getattr(model, name)
    return model


def _check_leaf(model: mjx.Model, path: str) -> None:
    """Refuse to randomise what is not a float leaf of the model."""
    try:
        leaf = get_leaf(model, path)
    except AttributeError:
        leaf = None
    if not isinstance(leaf, jax.Array) or not jnp.issubdtype(leaf.dtype, jnp.floating):
        floats = [f for f, x in vars(model).items() if isinstance(x, jax.Array) and x.size]
        raise ValueError(f"randomize: {path!r} is no float leaf of the model; it has {floats}")


def _set_option(mj_model: mujoco.MjModel, name: str, value: Any) -> None:
    """Set one field of `mj_model.opt`; enums by their name in MJCF."""
    known = [field for field in dir(mj_model.opt) if not field.startswith("_")]
    if name not in known:
        raise ValueError(f"options: no option {name!r}; there is {known}")
    if name in SETTINGS and isinstance(value, str):
        enum = getattr(mujoco, f"mjt{name.capitalize()}")
        prefix = {"integrator": "mjINT_", "cone": "mjCONE_", "solver": "mjSOL_"}[name]
        names = [member.removeprefix(prefix).lower() for member in enum.__members__]
        if value.lower() not in names:
            raise ValueError(f"options: {name} {value!r}, expected one of {names}")
        value = getattr(enum, prefix + value.upper())
    setattr(mj_model.opt, name, np.asarray(value) if np.ndim(value) else value)


def _leave_touching(mj_model: mujoco.MjModel, names: Sequence[str]) -> None:
    """Take the contacts of all other geoms away."""
    known = [mj_model.geom(i).name for i in range(mj_model.ngeom)]
    for name in names:
        if name not in known:
            raise ValueError(f"touching: no geom {name!r}; there is {known}")
    others = [i for i, name in enumerate(known) if name not in names]
    mj_model.geom_contype[others] = mj_model.geom_conaffinity[others] = 0


def _set_geoms(mj_model: mujoco.MjModel, name: str, value: Any) -> None:
    """Set one number or row of numbers of every geom."""
    if name not in GEOM_SETTINGS:
        raise ValueError(f"geoms: no attribute {name!r}; there is {list(GEOM_SETTINGS)}")
    rows = getattr(mj_model, f"geom_{name}")
    if np.shape(value) != rows.shape[1:]:
        raise ValueError(f"geoms: {name} {value!r}, expected shape {rows.shape[1:]}")
    rows[:] = value
