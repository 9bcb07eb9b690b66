"""Gradients in bundles: the slope of an outcome averaged over random perturbations of its inputs.

Where an outcome jumps (which face a die lands on) no derivative at a point knows of the jump, and
no softening of shapes brings it back. The average over x + sigma e, e standard normal, is smooth:

    g = d/dx E[f(x + sigma e)] = E[f'(x + sigma e)]            (first order, where f is continuous)
                               = E[e (f(x + sigma e) - f(x - sigma e))] / (2 sigma)   (zeroth order)

(Suh, Simchowitz, Zhang and Tedrake, "Do differentiable simulators give better policy gradients?",
ICML 2022; Pang, Suh, Yang and Tedrake, "Global planning for contact-rich manipulation via local
smoothing of quasi-dynamic contact models", IEEE T-RO 2023.) The first has little variance where f
is smooth and is wrong where f jumps; the second has more variance and is right everywhere.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

Estimator = Literal["first", "zeroth", "mixed"]
TRUST = 2.0
"""Standard errors of the zeroth order by which the mixture may lie away from it."""


class Bundle(NamedTuple):
    """What a bundle of samples says.

    Attributes:
        value: mean of f over the perturbations.
        gradient: of that mean, like x.
        error: standard error of `gradient`, like x.
        first: the weight of the first order in it, in [0, 1].
    """

    value: Float[Array, ""]
    gradient: PyTree
    error: PyTree
    first: Float[Array, ""]


def bundle(
    f: Callable[..., Float[Array, ""]],
    sigma: PyTree,
    samples: int,
    estimator: Estimator = "mixed",
) -> Callable[..., Bundle]:
    """(x, key, *args) -> value and gradient of E[f(x + sigma e, *args)] by x, with standard error.

    >>> import jax, jax.numpy as jnp, softsim
    >>> lands = lambda x: jnp.where(x > 0, 1.0, 0.0)  # its derivative is 0 everywhere
    >>> found = softsim.bundle(lands, sigma=0.5, samples=4000)(0.1, jax.random.key(0))
    >>> exact = jnp.exp(-0.5 * (0.1 / 0.5) ** 2) / jnp.sqrt(2 * jnp.pi) / 0.5
    >>> bool(jnp.abs(found.gradient - exact) < 4 * found.error)
    True

    "first" averages derivatives, "zeroth" differences of values, and "mixed" weighs the two by
    their inverse variances, in units of sigma. Derivatives that do not see a jump have no variance
    and would get all the weight, so the mixture stays within two standard errors of the zeroth
    order. Perturbations come in pairs of either sign. jit and vmap as you like.

    Args:
        f: (x, *args) -> a scalar, x any pytree of floats. The perturbed x is used as it is: give
            rotations as rotation vectors, not as quaternions.
        sigma: standard deviation of the perturbations, in the units of x; a number, or like x.
        samples: evaluations of f, an even number of at least 4.
        estimator: "first", "zeroth" or "mixed".

    Raises:
        ValueError: `samples` is odd or below 4, or there is no such estimator.
    """
    if samples < 4 or samples % 2:
        raise ValueError(f"samples: got {samples}, expected an even number of at least 4")
    if estimator not in get_args(Estimator):
        raise ValueError(
            f"estimator: got {estimator!r}, expected one of {', '.join(get_args(Estimator))}"
        )

    def estimate(x: PyTree, key: PRNGKeyArray, *args: Any) -> Bundle:
        x = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf, 0.0)), x)
        width = _like(sigma, x)
        noise = _normal(key, x, samples // 2)
        drawn = jax.tree.map(lambda e: jnp.concatenate([e, -e]), noise)
        at = jax.tree.map(lambda x, s, e: x + s * e, x, width, drawn)
        halves = lambda v: (v[: samples // 2], v[samples // 2 :])
        if estimator == "zeroth":
            values = jax.vmap(lambda x: f(x, *args))(at)
        else:
            values, slopes = jax.vmap(jax.value_and_grad(lambda x: f(x, *args)))(at)
            first = jax.tree.map(lambda g: sum(halves(g)) / 2, slopes)
        plus, minus = halves(values)
        rise = (plus - minus) / 2
        zeroth = jax.tree.map(lambda e, s: (rise * e.T).T / s, noise, width)
        if estimator == "zeroth":
            return Bundle(jnp.mean(values), *_mean(zeroth), jnp.zeros_like(rise[0]))
        if estimator == "first":
            return Bundle(jnp.mean(values), *_mean(first), jnp.ones_like(rise[0]))
        share = _share(first, zeroth, width)
        mixed = jax.tree.map(lambda a, b: share * a + (1 - share) * b, first, zeroth)
        return Bundle(jnp.mean(values), *_mean(mixed), share)

    return estimate


def _share(first: PyTree, zeroth: PyTree, width: PyTree) -> Float[Array, ""]:
    """The weight of the first order: by inverse variances, within `TRUST` of the zeroth order."""

    def square(tree: PyTree) -> Float[Array, ""]:
        """Sum of squares, in units of sigma."""
        squares = jax.tree.map(lambda v, s: jnp.sum((v * s) ** 2), tree, width)
        return jnp.sum(jnp.stack(jax.tree.leaves(squares)))

    (mean1, error1), (mean0, error0) = _mean(first), _mean(zeroth)
    variance1, variance0 = square(error1), square(error0)
    total = variance0 + variance1
    share = jnp.where(total > 0, variance0 / jnp.where(total > 0, total, 1.0), 1.0)
    apart = jnp.sqrt(square(jax.tree.map(jnp.subtract, mean1, mean0)))
    allowed = TRUST * jnp.sqrt(variance0)
    return jnp.minimum(share, jnp.where(apart > allowed, allowed / apart, 1.0))


def _mean(each: PyTree) -> tuple[PyTree, PyTree]:
    """Mean over the first axis and its standard error."""
    count = jax.tree.leaves(each)[0].shape[0]
    mean = jax.tree.map(lambda v: jnp.mean(v, axis=0), each)
    return mean, jax.tree.map(lambda v: jnp.std(v, axis=0, ddof=1) / jnp.sqrt(count), each)


def _like(sigma: PyTree, x: PyTree) -> PyTree:
    """`sigma` for every leaf of x."""
    alike = str(jax.tree.structure(sigma)) == str(jax.tree.structure(x))
    return sigma if alike else jax.tree.map(lambda _: sigma, x)


def _normal(key: PRNGKeyArray, x: PyTree, count: int) -> PyTree:
    """Standard normal numbers, `count` of each leaf."""
    leaves, structure = jax.tree.flatten(x)
    keys = jax.random.split(key, len(leaves))
    drawn = [jax.random.normal(k, (count, *v.shape), v.dtype) for k, v in zip(keys, leaves)]
    return jax.tree.unflatten(structure, drawn)
