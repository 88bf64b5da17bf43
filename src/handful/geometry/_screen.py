"""The nearest rows of every row: screened in float32 tiles, then settled in float64.

One product of rows written as ``[-2 a, 1, |a|^2]`` and ``[b, |b|^2, 1]`` (both seen from the
mean of all rows) is a whole tile of d2.  Each row keeps the ``m`` least of what it has been
shown; once a list is full, a comparison with its worst entry drops nearly everything.
float32 ranks; it does not decide: `settle` computes the distances of the kept rows again, as
differences in float64, and says which rows the rounding of float32 may have misled.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful.errors import InputError
from handful.geometry._blocks import CACHE, HELD, Array, Ints, row_blocks

TILE = 2048  # rows of a tile: 16 MB of d2

Single: TypeAlias = NDArray[np.float32]
Double: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = Ints | slice


class Screen:
    """The rows of ``x (n, d)`` from their mean, ready for tiles of d2; their norms ``(n,)``."""

    def __init__(self, x: Array) -> None:
        self.x, (self.n, self.d) = x, x.shape
        self.mean: Double = x.mean(axis=0, dtype=np.float64)
        self.norm = np.empty(self.n, dtype=np.float32)
        held = self.n * (self.d + 2) * 4 <= HELD
        self._held = np.empty((self.n, self.d + 2), dtype=np.float32) if held else None
        for rows in row_blocks(self.n, self.d + 2, limit=CACHE):
            with np.errstate(over="ignore"):  # said in words below
                made = self._make(rows)
            self.norm[rows] = np.sqrt(made[:, self.d])
            if self._held is not None:
                self._held[rows] = made
        if not np.isfinite(self.norm).all():
            largest = float(np.abs(self.mean).max())
            raise InputError(f"features of size {largest:.0e} are beyond float32: scale them down")

    def _make(self, rows: Rows) -> Single:
        block = self.x[rows] - self.mean
        made = np.empty((len(block), self.d + 2), dtype=np.float32)
        made[:, : self.d] = block
        made[:, self.d] = np.einsum("nd,nd->n", block, block)
        made[:, self.d + 1] = 1
        return made

    def right(self, rows: Rows) -> Single:
        """``[b, |b|^2, 1]`` of some rows."""
        return self._make(rows) if self._held is None else self._held[rows]

    def left(self, rows: Rows) -> Single:
        """``[-2 a, 1, |a|^2]`` of some rows."""
        made = self.right(rows) * np.float32(-2)
        made[:, self.d + 1] = made[:, self.d] / -2
        made[:, self.d] = 1
        return made

    def error(self, rows: Rows, d2: Double) -> Double:
        """Most that float32 can be wrong about a d2 of at most ``d2 (R,)`` to one of ``rows``.

        (d + 8) u (|a| + |b|)^2, the bound of a sum of d + 2 products in any order, with
        |b| <= |a| + sqrt(d2).
        """
        reach = 2 * self.norm[rows].astype(np.float64) + np.sqrt(d2)
        bound: Double = (self.d + 8) * 2.0**-24 * reach**2
        return bound


class Lists:
    """The ``m`` least d2 that each of ``n`` rows has been shown, and whose they are; unsorted."""

    def __init__(self, n: int, m: int) -> None:
        self.m = m
        self.d2 = np.full((n, m), np.inf, dtype=np.float32)
        self.ids = np.full((n, m), -1, dtype=np.int64)
        self.worst = np.full(n, np.inf, dtype=np.float32)

    def show(self, rows: Ints, ids: Ints, d2: Single, *, across: bool = False) -> None:
        """Offer the tile ``d2 (R, C)`` of ``rows (R,)`` to ``ids (C,)``.

        ``across=True``: the columns are the rows of the lists and the rows are offered.
        """
        worst = self.worst[rows]
        if not across and d2.shape[1] >= self.m and np.isinf(worst).all():  # all would pass
            best = np.argpartition(d2, self.m - 1, axis=1)[:, : self.m]
            self._put(rows, ids[best], np.take_along_axis(d2, best, axis=1))
            return
        flat = np.flatnonzero(d2 < (worst if across else worst[:, None]))
        if flat.size:
            row, column = np.divmod(flat, d2.shape[1])
            found = d2.ravel()[flat]
            if across:
                order = np.argsort(column, kind="stable")
                row, column, found = column[order], row[order], found[order]
            self._merge(rows, row, ids[column], found)

    def _merge(self, rows: Ints, row: Ints, ids: Ints, d2: Single) -> None:
        """Take in some d2 of ``rows[row]``; ``row`` ascends."""
        changed, start, count = np.unique(row, return_index=True, return_counts=True)
        here = rows[changed]
        width = self.m + int(count.max())
        all_d2 = np.full((len(here), width), np.inf, dtype=np.float32)
        all_ids = np.full((len(here), width), -1, dtype=np.int64)
        all_d2[:, : self.m], all_ids[:, : self.m] = self.d2[here], self.ids[here]
        line = np.repeat(np.arange(len(here)), count)
        place = self.m + np.arange(len(row)) - np.repeat(start, count)
        all_d2[line, place], all_ids[line, place] = d2, ids
        best = np.argpartition(all_d2, self.m - 1, axis=1)[:, : self.m]
        self._put(
            here, np.take_along_axis(all_ids, best, axis=1), np.take_along_axis(all_d2, best, 1)
        )

    def _put(self, rows: Ints, ids: Ints, d2: Single) -> None:
        self.ids[rows], self.d2[rows] = ids, d2
        self.worst[rows] = d2.max(axis=1)


def screen_all(screen: Screen, m: int) -> Lists:
    """Lists of every row over all others; each pair of tiles is multiplied once."""
    lists = Lists(screen.n, m)
    count = -(-screen.n // max(TILE, 2 * m))
    edges = np.linspace(0, screen.n, count + 1).astype(int)
    tiles = [slice(a, b) for a, b in pairwise(edges.tolist())]
    every = np.arange(screen.n)
    for tile in tiles:  # its own tile first: lists are full before most of the work
        d2 = screen.left(tile) @ screen.right(tile).T
        np.fill_diagonal(d2, np.inf)
        lists.show(every[tile], every[tile], d2)
    for i, tile in enumerate(tiles):
        left = screen.left(tile)
        for other in tiles[i + 1 :]:
            d2 = left @ screen.right(other).T
            lists.show(every[tile], every[other], d2)
            lists.show(every[other], every[tile], d2, across=True)
    return lists


def screen_some(screen: Screen, rows: Ints, m: int) -> Lists:
    """Lists of some rows ``(R,)`` over all others."""
    lists, here = Lists(len(rows), m), np.arange(len(rows))
    for block in row_blocks(len(rows), TILE, itemsize=4, limit=4 * TILE**2):
        left = screen.left(rows[block])
        for tile in row_blocks(screen.n, 1, itemsize=1, limit=max(TILE, m)):
            d2 = left @ screen.right(tile).T
            inside = np.flatnonzero((rows[block] >= tile.start) & (rows[block] < tile.stop))
            d2[inside, rows[block][inside] - tile.start] = np.inf
            lists.show(here[block], np.arange(tile.start, tile.stop), d2)
    return lists


def difference_d2(x: Array, rows: Ints, ids: Ints) -> Double:
    """d2 of ``rows (R,)`` to ``ids (R, m)`` as sums of squared differences in float64.

    An id of -1 is nobody, at distance inf.
    """
    out = np.empty(ids.shape)
    for block in row_blocks(len(rows), x.shape[1], limit=CACHE):
        here = x[rows[block]].astype(np.float64)
        for j, other in enumerate(ids[block].T):
            gap = here - x[other]
            out[block, j] = np.einsum("nd,nd->n", gap, gap)
    out[ids < 0] = np.inf
    return out


def settle(x: Array, rows: Ints, lists: Lists, k: int) -> tuple[Ints, Double]:
    """The ``k`` nearest of each list, by (float64 d2, index): ids, d2 ``(R, k)``."""
    d2 = difference_d2(x, rows, lists.ids)
    order = np.lexsort((lists.ids, d2), axis=1)[:, :k]
    return np.take_along_axis(lists.ids, order, axis=1), np.take_along_axis(d2, order, axis=1)


def unsure(screen: Screen, lists: Lists, d2: Double) -> Ints:
    """Rows whose settled ``d2 (n, k)`` a row outside their list might beat or equal."""
    furthest = d2[:, -1]
    margin = screen.error(slice(None), furthest)
    return np.flatnonzero(furthest + margin >= lists.worst)


def search_again(screen: Screen, rows: Ints, d2: Double, k: int) -> tuple[Ints, Double]:
    """Exact neighbours of ``rows (R,)`` among all rows whose float32 d2 may be within ``d2``.

    ``d2 (R,)`` is any upper bound of the k-th distance.  Ids, d2 ``(R, k)``.
    """
    ids, out = np.empty((len(rows), k), dtype=np.int64), np.empty((len(rows), k))
    limit = (d2 + screen.error(rows, d2)).astype(np.float32)
    limit = np.nextafter(limit, np.float32(np.inf))
    for block in row_blocks(len(rows), screen.n, itemsize=4):
        left = screen.left(rows[block])
        within = np.empty((len(left), screen.n), dtype=bool)
        for tile in row_blocks(screen.n, 1, itemsize=1, limit=TILE):
            within[:, tile] = left @ screen.right(tile).T <= limit[block, None]
        within[np.arange(len(left)), rows[block]] = False
        for j, row in enumerate(rows[block], block.start):
            near = np.flatnonzero(within[j - block.start])[None]
            exact = difference_d2(screen.x, np.array([row]), near)[0]
            best = np.lexsort((near[0], exact))[:k]
            ids[j], out[j] = near[0, best], exact[best]
    return ids, out
