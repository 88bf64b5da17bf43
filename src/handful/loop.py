"""The loop: fit on what the book knows, look, choose, ask, write down; again.

::

    book ─view_of()─> View ──Learner.fit──> Snapshot ──Query.select──> Question
      ^                                                                  │ yield
      └───────── answers and round_closed, in one append ◄── Answers ◄───┘

`loop` is a generator that holds nothing: round and labels come from the book,
randomness from ``rng_for(seed, round, role)``, weights from the checkpoints.  So a run
that was killed anywhere goes on by making a new generator from the same book, with
equal events.  Truth never comes this side of the ``yield``: the driver has it.

In round r: fit, checkpoint, snapshot, select, ``asked`` event, yield.  The initial draw
is round 0 and comes before anything is trained.  Once the budget is spent the model is
fitted once more and the generator returns its `Outcome`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Literal, Protocol, TypeAlias

import numpy as np

from handful.book import LabelBook, row_of
from handful.errors import AnswerError, MissingPart, RecipeError
from handful.progress import Progress, Silent
from handful.registry import LEARNERS, asks_pairs
from handful.rng import rng_for
from handful.types import (
    Answer,
    Answers,
    Event,
    Fit,
    Learner,
    Loop,
    Oracle,
    Outcome,
    PairQuery,
    Picks,
    Pool,
    Query,
    Question,
    Snapshot,
    Source,
    View,
    Weights,
    reader,
)

__all__ = ["AskTell", "Checkpoints", "Plan", "drive", "loop", "view_of"]

Rule: TypeAlias = Query | PairQuery | None
Draw: TypeAlias = Literal["random", "given", "rule"]
_log = logging.getLogger(__name__)
_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Plan:
    """How many answers to buy, and when.

    ``initial`` : answers to the first, random batch; 0 starts with the rule itself.
    ``batch`` : answers a round after it.
    ``budget`` : answers in all, the initial ones included; the last batch is cut to it.
    ``counts`` : totals of answers at the end of each round, rising; they replace ``batch``.
    ``initial_draw`` : ``rule`` lets the rule choose the first batch, where it can.
    ``initial_ids`` : the first batch by name (a draw made with knowledge from outside).
    ``clusters`` : how many groups the user expects, or None.
    """

    initial: int
    batch: int
    budget: int
    counts: tuple[int, ...] = ()
    initial_draw: Literal["random", "rule"] = "random"
    initial_ids: tuple[str, ...] = ()
    clusters: int | None = None

    def __post_init__(self) -> None:
        for name, least in {"initial": 0, "batch": 1, "budget": 0}.items():
            if getattr(self, name) < least:
                raise RecipeError(f"{name} is {getattr(self, name)}: it must be {least} or more")
        if any(b <= a for a, b in zip((0, *self.counts), self.counts, strict=False)):
            raise RecipeError(f"counts must rise from above 0, got {list(self.counts)}")

    @property
    def total(self) -> int:
        """Answers bought in all."""
        return min(self.budget, self.counts[-1]) if self.counts else self.budget

    @property
    def opens_with(self) -> Draw:
        """Who chooses the first batch."""
        if self.initial_ids:
            return "given"
        return "random" if self.initial_draw == "random" and self.initial else "rule"

    def size(self, round: int, paid: int) -> int:
        """Answers to buy in this round, ``paid`` so far; 0 when the budget is spent."""
        targets = self.counts or (paid + self.batch,)
        first = len(self.initial_ids) or self.initial
        if round == 0 and first > paid:
            targets = (first,)
        target = next((t for t in targets if t > paid), paid)
        return max(0, min(target, self.total) - paid)


class Checkpoints(Protocol):
    """Keeps the weights of a round, so that a killed run need not fit twice."""

    def save(self, round: int, weights: Weights, fit: Fit) -> None: ...
    def load(self, round: int) -> tuple[Weights, Fit] | None: ...


def view_of(book: LabelBook, pool: Pool, *, clusters: int | None = None) -> View:
    """What a learner may see of the book.  O(n) copies, no Python object a row."""
    return View(
        pool=pool,
        known=book.known(pool),
        classes=book.classes,
        round=book.round,
        source=book.sources(pool),
        clusters=clusters,
        pairs=book.pairs,
        tags=book.tags,
        memo=book.memo,
        drawn_at_random=book.drawn_at_random,
    )


def loop(
    pool: Pool,
    book: LabelBook,
    learner: Learner,
    query: Rule,
    plan: Plan,
    *,
    seed: int = 0,
    progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
    parts: frozenset[str] = _NOTHING,
) -> Loop:
    """Yield questions, take answers, return the `Outcome`.

    ``parts`` are further parts of the snapshot that the driver wants to score; those the
    learner does not give are left out.  Who closes a round in the book before it sends
    answers is believed: nothing is written twice.  Raises `MissingPart` before anything
    is trained.
    """
    wanted = _needs(learner, query) | (parts & learner.gives)
    resumed, snapshot, fit, seconds = True, None, None, 0.0
    while True:
        r, question = book.round, book.pending()
        if question is None and _opens(book, pool, learner, query, plan):
            _ask(book, _first_batch(book, pool, plan, seed), draw=plan.opens_with)
            question = book.pending()
        elif question is None and _taught_nothing(book, pool, learner, plan):
            again = _drawn(book, pool, plan.size(r, book.paid), seed)
            if not again:
                return Outcome(r, None, None, _no_class(book, pool))
            _log.warning(_NO_CLASS_YET, book.paid)
            _ask(book, again, draw="random")
            question = book.pending()
        if question is None or book.asked[-1].data["rule"] is not None:
            seen = view_of(book, pool, clusters=plan.clusters)
            fit = _fit(learner, seen, seed, progress or Silent(), checkpoints, resumed=resumed)
            snapshot, resumed = _look(learner, seen, wanted, book), False
            started = perf_counter()
            if question is None:
                reason = _choose(book, query, snapshot, plan.size(r, book.paid), seed)
                question = book.pending()
                if question is None:
                    return Outcome(r, snapshot, fit, reason)
            seconds = perf_counter() - started
        answers = yield replace(question, snapshot=snapshot, fit=fit, seconds_query=seconds)
        if book.round == r:
            book.append(closing(book, pool, question, answers))


def closing(book: LabelBook, pool: Pool, question: Question, answers: Answers) -> list[Event]:
    """Events that end a round: the answers, late ones and corrections too, and its close.

    Every answer to the initial draw gets the source ``initial``.
    """
    check_answers(pool, answers)
    source: Source | None = "initial" if book.asked[-1].data["rule"] is None else None
    end = Event("round_closed", f"closed/{question.round}", {"round": question.round})
    return [*book.events_of(answers, question=question, source=source), end]


def check_answers(pool: Pool, answers: Answers) -> None:
    """Raise `AnswerError` when an answer names no image of the pool, or no class."""
    for answer in answers:
        named = (answer.id,) if isinstance(answer, Answer) else (answer.a, answer.b)
        for id in named:
            if row_of(pool, id) is None:
                raise AnswerError(
                    f"an answer names the image {id!r}, which is not in this pool of"
                    f" {len(pool)}: check its id; nothing was stored"
                )
        if isinstance(answer, Answer) and answer.state == "labelled" and not answer.label:
            raise AnswerError(
                f"the answer for {answer.id!r} names no class: give a label, or one of the"
                " states later, unsure, none, broken; nothing was stored"
            )


# --- the steps of a round -------------------------------------------------------------------


def _needs(learner: Learner, query: Rule) -> frozenset[str]:
    needs = query.needs if query is not None else _NOTHING
    if missing := sorted(needs - learner.gives):
        able = [n for n in LEARNERS if LEARNERS.get(n).gives >= needs]
        rule = getattr(query, "name", "") or type(query).__name__
        raise MissingPart(
            f"the rule {rule} needs {missing[0]!r}, which the learner {learner.name} does not"
            f" give: take one of {', '.join(able) or 'none that is registered'}"
        )
    return needs


def _opens(book: LabelBook, pool: Pool, learner: Learner, query: Rule, plan: Plan) -> bool:
    """Whether the initial draw is due: no round was closed, and the rule does not begin.

    A rule of pairs begins itself, with as many pairs as the draw would have images.
    """
    if book.round or plan.size(0, book.paid) == 0:
        return False
    of_pairs = query is not None and asks_pairs(query)
    if plan.opens_with == "given" or (plan.opens_with == "random" and not of_pairs):
        return (len(plan.initial_ids) or plan.initial) > book.paid
    if (book.known(pool) >= 0).any():
        return False
    cold = of_pairs or getattr(query, "cold", False)
    if cold and not getattr(learner, "needs_labels", False):
        return False
    _log.warning(
        "%s with %s cannot start without a label: the first batch is drawn at random",
        getattr(query, "name", "no rule"),
        learner.name,
    )
    return True


def _first_batch(book: LabelBook, pool: Pool, plan: Plan, seed: int) -> tuple[str, ...]:
    size = plan.size(0, book.paid)
    free = book.open(pool)
    if plan.initial_ids:
        rows = [row_of(pool, id) for id in plan.initial_ids]
        if None in rows:
            raise AnswerError(
                f"the initial draw names {plan.initial_ids[rows.index(None)]!r}, which is not"
                " in the pool: take ids of this pool"
            )
        return tuple(i for i, row in zip(plan.initial_ids, rows, strict=True) if free[row])[:size]
    return _drawn(book, pool, size, seed)


def _drawn(book: LabelBook, pool: Pool, size: int, seed: int) -> tuple[str, ...]:
    """Ids of a random batch of what is open."""
    rows_open = np.flatnonzero(book.open(pool))
    drawn = rng_for(seed, book.round, "initial").permutation(rows_open)[:size]
    return tuple(pool.ids[int(row)] for row in drawn)


def _taught_nothing(book: LabelBook, pool: Pool, learner: Learner, plan: Plan) -> bool:
    """Whether all answers so far leave a learner without anything to start from.

    A round in which every answer is *unsure* must not end the run: the next batch is drawn
    at random once more.
    """
    if not book.round or book.pairs or (book.known(pool) >= 0).any():
        return False
    nameless = not len(book.classes) and plan.clusters is None
    return nameless or bool(getattr(learner, "needs_labels", False))


_NO_CLASS_YET = "none of the %d answers names a class: the next batch is drawn at random, too"


def _no_class(book: LabelBook, pool: Pool) -> str:
    why = "the budget is spent" if book.open(pool).any() else "every image is answered"
    return f"{why} and none of {book.paid} answers names a class, so there is nothing to learn from"


def _ask(
    book: LabelBook,
    ids: Sequence[str],
    *,
    draw: Draw,
    rule: str | None = None,
    picks: Picks | None = None,
    pairs: Sequence[tuple[str, str]] = (),
) -> None:
    """Write down what is asked; nothing to ask leaves no trace."""
    if not ids and not pairs:
        return
    data = {
        "round": book.round,
        "question": "pair" if pairs else "class",
        "ids": ids,
        "pairs": pairs,
        "tags": picks.tags if picks else (),
        "memo": picks.memo if picks else {},
        "draw": "random" if draw == "rule" and rule is None else draw,
        "rule": rule,
    }
    book.append([Event("asked", f"asked/{book.round}", data)])


def _fit(
    learner: Learner,
    seen: View,
    seed: int,
    progress: Progress,
    checkpoints: Checkpoints | None,
    *,
    resumed: bool,
) -> Fit:
    """Fit, or take the round's weights from its checkpoint when this run was killed after it."""
    if resumed and checkpoints is not None:
        if kept := checkpoints.load(seen.round):
            learner.load(kept[0])
            return kept[1]
        if seen.round and (before := checkpoints.load(seen.round - 1)):
            learner.load(before[0])
    known = seen.known[seen.known >= 0]
    if known.size and (known == known[0]).all():
        _log.info("round %d: all %d labels are of one class", seen.round, known.size)
    started = perf_counter()
    fit = learner.fit(seen, rng_for(seed, seen.round, "fit"), progress)
    fit = replace(fit, seconds=perf_counter() - started)
    if checkpoints is not None:
        checkpoints.save(seen.round, learner.state(), fit)
    return fit


