"""Trajectories and their derivatives in one sweep: forward mode, step by step.

State and tangents are one larger state, which a single scan carries for a batch of starts.
Differentiating and batching a finished rollout gives the same numbers, but there JAX traces the
step again and again until it knows which of the carried values are concerned.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
from mujoco import mjx

from softsim.softening import Softening
from softsim.step import next_state


class Varied(NamedTuple):
    """A model that depends on n coordinates: its leaves that do, their tangents, and the rest."""

    leaves: list[Array]
    tangents: list[Array]  # n in front
    assemble: Callable[[list[Array]], mjx.Model]


def push(f: Callable, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    """f and its derivatives along several tangents, which are stacked along a first axis."""
    along = lambda *t: jax.jvp(f, primals, t)
    return jax.vmap(along, out_axes=(None, 0))(*tangents)


def vary(
    insert: Callable[[mjx.Model, Array], mjx.Model],
    m: mjx.Model,
    u: Float[Array, " P"],
    du: Float[Array, "n P"],
) -> Varied:
    """The model `insert(m, u)`, and its derivatives along `du`.

    What `insert` hands on as it is does not depend on u; the step then carries no tangents of it.
    """
    given, treedef = jax.tree.flatten(m)
    which: list[int] = []

    def changed(u: Float[Array, " P"]) -> list[Array]:
        leaves = jax.tree.leaves(insert(m, u))
        which[:] = [i for i, (old, new) in enumerate(zip(given, leaves)) if new is not old]
        return [leaves[i] for i in which]

    leaves, tangents = push(changed, (u,), (du,))

    def assemble(leaves: list[Array]) -> mjx.Model:
        whole = list(given)
        for i, leaf in zip(which, leaves):
            whole[i] = leaf
        return jax.tree.unflatten(treedef, whole)

    return Varied(leaves, tangents, assemble)


def sweep(
    model: Varied,
    d: mjx.Data,
    start: tuple[Float[Array, "w nq"], Float[Array, "w nv"]],
    tangents: tuple[Float[Array, "w n nq"], Float[Array, "w n nv"]],
    ctrl: Float[Array, "w T nu"],
    softening: Softening,
) -> tuple[Float[Array, "w T nq"], Float[Array, "w T n nq"]]:
    """Positions after each of T steps from w starts, and their derivatives along n tangents.

    Models with activation states are not supported. The warm start of the solver has no tangent.
    """

    def advance(carry: tuple, ctrl: Float[Array, " nu"]) -> tuple:
        state, tangents, rest = carry

        def step(qpos: Array, qvel: Array, leaves: list[Array]) -> tuple:
            now = d.replace(qpos=qpos, qvel=qvel, ctrl=ctrl, **rest)
            after = next_state(model.assemble(leaves), now, softening)
            return (after.qpos, after.qvel), {name: getattr(after, name) for name in rest}

        along = lambda *t: jax.jvp(step, (*state, model.leaves), t, has_aux=True)
        return jax.vmap(along, out_axes=(None, 0, None))(*tangents, model.tangents)

    def body(carry: tuple, ctrl: Float[Array, "w nu"]) -> tuple:
        carry = jax.vmap(advance)(carry, ctrl)
        return carry, (carry[0][0], carry[1][0])

    count = len(start[0])
    rest = {name: getattr(d, name) for name in ("time", "qacc_warmstart")}
    rest = jax.tree.map(lambda x: jnp.broadcast_to(x, (count, *x.shape)), rest)
    carry = (start, tangents, rest)
    path: tuple[Array, Array] = jax.lax.scan(body, carry, jnp.moveaxis(ctrl, 1, 0))[1]
    return jnp.moveaxis(path[0], 0, 1), jnp.moveaxis(path[1], 0, 1)
