"""Core-set query: ask so that no image lies far from every image with an answer."""

from __future__ import annotations

import logging
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

SERVED = 20_000  # images over which the gains of ``facility`` are summed, at most
_log = logging.getLogger(__name__)


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
    When      The classes are many and balanced, and outliers are few: it asks for outliers
              first.  On clustered data it misses classes that `TypiClust` finds.

    Parameters
    ----------
    objective : ``"k-center"``; or ``"facility"``, the largest sum over open and labelled images of
        how much nearer the nearest asked one comes: kinder to outliers, O(n^2 d), above 20,000
        images summed over a seeded sample.
    solver : ``"greedy"``; or ``"milp"``, the smallest radius there is, up to 3,000 images.
    outliers : share of the images that may stay uncovered; so many farthest are passed over.
    normalise : ``l2`` scales the vectors to length 1 first.
    cold_start : the first image where there is no label.
    ties : ``"random"``, or ``"index"`` for worked numbers.
    """

    name: ClassVar[str] = "core-set"
    needs: ClassVar[frozenset[str]] = frozenset({"embedding"})
    cold: ClassVar[bool] = True

    objective: Literal["k-center", "facility"] = "k-center"
    solver: Literal["greedy", "milp"] = "greedy"
    outliers: float = 0.0
    normalise: Literal["none", "l2"] = "none"
    cold_start: Literal["mean", "random"] = "mean"
    ties: Literal["random", "index"] = "random"

    def __post_init__(self) -> None:
        if self.objective == "facility" and (self.solver == "milp" or self.outliers):
            raise RecipeError(
                "core-set by facility is greedy and knows no outliers: leave both out"
            )
        if not 0 <= self.outliers < 1:
            raise RecipeError(f"query.outliers is a share of the images, 0 to 1: {self.outliers}")

    def select(self, snapshot: Snapshot, k: int, rng: Generator) -> Picks:
        x = np.asarray(snapshot.part("embedding", self.name))
        if self.normalise == "l2":
            x = geometry.unit_rows(x)
        labelled = np.flatnonzero(snapshot.known >= 0)
        if self.objective == "facility":
            return self._facility(snapshot, x, labelled, k, rng)
        outliers = int(self.outliers * len(x))
        if self.solver == "milp":
            best = geometry.k_center_milp(
                x, labelled, k, rng, free=snapshot.open, outliers=outliers
            )
            return snapshot.picks(best.rows, memo={"radius": [best.radius], "gap": best.gap})
        found = geometry.k_center(
            x, labelled, k, rng,
            free=snapshot.open, outliers=outliers, start=self.cold_start, ties=self.ties,
        )  # fmt: skip
        return snapshot.picks(found.rows, memo={"radius": found.radii.tolist()})

    def _facility(
        self, snapshot: Snapshot, x: Array, labelled: Array, k: int, rng: Generator
    ) -> Picks:
        served = np.flatnonzero(snapshot.open | (snapshot.known >= 0))
        if len(served) > SERVED:
            _log.info("core-set: gains are summed over %d of %d images", SERVED, len(served))
            served = np.sort(rng.choice(served, SERVED, replace=False))
        found = geometry.facility_location(
            x, labelled, k, rng, free=snapshot.open, served=served, ties=self.ties
        )
        return snapshot.picks(found.rows, memo={"gain": found.gains.tolist()})


def core_set(
    embedding: Array,
    known: Array | None,
    k: int,
    *,
    rng: Generator | int = 0,
    objective: Literal["k-center", "facility"] = "k-center",
    solver: Literal["greedy", "milp"] = "greedy",
    outliers: float = 0.0,
    normalise: Literal["none", "l2"] = "none",
    cold_start: Literal["mean", "random"] = "mean",
    ties: Literal["random", "index"] = "random",
) -> Array:
    """``k`` rows of ``embedding (n, d)`` whose ``known (n,)`` is -1, as chosen by `CoreSet`.

    Rows are those of the caller's arrays, in the order of the choice.
    """
    rule = CoreSet(
        objective=objective,
        solver=solver,
        outliers=outliers,
        normalise=normalise,
        cold_start=cold_start,
        ties=ties,
    )
    snapshot = Snapshot.from_arrays(known=known, embedding=np.asarray(embedding))
    return rule.select(snapshot, k, as_rng(rng)).rows
