"""Distances, neighbours and k-means: exact, in blocks, on numpy arrays.

Every function here takes ``(n, d)`` arrays of any float type (a memory map will do) and
holds O(n) numbers beside its result plus a few blocks of 64 MB.  Nothing is n x n.
Squared Euclidean distances throughout, called ``d2``.

scipy and scikit-learn are imported by the functions that use them: every query rule imports
this file, and they take a second that listing the rules should not cost.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful.errors import InputError

__all__ = [
    "Clustering",
    "class_means",
    "hungarian",
    "kmeans",
    "kmeans_plus_plus",
    "knn",
    "nearest",
    "row_blocks",
    "seeded_kmeans",
    "seeding_probabilities",
    "squared_distances",
    "vote",
]

Array: TypeAlias = NDArray[Any]
Float: TypeAlias = NDArray[np.floating[Any]]
Ints: TypeAlias = NDArray[np.int64]

BLOCK_BYTES = 64 << 20
_logger = logging.getLogger(__name__)


class Clustering(NamedTuple):
    """``centres (k, d)``, ``labels (n,)`` of the rows, ``inertia`` = sum of d2 to the centres."""

    centres: Float
    labels: Ints
    inertia: float


def row_blocks(
    n: int, width: int, *, itemsize: int = 8, limit: int = BLOCK_BYTES
) -> Iterator[slice]:
    """Slices that cover ``n`` rows of ``width`` numbers, each at most ``limit`` bytes."""
    rows = max(1, limit // max(1, width * itemsize))
    for start in range(0, n, rows):
        yield slice(start, min(n, start + rows))


# --- distances -----------------------------------------------------------------------------


def _working_type(x: Array) -> np.dtype[Any]:
    return np.dtype(np.float64 if x.dtype == np.float64 else np.float32)


def _distance_blocks(x: Array, centres: Array) -> Iterator[tuple[slice, Float]]:
    """Blocks of d2 = |x|^2 + |c|^2 - 2 x.c after centring both by the mean of ``x``.

    Without the centring the expansion cancels: two points 1 apart at 1e4 have float32
    distance 0.  The mean is float64, the arithmetic float32 unless ``x`` is float64.
    """
    if x.ndim != 2 or centres.ndim != 2 or x.shape[1] != centres.shape[1]:
        raise InputError(
            f"distances need (n, d) and (k, d), got {x.shape} and {centres.shape}: same d for both"
        )
    dtype = _working_type(x)
    mean = x.mean(axis=0, dtype=np.float64) if len(x) else np.zeros(x.shape[1])
    c = (centres - mean).astype(dtype)
    c_sq = np.einsum("kd,kd->k", c, c)
    for rows in row_blocks(len(x), max(len(c), x.shape[1])):
        b = (x[rows] - mean).astype(dtype)
        d2 = b @ c.T
        d2 *= -2
        d2 += np.einsum("nd,nd->n", b, b)[:, None]
        d2 += c_sq
        yield rows, np.maximum(d2, 0, out=d2)


def squared_distances(x: Array, centres: Array) -> Float:
    """d2 of every row to every centre, ``(n, k)``, never negative.  O(n k d) time.

    float64 for a float64 ``x``, else float32.  Exact to the rounding of that type at the
    spread of ``x``, wherever ``x`` lies: both sides are centred first.
    """
    out = np.empty((len(x), len(centres)), dtype=_working_type(x))
    for rows, d2 in _distance_blocks(x, centres):
        out[rows] = d2
    return out


def nearest(x: Array, centres: Array) -> tuple[Ints, Float]:
    """Index of the nearest centre of every row and d2 to it, both ``(n,)``; ties: lower index.

    O(n k d) time, O(n) memory.
    """
    if not len(centres):
        raise InputError("no centre to be nearest to: hand over at least one row of centres")
    index = np.empty(len(x), dtype=np.int64)
    least = np.empty(len(x), dtype=_working_type(x))
    for rows, d2 in _distance_blocks(x, centres):
        index[rows] = d2.argmin(axis=1)
        least[rows] = np.take_along_axis(d2, index[rows][:, None], axis=1)[:, 0]
    return index, least


def knn(x: Array, k: int) -> tuple[Ints, Float]:
    """The ``min(k, n - 1)`` nearest other rows of each row, nearest first: index, d2 ``(n, k)``.

    Exact: by a k-d tree up to 15 dimensions (about n log n), by blocks in O(n^2 d) above.
    A duplicate of a row is a neighbour at distance 0; the row itself is none.
    """
    from sklearn.neighbors import NearestNeighbors

    k = min(k, len(x) - 1)
    if k <= 0:
        return np.empty((len(x), 0), dtype=np.int64), np.empty((len(x), 0))
    distance, index = NearestNeighbors(n_neighbors=k).fit(x).kneighbors()
    return index.astype(np.int64), distance**2


# --- k-means -------------------------------------------------------------------------------


def kmeans(x: Array, k: int, rng: Generator, *, n_init: int = 20) -> Clustering:
    """Lloyd's k-means from ``n_init`` k-means++ starts, the best inertia kept.

    ``k`` falls to the number of distinct rows, with a logged warning.  Errors: fewer rows than
    ``k``, NaN or inf.  One thread: the sums of several threads differ in the last digit from
    run to run.  O(n k d) a step.  Lloyd 1982; Arthur & Vassilvitskii 2007; scikit-learn.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if len(x) < k:
        raise InputError(f"fewer images ({len(x)}) than clusters ({k}): ask for fewer clusters")
    _check_finite(x)
    if (distinct := _distinct_rows(x, k)) < k:
        _logger.warning("k-means: only %d distinct rows for %d clusters", distinct, k)
        k = distinct
    model = KMeans(n_clusters=k, n_init=n_init, random_state=int(rng.integers(2**31)))
    with threadpool_limits(1), warnings.catch_warnings():
        # rows that differ by less than rounding: fewer clusters than distinct rows are found
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x)
    return Clustering(model.cluster_centers_, model.labels_.astype(np.int64), float(model.inertia_))


