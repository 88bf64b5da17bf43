"""A book that another process writes is followed event by event, and never written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from handful.book import LabelBook
from handful.errors import StoreError
from handful.events import STATES, class_events
from handful.pool import FeaturePool
from handful.store import FollowedBook, SqliteBook
from handful.types import Event


def test_events_arrive_in_order_and_nothing_is_written(tmp_path: Path) -> None:
    with SqliteBook(tmp_path / "book.sqlite") as book:
        book.append(class_events(["a", "b"]))
        followed = FollowedBook(tmp_path / "book.sqlite")
        book.append([Event("labelled", "1", {"image": "x", "class": 1})])
        assert followed.standing("x").state == "open"
        assert followed.refresh() == 1
        assert followed.refresh() == 0
        assert followed.events == book.events
        assert followed.standing("x") == book.standing("x")
        with pytest.raises(StoreError, match="followed"):
            followed.append([Event("image_changed", "2", {"image": "x"})])
        followed.append([])
        assert len(book) == 3
        followed.close()
        with pytest.raises(StoreError):
            followed.refresh()


def test_what_is_no_book_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        FollowedBook(tmp_path / "none.sqlite")
    assert not (tmp_path / "none.sqlite").exists()
    (tmp_path / "text").write_text("no data base at all, but long enough to be looked at")
    with pytest.raises(StoreError, match="damaged"):
        FollowedBook(tmp_path / "text")


def test_states_of_rows_follow_the_book() -> None:
    pool = FeaturePool(np.zeros((6, 2), np.float32), tuple("abcdef"))
    book = LabelBook(class_events(["x", "y"]))
    book.append(
        [
            Event("labelled", "1", {"image": "a", "class": 0}),
            Event("labelled", "2", {"image": "b", "class": 1}),
            Event("state_set", "3", {"images": ["c"], "state": "none"}),
            Event("state_set", "4", {"images": ["d"], "state": "later"}),
            Event("audit_answered", "5", {"image": "e", "class": 0}),
        ]
    )
    said = [STATES[i] for i in book.states(pool)]
    assert said == ["labelled", "labelled", "none", "later", "open", "open"]
    book.append([Event("class_archived", "6", {"class": 1})])
    said = [STATES[i] for i in book.states(pool)]
    assert said[:2] == ["labelled", "open"]
