"""DSAC's losses: self-paced weights for unlabelled images, compactness for labelled ones.

Source: H. Zhao, W. Chen, P. Zhou, "Deep self-paced active learning for image clustering",
2024, Eqs. 1-2 and 4-7; the linear self-paced regulariser is Jiang et al., ACM MM 2014.  With
``F_i`` the embedding of image i, ``mu`` the centre of its cluster, ``c'`` the mean of its
class, ``z_i`` its logits and ``d_i = ||F_i - mu||^2``::

    w_i      = max(1 - d_i / lambda, 0)                    minimises Eq. 1 for fixed F
    L_u      = mean over U of  w_i d_i + lambda (w_i^2 / 2 - w_i)                  (Eq. 1)
    L_class  = mean over L of  g_i CE(z_i, y_i)                                    (Eq. 4)
    L_center = mean over L of  g_i ||F_i - c'_{y_i}||^2                            (Eq. 5)
    L_l      = L_class + gamma L_center                                            (Eq. 6)
    L        = lambda_u L_u + L_l                                                  (Eq. 7)

``w, lambda, mu, c', g`` are constants of a round, made once in numpy: a centre left inside
the graph lets the embedding collapse onto it.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "Supervised",
    "SupervisedWeight",
    "class_loss",
    "grown_quantile",
    "self_paced_lambda",
    "self_paced_weights",
    "supervised_loss",
    "supervised_weights",
    "unlabelled_loss",
]

Float: TypeAlias = NDArray[np.floating[Any]]
SupervisedWeight: TypeAlias = Literal["mean1", "raw", "max1", "none"]
CLIP = 10.0  # times the median: more than that is a clump of copies, not a typical image


# --- constants of a round (numpy) ------------------------------------------------------------


def self_paced_lambda(
    d: Float, q: float = 0.95, *, clusters: NDArray[np.int64] | None = None, k: int = 0
) -> NDArray[np.float64]:
    """lambda: the ``q`` quantile of the squared distances ``d (m,)``, linearly interpolated.

    One number ``(1,)``, or one a cluster ``(k,)`` with ``clusters (m,)``; 0 where there is
    nothing to measure.  ``q = .95`` gives the farthest 5 % the weight 0.
    """
    d = np.asarray(d, dtype=np.float64)
    if clusters is None:
        return np.array([np.quantile(d, q) if d.size else 0.0])
    members = [d[clusters == p] for p in range(k)]
    return np.array([np.quantile(own, q) if own.size else 0.0 for own in members])


def grown_quantile(q0: float, q1: float, round: int, rounds: int) -> float:
    """The quantile of a round: linear from ``q0`` in round 0 to ``q1`` in the last and after."""
    return q0 + (q1 - q0) * min(round / max(rounds - 1, 1), 1.0)


def self_paced_weights(d: Float, lam: Float | float) -> NDArray[np.float64]:
    """``w = max(1 - d / lambda, 0)`` of squared distances ``d (m,)``; ``lam`` broadcasts.

    lambda <= 0 (nearly every image lies on its centre): 1 for those, 0 for the others.
    """
    d, lam = np.broadcast_arrays(np.asarray(d, np.float64), np.asarray(lam, np.float64))
    w = np.zeros(d.shape)
    some = lam > 0
    w[some] = np.maximum(1 - d[some] / lam[some], 0)
    w[~some] = d[~some] == 0
    return w


def supervised_weights(compactness: Float, kind: SupervisedWeight = "mean1") -> NDArray[np.float64]:
    """g of the images that carry a label, from their compactness C ``(m,)``.

    ``raw``: C, whose scale is 1 / distance^2; ``mean1``: C, at most 10 times its median, divided
    by its mean, so that the loss has no unit; ``max1``: C / max C; ``none``: 1.  All C equal: 1.
    """
    c = np.asarray(compactness, dtype=np.float64)
    if kind == "none" or not c.size:
        return np.ones_like(c)
    if kind == "raw":
        return c.copy()
    if kind == "max1":
        scaled: NDArray[np.float64] = c / c.max()
        return scaled
    clipped = np.minimum(c, CLIP * np.median(c))
    mean1: NDArray[np.float64] = clipped / clipped.mean()
    return mean1


# --- losses (torch) --------------------------------------------------------------------------


def unlabelled_loss(z: Tensor, centres: Tensor, w: Tensor, lam: Tensor) -> Tensor:
    """``L_u`` (Eq. 1) of embeddings ``z (b, m)`` with the centre of each, ``(b, m)``.

    ``w (b,)`` and ``lam (b,)`` or ``(1,)`` are constants.  The lambda term has no gradient but
    belongs to the value, which is at most 0 right after the weights were made.  No row: 0.
    """
    if not len(z):
        return z.sum() * 0.0
    d = (z - centres.detach()).square().sum(dim=1)
    return (w * d + lam * (w.square() / 2 - w)).mean()


def class_loss(logits: Tensor, y: Tensor, g: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """``L_class`` (Eq. 4): mean of ``g_i CE_i`` over ``(b, c), (b,), (b,)``, not over sum g.

    ``smoothing`` s mixes the one-hot target with s / c everywhere.  No row: 0.
    """
    if not len(logits):
        return logits.sum() * 0.0
    terms = F.cross_entropy(logits, y, reduction="none", label_smoothing=smoothing)
    return (g * terms).mean()


class Supervised(NamedTuple):
    """``L_l`` and its parts."""

    total: Tensor
    by_class: Tensor
    center: Tensor


def supervised_loss(
    z: Tensor,
    logits: Tensor,
    y: Tensor,
    g: Tensor,
    class_means: Tensor,
    *,
    gamma: float,
    smoothing: float = 0.0,
) -> Supervised:
    """``L_l = L_class + gamma L_center`` (Eq. 6), both divided by the number of images.

    ``z (b, m)`` embeddings, ``logits (b, c)``, ``class_means (c, m)`` constants of the round; the
    row of a class without a label is never looked at.
    """
    if len(z):
        terms = (z - class_means.detach()[y]).square().sum(dim=1)
        center = (g * terms).mean()
    else:
        center = z.sum() * 0.0
    by_class = class_loss(logits, y, g, smoothing=smoothing)
    return Supervised(by_class + gamma * center, by_class, center)
