"""A sitting without page or browser: 300 actions of a person on the worker's functions.

::

    python benchmarks/sitting.py [--record] [--plain]

The plan is that of ``page.py story``: 20 pictures blind, groups to 120 actions (a key a group and
one a wrong tile, a group of more than 6 wrong ones refused), the queue to 190, 80 blind answers,
10 likely mistakes, the queue to the end.  A model is learned after every 7 actions.  Digits and
USPS's training part alone: choices are made on these.  ``--plain`` leaves out one thing at a time:

    groups by size       groups are asked by size and purity, whatever the suggestions say
    typical to the end   the queue asks what stands for most others, and nothing else
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from handful.worker import order as asking
from handful.worker.encoders import Strokes
from handful.worker.groups import Opinion, grouped, turns
from handful.worker.model import Answered, Learned, learn, mistakes
from handful.worker.pictures import Detail
from handful.worker.space import Space
from looks import WRONG, sets, space_of
from record import record

LOOK, GALLERY, ELSEWHERE, QUEUE, AUDIT, REVIEW, ALL = 20, 120, 13, 190, 80, 10, 300
TYPICAL, EDGE = 24, 12  # tiles of a page
EVERY = 7  # actions
Ints = NDArray[np.int64]


@dataclass
class Sitting:
    """What is answered, and what was learned of it; ``doubt``: groups follow the suggestions."""

    space: Space
    truth: Ints
    doubt: bool = True
    actions: int = LOOK
    named: int = 0  # pictures, in groups
    learned: Learned | None = None
    _at: int = 0
    known: Ints = field(init=False)
    by_hand: NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        self.known = np.full(len(self.truth), -1)
        self.by_hand = np.zeros(len(self.truth), dtype=bool)

    # ------------------------------------------------------------ what the worker does

    def said(self) -> Answered:
        ids = np.unique(self.known[self.known >= 0])
        column = np.where(self.known >= 0, np.searchsorted(ids, self.known), -1)
        return Answered(column, ids.astype(np.int32), self.by_hand.copy())

    def learn(self, *, now: bool = False) -> None:
        said = self.said()
        if said.enough and (now or self.actions - self._at >= EVERY):
            self._at, self.learned = self.actions, learn(self.space, said)

    @property
    def opinion(self) -> Opinion | None:
        known = self.learned
        return None if known is None else Opinion(known.proba, known.ids)

    # ------------------------------------------------------------ what the person does

    def gallery(self) -> None:
        free = np.ones(len(self.truth), dtype=bool)
        found = grouped(self.space, free, None)
        groups, left = np.split(found["rows"], found["starts"][1:-1]), set(range(len(found["p"])))
        while self.actions < GALLERY and left:
            opinion = self.opinion if self.doubt else None
            turn = turns(groups, found["purity"], self.known < 0, opinion)
            number = next(int(g) for g in turn if int(g) in left)
            left.remove(number)
            self._answer(groups[number])
            self.learn()
        self.learn(now=True)

    def _answer(self, members: Ints) -> None:
        shown = members
        if len(members) > TYPICAL + EDGE:
            shown = np.concatenate([members[:TYPICAL], members[-EDGE:]])
        word = int(np.bincount(self.truth[shown]).argmax())
        wrong = shown[self.truth[shown] != word]
        if len(wrong) > WRONG:
            self.actions += 1
            return
        taken = np.setdiff1d(members, wrong)
        self.actions += 1 + len(wrong)
        self.known[taken] = word
        self.named += len(taken)

    def queue(self, *, until: int) -> None:
        while self.actions < until and (self.known < 0).any():
            self.learn(now=True)
            asked = asking.useful(self.space, self.said().known, self.known < 0, self.learned)[0]
            for row in asked[: min(EVERY, until - self.actions)].tolist():
                self.known[row], self.by_hand[row] = self.truth[row], True
                self.actions += 1
        self.learn(now=True)

    def review(self) -> None:
        if self.learned is None:
            return
        none = np.zeros(len(self.truth), dtype=bool)
        for row in mistakes(self.learned, self.said(), none)[0][:REVIEW].tolist():
            self.known[row] = self.truth[row]
            self.actions += 1

    def accuracy(self) -> float:
        """Of the labels that an export would hold, blind answers left out."""
        assert self.learned is not None
        guess = self.learned.ids[self.learned.proba.argmax(axis=1)]
        return float((np.where(self.known >= 0, self.known, guess) == self.truth).mean())


def played(sitting: Sitting) -> dict[str, float]:
    figures: dict[str, float] = {}
    sitting.gallery()
    figures["pictures an action among the groups"] = sitting.named / (sitting.actions - LOOK)
    figures["accuracy after the groups"] = sitting.accuracy()
    sitting.actions += ELSEWHERE  # undo and again, a class renamed and merged
    sitting.queue(until=QUEUE)
    figures["accuracy after 190 actions"] = sitting.accuracy()
    sitting.actions += AUDIT
    sitting.review()
    sitting.queue(until=ALL)
    figures["accuracy after 300 actions"] = sitting.accuracy()
    return figures


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--record", action="store_true")
    asked.add_argument("--plain", action="store_true", help="without one thing at a time as well")
    given = asked.parse_args()
    usual = asking.COVERED
    ways: dict[str, tuple[bool, float]] = {"as on the page": (True, usual)}
    if given.plain:
        ways |= {"groups by size": (False, usual), "typical to the end": (True, 2.0)}
    for name, images, truth in sets():
        space = space_of(Strokes.of(Detail(True, *images.shape[2:])).encode(images), main=True)
        for way, (doubt, asking.COVERED) in ways.items():
            begun = time.monotonic()
            figures = played(Sitting(space, truth, doubt))
            took = time.monotonic() - begun
            for metric, value in figures.items():
                print(f"{name:8} {way:20} {metric:40} {value:9.4f}   {took:6.1f} s", flush=True)
                if given.record:
                    record("sitting", name, "page", way, 0, ALL, metric, value, "", took)
    asking.COVERED = usual


if __name__ == "__main__":
    main()
