"""Pseudo-labels (DSAC): the core of a cluster takes the class that people gave to it.

::

    class of cluster p  :=  what its representatives were answered, or a map from the answers in it
    s_p                 :=  min(k_2(t), floor(cap |pi_p|)),   |pi_p| all members, answered ones too
    pseudo-labels       :=  the s_p images nearest to the centre that nobody answered

Numpy alone, no training: what a learner does with the labels is its own affair.  A human label
always wins; two clusters may stand for one class, and a class may have no cluster.

Zhao, Chen & Zhou 2024 (DSAC), II-B; the options are this project's reading of what the paper
leaves open, and the steadier rules that keep one wrong representative from naming thousands.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful import geometry
from handful.errors import InputError
from handful.types import UNKNOWN, Array

__all__ = [
    "ClusterClasses",
    "agreed_labels",
    "agreement",
    "cluster_classes",
    "pseudo_labels",
    "pseudo_size",
    "surest",
]

Ints: TypeAlias = NDArray[np.int64]
Rows: TypeAlias = Array | Sequence[int]
NamedBy: TypeAlias = Literal["newest", "plurality", "labels", "hungarian"]

_START_AND_STEP = {"absolute": (50, 1000), "fraction": (0.05, 0.15), "code": (200, 10)}
_ROUNDING = 1e-9  # .7 * 10 is 7, not 6.999...
_logger = logging.getLogger(__name__)


class ClusterClasses(NamedTuple):
    """``classes (K,)`` of the clusters, -1 none; ``shares (K,)`` of the votes that agree, 0..1."""

    classes: Ints
    shares: NDArray[np.float64]


def pseudo_size(
    t: int,
    n: int,
    c: int,
    *,
    mode: Literal["absolute", "fraction", "code"] = "absolute",
    start: float | None = None,
    step: float | None = None,
    inner: int = 1,
) -> int:
    """k_2(t): images of one cluster that take its class after query round ``t`` (0-based).

    ``absolute``  start + step t;                     50, 1000: the paper's, for its three sets
    ``fraction``  floor((start + step t) n / c + .5); .05, .15: the same for any n and c clusters
    ``code``      (start + step t) inner;             200, 10: the authors' code, whose ``inner``
                  counts its passes over the training within a round, from 1
    """
    if mode not in _START_AND_STEP:
        raise InputError(f"k_2 grows by 'absolute', 'fraction' or 'code', not by {mode!r}")
    first, more = _START_AND_STEP[mode]
    size = (first if start is None else start) + (more if step is None else step) * t
    if mode == "fraction":
        return math.floor(size * n / max(c, 1) + 0.5 + _ROUNDING)
    return math.floor(size * (inner if mode == "code" else 1) + _ROUNDING)


def agreement(neighbours: Array, assignment: Array) -> NDArray[np.float64]:
    """Share of the k neighbours that lie in the row's own cluster, ``(n,)`` in 0..1.

    ``neighbours (n, k)`` are row numbers, ``assignment (n,)`` clusters.  1 without a neighbour.
    O(n k).
    """
    n, k = neighbours.shape
    same = np.zeros(n, dtype=np.int64)
    for column in neighbours.T:  # one neighbour at a time: n x k clusters are never gathered
        same += assignment[column] == assignment
    return same / k if k else np.ones(n)


def cluster_classes(
    assignment: Array,
    d: Array,
    known: Array,
    representatives: Rows,
    *,
    mode: NamedBy = "newest",
    fresh: Rows | None = None,
    n_clusters: int | None = None,
) -> ClusterClasses:
    """The class that each cluster stands for, by the answers in it.

    ``newest``     plurality over ``fresh``, the representatives asked last (default: all of them)
    ``plurality``  plurality over all ``representatives`` that now lie in the cluster
    ``labels``     plurality over all answered images of the cluster, whoever chose them
    ``hungarian``  one class a cluster and one cluster a class, with the most answers kept
                   (N_pk = answers of class k in cluster p; pairs with N_pk = 0 are dropped)

    A tie of a plurality falls to the class of the tied image with the smallest ``d``, then the
    lower row.  Representatives without a label (set aside, unsure) do not vote.  Share: votes
    for the class / votes in the cluster.  Parameters as in `pseudo_labels`.
    """
    k = _clusters(assignment, n_clusters)
    rows = {
        "newest": representatives if fresh is None else fresh,
        "plurality": representatives,
        "labels": np.flatnonzero(known >= 0),
        "hungarian": np.flatnonzero(known >= 0),
    }.get(mode)
    if rows is None:
        raise InputError(
            f"clusters are named by 'newest', 'plurality', 'labels' or 'hungarian', not by {mode!r}"
        )
    voters = np.unique(np.asarray(rows, dtype=np.int64))
    voters = voters[known[voters] >= 0]
    votes = np.zeros((k, int(known[voters].max(initial=-1)) + 1), dtype=np.int64)
    np.add.at(votes, (assignment[voters], known[voters]), 1)
    named = _hungarian(votes) if mode == "hungarian" else _plurality(votes, assignment, d, known,
                                                                     voters)  # fmt: skip
    won = np.where(named >= 0, votes[np.arange(k), named] if votes.size else 0, 0)
    return ClusterClasses(named, won / np.maximum(votes.sum(axis=1), 1))


def _plurality(votes: Ints, assignment: Array, d: Array, known: Array, voters: Ints) -> Ints:
    """Most votes of each cluster ``(K,)``; a tie falls to the tied voter with the smallest d."""
    named = np.full(len(votes), UNKNOWN, dtype=np.int64)
    if not voters.size:
        return named
    top = votes[assignment[voters], known[voters]] == votes.max(axis=1)[assignment[voters]]
    leading = voters[top]
    # the nearest is written last, so that it stays
    far_to_near = np.lexsort((-leading, -np.asarray(d)[leading]))
    named[assignment[leading[far_to_near]]] = known[leading[far_to_near]]
    return named


def _hungarian(votes: Ints) -> Ints:
    """The one-to-one map of clusters to classes that keeps the most votes ``(K,)``, -1 none.

    Of several such maps the first in the order of (cluster, class): each cluster takes the
    lowest class that still leaves the most votes in all within reach.
    """
    named = np.full(len(votes), UNKNOWN, dtype=np.int64)
    free = np.arange(votes.shape[1])
    within_reach = _most_kept(votes)
    for cluster, row in enumerate(votes):
        for one in free[row[free] > 0]:
            others = free[free != one]
            rest = within_reach - row[one]
            if _most_kept(votes[cluster + 1 :, others]) == rest:
                named[cluster], free, within_reach = one, others, rest
                break
    return named


def _most_kept(votes: Ints) -> int:
    return int(votes[geometry.hungarian(votes)].sum())


def pseudo_labels(
    assignment: Array,
    d: Array,
    known: Array,
    representatives: Rows,
    *,
    k2: int,
    mode: NamedBy = "newest",
    fresh: Rows | None = None,
    n_clusters: int | None = None,
    scope: Literal["cluster", "total"] = "cluster",
    cap: float = 1.0,
    by_share: bool = False,
    agree: Array | None = None,
    agree_tau: float = 0.0,
    previous: Array | None = None,
) -> Ints:
    """The pseudo-label of every row ``(n,)``, -1 where there is none; -1 on all human labels.

    s_p = min(k2, floor(cap |pi_p|)) a cluster; the s_p rows with the smallest ``d`` among those
    that nobody answered (ties: lower row).  O(n log n) time, O(n) memory.

    Parameters
    ----------
    assignment : ``(n,)`` cluster of every row, the one that the representatives were chosen in.
    d : ``(n,)`` squared distance of every row to the centre of its cluster.
    known : ``(n,)`` human labels of all rounds, -1 where there is none.
    representatives : rows ever asked as a representative, of whatever round.
    k2 : images a cluster, see `pseudo_size`; 0 gives none.
    mode, fresh : what a cluster is named by, see `cluster_classes`.
    n_clusters : K; ``max(assignment) + 1`` when None.
    scope : ``total`` shares ``k2`` among the K clusters: floor(k2 / K) each.
    cap : at most this share of a cluster's members, in 0..1.
    by_share : cap times the share of agreeing votes, and nothing where it is under one half.
    agree, agree_tau : only rows with ``agree >= agree_tau`` (`agreement`) are taken; the filter
        comes before the nearest are counted off, s_p stays.  0: no filter.
    previous : pseudo-labels of earlier rounds, which stay where nothing newer and no human label
        replaces them (the paper's other reading, ``accumulate``); None: built anew.
    """
    k = _clusters(assignment, n_clusters)
    named, shares = cluster_classes(
        assignment, d, known, representatives, mode=mode, fresh=fresh, n_clusters=k
    )
    limit = cap * np.bincount(assignment, minlength=k)
    if by_share:
        limit = np.where(shares >= 0.5, limit * shares, 0)
    sizes = np.minimum(k2 // max(k, 1) if scope == "total" else k2, np.floor(limit + _ROUNDING))
    free = (known < 0) & (named[assignment] >= 0)
    if agree_tau > 0:
        if agree is None:
            raise InputError(f"agree_tau = {agree_tau} needs the agreement of neighbours: agree=")
        free &= np.asarray(agree) >= agree_tau
    rows = np.flatnonzero(free)
    rows = rows[np.lexsort((np.asarray(d)[rows], assignment[rows]))]  # stable: ties by row
    first = np.searchsorted(assignment[rows], np.arange(k))
    taken = rows[np.arange(len(rows)) - first[assignment[rows]] < sizes[assignment[rows]]]
    labels = np.full(len(known), UNKNOWN, dtype=np.int64)
    if previous is not None:
        labels[:] = np.where(known < 0, previous, UNKNOWN)
    labels[taken] = named[assignment[taken]]
    _logger.info(
        "pseudo-labels: %d, for %d classes; by cluster: %s",
        (labels >= 0).sum(),
        len(np.unique(labels[labels >= 0])),
        " ".join(map(str, np.bincount(assignment[taken], minlength=k))),
    )
    return labels


def agreed_labels(
    assignment: Array, d: Array, known: Array, spread: Array, *, n_clusters: int | None = None
) -> Ints:
    """The class on which two views of the answers agree ``(n,)``, -1 elsewhere and on answers.

    One view is the cluster: the plurality of all answers in it (`cluster_classes`, ``labels``).
    The other is the graph: ``spread (n,)``, the class that the answers reach each row with over
    its neighbours, -1 where none does.  A wrong representative moves one of them, seldom both,
    so neither a count nor a cap is needed.  Other parameters as in `pseudo_labels`.  O(n).
    """
    k = _clusters(assignment, n_clusters)
    nobody = np.empty(0, dtype=np.int64)
    named = cluster_classes(assignment, d, known, nobody, mode="labels", n_clusters=k).classes
    by_cluster = named[assignment]
    return np.where((known < 0) & (by_cluster == spread), by_cluster, UNKNOWN)


def surest(labels: Array, reach: Array, most: int) -> Ints:
    """Of ``labels (n,)`` the ``most`` surest of each class, -1 elsewhere.

    Sure is what ``reach (n, C)`` gives the first class more than the second; equal ones fall by
    row.  O(n (C + log n)).
    """
    best = np.partition(np.pad(reach, ((0, 0), (1, 0))), -2, axis=1)  # one class: all of it is more
    margin = best[:, -1] - best[:, -2]
    kept = np.full(len(labels), UNKNOWN, dtype=np.int64)
    for c in np.unique(labels[labels >= 0]):
        rows = np.flatnonzero(labels == c)
        rows = rows[np.argsort(-margin[rows], kind="stable")][:most]
        kept[rows] = c
    return kept


def _clusters(assignment: Array, n_clusters: int | None) -> int:
    found = int(np.max(assignment, initial=-1)) + 1
    if n_clusters is not None and found > n_clusters:
        raise InputError(f"an image is assigned to cluster {found - 1} of only {n_clusters}")
    return found if n_clusters is None else n_clusters
