"""What a task must return, checked once and by name when it is created.

The functions of a task are traced with the shapes of its own model, which compiles nothing. Every
message names the function, what it returned, what was expected and how to get there.
"""

import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from mujoco import mjx

from softsim.model import INPUTS

if TYPE_CHECKING:
    from envs.base import Env

REQUIRED = {
    "load": "load() -> mujoco.MjModel",
    "start": "start(self, key) -> mjx.Data, such as self.blank.replace(qpos=...)",
    "observe": "observe(self, data, info) -> a 1-d array of what the policy sees",
    "reward": "reward(self, before, action, after, info) -> a dict of the reward's terms by name",
}
LISTED = 5  # names in a message; the others are counted


def check_defined(cls: type["Env"], base: type["Env"]) -> None:
    """Refuse a class that leaves out one of the functions that make a task.

    Raises:
        ValueError: names the first that is missing and says what it returns.
    """
    for name, form in REQUIRED.items():
        if getattr(cls, name) is getattr(base, name):
            raise ValueError(f"{cls.__name__} has no `{name}`; define {form}")


def check_loaded(cls: type["Env"], mj_model: Any) -> None:
    """Refuse what is not a compiled model."""
    if not isinstance(mj_model, mujoco.MjModel):
        raise ValueError(
            f"{cls.__name__}.load: returned {_describe(mj_model)}, expected a mujoco.MjModel; "
            "compile the file with mujoco.MjModel.from_xml_path(...), a spec with spec.compile()"
        )


def check_actuators(env: "Env") -> None:
    """Refuse the default `act` where it leaves an actuator still: [-1, 1] scaled to nothing.

    Raises:
        ValueError: names the actuators without a range.
    """
    low, high = np.asarray(env.mj_model.actuator_ctrlrange).T
    still = np.flatnonzero(~(np.isfinite(low) & np.isfinite(high) & (low < high)))
    if still.size:
        names = [env.mj_model.actuator(int(i)).name or f"number {i}" for i in still]
        raise ValueError(
            f"{type(env).__name__}.act: by default it scales [-1, 1] to each actuator's ctrlrange, "
            f"and {_listed('actuator', names)} without one would never move; "
            'give ctrlrange="LOW HIGH" in the MJCF, or define act(self, data, action, info)'
        )


def check_task(env: "Env") -> None:
    """Trace an episode's functions and refuse the first that returns what cannot be used.

    Raises:
        ValueError: names the function, what it returned, what was expected and the remedy.
    """
    size = env.action_size
    if not isinstance(size, int) or size < 0:
        raise ValueError(f"{type(env).__name__}.action_size: is {size!r}, expected a whole number")

    def episode(key: jax.Array) -> None:
        action = jnp.zeros(size)
        data = _data(env, "start", env.start(key))
        info = _info(env, env.task(key))
        before = _data(env, "finish", env.finish(data))
        first = _observation(env, env.observe(before, info))
        after = _data(env, "act", env.act(before, action, info))
        _terms(env, env.reward(before, action, after, info))
        _scalar(env, "margin", env.margin(after), "a scalar, positive until the episode fails")
        _ended(env, env.terminated(after))
        later = _observation(env, env.observe(after, info))
        if later != first:
            raise ValueError(
                f"{type(env).__name__}.observe: returned {later} numbers after a step and {first} "
                "at the start, expected the same number always"
            )

    jax.eval_shape(episode, jax.random.key(0))


def check_draws(env: "Env") -> None:
    """Refuse a randomisation whose values do not fit the leaf they replace.

    Raises:
        ValueError: names the leaf, the shape that was drawn and the one expected.
    """
    for path, draw in env.randomization:
        leaf = operator.attrgetter(path)(env.model)
        got = jax.eval_shape(draw, jax.random.key(0), leaf)
        if getattr(got, "shape", None) != leaf.shape or got.dtype != leaf.dtype:
            raise ValueError(
                f"randomize: the values drawn for {path!r} are {_describe(got)}, expected "
                f"{_describe(leaf)} as in the model"
            )


