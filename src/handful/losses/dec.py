"""DEC: Student-t soft assignment, its sharpened target, and the clustering loss.

Source: J. Xie, R. Girshick, A. Farhadi, "Unsupervised deep embedding for clustering
analysis", ICML 2016, Eqs. 1-3; the CCL paper's Eqs. 1-3 are the case ``alpha = 1``.
Everything goes by logarithms: ``log q`` never passes through a ``q`` that underflows.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["clustering_loss", "squared_distances", "student_log_assignment", "target"]

FLOOR = 1e-12  # of a soft cluster size: an empty cluster has f -> 0, but q^2 / f -> 0 too


def squared_distances(z: Tensor, centroids: Tensor) -> Tensor:
    """``||z_i - mu_j||^2``: ``(n, d), (K, d) -> (n, K)``.

    By differences, not by the expansion of the square, which loses all digits once the
    points are far from the origin.  Memory n K d: meant for one batch.
    """
    return (z.unsqueeze(1) - centroids.unsqueeze(0)).square().sum(dim=2)


def student_log_assignment(z: Tensor, centroids: Tensor, alpha: float = 1.0) -> Tensor:
    """``log q`` with ``q_ij ∝ (1 + ||z_i - mu_j||^2 / alpha)^(-(alpha + 1) / 2)`` (Eq. 1).

    ``(n, d), (K, d) -> (n, K)``; rows of ``q`` sum to 1.  A point infinitely far from
    every centroid gets ``q = 1 / K``: the highest entropy, a known property of the kernel.
    """
    d2 = squared_distances(z, centroids)
    return F.log_softmax(-(alpha + 1) / 2 * torch.log1p(d2 / alpha), dim=1)


def target(log_q: Tensor) -> Tensor:
    """``p_ij ∝ q_ij^2 / f_j`` with ``f_j = sum_i q_ij`` over all ``n`` images (Eq. 3).

    ``(n, K) -> (n, K)``, rows sum to 1, no gradient.  ``f`` must run over the whole set:
    over one batch it is another target altogether.
    """
    log_q = log_q.detach()
    log_f = log_q.exp().sum(dim=0).clamp_min(FLOOR).log()
    return torch.softmax(2 * log_q - log_f, dim=1)


def clustering_loss(log_q: Tensor, p: Tensor) -> Tensor:
    """``(1/n) KL(P || Q) = (1/n) sum_ij p_ij log(p_ij / q_ij)`` (Eq. 2); ``p`` is constant."""
    return F.kl_div(log_q, p.detach(), reduction="sum") / len(log_q)
