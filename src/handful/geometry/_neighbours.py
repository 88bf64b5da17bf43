"""The nearest neighbours of every row, and how closely they stand."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from handful.errors import InputError
from handful.geometry._blocks import CACHE, Array, Float, Ints, check_finite, row_blocks
from handful.geometry._screen import (
    Screen,
    screen_all,
    search_again,
    settle,
    unsure,
)

SPARE = 8  # candidates beyond k that float32 hands to float64


def knn(x: Array, k: int) -> tuple[Ints, NDArray[np.float64]]:
    """The ``min(k, n - 1)`` nearest other rows of each row: ids, d2 ``(n, k)``.

    Exact: sorted by (float64 d2, index), for any ``x (n, d)``, whatever the number of threads.
    A copy of a row is a neighbour at distance 0; the row itself is none.  Errors: NaN or inf.
    O(n^2 d) products in float32, half of them by symmetry; O(n (k + d)) memory, tiles of 16 MB.

    k + 8 candidates by float32 over centred rows, their distances again as differences in
    float64.  Where the k-th lies within the rounding of the last candidate (piles of near
    copies, grids), the row is searched again with that rounding allowed for.
    """
    if x.ndim != 2:
        raise InputError(f"neighbours need (n, d) rows, got {x.shape}: flatten the images first")
    k = min(k, len(x) - 1)
    if k <= 0:
        return np.empty((len(x), 0), dtype=np.int64), np.empty((len(x), 0))
    check_finite(x)
    first, copy_of = distinct_rows(x)
    if len(first) == len(x):
        return _knn_of_distinct(x, k)
    ids, d2 = _knn_of_distinct(x[first], min(k, len(first) - 1))
    return with_copies(ids, d2, copy_of, k)


def _knn_of_distinct(x: Array, k: int) -> tuple[Ints, NDArray[np.float64]]:
    n = len(x)
    if k == 0:
        return np.empty((n, 0), dtype=np.int64), np.empty((n, 0))
    screen = Screen(x)
    lists = screen_all(screen, min(k + SPARE, n - 1))
    ids, d2 = settle(x, np.arange(n), lists, k)
    if lists.m < n - 1 and (rows := unsure(screen, lists, d2)).size:
        ids[rows], d2[rows] = search_again(screen, rows, d2[rows, -1], k)
    return ids, d2


def distinct_rows(x: Array) -> tuple[Ints, Ints]:
    """Index of the first of each set of equal rows ``(m,)``, and each row's set ``(n,)``.

    Sets are numbered by their first row.  By a 128-bit hash of each row: O(n d), no sorting
    of rows.
    """
    digests = bytearray()
    for rows in row_blocks(*x.shape, limit=CACHE):
        for row in np.ascontiguousarray(x[rows] + x.dtype.type(0)):  # -0 is 0
            digests += blake2b(row, digest_size=16).digest()
    keys = np.frombuffer(digests, dtype="V16")
    _, first, copy_of = np.unique(keys, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return np.sort(first), rank[copy_of.reshape(-1)]


def with_copies(
    ids: Ints, d2: NDArray[np.float64], copy_of: Ints, k: int
) -> tuple[Ints, NDArray[np.float64]]:
    """Neighbours among distinct rows ``(m, j)`` spread over all rows ``(n, k)``.

    A row's nearest are its own copies, then the copies of the neighbours of its set; no set
    needs more than its first k + 1 rows.
    """
    order = np.argsort(copy_of, kind="stable")
    count = np.bincount(copy_of)
    start = np.cumsum(count) - count
    out_ids, out_d2 = np.empty((len(copy_of), k), dtype=np.int64), np.empty((len(copy_of), k))
    several = count > 1
    touched = several | several[ids].any(axis=1)
    if ids.shape[1] == k:  # no copies here: the neighbours stay, under their own index
        alone = np.flatnonzero(~touched)
        out_ids[order[start[alone]]] = order[start[ids[alone]]]
        out_d2[order[start[alone]]] = d2[alone]
    else:
        touched[:] = True
    for group in np.flatnonzero(touched):
        sets = np.concatenate([[group], ids[group]])
        size = np.minimum(count[sets], k + 1)
        near = [order[start[s] : start[s] + c] for s, c in zip(sets, size, strict=True)]
        rows, gap = np.concatenate(near), np.repeat(np.append(0.0, d2[group]), size)
        best = np.lexsort((rows, gap))
        rows, gap = rows[best], gap[best]
        for row in order[start[group] : start[group] + count[group]]:
            others = np.flatnonzero(rows != row)[:k]
            out_ids[row], out_d2[row] = rows[others], gap[others]
    return out_ids, out_d2


def compactness(d2: Float, *, floor: float = 1e-3) -> NDArray[np.float64]:
    """C_i = 1 / max(S_i, delta), ``(n,)``: how densely the neighbours of each row stand.

    S_i = sum of ``d2 (n, k)`` over the k nearest neighbours (a sum, squared distances), and
    delta = ``floor`` times the median of the S that are above 0, so that no pile of copies
    counts for more than 1 / ``floor`` typical rows.  All S = 0: C = 1.  DSAC Eq. 3.
    """
    s = np.asarray(d2, dtype=np.float64).sum(axis=1)
    apart = s[s > 0]
    if not apart.size:
        return np.ones(len(s))
    dense: NDArray[np.float64] = 1 / np.maximum(s, floor * np.median(apart))
    return dense
