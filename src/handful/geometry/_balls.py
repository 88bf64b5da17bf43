"""Open balls around rows: who stands within a radius, and up to which radius balls stay pure.

As for the nearest neighbours, float32 tiles rank and do not decide: a pair whose float32 d2 is
within the bound of its rounding of the threshold is computed again in float64, so that the
strict test |x - x'| < r holds to the last digit.  One pass over half of all pairs is n^2 d
multiplications; nothing is n x n.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful.errors import InputError
from handful.geometry._blocks import CACHE, Array, Ints, check_finite, row_blocks
from handful.geometry._distances import nearest
from handful.geometry._kmeans import kmeans
from handful.geometry._screen import Double, Screen, Single, screen_some, settle

_logger = logging.getLogger(__name__)
EDGES = 25_000_000  # pairs within a radius that are kept; beyond, they are found again
LEAST = 1e-12  # a radius: a ball holds its own centre
TRAINED = 5000, 50  # rows that k-means sees, at least, and rows a cluster
PROBES = 2000  # rows whose neighbours settle a typical distance
_TILE = 1024  # rows of a tile: 4 MB of d2 stay in the cache for the passes over it


class Balls:
    """How many uncovered rows stand in the open ball B(i) = { j : |x_i - x_j| < r } of each row.

    Formula   ``gain (n,)`` = |B(i) \\ C|, C = the ``covered (n,)`` rows; ``degree (n,)`` = |B(i)|.
    Cost      one pass of n^2 d / 2 products.  The pairs are kept as a sparse graph, 18 bytes
              each while it is made, as long as there are at most ``edges`` of them; beyond that
              `cover` multiplies the new rows with all others, a second pass over a whole run,
              and memory is O(n).  The same counts either way.
    """

    def __init__(
        self, x: Array, radius: float, covered: Array | None = None, *, edges: int = EDGES
    ) -> None:
        self.screen, self.radius = Screen(_checked(x)), max(float(radius), LEAST)
        n = self.screen.n
        self.covered = np.zeros(n, dtype=bool) if covered is None else np.array(covered, dtype=bool)
        self.gain = np.zeros(n, dtype=np.int64)
        self._graph: Any = None  # of a row that may be covered: all rows whose balls hold it
        self._linked = ~self.covered  # rows that the graph knows
        left = int(self._linked.sum())
        if left > n // 2:
            self._linked[:] = True
            self._count(self._halves(), edges)
        elif left:
            self._count(self._to(np.flatnonzero(self._linked)), edges)

    def _halves(self) -> Iterator[tuple[slice, Ints, Ints]]:
        """Every pair of rows both ways, for the products of one: ``(tile of i, i, j in B(i))``."""
        for here, there in _tiles(self.screen.n):
            i, j = _pairs(self.screen, here, there, self.radius)
            if here == there:
                yield here, (itself := np.arange(here.start, here.stop)), itself
                i, j = i[i < j], j[i < j]
            yield here, i, j
            yield there, j, i

    def _to(self, rows: Ints) -> Iterator[tuple[slice, Ints, Ints]]:
        """Pairs of any row i and of one of ``rows``: nothing else can be gained."""
        for some in row_blocks(len(rows), 1, itemsize=1, limit=_TILE):
            for there in row_blocks(self.screen.n, 1, itemsize=1, limit=_TILE):
                j, i = _pairs(self.screen, rows[some], there, self.radius)
                yield there, i, j

    def _count(self, pairs: Iterator[tuple[slice, Ints, Ints]], edges: int) -> None:
        """The gain of each i; the graph is given up when it grows past ``edges``."""
        found: list[tuple[NDArray[np.int32], NDArray[np.int32]]] | None = []
        kept, free = 0, ~self.covered
        for own, i, j in pairs:
            width = own.stop - own.start
            self.gain[own] += np.bincount(i[free[j]] - own.start, minlength=width)
            kept += len(i)
            if found is not None and kept <= edges:
                found.append((j.astype(np.int32), i.astype(np.int32)))
            else:
                found = None
        if found is not None:
            self._graph = _sparse(found, self.screen.n)

    def ball(self, row: int) -> Ints:
        """Rows in the ball of ``row``, ascending."""
        if self._graph is not None and self._linked[row]:
            ball: Ints = np.sort(self._graph[[row]].indices).astype(np.int64)
            return ball
        inside = _union(self.screen, np.array([row]), np.array([self.radius]))
        return np.flatnonzero(inside)

    def cover(self, row: int) -> Ints:
        """Cover the ball of ``row``: the rows that were not covered before, ascending."""
        ball = self.ball(row)
        new: Ints = ball[~self.covered[ball]]
        self.covered[new] = True
        n = self.screen.n
        if self._graph is not None:
            for some in row_blocks(len(new), n, itemsize=4):
                self.gain -= np.bincount(self._graph[new[some]].indices, minlength=n)
            return new
        for some in row_blocks(len(new), 1, itemsize=1, limit=_TILE):
            for there in row_blocks(n, 1, itemsize=1, limit=_TILE):
                _, j = _pairs(self.screen, new[some], there, self.radius)
                self.gain[there] -= np.bincount(j - there.start, minlength=there.stop - there.start)
        return new


def ball_union(x: Array, rows: Array, radii: Array) -> NDArray[np.bool_]:
    """Which of ``x (n, d)`` stand in the open balls of some ``rows (m,)``: ``(n,)``.

    ``radii (m,)``: each its own.  O(n m d) time, O(n) memory beside a block.
    """
    return _union(Screen(_checked(x)), np.asarray(rows, dtype=np.int64), np.asarray(radii))


def _union(screen: Screen, rows: Ints, radii: Array) -> NDArray[np.bool_]:
    inside = np.zeros(screen.n, dtype=bool)
    for some in row_blocks(len(rows), 1, itemsize=1, limit=_TILE):
        for there in row_blocks(screen.n, 1, itemsize=1, limit=_TILE):
            _, j = _pairs(screen, rows[some], there, radii[some])
            inside[j] = True
    return inside


def ball_agreement(
    x: Array, rows: Array, radii: Array, labels: Array, wanted: Array
) -> NDArray[np.float64]:
    """Share of the open ball of each of ``rows (m,)`` whose label is the one ``wanted (m,)``.

    ``labels (n,)`` are those of all rows of ``x (n, d)``; a centre counts with its own.  0 for a
    radius of 0: the ball is empty.  O(n m d) time, O(n) memory beside a block.
    """
    screen, rows = Screen(_checked(x)), np.asarray(rows, dtype=np.int64)
    labels, wanted, radii = np.asarray(labels), np.asarray(wanted), np.asarray(radii)
    inside, agreed = np.zeros(len(rows)), np.zeros(len(rows))
    for some in row_blocks(len(rows), 1, itemsize=1, limit=_TILE):
        place = np.full(screen.n, -1)
        place[rows[some]] = np.arange(some.start, some.stop)
        for there in row_blocks(screen.n, 1, itemsize=1, limit=_TILE):
            i, j = _pairs(screen, rows[some], there, radii[some])
            of = place[i]
            inside += np.bincount(of, minlength=len(rows))
            agreed += np.bincount(of[labels[j] == wanted[of]], minlength=len(rows))
    inside[radii <= 0] = 0
    return np.divide(agreed, inside, out=np.zeros(len(rows)), where=inside > 0)


def pure_radius(x: Array, labels: Array, purity: float) -> float:
    """The largest radius at which a share of ``purity`` of all balls holds one label alone.

    e_i = distance of row i to the nearest row of another label; a ball of radius r is pure iff
    e_i >= r, so the radius is sort(e)[floor((1 - purity) n)].  ``labels (n,)`` int.  inf when
    there is one label.  Time n^2 d / 2 products, O(n) memory.  Yehuda et al. 2022, section 4.2.
    """
    labels = np.asarray(labels)
    if len(labels) != len(x):
        raise InputError(f"{len(labels)} labels for {len(x)} rows: give one label a row")
    order = np.argsort(labels, kind="stable")  # tiles of one label need no look
    screen, labels = Screen(_checked(x)[order]), labels[order]
    e = _nearest_foreign(screen, labels)
    at = min(len(e) - 1, int((1 - purity) * len(e) + 1e-9))
    middle = float(np.partition(e, at)[at])
    if not np.isfinite(middle):
        return np.inf
    error = 2 * _rounding(screen, slice(None), slice(None))
    low = np.nextafter(np.float32(middle - error), np.float32(-1))
    high = np.nextafter(np.float32(middle + error), np.float32(np.inf))
    unsure = np.flatnonzero((e >= low) & (e <= high))
    exact = _settled_foreign(screen, labels, unsure, e[unsure])
    return float(np.sort(exact)[at - int((e < low).sum())])


def cluster_radius(x: Array, k: int, purity: float, rng: Generator) -> float:
    """`pure_radius` where the labels are ``k`` clusters of ``x (n, d)``; inf for one cluster.

    The best of five k-means on a sample of 5,000 rows, or of 50 a cluster: one start often
    splits a dense cluster, and a split makes balls there impure at any radius worth having.
    """
    least, each = TRAINED
    some = min(len(x), max(least, each * k))
    sample = np.sort(rng.choice(len(x), some, replace=False))
    centres = kmeans(x[sample], min(k, some), rng, n_init=5).centres
    return pure_radius(x, nearest(x, centres)[0], purity)


def ball_radius(x: Array, k: int, purity: float, rng: Generator) -> float:
    """The `cluster_radius` of ``x (n, d)``, for balls that are to cover it.

    Where there is none, or where balls of it hold less than two rows on average, it is the usual
    distance to the 20th neighbour, with a logged warning.
    """
    radius = cluster_radius(x, k, purity, rng)
    if np.isfinite(radius) and _held_by_two(Screen(_checked(x)), radius):
        return radius
    radius = neighbour_radius(x, 20, rng)
    _logger.warning(
        "no radius at which balls stay in one of %d clusters and hold two images: %.3g is taken,"
        " the usual distance to the 20th neighbour", k, radius,
    )  # fmt: skip
    return radius


def _held_by_two(screen: Screen, radius: float) -> bool:
    """Whether balls hold two rows on average, their centres among them: soon known of most."""
    pairs = 0
    for here, there in _tiles(screen.n):
        i, j = _pairs(screen, here, there, radius)
        pairs += int((i < j).sum()) if here == there else len(i)
        if 2 * pairs >= screen.n:
            return True
    return False


def neighbour_radius(x: Array, k: int, rng: Generator) -> float:
    """The median distance to the ``k``-th nearest other row, over at most 2,000 rows drawn."""
    screen = Screen(_checked(x))
    k = min(k, screen.n - 1)
    if k < 1:
        return LEAST
    rows = np.sort(rng.choice(screen.n, min(screen.n, PROBES), replace=False))
    _, d2 = settle(x, rows, screen_some(screen, rows, min(k + 4, screen.n - 1)), k)
    return max(LEAST, float(np.median(np.sqrt(d2[:, -1]))))


def looked_at(free: Array, labelled: Array, k: int, most: int | None, rng: Generator) -> Ints:
    """Rows that take part, ascending: all, or of more than ``most`` a sample.

    So many of the ``free (n,)`` and of the ``labelled (n,)`` rows, drawn; at least 2 k.
    """
    if most is None or len(free) <= most:
        return np.arange(len(free))
    most = max(most, 2 * k)
    drawn = [np.flatnonzero(some) for some in (free, labelled)]
    kept = [r if len(r) <= most else rng.choice(r, most, replace=False) for r in drawn]
    return np.sort(np.concatenate(kept))


def _checked(x: Array) -> Array:
    if x.ndim != 2:
        raise InputError(f"balls need (n, d) rows, got {x.shape}: flatten the images first")
    check_finite(x)
    return x


def _tiles(n: int) -> Iterator[tuple[slice, slice]]:
    """Every pair of tiles once, the diagonal ones included."""
    tiles = list(row_blocks(n, 1, itemsize=1, limit=_TILE))
    for a, here in enumerate(tiles):
        for there in tiles[a:]:
            yield here, there


def _rounding(screen: Screen, here: Ints | slice, there: Ints | slice) -> float:
    """Most that float32 can be wrong about a d2 between two sets of rows."""
    reach = float(screen.norm[here].max(initial=0)) + float(screen.norm[there].max(initial=0))
    bound: float = (screen.d + 8) * 2.0**-24 * reach**2
    return bound


def _pairs(
    screen: Screen, here: Ints | slice, there: slice, radius: float | Array
) -> tuple[Ints, Ints]:
    """Rows of ``here`` and of ``there`` that are less than ``radius`` apart, pair by pair.

    ``radius``: one for all, or one a row of ``here``.
    """
    d2 = screen.left(here) @ screen.right(there).T
    reach = np.maximum(np.asarray(radius, dtype=np.float64).reshape(-1, 1), LEAST)
    error = _rounding(screen, here, there) + 2.0**-23 * reach**2
    high = np.nextafter((reach**2 + error).astype(np.float32), np.float32(np.inf))
    flat = np.flatnonzero(d2 < high)
    at, j = np.divmod(flat, d2.shape[1])
    i, j = at + here.start if isinstance(here, slice) else here[at], j + there.start
    low = reach**2 - error
    unsure = np.flatnonzero(d2.ravel()[flat] >= (low[0] if len(low) == 1 else low[at, 0]))
    if unsure.size:
        limit = reach[0] if len(reach) == 1 else reach[at[unsure], 0]
        keep = np.ones(len(flat), dtype=bool)
        keep[unsure] = _distances(screen.x, i[unsure], j[unsure]) < limit
        i, j = i[keep], j[keep]
    return i, j


def _distances(x: Array, i: Ints, j: Ints) -> Double:
    """|x_i - x_j| pair by pair, by differences in float64."""
    out = np.empty(len(i))
    for some in row_blocks(len(i), x.shape[1], limit=CACHE):
        gap = x[i[some]].astype(np.float64) - x[j[some]]
        out[some] = np.sqrt(np.einsum("nd,nd->n", gap, gap))
    return out


def _sparse(pairs: list[tuple[NDArray[np.int32], NDArray[np.int32]]], n: int) -> Any:
    """Pairs of a row and a column as a sparse n x n matrix of ones."""
    from scipy.sparse import coo_array

    none = np.empty(0, dtype=np.int32)
    i, j = (np.concatenate([none, *parts]) for parts in zip((none, none), *pairs, strict=True))
    return coo_array((np.ones(len(i), dtype=np.int8), (i, j)), shape=(n, n)).tocsr()


def _nearest_foreign(screen: Screen, labels: Array) -> Single:
    """float32 d2 of each row to the nearest of another label; ``labels`` ascend."""
    e = np.full(screen.n, np.inf, dtype=np.float32)
    for here, there in _tiles(screen.n):
        if labels[here.start] == labels[there.stop - 1]:
            continue
        d2 = screen.left(here) @ screen.right(there).T
        if labels[here.stop - 1] >= labels[there.start]:
            d2[labels[here, None] == labels[there]] = np.inf
        np.minimum(e[here], d2.min(axis=1), out=e[here])
        np.minimum(e[there], d2.min(axis=0), out=e[there])
    return e


def _settled_foreign(screen: Screen, labels: Array, rows: Ints, e: Single) -> Double:
    """Distances of ``rows (R,)`` to the nearest of another label, in float64."""
    out = np.full(len(rows), np.inf)
    for some in row_blocks(len(rows), 1, itemsize=1, limit=_TILE):
        here = rows[some]
        limit = e[some] + np.float32(2 * _rounding(screen, here, slice(None)))
        limit = np.nextafter(limit, np.float32(np.inf))
        left = screen.left(here)
        for there in row_blocks(screen.n, 1, itemsize=1, limit=_TILE):
            d2 = left @ screen.right(there).T
            d2[labels[here, None] == labels[there]] = np.inf
            i, j = np.nonzero(d2 <= limit[:, None])
            np.minimum.at(out, some.start + i, _distances(screen.x, here[i], there.start + j))
    return out