def _distinct_rows(x: Array, enough: int) -> int:
    """Number of distinct rows, counted no further than ``enough``."""
    seen: Array = x[:0]
    for rows in row_blocks(len(x), x.shape[1], limit=max(1 << 16, enough * x.itemsize)):
        seen = np.unique(np.concatenate([seen, x[rows]]), axis=0)
        if len(seen) >= enough:
            return enough
    return len(seen)


def seeding_probabilities(x: Array, centres: Array) -> NDArray[np.float64]:
    """D^2 / sum D^2, ``(n,)``: how likely k-means++ draws each row, ``centres`` being chosen.

    D^2 = d2 to the nearest centre.  Uniform when there is no centre yet, or when every row lies
    on one.  Arthur & Vassilvitskii 2007.
    """
    return _draw_shares(_least_d2(x, centres), np.ones(len(x), dtype=bool))


def _least_d2(x: Array, centres: Array) -> NDArray[np.float64]:
    if not len(centres):
        return np.full(len(x), np.inf)
    return nearest(x, centres)[1].astype(np.float64)


def _draw_shares(d2: NDArray[np.float64], free: NDArray[np.bool_]) -> NDArray[np.float64]:
    """D^2 shares over the free rows; equal ones where D^2 is 0 or unbounded everywhere."""
    weights = np.where(free, d2, 0)
    if not weights.any() or np.isinf(d2).any():
        weights = free.astype(np.float64)
    shares: NDArray[np.float64] = weights / weights.sum()
    return shares


def kmeans_plus_plus(x: Array, centres: Array, k: int, rng: Generator) -> Ints:
    """Rows of ``x`` drawn as ``k`` further centres, one after another, by D^2; distinct, ``(k,)``.

    ``centres (m, d)`` are already chosen (``m`` may be 0: the first is then drawn uniformly).
    Rows that lie on a chosen one come only when nothing else is left.
    Errors: fewer rows than ``k``.  O(n (m + k) d).
    """
    if k > len(x):
        raise InputError(f"cannot draw {k} centres from {len(x)} rows: ask for fewer clusters")
    d2, free = _least_d2(x, centres), np.ones(len(x), dtype=bool)
    chosen = np.empty(k, dtype=np.int64)
    for i in range(k):
        row = rng.choice(len(x), p=_draw_shares(d2, free))
        chosen[i], free[row] = row, False
        np.minimum(d2, _least_d2(x, x[row : row + 1]), out=d2)
    return chosen


def class_means(z: Array, known: Ints, n_classes: int) -> tuple[Float, Ints]:
    """Mean of ``z`` over the labelled rows of each class ``(n_classes, d)``, and their counts.

    ``known (n,)`` is -1 where there is no label; a class without a label has count 0 and a
    row of NaN, which no distance can take for a place.  CCL Eq. 6.
    """
    labelled = np.flatnonzero(known >= 0)
    if labelled.size and known[labelled].max() >= n_classes:
        raise InputError(f"a label {known.max()} is outside the {n_classes} classes of the list")
    means, counts = _group_means(z[labelled], known[labelled], n_classes)
    means[counts == 0] = np.nan
    return means, counts


def _group_means(x: Array, labels: Ints, k: int) -> tuple[NDArray[np.float64], Ints]:
    """Mean row of each of ``k`` groups (zeros where empty) and the sizes, in float64 blocks."""
    from scipy.sparse import csr_array

    sums = np.zeros((k, x.shape[1]))
    for rows in row_blocks(len(x), x.shape[1]):
        group = labels[rows]
        member = csr_array((np.ones(len(group)), (group, np.arange(len(group)))), (k, len(group)))
        sums += member @ x[rows].astype(np.float64)
    counts = np.bincount(labels, minlength=k)
    return sums / np.maximum(counts, 1)[:, None], counts


