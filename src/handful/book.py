"""The book: every answer is an event, appended and never changed.

::

    answers --events_of--> events --append--> the book --derived--> classes, what is known,
                                                                    what is open, the round

The same events always give the same state: a run that was killed goes on from its
book.  Nothing is updated; a correction, an undo, a merge of classes are events too,
and the last event on an image wins within its rank (`RANK`).

Cost: an append is O(images it names); `known`, `sources` and `open` cost one vector
copy of the pool plus the rows that changed since the last call.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from handful.errors import AnswerError, InputError
from handful.events import (
    CLASS_KINDS,
    DECISIONS,
    FREE,
    LABELLED,
    LATER,
    NONE,
    OPEN,
    RANK,
    SAME,
    STATES,
    UNSURE,
    Draft,
    Standings,
    Touch,
    class_events,
    plain,
    touches,
)
from handful.types import (
    SOURCES,
    UNKNOWN,
    Answer,
    Answers,
    Classes,
    Event,
    PairAnswer,
    Pool,
    Question,
    Source,
)

__all__ = ["LabelBook", "Poll", "Standing", "row_of"]


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one image stands: its state, and who said so when.  ``class_id`` -1: none."""

    state: Standings = "open"
    class_id: int = UNKNOWN
    source: Source = "hand"
    round: int | None = None  # the round that asked; None: nobody asked
    person: str = ""
    at: float = 0.0
    seq: int = 0  # of the event that says so; 0: none does


@dataclass(frozen=True, slots=True)
class Poll:
    """What several people said of one image; ``decided``: a hand spoke for all since."""

    votes: Mapping[str, Touch]  # by person, in the order of their first answers
    decided: bool


@dataclass(slots=True)
class _Rows:
    """What is derived for the rows of one pool; ``raw`` holds class ids before merges."""

    pool: Pool
    raw: NDArray[np.int64]
    state: NDArray[np.int8]
    source: NDArray[np.int8]


_HAND = RANK["hand"]
_UNTOUCHED = Touch(-1, OPEN)
_SOURCE_AT = {source: place for place, source in enumerate(SOURCES)}
_position = attrgetter("event")


