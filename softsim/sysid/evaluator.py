"""How well a model predicts all windows: one compiled program, with the contacts it needs."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

import softsim
from softsim.encounters import Bodies
from softsim.sysid.arrow import Blocks
from softsim.sysid.problem import Problem
from softsim.sysid.tracks import Windows

CHUNK = 128  # windows per call at most; the last call is filled up with copies


class Evaluator:
    """`Problem.blocks` of any number of windows, in calls of one compiled program.

    Args:
        problem: the model and how its predictions are compared.
        bodies: pairs of bodies between which there are contacts; a model of many geoms that hardly
            touch compiles and runs in a fraction of the time without the others.
    """

    def __init__(self, problem: Problem, bodies: Bodies = frozenset()) -> None:
        self.bodies = bodies
        m = softsim.keep_contacts(problem.model, bodies)
        # settings are arguments, so that other settings are not another program
        self._settings = {
            name: getattr(problem, name) for name in ("noise", "state_noise", "robust", "spread")
        }
        near = replace(problem, model=m, data=softsim.make_data(m))
        self._program = jax.jit(lambda settings, *x: replace(near, **settings).blocks(*x))
        self._compiled: set[int] = set()

    def __call__(self, u: np.ndarray, z: np.ndarray, windows: Windows) -> Blocks:
        """The errors and their derivatives, one call per core."""
        # a batch of small steps keeps one core of a CPU busy
        cores = (os.cpu_count() or 1) if jax.default_backend() == "cpu" else 1
        n = len(z)
        size = min(CHUNK, -(-n // cores))
        double = bool(jax.config.read("jax_enable_x64"))  # a thread does not inherit it

        def call(first: int) -> tuple[np.ndarray, ...]:
            index = np.minimum(np.arange(first, first + size), n - 1)
            some = Windows(*(np.asarray(x)[index] for x in windows))
            with jax.enable_x64(double):
                out: tuple[Array, ...] = self._program(
                    self._settings, jnp.asarray(u), jnp.asarray(z[index]), some
                )
                return tuple(map(np.asarray, out))

        first, *others = range(0, n, size)
        if size not in self._compiled:  # alone: two threads would compile the same program
            self._compiled.add(size)
            parts = [call(first)]
        else:
            parts, others = [], [first, *others]
        with ThreadPoolExecutor(cores) as pool:  # JAX runs the calls of one thread one by one
            parts += pool.map(call, others)
        return Blocks(*(np.concatenate(x)[:n] for x in zip(*parts)))
