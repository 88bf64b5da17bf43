"""Random query: every open image is equally likely."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from handful.registry import register_query
from handful.rng import as_rng
from handful.types import Array, Picks, Snapshot

__all__ = ["Random", "random"]


@register_query("random")
@dataclass(frozen=True)
class Random:
    """Ask about images drawn uniformly, without replacement: the row every rule must beat.

    Formula   the first ``k`` of a seeded uniform permutation of the open rows; a larger ``k``
              goes on where a smaller one with the same generator ended.
    Needs     nothing; may start cold.
    Cost      O(n) time and memory.  Memory: at most 16 MB at 200,000 x 128.
    Source    simple random sampling; the control that every study of queries asks for
              (Mittal et al. 2019; Lueth et al., NeurIPS 2023).
    When      As the control of every comparison, and where figures must be read from the labels.
              Not where a class is rare.
    Here      labels drawn so are a fair sample: priors and error rates may be read from them.
    """

    name: ClassVar[str] = "random"
    needs: ClassVar[frozenset[str]] = frozenset()
    cold: ClassVar[bool] = True

    def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Picks:
        return snapshot.picks(rng.permutation(np.flatnonzero(snapshot.open))[: max(k, 0)])


def random(
    n: int, k: int, *, known: Array | None = None, rng: np.random.Generator | int = 0
) -> Array:
    """Rows of ``k`` images drawn uniformly from the ``n`` whose ``known`` is -1.  O(n)."""
    labels = np.full(n, -1) if known is None else known
    return Random().select(Snapshot.from_arrays(known=labels), k, as_rng(rng)).rows