def _look(learner: Learner, seen: View, wanted: frozenset[str], book: LabelBook) -> Snapshot:
    return replace(
        learner.snapshot(seen, wanted),
        open=book.open(seen.pool),
        known=seen.known,
        round=seen.round,
        pairs=seen.pairs,
        memo=seen.memo,
        learner=learner.name,
        read=reader(seen.pool),
        predict=learner.predict,
    )


def _choose(book: LabelBook, query: Rule, snapshot: Snapshot, k: int, seed: int) -> str:
    """Let the rule choose and write it down, or say why nothing is asked."""
    if k == 0:
        return "the budget is spent"
    if query is None:
        return "there is no rule to ask with"
    by_class = isinstance(query, Query)
    if by_class and not snapshot.open.any():
        return "every image is answered"
    chosen = query.select(snapshot, k, rng_for(seed, snapshot.round, "query"))
    name = query.name or type(query).__name__
    draw: Draw = "random" if name in ("random", "random-pairs") else "rule"
    if isinstance(chosen, Picks):
        held = [snapshot.ids[int(row)] for row in chosen.rows] == list(chosen.ids)
        sound = held and bool(snapshot.open[chosen.rows].all())
        _check_choice(name, chosen.ids, k, sound=sound)
        _ask(book, chosen.ids, draw=draw, rule=name, picks=chosen)
    else:
        pairs = [frozenset(pair) for pair in chosen]
        _check_choice(name, pairs, k, sound=all(len(pair) == 2 for pair in pairs))
        _ask(book, (), draw=draw, rule=name, pairs=chosen)
    return f"the rule {name} finds nothing left to ask"


