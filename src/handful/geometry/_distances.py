"""Squared Euclidean distances in blocks, centred first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from handful.errors import InputError
from handful.geometry._blocks import BLOCK_BYTES, CACHE, HELD, Array, Float, Ints, row_blocks


def _working_type(x: Array) -> np.dtype[Any]:
    return np.dtype(np.float64 if x.dtype == np.float64 else np.float32)


class Centred:
    """The rows of ``x (n, d)`` from their mean: float64 for a float64 ``x``, else float32.

    d2 = |x|^2 + |c|^2 - 2 x.c cancels far from the origin: two points 1 apart at 1e4 have
    float32 distance 0.  The mean is float64.  ``held=True`` keeps the rows for many passes,
    as long as they take no more than 1 GB.
    """

    def __init__(self, x: Array, *, held: bool = False) -> None:
        self.x, self.dtype = x, _working_type(x)
        self.mean = x.mean(axis=0, dtype=np.float64) if len(x) else np.zeros(x.shape[1])
        self._held: Float | None = None
        if held and x.size * self.dtype.itemsize <= HELD:
            kept = np.empty(x.shape, dtype=self.dtype)
            for rows in row_blocks(len(x), x.shape[1], limit=CACHE):
                kept[rows] = self[rows]
            self._held = kept

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice | Ints) -> Float:
        if self._held is not None:
            return self._held[rows]
        return self.place(self.x[rows])

    def place(self, rows: Array) -> Float:
        """Any rows ``(m, d)`` as seen from the mean."""
        return (rows - self.mean).astype(self.dtype)

    def blocks(self, width: int = 1, *, limit: int = CACHE) -> Iterator[tuple[slice, Float]]:
        """All rows, a block at a time; ``width`` more numbers a row are needed beside it."""
        for rows in row_blocks(len(self), max(width, self.x.shape[1]), limit=limit):
            yield rows, self[rows]


def _distance_blocks(x: Array, centres: Array) -> Iterator[tuple[slice, Float]]:
    """Blocks of d2, by the expansion, after centring both by the mean of ``x``."""
    if x.ndim != 2 or centres.ndim != 2 or x.shape[1] != centres.shape[1]:
        raise InputError(
            f"distances need (n, d) and (k, d), got {x.shape} and {centres.shape}: same d for both"
        )
    view = Centred(x)
    c = view.place(centres)
    c_sq = np.einsum("kd,kd->k", c, c)
    for rows, b in view.blocks(len(c), limit=BLOCK_BYTES):
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


def unit_rows(x: Array) -> Float:
    """Rows of ``x (n, d)`` scaled to length 1, a row of zeros as it is; float64 for a float64
    ``x``, else float32.  A copy; the lengths are float64.  NaN stays, and inf becomes NaN.
    """
    out = np.empty(x.shape, dtype=_working_type(x))
    for rows in row_blocks(*x.shape, limit=CACHE):
        part = x[rows].astype(np.float64)
        length = np.linalg.norm(part, axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):  # whoever looks at NaN or inf has to refuse it
            out[rows] = np.divide(part, length, out=np.zeros_like(part), where=length != 0)
    return out
