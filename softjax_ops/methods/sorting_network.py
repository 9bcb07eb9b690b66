"""Soft bitonic sorting network (Petersen et al., arXiv 2105.04019).

Each comparator replaces a pair by two soft averages of itself, softly ordered; log2(n)
(log2(n) + 1) / 2 layers sort the row. Values ride along with the scores. A layer is a sparse
doubly stochastic matrix, so rows of the permutation are vectors sent backwards through the layers:
O(k n log^2 n) for k rows, and ranks are the positions 1 .. n sent backwards. Rows do not meet, and
the padding to a power of two stands out of reach below the data.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from softjax_ops.kernels import step
from softjax_ops.methods.softsort import slots
from softjax_ops.projections import normalize
from softjax_ops.standardize import Rows
from softjax_ops.windows import take_at


def _layers(length: int) -> tuple[Int[Array, "l n"], Bool[Array, "l n"]]:
    """Of each layer and position: the partner, and whether the position takes the larger one."""
    i = np.arange(length)
    blocks = [2**b for b in range(1, length.bit_length())]
    pairs = [(block, block >> s) for block in blocks for s in range(1, block.bit_length())]
    partner = np.array([i ^ stride for _, stride in pairs], int).reshape(-1, length)
    larger = np.array([((i & s) == 0) == ((i & b) == 0) for b, s in pairs], bool)
    return jnp.asarray(partner), jnp.asarray(larger.reshape(-1, length))


def _padded(rows: Rows) -> tuple[Array, Array]:
    """Scores and values up to a power of two; the padding is as far below as a masked entry."""
    n = rows.z.shape[-1]
    extra = 2 ** (n - 1).bit_length() - n
    pad = [(0, 0)] * (rows.z.ndim - 1) + [(0, extra)]
    real = jnp.arange(n + extra) < n
    return jnp.where(real, jnp.pad(rows.z, pad), rows.far()), jnp.pad(rows.x, pad)


def _weights(z: Array, softness: Array, mode: str, layer) -> Array:
    """How much of itself each position keeps; the rest comes from its partner."""
    partner, larger = layer
    difference = z - jnp.take(z, partner, axis=-1)
    return step(jnp.where(larger, difference, -difference), softness, mode)


def _exchange(a: Array, keep: Array, partner: Array) -> Array:
    other = jnp.take(a, partner, axis=-1)
    return other + keep * (a - other)


def _forward(rows: Rows, mode: str):
    """Sorted values, descending, and the weights of every layer."""
    z, x = _padded(rows)
    layers = _layers(z.shape[-1])

    def run(carry, layer):
        z, x = carry
        keep = _weights(z, rows.softness, mode, layer)
        return (_exchange(z, keep, layer[0]), _exchange(x, keep, layer[0])), keep

    (_, x), keep = jax.lax.scan(run, (z, x), layers)
    return x, keep, layers[0]


def _backward(vectors: Float[Array, "... k n"], keep: Array, partners: Array) -> Array:
    """vectors @ P, P the product of the layers."""

    def run(rows, layer):
        keep, partner = layer
        give = (1 - jnp.take(keep, partner, axis=-1))[..., None, :]
        return keep[..., None, :] * rows + give * jnp.take(rows, partner, axis=-1), None

    shape = (*keep.shape[1:-1], *vectors.shape[-2:])
    return jax.lax.scan(run, jnp.broadcast_to(vectors, shape), (keep, partners), reverse=True)[0]


def index(
    rows: Rows, mode: str, first: int | Int[Array, "... 1"], count: int, log: bool = False
) -> Float[Array, "... count n"]:
    """Rows first .. first + count - 1 of the soft permutation."""
    n = rows.z.shape[-1]
    _, keep, partners = _forward(rows, mode)
    chosen = jax.nn.one_hot(slots(first, count, n), keep.shape[-1], dtype=rows.z.dtype)
    return normalize(_backward(chosen, keep, partners)[..., :n], log)


def values(
    rows: Rows, mode: str, first: int | Int[Array, "... 1"], count: int
) -> Float[Array, "... count"]:
    """The soft values at the slots."""
    found = _forward(rows, mode)[0]
    places = slots(first, count, rows.z.shape[-1])
    return take_at(found, jnp.broadcast_to(places, (*found.shape[:-1], count)))


def rank(rows: Rows, mode: str) -> Float[Array, "... n"]:
    """Soft ranks, 1 for the largest."""
    _, keep, partners = _forward(rows, mode)
    places = jnp.arange(1, keep.shape[-1] + 1, dtype=rows.z.dtype)[None]
    return _backward(places, keep, partners)[..., 0, : rows.z.shape[-1]]
