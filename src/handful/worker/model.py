"""Suggestions: what the answers so far say about every other picture.

::

    two learners      labels spread over the graph of neighbours; logistic regression; both
    held out          5 folds of the answers, near-duplicates in one fold
    choice            the lowest log loss of the held-out answers, each at its temperature
    probability       softmax(log p / T), mixed with 1 / C by 1 / (answers + 2)

What a person answered one by one counts fully; answers to groups, which are the easy pictures,
count together at most as much.  *None of these* is a class of its own, `NONE`.
Everything is deterministic: folds come from the content of the pictures.

Label propagation: Zhou et al., NIPS 2003; temperature: Guo et al., ICML 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful import graph
from handful.book import LabelBook
from handful.events import NONE as NONE_STATE
from handful.networks.heads import logistic_probabilities, logistic_regression
from handful.types import SOURCES
from handful.worker.space import Space

__all__ = ["NONE", "Answered", "Learned", "Learner", "answered", "learn", "mistakes", "probe"]

Matrix: TypeAlias = NDArray[np.float32]
Ints: TypeAlias = NDArray[np.int64]
Learner: TypeAlias = Literal["propagation", "probe", "both"]
NONE = -2  # what stands for *none of these* where class ids stand
FOLDS = 5
FEWEST = 10  # answers
ALPHA = 0.9
STRENGTH = 100.0  # of the labels in logistic regression
ROWS, FOLD_ROWS = 3_000, 1_500  # that logistic regression learns from
ROUGH = 1e-3  # relative residual of what is only compared
LEAST = 1e-6  # probability
TEMPERATURES = tuple(np.geomspace(0.25, 4, 33).tolist())
MISTAKES = 500
_BY_GROUP = tuple(SOURCES.index(s) for s in ("group", "accepted", "copied", "weak"))


@dataclass(frozen=True, eq=False)
class Answered:
    """The answers about the pictures of a space; ``known (n,)`` is a column of ``ids``, or -1."""

    known: Ints
    ids: NDArray[np.int32]  # (C,) class ids that have an answer, `NONE` last
    by_hand: NDArray[np.bool_]  # (n,)

    @property
    def rows(self) -> Ints:
        """Answered pictures, rising."""
        return np.flatnonzero(self.known >= 0)

    @property
    def enough(self) -> bool:
        """Whether anything can be learned: 10 answers in two classes."""
        return len(self.ids) > 1 and len(self.rows) >= FEWEST

    def named(self) -> Ints:
        """Class id of each picture, `NONE` included, -1 unknown."""
        return np.append(self.ids, -1).astype(np.int64)[self.known]


def answered(book: LabelBook, space: Space) -> Answered:
    """What the book says of the pictures of a space; audit answers are not in it."""
    listing: Any = space.listing  # has what the book asks of a pool
    known = book.known(listing)
    known[(known < 0) & (book.states(listing) == NONE_STATE)] = NONE
    ids = np.unique(known[known != -1])
    ids = np.concatenate([ids[ids >= 0], ids[ids == NONE]])
    column = np.full(len(known), -1, dtype=np.int64)
    for c, id in enumerate(ids):
        column[known == id] = c
    by_hand = (column >= 0) & ~np.isin(book.sources(listing), _BY_GROUP)
    return Answered(column, ids.astype(np.int32), by_hand)


@dataclass(frozen=True, eq=False)
class Learned:
    """Probabilities of all pictures ``(n, C)``, and of the answered ones held out ``(l, C)``."""

    proba: Matrix
    held: Matrix
    rows: Ints  # (l,) the answered
    ids: NDArray[np.int32]
    learner: Learner
    temperature: float
    floor: float  # share of 1 / C that is mixed in
    loss: dict[str, float]


def learn(space: Space, said: Answered) -> Learned:
    """Suggestions for all pictures.  About 20 products with the graph and 6 small regressions."""
    fold, rows = _folds(space), said.rows
    weight = _weights(said)
    spread, regressed = _spread_held(space, said, fold), _regressed_held(space, said, fold)
    candidates: dict[Learner, Matrix] = {
        "propagation": spread, "probe": regressed, "both": _both(spread, regressed),
    }  # fmt: skip
    truth, fair = said.known[rows], _fair(said, fold)
    found: dict[Learner, tuple[float, float]] = {
        name: _temperature(p[fair], truth[fair], weight[fair]) for name, p in candidates.items()
    }
    best = min(found, key=lambda name: round(found[name][0], 9))
    T, floor = found[best][1], 1 / (weight.sum() + 2)
    whole = _whole(space, said, best)
    return Learned(
        _calibrated(whole, T, floor), _calibrated(candidates[best], T, floor), rows, said.ids,
        best, T, floor, {name: loss for name, (loss, _) in found.items()},
    )  # fmt: skip


def _folds(space: Space) -> Ints:
    """The fold of each picture, by its content; near-duplicates share one."""
    head = np.where(space.stack >= 0, space.stack, np.arange(len(space)))
    return (space.listing.keys[head] % np.uint64(FOLDS)).astype(np.int64)


def _weights(said: Answered) -> NDArray[np.float64]:
    """Weight of each answered picture: 1 by hand; the others together as much, at most 1 each."""
    by_hand = said.by_hand[said.rows]
    one, others = int(by_hand.sum()), int((~by_hand).sum())
    light = 1.0 if one < FEWEST else min(1.0, one / max(1, others))
    return np.where(by_hand, 1.0, light)


def _fair(said: Answered, fold: Ints) -> NDArray[np.bool_]:
    """Answered pictures whose class has an answer outside their fold; all where none has."""
    rows, C = said.rows, len(said.ids)
    counts = np.zeros((FOLDS, C), dtype=np.int64)
    np.add.at(counts, (fold[rows], said.known[rows]), 1)
    elsewhere = counts.sum(axis=0)[said.known[rows]] - counts[fold[rows], said.known[rows]]
    fair: NDArray[np.bool_] = elsewhere > 0
    return fair if fair.any() else np.ones(len(rows), dtype=bool)


def _spread(space: Space, known: Ints, C: int, tol: float) -> Matrix:
    F = graph.spread(space.graph.W, known, C, alpha=ALPHA, tol=tol).X
    p = graph.normalised(F)
    p[p.sum(axis=1) == 0] = 1 / C
    return p.astype(np.float32)


def _spread_held(space: Space, said: Answered, fold: Ints) -> Matrix:
    rows, C = said.rows, len(said.ids)
    held = np.full((len(rows), C), 1 / C, dtype=np.float32)
    for f in range(FOLDS):
        mine = fold[rows] == f
        known = np.where(fold == f, -1, said.known)
        if mine.any() and (known >= 0).any():
            held[mine] = _spread(space, known, C, ROUGH)[rows[mine]]
    return held


def _regressed_held(space: Space, said: Answered, fold: Ints) -> Matrix:
    rows, C = said.rows, len(said.ids)
    held = np.full((len(rows), C), 1 / C, dtype=np.float32)
    for f in range(FOLDS):
        mine = fold[rows] == f
        if mine.any():
            W, b = probe(space, said, rows[~mine], most=FOLD_ROWS)
            held[mine] = logistic_probabilities(space.x[rows[mine]], W, b)
    return held


def probe(
    space: Space, said: Answered, rows: Ints, *, most: int = ROWS
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logistic regression on some answered pictures: ``W (C, d)``, ``b (C,)``.

    A class without an answer among them gets a probability of nearly 0.
    """
    chosen = _some(space, said, rows, most)
    C, d = len(said.ids), space.x.shape[1]
    W, b = np.zeros((C, d)), np.full(C, np.log(LEAST))
    seen, place = np.unique(said.known[chosen], return_inverse=True)
    if len(seen) < 2:
        b[seen] = 0.0
        return W, b
    W[seen], b[seen] = logistic_regression(
        space.x[chosen], place, C=STRENGTH, tol=1e-3, max_iter=100
    )
    absent = np.setdiff1d(np.arange(C), seen)
    b[absent] = b[seen].min() + np.log(LEAST)
    return W, b


