"""A graph convolutional network over all images of a pool, whose adjacency is never formed.

Source: R. Caramalau, B. Bhattarai, T.-K. Kim, "Sequential graph convolutional network for
active learning", CVPR 2021.  With unit rows ``V (n, d)``::

    S = V V^T - diag(|v_i|^2)      D = diag(S 1)      A = D^-1 S + I        (n, n)
    H = ReLU(A V W1 + b1)          o = A H W2 + b2    sigmoid(o): "has a label"

S has rank d plus a diagonal, so that any product ``A X`` costs O(n d q) and O(n (d + q))
memory, and is exact: ``S X = V (V^T X) - |v|^2 * X``.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["GCN", "AdjacencyNorm", "Affinity", "CosineGraph"]

Affinity: TypeAlias = Literal["cosine", "shifted"]
AdjacencyNorm: TypeAlias = Literal["row", "column"]


class CosineGraph:
    """``A`` of the rows of ``v (n, d)``; ``graph(x)`` is ``A x`` for ``x (n, q)``.

    affinity        ``"cosine"``: S_ij = v_i . v_j, for features without a negative sign;
                    ``"shifted"``: (1 + v_i . v_j) / 2, for any, so that no degree is negative.
    adjacency_norm  ``"row"``: D^-1 S, as printed; ``"column"``: S D^-1, as the released code.

    A degree of 0 (a zero vector; all others opposite) becomes 1: that row of A is the identity.
    """

    def __init__(
        self, v: Tensor, *, affinity: Affinity = "cosine", adjacency_norm: AdjacencyNorm = "row"
    ) -> None:
        self.v, self.shifted, self.norm = v, affinity == "shifted", adjacency_norm
        exact = v.double()  # float32 loses the degrees that are nearly 0
        own = exact.square().sum(dim=1)
        degrees = exact @ exact.sum(dim=0) - own
        if self.shifted:
            degrees = (len(v) - 1 + degrees) / 2
            own = (1 + own) / 2
        self.own = own.to(v.dtype)[:, None]
        self.degrees = torch.where(degrees.abs() <= 1e-9, 1.0, degrees).to(v.dtype)

    def __call__(self, x: Tensor) -> Tensor:
        scale = self.degrees[:, None]
        if self.norm == "column":
            return self._affine(x / scale) + x
        return self._affine(x) / scale + x

    def _affine(self, x: Tensor) -> Tensor:
        """``S x``."""
        product = self.v @ (self.v.T @ x)
        if self.shifted:
            product = (x.sum(dim=0) + product) / 2
        return product - self.own * x


class GCN(nn.Module):
    """Two layers: ``forward(graph, A V (n, d)) -> H (n, hidden), o (n,)``; dropout between them.

    ``A V`` never changes: it is made once, not at each step.
    """

    def __init__(self, d: int, *, hidden: int = 128, dropout: float = 0.3) -> None:
        super().__init__()
        self.W1, self.b1 = _uniform(d, hidden), _uniform(hidden)
        self.W2, self.b2 = _uniform(hidden, 1), _uniform(1)
        self.dropout = dropout

    def forward(self, graph: CosineGraph, AV: Tensor) -> tuple[Tensor, Tensor]:
        hidden = F.relu(AV @ self.W1 + self.b1)
        dropped = F.dropout(hidden, self.dropout, self.training)
        # A (H W2), not (A H) W2: the same numbers for 1 / hidden of the work
        o = graph(dropped @ self.W2) + self.b2
        return hidden, o.squeeze(1)


def _uniform(*shape: int) -> nn.Parameter:
    """Within +-1 / sqrt(width of the output), weights and biases alike."""
    bound = 1 / math.sqrt(shape[-1])
    return nn.Parameter(torch.empty(shape).uniform_(-bound, bound))
