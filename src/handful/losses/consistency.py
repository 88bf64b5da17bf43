"""Consistency with one's own sure guesses: the losses of FixMatch and FlexMatch.

Sources: K. Sohn et al., "FixMatch: Simplifying semi-supervised learning with consistency and
confidence", NeurIPS 2020, Eqs. 3-4; B. Zhang et al., "FlexMatch: Boosting semi-supervised
learning with curriculum pseudo labeling", NeurIPS 2021, Eqs. 5-11.  With the weak and the strong
view of b unlabelled images::

    q_i = softmax(weak_i), no gradient;  yhat_i = argmax q_i;  m_i = 1[max q_i >= T(yhat_i)]
    L_u = (1 / b) sum_i m_i CE(strong_i, yhat_i)                    over all b, not over sum m
    FixMatch:   T = tau
    FlexMatch:  T(c) = tau M(beta(c)),  M(x) = x / (2 - x)
                beta(c) = sigma(c) / max(max_c' sigma(c'), N - sum_c' sigma(c'))

sigma(c) counts the images whose last guess of probability tau or more was c.  The mean over all
b is what makes the mask its own ramp: a mean over the selected ones would give the first sure
guess the weight of a whole batch.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["Consistency", "LastSure", "Mapping", "consistency", "cosine_7_16", "flexible"]

Mapping: TypeAlias = Literal["convex", "linear"]


class Consistency(NamedTuple):
    """``L_u`` and what it was made of: guess, its probability and the mask, each ``(b,)``."""

    loss: Tensor
    guess: Tensor
    sureness: Tensor
    mask: Tensor

    @property
    def share(self) -> Tensor:
        """How much of the batch is taught; 0 of none."""
        return self.mask.float().mean() if len(self.mask) else self.loss.new_zeros(())


def consistency(weak: Tensor, strong: Tensor, threshold: float | Tensor) -> Consistency:
    """``L_u`` of the logits ``(b, C)`` of two views; ``threshold`` one number, or ``(C,)``.

    No gradient reaches ``weak``.  No row: 0.
    """
    sureness, guess = weak.detach().float().softmax(dim=1).max(dim=1)
    least = threshold[guess] if isinstance(threshold, Tensor) else threshold
    mask = sureness >= least
    if not len(weak):
        return Consistency(strong.sum() * 0.0, guess, sureness, mask)
    terms = F.cross_entropy(strong, guess, reduction="none")
    return Consistency((terms * mask).mean(), guess, sureness, mask)


def flexible(
    sigma: Tensor, n: int, *, tau: float, mapping: Mapping = "convex", warmup: bool = True
) -> Tensor:
    """``T (C,)`` of the counts ``sigma (C,)`` over a stream of ``n`` images.

    ``convex``: M(x) = x / (2 - x); ``linear``: M(x) = x.  ``warmup=False`` leaves those never
    sure so far out of beta's denominator.  Nothing sure yet: 0.
    """
    most = sigma.max()
    if warmup:
        most = torch.maximum(most, n - sigma.sum())
    beta = sigma.float() / most.clamp_min(1)
    return tau * (beta / (2 - beta) if mapping == "convex" else beta)


class LastSure:
    """The class of which each image was last sure, ``last (n,)`` (-1: never), and their counts.

    ``sigma (C,)`` is kept by differences: an update costs O(b), whatever n.  All on one device
    and without waiting for it.
    """

    def __init__(self, last: Tensor, n_classes: int) -> None:
        n, device = len(last), last.device
        # one row and one class more than there are: where what must not count is written
        self._last = torch.cat([last.long(), last.new_full((1,), -1, dtype=torch.long)])
        self._winner = torch.full((n,), -1, dtype=torch.long, device=device)
        self._sigma = torch.zeros(n_classes + 1, dtype=torch.long, device=device)
        known = last[last >= 0].long()
        self._sigma.index_add_(0, known, torch.ones_like(known))

    @property
    def sigma(self) -> Tensor:
        """How many images were last sure of each class, ``(C,)``."""
        return self._sigma[:-1]

    @property
    def last(self) -> Tensor:
        """``(n,)``, -1 for an image that was never sure."""
        return self._last[:-1]

    def update(self, rows: Tensor, guess: Tensor, sure: Tensor) -> None:
        """``last[rows] = guess`` where ``sure``; of a row that comes twice the later one counts."""
        at = torch.arange(len(rows), device=rows.device)
        self._winner.scatter_reduce_(0, rows, torch.where(sure, at, -1), "amax")
        counts = sure & (self._winner[rows] == at)
        self._winner[rows] = -1
        target = torch.where(counts, rows, len(self._winner))
        before, nowhere = self._last[target], len(self._sigma) - 1
        one = torch.ones_like(before)
        leaves = torch.where(before >= 0, before, nowhere)
        self._sigma.index_add_(0, leaves, -one)
        self._sigma.index_add_(0, torch.where(counts, guess, nowhere), one)
        self._last[target] = torch.where(counts, guess, -1)


def cosine_7_16(step: int, steps: int) -> float:
    """The factor of the learning rate at a step: ``cos(7 pi k / 16 K)``, from 1 to .195."""
    return math.cos(7 * math.pi * step / (16 * max(steps, 1)))
