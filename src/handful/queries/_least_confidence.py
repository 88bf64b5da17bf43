"""Least-confidence query: ask where the best guess is weakest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from handful.registry import ScoreRule, register_query
from handful.rng import as_rng
from handful.types import Array, Snapshot

__all__ = ["LeastConfidence", "least_confidence"]


@register_query("least-confidence")
@dataclass(frozen=True)
class LeastConfidence(ScoreRule):
    """Ask about the images whose most likely class is least likely.

    Formula   1 - max_c p_ic;  p (n, C), score in [0, 1 - 1/C].
    Needs     ``proba``.
    Cost      O(n C) time, O(n) memory beside the probabilities.
              Memory: at most 64 MB at 200,000 x 128.
    Source    Lewis & Gale, SIGIR 1994; Wang & Shang, IJCNN 2014.
    When      As entropy, where only the best guess counts.  Not from few labels.
    Here      equal scores fall by a seeded permutation.  With two classes the order is that of
              entropy and margin.

    Parameters
    ----------
    ties : ``"random"``, or ``"index"`` for worked numbers.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"proba"})

    def score(self, snapshot: Snapshot, rng: np.random.Generator) -> NDArray[np.float64]:
        best: NDArray[np.float64] = snapshot.part("proba", self.name).max(axis=1).astype(float)
        return 1 - best


def least_confidence(
    proba: Array,
    k: int,
    *,
    known: Array | None = None,
    rng: np.random.Generator | int = 0,
    ties: Literal["random", "index"] = "random",
) -> Array:
    """Rows of the ``k`` least confident of ``proba (n, C)`` whose ``known`` is -1.

    Rows are those of the caller's arrays, the most uncertain first; see `LeastConfidence`.
    """
    snapshot = Snapshot.from_arrays(known=known, proba=np.asarray(proba))
    return LeastConfidence(ties=ties).select(snapshot, k, as_rng(rng)).rows
