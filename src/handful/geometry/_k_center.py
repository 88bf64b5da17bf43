"""Greedy k-center: the row that is farthest from every centre, again and again."""

from __future__ import annotations

import logging
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful.geometry._blocks import CACHE, Array, Float, Ints, check_finite, row_blocks

_logger = logging.getLogger(__name__)
_POOL, _POOL_BYTES = 256, 512 << 10  # rows that are followed at every pick: so many, or a cache
_TOGETHER = 1024  # centres in one product


class Centres(NamedTuple):
    """Rows ``(k,)`` in the order of the choice, and the radius that each one leaves."""

    rows: Ints
    radii: NDArray[np.float64]


def k_center(
    x: Array,
    chosen: Ints,
    k: int,
    rng: Generator,
    *,
    free: NDArray[np.bool_] | None = None,
    outliers: int = 0,
    start: Literal["mean", "random"] = "mean",
    ties: Literal["random", "index"] = "random",
) -> Centres:
    """``k`` further centres among the ``free`` rows of ``x (n, d)``, ``chosen`` being centres.

    D_i = min over centres c of |x_i - c|^2;  repeat: the free row of largest D, but for the
    ``outliers`` largest, becomes a centre.  Radius: the square root of that largest D over the
    rows that are still free (0 when none is left).  Without a centre the first is the free row
    nearest to the mean of the free rows, or a random one.

    Exact: D is kept in float32 (float64 for such an ``x``), and the rows that its rounding
    leaves in question are compared in float64.  Equal ones fall by ``rng``, or by number.
    Between two passes over ``x`` only the farthest rows are followed: see `_Cover`.
    Errors: NaN or inf.  O(n (m + k) d) for m chosen; O(n) memory and blocks of 4 MB.
    Gonzalez 1985; greedy is within a factor 2 of the smallest radius.
    """
    check_finite(x)
    free = np.ones(len(x), dtype=bool) if free is None else free.copy()
    k = max(0, min(k, int(free.sum())))
    rows, radii = np.empty(k, dtype=np.int64), np.zeros(k)
    if not k:
        return Centres(rows, radii)
    cover = _Cover(x, chosen, free, ties)
    for i in range(k):
        if i or len(chosen):
            farthest, d2 = cover.farthest(outliers, rng)
        else:
            farthest, d2 = _first(x, free, start, ties, rng), np.inf
        if i:
            radii[i - 1] = np.sqrt(d2)
        if d2 == 0:
            _logger.warning("k-center: fewer than %d distinct rows; the rest is any", k)
            left = np.flatnonzero(cover.free)
            rows[i:] = (rng.permutation(left) if ties == "random" else left)[: k - i]
            return Centres(rows, radii)
        rows[i] = farthest
        cover.add(farthest)
    if cover.free.any():
        radii[-1] = np.sqrt(cover.farthest(outliers, rng)[1])
    return Centres(rows, radii)


def _first(x: Array, free: NDArray[np.bool_], start: str, ties: str, rng: Generator) -> int:
    """The free row nearest to the mean of the free ones, or any of them."""
    left = np.flatnonzero(free)
    if start == "random":
        return int(rng.choice(left))
    mean, total = np.zeros(x.shape[1]), np.zeros(len(left))
    for some in row_blocks(len(left), x.shape[1], limit=CACHE):
        mean += x[left[some]].sum(axis=0, dtype=np.float64) / len(left)
    for some in row_blocks(len(left), x.shape[1], limit=CACHE):
        total[some] = _squares(x[left[some]].astype(np.float64) - mean)
    return int(left[_order(-total, ties, rng)[0]])


