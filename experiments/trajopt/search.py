"""Searches for a throw from many starts at once: Levenberg-Marquardt, cross-entropy method."""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix
from jaxtyping import Array, Float, PRNGKeyArray

import softsim
from experiments.cross_entropy import make_generation
from experiments.trajopt.settings import HIT, Args
from experiments.trajopt.throw import Throw

# Derivatives by six inputs together take 2.7 times as long as the throw alone (20 throws at once,
# two cores); with the throw itself they are charged as four.
GRADIENT_COST = 4
ELITE = 0.25  # share of a CEM population that forms the next one
PATIENCE = 4  # steps


class Step(NamedTuple):
    """One step of a search from every start at once."""

    x: Float[Array, "starts 6"]
    loss: Float[Array, " starts"]
    miss: Float[Array, " starts"]
    cost: int  # simulated throws per start


def levenberg_marquardt(
    throw: Throw, soft: softsim.Softening, key: PRNGKeyArray, x: Float[Array, "starts 6"]
) -> Iterator[Step]:
    """Levenberg-Marquardt from every start at once, without end; a step is the throw it is at.

    A search that has missed, and has not halved its loss in `PATIENCE` steps, begins anew at a
    random throw, within the same budget.
    """
    solver: Any = optimistix.LevenbergMarquardt(rtol=1e-6, atol=1e-6)
    function = lambda x, _: (_with_jacobian(lambda x: throw.residuals(x, soft), x), None)
    options = {"jac": "fwd"}  # six inputs, nine residuals
    shape = jax.ShapeDtypeStruct((9,), x.dtype)
    begin = lambda x: solver.init(function, x, None, options, shape, None, frozenset())
    state, fixed = eqx.partition(eqx.filter_vmap(begin)(x), eqx.is_array)

    @jax.jit
    @jax.vmap
    def update(x, state):
        state = eqx.combine(state, fixed)
        x, state, _ = solver.step(function, x, None, options, state, frozenset())
        return x, eqx.filter(state, eqx.is_array), *throw.score(state.f_info.residual)

    @jax.jit
    def anew(key, stuck, x, state):
        fresh = jax.random.normal(key, x.shape)
        fresh = fresh, eqx.filter(eqx.filter_vmap(begin)(fresh), eqx.is_array)
        choose = lambda a, b: jax.vmap(jnp.where)(stuck, a, b)
        return jax.tree.map(choose, fresh, (x, state))

    mark = np.full(len(x), np.inf)
    for count in itertools.count(1):
        x, state, loss, miss = update(x, state)
        yield Step(x, loss, miss, GRADIENT_COST)
        if count % PATIENCE == 0:
            stuck = (np.asarray(miss) > HIT) & (np.asarray(loss) > mark / 2)
            mark = np.where(stuck, np.inf, loss)
            key, now = jax.random.split(key)
            x, state = anew(now, stuck, x, state)


def _with_jacobian(function: Callable, x: Float[Array, " n"]) -> Float[Array, " r"]:
    """`function(x)`; a derivative is taken of all inputs side by side, once, as a matrix."""

    @jax.custom_jvp
    def value(x):
        return function(x)

    @value.defjvp
    def tangent(primals, tangents):
        twice = lambda x: (function(x),) * 2
        jacobian, residuals = jax.jacfwd(twice, has_aux=True)(*primals)
        return residuals, jacobian @ tangents[0]

    return value(x)


def cross_entropy(
    throw: Throw, args: Args, key: PRNGKeyArray, x: Float[Array, "starts 6"]
) -> Iterator[Step]:
    """CEM around every start at once, without end; a step is the best throw of a generation."""
    score = lambda x: throw.score(throw.residuals(x, softsim.Softening.hard()))
    generation = make_generation(score, args.population, round(ELITE * args.population))
    spread = jnp.ones_like(x)
    while True:
        key, now = jax.random.split(key)
        x, spread, *best = generation(jax.random.split(now, len(x)), x, spread)
        yield Step(*best, cost=args.population)


def search(throw: Throw, args: Args, method: str, x: Float[Array, "starts 6"]) -> Iterator[Step]:
    """The steps of one method, without end."""
    if method == "cem":
        return cross_entropy(throw, args, jax.random.key(args.seed + 1), x)
    collision = softsim.Softening.soft(args.softness).collision
    softening = {
        "hard": softsim.Softening.hard(),
        "saltation": softsim.Softening.saltation(),
        "straight_through": replace(
            softsim.Softening.straight_through(reach=args.reach), collision=collision
        ),
    }
    return levenberg_marquardt(throw, softening[method], jax.random.key(args.seed + 1), x)
