"""Entropy query: ask where the prediction is spread over the most classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr, logsumexp

from handful.errors import RecipeError
from handful.geometry import row_blocks
from handful.registry import ScoreRule, register_query
from handful.rng import as_rng
from handful.types import Array, Snapshot

__all__ = ["Entropy", "entropies", "entropy", "entropy_from_logits"]


@register_query("entropy")
@dataclass(frozen=True)
class Entropy(ScoreRule):
    """Ask about the images whose predicted distribution has the highest entropy.

    Formula   H_i = - sum_c p_ic log p_ic, natural log, 0 log 0 = 0;  p (n, C), H in [0, log C].
              CCL Eq. 4 is the same of q (n, K), the soft assignment to clusters.
    Needs     ``on="proba"`` (default) or ``on="clusters"`` (CCL).
    Cost      O(n C) time, O(n) memory beside the probabilities.
              Memory: at most 64 MB at 200,000 x 128.
    Source    Shannon 1948; Lewis & Gale, SIGIR 1994; Wang & Shang, IJCNN 2014;
              Roda & Geva 2024, Eq. 4.
    When      A classifier that has learned a little; with ``on="clusters"``, CCL.  Not from few
              labels, where it is sure of what it does not know, nor for large batches.
    Here      equal scores fall by a seeded permutation, not by the order of the files: a
              saturated network gives thousands of exact zeros.  Under a Student-t assignment
              the most distant outlier has q = 1/K and is asked first: known, not mended.

    Parameters
    ----------
    ties : ``"random"``, or ``"index"`` for worked numbers.
    on : the distribution whose entropy counts, over classes or over clusters.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"proba"})

    on: Literal["proba", "clusters"] = "proba"

    def __post_init__(self) -> None:
        if self.on not in ("proba", "clusters"):
            raise RecipeError(f"entropy is taken on 'proba' or on 'clusters', not on {self.on!r}")
        # what an instance needs follows from its option; the class names the default's need
        object.__setattr__(self, "needs", frozenset({self.on}))

    def score(self, snapshot: Snapshot, rng: np.random.Generator) -> NDArray[np.float64]:
        return entropies(snapshot.part(self.on, self.name))


def entropies(p: Array) -> NDArray[np.float64]:
    """H in nats of each row of ``p (n, C)``: ``(n,)`` float64, in blocks.  O(n C)."""
    out = np.empty(len(p))
    for rows in row_blocks(*p.shape):
        out[rows] = entr(p[rows].astype(np.float64)).sum(axis=1)
    return out


def entropy_from_logits(logits: Array) -> NDArray[np.float64]:
    """H in nats of softmax(``logits (n, C)``), ``(n,)``, without forming log(softmax).

    lp = logits - logsumexp, H = - sum exp(lp) lp: exact where the softmax under- or overflows.
    """
    lp = logits - logsumexp(logits, axis=1, keepdims=True)
    h: NDArray[np.float64] = -(np.exp(lp) * lp).sum(axis=1)
    return h


def entropy(
    proba: Array,
    k: int,
    *,
    known: Array | None = None,
    rng: np.random.Generator | int = 0,
    ties: Literal["random", "index"] = "random",
) -> Array:
    """Rows of the ``k`` highest entropies of ``proba (n, C)`` whose ``known`` is -1; see `Entropy`.

    Rows are those of the caller's arrays, the most uncertain first.
    """
    snapshot = Snapshot.from_arrays(known=known, proba=np.asarray(proba))
    return Entropy(ties=ties).select(snapshot, k, as_rng(rng)).rows