def _check_choice(rule: str, chosen: Sequence[object], k: int, *, sound: bool) -> None:
    """A rule of one's own that buys an image twice must not go unseen."""
    distinct = len(set(chosen))
    if len(chosen) > k or distinct < len(chosen) or not sound:
        raise RecipeError(
            f"the rule {rule} must choose at most {k} distinct open images or pairs, and chose"
            f" {len(chosen)}, {distinct} of them distinct: mend its select()"
        )


# --- drivers --------------------------------------------------------------------------------


def drive(
    run: Loop, oracle: Oracle, watch: Callable[[Question], bool | None] | None = None
) -> Outcome:
    """Let an oracle answer until the loop ends.

    ``watch`` sees each question first (to score its snapshot) and stops the run by
    returning True.  A question that stays unanswered is kept open in the book.
    """
    try:
        question = next(run)
        while True:
            if watch is not None and watch(question):
                reason = "the watcher stopped it"
                break
            answers = oracle.answer(question)
            if not answers:
                reason = "the oracle has no answer"
                break
            question = run.send(answers)
    except StopIteration as end:
        outcome: Outcome = end.value
        return outcome
    run.close()
    return Outcome(question.round, question.snapshot, question.fit, reason)


class Buildable(Protocol):
    """What `AskTell` wants of a recipe."""

    @property
    def plan(self) -> Plan: ...
    def build(self) -> tuple[Learner, Rule]: ...


