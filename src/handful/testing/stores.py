"""The contract of books: whoever keeps events must keep all of this.

Inherit from `StoreContract`, give it ``open_book``; pytest runs the rest::

    class TestMyBook(StoreContract):
        def open_book(self, folder):
            return MyBook(folder / "book.db")
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from handful.book import LabelBook
from handful.errors import InputError
from handful.events import KINDS, class_events
from handful.types import Answer, Event, PairAnswer, Question

__all__ = ["StoreContract", "story"]


def story() -> list[Event]:
    """A life of a book: rounds, corrections, pairs, classes that grow and merge, an undo."""
    book = LabelBook()
    book.append(class_events(["cat", "dog"]))
    memo: dict[str, object] = {"rule": None, "memo": {"radius": 0.1}, "pairs": []}
    first = {"round": 0, "question": "class", "ids": ["a", "b\udcff", "c"], "tags": []}
    book.append([Event("asked", "asked/0", {**first, **memo, "draw": "random"})])
    question = book.pending()
    assert question is not None
    said = [Answer("a", "cat"), Answer("b\udcff", "owl"), Answer("c", state="later")]
    book.append(book.events_of(said, question=question))
    book.append([Event("round_closed", "closed/0", {"round": 0})])
    book.append(book.events_of([Answer("a", "dog", source="hand", person="P1", ms=700)]))
    book.append(book.events_of([PairAnswer("a", "c", True), PairAnswer("a", "d", None)]))
    merge = {"class": 2, "into": 0, "images": ["b\udcff"]}
    book.append(
        [
            Event("class_merged", "m", merge),
            Event("state_set", "s", {"images": ["d", "e"], "state": "broken"}),
            Event("undone", "u", undoes="s"),
            Event("asked", "asked/1", {**first, **memo, "round": 1, "draw": "rule", "rule": "r"}),
        ]
    )
    return [replace(event, at=1e9 + event.seq) for event in book.events]


class StoreContract:
    """What a book promises, wherever its events are kept."""

    lasts: ClassVar[bool] = True  # False: an in-memory book is gone when it is closed

    def open_book(self, folder: Path) -> LabelBook:
        """Open the book that lives in ``folder``, or make it."""
        raise AssertionError(f"{type(self).__name__} defines no open_book(folder)")

    def close_book(self, book: LabelBook) -> None:
        """Let go of the book; in memory there is nothing to do."""
        getattr(book, "close", lambda: None)()

    def test_same_events_same_state(self, tmp_path: Path) -> None:
        book, plain = self.open_book(tmp_path), LabelBook(story())
        for event in story():
            book.append([replace(event, seq=0)])
        assert book.events == plain.events
        assert derived(book) == derived(plain)
        self.close_book(book)

    def test_sequence_counts_from_one_without_holes(self, tmp_path: Path) -> None:
        book = self.open_book(tmp_path)
        book.append(story()[:3])
        book.append(story()[3:])
        assert [event.seq for event in book.events] == list(range(1, len(story()) + 1))
        assert all(event.at > 0 for event in book.events)
        self.close_book(book)

    def test_a_repeat_does_no_harm(self, tmp_path: Path) -> None:
        book = self.open_book(tmp_path)
        book.append(story())
        before = book.events, derived(book)
        book.append(story())
        book.append([story()[0], story()[0]])
        assert (book.events, derived(book)) == before
        self.close_book(book)

    def test_an_append_is_all_or_nothing(self, tmp_path: Path) -> None:
        book = self.open_book(tmp_path)
        book.append(story())
        before = book.events, derived(book)
        good = Event("labelled", "good", {"image": "z", "class": 0})
        for bad in (
            Event("no such kind", "x"),
            Event("labelled", "x", {"image": "z", "class": 99}),
            Event("labelled", "x", {"image": "z"}),
            Event("labelled", "", {"image": "z", "class": 0}),
            Event("state_set", "x", {"images": ["z"], "state": "asleep"}),
            Event("round_closed", "x", {"round": 7}),
            Event("undone", "x", undoes="nobody"),
            Event("export_made", "x", {"rows": {1, 2}}),
        ):
            with pytest.raises(InputError):
                book.append([good, bad])
            assert (book.events, derived(book)) == before
        book.append([good])
        assert book.standing("z").class_id == 0
        self.close_book(book)

    def test_numbers_of_numpy_come_back_plain(self, tmp_path: Path) -> None:
        book = self.open_book(tmp_path)
        data = {"key": "k", "new": {"x": np.float64(0.1), "y": np.arange(2)}}
        book.append([Event("setting_changed", "s", data)])
        assert book.settings["k"] == {"x": 0.1, "y": [0, 1]}
        self.close_book(book)

    def test_every_kind_of_event_has_a_place(self, tmp_path: Path) -> None:
        book = self.open_book(tmp_path)
        book.append(class_events(["cat"]))
        free = [kind for kind, fields in KINDS.items() if not fields and "done" not in kind]
        book.append([Event(kind, f"k/{kind}", {"note": "é"}) for kind in free])
        assert {event.kind for event in book.events} == {*free, "class_created"}
        self.close_book(book)

    def test_the_book_lasts(self, tmp_path: Path) -> None:
        if not self.lasts:
            return
        book = self.open_book(tmp_path)
        book.append(story())
        before = book.events, derived(book)
        self.close_book(book)
        again = self.open_book(tmp_path)
        assert (again.events, derived(again)) == before
        question = again.pending()
        assert isinstance(question, Question)
        assert question.ids == ("a", "b\udcff", "c")
        self.close_book(again)


def derived(book: LabelBook) -> dict[str, object]:
    """Everything that follows from the events."""
    ids = book.images()
    return {
        "standings": [book.standing(id) for id in ids],
        "audited": [book.standing(id, audited=True) for id in ids],
        "classes": book.classes,
        "pairs": book.pairs,
        "tags": book.tags,
        "memo": book.memo,
        "round": book.round,
        "paid": book.paid,
        "pending": book.pending(),
        "settings": book.settings,
        "random": book.drawn_at_random,
    }