def seeded_kmeans(
    z: Array, known: Ints, k: int, rng: Generator, *, iterations: int = 10, n_init: int = 20
) -> Float:
    """Centres ``(k, d)`` for CCL: row c is the mean of class c where it has labels.

    1. A class with labels: the mean of its labelled rows (CCL Eq. 6).
    2. Every other row: k-means++ on the unlabelled rows given those means, then ``iterations``
       Lloyd steps over all rows, labelled ones pinned to their class; a raw D^2 draw tends to
       be an outlier.  An emptied cluster keeps its place.  The class means come back unchanged.
    3. No label at all: `kmeans`; it may give fewer rows than ``k`` when rows repeat.

    Errors: a label outside ``0..k-1``, fewer rows than ``k``, NaN or inf.
    O(iterations n k d).  Constrained seeded k-means: Basu, Banerjee & Mooney, ICML 2002.
    """
    if not (known >= 0).any():
        return kmeans(z, k, rng, n_init=n_init).centres
    if len(z) < k:
        raise InputError(f"fewer images ({len(z)}) than clusters ({k}): ask for fewer clusters")
    _check_finite(z)
    means, counts = class_means(z, known, k)
    missing = counts == 0
    dtype = np.result_type(z.dtype, np.float32)
    if not missing.any():
        return means.astype(dtype)
    candidates = np.flatnonzero(known < 0)
    if len(candidates) < missing.sum():  # nearly everything is labelled: any row may start one
        candidates = np.arange(len(z))
    drawn = kmeans_plus_plus(z[candidates], means[~missing], int(missing.sum()), rng)
    centres = means.copy()
    centres[missing] = z[candidates[drawn]]
    for _ in range(iterations):
        labels = np.where(known >= 0, known, nearest(z, centres)[0])
        moved, sizes = _group_means(z, labels, k)
        centres[sizes > 0] = moved[sizes > 0]
    centres[~missing] = means[~missing]
    return centres.astype(dtype)


def _check_finite(x: Array) -> None:
    bad = sum(int((~np.isfinite(x[rows])).any(axis=1).sum()) for rows in row_blocks(*x.shape))
    if bad:
        raise InputError(
            f"{bad} of {len(x)} rows hold NaN or inf: lower the learning rate or check the images"
        )


# --- clusters and classes ------------------------------------------------------------------


def vote(
    clusters: Ints,
    classes: Ints,
    n_clusters: int,
    n_classes: int,
    *,
    centres: Array | None = None,
    fixed: Ints | None = None,
) -> Ints:
    """The class of each cluster ``(n_clusters,)`` by majority of the labelled images in it.

    ``clusters (m,)`` and ``classes (m,)`` are those of the labelled images.  Clusters are taken
    by falling size of their top vote, then by index; a tie goes to the class with fewer clusters
    so far, then to the lower class.  ``fixed (n_clusters,)`` gives clusters that already stand
    for a class (-1: none); they count, and do not vote.  A cluster without a vote takes the
    class of the nearest one that has one, by ``centres (n_clusters, d)``; -1 without ``centres``
    or when nothing has a class.  CCL, prediction.
    """
    table = np.zeros((n_clusters, n_classes), dtype=np.int64)
    np.add.at(table, (clusters, classes), 1)
    mapping = np.full(n_clusters, -1, dtype=np.int64) if fixed is None else fixed.astype(np.int64)
    taken = np.bincount(mapping[mapping >= 0], minlength=n_classes)
    top = table.max(axis=1, initial=0)
    for j in np.argsort(-top, kind="stable"):
        if mapping[j] >= 0 or top[j] == 0:
            continue
        tied = np.flatnonzero(table[j] == top[j])
        mapping[j] = tied[np.argmin(taken[tied])]
        taken[mapping[j]] += 1
    silent, voted = np.flatnonzero(mapping < 0), np.flatnonzero(mapping >= 0)
    if centres is not None and silent.size and voted.size:
        mapping[silent] = mapping[voted[nearest(centres[silent], centres[voted])[0]]]
    return mapping


def hungarian(contingency: Array) -> tuple[Ints, Ints]:
    """Rows and columns of the one-to-one map with the largest sum; ``min(shape)`` pairs.

    ``contingency (R, K)`` may be rectangular: the surplus side stays unmatched.
    O(max^3).  Kuhn 1955, by scipy's modified Jonker-Volgenant.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(contingency, maximize=True)
    return rows.astype(np.int64), columns.astype(np.int64)
