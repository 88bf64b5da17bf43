"""Groups of open pictures that are alike: one page, one key.

::

    k        n / 30 groups by k-means, 20 to 200, none over 2,000 pictures
    typical  the nearest to the centre of the group first
    purity   how many of a picture's neighbours are in its group, on average
    doubt    1 - the mean probability of the group's likeliest class; 1 without suggestions
    order    open pictures x purity x doubt, the largest first
    near     groups whose centres are each other's nearest, unless two classes are sure of them

About 30 to a group, so that a page shows nearly all of it; ``benchmarks/looks.py`` measures how
many pictures an action names on digits and USPS's training part.  By size and purity alone a
person meets the purest classes again and again, and others not at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful import geometry
from handful.geometry import unit_rows
from handful.rng import rng_for
from handful.worker.space import Space

__all__ = ["FEWEST", "Opinion", "described", "grouped", "purities", "turns"]

Matrix: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int64]
FEWEST = 30  # open pictures below which there are no groups
PICTURES = 30  # a group
LEAST, MOST = 20, 200
LARGEST = 2_000
SAMPLE = 40  # pictures a group from which a long k-means starts
STEPS = 10
PAIRS = 60
SURE = 0.9


@dataclass(frozen=True, eq=False)
class Opinion:
    """What a model says of the pictures of a space: ``proba (n, C)`` and the id of a column."""

    proba: Matrix
    ids: NDArray[np.int32]


def grouped(space: Space, free: NDArray[np.bool_], opinion: Opinion | None) -> dict[str, Any]:
    """The arrays of a revision of groups over the open pictures ``free (n,)``.

    O(n k d) a step of k-means; none at all below 30 pictures.
    """
    rows = np.flatnonzero(free)
    if len(rows) < FEWEST:
        return described(space, [], opinion)
    k = int(np.clip(len(rows) // PICTURES, LEAST, MOST))
    x = space.smooth[rows]
    labels = _clustered(x, min(k, len(rows)))
    groups: list[Ints] = []
    for c in np.unique(labels):
        groups += _cut(rows[labels == c], space.smooth)
    return described(space, _ordered(space, groups, opinion), opinion)


def described(space: Space, groups: list[Ints], opinion: Opinion | None) -> dict[str, Any]:
    """The arrays of these groups, members as they are ordered; likely classes after ``opinion``."""
    likely, p = (
        [np.array(c) for c in zip(*(_said(m, opinion) for m in groups), strict=True)]
        if groups
        else [np.empty(0)] * 2
    )
    members = np.concatenate(groups) if groups else np.empty(0, dtype=np.int64)
    return {
        "rows": space.listing.rows[members],
        "starts": np.cumsum([0, *map(len, groups)]).astype(np.int64),
        "likely": likely.astype(np.int32),
        "p": p.astype(np.float32),
        "purity": purities(space, groups).astype(np.float32),
        "near": _near(space, groups, likely, p),
    }


def _clustered(x: Matrix, k: int) -> Ints:
    rng = rng_for(0, None, "groups")
    if len(x) <= 2 * SAMPLE * k:
        return geometry.kmeans(x, k, rng, n_init=1).labels
    rows = np.sort(rng.choice(len(x), SAMPLE * k, replace=False))
    begun = geometry.kmeans(x[rows], k, rng, n_init=1)
    return geometry.lloyd(x, begun.centres, max_iter=STEPS).labels


def _cut(members: Ints, x: Matrix) -> list[Ints]:
    """A group in parts of at most 2,000, alike within."""
    if len(members) <= LARGEST:
        return [members]
    halves = geometry.kmeans(x[members], 2, rng_for(0, None, "halves"), n_init=1).labels
    if not 0 < halves.sum() < len(halves):  # all alike
        halves = np.arange(len(members)) % 2
    return [part for side in (0, 1) for part in _cut(members[halves == side], x)]


def _ordered(space: Space, groups: list[Ints], opinion: Opinion | None) -> list[Ints]:
    """Members the most typical first; groups as they are to be asked."""
    within = [m[np.argsort(-_likeness(space.smooth, m), kind="stable")] for m in groups]
    free = np.ones(len(space), dtype=bool)
    return [within[i] for i in turns(within, purities(space, within), free, opinion)]


def purities(space: Space, groups: list[Ints]) -> NDArray[np.float64]:
    """Purity of each group ``(g,)``; see above."""
    group = np.full(len(space), -1)
    for number, members in enumerate(groups):
        group[members] = number
    ids = space.near.ids
    return np.array(
        [float((group[ids[m]] == g).mean()) if ids.size else 0.0 for g, m in enumerate(groups)]
    )


def turns(
    groups: list[Ints], purity: NDArray[Any], free: NDArray[np.bool_], opinion: Opinion | None
) -> Ints:
    """Numbers of the groups as they are to be asked: those whose answer settles most first."""
    n = np.array([int(free[members].sum()) for members in groups], dtype=np.float64)
    doubt = 1 - np.array([_said(members, opinion)[1] for members in groups])
    worth = np.round(n * np.asarray(purity, dtype=np.float64) * doubt, 9)
    return np.argsort(-worth, kind="stable")


def _likeness(x: Matrix, members: Ints) -> NDArray[np.float64]:
    """Likeness of each member to the centre of its group, to 9 digits: no tie by rounding."""
    centre = x[members].mean(axis=0, dtype=np.float64)
    found: NDArray[np.float64] = np.round(x[members].astype(np.float64) @ centre, 9)
    return found


def _said(members: Ints, opinion: Opinion | None) -> tuple[int, float]:
    """Likely class of a group, and how sure it is."""
    if opinion is None:
        return -1, 0.0
    mean = opinion.proba[members].mean(axis=0, dtype=np.float64)
    best = int(mean.argmax())
    return int(opinion.ids[best]), float(mean[best])


def _near(space: Space, groups: list[Ints], likely: Any, p: Any) -> NDArray[np.int32]:
    """Pairs of groups that are each other's nearest, the most alike first."""
    if len(groups) < 2:
        return np.empty((0, 2), dtype=np.int32)
    centres = unit_rows(np.stack([space.smooth[m].mean(axis=0) for m in groups]))
    alike = centres @ centres.T
    np.fill_diagonal(alike, -np.inf)
    sure = p >= SURE
    alike[(likely[:, None] != likely) & sure[:, None] & sure] = -np.inf
    best = alike.argmax(axis=1)
    pairs = [
        (float(alike[a, b]), a, int(b))
        for a, b in enumerate(best)
        if a < b and best[b] == a and np.isfinite(alike[a, b])
    ]
    chosen = sorted(pairs, key=lambda pair: (-pair[0], pair[1]))[:PAIRS]
    return np.array([[a, b] for _, a, b in chosen], dtype=np.int32).reshape(-1, 2)
