"""What tells images with a label from those without, in the graph of all of them.

Source: R. Caramalau, B. Bhattarai, T.-K. Kim, "Sequential graph convolutional network for
active learning", CVPR 2021.  With ``f = sigmoid(o)``, S the labelled and U the open images::

    L = -mean_{i in S} log f_i - lam mean_{j in U} log(1 - f_j)
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["labelled_loss"]


def labelled_loss(o: Tensor, labelled: Tensor, *, lam: float = 1.2) -> Tensor:
    """``L`` of the logits ``o (n,)``; ``labelled (n,) bool``.  By logsigmoid: no log of 0."""
    return -F.logsigmoid(o[labelled]).mean() - lam * F.logsigmoid(-o[~labelled]).mean()