def _data(env: "Env", function: str, got: Any) -> mjx.Data:
    """Physics with the fields that a step reads as the model has them."""
    where = f"{type(env).__name__}.{function}"
    if not isinstance(got, mjx.Data):
        raise ValueError(
            f"{where}: returned {_describe(got)}, expected an mjx.Data; return "
            f"{'self.blank' if function == 'start' else 'data'}.replace(...) with the new fields"
        )
    for name in INPUTS:
        value, like = getattr(got, name), getattr(env.blank, name)
        if jnp.shape(value) != jnp.shape(like) or jnp.result_type(value) != jnp.result_type(like):
            raise ValueError(
                f"{where}: {name} is {_describe(value)}, expected {_describe(like)} as in the model"
            )
    return got


def _info(env: "Env", got: Any) -> dict[str, Any]:
    """What is drawn for an episode: arrays by name."""
    where = f"{type(env).__name__}.task"
    if not isinstance(got, dict):
        raise ValueError(
            f"{where}: returned {_describe(got)}, expected a dict of arrays by name, such as "
            '{"target": ...}'
        )
    for name, value in got.items():
        bad = [leaf for leaf in jax.tree.leaves(value) if not _is_number(leaf)]
        if bad:
            raise ValueError(f"{where}: {name!r} holds {_describe(bad[0])}, expected arrays")
    return dict(got)


def _observation(env: "Env", got: Any) -> int:
    """The number of entries of an observation."""
    where = f"{type(env).__name__}.observe"
    expected = "expected a 1-d array of floats"
    if not _is_number(got):
        raise ValueError(
            f"{where}: returned {_describe(got)}, {expected}; join the parts by jnp.concatenate"
        )
    if jnp.ndim(got) != 1:
        remedy = "jnp.atleast_1d" if jnp.ndim(got) == 0 else "jnp.ravel"
        raise ValueError(f"{where}: returned {_describe(got)}, {expected}; use {remedy}")
    if not jnp.issubdtype(jnp.result_type(got), jnp.floating):
        raise ValueError(
            f"{where}: returned {_describe(got)}, {expected}; convert it by .astype(float)"
        )
    if not jnp.size(got):
        raise ValueError(f"{where}: returned no numbers, {expected} with at least one")
    return jnp.size(got)


def _terms(env: "Env", got: Any) -> None:
    """The terms of a reward."""
    where = f"{type(env).__name__}.reward"
    if not isinstance(got, dict) or not got:
        raise ValueError(
            f"{where}: returned {_describe(got)}, expected a dict of scalar terms, which are added "
            'up; a single term is {"reward": value}'
        )
    for name, term in got.items():
        if not isinstance(name, str):
            raise ValueError(f"{where}: a term is called {name!r}, expected a string")
        _scalar(env, "reward", term, "a scalar; use jnp.sum or an index", f"term {name!r} is ")


def _scalar(env: "Env", function: str, got: Any, expected: str, subject: str = "returned ") -> None:
    real = _is_number(got) and not jnp.issubdtype(jnp.result_type(got), jnp.complexfloating)
    if not real or jnp.ndim(got):
        where = f"{type(env).__name__}.{function}"
        raise ValueError(f"{where}: {subject}{_describe(got)}, expected {expected}")


def _ended(env: "Env", got: Any) -> None:
    if not _is_number(got) or jnp.ndim(got) or jnp.result_type(got) != jnp.bool_:
        raise ValueError(
            f"{type(env).__name__}.terminated: returned {_describe(got)}, expected a scalar bool; "
            "compare, as in data.qpos[2] < 0.2, and combine by jnp.any, | and &"
        )


def _is_number(x: Any) -> bool:
    return isinstance(x, jax.Array | np.ndarray | np.generic | bool | int | float | complex)


def _describe(x: Any) -> str:
    """A value as it looks from outside: shape and dtype of an array, else the type."""
    if hasattr(x, "shape") and hasattr(x, "dtype"):
        return f"{x.dtype} of shape {x.shape}"
    if isinstance(x, dict) and not x:
        return "an empty dict"
    return "None" if x is None else f"{type(x).__name__}"


def _listed(noun: str, names: Sequence[str]) -> str:
    """ "actuator a" or "actuators a, b, c and 4 more"."""
    shown = ", ".join(repr(name) for name in names[:LISTED])
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{noun}{'s' * (len(names) > 1)} {shown}{more}"
