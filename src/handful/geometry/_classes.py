"""Which class a cluster stands for."""

from __future__ import annotations

import numpy as np

from handful.geometry._blocks import Array, Ints
from handful.geometry._distances import nearest


def vote(
    clusters: Ints,
    classes: Ints,
    n_clusters: int,
    n_classes: int,
    *,
    centres: Array | None = None,
    fixed: Ints | None = None,
) -> Ints:
    """The class of each cluster ``(n_clusters,)`` by majority of the labelled images in it.

    ``clusters (m,)`` and ``classes (m,)`` are those of the labelled images.  Clusters are taken
    by falling size of their top vote, then by index; a tie goes to the class with fewer clusters
    so far, then to the lower class.  ``fixed (n_clusters,)`` gives clusters that already stand
    for a class (-1: none); they count, and do not vote.  A cluster without a vote takes the
    class of the nearest one that has one, by ``centres (n_clusters, d)``; -1 without ``centres``
    or when nothing has a class.  CCL, prediction.
    """
    table = np.zeros((n_clusters, n_classes), dtype=np.int64)
    np.add.at(table, (clusters, classes), 1)
    mapping = np.full(n_clusters, -1, dtype=np.int64) if fixed is None else fixed.astype(np.int64)
    taken = np.bincount(mapping[mapping >= 0], minlength=n_classes)
    top = table.max(axis=1, initial=0)
    for j in np.argsort(-top, kind="stable"):
        if mapping[j] >= 0 or top[j] == 0:
            continue
        tied = np.flatnonzero(table[j] == top[j])
        mapping[j] = tied[np.argmin(taken[tied])]
        taken[mapping[j]] += 1
    silent, voted = np.flatnonzero(mapping < 0), np.flatnonzero(mapping >= 0)
    if centres is not None and silent.size and voted.size:
        mapping[silent] = mapping[voted[nearest(centres[silent], centres[voted])[0]]]
    return mapping


def hungarian(contingency: Array) -> tuple[Ints, Ints]:
    """Rows and columns of the one-to-one map with the largest sum; ``min(shape)`` pairs.

    ``contingency (R, K)`` may be rectangular: the surplus side stays unmatched.
    O(max^3).  Kuhn 1955, by scipy's modified Jonker-Volgenant.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(contingency, maximize=True)
    return rows.astype(np.int64), columns.astype(np.int64)