def _some(space: Space, said: Answered, rows: Ints, most: int) -> Ints:
    """At most so many of these, classes in turn: those answered one by one first."""
    if len(rows) <= most:
        return rows
    order = np.lexsort((space.listing.keys[rows], ~said.by_hand[rows], said.known[rows]))
    label = said.known[rows[order]]
    starts = np.searchsorted(label, label)
    turn = np.arange(len(order)) - starts  # the how-manieth of its class
    return np.sort(rows[order[np.lexsort((label, turn))[:most]]])


def _both(a: Matrix, b: Matrix) -> Matrix:
    """The geometric mean of two opinions."""
    logs = (np.log(np.maximum(a, LEAST)) + np.log(np.maximum(b, LEAST))) / 2
    p = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(p / p.sum(axis=1, keepdims=True), dtype=np.float32)


def _whole(space: Space, said: Answered, learner: Learner) -> Matrix:
    C = len(said.ids)
    spread = _spread(space, said.known, C, 1e-5) if learner != "probe" else None
    if learner == "propagation" and spread is not None:
        return spread
    W, b = probe(space, said, said.rows)
    regressed = logistic_probabilities(space.x, W, b)
    return regressed if spread is None else _both(spread, regressed)


def _temperature(p: Matrix, truth: Ints, weight: NDArray[np.float64]) -> tuple[float, float]:
    """Log loss at the best temperature, and that temperature."""
    at = np.arange(len(truth))

    def loss(T: float) -> float:
        q = _calibrated(p, T, 1 / (weight.sum() + 2))
        return float(-(weight * np.log(q[at, truth])).sum() / weight.sum())

    losses = [round(loss(T), 9) for T in TEMPERATURES]
    best = min(range(len(losses)), key=lambda i: (losses[i], abs(np.log(TEMPERATURES[i]))))
    return losses[best], TEMPERATURES[best]


def _calibrated(p: Matrix, T: float, floor: float) -> Matrix:
    logs = np.log(np.maximum(p, LEAST)) / T
    q = np.exp(logs - logs.max(axis=1, keepdims=True))
    q /= q.sum(axis=1, keepdims=True)
    return np.asarray((1 - floor) * q + floor / p.shape[1], dtype=np.float32)


def mistakes(
    learned: Learned, said: Answered, kept: NDArray[np.bool_]
) -> tuple[Ints, Ints, Ints, Matrix]:
    """Likely mistakes: pictures, columns of their label and of the suggestion, scores; ranked.

    Where the held-out suggestion is another class: its probability times what the label lacks.
    ``kept (n,)`` : a person has looked and kept the label.
    """
    p, rows = learned.held.astype(np.float64), learned.rows
    label, at = said.known[rows], np.arange(len(rows))
    to = p.argmax(axis=1)
    score = p[at, to] * (1 - p[at, label])
    doubtful = np.flatnonzero((to != label) & ~kept[rows])
    order = doubtful[np.lexsort((rows[doubtful], -np.round(score[doubtful], 6)))][:MISTAKES]
    return rows[order], label[order], to[order], score[order].astype(np.float32)
