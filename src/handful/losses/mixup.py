"""Mixed images and their mixed targets: one lam for both, so that they cannot part.

Source: H. Zhang, M. Cisse, Y. N. Dauphin, D. Lopez-Paz, "mixup: beyond empirical risk
minimization", ICLR 2018; as LADA trains on its pairs, Y.-Y. Kim, K. Song, J. Jang, I.-C. Moon,
NeurIPS 2021.  For images x_a, x_b of classes y_a, y_b (one-hot)::

    x = lam x_a + (1 - lam) x_b,   y = lam y_a + (1 - lam) y_b,   L = -sum_c y_c log p_c(x)
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["mixed_cross_entropy", "mixup"]


def mixup(
    x_a: Tensor, x_b: Tensor, y_a: Tensor, y_b: Tensor, lam: Tensor, *, n_classes: int
) -> tuple[Tensor, Tensor]:
    """Mixed images ``(b, ...)`` and targets ``(b, C)`` of two batches, ``lam (b,)`` each."""
    wide = lam.view(-1, *(1,) * (x_a.ndim - 1))
    one_hot_a, one_hot_b = (F.one_hot(y, n_classes).to(lam.dtype) for y in (y_a, y_b))
    mixed = wide * x_a + (1 - wide) * x_b
    return mixed, lam[:, None] * one_hot_a + (1 - lam[:, None]) * one_hot_b


def mixed_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over images of ``-sum_c y_c log softmax(logits)_c``, both ``(b, C)``."""
    return F.cross_entropy(logits, target)
