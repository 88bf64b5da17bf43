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


def row_blocks(
    n: int, width: int, *, itemsize: int = 8, limit: int = BLOCK_BYTES
) -> Iterator[slice]:
    """Slices that cover ``n`` rows of ``width`` numbers, each at most ``limit`` bytes."""
    rows = max(1, limit // max(1, width * itemsize))
    for start in range(0, n, rows):
        yield slice(start, min(n, start + rows))


def check_finite(x: Array) -> None:
    bad = sum(int((~np.isfinite(x[rows])).any(axis=1).sum()) for rows in row_blocks(*x.shape))
    if bad:
        raise InputError(
            f"{bad} of {len(x)} rows hold NaN or inf: lower the learning rate or check the images"
        )
