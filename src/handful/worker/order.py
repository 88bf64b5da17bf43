"""What to ask next: the rules of the registry, over the pictures that are still open.

::

    coverage   share of open pictures with an answered one among the neighbours of their neighbours
    < .9       typiclust: what stands for most others
    >= .9      margin: between two classes; of neighbours closer than half the typical distance
               of a picture to its 10th neighbour one

One picture of a stack.  Reasons: 0 between two classes, 1 unlike anything answered, 2 stands
for others.  A picture is unlike all answers when the nearest is beyond 1.5 typical distances.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

import handful.queries  # noqa: F401  # fills the registry
from handful import geometry
from handful.registry import QUERIES
from handful.rng import rng_for
from handful.types import RowIds, Snapshot
from handful.worker.model import Learned
from handful.worker.space import Space

__all__ = ["BETWEEN", "STANDS", "UNLIKE", "coverage", "useful"]

Ints: TypeAlias = NDArray[np.int64]
MOST = 5_000
TYPICAL = 200  # pictures that typiclust is asked for
COVERED, STEPS = 0.9, 2
FAR = 1.5  # typical distances
BETWEEN, UNLIKE, STANDS = 0, 1, 2


def useful(
    space: Space, known: Ints, free: NDArray[np.bool_], learned: Learned | None
) -> tuple[Ints, NDArray[np.uint8], NDArray[np.int32], float]:
    """Open pictures, the most useful answer first, their reasons, for how many they stand;
    and the coverage.

    ``known (n,)`` columns or -1, ``free (n,)`` what may be asked.  At most 5,000.
    """
    asked = free & space.first
    away = _away(space, known >= 0)
    covered = coverage(space, known >= 0, free)
    by_margin = learned is not None and covered >= COVERED
    typical = np.empty(0, dtype=np.int64)
    if not by_margin:
        typical = _asked("typiclust", space, known, asked, learned, TYPICAL)
    rest = asked.copy()
    rest[typical] = False
    further = _further(space, known, rest, learned)
    order = np.concatenate([typical, further])[:MOST]
    stands = np.zeros(len(order), dtype=np.int32)
    stands[: len(typical)] = _stand_for(space, typical, free)
    reason = np.full(len(order), BETWEEN, dtype=np.uint8)
    reason[: len(typical)] = STANDS
    if (known >= 0).any():
        reason[away[order] > FAR * space.radius] = UNLIKE
    elif learned is None:
        reason[len(typical) :] = UNLIKE
    return order, reason, stands, covered


def coverage(space: Space, done: NDArray[np.bool_], free: NDArray[np.bool_]) -> float:
    """Share of the open pictures with an answer two steps away at most; 1 when none is open."""
    near = done.astype(np.float64)
    for _ in range(STEPS):
        near = np.maximum(near, space.graph.W @ near > 0)
    return float(near[free].mean()) if free.any() else 1.0


def _away(space: Space, done: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Distance of every picture to the nearest answered one, in blocks; inf without any."""
    away = np.full(len(space), np.inf)
    answers = np.flatnonzero(done)
    if len(answers):
        away[~done] = np.sqrt(np.maximum(geometry.nearest(space.x[~done], space.x[answers])[1], 0))
        away[answers] = 0.0
    return away


def _asked(
    rule: str, space: Space, known: Ints, asked: NDArray[np.bool_], learned: Learned | None, k: int
) -> Ints:
    """The picks of a rule of the registry."""
    parts = {"embedding": space.x}
    if learned is not None:
        parts["proba"] = learned.proba
    snapshot = Snapshot(
        ids=RowIds(len(space)),
        open=asked.copy(),
        known=known.copy(),
        parts={name: array.view() for name, array in parts.items()},
        learner="the page's model" if learned is None else learned.learner,
        n_classes=0 if learned is None else len(learned.ids),
    )
    picks: Ints = QUERIES.get(rule)().select(snapshot, k, rng_for(0, None, f"order/{rule}")).rows
    return picks


def _further(space: Space, known: Ints, rest: NDArray[np.bool_], learned: Learned | None) -> Ints:
    """Those left: the least certain first, close neighbours of one before them moved back."""
    k = min(MOST, int(rest.sum()))
    if not k:
        return np.empty(0, dtype=np.int64)
    if learned is None:
        return _asked("random", space, known, rest, learned, k)
    picks = _asked("margin", space, known, rest, learned, k)
    ids, d2 = space.near.ids, space.near.d2
    close = d2 < (space.radius / 2) ** 2
    taken = np.zeros(len(space), dtype=bool)
    first: list[int] = []
    again: list[int] = []
    for pick in picks.tolist():
        beside = ids[pick][close[pick]]
        (again if taken[beside].any() else first).append(pick)
        taken[pick] = not taken[beside].any()
    return np.array(first + again, dtype=np.int64)


def _stand_for(space: Space, picks: Ints, free: NDArray[np.bool_]) -> NDArray[np.int32]:
    """How many other open pictures have each of these as their nearest."""
    if not len(picks):
        return np.empty(0, dtype=np.int32)
    others = np.setdiff1d(np.flatnonzero(free), picks)
    nearest = geometry.nearest(space.x[others], space.x[picks])[0]
    return np.bincount(nearest, minlength=len(picks)).astype(np.int32)
