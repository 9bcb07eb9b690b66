"""Normal equations in the shape of an arrow, and the noise that their residuals tell.

Windows meet in the parameters u alone: eliminating the initial state z_w of every window leaves
P equations in u (multiple shooting: Bock, 1983).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

ROUNDING = 1e-12  # of the largest information: less is none


class Blocks(NamedTuple):
    """What least squares needs of each of w windows, of W samples and K state offsets."""

    samples: Float[np.ndarray, "w W"]  # |r_wk|^2
    variance: Float[np.ndarray, "w W"]  # v_wk
    offset: Float[np.ndarray, " w"]  # |z_w|^2
    square: Float[np.ndarray, " w"]  # weighted squares of the residuals, z_w among them
    residuals: Float[np.ndarray, " w"]  # their number, those of z_w not among them
    gu: Float[np.ndarray, "w P"]  # gradient of the cost
    gz: Float[np.ndarray, "w K"]
    uu: Float[np.ndarray, "w P P"]  # J_u' W J_u, W the weights rho'
    uz: Float[np.ndarray, "w P K"]
    zz: Float[np.ndarray, "w K K"]


class Reduced(NamedTuple):
    """The normal equations in u alone, and how z follows from them."""

    H: Float[np.ndarray, "P P"]
    g: Float[np.ndarray, " P"]
    scores: Float[np.ndarray, "w P"]  # their sum is g
    back_g: Float[np.ndarray, "w K"]
    back_u: Float[np.ndarray, "w K P"]


def reduce(blocks: Blocks, damping: float) -> Reduced:
    """Eliminate the initial states; damped as Levenberg and Marquardt do."""
    diagonal = np.einsum("wkk->wk", blocks.zz)
    zz = blocks.zz + damping * diagonal[:, :, None] * np.eye(blocks.gz.shape[1])
    back_g = np.linalg.solve(zz, blocks.gz[..., None])[..., 0]
    back_u = np.linalg.solve(zz, blocks.uz.swapaxes(1, 2))
    scores = blocks.gu - np.einsum("wpk,wk->wp", blocks.uz, back_g)
    H = np.sum(blocks.uu - blocks.uz @ back_u, axis=0)
    return Reduced(H, scores.sum(axis=0), scores, back_g, back_u)


def noise_variance(blocks: Blocks, P: int) -> float:
    """Variance of white noise in the data, in variances of the assumed one, left by P parameters.

    At least what rounding leaves of the strongest information, so that the prior still decides
    where the data say nothing.
    """
    freedom = max(float(np.sum(blocks.residuals)) - P, 1.0)
    rounding = ROUNDING * float(np.linalg.eigvalsh(np.sum(blocks.uu, axis=0))[-1])
    return max(float(np.sum(blocks.square)) / freedom, rounding, np.finfo(float).tiny)


def prior_variance(blocks: Blocks, recording: Int[np.ndarray, " w"]) -> float:
    """s^2, against which the prior is weighed: of white noise, or of what recordings disagree on.

    Where the model is not quite right, errors go together within a recording, and counting every
    sample as new information would silence the prior. The gradients of n recordings then vary by
    B instead of s^2 H, and tr(H^-1 B) / P is the s^2 for which they agree on average (the magnitude
    adjustment of Pauli, Racugno, Ventura: Bayesian composite marginal likelihoods, 2011).
    """
    reduced = reduce(blocks, 0.0)
    P = len(reduced.H)
    white = noise_variance(blocks, P)
    n = len(np.unique(recording))
    if n < 2:
        return white
    B = between(reduced.scores, recording) * n / (n - 1)
    strength, axes = np.linalg.eigh(reduced.H)
    seen = strength > ROUNDING * strength[-1]
    ratios = np.diag(axes.T @ B @ axes)[seen] / strength[seen]
    return max(white, float(np.mean(ratios)) if ratios.size else 0.0)


def between(
    scores: Float[np.ndarray, "w P"], recording: Int[np.ndarray, " w"]
) -> Float[np.ndarray, "P P"]:
    """Sum of squares of the recordings' gradients about their mean."""
    groups = [scores[recording == i].sum(axis=0) for i in np.unique(recording)]
    apart = np.stack(groups) - np.mean(groups, axis=0)
    return apart.T @ apart
