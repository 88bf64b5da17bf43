"""What an import says in the book: classes and states, beside or over what was said before."""

from __future__ import annotations

import pytest

from handful.book import LabelBook
from handful.errors import InputError
from handful.events import class_events
from handful.types import Event

MADE = class_events(["cat", "dog"])


def imported(**data: object) -> Event:
    return Event("import_applied", "import", data)


def test_it_gives_classes_and_states() -> None:
    book = LabelBook(MADE)
    book.append([imported(images=["a", "b", "c"], classes=[1, None, None],
                          states=["labelled", "unsure", "none"])])  # fmt: skip
    assert [book.standing(i).state for i in "abc"] == ["labelled", "unsure", "none"]
    assert [book.standing(i).source for i in "abc"] == ["imported"] * 3
    assert book.standing("a").class_id == 1
    assert book.paid == 0
    book.append([Event("undone", "u", {}, undoes="import")])
    assert [book.standing(i).state for i in "abc"] == ["open"] * 3


def test_it_is_below_an_answer_unless_it_was_wanted_over_it() -> None:
    said = [Event("labelled", f"l{i}", {"image": i, "class": 0}) for i in "ab"]
    book = LabelBook([*MADE, *said])
    book.append([imported(images=["a", "b"], classes=[1, 1], over=["b"])])
    assert [book.standing(i).class_id for i in "ab"] == [0, 1]
    assert book.standing("b").source == "imported"
    book.append([Event("undone", "u", {}, undoes="import")])
    assert [book.standing(i).class_id for i in "ab"] == [0, 0]
    assert book.standing("b").source == "hand"
    book.append([Event("redone", "r", {}, undoes="import")])
    book.append([Event("labelled", "l", {"image": "b", "class": 0})])
    assert book.standing("b").class_id == 0


@pytest.mark.parametrize(
    "data",
    [
        {"images": ["a"], "classes": [2]}, {"images": ["a"], "classes": [0, 1]},
        {"images": ["a"], "classes": [None], "states": ["gone"]},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(data: dict[str, object]) -> None:
    book = LabelBook(MADE)
    with pytest.raises(InputError):
        book.append([imported(**data)])
    assert len(book) == 2
