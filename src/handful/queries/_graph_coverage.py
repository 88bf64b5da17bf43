"""Graph coverage: ask about the images from which answers would reach most of the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heapreplace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful import geometry, graph
from handful.errors import RecipeError
from handful.registry import register_query
from handful.rng import as_rng, rng_for
from handful.types import Array, Picks, Snapshot

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = ["GraphCoverage", "graph_coverage"]

Ties = Literal["random", "index"]
_BLOCK = 128  # images whose answers are spread at once
_DIGITS = 9  # of a gain: sums that are equal differ in the last ones


@register_query("graph-coverage")
@dataclass(frozen=True)
class GraphCoverage:
    """Ask about the image from which an answer reaches what no answer has reached so far.

    Formula   R = (1 - alpha) (I - alpha S)^-1, S = D^-1/2 W D^-1/2 of the graph of the k nearest
              neighbours of z / |z| (that of `propagation`): R_ij is what an answer to image j
              gives image i.  r_i = max of R_ij over the labelled j;  k times: the open image of
              largest  sum_i max(R_ij - r_i, 0),  then  r_i <- max(r_i, R_ij).
    Needs     ``embedding``.  Starts cold: no label is needed.
    Cost      the k nearest neighbours; n spreadings over n k edges, 18 steps each: 6 s at
              10,000 images.  Above ``reference`` images so many open and labelled ones are
              looked at, the same whatever the seed.  Memory: at most 800 MB at 200,000 x 128,
              or at any n.
    Source    generalised coverage: Bae, Noh & Sutherland, ECCV 2024 (MaxHerding), there with a
              Gaussian kernel; spreading: Zhou et al., NIPS 2003.
    When      The first answers, from none on, where labels are spread over a graph afterwards:
              what is maximised is what they will reach.  Not once the classes are known well.
    Here      the kernel is the graph's.  Nothing is drawn: the same images whatever the seed,
              but for equal gains.  The greedy choice reaches 1 - 1/e of the best at least.

    Parameters
    ----------
    alpha : how far an answer is spread, from 0 to below 1.
    neighbours : of the graph.
    normalise : scale the vectors to length 1 first.
    reference : images looked at, at most; all when it is none.
    ties : ``"random"``, or ``"index"`` for worked numbers.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"embedding"})
    cold: ClassVar[bool] = True
    name: ClassVar[str] = "graph-coverage"

    alpha: float = 0.8
    neighbours: int = 10
    normalise: bool = True
    reference: int | None = 10_000
    ties: Ties = "random"

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < 1:
            raise RecipeError(f"query.alpha is {self.alpha}: a share from 0 to below 1")
        for field in ("neighbours", "reference"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise RecipeError(f"query.{field} is {value}: at least one is needed")

    def select(self, snapshot: Snapshot, k: int, rng: Generator) -> Picks:
        z = np.asarray(snapshot.part("embedding", self.name))
        free, labelled = snapshot.open.copy(), snapshot.known >= 0
        if k >= (some := np.flatnonzero(free)).size or k <= 0:
            return snapshot.picks(some[: max(k, 0)])
        fixed = rng_for(0, None, self.name)  # who is looked at, not what is asked
        chosen: list[int] = []
        coverage: list[float] = []
        while len(chosen) < k:  # once, unless more is wanted than half of what is looked at
            part = min(k - len(chosen), max(1, (self.reference or 2 * k) // 2))
            rows = geometry.looked_at(free, labelled, part, self.reference, fixed)
            x = geometry.unit_rows(z[rows]) if self.normalise else z[rows]
            near = geometry.neighbours(x.astype(np.float32, copy=False), self.neighbours)
            W = graph.knn_graph(near.ids, near.d2).W
            picks, covered = self._greedy(W, labelled[rows], free[rows], part, rng)
            free[rows[picks]], labelled[rows[picks]] = False, True
            chosen += rows[picks].tolist()
            coverage += covered[1:] if coverage else covered
        return snapshot.picks(np.array(chosen, dtype=np.int64), memo={"coverage": coverage})

    def _greedy(
        self, W: csr_array, labelled: Array, free: Array, k: int, rng: Generator
    ) -> tuple[NDArray[np.int64], list[float]]:
        """Rows by largest gain, lazily: a gain only falls, so what it was bounds what it is.

        And the mean of r, before and after each.
        """
        open_rows = np.flatnonzero(free)
        if self.ties == "random":
            open_rows = rng.permutation(open_rows)
        reached = np.zeros(len(free), dtype=np.float32)
        for rows in _blocks(np.flatnonzero(labelled)):
            R = graph.reach(W, rows, alpha=self.alpha)
            np.maximum(reached, R.max(axis=1), out=reached)
        gives = np.empty((len(open_rows), len(free)), dtype=np.float32)  # rows of R
        for some in _blocks(np.arange(len(open_rows))):
            gives[some] = graph.reach(W, open_rows[some], alpha=self.alpha).T
        gains = np.array([_gain(given, reached) for given in gives])
        unit = float(gains.max()) or 1.0
        heap = [(-round(gain / unit, _DIGITS), at) for at, gain in enumerate(gains.tolist())]
        heapify(heap)
        knows = np.zeros(len(open_rows), dtype=np.int64)  # of so many picks a gain knows
        covered, chosen = [float(reached.mean(dtype=np.float64))], []
        for i in range(k):
            while knows[at := heap[0][1]] < i:
                knows[at] = i
                heapreplace(heap, (-round(_gain(gives[at], reached) / unit, _DIGITS), at))
            heappop(heap)
            chosen.append(at)
            np.maximum(reached, gives[at], out=reached)
            covered.append(float(reached.mean(dtype=np.float64)))
        return open_rows[chosen], covered


def _blocks(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    for start in range(0, len(rows), _BLOCK):
        yield rows[start : start + _BLOCK]


def _gain(row: Array, reached: Array) -> float:
    return float(np.maximum(row - reached, 0).sum(dtype=np.float64))


def graph_coverage(
    embedding: Array,
    known: Array | None,
    k: int,
    *,
    rng: Generator | int = 0,
    alpha: float = 0.8,
    neighbours: int = 10,
    normalise: bool = True,
    reference: int | None = 10_000,
    ties: Ties = "random",
) -> Array:
    """``k`` rows of ``embedding (n, d)`` whose ``known (n,)`` is -1, as chosen by `GraphCoverage`.

    Rows are those of the caller's arrays, in the order of the choice.
    """
    parts: dict[str, Any] = {"embedding": np.asarray(embedding)}
    rule = GraphCoverage(
        alpha=alpha, neighbours=neighbours, normalise=normalise, reference=reference, ties=ties
    )
    return rule.select(Snapshot.from_arrays(known=known, **parts), k, as_rng(rng)).rows
