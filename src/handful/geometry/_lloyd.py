"""Lloyd's steps with rows that are pinned to their cluster, and the k-means built on them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from handful.errors import InputError
from handful.geometry._blocks import CACHE, Array, Float, Ints, check_finite, row_blocks
from handful.geometry._distances import Centred

ROUNDING = 1e-24  # of the largest |x|^2: two rows nearer than this are copies


class Clustering(NamedTuple):
    """``centres (k, d)``, ``labels (n,)`` of the rows, ``inertia`` = sum of d2 to the centres."""

    centres: Float
    labels: Ints
    inertia: float


def constrained_kmeans(
    x: Array,
    labels: Ints,
    k: int,
    rng: Generator,
    *,
    seeds: Ints | None = None,
    n_init: int = 10,
    max_iter: int = 100,
) -> Clustering:
    """Semi-supervised k-means++: cluster p is class p, rows with a label stay in theirs.

    ``labels (n,)`` pin rows to clusters (-1: free); ``seeds (n,)`` are further labels that
    place the start and pin nothing (pseudo-labels).  Without any it is plain k-means.

    1. A class with labels or seeds starts at the mean of these rows.
    2. The other clusters, in ascending order: a row with neither, drawn by D^2 to the nearest
       centre so far; uniformly where there is no centre yet or every row lies on one.
    3. `lloyd` from there.
    4. If 2. drew anything: ``n_init`` times, the lowest inertia kept, on a tie the first.

    Fewer distinct rows than ``k``: the surplus clusters stay empty, their centres where they
    began.  Errors: fewer rows than ``k``, a label outside ``0..k-1``, NaN or inf.
    O(n k d) a step, O(n) memory beside a float32 copy of ``x`` up to 1 GB.
    Yoder & Priebe 2017; Basu, Banerjee & Mooney 2002; Arthur & Vassilvitskii 2007.
    """
    check_finite(x)
    placed = labels if seeds is None else np.where(labels >= 0, labels, seeds)
    _check_labels(len(x), labels, placed, k)
    view = Centred(x, held=True)
    means, counts = np.zeros((k, x.shape[1])), np.zeros(k, dtype=np.int64)
    _move(view, means, counts, np.flatnonzero(placed >= 0), np.full(len(x), -1), placed)
    means /= np.maximum(counts, 1)[:, None]
    free = _drawable(labels, placed, int((counts == 0).sum()))
    best: Clustering | None = None
    for _ in range(n_init if free.any() else 1):
        centres = _draw(view, means, counts > 0, free, rng)
        found = _steps(view, centres, labels, max_iter)
        if best is None or found.inertia < best.inertia * (1 - 1e-12):
            best = found
    if best is None:
        raise InputError(f"n_init is {n_init}: give it at least one start")
    return best


def lloyd(
    x: Array, centres: Array, labels: Ints | None = None, *, max_iter: int = 100
) -> Clustering:
    """Lloyd's steps from ``centres (k, d)`` until no row moves; pinned rows never move.

    A free row goes to its nearest centre (ties: the lower), a row with ``labels (n,) >= 0`` to
    that cluster; a centre is the mean of all its rows.  A cluster that empties takes the free
    row furthest from its centre out of a cluster of two or more (ties: the lower row), if that
    row is no copy of its centre; else it stays empty where it was.  Sums in float64.
    O(n k d) a step.  Lloyd 1982.
    """
    check_finite(x)
    pinned = np.full(len(x), -1) if labels is None else labels
    _check_labels(len(x), pinned, pinned, len(centres))
    view = Centred(x, held=True)
    return _steps(view, centres - view.mean, pinned, max_iter)


def _check_labels(n: int, labels: Ints, placed: Ints, k: int) -> None:
    if n < k:
        raise InputError(f"fewer images ({n}) than clusters ({k}): ask for fewer clusters")
    if labels.shape != (n,) or placed.shape != (n,):
        raise InputError(f"labels of shape {labels.shape} for {n} rows: one a row, -1 for none")
    if placed.size and placed.max() >= k:
        raise InputError(f"label {placed.max()} is outside the {k} clusters: ask for more of them")


def _drawable(labels: Ints, placed: Ints, missing: int) -> NDArray[np.bool_]:
    """Rows that may start a cluster: without label and seed, else without label, else any."""
    if not missing:
        return np.zeros(len(labels), dtype=bool)
    for free in (placed < 0, labels < 0):
        if free.sum() >= missing:
            return free
    return np.ones(len(labels), dtype=bool)


def _draw(
    view: Centred,
    means: NDArray[np.float64],
    known: NDArray[np.bool_],
    free: NDArray[np.bool_],
    rng: Generator,
) -> NDArray[np.float64]:
    """``means`` with each unknown one replaced by a row drawn by D^2 among the free."""
    centres, free = means.copy(), free.copy()
    d2 = np.full(len(view), np.inf)
    if not known.all():
        for p in np.flatnonzero(known):
            _come_closer(view, centres[p], d2)
    for p in np.flatnonzero(~known):
        weights = np.where(free, d2, 0)
        if not weights.any() or np.isinf(d2).any():
            weights = free.astype(np.float64)
        cumulated = np.cumsum(weights / weights.sum())
        row = int(np.searchsorted(cumulated / cumulated[-1], rng.random(), side="right"))
        centres[p], free[row] = view[np.array([row])][0], False
        _come_closer(view, centres[p], d2)
    return centres


def _come_closer(view: Centred, centre: NDArray[np.float64], d2: NDArray[np.float64]) -> None:
    """Lower ``d2 (n,)`` to the distance of one more centre; by differences: a copy has 0."""
    c = centre.astype(view.dtype)
    for rows, block in view.blocks():
        gap = block - c
        d2[rows] = np.minimum(d2[rows], np.einsum("nd,nd->n", gap, gap))


def _steps(view: Centred, centres: NDArray[np.float64], labels: Ints, max_iter: int) -> Clustering:
    """`lloyd` on rows and centres that are seen from the mean."""
    c, free = centres.copy(), labels < 0
    now = np.full(len(view), -1)
    sums, counts = np.zeros(c.shape), np.zeros(len(c), dtype=np.int64)
    for _ in range(max(1, max_iter)):
        new = np.where(free, _assign(view, c), labels)
        _fill_empty(view, c, new, free)
        moved = np.flatnonzero(new != now)
        if not moved.size:
            break
        _move(view, sums, counts, moved, now, new)
        now, full = new, counts > 0
        c[full] = sums[full] / counts[full, None]
    inertia = sum(float(_own_d2(block, c, now[rows]).sum()) for rows, block in view.blocks())
    kept = np.result_type(view.x.dtype, np.float32)
    return Clustering((c + view.mean).astype(kept), now, inertia)


def _assign(view: Centred, centres: NDArray[np.float64]) -> Ints:
    """Nearest centre of each row; |x|^2 is left out, it moves no minimum."""
    c = centres.astype(view.dtype)
    half = np.einsum("kd,kd->k", c, c) / 2
    out = np.empty(len(view), dtype=np.int64)
    for rows, block in view.blocks(len(c)):
        np.argmin(half[:, None] - c @ block.T, axis=0, out=out[rows])
    return out


def _move(
    view: Centred, sums: NDArray[np.float64], counts: Ints, moved: Ints, old: Ints, new: Ints
) -> None:
    """Take the ``moved`` rows out of the sums of their old clusters (-1: none) into the new."""
    from scipy.sparse import csr_array

    k, d = sums.shape
    for part in row_blocks(len(moved), d, limit=CACHE):
        rows = moved[part]
        leave, enter = old[rows], new[rows]
        left = np.flatnonzero(leave >= 0)
        signs = np.concatenate([np.ones(len(rows)), -np.ones(len(left))])
        places = (
            np.concatenate([enter, leave[left]]),
            np.concatenate([np.arange(len(rows)), left]),
        )
        member = csr_array((signs, places), (k, len(rows)))
        sums += member @ view[rows].astype(np.float64)
    counts += np.bincount(new[moved], minlength=k)
    gone = old[moved]
    counts -= np.bincount(gone[gone >= 0], minlength=k)


def _own_d2(block: Float, centres: NDArray[np.float64], labels: Ints) -> NDArray[np.float64]:
    """d2 of each row of a block to its own centre, float64."""
    gap = block - centres[labels]
    d2: NDArray[np.float64] = np.einsum("nd,nd->n", gap, gap)
    return d2


def _fill_empty(
    view: Centred, centres: NDArray[np.float64], labels: Ints, free: NDArray[np.bool_]
) -> None:
    """Give each empty cluster, in ascending order, the worst placed free row there is."""
    counts = np.bincount(labels, minlength=len(centres))
    if counts.all():
        return
    d2, largest = np.empty(len(view)), 0.0
    for rows, block in view.blocks():
        d2[rows] = _own_d2(block, centres, labels[rows])
        largest = max(largest, float(np.einsum("nd,nd->n", block, block).max()))
    d2[~free | (d2 <= ROUNDING * largest)] = -1
    for p in np.flatnonzero(counts == 0):
        row = int(np.argmax(np.where(counts[labels] >= 2, d2, -1)))
        if d2[row] < 0 or counts[labels[row]] < 2:
            return
        counts[labels[row]] -= 1
        counts[p], labels[row], d2[row] = 1, p, -1
