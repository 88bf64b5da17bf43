"""Margin query: ask where the two best guesses are hardest to tell apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from handful.geometry import row_blocks
from handful.registry import ScoreRule, register_query
from handful.rng import as_rng
from handful.types import Array, Snapshot

__all__ = ["Margin", "margin", "margin_from_logits", "margins"]


@register_query("margin")
@dataclass(frozen=True)
class Margin(ScoreRule):
    """Ask about the images whose two most likely classes are closest.

    Formula   -(p_i(1) - p_i(2)), the two largest of row i;  p (n, C), score in [-1, 0].
    Needs     ``proba``.
    Cost      O(n C) time, O(n) memory beside the probabilities.
              Memory: at most 64 MB at 200,000 x 128.
    Source    Scheffer, Decomain & Wrobel, IDA 2001; Wang & Shang, IJCNN 2014; Settles 2009.
    When      The first choice of the three simple rules: it spreads over pairs of classes that are
              confused.  Not from few labels, nor on noisy borders that no label settles.
    Here      equal scores fall by a seeded permutation.  A single class has margin 0: the
              order is then random.

    Parameters
    ----------
    ties : ``"random"``, or ``"index"`` for worked numbers.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"proba"})

    def score(self, snapshot: Snapshot, rng: np.random.Generator) -> NDArray[np.float64]:
        return -margins(snapshot.part("proba", self.name))


def margins(p: Array) -> NDArray[np.float64]:
    """p(1) - p(2) of each row of ``p (n, C)``: ``(n,)`` float64, in blocks; 0 for C = 1."""
    out = np.zeros(len(p))
    if p.shape[1] > 1:
        for rows in row_blocks(*p.shape):
            top = np.partition(p[rows], -2, axis=1)[:, -2:].astype(np.float64)
            out[rows] = top[:, 1] - top[:, 0]
    return out


def margin_from_logits(logits: Array) -> NDArray[np.float64]:
    """p(1) - p(2) of softmax(``logits (n, C)``), ``(n,)``; logits may be too large for exp."""
    return margins(np.exp(logits - logsumexp(logits, axis=1, keepdims=True)))


def margin(
    proba: Array,
    k: int,
    *,
    known: Array | None = None,
    rng: np.random.Generator | int = 0,
    ties: Literal["random", "index"] = "random",
) -> Array:
    """Rows of the ``k`` smallest margins of ``proba (n, C)`` whose ``known`` is -1; see `Margin`.

    Rows are those of the caller's arrays, the most uncertain first.
    """
    snapshot = Snapshot.from_arrays(known=known, proba=np.asarray(proba))
    return Margin(ties=ties).select(snapshot, k, as_rng(rng)).rows
