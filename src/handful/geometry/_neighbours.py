"""The nearest neighbours of every row, and how closely they stand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import blake2b
from threading import Lock
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful.errors import InputError
from handful.geometry._blocks import CACHE, Array, Float, Ints, check_finite, row_blocks
from handful.geometry._cells import recall, screen_cells
from handful.geometry._screen import (
    Screen,
    screen_all,
    screen_some,
    search_again,
    settle,
    unsure,
)
from handful.rng import rng_for

Found: TypeAlias = tuple[Ints, NDArray[np.float64], float]  # ids, d2, recall
Search: TypeAlias = Callable[[Array, int], Found]

EXACT_ROWS = 100_000
MATRICES = 4  # whose neighbours are remembered
SPARE = 8  # candidates beyond k that float32 hands to float64

_REMEMBERED: OrderedDict[tuple[bytes, bool], Neighbours] = OrderedDict()
_LOCK = Lock()


class Neighbours(NamedTuple):
    """``ids (n, k)``, ``d2 (n, k)`` nearest first, how they were found, and how many of them.

    ``method`` is ``exact`` or ``cells``; ``recall`` the share of the true neighbours that was
    found for 1,000 probes, 1 when exact.
    """

    ids: Ints
    d2: NDArray[np.float64]
    method: str
    recall: float


def knn(x: Array, k: int) -> tuple[Ints, NDArray[np.float64]]:
    """The ``min(k, n - 1)`` nearest other rows of each row: ids, d2 ``(n, k)``.

    Exact: sorted by (float64 d2, index), for any ``x (n, d)``, whatever the number of threads.
    A copy of a row is a neighbour at distance 0; the row itself is none.  Errors: NaN or inf.
    O(n^2 d) products in float32, half of them by symmetry; O(n (k + d)) memory, tiles of 16 MB.

    k + 8 candidates by float32 over centred rows, their distances again as differences in
    float64.  Where the k-th lies within the rounding of the last candidate (piles of near
    copies, grids), the row is searched again with that rounding allowed for.
    """
    ids, d2, _ = _among_distinct(x, k, _exact)
    return ids, d2


def neighbours(x: Array, k: int, *, exact: bool | None = None) -> Neighbours:
    """The ``min(k, n - 1)`` nearest other rows of each row, remembered by the content of ``x``.

    `knn` up to 100,000 rows (or ``exact=True``); above (or ``exact=False``) k-means cells, about
    sqrt(n) of them and the 8 nearest searched, with the recall measured: O(n^1.5 d).  The last
    four matrices are remembered, read-only, so that whoever asks for the same rows again, or
    for fewer neighbours of them, waits for a hash of ``x`` only.  Errors: as `knn`.
    """
    exact = len(x) <= EXACT_ROWS if exact is None else exact
    key = (_digest(x), bool(exact))
    with _LOCK:
        found = _REMEMBERED.pop(key, None)
        if found is None or found.ids.shape[1] < min(k, len(x) - 1):
            ids, d2, share = _among_distinct(x, k, _exact if exact else _approximate)
            ids.flags.writeable = d2.flags.writeable = False
            found = Neighbours(ids, d2, "exact" if exact else "cells", share)
        _REMEMBERED[key] = found
        while len(_REMEMBERED) > MATRICES:
            _REMEMBERED.popitem(last=False)
    k = max(k, 0)
    return found._replace(ids=found.ids[:, :k], d2=found.d2[:, :k])


def _digest(x: Array) -> bytes:
    digest = blake2b(f"{x.shape} {x.dtype.str}".encode(), digest_size=16)
    for rows in row_blocks(len(x), x.size // max(1, len(x))):
        digest.update(np.ascontiguousarray(x[rows]).data)
    return digest.digest()


def _among_distinct(x: Array, k: int, search: Search) -> Found:
    """Search the distinct rows, then spread what was found over their copies."""
    if x.ndim != 2:
        raise InputError(f"neighbours need (n, d) rows, got {x.shape}: flatten the images first")
    k = min(k, len(x) - 1)
    if k <= 0:
        return np.empty((len(x), 0), dtype=np.int64), np.empty((len(x), 0)), 1.0
    check_finite(x)
    first, copy_of = distinct_rows(x)
    if len(first) == len(x):
        return search(x, k)
    ids, d2, share = search(x[first], min(k, len(first) - 1))
    return *with_copies(ids, d2, copy_of, k), share


def _exact(x: Array, k: int) -> Found:
    """`knn` of distinct rows."""
    n = len(x)
    if k == 0:
        return np.empty((n, 0), dtype=np.int64), np.empty((n, 0)), 1.0
    screen = Screen(x)
    lists = screen_all(screen, min(k + SPARE, n - 1))
    ids, d2 = settle(x, np.arange(n), lists, k)
    if lists.m < n - 1 and (rows := unsure(screen, lists, d2)).size:
        ids[rows], d2[rows] = search_again(screen, rows, d2[rows, -1], k)
    return ids, d2, 1.0


def _approximate(x: Array, k: int) -> Found:
    """Neighbours in the nearest cells of distinct rows; the draws are the same every time."""
    n = len(x)
    if k == 0:
        return np.empty((n, 0), dtype=np.int64), np.empty((n, 0)), 1.0
    screen, m = Screen(x), min(k + SPARE, n - 1)
    lists = screen_cells(screen, m, rng_for(0, None, "cells"))
    ids, d2 = settle(x, np.arange(n), lists, k)
    short = np.flatnonzero(np.isinf(d2[:, -1]))  # cells too small to hold k others
    if short.size:
        ids[short], d2[short] = settle(x, short, screen_some(screen, short, m), k)
    return ids, d2, recall(screen, d2, k, m, rng_for(0, None, "probes"))


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
