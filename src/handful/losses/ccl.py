"""The clustering contrastive loss (CCL): every reading of the paper's Eq. 7, and one of ours.

Source: H. Roda, A. B. Geva, "Semi-supervised active learning using convolutional
auto-encoder and contrastive learning", Frontiers in AI 7:1398844, 2024.  With
``s_ij = sim(z_i, mu_j) / tau``, ``c = y_i`` and ``B`` the labelled batch::

    literal    l_i = -s_ic + log sum_{k in B, y_k != c} exp(s_kc)
    inclusive  l_i = -s_ic + log( exp(s_ic) + sum_{k in B, y_k != c} exp(s_kc) )
    centroids  l_i = -s_ic + log sum_j exp(s_ij)
    student    l_i = -log q_ic                        (ours: no tau, no similarity)

``literal`` is printed; its denominator lacks the positive pair, so it has no lower bound
and in training it diverges.  ``inclusive`` adds the pair.  ``centroids`` normalises over
the centroids, which is what the paper's text describes.  ``student`` makes training,
prediction and query use one and the same distribution.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from handful.losses.dec import squared_distances, student_log_assignment

__all__ = ["Form", "Similarity", "ccl_loss", "ccl_terms", "similarity"]

Form: TypeAlias = Literal["centroids", "inclusive", "literal", "student"]
Similarity: TypeAlias = Literal["neg_sq", "cosine", "dot"]


def similarity(z: Tensor, centroids: Tensor, kind: Similarity) -> Tensor:
    """``dot`` z . mu; ``cosine``; ``neg_sq`` -||z - mu||^2: ``(n, d), (K, d) -> (n, K)``."""
    if kind == "neg_sq":
        return -squared_distances(z, centroids)
    if kind == "cosine":
        z, centroids = F.normalize(z, eps=1e-12), F.normalize(centroids, eps=1e-12)
    return z @ centroids.T


def ccl_terms(
    z: Tensor,
    y: Tensor,
    centroids: Tensor,
    *,
    form: Form = "centroids",
    sim: Similarity = "neg_sq",
    tau: float = 1.0,
    alpha: float = 1.0,
) -> Tensor:
    """The terms ``l_i`` that count: ``(b, d), (b,), (K, d) -> (m,)`` with ``m <= b``.

    ``y_i`` is the index of the centroid that belongs to the class of ``i``.  A sample of
    ``literal`` without an other-class sample in the batch has no term and is left out.
    """
    if form == "student":
        log_q = student_log_assignment(z, centroids, alpha)
        return -log_q.gather(1, y[:, None]).squeeze(1)
    s = similarity(z, centroids, sim) / tau
    positive = s.gather(1, y[:, None]).squeeze(1)
    if form == "centroids":
        return torch.logsumexp(s, dim=1) - positive
    others = y[:, None] != y[None, :]  # (i, k): k is a negative of i
    # s[k, y_i] at (i, k); masked by -inf, never by a product with 0
    pairs = s.T[y].masked_fill(~others, -torch.inf)
    if form == "inclusive":
        return torch.logsumexp(torch.cat([positive[:, None], pairs], dim=1), dim=1) - positive
    some = others.any(dim=1)
    return torch.logsumexp(pairs[some], dim=1) - positive[some]


def ccl_loss(
    z: Tensor,
    y: Tensor,
    centroids: Tensor,
    *,
    form: Form = "centroids",
    sim: Similarity = "neg_sq",
    tau: float = 1.0,
    alpha: float = 1.0,
    reduction: Literal["mean", "sum"] = "mean",
) -> Tensor:
    """``L_ccl``: mean (or the printed sum) of `ccl_terms`, in float32 at least.

    Zero with a zero gradient when no sample has a term.  Cost O(b K d + b^2).
    """
    if z.dtype in (torch.float16, torch.bfloat16):
        z, centroids = z.float(), centroids.float()
    terms = ccl_terms(z, y, centroids, form=form, sim=sim, tau=tau, alpha=alpha)
    if terms.numel() == 0:
        return (z.sum() + centroids.sum()) * 0.0
    return terms.sum() if reduction == "sum" else terms.mean()
