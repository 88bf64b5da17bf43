"""Facility location: rows that lie near all others together, by lazy greedy."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heapreplace
from typing import Literal, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful.geometry._blocks import CACHE, Array, Ints, check_finite, row_blocks
from handful.geometry._distances import nearest, squared_distances


class Facilities(NamedTuple):
    """Rows ``(k,)`` in the order of the choice, and what each one gains."""

    rows: Ints
    gains: NDArray[np.float64]


def facility_location(
    x: Array,
    chosen: Ints,
    k: int,
    rng: Generator,
    *,
    free: NDArray[np.bool_],
    served: Ints,
    ties: Literal["random", "index"] = "random",
) -> Facilities:
    """``k`` further facilities among the ``free`` rows of ``x (n, d)``, ``chosen`` being there.

    D_i = distance of row i to its nearest facility;  gain_j = sum over the ``served`` rows i of
    max(0, D_i - |x_i - x_j|);  repeat: the free row of largest gain.  Without a facility D is
    the largest of all these distances, which shifts every gain alike.

    Lazy: a gain only falls as facilities are added, so that what it was bounds what it is;
    equal to plain greedy.  Equal gains fall by ``rng``, or by number.  O(n m d) for m served,
    O(n + m) memory and blocks of 4 MB.  Minoux 1978.
    """
    check_finite(x)
    rows = np.flatnonzero(free)
    rows = rng.permutation(rows) if ties == "random" else rows
    k = max(0, min(k, len(rows)))
    picks, gains = np.empty(k, dtype=np.int64), np.zeros(k)
    if not k:
        return Facilities(picks, gains)
    y = x[served].astype(np.float64)
    if len(chosen):
        reach = np.sqrt(nearest(y, x[chosen].astype(np.float64))[1])
    else:
        reach = np.full(len(y), max(float(away.max()) for _, away in _away(y, x, rows)))
    bounds = np.empty(len(rows))
    for some, away in _away(y, x, rows):
        bounds[some] = np.maximum(reach[:, None] - away, 0).sum(axis=0)
    # a root of |x|^2 + |y|^2 - 2 x.y is good to the root of its rounding: bounds stay bounds
    bounds += len(y) * x.shape[1] * np.sqrt(8 * np.finfo(float).eps) * float(np.abs(y).max())
    unit = float(bounds.max()) or 1.0

    def key(gain: float) -> float:
        return -round(gain / unit, 12)  # sums that are equal differ in their last digits

    heap = [(key(bound), place) for place, bound in enumerate(bounds.tolist())]
    heapify(heap)
    knows = np.full(len(rows), -1)  # of so many picks a bound knows
    for i in range(k):
        while knows[place := heap[0][1]] < i:
            away = _exactly(y, x[rows[place]])
            knows[place], bounds[place] = i, np.maximum(reach - away, 0).sum()
            heapreplace(heap, (key(bounds[place]), place))
        picks[i], gains[i] = rows[place], bounds[place]
        heappop(heap)
        reach = np.minimum(reach, _exactly(y, x[rows[place]]))
    return Facilities(picks, gains)


def _exactly(y: Array, row: Array) -> NDArray[np.float64]:
    """The distance ``(m,)`` of every ``y`` to one row, by differences."""
    out = np.empty(len(y))
    for some in row_blocks(*y.shape, limit=CACHE):
        out[some] = np.linalg.norm(y[some] - row, axis=1)
    return out


def _away(y: Array, x: Array, rows: Ints) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Blocks of ``rows`` of ``x``, and the distances ``(m, b)`` of every ``y`` to them."""
    for some in row_blocks(len(rows), len(y), limit=CACHE):
        yield some, np.sqrt(squared_distances(y, x[rows[some]].astype(np.float64)))
