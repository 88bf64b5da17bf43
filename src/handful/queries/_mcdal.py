"""MCDAL query: ask where classifiers that agree on the labelled images disagree most."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from handful.geometry import row_blocks
from handful.registry import ScoreRule, register_query
from handful.rng import as_rng
from handful.types import Array, Snapshot

__all__ = ["MCDAL", "discrepancies", "mcdal"]

_log = logging.getLogger(__name__)


@register_query("mcdal")
@dataclass(frozen=True)
class MCDAL(ScoreRule):
    """Ask about the images on which the task head and two auxiliary heads disagree most.

    Formula   s_i = |p1_i - p2_i|_1 + |p_i - p1_i|_1 + |p_i - p2_i|_1, sums over the classes,
              minus the mean of s over the labelled images; p, p1, p2 (n, C) the rows of
              ``heads (3, n, C)``.  The sum is in [0, 6], with two classes in [0, 4].
    Needs     ``heads (H, n, C)``; of more or fewer heads than three, all pairs are summed.
    Cost      O(H^2 n C) time, O(n) memory beside the heads; one forward pass over the pool.
              Memory: at most 64 MB at 200,000 x 128.
    When      with the learner ``mcdal``, whose heads were driven apart on unlabelled images;
              heads that were only ever trained alike say little.
    Source    Cho, Kim, Jung & Kweon, IEEE TNNLS 2022.
    Here      the whole pool, no augmentation (the code scores augmented images, and leaves out
              the last incomplete batch).  What is taken off does not change the order: it is
              the scale, "how far above the labelled images".  Equal scores fall by a seeded
              permutation.

    Parameters
    ----------
    ties : ``"random"``, or ``"index"`` for worked numbers.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"heads"})
    name: ClassVar[str] = "mcdal"

    def score(self, snapshot: Snapshot, rng: np.random.Generator) -> NDArray[np.float64]:
        heads = snapshot.part("heads", self.name)
        if heads.shape[2] == 1:
            _log.warning("mcdal: with one class every score is 0, and the order is random")
        scores = discrepancies(heads)
        labelled = snapshot.known >= 0
        return scores - scores[labelled].mean() if labelled.any() else scores


def discrepancies(heads: Array) -> NDArray[np.float64]:
    """Sum over all pairs of heads of the L1 distance of their rows: ``(H, n, C) -> (n,)``."""
    _, n, c = heads.shape
    out = np.zeros(n)
    for a, b in combinations(range(len(heads)), 2):
        for rows in row_blocks(n, c):
            out[rows] += np.abs(heads[a, rows].astype(np.float64) - heads[b, rows]).sum(axis=1)
    return out


def mcdal(
    heads: Array,
    k: int,
    *,
    known: Array | None = None,
    rng: np.random.Generator | int = 0,
    ties: Literal["random", "index"] = "random",
) -> Array:
    """``k`` rows on which ``heads (H, n, C)`` disagree most; see `MCDAL`.

    Rows are those of the caller's arrays whose ``known`` is -1, the most disputed first.
    """
    snapshot = Snapshot.from_arrays(known=known, heads=np.asarray(heads))
    return MCDAL(ties=ties).select(snapshot, k, as_rng(rng)).rows
