"""Core-set query: ask so that no image lies far from every image with an answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.random import Generator

from handful import geometry
from handful.errors import RecipeError
from handful.registry import register_query
from handful.rng import as_rng
from handful.types import Array, Picks, Snapshot

__all__ = ["CoreSet", "core_set"]


@register_query("core-set")
@dataclass(frozen=True)
class CoreSet:
    """Ask about the image that is farthest from every image with an answer, again and again.

    Formula   min over S, |S| = b, of max_i min_{j in s0 + S} |x_i - x_j| (k-center), by greedy:
              D_i = min_{j in s0 + S} |x_i - x_j|^2,  S += argmax over open i of D_i, b times.
              s0 the labelled images, x (n, d).
    Needs     ``embedding``.  Starts cold: the first is then the image nearest to the mean.
    Cost      O(n (|s0| + b) d) time, in one or few passes over the embedding; 16 MB and 40 bytes
              an image beside it, and a copy with ``normalise``.  Memory: at most 24 MB at
              200,000 x 128.
    Source    Sener & Savarese, ICLR 2018, Algorithm 1; greedy: Gonzalez 1985, within a factor 2.
    Here      exact to float64 whatever the embedding's type; images set aside are neither
              asked nor covered; of equally far ones a seeded draw decides.
              Memo: ``radius`` that each pick leaves, a figure to stop by.
    When      the classes are many and balanced, and outliers are few: it asks for outliers
              first.  On clustered data it misses classes that `TypiClust` finds.

    Parameters
    ----------
    outliers : share of the images that may stay uncovered; so many farthest are passed over.
    normalise : ``l2`` scales the vectors to length 1 first.
    cold_start : the first image where there is no label.
    ties : ``"random"``, or ``"index"`` for worked numbers.
    """

    name: ClassVar[str] = "core-set"
    needs: ClassVar[frozenset[str]] = frozenset({"embedding"})
    cold: ClassVar[bool] = True

    outliers: float = 0.0
    normalise: Literal["none", "l2"] = "none"
    cold_start: Literal["mean", "random"] = "mean"
    ties: Literal["random", "index"] = "random"

    def __post_init__(self) -> None:
        if not 0 <= self.outliers < 1:
            raise RecipeError(f"query.outliers is a share of the images, 0 to 1: {self.outliers}")

    def select(self, snapshot: Snapshot, k: int, rng: Generator) -> Picks:
        x = np.asarray(snapshot.part("embedding", self.name))
        if self.normalise == "l2":
            x = geometry.unit_rows(x)
        found = geometry.k_center(
            x,
            np.flatnonzero(snapshot.known >= 0),
            k,
            rng,
            free=snapshot.open,
            outliers=int(self.outliers * len(x)),
            start=self.cold_start,
            ties=self.ties,
        )
        return snapshot.picks(found.rows, memo={"radius": found.radii.tolist()})


def core_set(
    embedding: Array,
    known: Array | None,
    k: int,
    *,
    rng: Generator | int = 0,
    outliers: float = 0.0,
    normalise: Literal["none", "l2"] = "none",
    cold_start: Literal["mean", "random"] = "mean",
    ties: Literal["random", "index"] = "random",
) -> Array:
    """``k`` rows of ``embedding (n, d)`` whose ``known (n,)`` is -1, as chosen by `CoreSet`.

    Rows are those of the caller's arrays, in the order of the choice.
    """
    rule = CoreSet(outliers=outliers, normalise=normalise, cold_start=cold_start, ties=ties)
    snapshot = Snapshot.from_arrays(known=known, embedding=np.asarray(embedding))
    return rule.select(snapshot, k, as_rng(rng)).rows
