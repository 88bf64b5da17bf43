"""What follows from the events: classes, standings, rounds, costs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handful.book import LabelBook, row_of
from handful.errors import AnswerError, InputError
from handful.events import RANK, class_events
from handful.testing.learners import TinyPool
from handful.types import SOURCES, Answer, Array, Event, PairAnswer, Question, RowIds

IDS = [f"i{n}" for n in range(8)]
POOL = TinyPool(IDS, features=np.zeros((8, 1), np.float32))


def book_of(*events: Event, names: tuple[str, ...] = ("cat", "dog", "owl")) -> LabelBook:
    book = LabelBook(class_events(names))
    book.append(events)
    return book


def said(image: str, id: int, source: str = "hand", *, at: str = "") -> Event:
    data = {"image": image, "class": id, "source": source}
    return Event("labelled", at or f"{image}/{id}/{source}", data)


def state(image: str, state: str, at: str = "") -> Event:
    return Event("state_set", at or f"{image}/{state}", {"images": [image], "state": state})


def asked(round: int, ids: list[str], **more: Any) -> Event:
    data: dict[str, Any] = {
        "round": round, "question": "class", "ids": ids, "pairs": [], "tags": [], "memo": {},
        "draw": "rule", "rule": "r",
    }  # fmt: skip
    return Event("asked", f"asked/{round}", {**data, **more})


def closed(round: int) -> Event:
    return Event("round_closed", f"closed/{round}", {"round": round})


# --- what is known --------------------------------------------------------------------------


def test_the_last_word_on_an_image_counts() -> None:
    book = book_of(said("i1", 0), said("i1", 2), said("i3", 1), state("i3", "unsure"))
    assert book.known(POOL).tolist() == [-1, 2, -1, -1, -1, -1, -1, -1]
    assert book.standing("i3").state == "unsure"
    book.append([said("i3", 1, at="again")])
    assert book.known(POOL)[3] == 1
    assert book.sources(POOL)[3] == SOURCES.index("hand")
    assert book.standing("nobody").state == "open"


def test_states_that_set_aside_and_later_that_comes_back() -> None:
    book = book_of(*(state(f"i{n}", s) for n, s in enumerate(["unsure", "none", "broken"])))
    assert book.open(POOL).tolist() == [False] * 3 + [True] * 5
    book.append([state("i3", "later"), said("i4", 0)])
    assert np.flatnonzero(book.open(POOL)).tolist() == [5, 6, 7]
    book.append([said("i5", 0), said("i6", 0), said("i7", 0)])
    assert np.flatnonzero(book.open(POOL)).tolist() == [3]  # nothing else is left
    book.append([said("i3", 0)])
    assert not book.open(POOL).any()
    assert not (book.known(POOL)[:3] >= 0).any()


def test_a_broken_image_of_the_pool_is_never_open() -> None:
    pool = TinyPool(IDS, features=np.zeros((8, 1), np.float32), broken={2: "cut off"})
    assert np.flatnonzero(~LabelBook().open(pool)).tolist() == [2]
    everything = TinyPool(IDS, broken=dict.fromkeys(range(8), "cut off"))
    assert not LabelBook().open(everything).any()


@pytest.mark.parametrize("low", [s for s in SOURCES if RANK[s] < RANK["hand"]])
def test_a_lower_source_never_overwrites_a_higher_one(low: str) -> None:
    higher = [s for s in SOURCES if RANK[s] > RANK[low] and s != "audit"]
    for high in higher:
        book = book_of(said("i0", 0, high), said("i0", 1, low))
        assert book.standing("i0").class_id == 0
        assert book_of(said("i0", 1, low), said("i0", 0, high)).standing("i0").source == high
    set_aside = book_of(state("i0", "unsure"), said("i0", 1, low))
    assert set_aside.standing("i0").state == "unsure"
    later = book_of(state("i0", "later"), said("i0", 1, low))
    assert later.standing("i0").class_id == 1  # later is no answer
    cleared = book_of(said("i0", 0), said("i0", 1, low), state("i0", "open"))
    assert cleared.standing("i0").state == "open"
    cleared.append([said("i0", 2, low, at="after")])
    assert cleared.standing("i0").class_id == 2


def test_groups_acceptance_imports_and_stacks() -> None:
    book = book_of(
        Event("import_applied", "im", {"images": ["i0", "i1"], "classes": [0, 0], "rows": 2}),
        Event("accepted_above", "ac", {"images": ["i1", "i2"], "classes": [1, 1], "p": 0.97}),
        Event("group_labelled", "gr", {"class": 2, "images": ["i2", "i3"], "taken_out": ["i4"]}),
        said("i5", 1, "copied"),
        Event("review_changed", "rv", {"image": "i0", "from": 0, "to": 1}),
        Event("overlap_settled", "ov", {"image": "i6", "class": 2, "answers": []}),
        Event("overlap_settled", "o2", {"image": "i7", "result": "open"}),
    )
    assert book.known(POOL).tolist() == [1, 0, 2, 2, -1, 1, 2, -1]
    names = [SOURCES[s] if s >= 0 else "" for s in book.sources(POOL)]
    assert names == ["hand", "imported", "group", "group", "", "copied", "hand", ""]
    book.append([Event("stack_broken", "sb", {"stack": 1, "images": ["i5"]})])
    assert book.standing("i5").state == "open"
    assert book.paid == 5  # accept, group, review, two settled; nobody answers an import or a copy
    weak = book_of(
        Event("import_applied", "w", {"images": ["i0"], "classes": [1], "source": "weak"})
    )
    assert weak.standing("i0").source == "weak"


def test_an_image_that_moves_takes_its_label_along() -> None:
    book = book_of(said("old", 1), Event("image_moved", "mv", {"image": "old", "to": "i0"}))
    assert book.known(POOL)[0] == 1
    assert book.standing("old").state == "open"
    book.append([Event("undone", "u", undoes="old/1/hand")])
    assert book.known(POOL)[0] == -1


def test_none_may_train_a_class() -> None:
    book = book_of(state("i0", "none"), names=("cat", "other"))
    assert book.known(POOL)[0] == -1
    book.append([Event("setting_changed", "s", {"key": "none_class", "old": None, "new": 1})])
    assert book.known(POOL)[0] == 1
    assert not book.open(POOL)[0]
    assert book.standing("i0").state == "none"
    with pytest.raises(InputError, match="never created"):
        book.append([Event("setting_changed", "s2", {"key": "none_class", "new": 9})])


def test_audits_reach_no_view_and_speak_once_closed() -> None:
    def audit(image: str, id: int) -> Event:
        return Event("audit_answered", f"au/{image}", {"image": image, "class": id})

    group = Event("group_labelled", "g", {"class": 0, "images": ["i0", "i1"]})
    book = book_of(group, said("i2", 0), audit("i0", 1), audit("i2", 1), audit("i3", 1))
    known = book.known(POOL).tolist()
    assert known == [0, 0, 0, -1, -1, -1, -1, -1]
    assert book.open(POOL)[3]
    assert book.standing("i0", audited=True).class_id == 0  # not closed yet
    book.append([Event("audit_closed", "ac", {"n": 3, "k": 1})])
    assert book.known(POOL).tolist() == known
    assert book.standing("i0", audited=True).class_id == 1
    assert book.standing("i0", audited=True).source == "audit"
    assert book.standing("i3", audited=True).class_id == 1
    assert book.standing("i3").state == "open"
    book.append([said("i2", 2, at="later by hand")])
    assert book.standing("i2", audited=True).class_id == 2  # of hand and audit the later one wins
    answer = Answer("i4", "owl", source="audit")
    book.append(book.events_of([answer, Answer("i5", state="unsure", source="audit")]))
    assert book.known(POOL)[4] == -1
    assert [e.kind for e in book.events[-2:]] == ["audit_answered"] * 2
    assert book.paid == 8


# --- undo -----------------------------------------------------------------------------------


def test_undo_redo_and_undo_of_undo() -> None:
    book = book_of(said("i0", 0), said("i0", 1))
    top = "i0/1/hand"
    steps = [
        ("undone", top, 0), ("undone", "1", 1), ("undone", top, 0), ("redone", top, 1),
        ("undone", "4", 0), ("redone", "1", 0), ("undone", "i0/0/hand", -1),
    ]  # fmt: skip
    for n, (kind, target, now) in enumerate(steps, 1):
        book.append([Event(kind, str(n), undoes=target)])
        assert book.standing("i0").class_id == now, (n, kind, target)
    assert book.paid == 2  # an answer undone was still given
    assert book.open(POOL)[0]


def test_undo_reaches_classes_pairs_and_settings() -> None:
    book = book_of(
        said("i0", 0),
        Event("class_merged", "m", {"class": 0, "into": 1, "images": ["i0"]}),
        Event("pair_answered", "p", {"a": "i0", "b": "i1", "answer": "same"}),
        Event("setting_changed", "s", {"key": "k", "new": 1}),
    )
    assert book.known(POOL)[0] == 1
    book.append([Event("undone", f"u/{id}", undoes=id) for id in ("m", "p", "s")])
    assert book.known(POOL)[0] == 0
    assert (book.pairs, dict(book.settings), book.paid) == ((), {}, 2)


def test_what_was_asked_cannot_be_undone() -> None:
    book = book_of(asked(0, ["i0"]), closed(0))
    for id in ("asked/0", "closed/0"):
        with pytest.raises(InputError, match="cannot be undone"):
            book.append([Event("undone", "u", undoes=id)])


# --- classes --------------------------------------------------------------------------------


def test_ids_of_classes_never_change_meaning() -> None:
    book = book_of(said("i0", 0), said("i1", 1), said("i2", 2))
    book.append([Event("class_renamed", "r", {"class": 0, "old": "cat", "new": "Katze"})])
    book.append([Event("class_merged", "m", {"class": 2, "into": 1})])
    assert book.classes.names == ("Katze", "dog", "owl")
    assert book.classes.archived == {2}
    assert book.known(POOL).tolist()[:3] == [0, 1, 1]
    assert [book.class_id(n) for n in ("cat", "Katze", "owl", "new")] == [0, 0, 1, None]
    book.append([Event("class_archived", "a", {"class": 1})])
    assert book.known(POOL).tolist()[:3] == [0, -1, -1]
    assert np.flatnonzero(book.open(POOL)).tolist() == [1, 2, 3, 4, 5, 6, 7]
    assert book.standing("i1").state == "open"
    with pytest.raises(AnswerError, match="'dog' is archived"):
        book.class_id("dog")
    book.append([Event("class_created", "c", {"class": 3, "name": "dog"})])
    assert book.class_id("dog") == 3
    book.append([Event("undone", "u", undoes="c")])
    assert book.classes.names[3] == "dog"
    assert 3 in book.classes.archived


def test_the_list_grows_with_the_answers() -> None:
    book = LabelBook()
    answers = [Answer("i0", "cat"), Answer("i1", "dog"), Answer("i2", "cat")]
    book.append(book.events_of(answers))
    book.append(book.events_of([Answer("i3", "owl"), Answer("i4", "dog")]))
    assert book.classes.names == ("cat", "dog", "owl")
    assert book.known(POOL).tolist()[:5] == [0, 1, 0, 2, 1]


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("class_created", {"class": 5, "name": "x"}, "next id 3"),
        ("class_created", {"class": 3, "name": "cat"}, "already a class 'cat'"),
        ("class_created", {"class": 3, "name": " "}, "needs a name"),
        ("class_renamed", {"class": 0, "new": "dog"}, "already a class 'dog'"),
        ("class_merged", {"class": 0, "into": 0}, "cannot be merged"),
        ("class_merged", {"class": 0, "into": 9}, "never created"),
        ("labelled", {"image": "i0", "class": None}, "names no class"),
        ("labelled", {"image": "i0", "class": 0, "source": "rumour"}, "source 'rumour'"),
        ("state_set", {"images": ["i0"], "state": "labelled"}, "without a class"),
        ("pair_answered", {"a": "x", "b": "y", "answer": "maybe"}, "same, different or unsure"),
        ("accepted_above", {"images": ["i0"], "classes": [0, 1]}, "2 classes for its images"),
        ("setting_changed", {"key": "k", "new": float("nan")}, "no JSON"),
        ("asked", {"round": 0}, "lacks 'question'"),
    ],
)
def test_an_event_that_makes_no_sense_is_refused(
    kind: str, data: Mapping[str, Any], message: str
) -> None:
    book = book_of()
    with pytest.raises(InputError, match=message):
        book.append([Event(kind, "x", data)])
    assert len(book) == 3


# --- rounds, answers, pairs -----------------------------------------------------------------


def test_rounds_follow_each_other() -> None:
    book = book_of(asked(0, ["i0", "i1"], tags=["easy", ""], memo={"r": 1}, draw="random"))
    assert (book.round, dict(book.memo), dict(book.tags)) == (0, {}, {})
    assert book.pending() == Question("class", 0, ("i0", "i1"), tags=("easy", ""))
    for bad in (asked(1, ["i2"]), closed(1)):
        with pytest.raises(InputError, match="does not fit the book"):
            book.append([bad])
    book.append([closed(0)])
    assert (book.round, dict(book.memo), dict(book.tags)) == (1, {"r": 1}, {"i0": "easy"})
    assert book.pending() is None
    with pytest.raises(InputError, match="does not fit the book"):
        book.append([Event("round_closed", "twice", {"round": 1})])
    book.append([asked(1, [], question="pair", pairs=[["i0", "i1"]])])
    assert book.pending() == Question("pair", 1, pairs=(("i0", "i1"),))


def test_answers_become_events_that_a_repeat_gives_again() -> None:
    book = book_of(asked(0, ["i0", "i1", "i2"]))
    question = book.pending()
    answers = [
        Answer("i0", "cat", person="P", ms=9), Answer("i1", state="later"),
        Answer("i0", "dog", source="hand"), Answer("i7", "cat"),
    ]  # fmt: skip
    events = book.events_of(answers, question=question, source="initial")
    assert [e.id for e in events] == ["answer/0/0", "answer/0/1", "correction/4/2"]
    book.append(events)
    book.append(book.events_of(answers[:3], question=question, source="initial"))
    assert book.paid == 3
    now = book.standing("i0")
    assert (now.class_id, now.source, now.round) == (1, "initial", 0)
    assert book.standing("i7").round is None
    assert book.standing("i7").source == "oracle"
    assert not book.events_of([Answer("i0", "dog"), Answer("i1", state="later")])
    book.append(book.events_of([Answer("i0", "owl", source="hand")]))
    assert (book.standing("i0").class_id, book.standing("i0").round) == (2, 0)


def test_pairs_cost_and_the_last_answer_counts() -> None:
    book = book_of()
    book.append(book.events_of([PairAnswer("i0", "i1", True), PairAnswer("i2", "i3", None)]))
    book.append(book.events_of([PairAnswer("i1", "i0", False, source="hand", person="P")]))
    assert not book.events_of([PairAnswer("i0", "i1", False), PairAnswer("i3", "i2", None)])
    assert book.paid == 3
    assert book.pairs == (
        PairAnswer("i1", "i0", False, "hand", "P"),
        PairAnswer("i2", "i3", None),
    )


def test_labels_that_nobody_drew_at_random() -> None:
    book = book_of(asked(0, ["i0"], draw="random", rule=None), said("i0", 0), closed(0))
    assert book.drawn_at_random
    assert not book_of(asked(0, ["i0"]), said("i0", 0), closed(0)).drawn_at_random
    book.append([said("i1", 0)])
    assert not book.drawn_at_random
    assert LabelBook().drawn_at_random


# --- the slow twin, and size ----------------------------------------------------------------


def slow(events: tuple[Event, ...], image: str) -> tuple[str, int]:
    """The standing of an image told the long way: every rank apart, from the first event on."""
    dead: set[str] = set()
    for event in events:
        if event.kind == "undone":
            dead.add(str(event.undoes))
    best = (-1, -1, "open", -1)
    for n, event in enumerate(events):
        if event.id in dead or image not in (event.data.get("images") or [event.data.get("image")]):
            continue
        rank = RANK["group"] if event.kind == "group_labelled" else RANK[event.data["source"]]
        if event.kind == "state_set":
            best = max(best, (rank, n, event.data["state"], -1))
        else:
            best = max(best, (rank, n, "labelled", event.data["class"]))
    return best[2], best[3]


image = st.sampled_from(IDS[:3])
words = st.one_of(
    st.tuples(st.just("labelled"), image, st.integers(0, 2), st.sampled_from(SOURCES[:7])),
    st.tuples(st.just("group_labelled"), image, st.integers(0, 2), st.just("group")),
    st.tuples(st.just("state_set"), image, st.sampled_from(["unsure", "none"]), st.just("hand")),
    st.tuples(st.just("undone"), st.integers(0, 30), st.none(), st.none()),
)


@given(st.lists(words, max_size=25), st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_the_book_tells_the_same_as_the_slow_twin(story: list[Any], cuts: int) -> None:
    events = []
    for n, (kind, a, b, source) in enumerate(story):
        if kind == "undone":
            if a < n and story[a][0] != "undone":
                events.append(Event(kind, f"e{n}", undoes=f"e{a}"))
        elif kind == "state_set":
            data = {"images": [a], "state": b, "source": source}
            events.append(Event(kind, f"e{n}", data))
        elif kind == "group_labelled":
            events.append(Event(kind, f"e{n}", {"images": [a], "class": b}))
        else:
            events.append(Event(kind, f"e{n}", {"image": a, "class": b, "source": source}))
    book = book_of()
    for at in range(0, len(events), cuts):
        book.append(events[at : at + cuts])
        if at % 2:
            book.standing(IDS[0])  # reads in any order between the appends change nothing
        else:
            book.known(POOL)  # keeps the derived rows warm: the incremental way is tested
    for row, id in enumerate(IDS[:3]):
        state_now, class_now = slow(book.events[3:], id)
        assert (book.standing(id).state, book.standing(id).class_id) == (state_now, class_now)
        assert book.known(POOL)[row] == class_now
    again = LabelBook(book.events)
    np.testing.assert_array_equal(again.known(POOL), book.known(POOL))
    np.testing.assert_array_equal(again.open(POOL), book.open(POOL))
    np.testing.assert_array_equal(again.sources(POOL), book.sources(POOL))


class HugePool(TinyPool):
    """A million images without a million ids; ``made`` counts the ids that were asked for."""

    def __init__(self, n: int) -> None:
        object.__setattr__(self, "ids", CountedIds(n))
        object.__setattr__(self, "images", None)
        object.__setattr__(self, "features", None)
        object.__setattr__(self, "broken", {})

    def row(self, id: str) -> int:
        return int(id)


class CountedIds(RowIds):
    __slots__ = ("made",)

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.made = 0

    def __getitem__(self, i: Any) -> Any:
        self.made += 1
        return super().__getitem__(i)


def fastest(call: Any, times: int = 3) -> float:
    took = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        took.append(time.perf_counter() - start)
    return min(took)


def test_a_million_rows_are_vectors() -> None:
    pool = HugePool(1_000_000)
    book = book_of(*(said(f"{n * 97:08d}", n % 3, "oracle") for n in range(5000)))

    def look() -> tuple[Array, Array, Array]:
        return book.known(pool), book.open(pool), book.sources(pool)

    assert fastest(look) < 1.0
    known, free, _ = look()
    assert (known >= 0).sum() == 5000 == (~free).sum()
    assert known[97] == 1
    assert pool.ids.made == 0
    book.append([said("00000001", 2)])
    assert fastest(look) < 0.5
    assert book.known(pool)[1] == 2


def test_every_way_of_reading_sees_what_is_new() -> None:
    """Asking for one image first must not hide from the rows what had changed."""
    book = book_of(said("i0", 1))
    assert book.known(POOL)[0] == 1
    book.append([said("i1", 2)])
    assert book.standing("i1").class_id == 2
    assert not book.drawn_at_random
    assert book.known(POOL)[1] == 2


def test_many_accepted_at_once() -> None:
    pool = HugePool(300_000)
    images = [f"{n:08d}" for n in range(300_000)]
    book = book_of()
    start = time.perf_counter()
    data = {"images": images, "classes": [n % 3 for n in range(300_000)], "p": 0.97}
    book.append([Event("accepted_above", "a", data)])
    assert book.known(pool).tolist() == data["classes"]
    assert time.perf_counter() - start < 20
    assert book.paid == 1


def test_what_a_view_gets_is_its_own() -> None:
    book = book_of(said("i0", 1))
    known, free = book.known(POOL), book.open(POOL)
    known[:] = 7
    free[:] = False
    assert book.known(POOL)[0] == 1
    assert book.open(POOL)[1]
    other = POOL.subset(np.array([0, 2]))
    assert book.known(other).tolist() == [1, -1]
    assert book.known(POOL).tolist() == [1] + [-1] * 7


def test_an_id_that_the_pool_does_not_hold() -> None:
    assert row_of(POOL, "i3") == 3
    assert row_of(POOL, "zzz") is None


def test_what_was_said_of_an_image_and_by_which_event() -> None:
    """``said`` knows no merge; ``standing`` does; both name the event."""
    book = LabelBook([*class_events(["a", "b"]), said("i0", 0, at="l0")])
    book.append([Event("class_merged", "m", {"class": 0, "into": 1})])
    assert (book.said("i0").class_id, book.standing("i0").class_id) == (0, 1)
    assert book.event(book.said("i0").seq).id == "l0"
    assert book.said("i9").seq == 0
    assert book.find("m") is book.event(4)
    assert book.find("nobody") is None
    for seq in (0, 5):
        with pytest.raises(LookupError, match="4 events"):
            book.event(seq)


def test_a_changed_image_is_open_again_until_that_is_undone() -> None:
    book = LabelBook([*class_events(["a"]), said("i0", 0, at="l0")])
    book.append([Event("image_changed", "c", {"image": "i0"})])
    assert book.standing("i0").state == "open"
    book.append([Event("undone", "u", undoes="c")])
    assert book.standing("i0").class_id == 0
    changed = book.find("c")
    assert changed is not None
    assert not book.alive(changed)


def test_a_group_of_images_looked_at_one_by_one_counts_like_a_hand() -> None:
    book = LabelBook([*class_events(["a", "b"]), said("i0", 0, at="l0")])
    group = {"class": 1, "images": ["i0", "i1"]}
    book.append([Event("group_labelled", "g", group)])
    assert [book.said(i).class_id for i in ("i0", "i1")] == [0, 1]
    book.append([Event("group_labelled", "h", {**group, "source": "hand"})])
    assert [book.said(i).class_id for i in ("i0", "i1")] == [1, 1]


def test_an_event_concerns_the_images_by_all_their_names() -> None:
    """Two files that changed names: a chain of moves that comes back to where it began."""
    book = LabelBook([*class_events(["a"]), said("i0", 0, at="l0")])
    for number, (old, new) in enumerate([("i0", "aside"), ("i1", "i0"), ("aside", "i1")]):
        book.append([Event("image_moved", f"m{number}", {"image": old, "to": new})])
    assert book.said("i1").class_id == 0
    undo = Event("undone", "u", undoes="l0")
    book.append([undo])
    assert {"i0", "i1"} <= book.concerns(undo)
    assert [event.id for event in book.about("i1")] == ["l0"]
    assert book.about("i0") == ()
    assert book.said("i1").state == "open"
    moved = book.find("m0")
    assert moved is not None
    assert {"i0", "aside"} <= book.concerns(moved)
