"""Which images are learned from and which are scored: decided by data and seed alone.

``80/20``: the test part is ``round(0.2 n)`` images, stratified where every class has two
or more (CCL paper, section 3.4; the paper says "validation").  MNIST's and Fashion-MNIST's
is cut from their 60,000 training images, every other set's from all of its images.
``official``: the parts that the set comes with.  ``none``: everything is the pool, and the
run is scored on what was not bought.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful.errors import InputError
from handful.pool.data import Data
from handful.rng import rng_for

__all__ = ["has_official", "limit", "split"]

Rows: TypeAlias = NDArray[np.int64]
_FROM_OFFICIAL_TRAIN = ("mnist", "fashion_mnist")  # "60K" images in the paper


def split(data: Data, how: Literal["80/20", "official", "none"], *, seed: int) -> tuple[Rows, Rows]:
    """Rows to learn from and rows to score, both sorted, disjoint.  O(n)."""
    rows = np.arange(len(data.pool), dtype=np.int64)
    if how == "none":
        return rows, rows[:0]
    if how == "official":
        if data.split is None or not has_official(data):
            raise InputError(f"{data.name} has no official split: take --split 80/20 or none")
        return rows[data.split == 0], rows[data.split == 1]
    if data.name in _FROM_OFFICIAL_TRAIN and data.split is not None and has_official(data):
        rows = rows[data.split == 0]
    if len(rows) < 2:
        raise InputError(f"{data.name} has {len(rows)} image: too few to hold any back for scoring")
    scorable = rows if data.labels is None else rows[data.labels[rows] >= 0]
    test = _draw(scorable, data.labels, round(0.2 * len(scorable)) or 1, seed)
    return np.setdiff1d(rows, test), test


def limit(rows: Rows, most: int, *, seed: int) -> Rows:
    """A seeded subset of at most ``most`` rows, sorted."""
    if len(rows) <= most:
        return rows
    return np.sort(rng_for(seed, None, "limit").choice(rows, size=most, replace=False))


def balanced(labels: NDArray[np.int64], most: int, *, seed: int) -> Rows:
    """``most`` rows, sorted, as many of each class as there are to be had; -1 is no class."""
    rng = rng_for(seed, None, "balanced")
    place = np.full(len(labels), np.iinfo(np.int64).max)
    for c in np.unique(labels[labels >= 0]):
        mine = rng.permutation(np.flatnonzero(labels == c))
        place[mine] = np.arange(len(mine))  # the first of every class, then the second ...
    known = rng.permutation(np.flatnonzero(labels >= 0))
    return np.sort(known[np.argsort(place[known], kind="stable")[:most]])


def has_official(data: Data) -> bool:
    """Whether the set comes with both a training and a test part."""
    return data.split is not None and set(np.unique(data.split).tolist()) >= {0, 1}


def _draw(rows: Rows, labels: NDArray[np.int64] | None, n: int, seed: int) -> Rows:
    rng = rng_for(seed, None, "split")
    if labels is None:
        return np.sort(rng.choice(rows, size=n, replace=False))
    of = labels[rows]
    classes, counts = np.unique(of, return_counts=True)
    if counts.min() < 2 or n < len(classes):
        return np.sort(rng.choice(rows, size=n, replace=False))
    # largest remainders: every class gives its share, and the parts sum to n exactly
    exact = counts * (n / len(rows))
    take = np.floor(exact).astype(np.int64)
    behind = np.argsort(-(exact - take), kind="stable")[: n - int(take.sum())]
    take[behind] += 1
    drawn = [
        rng.choice(rows[of == c], size=int(k), replace=False)
        for c, k in zip(classes, take, strict=True)
    ]
    return np.sort(np.concatenate(drawn))
