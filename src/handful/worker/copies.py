"""Near-duplicates: the same picture saved again, in another size, or a moment later.

::

    candidates   the 8 nearest of each picture by its glance, 16 x 16 pixels
    copies       one is at most 6 levels lighter; else they differ by at most 6 levels (root mean
                 square) and 6.5 % of the contrast of the weaker; same form within 4 %
    stack        a picture and its copies; each is a copy of the first

Two pictures without contrast are copies only when they hold the same bytes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful import geometry
from handful.worker.pictures import Listing

__all__ = ["are_copies", "stacks"]

Pixels: TypeAlias = NDArray[np.uint8]
LEVELS = 6.0
SHARE = 0.065
FLAT = 2.0  # levels of contrast below which nothing can be told
FORM = 0.04
CANDIDATES = 8
BLOCK = 1 << 16


def are_copies(a: NDArray[Any], b: NDArray[Any]) -> NDArray[np.bool_]:
    """Which pairs of glances ``(m, 768)`` show the same picture."""
    a, b = a.astype(np.float32), b.astype(np.float32)
    gap = a - b
    lighter = np.abs(gap.mean(axis=1))
    apart, contrast = gap.std(axis=1), np.minimum(a.std(axis=1), b.std(axis=1))
    found: NDArray[np.bool_] = (
        (lighter <= LEVELS) & (apart <= LEVELS) & (apart <= SHARE * contrast) & (contrast > FLAT)
    )
    return found


def stacks(
    listing: Listing, glances: Pixels, alone: NDArray[np.bool_] | None = None
) -> NDArray[np.int32]:
    """Place of the first of each picture's stack, -1 for one alone: ``(n,) int32``.

    ``alone`` : pictures whose stack a person broke.  O(n^2) products of 192 numbers in blocks
    up to 100,000 pictures, O(n^1.5) above.
    """
    n = len(listing)
    stack = np.full(n, -1, dtype=np.int32)
    if n < 2:
        return stack
    small = _quarter(glances)
    near = geometry.neighbours(small, CANDIDATES).ids
    i = np.repeat(np.arange(n), near.shape[1])
    j = near.ravel()
    i, j = i[i < j], j[i < j]  # a pair is looked at from both sides: one is enough
    back_i, back_j = near.ravel(), np.repeat(np.arange(n), near.shape[1])
    i, j = np.append(i, back_i[back_i < back_j]), np.append(j, back_j[back_i < back_j])
    form = np.log(np.maximum(listing.sizes[:, 0], 1) / np.maximum(listing.sizes[:, 1], 1))
    close = np.abs(form[i] - form[j]) <= FORM
    i, j = i[close], j[close]
    same = listing.keys[i] == listing.keys[j]
    for start in range(0, len(i), BLOCK):
        part = slice(start, start + BLOCK)
        same[part] |= are_copies(glances[i[part]], glances[j[part]])
    if alone is not None:
        same &= ~(alone[i] | alone[j])
    return _gathered(i[same], j[same], stack)


def _quarter(glances: Pixels) -> NDArray[np.float32]:
    """Glances in 8 x 8 pixels, ``(n, 192)``."""
    x = glances.reshape(-1, 3, 8, 2, 8, 2).astype(np.float32)
    return np.ascontiguousarray(x.mean(axis=(3, 5)).reshape(len(glances), -1))


def _gathered(
    i: NDArray[np.int64], j: NDArray[np.int64], stack: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Pairs ``i < j`` to stacks: in the order of rows, each takes the copies that are left."""
    order = np.lexsort((j, i))
    for a, b in zip(i[order].tolist(), j[order].tolist(), strict=True):
        if stack[b] < 0 and stack[a] in (-1, a):
            stack[a] = stack[b] = a
    return stack
