"""Logarithms of a soft index, exact or with a floor."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from softjax_ops._types import SoftIndex


def check_log_probs(return_log_probs: bool, log_prob_eps: Any) -> tuple[bool, ArrayLike | None]:
    """The two arguments, checked: the floor is a scalar in (0, 1] (a bad traced one is NaN)."""
    if log_prob_eps is None:
        return bool(return_log_probs), None
    if not return_log_probs:
        raise ValueError("log_prob_eps needs return_log_probs=True")
    if np.ndim(log_prob_eps) != 0:
        raise ValueError(f"log_prob_eps must be scalar, got shape {np.shape(log_prob_eps)}")
    if isinstance(log_prob_eps, jax.core.Tracer):
        valid = (log_prob_eps > 0) & (log_prob_eps <= 1)
        return True, jnp.where(valid, log_prob_eps, jnp.nan)
    if not 0 < log_prob_eps <= 1:
        raise ValueError(f"log_prob_eps must be in (0, 1], got {log_prob_eps}")
    return True, log_prob_eps


def floor_log(index: SoftIndex, eps: ArrayLike | None) -> SoftIndex:
    """`index` itself, or the log of `index` raised to at least `eps` and normalised again."""
    if eps is None:
        return index
    floored = jnp.maximum(index, jnp.asarray(eps, index.dtype))
    return jnp.log(floored / jnp.sum(floored, axis=-1, keepdims=True))
