"""Squared Euclidean distances in blocks, centred first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from handful.errors import InputError
from handful.geometry._blocks import Array, Float, Ints, row_blocks


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
