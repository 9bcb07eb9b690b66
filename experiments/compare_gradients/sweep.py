"""The outcome over the swept input, and its derivatives: exact, by differences, of fine steps."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

import softsim
from experiments.compare_gradients.findings import Curve
from experiments.compare_gradients.problem import Problem
from experiments.compare_gradients.settings import Args, Method
from softsim.dynamics import kinematics
from softsim.model import STATE
from softsim.step import next_state

Outcome = Callable[[Float[Array, ""], Int[Array, ""]], Float[Array, ""]]
Sweep = Callable[[Float[np.ndarray, " k"], int], Curve]


def outcome(args: Args, problem: Problem, soft: softsim.Softening) -> Outcome:
    """The final weighted position as a function of the input and of how much finer to step.

    The number of steps is traced, so that fine and coarse simulations are one program.
    """
    kind, index = problem.place

    def run(x: Float[Array, ""], refine: Int[Array, ""]) -> Float[Array, ""]:
        m, d, ctrl = problem.input.insert(problem.state, x)
        m = m.tree_replace({"opt.timestep": m.opt.timestep / refine})

        def advance(_: Array, state: dict[str, Array]) -> dict[str, Array]:
            after = next_state(m, d.replace(**state, ctrl=ctrl), soft)
            return {name: getattr(after, name) for name in STATE}

        state = {name: getattr(d, name) for name in STATE}
        state = jax.lax.fori_loop(0, args.steps * refine, advance, state)
        end = kinematics(m, d.replace(**state))
        return jnp.array(args.weights) @ (end.xpos if kind == "body" else end.site_xpos)[index]

    return run


def softening(args: Args, method: Method) -> softsim.Softening:
    """The settings of a method."""
    match method:
        case "hard":
            return softsim.Softening.hard()
        case "saltation":
            return softsim.Softening.saltation()
        case "soft":
            return softsim.Softening.soft(args.softness, args.reach)
        case "straight_through":
            return softsim.Softening.straight_through(args.softness, args.reach)


def make_sweep(f: Outcome, count: int) -> Sweep:
    """Value and derivative at any number of inputs, in one compiled program for `count` of them.

    One input: forward mode, one direction.
    """
    along = lambda x, refine: jax.jvp(lambda x: f(x, refine), (x,), (jnp.ones_like(x),))
    batch = jax.jit(jax.vmap(along, in_axes=(0, None)))
    program = batch.lower(jnp.zeros(count), jnp.asarray(1)).compile()

    def sweep(x: Float[np.ndarray, " k"], refine: int = 1) -> Curve:
        padded = np.append(x, np.full(-len(x) % count, x[-1])).reshape(-1, count)
        parts = [program(jnp.asarray(part), jnp.asarray(refine)) for part in padded]
        return Curve(*(np.concatenate(found)[: len(x)] for found in zip(*parts)))

    return sweep


def central_differences(
    sweep: Sweep, x: Float[np.ndarray, " points"]
) -> Float[np.ndarray, " points"]:
    """Of the outcome as it is, jumps and all: the step is a millionth of the sweep."""
    step = 1e-6 * (x[-1] - x[0])
    low, high = np.split(sweep(np.concatenate([x - step, x + step]), 1).loss, 2)
    return (high - low) / (2 * step)


def fine_reference(sweep: Sweep, x: Float[np.ndarray, " points"], refine: int) -> Curve:
    """Of the finely stepped outcome; differences span a spacing of the sweep, as chords do."""
    step = (x[1] - x[0]) / 2
    halfway = np.concatenate([x - step, x[-1:] + step])
    loss, between = np.split(sweep(np.concatenate([x, halfway]), refine).loss, [x.size])
    return Curve(loss, np.diff(between) / (2 * step))
