"""Nearest neighbours."""

from __future__ import annotations

import numpy as np

from handful.geometry._blocks import Array, Float, Ints


def knn(x: Array, k: int) -> tuple[Ints, Float]:
    """The ``min(k, n - 1)`` nearest other rows of each row, nearest first: index, d2 ``(n, k)``.

    Exact: by a k-d tree up to 15 dimensions (about n log n), by blocks in O(n^2 d) above.
    A duplicate of a row is a neighbour at distance 0; the row itself is none.
    """
    from sklearn.neighbors import NearestNeighbors

    k = min(k, len(x) - 1)
    if k <= 0:
        return np.empty((len(x), 0), dtype=np.int64), np.empty((len(x), 0))
    distance, index = NearestNeighbors(n_neighbors=k).fit(x).kneighbors()
    return index.astype(np.int64), distance**2
