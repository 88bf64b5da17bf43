"""Learners that come with a rule of their own, whole runs on digits: killed, they go on alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from handful.book import LabelBook
from handful.events import class_events
from handful.loop import Plan, drive, loop
from handful.oracles import TruthOracle
from handful.recipes import recipe
from handful.store import SavedCheckpoints
from handful.testing.learners import TinyPool
from handful.types import Outcome

TINY: dict[str, dict[str, Any]] = {
    "lada": {"steps": 40},
    "lada-acq": {"steps": 40},
    "mcdal": {"epochs": 2, "epoch_images": 640},
    "tod": {"least_steps": 20, "first_epochs": 1},
}
FEW_NODES = {"nodes": 4}  # of the mixtures that LADA's rule looks at
NAMES = tuple("0123456789")
N = 130


def digits() -> tuple[TinyPool, Any]:
    data = load_digits()
    images = (data.images[:N] * 15.9).astype(np.uint8)[:, None]
    return TinyPool([f"{i:04d}.png" for i in range(N)], images=images), data.target[:N]


@pytest.mark.parametrize("name", TINY)
def test_killed_between_rounds_it_goes_on_alike(name: str, tmp_path: Path) -> None:
    pool, truth = digits()
    oracle = TruthOracle(pool, truth, NAMES)

    def run(book: LabelBook, folder: str, until: int | None) -> Outcome:
        query = FEW_NODES if name.startswith("lada") else {}
        learner, rule = recipe(name, learner=TINY[name], query=query).build()
        kept = SavedCheckpoints(tmp_path / folder)
        plan = Plan(initial=30, batch=10, budget=50)
        going = loop(
            pool, book, learner, rule, plan, seed=3, checkpoints=kept, parts=frozenset({"proba"})
        )
        return drive(going, oracle, lambda question: question.round == until)

    whole, parts = LabelBook(class_events(NAMES)), LabelBook(class_events(NAMES))
    end = run(whole, "whole", None)
    assert run(parts, "parts", 2).round == 2
    last = run(parts, "parts", None)
    assert [(e.kind, e.id, e.data) for e in parts.events] == [
        (e.kind, e.id, e.data) for e in whole.events
    ]
    assert end.snapshot is not None
    assert last.snapshot is not None
    assert set(end.snapshot.parts) == set(last.snapshot.parts)
    for part, array in end.snapshot.parts.items():
        np.testing.assert_array_equal(array, last.snapshot.parts[part])
    asked = [id for event in whole.events if event.kind == "asked" for id in event.data["ids"]]
    assert len(set(asked)) == len(asked) == 50
    hidden = whole.known(pool) < 0
    assert (end.snapshot.proba.argmax(axis=1) == truth)[hidden].mean() > 0.4


def test_pairs_reach_the_learner_through_the_book(tmp_path: Path) -> None:
    """What a killed run trains on is what the book says was asked, not what a rule remembers."""
    pool, truth = digits()
    book = LabelBook(class_events(NAMES))
    learner, rule = recipe("lada", learner={"steps": 4}, query=FEW_NODES).build()
    plan = Plan(initial=30, batch=9, budget=48)
    end = drive(loop(pool, book, learner, rule, plan, seed=1), TruthOracle(pool, truth, NAMES))
    pairs = book.memo["pairs"]
    assert [pair[3] for pair in pairs] == [1] * 4 + [2] * 4
    asked = {id for event in book.events if event.kind == "asked" for id in event.data["ids"]}
    assert {id for pair in pairs for id in pair[:2]} <= asked
    assert end.fit is not None
    assert end.fit.losses["virtual"] > 0
