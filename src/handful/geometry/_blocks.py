"""Blocks of rows, the array types, and the one check of what comes in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful.errors import InputError

Array: TypeAlias = NDArray[Any]
Float: TypeAlias = NDArray[np.floating[Any]]
Ints: TypeAlias = NDArray[np.int64]

BLOCK_BYTES = 64 << 20
CACHE = 4 << 20  # bytes of a block that is passed over several times
HELD = 1 << 30  # bytes of rows kept ready for many passes


def row_blocks(
    n: int, width: int, *, itemsize: int = 8, limit: int = BLOCK_BYTES
) -> Iterator[slice]:
    """Slices that cover ``n`` rows of ``width`` numbers, each at most ``limit`` bytes."""
    rows = max(1, limit // max(1, width * itemsize))
    for start in range(0, n, rows):
        yield slice(start, min(n, start + rows))


def check_finite(x: Array) -> None:
    """Refuse rows that hold NaN or inf, naming the first.  O(n d) time, a block of memory."""
    bad, first = 0, -1
    for rows in row_blocks(*x.shape):
        found = np.flatnonzero(~np.isfinite(x[rows]).all(axis=1))
        if found.size and not bad:
            first = rows.start + int(found[0])
        bad += found.size
    if bad:
        raise InputError(
            f"{bad} of {len(x)} rows hold NaN or inf, row {first} the first: lower the learning"
            " rate or check the images"
        )
