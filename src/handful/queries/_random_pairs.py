"""Random pairs: *same or different?* about two images that could be any two."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful.errors import RecipeError
from handful.pairs import Closure, closure_of
from handful.registry import register_pair_query
from handful.rng import as_rng
from handful.types import Array, PairAnswer, Snapshot

__all__ = ["RandomPairs", "random_pairs"]

LISTED = 500  # images of which all pairs are tried, when all else was in vain


@register_pair_query("random-pairs")
@dataclass(frozen=True)
class RandomPairs:
    """Ask *same or different?* about pairs drawn uniformly: the row other pair rules must beat.

    Formula   unordered pairs i < j uniformly, without replacement, less those that answers so
              far imply or that nobody could tell, less those that the rest of the batch might
              imply, whatever is answered.
    Needs     nothing; may start cold.
    Cost      O(k) draws, O(answers) for their closure; no pair is listed.
    Source    Ren et al. 2019 (SDEC) draws its constraints so; transitive closure of must-links
              and cannot-links: Wagstaff & Cardie, ICML 2000.
    Here      without replacement, no image with itself.  Of c balanced classes a share 1 - 1/c
              of the answers is *different*, which says little: 500 answers are few.
    When      for a fair sample of pairs, and as the control.  Not to save answers: `adc`.

    Parameters
    ----------
    control : share of the questions spent on implied pairs, to find wrong answers; 0.05 is a
        good share where people answer.
    two_classes : the user vouches for two classes: two differences make a sameness.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    name: ClassVar[str] = "random-pairs"

    control: float = 0.0
    two_classes: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.control < 1:
            raise RecipeError(f"query.control is {self.control}: a share of questions, below 1")

    def select(self, snapshot: Snapshot, k: int, rng: Generator) -> tuple[tuple[str, str], ...]:
        closure = closure_of(snapshot, two_classes=self.two_classes)
        rows = np.flatnonzero(snapshot.open | (snapshot.known >= 0))
        chosen = closure.controls(round(self.control * k), rng)
        chosen += closure.choose(_drawn(rows, k, closure, rng), k - len(chosen))
        return tuple((snapshot.ids[a], snapshot.ids[b]) for a, b in chosen)


def _drawn(
    rows: NDArray[np.int64], k: int, closure: Closure[int], rng: Generator
) -> Iterator[tuple[int, int]]:
    """Uniform pairs of rows; when many were drawn in vain, one of every two groups."""
    for _ in range(20 if len(rows) > 1 else 0):
        a, b = rng.integers(len(rows), size=(2, k + 100))
        for i, j in np.sort(rows[np.stack([a, b], axis=1)], axis=1).tolist():
            if i != j:
                yield i, j
    seen: dict[Any, int] = {}
    for row in rng.permutation(rows).tolist():
        seen.setdefault(closure.group_of(row), row)
    yield from combinations(seen.values(), 2)
    if len(rows) <= LISTED:  # nobody could tell about two of these, others of their groups will do
        yield from combinations(rng.permutation(rows).tolist(), 2)


def random_pairs(
    n: int, k: int, *, pairs: tuple[PairAnswer, ...] = (), rng: Generator | int = 0
) -> Array:
    """``(m, 2)`` rows of at most ``k`` open pairs of ``n`` images, drawn uniformly.

    ``pairs`` : answers so far, about images named ``00000000`` and so on.
    """
    snapshot = Snapshot.from_arrays(known=np.full(n, -1), pairs=pairs)
    found = RandomPairs().select(snapshot, k, as_rng(rng))
    return np.array([[int(a), int(b)] for a, b in found], dtype=np.int64).reshape(-1, 2)
