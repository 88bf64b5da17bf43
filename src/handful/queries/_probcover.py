"""ProbCover: ask about the image whose surroundings hold most images that no label reaches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful import geometry
from handful.errors import RecipeError
from handful.registry import register_query
from handful.rng import as_rng
from handful.types import Array, Picks, Snapshot

__all__ = ["ProbCover", "probcover"]

Ties = Literal["random", "index"]


@register_query("probcover")
@dataclass(frozen=True)
class ProbCover:
    """Ask about the image whose ball holds most images that no labelled ball covers.

    Formula   B(x) = { x' : |x - x'| < delta } of z / |z|, itself included; C = the union of B
              over the labelled images; k times: the open image of largest |B(x) \\ C|, then
              C <- C + B(x).  When nothing is left to cover: the open image farthest from all
              labelled and picked.  delta: the largest with ``purity`` of all balls within one
              k-means cluster; z (n, d).
    Needs     ``embedding``.  Starts cold: no label is needed.
    Cost      n^2 d products, in tiles; k-means on 5,000 images or 50 a cluster.  Pairs within
              delta are kept, 18 bytes each, unless there are more than 25 million: these are
              found again.  Above ``reference`` images so many open ones are drawn, as candidates
              and to be covered.  Memory: at most 640 MB at 200,000 x 128, or at any n.
    Source    Yehuda, Dekel, Hacohen & Weinshall, NeurIPS 2022, Algorithm 1, section 4.2.
    When      The first few labels a class, on features that were learned without labels.  Not
              later: once all is covered it only spreads out.
    Here      delta is solved for, not searched on a grid, and belongs to these vectors: it is
              found again every round.  No row is left out at the end of a block, nobody is
              asked twice when all is covered.  The authors draw among the best at random; here
              the best, equal ones by a seeded permutation.

    Parameters
    ----------
    delta : radius of a ball; by purity when it is not given.
    purity : share of balls that must be pure.
    n_clusters : of k-means; the number of classes, or 10 where there are fewer than 2.
    normalise : ``"l2"``: vectors of length 1; or ``"none"``.
    reference : images looked at, at most; all when it is none.
    ties : ``"random"``, or ``"index"`` for worked numbers.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"embedding"})
    cold: ClassVar[bool] = True
    name: ClassVar[str] = "probcover"

    delta: float | None = None
    purity: float = 0.95
    n_clusters: int | None = None
    normalise: Literal["l2", "none"] = "l2"
    reference: int | None = 50_000
    ties: Ties = "random"

    def __post_init__(self) -> None:
        if self.delta is not None and not self.delta > 0:
            raise RecipeError(f"query.delta is {self.delta}: a radius is above 0")
        if not 0 < self.purity <= 1:
            raise RecipeError(f"query.purity is {self.purity}: a share above 0, up to 1")
        if self.normalise not in ("l2", "none"):
            raise RecipeError(f"query.normalise is {self.normalise!r}: take 'l2' or 'none'")
        for field in ("n_clusters", "reference"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise RecipeError(f"query.{field} is {value}: at least one is needed")

    def select(self, snapshot: Snapshot, k: int, rng: Generator) -> Picks:
        z = snapshot.part("embedding", self.name)
        free = np.flatnonzero(snapshot.open)
        if k >= len(free) or k <= 0:
            return snapshot.picks(free[: max(k, 0)])
        rows = geometry.looked_at(snapshot.open, snapshot.known >= 0, k, self.reference, rng)
        x = geometry.unit_rows(z[rows]) if self.normalise == "l2" else np.asarray(z[rows])
        labelled = np.flatnonzero(snapshot.known[rows] >= 0)
        delta = self.delta
        if delta is None:
            classes = snapshot.n_classes if snapshot.n_classes > 1 else 10
            delta = geometry.ball_radius(x, self.n_clusters or classes, self.purity, rng)
        covered = geometry.ball_union(x, labelled, np.full(len(labelled), delta))
        balls = geometry.Balls(x, delta, covered)
        chosen, coverage = self._greedy(balls, labelled, snapshot.open[rows], k, rng)
        memo = {"delta": balls.radius, "coverage": coverage}
        return snapshot.picks(rows[chosen], memo=memo)

    def _greedy(
        self, balls: geometry.Balls, labelled: Array, free: Array, k: int, rng: Generator
    ) -> tuple[NDArray[np.int64], list[float]]:
        """Rows by largest gain, then by distance; the share covered, before and after each."""
        n, free = len(free), free.copy()
        order = rng.permutation(n) if self.ties == "random" else np.arange(n)
        chosen: list[int] = []
        coverage = [float(balls.covered.mean())]
        while len(chosen) < k:
            gain = np.where(free, balls.gain, 0)
            best = np.flatnonzero(gain == gain.max())
            if gain[best[0]] == 0:
                near = np.concatenate([labelled, chosen]).astype(np.int64)
                far = geometry.k_center(
                    balls.screen.x, near, k - len(chosen), rng, free=free, ties=self.ties
                )
                return np.append(chosen, far.rows).astype(np.int64), [
                    *coverage, *coverage[-1:] * len(far.rows),
                ]  # fmt: skip
            row = int(best[order[best].argmin()])
            balls.cover(row)
            free[row] = False
            chosen.append(row)
            coverage.append(float(balls.covered.mean()))
        return np.array(chosen, dtype=np.int64), coverage


def probcover(
    embedding: Array,
    known: Array | None,
    k: int,
    *,
    rng: Generator | int = 0,
    delta: float | None = None,
    purity: float = 0.95,
    n_clusters: int | None = None,
    normalise: Literal["l2", "none"] = "l2",
    reference: int | None = 50_000,
    ties: Ties = "random",
) -> Array:
    """``k`` rows of ``embedding (n, d)`` whose ``known (n,)`` is -1, as chosen by `ProbCover`.

    Rows are those of the caller's arrays, in the order of the choice.
    """
    parts: dict[str, Any] = {"embedding": np.asarray(embedding)}
    rule = ProbCover(
        delta=delta,
        purity=purity,
        n_clusters=n_clusters,
        normalise=normalise,
        reference=reference,
        ties=ties,
    )
    return rule.select(Snapshot.from_arrays(known=known, **parts), k, as_rng(rng)).rows
