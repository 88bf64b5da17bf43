"""Approximate neighbours: k-means cells, and of each row the nearest few cells searched.

About sqrt(n) cells, trained on a sample.  A row's neighbours are sought among the rows of the
``SEARCHED`` cells whose centres are nearest to it: 2 n^1.5 d SEARCHED products in all, against
n^2 d for every pair.
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful.geometry._blocks import CACHE, Array, Ints, row_blocks
from handful.geometry._lloyd import lloyd
from handful.geometry._screen import TILE, Lists, Screen, screen_some, settle

SEARCHED = 8  # cells a row
SAMPLE = 40  # rows a cell that the cells are trained on
STEPS = 8  # of Lloyd: cells need not be settled
SPLITS = 3  # times that large cells are divided
PROBES = 1000  # rows whose exact neighbours are sought to measure the recall


def screen_cells(screen: Screen, m: int, rng: Generator) -> Lists:
    """Lists of the ``m`` nearest of each row in its nearest cells; shorter where these are few."""
    cells = max(1, round(sqrt(screen.n)))
    sample = np.sort(rng.choice(screen.n, min(screen.n, SAMPLE * cells), replace=False))
    centres = train_cells(screen.right(sample)[:, : screen.d], cells, rng)
    cells = len(centres)
    near = nearest_cells(screen, centres, min(SEARCHED, cells))
    lists = Lists(screen.n, m)
    members = _by_cell(near[:, :1], cells)
    visitors = _by_cell(near[:, 1:], cells)
    for own in members:
        _show(screen, lists, own, own)
    for own, others in zip(members, visitors, strict=True):
        _show(screen, lists, others, own)
    return lists


def train_cells(rows: Array, cells: int, rng: Generator) -> Array:
    """Centres of about ``cells`` cells of even size, ``(c, d)``, on a sample of rows.

    Lloyd from random rows leaves some cells with many times their share, and these are also
    the ones that most rows visit.  Thrice, each with over twice its share is given further
    centres from its own rows, and those with under a quarter are dropped.
    """
    start = np.sort(rng.choice(len(rows), cells, replace=False))
    found, share = lloyd(rows, rows[start], max_iter=STEPS), len(rows) / cells
    for _ in range(SPLITS):
        size = np.bincount(found.labels, minlength=len(found.centres))
        large = np.flatnonzero(size > 2 * share)
        if not large.size:
            break
        further = [
            rng.choice(np.flatnonzero(found.labels == c), int(size[c] / share) - 1, replace=False)
            for c in large
        ]
        start = np.concatenate([found.centres[size > share / 4], rows[np.concatenate(further)]])
        found = lloyd(rows, start, max_iter=STEPS // 2)
    return found.centres


def nearest_cells(screen: Screen, centres: Array, searched: int) -> NDArray[np.int32]:
    """The cells of each row, ``(n, searched)``, nearest first."""
    c = centres.astype(np.float32)
    half = np.einsum("kd,kd->k", c, c) / 2
    near = np.empty((screen.n, searched), dtype=np.int32)
    for rows in row_blocks(screen.n, max(len(c), screen.d), itemsize=4, limit=CACHE):
        d2 = half - screen.right(rows)[:, : screen.d] @ c.T
        best = np.argpartition(d2, searched - 1, axis=1)[:, :searched]
        order = np.take_along_axis(d2, best, axis=1).argsort(axis=1, kind="stable")
        near[rows] = np.take_along_axis(best, order, axis=1)
    return near


def _by_cell(near: NDArray[np.int32], cells: int) -> list[Ints]:
    """The rows that name each cell, ascending."""
    flat = near.reshape(-1)
    rows = np.argsort(flat, kind="stable") // max(1, near.shape[1])
    return np.split(rows, np.cumsum(np.bincount(flat, minlength=cells))[:-1])


def _show(screen: Screen, lists: Lists, rows: Ints, ids: Ints) -> None:
    """Offer ``ids`` to ``rows``, a tile at a time; no row is offered to itself."""
    for there in row_blocks(len(ids), 1, itemsize=1, limit=TILE):
        left = screen.left(ids[there])
        for here in row_blocks(len(rows), 1, itemsize=1, limit=TILE):
            d2 = left @ screen.right(rows[here]).T
            if rows is not ids:
                lists.show(rows[here], ids[there], d2, across=True)
                continue
            if here == there:
                np.fill_diagonal(d2, np.inf)
            lists.show(ids[there], rows[here], d2)


def recall(screen: Screen, d2: NDArray[np.float64], k: int, m: int, rng: Generator) -> float:
    """Share of the true neighbours of ``PROBES`` rows that ``d2 (n, k)`` holds.

    By distance: whoever stands no further than the true k-th neighbour is one.
    """
    rows = np.sort(rng.choice(screen.n, min(screen.n, PROBES), replace=False))
    _, true = settle(screen.x, rows, screen_some(screen, rows, m), k)
    return float((d2[rows] <= true[:, -1:]).mean())
