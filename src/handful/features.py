"""Pool -> matrix: the vectors that learners without a network of their own stand on.

Ready features are taken as they are, images as their pixels in [0, 1], row after row.
Everything is read in blocks, so a pool on disk is never whole in memory as floats unless
the caller keeps it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful.errors import InputError, RecipeError
from handful.types import Array, Pool

__all__ = ["Kind", "blocks", "check", "flat", "moments", "vectors", "width"]

Kind: TypeAlias = Literal["auto", "pixels", "features"]
BLOCK_BYTES = 64 << 20


def check(pool: Pool, kind: Kind = "auto") -> None:
    """Raise where a pool has not what is asked for, or has features with NaN or inf."""
    if kind == "features" and pool.features is None:
        raise RecipeError("features = 'features' needs ready features and this pool holds images")
    if kind == "pixels" and pool.features is not None:
        raise RecipeError("features = 'pixels' needs images and this pool holds ready features")
    if pool.features is None:
        return
    for rows in blocks(len(pool), pool.features.shape[1]):
        bad = np.flatnonzero(~np.isfinite(pool.features[rows]).all(axis=1))
        if len(bad):
            raise InputError(
                f"the features of {pool.ids[int(rows[bad[0]])]!r} hold NaN or inf:"
                " leave such rows out or compute them again"
            )


def width(pool: Pool) -> int:
    """Numbers in one vector."""
    if pool.features is not None:
        return int(pool.features.shape[1])
    return pool.channels * math.prod(pool.size)


def blocks(n: int, width: int) -> Iterator[NDArray[np.int64]]:
    """Row numbers 0..n-1 in pieces of at most 64 MB of float32."""
    size = max(1, BLOCK_BYTES // (4 * max(1, width)))
    for start in range(0, n, size):
        yield np.arange(start, min(n, start + size))


def flat(images: Array) -> NDArray[np.float32]:
    """Images uint8 ``(B, C, H, W)`` -> pixels in [0, 1] ``(B, C H W)``; vectors as they are."""
    x = np.asarray(images)
    if x.dtype == np.uint8:
        x = x.astype(np.float32) / 255
    return np.ascontiguousarray(x.reshape(len(x), math.prod(x.shape[1:])), dtype=np.float32)


def vectors(pool: Pool, rows: Array | None = None) -> NDArray[np.float32]:
    """The vectors of these rows (default: all), ``(m, d) float32``."""
    rows = np.arange(len(pool)) if rows is None else np.asarray(rows, dtype=np.int64)
    d = width(pool)
    out = np.empty((len(rows), d), dtype=np.float32)
    for piece in blocks(len(rows), d):
        some = rows[piece]
        out[piece] = flat(pool.read(some) if pool.features is None else pool.features[some])
    return out


def moments(pool: Pool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation of every column over the whole pool; constant columns get 1.

    Two passes in float64: the one-pass form loses all digits where the mean is large.
    """
    n, d = len(pool), width(pool)
    mean, square = np.zeros(d), np.zeros(d)
    for rows in blocks(n, d):
        mean += vectors(pool, rows).sum(axis=0, dtype=np.float64)
    mean /= max(n, 1)
    for rows in blocks(n, d):
        square += np.square(vectors(pool, rows) - mean).sum(axis=0)
    deviation = np.sqrt(square / max(n, 1))
    return mean, np.where(deviation > 1e-6, deviation, 1.0)