class LabelBook:
    """Append-only events, and everything derived from them; in memory.

    ``append`` takes events all together or, when one of them is wrong, not at all
    (`InputError`); an id that is in the book already is left out, so that repeats do no
    harm.  A store overrides ``_keep`` to write events down before they count.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self._events: list[Event] = []
        self._position: dict[str, int] = {}
        self._dead: set[str] = set()
        self._touches: dict[str, list[Touch]] = {}
        self._tops: dict[str, Touch] = {}  # what counts of each image
        self._stale: set[str] = set()  # images of which it is to be derived anew
        self._voted: set[str] = set()  # images that several people were asked, each alone
        self._rows: _Rows | None = None
        self._classes: Classes | None = None
        self._leads: tuple[Classes, NDArray[np.int64]] | None = None  # where each class leads
        self._merged: dict[int, int] = {}
        self._alias: dict[str, int] = {}
        self._class_log: list[int] = []
        self._pair_log: list[int] = []
        self._pairs: tuple[PairAnswer, ...] | None = None
        self._settings: dict[str, Any] | None = None
        self._settings_log: list[int] = []
        self._moved: dict[str, str] = {}
        self._asked: list[int] = []
        self._asked_in: dict[str, int] = {}
        self._tags: dict[str, str] = {}
        self._audits_closed: list[int] = []
        self._round = 0
        self._paid = 0
        self.append(events)

    # ---------------------------------------------------------------- writing

    def append(self, events: Iterable[Event]) -> None:
        """Check, number and keep events, all or none; ids already in the book are left out."""
        fresh = self._checked(events)
        if fresh:
            self._keep(fresh)
            for event in fresh:
                self._fold(event)

    def _keep(self, events: Sequence[Event]) -> None:
        """Make events last.  In memory there is nothing to do."""

    def _checked(self, events: Iterable[Event]) -> list[Event]:
        fresh: list[Event] = []
        draft = Draft(
            self.classes, asked=len(self._asked), closed=self._round, kind_of=self._kind_of
        )
        now = time.time()
        for event in events:
            if event.id in self._position or event.id in draft.kinds:
                continue
            event = replace(event, data=plain(event))
            draft.check(event)
            seq = len(self._events) + len(fresh) + 1
            fresh.append(replace(event, seq=seq, at=event.at or now))
        return fresh

    def _kind_of(self, id: str) -> str | None:
        place = self._position.get(id)
        return None if place is None else self._events[place].kind

    def events_of(
        self, answers: Answers, *, question: Question | None = None, source: Source | None = None
    ) -> list[Event]:
        """Turn answers into events; a name that no class has creates the class.

        Answers to ``question`` get ids that a repeat gives again; the last of two answers
        for one image counts.  Any other answer is a correction, left out when it says
        what the book says already.  ``source`` overrides that of the answers to the question.
        """
        places: dict[object, int] = {}
        if question is not None:
            places = {id: i for i, id in enumerate(question.ids)}
            places |= {frozenset(pair): i for i, pair in enumerate(question.pairs)}
        last = {_subject(answer): answer for answer in answers}
        created: dict[str, int] = {}
        classes: list[Event] = []
        said: list[Event] = []
        for subject, answer in last.items():
            place = places.get(subject)
            if place is None and self._says(answer):
                continue
            if source is not None and place is not None:
                answer = replace(answer, source=source)
            if isinstance(answer, Answer) and answer.state == "labelled":
                name = answer.label or ""
                if self.class_id(name) is None and name not in created:
                    created[name] = len(self.classes) + len(created)
                    classes += class_events([name], start=created[name])
            id = f"correction/{len(self._events)}/{len(said)}"
            if place is not None and question is not None:
                id = f"answer/{question.round}/{place}"
            said.append(self._event_of(answer, id, created, question, place))
        return classes + said

    def _event_of(
        self,
        answer: Answer | PairAnswer,
        id: str,
        created: Mapping[str, int],
        question: Question | None,
        place: int | None,
    ) -> Event:
        round = question.round if question is not None and place is not None else None
        if isinstance(answer, PairAnswer):
            pair = {"a": answer.a, "b": answer.b, "answer": SAME[answer.same]}
            data: dict[str, Any] = {**pair, "source": answer.source, "round": round}
            return Event("pair_answered", id, data, person=answer.person)
        if round is None:
            round = self._asked_in.get(answer.id)
        data = {"image": answer.id, "source": answer.source, "round": round}
        kind = "labelled"
        if answer.state == "labelled":
            name = answer.label or ""
            data["class"] = created[name] if name in created else self.class_id(name)
        elif answer.source != "audit":
            kind = "state_set"
            data["images"] = [data.pop("image")]
            data["state"] = answer.state
        if answer.source == "audit":
            kind = "audit_answered"
            data["state"] = answer.state
        return Event(kind, id, data, person=answer.person, ms=answer.ms)

    def _says(self, answer: Answer | PairAnswer) -> bool:
        """Whether the book holds this very answer already."""
        if isinstance(answer, PairAnswer):
            same = {frozenset((p.a, p.b)): p.same for p in self.pairs}
            return same.get(frozenset((answer.a, answer.b)), ...) == answer.same
        if answer.source == "audit":
            return False
        now = self.standing(answer.id)
        if answer.state != "labelled":
            return now.state == answer.state
        return now.state == "labelled" and now.class_id == self.class_id(answer.label or "")

    # ---------------------------------------------------------------- folding

    def _fold(self, event: Event) -> None:
        position = len(self._events)
        self._events.append(event)
        self._position[event.id] = position
        kind, data = event.kind, event.data
        if kind in DECISIONS and data.get("source") not in FREE:
            self._paid += 1
        if kind == "asked":
            self._asked.append(position)
            self._asked_in.update(dict.fromkeys(data["ids"], data["round"]))
        elif kind == "round_closed":
            self._round = data["round"] + 1
            asked = self._events[self._asked[-1]].data
            self._tags.update(zip(asked["ids"], asked["tags"], strict=False))
        elif kind in ("undone", "redone"):
            self._toggle(event)
        elif kind == "image_moved":
            self._touches.setdefault(data["to"], []).extend(self._touches.pop(data["image"], []))
            self._moved[data["image"]] = data["to"]
            self._stale |= {data["image"], data["to"]}
            if data["image"] in self._voted:
                self._voted.add(data["to"])
        elif kind in CLASS_KINDS:
            self._class_log.append(position)
            self._classes = None
            self._stale |= self._voted  # two answers may be one class now
        elif kind == "pair_answered":
            self._pair_log.append(position)
            self._pairs = None
        elif kind == "setting_changed":
            self._settings_log.append(position)
            self._settings = None
        elif kind == "audit_closed":
            self._audits_closed.append(position)
        for image, touch in touches(event, position):
            self._touches.setdefault(image, []).append(touch)
            self._stale.add(image)
            if touch.vote:
                self._voted.add(image)

    def _toggle(self, event: Event) -> None:
        """Undo or redo; undoing an undo is a redo, whatever the depth."""
        dies = event.kind == "undone"
        target = self._events[self._position[cast(str, event.undoes)]]
        while target.kind in ("undone", "redone"):
            # an undo undone gives life; an undo redone takes it again
            dies = dies != (target.kind == "undone")
            target = self._events[self._position[cast(str, target.undoes)]]
        (self._dead.add if dies else self._dead.discard)(target.id)
        self._stale |= self.concerns(target)
        if target.kind in CLASS_KINDS:
            self._stale |= self._voted
        self._classes = self._pairs = self._settings = None

    def _alive(self, positions: Iterable[int]) -> Iterator[Event]:
        return (self._events[p] for p in positions if self._events[p].id not in self._dead)

    def _top(self, image: str, closed: int) -> Touch | None:
        """What counts of all that was said of an image: the highest rank, the latest in it.

        ``closed`` : audit answers before this event count as well; -1: none do.
        """
        ranks, _ = self._weighed(image, closed)
        return ranks[max(ranks)] if ranks else None

    def _weighed(self, image: str, closed: int) -> tuple[dict[int, Touch], Poll]:
        """What counts of an image in each rank, and what several people said of it."""
        touches = self._touches.get(image, [])
        ranks: dict[int, Touch] = {}
        votes: dict[str, Touch] = {}
        decided = False  # by a hand that spoke for all
        for touch in sorted(touches, key=_position) if len(touches) > 1 else touches:
            if self._dead and self._events[touch.event].id in self._dead:
                continue
            rank = RANK[touch.source]
            if touch.source == "audit" and touch.event >= closed:
                continue
            if touch.drops:
                ranks.pop(RANK["copied"], None)
                continue
            if touch.vote:
                person = self._events[touch.event].person
                if touch.state == OPEN:
                    votes.pop(person, None)
                else:
                    votes[person] = touch
                if not decided:
                    ranks.pop(_HAND, None)
                    ranks |= {_HAND: self._majority(votes)} if votes else {}
                continue
            if touch.state == OPEN:  # cleared by a person: nothing below counts any more
                ranks.clear()
                votes, decided = {}, False
                continue
            if _HAND in ranks and ranks[_HAND].state == LATER and rank < _HAND:
                del ranks[_HAND]  # "later" is no answer: it shields from nothing
            decided = decided or rank == _HAND
            ranks[rank] = touch
        return ranks, Poll(votes, decided)

    def _majority(self, votes: Mapping[str, Touch]) -> Touch:
        """What more than half of several people say; open where no answer has so many.

        Who is unsure leaves it to the others.
        """
        now = self._now()
        count: dict[tuple[int, int], list[Touch]] = {}
        for touch in sorted(votes.values(), key=_position):
            id = int(now[touch.class_id])
            if touch.state != UNSURE and (touch.state != LABELLED or id != UNKNOWN):
                count.setdefault((touch.state, id), []).append(touch)
        most = max(count.values(), key=len, default=[])
        if 2 * len(most) > sum(map(len, count.values())):
            return most[-1]
        unsure = [touch for touch in votes.values() if touch.state == UNSURE]
        if unsure and not count:
            return max(unsure, key=_position)
        return Touch(max(touch.event for touch in votes.values()), OPEN)

    def _stands(self, image: str, top: Touch) -> Standing:
        event = self._events[top.event]
        asked = event.data.get("round", self._asked_in.get(image))
        state = STATES[top.state]
        return Standing(
            state, top.class_id, top.source, asked, event.person, event.at, top.event + 1
        )

    def _lives(self, position: int) -> bool:
        return self._events[position].id not in self._dead

    def _settle(self) -> None:
        """Bring up to date what counts of each image, and the rows of the pool at hand."""
        if not self._stale:
            return
        for image in self._stale:
            top = self._top(image, -1)
            if top is None:
                self._tops.pop(image, None)
            else:
                self._tops[image] = top
        if self._rows is not None:
            self._fill(self._rows, self._stale)
        self._stale = set()

    def _on(self, pool: Pool) -> _Rows:
        """The derived rows of a pool, brought up to date by what changed."""
        self._settle()
        if self._rows is None or self._rows.pool is not pool:
            n = len(pool)
            raw = np.full(n, UNKNOWN, dtype=np.int64)
            self._rows = _Rows(pool, raw, np.zeros(n, np.int8), np.full(n, -1, np.int8))
            self._fill(self._rows, self._tops)
        return self._rows

    def _fill(self, rows: _Rows, images: Iterable[str]) -> None:
        for image in images:
            row = row_of(rows.pool, image)
            if row is None:
                continue  # the book may be about a larger folder than this pool
            top = self._tops.get(image, _UNTOUCHED)
            rows.raw[row] = top.class_id
            rows.state[row] = top.state
            rows.source[row] = _SOURCE_AT[top.source] if top.state == LABELLED else -1

    # ---------------------------------------------------------------- reading

    @property
    def events(self) -> tuple[Event, ...]:
        """All events, in order."""
        return tuple(self._events)

    def __len__(self) -> int:
        return len(self._events)

    @property
    def classes(self) -> Classes:
        """The class list now; a merged class counts as archived."""
        if self._classes is None:
            names: list[str] = []
            gone: set[int] = set()
            self._merged, self._alias = {}, {}
            for position in self._class_log:
                event = self._events[position]
                id, alive = event.data["class"], event.id not in self._dead
                if event.kind == "class_created":
                    names.append(event.data["name"])  # an id once given stays given
                    if not alive:
                        gone.add(id)
                elif alive and event.kind == "class_renamed":
                    self._alias[names[id]] = id
                    names[id] = event.data["new"]
                elif alive:
                    gone.add(id)
                    if event.kind == "class_merged":
                        self._merged[id] = event.data["into"]
            self._classes = Classes(tuple(names), frozenset(gone))
        return self._classes

    def class_id(self, name: str) -> int | None:
        """Id for a name: a class of this name, one merged into another, a former name."""
        classes = self.classes
        found = [i for i, known in enumerate(classes.names) if known == name]
        for id in found:
            if id not in classes.archived:
                return id
        for id in found:
            if id in self._merged:
                return self._target(id)
        if found:
            raise AnswerError(f"the class {name!r} is archived: undo that, or choose another name")
        return self._target(self._alias[name]) if name in self._alias else None

    def _target(self, id: int) -> int:
        _ = self.classes
        seen = {id}
        while id in self._merged and self._merged[id] not in seen:
            id = self._merged[id]
            seen.add(id)
        return id

    def _now(self) -> NDArray[np.int64]:
        """``(C + 1,)``: class id -> class id now, -1 where archived; the last entry is -1's."""
        classes = self.classes
        if self._leads is None or self._leads[0] is not classes:
            targets = [self._target(id) for id in range(len(classes))]
            now = [UNKNOWN if t in classes.archived else t for t in targets] + [UNKNOWN]
            self._leads = classes, np.array(now, dtype=np.int64)
        return self._leads[1]

    def known(self, pool: Pool) -> NDArray[np.int64]:
        """Class id of each pool row, -1 unknown: ``(n,) int64``.  Audits are not in it."""
        rows = self._on(pool)
        known = self._now()[rows.raw]
        other = self.settings.get("none_class")
        if other is not None:
            known[rows.state == NONE] = self._now()[other]
        return known

    def sources(self, pool: Pool) -> NDArray[np.int8]:
        """Index into `SOURCES` of each labelled pool row, -1 elsewhere: ``(n,) int8``."""
        return self._on(pool).source.copy()

    def states(self, pool: Pool) -> NDArray[np.int8]:
        """Index into `STATES` of each pool row, labels of archived classes open: ``(n,) int8``."""
        rows = self._on(pool)
        states = rows.state.copy()
        states[(states == LABELLED) & (self._now()[rows.raw] == UNKNOWN)] = OPEN
        return states

    def open(self, pool: Pool) -> NDArray[np.bool_]:
        """Which pool rows may be asked: ``(n,) bool``; *later* ones once nothing else is left."""
        rows = self._on(pool)
        archived = (rows.state == LABELLED) & (self._now()[rows.raw] == UNKNOWN)
        readable = np.ones(len(rows.raw), dtype=bool)
        readable[np.fromiter(pool.broken, dtype=np.int64, count=len(pool.broken))] = False
        first: NDArray[np.bool_] = ((rows.state == OPEN) | archived) & readable
        if not first.any():
            first = (rows.state == LATER) & readable
        return first

    def standing(self, image: str, *, audited: bool = False) -> Standing:
        """Where one image stands, merges applied; ``audited`` lets closed audits speak."""
        self._settle()
        top = self._tops.get(image)
        if audited:
            top = self._top(
                image, max((p for p in self._audits_closed if self._lives(p)), default=-1)
            )
        if top is None:
            return Standing()
        now = self._stands(image, top)
        if now.state != "labelled":
            return now
        id = int(self._now()[now.class_id])
        return Standing() if id == UNKNOWN else replace(now, class_id=id)

    def said(self, image: str) -> Standing:
        """What was last said of an image: a class as it was named then, merged or not.  O(1)."""
        self._settle()
        top = self._tops.get(image)
        return Standing() if top is None else self._stands(image, top)

    def touch(self, image: str) -> Touch | None:
        """What `said` goes by: one object for all images of one answer.  O(1)."""
        self._settle()
        return self._tops.get(image)

    @property
    def voted(self) -> frozenset[str]:
        """Images that somebody was asked as one of several."""
        return frozenset(self._voted)

    def poll(self, image: str) -> Poll:
        """What each of several people said of an image."""
        return self._weighed(image, -1)[1]

    def find(self, id: str) -> Event | None:
        """The event of an id, None where the book has none such."""
        place = self._position.get(id)
        return None if place is None else self._events[place]

    def event(self, seq: int) -> Event:
        """The event of a number, counted from 1; `LookupError` when there is none."""
        if not 1 <= seq <= len(self._events):
            raise LookupError(f"the book has {len(self._events)} events, none is number {seq}")
        return self._events[seq - 1]

    def about(self, image: str) -> tuple[Event, ...]:
        """Events that say something of an image, under its former names too, in order."""
        places = sorted({touch.event for touch in self._touches.get(image, ())})
        return tuple(self._events[place] for place in places)

    def alive(self, event: Event) -> bool:
        """Whether an event counts: it was not undone, or done again since."""
        return event.id not in self._dead

    def concerns(self, event: Event) -> set[str]:
        """Images that an event speaks of, an undo of what it undoes; both names of a moved one."""
        while event.kind in ("undone", "redone"):
            event = self._events[self._position[cast(str, event.undoes)]]
        images = {image for image, _ in touches(event, 0)}
        if event.kind == "image_moved":
            images |= {event.data["image"], event.data["to"]}
        found = set(images)
        for image in images:
            while image in self._moved and self._moved[image] not in found:
                image = self._moved[image]
                found.add(image)
        return found

    def images(self) -> tuple[str, ...]:
        """Ids of all images that an event has spoken of, sorted."""
        return tuple(sorted(self._touches))

    @property
    def round(self) -> int:
        """Number of closed rounds = number of the present one."""
        return self._round

    @property
    def paid(self) -> int:
        """Answers paid: every decision costs 1, undone ones too; imports and copies none."""
        return self._paid

    @property
    def asked(self) -> tuple[Event, ...]:
        """The ``asked`` events, one a round; the last may be open."""
        return tuple(self._events[p] for p in self._asked)

    def pending(self) -> Question | None:
        """The open question, as it was asked; None when every round is closed."""
        if len(self._asked) <= self._round:
            return None
        asked = self._events[self._asked[-1]].data
        return Question(
            asked["question"],
            asked["round"],
            ids=tuple(asked["ids"]),
            pairs=tuple((a, b) for a, b in asked["pairs"]),
            tags=tuple(asked["tags"]),
        )

    @property
    def pairs(self) -> tuple[PairAnswer, ...]:
        """The last answer to each pair, in the order in which the pairs were first answered."""
        if self._pairs is None:
            last: dict[frozenset[str], PairAnswer] = {}
            same = {word: value for value, word in SAME.items()}
            for event in self._alive(self._pair_log):
                d = event.data
                source: Source = d.get("source", "hand")
                answer = PairAnswer(d["a"], d["b"], same[d["answer"]], source, event.person)
                last[frozenset((d["a"], d["b"]))] = answer
            self._pairs = tuple(last.values())
        return self._pairs

    @property
    def tags(self) -> Mapping[str, str]:
        """Tag of each image asked in a closed round, where the rule gave one."""
        return {id: tag for id, tag in self._tags.items() if tag}

    @property
    def memo(self) -> Mapping[str, Any]:
        """What the rule left for itself in the last closed round."""
        return dict(self._events[self._asked[self._round - 1]].data["memo"]) if self._round else {}

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings now.  ``none_class``: id of the class that *none of these* trains, or None."""
        if self._settings is None:
            log = self._alive(self._settings_log)
            self._settings = {e.data["key"]: e.data["new"] for e in log}
        return self._settings

    @property
    def drawn_at_random(self) -> bool:
        """Whether every label so far came from a random draw."""
        self._settle()
        closed = self._asked[: self._round]
        return all(self._events[p].data["draw"] == "random" for p in closed) and all(
            id in self._asked_in for id, top in self._tops.items() if top.state == LABELLED
        )


def _subject(answer: Answer | PairAnswer) -> object:
    return answer.id if isinstance(answer, Answer) else frozenset((answer.a, answer.b))


def row_of(pool: Pool, image: str) -> int | None:
    """The row of an image, None where the pool does not hold it."""
    try:
        return pool.row(image)
    except (LookupError, ValueError, InputError):
        return None
