"""TypiClust: ask about the most typical image of each cluster that nobody was asked about yet."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful import geometry
from handful.errors import InputError, RecipeError
from handful.registry import register_query, top_k
from handful.rng import as_rng
from handful.types import Array, Picks, Snapshot

__all__ = ["TypiClust", "n_clusters", "typicality", "typiclust", "visiting_order"]

Ties = Literal["random", "index"]
NEIGHBOURS = 20  # at most, of a typicality
SAMPLE = 20_000  # members of a cluster among which neighbours are looked for
_BLOCK = 1024  # rows of a typicality at once
_FULL_KMEANS = 50, 100_000  # clusters and images up to which k-means runs until it rests
_SEEDED = 20  # images a cluster from which the start of a long k-means is drawn
_COMPARED = 20_000  # images at least on which several starts are compared
_RESTED = 30  # steps of each of them at most
_STEPS = 10  # of Lloyd's, there and on all images
_log = logging.getLogger(__name__)


@register_query("typiclust")
@dataclass(frozen=True)
class TypiClust:
    """Ask about the most typical image of each cluster, clusters without a label first.

    Formula   K = min(l + b, 500) clusters of z / |z| by k-means; those of 5 images or more by
              (labels in it rising, size falling), over and over until b images are picked; in
              each the open image of highest typicality
              t(x) = 1 / (mean over its k nearest of ||x - x'|| + 1e-5),
              k = max(1, min(20, floor(m / 2))), neighbours among the m open images of the
              cluster.  l labels so far, b asked now, z (n, d).
    Needs     ``embedding``; with ``on="clusters"`` also ``clusters (n, K)``.  Starts cold: no
              label is needed.
    Cost      k-means n K d a step; m^2 d for each cluster that is visited, in blocks of 1,024
              rows; above 20,000 images neighbours come from a sample of 20,000 of them.
              Memory: at most 320 MB at 200,000 x 128.
    Source    Hacohen, Dekel & Weinshall, ICML 2022 (TPC_RP; ``on="clusters"``: TPC_DC).
    When      The first answers, from none on, with an embedding learned without labels.  Not
              once the classes are known well: it never asks about the border between them.
    Here      the distance, as printed; the released code takes its square (``squared``).  Small
              clusters come last instead of never.  For more than 50 clusters or 100,000 images
              k-means starts from 20 images a cluster and takes ten steps over all: a lower
              inertia than mini-batches, sooner; with several ``starts`` from 20,000 images at
              least.  Equal typicality (duplicates) falls by a seeded permutation.

    Parameters
    ----------
    on : ``"kmeans"``, or ``"clusters"`` for those of the learner.
    squared : the inverse mean of squared distances, as the authors' code has it.
    normalise : scale the vectors to length 1 first.
    most : number of clusters at most.
    least : images that a cluster must have to be visited before the small ones.
    starts : of k-means, compared by inertia (on a sample where there are several). More of them
        vary less by seed; 0: one that nothing is drawn for, the same whatever the seed.
    ties : ``"random"``, or ``"index"`` for worked numbers.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"embedding"})
    cold: ClassVar[bool] = True
    name: ClassVar[str] = "typiclust"

    on: Literal["kmeans", "clusters"] = "kmeans"
    squared: bool = False
    normalise: bool = True
    most: int = 500
    least: int = 5
    starts: int = 1
    ties: Ties = "random"

    def __post_init__(self) -> None:
        if self.on not in ("kmeans", "clusters"):
            raise RecipeError(
                f"typiclust takes clusters by 'kmeans' or 'clusters', not {self.on!r}"
            )
        if self.most < 1:
            raise RecipeError(f"query.most is {self.most}: at least one cluster is needed")
        if self.starts < 0:
            raise RecipeError(f"query.starts is {self.starts}: a number of starts, or 0")
        given = {"clusters"} if self.on == "clusters" else set()
        object.__setattr__(self, "needs", frozenset({"embedding", *given}))

    def select(self, snapshot: Snapshot, k: int, rng: Generator) -> Picks:
        z = np.asarray(snapshot.part("embedding", self.name))
        given = snapshot.part("clusters", self.name) if self.on == "clusters" else None
        rows = np.flatnonzero(snapshot.open)
        if k >= len(rows) or k <= 0:
            return snapshot.picks(rows[: max(k, 0)])
        z = geometry.unit_rows(z).astype(np.float32, copy=False) if self.normalise else z
        labelled = snapshot.known >= 0
        if given is None:
            K = n_clusters(int(labelled.sum()), k, self.most)
            groups = _clustered(z, K, rng, self.starts)
        else:
            groups = np.asarray(given).argmax(axis=1)
        return snapshot.picks(self._visit(z, groups, labelled, snapshot.open, k, rng))

    def _visit(
        self, z: Array, groups: Array, labelled: Array, free: Array, k: int, rng: Generator
    ) -> NDArray[np.int64]:
        """Go round the clusters until ``k`` rows are picked; small clusters when none is left."""
        order, small = visiting_order(groups, labelled, self.least)
        if not order:
            _log.warning("typiclust: no cluster has %d images, so all are visited", self.least)
        left = _members(groups, free, (*order, *small))
        chosen: list[int] = []
        for ring in (order, small):
            while len(chosen) < k and any(len(left[c]) for c in ring):
                for c in (c for c in ring if len(left[c])):
                    if len(chosen) == k:
                        break
                    at = self._most_typical(z[left[c]], rng)
                    chosen.append(int(left[c][at]))
                    left[c] = np.delete(left[c], at)
        return np.array(chosen, dtype=np.int64)

    def _most_typical(self, x: Array, rng: Generator) -> int:
        m = len(x)
        if m == 1:
            return 0
        sample = np.sort(rng.choice(m, SAMPLE, replace=False)) if m > SAMPLE else None
        k = max(1, min(NEIGHBOURS, m // 2))
        t = typicality(x, k, squared=self.squared, sample=sample)
        return int(top_k(t, 1, rng, ties=self.ties, who=self.name)[0])


def n_clusters(labels: int, batch: int, most: int = 500) -> int:
    """K = min(l + b, 500)."""
    return min(labels + batch, most)


def visiting_order(groups: Array, labelled: Array, least: int = 5) -> tuple[list[int], list[int]]:
    """Clusters of ``least`` rows or more, and the smaller ones, each in the order of visits.

    By labels in it (few first), then by size (large first), then by number.  O(n log n).
    """
    ids, place, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    labels = np.bincount(place[labelled], minlength=len(ids))
    order = np.lexsort((ids, -sizes, labels))
    large = [int(ids[i]) for i in order if sizes[i] >= least]
    return large, [int(ids[i]) for i in order if sizes[i] < least]


def _members(groups: Array, free: Array, ids: Iterable[int]) -> dict[int, NDArray[np.int64]]:
    """The free rows of each cluster, rising.  O(n log n)."""
    rows = np.flatnonzero(free)
    rows = rows[np.argsort(groups[rows], kind="stable")]
    found, starts = np.unique(groups[rows], return_index=True)
    parts = dict(zip(found.tolist(), np.split(rows, starts[1:]), strict=True))
    return {c: parts.get(c, rows[:0]) for c in ids}


def typicality(
    x: Array, k: int, *, squared: bool = False, sample: Array | None = None
) -> NDArray[np.float64]:
    """1 / (mean distance to the ``k`` nearest other rows + 1e-5) of each row of ``x (m, d)``.

    A row is left out of its own neighbours by its number: a duplicate counts, at distance 0.
    ``sample`` (row numbers, rising): the rows that may be neighbours.  O(m |sample| d) time,
    O(1024 |sample|) memory.
    """
    x = np.asarray(x)
    x = x if x.dtype in (np.float32, np.float64) else x.astype(np.float64)
    among = np.arange(len(x)) if sample is None else np.asarray(sample)
    k = min(k, len(among) - 1)
    if k < 1:
        raise InputError(f"typicality needs another row to compare with, got {len(x)}: give two")
    centre = x.mean(axis=0, dtype=np.float64).astype(x.dtype)
    others = x[among] - centre
    length = np.einsum("rd,rd->r", others, others)
    out = np.empty(len(x))
    for start in range(0, len(x), _BLOCK):
        rows = np.arange(start, min(len(x), start + _BLOCK))
        block = x[rows] - centre
        own = np.einsum("bd,bd->b", block, block)
        d2 = (own[:, None] + length) - 2 * (block @ others.T)
        itself = np.minimum(np.searchsorted(among, rows), len(among) - 1)
        met = among[itself] == rows
        d2[np.flatnonzero(met), itself[met]] = np.inf
        near = np.argpartition(d2, k - 1, axis=1)[:, :k]
        found = np.take_along_axis(d2, near, axis=1).astype(np.float64)
        _mend(found, near, block, others, own)
        spread = found if squared else np.sqrt(found)
        out[rows] = 1 / (spread.mean(axis=1) + 1e-5)
    return out


def _mend(d2: Array, near: Array, block: Array, others: Array, own: Array) -> None:
    """Take d2 by subtraction where the expanded square has cancelled, duplicates above all."""
    i, j = np.nonzero(d2 < 1e-2 * own[:, None])
    for some in geometry.row_blocks(len(i), 2 * block.shape[1]):
        a, b = i[some], near[i[some], j[some]]
        difference = block[a].astype(np.float64) - others[b]
        d2[a, j[some]] = np.einsum("pd,pd->p", difference, difference)
    np.maximum(d2, 0, out=d2)


def _clustered(z: Array, k: int, rng: Generator, starts: int) -> NDArray[np.int64]:
    """The cluster of every row by k-means; where it is long, started on a sample, in ten steps."""
    clusters, images = _FULL_KMEANS
    if starts == 1 and k <= clusters and len(z) <= images:
        return geometry.kmeans(z, k, rng, n_init=1).labels
    if starts == 0:
        return geometry.greedy_kmeans(z, k, max_iter=_STEPS).labels
    size = _SEEDED * k if starts == 1 else max(_SEEDED * k, _COMPARED)
    rows = np.sort(rng.choice(len(z), min(len(z), size), replace=False))
    free = np.full(len(rows), -1)
    steps = _STEPS if starts == 1 else _RESTED
    start = geometry.constrained_kmeans(z[rows], free, k, rng, n_init=starts, max_iter=steps)
    return geometry.lloyd(z, start.centres, max_iter=_STEPS).labels


def typiclust(
    embedding: Array,
    known: Array | None,
    k: int,
    *,
    rng: Generator | int = 0,
    clusters: Array | None = None,
    squared: bool = False,
    normalise: bool = True,
    ties: Ties = "random",
) -> Array:
    """``k`` rows of ``embedding (n, d)`` whose ``known (n,)`` is -1, as chosen by `TypiClust`.

    ``clusters (n,)`` are given groups; by default k-means finds them.  Rows are those of the
    caller's arrays, in the order of the choice.
    """
    parts: dict[str, Any] = {"embedding": np.asarray(embedding)}
    if clusters is not None:
        one_hot = np.zeros((len(clusters), int(np.max(clusters, initial=0)) + 1), dtype=np.float32)
        one_hot[np.arange(len(clusters)), clusters] = 1
        parts["clusters"] = one_hot
    rule = TypiClust(
        on="kmeans" if clusters is None else "clusters",
        squared=squared,
        normalise=normalise,
        ties=ties,
    )
    return rule.select(Snapshot.from_arrays(known=known, **parts), k, as_rng(rng)).rows