class AskTell:
    """The loop for notebooks: ``ask()`` a question, ``tell(answers)``, again.

    ``ask`` trains and may take its time; it gives the same question until one of its
    images is answered, and None at the end (then ``outcome`` is set).  ``tell`` writes at
    once: images of the question left out stay open, answers to other images count as
    corrections, an answer told twice counts once.  A wrong answer raises `AnswerError`
    and stores nothing of that call.
    """

    def __init__(
        self,
        recipe: Buildable,
        pool: Pool,
        *,
        book: LabelBook | None = None,
        seed: int = 0,
        progress: Progress | None = None,
        checkpoints: Checkpoints | None = None,
    ) -> None:
        self.pool = pool
        self.book = LabelBook() if book is None else book
        self.outcome: Outcome | None = None
        self._recipe, self._seed, self._progress = recipe, seed, progress
        self._checkpoints = checkpoints or _InMemory()
        self._run: Loop | None = None
        self._question: Question | None = None

    def ask(self) -> Question | None:
        """The open question, or the next one; None when the run is over."""
        open_now = self.book.pending()
        if self.outcome is not None or (self._question is not None and open_now is not None):
            return self._question
        try:
            if self._run is None:
                learner, query = self._recipe.build()
                self._run = loop(
                    self.pool,
                    self.book,
                    learner,
                    query,
                    self._recipe.plan,
                    seed=self._seed,
                    progress=self._progress,
                    checkpoints=self._checkpoints,
                )
                self._question = next(self._run)
            else:
                self._question = self._run.send(())
        except StopIteration as end:
            self.outcome, self._question = end.value, None
        except BaseException:
            self._run = self._question = None  # a failed fit leaves the book whole: ask again
            raise
        return self._question

    def tell(self, answers: Answers) -> None:
        """Store answers; the round is closed as soon as one of them is to its question."""
        check_answers(self.pool, answers)
        question = self.book.pending()
        if question is not None and _touches(question, answers):
            self.book.append(closing(self.book, self.pool, question, answers))
        else:
            self.book.append(self.book.events_of(answers))


class _InMemory:
    """The weights of the last round, so that a fit that failed can be tried again."""

    def __init__(self) -> None:
        self._kept: tuple[int, Weights, Fit] | None = None

    def save(self, round: int, weights: Weights, fit: Fit) -> None:
        self._kept = round, {name: np.array(w) for name, w in weights.items()}, fit

    def load(self, round: int) -> tuple[Weights, Fit] | None:
        if self._kept is None or self._kept[0] != round:
            return None
        return self._kept[1:]


def _touches(question: Question, answers: Answers) -> bool:
    asked: set[object] = {*question.ids, *map(frozenset, question.pairs)}
    said: Iterable[object] = (
        a.id if isinstance(a, Answer) else frozenset((a.a, a.b)) for a in answers
    )
    return not asked.isdisjoint(said)
