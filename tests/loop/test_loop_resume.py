"""The loop: killed anywhere it goes on with equal events; it never knows what nobody bought."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from handful.book import LabelBook
from handful.errors import AnswerError, MissingPart, RecipeError
from handful.events import class_events
from handful.loop import AskTell, Checkpoints, Plan, closing, drive, loop, view_of
from handful.oracles import NoisyOracle, PairOracle, TableOracle, TruthOracle
from handful.progress import Progress, Silent
from handful.registry import ScoreRule
from handful.store import RunFolder, SavedCheckpoints, SqliteBook
from handful.testing.learners import TinyPool
from handful.types import (
    Answer,
    Answers,
    Array,
    Fit,
    Loop,
    Outcome,
    PairAnswer,
    Picks,
    Question,
    RowIds,
    Snapshot,
    View,
    Weights,
)

N, C = 60, 3
NAMES = ("cat", "dog", "owl")
TRUTH = np.arange(N) % C
PLAN = Plan(initial=8, batch=5, budget=31)


def features() -> Array:
    rng = np.random.default_rng(5)
    return (np.eye(C)[TRUTH] @ rng.normal(size=(C, 4)) * 2 + rng.normal(size=(N, 4))).astype("f4")


POOL = TinyPool([f"{i:03d}.png" for i in range(N)], features=features())
ORACLE = TruthOracle(POOL, TRUTH, NAMES)


class Killed(BaseException):
    """Stands for kill -9: no handler of the loop may catch it."""


@dataclass
class Means:
    """Class means; the warm one drags its means along, so that its weights tell its history."""

    warm: bool = False
    name: ClassVar[str] = "means"
    gives: ClassVar[frozenset[str]] = frozenset({"proba", "embedding"})
    kill: Callable[[str, int], None] = lambda step, round: None
    means: Array = field(default_factory=lambda: np.zeros((0, 4)))
    fits: int = 0

    def fit(self, view: View, rng: np.random.Generator, progress: Progress) -> Fit:
        x = view.pool.features
        assert x is not None
        old = self.means
        self.means = rng.normal(size=(max(1, len(view.classes)), 4))
        if self.warm:
            self.means[: len(old)] += 0.7 * old
        self.kill("mid-fit", view.round)
        for c in range(len(self.means)):
            if (view.known == c).any():
                self.means[c] += x[view.known == c].mean(axis=0)
        self.fits += 1
        self.kill("fit", view.round)
        return Fit({"total": float(np.abs(self.means).sum())}, images=len(x))

    def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
        x = view.pool.features
        assert x is not None
        logits = x @ self.means.T
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        made = {"proba": p / p.sum(axis=1, keepdims=True), "embedding": x.copy()}
        self.kill("snapshot", view.round)
        return Snapshot(
            ids=view.pool.ids,
            open=view.known < 0,
            known=view.known,
            parts={name: made[name] for name in parts},
        )

    def state(self) -> Weights:
        return {"means": self.means}

    def load(self, state: Weights) -> None:
        self.means = state["means"]

    def predict(self, images: Array) -> Any:
        return np.zeros((len(images), len(self.means)), np.float32)


@dataclass(frozen=True)
class Unsure(ScoreRule):
    """Least confident first; its memo and tags tell what it has seen."""

    needs: ClassVar[frozenset[str]] = frozenset({"proba"})
    cold: ClassVar[bool] = True
    name: ClassVar[str] = "unsure"
    kill: Callable[[str, int], None] = lambda step, round: None

    def score(self, snapshot: Snapshot, rng: np.random.Generator) -> Array:
        return 1 - snapshot.proba.max(axis=1) + 1e-3 * rng.random(len(snapshot.ids))

    def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Picks:
        picks = super().select(snapshot, k, rng)
        self.kill("select", snapshot.round)
        seen = [*snapshot.memo.get("seen", []), snapshot.round]
        return replace(picks, tags=("difficult",) * len(picks.ids), memo={"seen": seen})


class Killable(LabelBook):
    """A book in memory that dies before or after an append."""

    kill: Callable[[str, int], None] = staticmethod(lambda step, round: None)

    def append(self, events: Any) -> None:
        round = getattr(self, "_round", 0)
        self.kill("before append", round)
        super().append(events)
        self.kill("append", round)


def told(book: LabelBook) -> list[tuple[str, str, Mapping[str, Any]]]:
    return [(e.kind, e.id, e.data) for e in book.events]


def run(book: LabelBook, kept: Checkpoints | None, *, warm: bool, plan: Plan = PLAN) -> Outcome:
    return drive(loop(POOL, book, Means(warm), Unsure(), plan, seed=4, checkpoints=kept), ORACLE)


# --- killed anywhere ------------------------------------------------------------------------


STEPS = {"mid-fit": 6, "fit": 6, "snapshot": 6, "select": 5, "before append": 12, "append": 12}


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_killed_at_every_step_of_a_run(tmp_path: Path, step: str, warm: bool) -> None:
    whole = LabelBook()
    end = run(whole, SavedCheckpoints(tmp_path / "whole"), warm=warm)
    assert end.snapshot is not None
    assert end.fit is not None
    for nth in range(STEPS[step] + 1):
        calls: list[int] = []

        def kill(where: str, round: int, nth: int = nth, calls: list[int] = calls) -> None:
            if where == step:
                calls.append(round)
                if len(calls) == nth + 1:
                    raise Killed

        kept = SavedCheckpoints(tmp_path / f"{nth}")
        book = Killable()
        book.kill = kill  # type: ignore[method-assign]
        learner, rule = Means(warm, kill=kill), Unsure(kill=kill)
        going = loop(POOL, book, learner, rule, PLAN, seed=4, checkpoints=kept)
        if nth == STEPS[step]:  # there is no such step any more: the run ends by itself
            drive(going, ORACLE)
            continue
        with pytest.raises(Killed):
            drive(going, ORACLE)
        again = LabelBook(book.events)
        resumed = run(again, kept, warm=warm)
        assert told(again) == told(whole), (step, nth)
        assert resumed.snapshot is not None
        np.testing.assert_array_equal(resumed.snapshot.proba, end.snapshot.proba)
        assert resumed.fit is not None
        assert resumed.fit.losses == end.fit.losses


@pytest.mark.parametrize("warm", [False, True])
def test_abandoned_at_every_question(tmp_path: Path, warm: bool) -> None:
    whole = LabelBook()
    run(whole, SavedCheckpoints(tmp_path / "whole"), warm=warm)
    kept = SavedCheckpoints(tmp_path / "parts")
    path = tmp_path / "book.sqlite"
    reason = ""
    while not reason:  # a new process for each question: it is handed back, then answered
        with SqliteBook(path) as book:
            going = loop(POOL, book, Means(warm), Unsure(), PLAN, seed=4, checkpoints=kept)
            try:
                question = next(going)
            except StopIteration as end:
                reason = end.value.reason
                break
            going.close()
        learner = Means(warm)
        with SqliteBook(path) as book:
            going = loop(POOL, book, learner, Unsure(), PLAN, seed=4, checkpoints=kept)
            handed = next(going)
            assert (handed.ids, handed.tags, handed.round) == (
                question.ids, question.tags, question.round,
            )  # fmt: skip
            assert learner.fits == 0  # the checkpoint was taken instead
            if question.snapshot is not None:
                assert handed.snapshot is not None
                np.testing.assert_array_equal(handed.snapshot.proba, question.snapshot.proba)
                assert handed.snapshot.memo == question.snapshot.memo
                assert handed.fit == question.fit
            book.append(closing(book, POOL, handed, ORACLE.answer(handed)))
            going.close()
    assert reason == "the budget is spent"
    with SqliteBook(path) as book:
        assert told(book) == told(whole)


def test_a_cold_learner_needs_no_checkpoint(tmp_path: Path) -> None:
    whole, book = LabelBook(), LabelBook()
    run(whole, None, warm=False)
    for stop in range(1, 5):
        going = loop(POOL, book, Means(), Unsure(), PLAN, seed=4)
        drive(going, ORACLE, lambda q, stop=stop: q.round == stop)
        assert book.round == stop
    run(book, None, warm=False)
    assert told(book) == told(whole)


def test_a_warm_learner_without_its_weights_would_differ() -> None:
    """The twin that shows what the checkpoints are for."""
    whole, book = LabelBook(), LabelBook()
    run(whole, None, warm=True)
    drive(loop(POOL, book, Means(True), Unsure(), PLAN, seed=4), ORACLE, lambda q: q.round == 3)
    run(book, None, warm=True)
    assert told(book) != told(whole)


def test_a_finished_run_can_buy_more(tmp_path: Path) -> None:
    kept, parts = SavedCheckpoints(tmp_path / "a"), SavedCheckpoints(tmp_path / "b")
    whole, book = LabelBook(), LabelBook()
    run(whole, kept, warm=True, plan=replace(PLAN, budget=28))
    run(book, parts, warm=True, plan=replace(PLAN, budget=18))
    assert book.paid == 18
    run(book, parts, warm=True, plan=replace(PLAN, budget=28))
    assert told(book) == told(whole)


# --- who knows what -------------------------------------------------------------------------


def questions(truth: Array, rounds: int) -> list[Any]:
    """What is asked when answers follow TRUTH up to a round, and ``truth`` is what is hidden."""
    book, seen = LabelBook(class_events(NAMES)), []
    right, other = ORACLE, TruthOracle(POOL, truth, NAMES)
    going = loop(POOL, book, Means(True), Unsure(), PLAN, seed=4)
    question = next(going)
    while True:
        seen.append(question.ids)
        if question.round > rounds:
            return seen
        question = going.send((right if question.round < rounds else other).answer(question))


def test_truth_that_nobody_bought_changes_no_question() -> None:
    noise = np.random.default_rng(0).permutation(TRUTH)
    for rounds in range(3):
        one, two = questions(TRUTH, rounds), questions(noise, rounds)
        assert one[: rounds + 1] == two[: rounds + 1]  # the same until the answers differ
        assert one[rounds + 1] != two[rounds + 1]  # and the answers do matter


def test_a_view_holds_only_what_was_bought() -> None:
    book = LabelBook(class_events(NAMES))
    going = loop(POOL, book, Means(), Unsure(), PLAN, seed=4)
    question = next(going)
    going.send(ORACLE.answer(question))
    seen = view_of(book, POOL, clusters=5)
    rows = [POOL.row(id) for id in question.ids]
    assert seen.known[rows].tolist() == TRUTH[rows].tolist()
    assert (np.delete(seen.known, rows) == -1).all()
    assert (seen.round, seen.clusters, seen.drawn_at_random) == (1, 5, True)


# --- the plan -------------------------------------------------------------------------------


def sizes(plan: Plan, **more: Any) -> tuple[list[int], str, LabelBook]:
    book = LabelBook()
    asked: list[int] = []

    def watch(question: Question) -> None:
        asked.append(len(question.ids))

    learner = more.get("learner", Means())
    end = drive(loop(POOL, book, learner, more.get("query", Unsure()), plan), ORACLE, watch)
    return asked, end.reason, book


@pytest.mark.parametrize(
    ("plan", "expected"),
    [
        (Plan(8, 5, 31), [8, 5, 5, 5, 5, 3]),
        (Plan(8, 5, 8), [8]),
        (Plan(8, 5, 5), [5]),
        (Plan(0, 5, 12), [5, 5, 2]),
        (Plan(8, 5, 0), []),
        (Plan(6, 6, 20, counts=(6, 7, 20)), [6, 1, 13]),
        (Plan(6, 6, 10, counts=(6, 7, 20)), [6, 1, 3]),
        (Plan(7, 5, 17, initial_draw="rule"), [7, 5, 5]),
    ],
)
def test_the_budget_is_spent_to_the_last_answer(plan: Plan, expected: list[int]) -> None:
    asked, reason, book = sizes(plan)
    assert asked == expected
    assert reason == "the budget is spent"
    assert book.paid == sum(expected)


def test_a_budget_larger_than_the_pool_ends_with_the_pool() -> None:
    asked, reason, book = sizes(Plan(50, 50, 500))
    assert asked == [50, 10]
    assert reason == "every image is answered"
    assert not book.open(POOL).any()


def test_later_comes_back_at_the_end_and_unsure_does_not() -> None:
    class Hesitates:
        asked = 0

        def answer(self, question: Question) -> Answers:
            first = [id for id in question.ids if id not in seen]
            seen.extend(first)
            states = {0: "later", 1: "unsure"}
            return [
                Answer(id, state=states[POOL.row(id) % 10])  # type: ignore[arg-type]
                if id in first and POOL.row(id) % 10 < 2
                else Answer(id, NAMES[TRUTH[POOL.row(id)]])
                for id in question.ids
            ]

    seen: list[str] = []
    book = LabelBook()
    asked: list[tuple[str, ...]] = []
    end = drive(
        loop(POOL, book, Means(), Unsure(), Plan(20, 20, 200)),
        Hesitates(),
        lambda q: asked.append(q.ids),
    )
    assert end.reason == "every image is answered"
    assert [len(ids) for ids in asked] == [20, 20, 20, 6]
    assert {POOL.row(id) % 10 for id in asked[-1]} == {0}
    assert book.paid == 66
    assert (book.known(POOL) >= 0).sum() == 54


def test_a_cold_start_asks_the_rule_first(caplog: pytest.LogCaptureFixture) -> None:
    _, _, book = sizes(Plan(0, 5, 10))
    assert book.asked[0].data["rule"] == "unsure"
    assert not caplog.text
    assert book.standing(book.asked[0].data["ids"][0]).source == "oracle"

    class Warm(Unsure):
        cold = False
        name = "warm"

    _, _, book = sizes(Plan(0, 5, 10), query=Warm())
    assert caplog.text.count("cannot start without a label") == 1
    assert (book.asked[0].data["rule"], book.asked[0].data["draw"]) == (None, "random")
    assert book.standing(book.asked[0].data["ids"][0]).source == "initial"

    _, _, book = sizes(Plan(0, 5, 10), learner=Needs())
    assert book.asked[0].data["rule"] is None


def test_labels_that_are_there_already_let_a_warm_rule_begin() -> None:
    class Warm(Unsure):
        cold = False

    book = LabelBook()
    book.append(book.events_of([Answer(POOL.ids[0], "cat", source="imported")]))
    question = next(loop(POOL, book, Means(), Warm(), Plan(0, 5, 10)))
    assert question.snapshot is not None


def test_an_initial_draw_by_name() -> None:
    ids = (POOL.ids[3], POOL.ids[1], POOL.ids[2])
    _, _, book = sizes(Plan(9, 5, 8, initial_ids=ids))
    first = book.asked[0].data
    assert (tuple(first["ids"]), first["draw"]) == (ids, "given")
    assert not view_of(book, POOL).drawn_at_random
    with pytest.raises(AnswerError, match=r"'nobody\.png', which is not in the pool"):
        sizes(Plan(9, 5, 8, initial_ids=("nobody.png",)))


def test_no_rule_and_no_label() -> None:
    book = LabelBook()
    end = drive(loop(POOL, book, Means(), None, Plan(0, 5, 0)), ORACLE)
    assert (end.reason, end.round, len(book)) == ("the budget is spent", 0, 0)
    assert end.snapshot is not None
    _, reason, book = sizes(Plan(4, 4, 8), query=None)
    assert (reason, book.paid) == ("there is no rule to ask with", 4)


def test_one_class_only_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    flat = TruthOracle(POOL, np.zeros(N, np.int64), NAMES)
    with caplog.at_level(logging.INFO):
        end = drive(loop(POOL, LabelBook(), Means(), Unsure(), Plan(5, 5, 15)), flat)
    assert end.reason == "the budget is spent"
    assert "of one class" in caplog.text


class Needs(Means):
    needs_labels = True


@dataclass
class Hesitant:
    """Is unsure of the first ``until`` images, then tells the truth."""

    until: int
    asked: int = 0

    def answer(self, question: Question) -> Answers:
        truth = ORACLE.answer(question)
        start, self.asked = self.asked, self.asked + len(question.ids)
        return [
            a if start + i >= self.until else Answer(id, state="unsure")
            for i, (id, a) in enumerate(zip(question.ids, truth, strict=True))
        ]


def test_unsure_answers_alone_do_not_end_a_run(caplog: pytest.LogCaptureFixture) -> None:
    book = LabelBook()
    learner = Needs()
    end = drive(loop(POOL, book, learner, Unsure(), PLAN, seed=4), Hesitant(10))
    assert end.reason == "the budget is spent"
    assert book.paid == PLAN.budget
    assert [e.data["rule"] for e in book.asked] == [None, None, *["unsure"] * 4]
    assert caplog.text.count("none of the 8 answers names a class") == 1
    asked = [id for e in book.asked for id in e.data["ids"]]
    assert len(set(asked)) == len(asked), "an image that nobody could name is not asked again"


def test_a_run_of_unsure_answers_ends_with_its_reason() -> None:
    book = LabelBook()
    end = drive(loop(POOL, book, Needs(), Unsure(), PLAN, seed=4), Hesitant(10_000))
    assert end.reason.startswith("the budget is spent and none of 31 answers names a class")
    assert (end.snapshot, book.paid) == (None, 31)
    more = Plan(initial=8, batch=50, budget=500)
    end = drive(loop(POOL, LabelBook(), Needs(), Unsure(), more), Hesitant(10_000))
    assert end.reason.startswith("every image is answered and none of 60 answers names a class")


def test_a_plan_must_make_sense() -> None:
    for bad in ({"initial": -1}, {"batch": 0}, {"budget": -1}, {"counts": (5, 5)}):
        with pytest.raises(RecipeError):
            replace(PLAN, **bad)  # type: ignore[arg-type]


# --- the parts of a round -------------------------------------------------------------------


def test_what_a_rule_needs_is_checked_before_anything_is_trained() -> None:
    @dataclass(frozen=True)
    class Greedy(Unsure):
        needs: ClassVar[frozenset[str]] = frozenset({"proba", "draws"})

    learner = Means()
    with pytest.raises(MissingPart, match=r"rule unsure needs 'draws'.*means does not give"):
        next(loop(POOL, LabelBook(), learner, Greedy(), PLAN))
    assert learner.fits == 0


def test_the_driver_may_want_more_parts() -> None:
    book = LabelBook()
    more = frozenset({"embedding", "draws"})
    seen: list[set[str]] = []

    def watch(question: Question) -> None:
        if question.snapshot is not None:
            seen.append(set(question.snapshot.parts))
            assert question.snapshot.read is not None
            assert question.fit is not None
            assert question.fit.seconds > 0

    end = drive(loop(POOL, book, Means(), Unsure(), Plan(5, 5, 15), parts=more), ORACLE, watch)
    assert seen == [{"proba", "embedding"}] * 2
    assert end.snapshot is not None
    assert end.snapshot.learner == "means"
    with pytest.raises(ValueError, match="read-only"):
        end.snapshot.open[0] = True


def test_memo_and_tags_come_back() -> None:
    memos: list[object] = []
    book = LabelBook()

    def watch(question: Question) -> None:
        if question.snapshot is not None:
            memos.append(question.snapshot.memo.get("seen"))

    drive(loop(POOL, book, Means(), Unsure(), Plan(5, 5, 20)), ORACLE, watch)
    assert memos == [None, [1], [1, 2]]
    assert set(view_of(book, POOL).tags.values()) == {"difficult"}
    assert len(book.tags) == 15


@pytest.mark.parametrize("fault", ["twice", "answered", "too many", "mismatch"])
def test_a_rule_that_buys_badly_is_stopped(fault: str) -> None:
    class Faulty(Unsure):
        def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Picks:
            rows = np.flatnonzero(snapshot.open)[:k]
            if fault == "twice":
                rows[1] = rows[0]
            if fault == "answered":
                rows[0] = np.flatnonzero(~snapshot.open)[0]
            if fault == "too many":
                rows = np.flatnonzero(snapshot.open)[: k + 1]
            picks = snapshot.picks(rows)
            return replace(picks, rows=rows[::-1]) if fault == "mismatch" else picks

    with pytest.raises(RecipeError, match="the rule unsure must choose at most 5 distinct open"):
        sizes(PLAN, query=Faulty())


@dataclass(frozen=True)
class Pairs:
    """Pairs of neighbours not asked before."""

    name: ClassVar[str] = "pairs"
    needs: ClassVar[frozenset[str]] = frozenset({"proba"})
    last: int = 6

    def select(
        self, snapshot: Snapshot, k: int, rng: np.random.Generator
    ) -> tuple[tuple[str, str], ...]:
        done = {frozenset((p.a, p.b)) for p in snapshot.pairs}
        ids = list(snapshot.ids)[: self.last]
        new = [p for p in pairwise(ids) if frozenset(p) not in done]
        return tuple(new[:k])


def test_pairs_are_asked_answered_and_paid() -> None:
    book = LabelBook()
    oracle = PairOracle(POOL, TRUTH, NAMES)
    seen: list[Question] = []
    end = drive(loop(POOL, book, Means(), Pairs(), Plan(0, 2, 9)), oracle, seen.append)
    assert [(q.kind, len(q.pairs)) for q in seen] == [("pair", 2), ("pair", 2), ("pair", 1)]
    assert end.reason == "the rule pairs finds nothing left to ask"
    assert (book.paid, oracle.asked, len(book.pairs)) == (5, 5, 5)
    assert all(p.same is False for p in book.pairs)
    assert view_of(book, POOL).pairs == book.pairs


def test_the_class_list_grows_in_the_middle_of_a_run() -> None:
    widths: list[int] = []
    order = np.where(np.arange(N) < 40, 0, TRUTH)

    def watch(question: Question) -> None:
        if question.snapshot is not None:
            widths.append(question.snapshot.proba.shape[1])

    book = LabelBook()
    drive(loop(POOL, book, Means(), Unsure(), PLAN), TruthOracle(POOL, order, NAMES), watch)
    assert widths == sorted(widths)
    assert widths[-1] == len(book.classes) > 1
    again = [e.data["name"] for e in book.events if e.kind == "class_created"]
    assert sorted(again) == sorted(set(again))


# --- drivers --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    plan: Plan = PLAN
    kill: Callable[[str, int], None] = lambda step, round: None

    def build(self) -> tuple[Means, Unsure]:
        return Means(True, kill=self.kill), Unsure()


def test_ask_tell_and_drive_leave_equal_events() -> None:
    driven = LabelBook()
    run(driven, None, warm=True)
    session = AskTell(Recipe(), POOL, seed=4)
    while (question := session.ask()) is not None:
        assert session.ask() is question
        session.tell(ORACLE.answer(question))
    assert told(session.book) == told(driven)
    assert session.outcome is not None
    assert session.outcome.reason == "the budget is spent"
    assert session.ask() is None


def test_ask_tell_takes_parts_corrections_and_repeats() -> None:
    session = AskTell(Recipe(), POOL, seed=4)
    question = session.ask()
    assert question is not None
    answers = list(ORACLE.answer(question))
    session.tell([])
    assert session.ask() is question  # nothing was answered
    session.tell(answers[:5])
    assert session.book.paid == 5
    session.tell(answers[:5])  # told twice
    assert session.book.paid == 5
    session.tell(answers)  # the rest, late
    assert session.book.paid == 8
    wrong = Answer(question.ids[0], "owl", source="hand")
    session.tell([wrong])
    assert session.book.standing(question.ids[0]).class_id == session.book.class_id("owl")
    following = session.ask()
    assert following is not None
    assert following.round == 1
    assert set(following.ids).isdisjoint(question.ids)
    session.tell([Answer(question.ids[1], "owl")])  # a correction does not close the round
    assert session.ask() is following
    session.tell([Answer(following.ids[0], state="unsure")])
    third = session.ask()
    assert third is not None
    assert third.round == 2
    assert following.ids[0] not in third.ids


def test_a_wrong_answer_loses_nothing() -> None:
    session = AskTell(Recipe(), POOL, seed=4)
    question = session.ask()
    assert question is not None
    before = told(session.book)
    for bad, message in (
        (Answer("nobody.png", "cat"), r"'nobody\.png', which is not in this pool of 60"),
        (Answer(question.ids[0]), "names no class"),
        (PairAnswer(question.ids[0], "nobody.png", True), "not in this pool"),
    ):
        with pytest.raises(AnswerError, match=message):
            session.tell([*ORACLE.answer(question)[:3], bad])
        assert told(session.book) == before
        assert session.ask() is question
    session.tell(ORACLE.answer(question))
    assert session.book.round == 1


def test_a_fit_that_fails_can_be_tried_again() -> None:
    driven = LabelBook()
    run(driven, None, warm=True)
    failures = iter([True, True])

    def kill(step: str, round: int) -> None:
        if step == "mid-fit" and round == 2 and next(failures, False):
            raise RuntimeError("no memory")

    session = AskTell(Recipe(kill=kill), POOL, seed=4)
    failed = 0
    while True:
        try:
            question = session.ask()
        except RuntimeError:
            failed += 1
            continue
        if question is None:
            break
        session.tell(ORACLE.answer(question))
    assert failed == 2
    assert told(session.book) == told(driven)


def test_ask_tell_goes_on_with_a_book() -> None:
    first = AskTell(Recipe(), POOL, seed=4)
    question = first.ask()
    assert question is not None
    second = AskTell(Recipe(), POOL, book=first.book, seed=4)
    handed = second.ask()
    assert handed is not None
    assert handed.ids == question.ids
    second.tell(ORACLE.answer(handed))
    assert first.book.round == 1


def test_labels_nobody_asked_for_are_events_like_any_other() -> None:
    session = AskTell(Recipe(), POOL, seed=4)
    session.tell([Answer(POOL.ids[5], "owl", source="imported")])
    question = session.ask()
    assert question is not None
    assert POOL.ids[5] not in question.ids
    session.tell(ORACLE.answer(question))
    assert not view_of(session.book, POOL).drawn_at_random
    assert session.book.paid == 8


def test_the_watcher_stops_and_the_question_stays() -> None:
    book = LabelBook()
    stop = drive(loop(POOL, book, Means(), Unsure(), PLAN), ORACLE, lambda q: q.round == 2)
    assert (stop.round, stop.reason) == (2, "the watcher stopped it")
    assert stop.snapshot is not None
    pending = book.pending()
    assert pending is not None
    assert pending.round == 2


def test_an_oracle_without_an_answer_ends_the_run() -> None:
    class Mute:
        asked = 0

        def answer(self, question: Question) -> Answers:
            return []

    book = LabelBook()
    end = drive(loop(POOL, book, Means(), Unsure(), PLAN), Mute())
    assert end.reason == "the oracle has no answer"
    assert book.pending() is not None


def test_partial_answers_leave_the_rest_open(tmp_path: Path) -> None:
    class Half:
        asked = 0

        def answer(self, question: Question) -> Answers:
            return ORACLE.answer(question)[::2]

    book = LabelBook()
    end = drive(loop(POOL, book, Means(), Unsure(), Plan(8, 4, 16)), Half())
    assert end.reason == "the budget is spent"
    assert book.paid == 16
    assert (book.known(POOL) >= 0).sum() == 16


@pytest.mark.parametrize("kind", ["noisy", "table"])
def test_resumed_oracles_answer_as_before(tmp_path: Path, kind: str) -> None:
    (tmp_path / "t.csv").write_text(
        "path,label\n"
        + "".join(f"{i},{NAMES[y]}\n" for i, y in zip(POOL.ids, TRUTH, strict=True) if y)
    )

    def oracle() -> Any:
        if kind == "table":
            return TableOracle(tmp_path / "t.csv", POOL)
        return NoisyOracle(POOL, TRUTH, NAMES, rate=0.4, seed=1)

    whole, parts = LabelBook(), LabelBook()
    drive(loop(POOL, whole, Means(), Unsure(), PLAN, seed=4), oracle())
    for stop in (1, 3, None):
        going = loop(POOL, parts, Means(), Unsure(), PLAN, seed=4)
        drive(going, oracle(), lambda q, stop=stop: q.round == stop)
    assert told(parts) == told(whole)


def test_a_run_folder_carries_a_run(tmp_path: Path) -> None:
    whole = LabelBook()
    run(whole, None, warm=True)
    for stop in (0, 2, None):
        folder = RunFolder.create(tmp_path / "run", resume=stop != 0)
        going = loop(
            POOL, folder.book, Means(True), Unsure(), PLAN, seed=4, checkpoints=folder.checkpoints
        )
        drive(going, ORACLE, lambda q, stop=stop: q.round == stop)
        folder.write_labels(POOL)
        assert told(folder.book) == told(whole)[: len(folder.book)]
        folder.close()
    assert len(list((tmp_path / "run" / "checkpoint").iterdir())) == 2


# --- size -----------------------------------------------------------------------------------


class Million(TinyPool):
    """A million images whose ids are counted when they are made."""

    def __init__(self, n: int) -> None:
        object.__setattr__(self, "ids", Counted(n))
        object.__setattr__(self, "features", np.zeros((n, 1), np.float32))
        object.__setattr__(self, "images", None)
        object.__setattr__(self, "broken", {})

    def row(self, id: str) -> int:
        return int(id)


class Counted(RowIds):
    __slots__ = ("made",)

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.made = 0

    def __getitem__(self, i: Any) -> Any:
        self.made += 1
        return super().__getitem__(i)

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("a loop over all ids")


def test_a_million_rows_pass_through_a_round() -> None:
    n, c = 1_000_000, 10
    pool = Million(n)
    proba = np.full((n, c), 1 / c, dtype=np.float32)

    class Flat(Means):
        def fit(self, view: View, rng: np.random.Generator, progress: Progress) -> Fit:
            return Fit()

        def snapshot(self, view: View, parts: frozenset[str]) -> Snapshot:
            return Snapshot(
                ids=view.pool.ids, open=view.known < 0, known=view.known, parts={"proba": proba}
            )

    @dataclass(frozen=True)
    class First(Unsure):
        def select(self, snapshot: Snapshot, k: int, rng: np.random.Generator) -> Picks:
            return snapshot.picks(np.flatnonzero(snapshot.open)[:k])

    class Says:
        asked = 0

        def answer(self, question: Question) -> Answers:
            took.append(time.perf_counter() - last[0])
            last[0] = time.perf_counter()
            return [Answer(id, f"class {int(id) % c}") for id in question.ids]

    took: list[float] = []
    last = [time.perf_counter()]
    book = LabelBook()
    going: Loop = loop(pool, book, Flat(), First(), Plan(1000, 1000, 5000), progress=Silent())
    drive(going, Says())
    assert book.paid == 5000
    assert min(took) < 1.0  # book, view, snapshot with its checks, append: a whole round
    assert pool.ids.made < 20_000  # two for each id that was asked, none for the rest
    view = time.perf_counter()
    view_of(book, pool)
    assert time.perf_counter() - view < 1.0
