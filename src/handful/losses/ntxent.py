"""NT-Xent, the loss of SimCLR: two views of one image find each other among all the others.

Source: T. Chen, S. Kornblith, M. Norouzi, G. Hinton, "A simple framework for contrastive
learning of visual representations", ICML 2020, Eq. 1 and Algorithm 1.  With the 2N views
``u = [a_1 .. a_N, b_1 .. b_N]``, each of length 1, and ``s_ij = u_i . u_j / tau``::

    l_i = -s_ip + log sum_{j != i} exp(s_ij),   p = (i + N) mod 2N
    L   = (1 / 2N) sum_i l_i

The sum has 2N - 1 terms: the positive and 2N - 2 negatives, of both views.  All views on
one point give ``ln(2N - 1)``, the value to beat.

The released code of DSAC departs from it (`simclr_authors`): no length 1, anchors from the
first view alone, tau = 0.7.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from handful.errors import InputError

__all__ = ["ntxent", "ntxent_terms", "simclr_authors"]


def ntxent_terms(
    a: Tensor, b: Tensor, *, tau: float = 0.5, normalise: bool = True, symmetric: bool = True
) -> Tensor:
    """The terms ``l_i``: ``(N, q), (N, q) -> (2N,)``, or ``(N,)`` of view a alone.

    Similarities are float32 at least, whatever precision the network ran in.  ``normalise``
    divides each row by ``max(|z|, 1e-12)``: a zero vector is similar to nothing and its
    loss stays finite.  ``symmetric=False`` takes the anchors from ``a`` only; the negatives
    are of both views still.  `InputError` below two images.  Cost O(N^2 q), memory O(N^2).
    """
    n = len(a)
    if a.shape != b.shape or a.ndim != 2:
        raise InputError(f"two views of the same images: {tuple(a.shape)} and {tuple(b.shape)}")
    if n < 2:
        raise InputError("one image has no negatives: NT-Xent needs two images a batch at least")
    anchors = 2 * n if symmetric else n
    row = torch.arange(anchors, device=a.device)
    with torch.autocast(a.device.type, enabled=False):
        half = a.dtype in (torch.float16, torch.bfloat16)
        z = torch.cat([a.float(), b.float()] if half else [a, b])
        u = F.normalize(z, dim=1, eps=1e-12) if normalise else z
        s = u[:anchors] @ u.T / tau
        itself = torch.zeros_like(s, dtype=torch.bool)
        itself[row, row] = True
        s = s.masked_fill(itself, -torch.inf)
        return F.cross_entropy(s, (row + n) % (2 * n), reduction="none")


def ntxent(
    a: Tensor, b: Tensor, *, tau: float = 0.5, normalise: bool = True, symmetric: bool = True
) -> Tensor:
    """``L``, the mean of `ntxent_terms`; each gradient is at right angles to its ``z``."""
    return ntxent_terms(a, b, tau=tau, normalise=normalise, symmetric=symmetric).mean()


def simclr_authors(plain: Tensor, view: Tensor, *, tau: float = 0.7) -> Tensor:
    """DSAC's released form: rows as they are, anchors from the plain images only."""
    return ntxent(plain, view, tau=tau, normalise=False, symmetric=False)
