"""The map: every picture a point on a plane, near those that it is like.

::

    up to 5,000 pictures   t-SNE (van der Maaten & Hinton, JMLR 9, 2008) by openTSNE
    the others             the mean of their 5 nearest of these, weighted by likeness
    over 50,000            a sample of so many; all others are left out

Near means alike; distances between far islands mean nothing.  Same vectors, same map.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful import geometry
from handful.rng import rng_for

__all__ = ["SHOWN", "drawn"]

Matrix: TypeAlias = NDArray[np.float32]
SHOWN = 50_000
LANDMARKS = 5_000
BESIDE = 5
STEPS, EARLY, LATE = 25, 100, 250  # iterations at once, exaggerated, after
PERPLEXITY = 30.0
DIRECTIONS = 50
TOP = 65_535


def drawn(
    x: Matrix, advance: Callable[[int], None]
) -> tuple[NDArray[np.int64], NDArray[np.uint16]]:
    """Rows of ``x (n, d)`` that are on the map, rising, and their places ``(m, 2) uint16``.

    ``advance(k)`` is called after k of the 350 iterations.  About 3 ms a landmark.
    """
    n = len(x)
    rows = np.arange(n)
    if n > SHOWN:
        rows = np.sort(rng_for(0, None, "map").choice(n, SHOWN, replace=False))
    x = x[rows, :DIRECTIONS]
    marks = np.arange(len(x))
    if len(x) > LANDMARKS:
        marks = np.sort(rng_for(0, None, "landmarks").choice(len(x), LANDMARKS, replace=False))
    placed = _plane(x[marks], advance)
    xy = np.empty((len(x), 2))
    xy[marks] = placed
    others = np.setdiff1d(np.arange(len(x)), marks)
    if len(others):
        xy[others] = _beside(x[others], x[marks], placed)
    return rows, _scaled(xy)


def _plane(x: Matrix, advance: Callable[[int], None]) -> NDArray[np.float64]:
    """t-SNE of these rows; under a dozen, or copies alone, are shown by their main directions."""
    if len(x) < 12 or np.ptp(x, axis=0).max(initial=0.0) == 0.0:
        advance(EARLY + LATE)
        wide = np.column_stack([x, np.zeros((len(x), 2))]).astype(np.float64)
        return wide[:, :2]
    from openTSNE import TSNEEmbedding, affinity  # slow to import; only a map needs it
    from openTSNE.initialization import pca

    perplexity = min(PERPLEXITY, len(x) / 4)
    near: Any = affinity.PerplexityBasedNN(
        x, perplexity=perplexity, method="exact", n_jobs=1, random_state=0
    )
    begun = pca(x.astype(np.float64), random_state=0)
    plane = TSNEEmbedding(
        begun, near, negative_gradient_method="bh", n_jobs=1, random_state=0, learning_rate="auto"
    )
    for steps, options in (
        (EARLY, {"exaggeration": 12, "momentum": 0.5}),
        (LATE, {"momentum": 0.8}),
    ):
        for _ in range(steps // STEPS):
            plane.optimize(n_iter=STEPS, inplace=True, **options)
            advance(STEPS)
    return np.asarray(plane, dtype=np.float64)


def _beside(x: Matrix, marks: Matrix, placed: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weighted mean of each row's nearest landmarks, in blocks."""
    out = np.empty((len(x), 2))
    for rows in geometry.row_blocks(len(x), len(marks)):
        d2 = geometry.squared_distances(x[rows], marks).astype(np.float64)
        near = np.argpartition(d2, BESIDE - 1, axis=1)[:, :BESIDE]
        gap = np.maximum(np.take_along_axis(d2, near, axis=1), 0)
        weight = 1 / (gap + 1e-6)
        weight /= weight.sum(axis=1, keepdims=True)
        out[rows] = np.einsum("rk,rkc->rc", weight, placed[near])
    return out


def _scaled(xy: NDArray[np.float64]) -> NDArray[np.uint16]:
    """The plane in 0..65535, one scale for both directions, in the middle."""
    if not len(xy):
        return np.empty((0, 2), dtype=np.uint16)
    low, wide = xy.min(axis=0), np.ptp(xy, axis=0)
    scale = TOP / max(float(wide.max()), 1e-12)
    whole = np.clip(np.rint((xy - low - wide / 2) * scale + TOP / 2), 0, TOP)
    return np.asarray(whole, dtype=np.uint16)
