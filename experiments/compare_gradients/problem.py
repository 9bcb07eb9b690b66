"""What is compared: a model, its start, the input that is swept, the place that is watched."""

from dataclasses import dataclass

import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float

import softsim
from experiments import cli
from experiments.compare_gradients.inputs import (
    Input,
    State,
    close,
    find_input,
    find_name,
    names_of,
)
from experiments.compare_gradients.settings import Args


@dataclass(frozen=True)
class Problem:
    """A model, its initial state, the input that is swept and the body or site that is watched."""

    mj_model: mujoco.MjModel
    state: State
    input: Input
    place: tuple[str, int]  # body or site, and which
    x: Float[np.ndarray, " points"]


def make_problem(args: Args) -> Problem:
    """Read the model and check every argument against it, before anything is written.

    Raises:
        ValueError: names the argument, its value, and what was expected.
    """
    mj_model = cli.load_model(args.model)
    m = softsim.put_model(mj_model)
    start = _initial(args, mj_model)
    state = (m, softsim.put_data(mj_model, start), _controls(args, start.ctrl))
    place = _place(args, mj_model)
    if not mj_model.nv:
        raise ValueError(f"--model {args.model}: nothing in it can move")
    joints = names_of(mj_model, "jnt")
    if not args.input and not joints:
        raise ValueError("--input: the model names no joint; name another input")
    swept = find_input(mj_model, state, args.input or f"qvel:{joints[0]}")
    return Problem(mj_model, state, swept, place, _grid(args, swept))


def _place(args: Args, mj_model: mujoco.MjModel) -> tuple[str, int]:
    """The body or site that --body names."""
    if not args.body:
        return "body", mj_model.nbody - 1
    where, name = f"--body {args.body}", args.body.removeprefix("site:")
    bodies, sites = names_of(mj_model, "body"), names_of(mj_model, "site")
    if name == args.body and (name in bodies or not sites):
        return "body", find_name(mj_model, "body", name, where)
    if name != args.body or name in sites:
        return "site", find_name(mj_model, "site", name, where)
    raise ValueError(f"{where}: no body or site named {name!r}{close(name, bodies + sites)}")


def _initial(args: Args, mj_model: mujoco.MjModel) -> mujoco.MjData:
    data = mujoco.MjData(mj_model)
    if args.keyframe or mj_model.nkey:
        where = f"--keyframe {args.keyframe}"
        key = find_name(mj_model, "key", args.keyframe, where) if args.keyframe else 0
        mujoco.mj_resetDataKeyframe(mj_model, data, key)
    for name in ("qpos", "qvel", "act", "ctrl"):
        if not np.isfinite(getattr(data, name)).all():
            raise ValueError(f"keyframe {args.keyframe or '0'}: {name} is not finite")
    return data


def _controls(args: Args, default: np.ndarray) -> Float[Array, " nu"]:
    if args.ctrl and len(args.ctrl) != len(default):
        raise ValueError(f"--ctrl: got {len(args.ctrl)} values, the model has {len(default)}")
    return jnp.array(args.ctrl or default, float)


def _grid(args: Args, swept: Input) -> Float[np.ndarray, " points"]:
    """Around the model's value: a state by 1 either way, a parameter by half of itself."""
    absolute = swept.name.startswith(("qpos:", "qvel:", "ctrl:")) or swept.value == 0
    around = 1.0 if absolute else 0.5 * abs(swept.value)
    low = swept.value - around if args.low is None else args.low
    high = swept.value + around if args.high is None else args.high
    if not low < high:
        raise ValueError(f"--low {low} --high {high}: expected low < high")
    return np.linspace(low, high, args.points)