class _Cover:
    """D of every row while centres are added: of all rows now and then, of the farthest always.

    The ``pool`` holds the rows whose D was largest when all were last looked at, and ``beyond``
    is the largest D left outside.  D only falls: as long as the pool has a larger one, the
    farthest row is in it, and the centres since then wait until one product serves them all.
    """

    def __init__(self, x: Array, chosen: Ints, free: NDArray[np.bool_], ties: str) -> None:
        self.x, self.free, self.ties = x, free, ties
        self.dtype = _working_type(x)
        self.origin = x.mean(axis=0, dtype=np.float64).astype(self.dtype)  # against cancellation
        # a sum of d squares is off by d eps of itself; |x|^2 + |c|^2 - 2 x.c by that of its parts
        self.share, self.offset = (x.shape[1] + 4) * float(np.finfo(self.dtype).eps), 0.0
        self.centres = [int(i) for i in chosen]
        self.compared = 0  # with so many of them, all rows
        self.d2 = np.full(len(x), np.inf, dtype=self.dtype)
        self.d2[~free] = -1
        self.pool = np.empty(0, dtype=np.int64)
        self.pool_x, self.pool_d2 = np.empty((0, x.shape[1])), np.empty(0)
        self.beyond = np.inf
        self.sure = np.full(len(x), np.inf)  # D in float64 ...
        self.seen = np.zeros(len(x), dtype=np.int64)  # ... over so many of the centres

    def add(self, row: int) -> None:
        """Make a row a centre; the pool comes closer at once, by differences."""
        self.centres.append(row)
        self.free[row] = False
        self.d2[row] = -1
        self.pool_d2[self.pool == row] = -1
        centre = self.x[row].astype(self.dtype)
        for rows in row_blocks(*self.pool_x.shape, itemsize=self.dtype.itemsize, limit=CACHE):
            gap = self.pool_x[rows] - centre
            np.minimum(self.pool_d2[rows], _squares(gap), out=self.pool_d2[rows])

    def farthest(self, outliers: int, rng: Generator) -> tuple[int, float]:
        """The free row of largest D but for ``outliers``, and its D."""
        skip = min(outliers, int(self.free.sum()) - 1)
        middle, doubt = self._middle(self.pool_d2, skip)
        if not middle - doubt > self.beyond:
            self._look_at_all(skip)
            middle, doubt = self._middle(self.pool_d2, skip)
        skip -= int((self.pool_d2 > middle + doubt).sum())
        close = (self.pool_d2 >= max(0.0, middle - doubt)) & (self.pool_d2 <= middle + doubt)
        rows = self.pool[close]
        d2 = self._settled(rows)
        at = _order(d2, self.ties, rng)[skip]
        return int(rows[at]), float(d2[at])

    def _middle(self, d2: Float, skip: int) -> tuple[float, float]:
        """The largest but ``skip`` of some D, and how far from it the true one may have to be
        looked for; -1 where there are not so many."""
        if len(d2) <= skip:
            return -1.0, 0.0
        place = len(d2) - 1 - skip
        middle = float(np.partition(d2, place)[place] if skip else d2.max())
        return middle, 2 * (self.offset + self.share * middle)

    def _look_at_all(self, skip: int) -> None:
        """Compare every row with the centres that wait, and fill the pool anew."""
        new = self.x[self.centres[self.compared :]].astype(self.dtype) - self.origin
        for some in row_blocks(len(new), 1, itemsize=1, limit=_TOGETHER):
            self._come_closer(new[some])
        self.compared = len(self.centres)
        middle, doubt = self._middle(self.d2, skip)
        size, least = skip + max(_POOL, _POOL_BYTES // max(1, self.x[:1].nbytes)), 0.0
        if size < len(self.d2):
            least = float(np.partition(self.d2, len(self.d2) - size)[-size])
        inside = self.d2 >= max(0.0, min(least, middle - doubt))
        self.beyond = float(self.d2[~inside].max(initial=-1))
        self.pool = np.flatnonzero(inside)
        self.pool_x = self.x[self.pool].astype(self.dtype)
        self.pool_d2 = self.d2[self.pool]

    def _come_closer(self, centres: Float) -> None:
        width = max(len(centres), self.x.shape[1])
        own = _squares(centres)
        for rows in row_blocks(len(self.x), width, itemsize=self.dtype.itemsize, limit=CACHE):
            block = np.subtract(self.x[rows], self.origin, dtype=self.dtype)
            length = _squares(block)
            # the least over the centres, before |x|^2 comes to it
            least = (own - 2 * (block @ centres.T)).min(axis=1) + length
            np.minimum(self.d2[rows], np.maximum(least, 0), out=self.d2[rows])
            self.offset = max(self.offset, 2 * self.share * float(length.max()))

    def _settled(self, rows: Ints) -> NDArray[np.float64]:
        """D of some rows in float64, over the centres that they have not been compared with."""
        for since in np.unique(self.seen[rows]):
            some = rows[self.seen[rows] == since]
            for new in row_blocks(len(self.centres) - since, self.x.shape[1], limit=CACHE):
                centres = self.x[self.centres[since:][new]].astype(np.float64)
                for part in row_blocks(len(some), centres.size, limit=CACHE):
                    at = some[part]
                    away = self.x[at].astype(np.float64)[:, None] - centres
                    d2 = np.einsum("rcd,rcd->rc", away, away).min(axis=1)
                    self.sure[at] = np.minimum(self.sure[at], d2)
        self.seen[rows] = len(self.centres)
        return self.sure[rows]


def _order(values: NDArray[np.float64], ties: str, rng: Generator) -> Ints:
    """Positions from the largest value down; equal ones in any order, or in their own."""
    rounded = np.round(values / (np.abs(values).max() or 1.0), 12)  # sums differ in the last digits
    place = rng.permutation(len(values)) if ties == "random" and len(values) > 1 else None
    order = np.argsort(-rounded if place is None else -rounded[place], kind="stable")
    return order if place is None else place[order]


def _squares(rows: Float) -> Float:
    out: Float = np.einsum("nd,nd->n", rows, rows)
    return out


def _working_type(x: Array) -> np.dtype[Any]:
    """float32 for what fits it, squares included; float64 for the rest."""
    if x.dtype not in (np.float16, np.float32):
        return np.dtype(np.float64)
    largest = 0.0
    for rows in row_blocks(*x.shape, limit=CACHE):
        largest = max(largest, float(np.abs(x[rows]).max(initial=0)))
    return np.dtype(np.float32 if 1e-12 < largest < 1e15 else np.float64)
