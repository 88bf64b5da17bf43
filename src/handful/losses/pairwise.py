"""Losses of pairs of images that are the same, or different: SDEC's, AutoEmbedder's and ADC's.

Sources: Y. Ren et al., Neurocomputing 2019 (SDEC); A. Q. Ohi et al., Knowledge-Based Systems
2020 (AutoEmbedder); J. Chang et al., ICCV 2017 (deep adaptive clustering: the similarity and
the thresholds of our reconstruction of ADC).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from handful.errors import InputError

__all__ = [
    "autoembedder_loss",
    "pair_similarity",
    "pair_term",
    "pairwise_log_loss",
    "self_pair_loss",
    "thresholds",
]

CLAMP = 1e-6  # of a similarity, and of its distance from 1
_ETA_STEP, _ETA_END = 0.0099, 0.45  # an epoch; where both thresholds meet


def pair_term(
    z_a: Tensor,
    z_b: Tensor,
    sign: Tensor,
    *,
    n: int,
    n_pairs: int,
    margin: float | None = None,
    balance: bool = False,
) -> Tensor:
    """SDEC: ``(2 r / |T|) sum_T a_ik ||z_i - z_k||^2``, r = n_pairs / n, a = +1 or -1.

    ``z_a, z_b (T, m)``, ``sign (T,)``.  With all ``n_pairs`` stated pairs in T this is
    ``(1/n) sum_i sum_k a_ik ||z_i - z_k||^2`` over ordered pairs.  ``margin``: different images
    farther apart give a constant and no gradient; without it the term has no lower bound.
    ``balance``: twice the mean over the same less twice the mean over the different instead.
    """
    d2 = (z_a - z_b).square().sum(dim=1)
    if margin is not None:
        d2 = torch.where(sign < 0, d2.clamp(max=margin**2), d2)
    if balance:
        parts = [s * d2[sign == s].mean() for s in (1, -1) if bool((sign == s).any())]
        return 2 * torch.stack(parts).sum() if parts else d2.sum()
    return 2 * n_pairs / n * (sign * d2).sum() / max(len(d2), 1)


def autoembedder_loss(
    z_a: Tensor,
    z_b: Tensor,
    same: Tensor,
    *,
    alpha: float,
    clip: Literal["cannot", "both"] = "cannot",
) -> Tensor:
    """AutoEmbedder: ``mean (D - t)^2``, ``D = min(||z_a - z_b||_2, alpha)``, t = 0 or alpha.

    ``z_a, z_b (T, m)``, ``same (T,)`` bool: t = 0 for the same, alpha for different images.
    ``clip="both"`` is the published form, in which the same farther apart than alpha have no
    gradient; ``"cannot"`` clips different ones alone.  Two equal rows have the gradient 0.
    """
    if not len(z_a):
        raise InputError("the loss of pairs got none: ask about some pairs, or label two images")
    d = torch.linalg.vector_norm(z_a - z_b, dim=1)
    near = d.clamp(max=alpha)
    if clip == "cannot":
        near = torch.where(same, d, near)
    loss: Tensor = (near - torch.where(same, 0.0, alpha)).square().mean()
    return loss


def pair_similarity(p_a: Tensor, p_b: Tensor) -> Tensor:
    """``s = <p_a, p_b> / (||p_a|| ||p_b||)`` in [1e-6, 1 - 1e-6]: ``(..., c) -> (...)``."""
    return F.cosine_similarity(p_a, p_b, dim=-1, eps=1e-12).clamp(CLAMP, 1 - CLAMP)


def pairwise_log_loss(same: Tensor, different: Tensor) -> Tensor:
    """``mean(-log s)`` over the same plus ``mean(-log(1 - s))`` over different pairs.

    ``same (T1,)`` and ``different (T2,)`` are similarities.  Two means: closure makes many more
    different pairs than same ones, and one mean would hear those alone.  None of a kind: 0.
    """
    loss = same.new_zeros(())
    if len(same):
        loss = loss - same.log().mean()
    if len(different):
        loss = loss - torch.log1p(-different).mean()
    return loss


def thresholds(epoch: int) -> tuple[float, float]:
    """``u = .95 - eta`` and ``l = .455 + .1 eta``, eta = .0099 an epoch until they meet at .5."""
    eta = min(_ETA_STEP * epoch, _ETA_END)
    return 0.95 - eta, 0.455 + 0.1 * eta


def self_pair_loss(s: Tensor, u: float, l: float) -> Tensor:  # noqa: E741 - as it is written
    """Binary cross-entropy of ``s (T,)``: target 1 above u, 0 below l, the rest left out.

    Mean over the pairs that are used; 0 when none is.
    """
    sure = (s > u) | (s < l)
    if not bool(sure.any()):
        return s.sum() * 0
    return F.binary_cross_entropy(s[sure], (s[sure] > u).to(s))
