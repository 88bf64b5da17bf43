"""MCDAL's loss of two auxiliary classifiers: right on labelled images, far apart elsewhere.

Source: J. W. Cho, D.-J. Kim, Y. Jung, I. S. Kweon, "MCDAL: maximum classifier discrepancy for
active learning", IEEE TNNLS 2022.  p, p1, p2 the softmax outputs of the task head F and of the
auxiliary heads F1, F2, of b images and c classes; z1, z2 the auxiliary logits::

    d(p, q) = 1 / (b c) sum_i sum_k |p_ik - q_ik|
    L_B = CE(F1; S) + CE(F2; S) - [ d(p1, p2) + d(p1, p) + d(p2, p) ]_U

Minus: the discrepancy is made large.  With plus the heads fall onto F, and the query sees nothing.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["auxiliary_loss", "discrepancy", "spread"]


def discrepancy(p: Tensor, q: Tensor) -> Tensor:
    """d: mean over images and classes of ``|p - q|``, both ``(b, c)``; 0 for an empty batch."""
    return (p - q).abs().mean() if len(p) else (p - q).sum()


def spread(task: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """d(p1, p2) + d(p1, p) + d(p2, p) of logits ``(b, c)``; the task head's are constant."""
    p, p1, p2 = task.detach().softmax(1), first.softmax(1), second.softmax(1)
    return discrepancy(p1, p2) + discrepancy(p1, p) + discrepancy(p2, p)


def auxiliary_loss(first: Tensor, second: Tensor, target: Tensor) -> Tensor:
    """CE(F1) + CE(F2) of logits ``(b, c)`` on labelled images, ``target (b,)``."""
    return F.cross_entropy(first, target) + F.cross_entropy(second, target)
