"""k-means: plain, seeded by class means, and its k-means++ draws."""

from __future__ import annotations

import logging
import warnings

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful.errors import InputError
from handful.geometry._blocks import Array, Float, Ints, check_finite, row_blocks
from handful.geometry._distances import nearest, squared_distances
from handful.geometry._lloyd import Clustering, lloyd
from handful.rng import rng_for

_logger = logging.getLogger(__name__)
_COMPARED = 20_000  # rows at most among which the greedy start is found
_TRIED = 1_000  # of them that may be a centre at first
_RESTED = 30  # steps there at most


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
    check_finite(x)
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


def greedy_start(x: Array, k: int, candidates: Ints) -> Ints:
    """Rows of ``x (n, d)`` to start ``k`` clusters from, one after another; nothing is drawn.

    The next one is the candidate that lowers the inertia most: the largest sum over all rows of
    max(d2 to the nearest chosen - d2 to the candidate, 0); ties: the first.  The first is the one
    nearest to the mean.  O(n c d) products for c ``candidates`` (row numbers), O(n c) a centre;
    memory n c float32.  The start of fast global k-means: Likas, Vlassis & Verbeek, Pattern
    Recognition 36, 2003.
    Errors: fewer candidates than ``k``.
    """
    if k > len(candidates):
        raise InputError(f"cannot take {k} centres from {len(candidates)} rows: ask for fewer")
    d2 = squared_distances(x[candidates], x).astype(np.float32)
    chosen = [int(d2.sum(axis=1, dtype=np.float64).argmin())]
    least = d2[chosen[0]].copy()
    while len(chosen) < k:
        lowered = np.array([np.maximum(least - row, 0).sum(dtype=np.float64) for row in d2])
        lowered[chosen] = -1  # a duplicate of a chosen one lowers nothing; each row comes once
        chosen.append(int(lowered.argmax()))
        np.minimum(least, d2[chosen[-1]], out=least)
    return np.asarray(candidates)[chosen]


def greedy_kmeans(x: Array, k: int, *, max_iter: int = 100) -> Clustering:
    """Lloyd's k-means from `greedy_start`: the same clusters whatever the seed.

    Above 20,000 rows the start is found on so many of them, in 30 steps; 1,000 of them (or ``k``)
    may be a centre at first.  Which ones hangs on the number of rows alone.
    Errors: fewer rows than ``k``, NaN or inf.  O(n k d) a step.
    """
    if len(x) < k:
        raise InputError(f"fewer images ({len(x)}) than clusters ({k}): ask for fewer clusters")
    check_finite(x)
    fixed = rng_for(0, None, "greedy k-means")
    rows = np.sort(fixed.choice(len(x), min(len(x), _COMPARED), replace=False))
    some = np.sort(fixed.choice(len(rows), min(len(rows), max(_TRIED, k)), replace=False))
    start = x[rows]
    begun = lloyd(start, start[greedy_start(start, k, some)], max_iter=_RESTED)
    return lloyd(x, begun.centres, max_iter=max_iter)


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
    check_finite(z)
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
