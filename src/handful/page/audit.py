"""The blind check: how many labels are right, measured so that nobody can bend it.

::

    order    every readable picture in the order drawn when the project began; a check goes
             down that order, so that stopping early is stopping in a random one
    answer   given without suggestion, group, count or name; stored beside the label, never
             taught, never a reason to ask anything
    compare  with the label that the picture would have without the answer
    result   k of n and Wilson's interval for a sample without replacement; only at 60, 150 and
             300 answers, and when the check is closed

A class that was archived, or split after the answer, sends its answers back: those pictures
are asked again.  Merged and renamed classes carry over.  What was compared when a check was
closed stays as it was compared once the mistakes were shown: correcting them betters the
labels, not the number.

Cost: O(answers) a request, O(answers + pages) where pictures are drawn; closing looks at all
suggestions once.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from math import sqrt
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from handful.page.index import FRESH, Cell, Row
from handful.page.labels import Label, label_of, meaning
from handful.page.learned import NO_CLASS, NONE_OF_THESE
from handful.page.project import Project
from handful.page.schema import (
    Agreement,
    Audit,
    AuditClass,
    AuditResult,
    AuditStanding,
    Mistakes,
)
from handful.page.settings import person
from handful.page.words import refuse
from handful.types import Event

__all__ = [
    "FIRST_LOOK", "LOOKS", "MIN", "MORE", "WANTED", "Compared", "Judged", "Sheet", "agreement",
    "audit", "close", "closed_result", "drawing", "drawn", "drawn_next", "first_look", "judge",
    "minutes", "mistakes", "more", "sheet", "standing", "worded",
]  # fmt: skip

WANTED = MORE = 150
LOOKS = (60, 150, 300)  # answers at which the running number is shown
MIN = 30  # answers that a percentage needs
FIRST_LOOK = 150  # blind answers at most, before there are suggestions: and a tenth of all
PER_CLASS = 10  # answers that a row for one class needs
_AHEAD = 200  # pictures of the order that may be answered next: more than a page holds
_PAGE = 200
_SECONDS = 1.63  # an answer


# ------------------------------------------------------------------ what was answered


@dataclass(frozen=True, slots=True)
class Sheet:
    """Blind answers that count, by image id; the check as it stands."""

    answers: dict[str, Event]
    frozen: dict[str, tuple[int, str]]  # image -> label it was compared with, mistakes shown
    rows: NDArray[np.int64]  # where those pictures are in the index, with their
    events: list[Event]
    wanted: int
    closed: Event | None  # its last closing, unless more was asked since
    last: Event | None  # its last closing

    @property
    def answered(self) -> int:
        return len(self.answers)


_EMPTY = Sheet({}, {}, np.zeros(0, dtype=np.int64), [], 0, None, None)


@dataclass(slots=True)
class _Kept:
    """One sheet a project, while nothing that it rests on changed."""

    key: tuple[Any, ...] = ()
    sheet: Sheet = _EMPTY


_KINDS = (
    "audit_answered", "audit_closed", "audit_more", "audit_shown", "image_changed", "image_moved",
    "class_created", "class_archived", "class_merged",
)  # fmt: skip


def sheet(project: Project) -> Sheet:
    """What was answered blind so far."""
    with project.lock:
        kept = project.kept.setdefault("audit", _Kept())
        key = (*(project.changes[kind] for kind in _KINDS), _pictures(project))
        if kept.key != key:
            kept.key, kept.sheet = key, _sheet(project)
        return cast(Sheet, kept.sheet)


def _sheet(project: Project) -> Sheet:
    answers: dict[str, Event] = {}
    splits = [e for e in project.said("class_created") if e.data.get("split_from") is not None]
    for event in project.said("audit_answered", "image_changed"):
        image = project.now(event.data["image"])
        if event.kind == "image_changed":
            answers.pop(image, None)  # it is another picture now
        elif _holds(project, event, splits):
            answers[image] = event
        else:
            answers.pop(image, None)
    closings, more = list(project.said("audit_closed")), list(project.said("audit_more"))
    shown = {e.data["closed"] for e in project.said("audit_shown")}
    frozen: dict[str, tuple[int, str]] = {}
    for closing in closings:
        if closing.seq in shown:
            for image, label, source, _ in closing.data["compared"]:
                frozen.setdefault(project.now(image), (label, source))
    last = closings[-1] if closings else None
    reopened = more[-1] if more else None
    closed = last if last and not (reopened and reopened.seq > last.seq) else None
    wanted = reopened.data["wanted"] if reopened else WANTED
    found = project.index.of(list(answers))
    rows = np.array([row.row for row in found.values()], dtype=np.int64)
    events = [answers[image] for image in found]
    return Sheet(answers, frozen, rows, events, min(wanted, _pictures(project)), closed, last)


def _holds(project: Project, event: Event, splits: list[Event]) -> bool:
    """Whether an answer still means what it meant."""
    given = event.data.get("class")
    if given is None:
        return True
    now = project.classes.now(given)
    if now is None:
        return False
    parts = (given, now.id)
    return not any(e.data["split_from"] in parts and e.seq > event.seq for e in splits)


def _pictures(project: Project) -> int:
    return sum(n for cell, n in project.index.cells() if cell.presence == FRESH.presence)


def standing(project: Project) -> AuditStanding:
    """How far the check is."""
    now = sheet(project)
    return {
        "answered": now.answered,
        "wanted": now.wanted,
        "closed": now.closed is not None,
        "min": MIN,
    }


def first_look(project: Project) -> int:
    """How many blind answers the first wait still takes; 0 once there are suggestions."""
    now = sheet(project)
    if project.learned.suggests or now.last is not None:
        return 0
    return max(0, min(FIRST_LOOK, _pictures(project) // 10) - now.answered)


# ------------------------------------------------------------------ drawing


def drawn_next(project: Project, n: int) -> list[Row]:
    """The next pictures of the order that were not answered blind."""
    with project.lock:
        answered = sheet(project).answers
        cells = _readable(project)
        found: list[Row] = []
        after: tuple[Any, int] | None = None
        while len(found) < n:
            rows = project.index.page(cells, _PAGE, order="draw", after=after)
            found += [row for row in rows if row.path not in answered]
            if len(rows) < _PAGE:
                break
            after = (rows[-1].draw, rows[-1].row)
        return found[:n]


def drawn(project: Project, row: Row) -> bool:
    """Whether a picture is among those that are asked next, or was answered already.

    Nobody picks what is measured: anything else is refused.
    """
    if row.path in sheet(project).answers:
        return True
    ahead = drawn_next(project, _AHEAD)
    return bool(ahead) and (row.draw, row.row) <= (ahead[-1].draw, ahead[-1].row)


def drawing(project: Project) -> list[Event]:
    """The event that says how pictures are drawn; written before the first blind answer."""
    if project.book.find("audit/drawn") is not None:
        return []
    order = project.index.page(_readable(project), max(LOOKS), order="draw")
    digest = blake2b("\n".join(row.id for row in order).encode(), digest_size=16).hexdigest()
    data = {
        "pictures": _pictures(project), "order": digest, "first": len(order),
        "stacks": "each picture counts once",
    }  # fmt: skip
    return [Event("audit_drawn", "audit/drawn", data)]


def _readable(project: Project) -> list[Cell]:
    return [cell for cell, _ in project.index.cells() if cell.presence == FRESH.presence]


# ------------------------------------------------------------------ judging


class Compared(NamedTuple):
    """One picture: its label without the blind answer, who gave that, the blind answer."""

    image: str
    label: int
    source: str
    answer: int


@dataclass(frozen=True, slots=True)
class Judged:
    """What the blind answers say of the labels."""

    compared: list[Compared]
    unsure: int
    unlabelled: int
    population: int  # readable pictures that have a label
    pictures: int  # readable ones
    people: list[str]  # who answered, by name; empty where one person gave none

    @property
    def k(self) -> int:
        return sum(c.label == c.answer for c in self.compared)


def judge(project: Project) -> Judged:
    """Compare every blind answer with the label that its picture would have without it."""
    with project.lock:
        now = sheet(project)
        rows = project.index.of(list(now.answers))
        compared: list[Compared] = []
        unsure = unlabelled = 0
        for image, event in now.answers.items():
            row = rows.get(image)
            if row is None or project.index.cell(row.cell).presence != FRESH.presence:
                continue  # gone, or cannot be read any more
            answer = _answer(project, event)
            if answer is None:
                unsure += event.data.get("state") == "unsure"
                continue
            label, source = _compared_label(project, row, now)
            if label is None:
                unlabelled += 1
            else:
                compared.append(Compared(image, label, source, answer))
        population = max(len(compared), _labelled(project))
        people = sorted({event.person or person(project) for event in now.answers.values()} - {""})
        pictures = _pictures(project)
        return Judged(compared, unsure, unlabelled, population, pictures, people)


def _answer(project: Project, event: Event) -> int | None:
    given = event.data.get("class")
    if given is not None:
        found = project.classes.now(given)
        return None if found is None else found.id
    return NONE_OF_THESE if event.data.get("state") == "none" else None


def _compared_label(project: Project, row: Row, now: Sheet) -> tuple[int | None, str]:
    if row.path in now.frozen:
        label, source = now.frozen[row.path]
        if label == NONE_OF_THESE:
            return label, source
        found = project.classes.now(label)
        return (None, "") if found is None else (found.id, source)
    label_now: Label = label_of(project, row, audited=False)
    return label_now.judged, label_now.source


def _labelled(project: Project) -> int:
    """Readable pictures that have a label that can be right: what the sample stands for."""
    total, guessed = 0, []
    for cell, n in project.index.cells():
        if cell.presence != FRESH.presence:
            continue
        state, _ = meaning(project, cell)
        if state in ("labelled", "none"):
            total += n
        elif state in ("open", "later"):
            guessed.append(cell)
    model = project.learned.model
    if model is None:
        return total
    mask = project.index.numbers(guessed)
    rows = model.rows[mask[project.index.standing(model.rows)]]
    return total + int((project.learned.suggestions(rows)[0] != NO_CLASS).sum())


# ------------------------------------------------------------------ the result


def audit(project: Project) -> Audit:
    """The check as it stands; a number only where one may be shown."""
    with project.lock:
        now = sheet(project)
        result: AuditResult | None = None
        if now.closed is not None:
            result = closed_result(project, now.closed)
        elif now.answered in LOOKS:
            result = worded(project, judge(project), time.time())
        return {**standing(project), "result": result}


def close(project: Project, id: str) -> Audit:
    """Close the check: the labels as they are now are what is measured."""
    with project.lock:
        now = sheet(project)
        if project.book.find(id) is None and now.closed is None:
            if not now.answered:
                refuse("audit", "No labels to check yet.")
            found = judge(project)
            result = worded(project, found, time.time())
            data = {
                "n": result["n"], "k": result["k"], "low": result["low"], "high": result["high"],
                "population": found.population, "pictures": found.pictures,
                "unsure": found.unsure, "people": found.people,
                "unlabelled": found.unlabelled, "label_rev": project.rev,
                "compared": [list(c) for c in found.compared],
                "agreement": dict(result["agreement"]),
            }  # fmt: skip
            project.append([Event("audit_closed", id, data, person=project.person)])
            project.tell("advice")
        return audit(project)


def more(project: Project, id: str) -> Audit:
    """Ask 150 more."""
    with project.lock:
        now = sheet(project)
        if project.book.find(id) is None:
            pictures = _pictures(project)
            if now.answered >= pictures:
                refuse("audit", "Every picture was asked already.")
            base = now.wanted if now.closed is None else now.answered
            data = {"n": MORE, "wanted": min(base + MORE, pictures)}
            project.append([Event("audit_more", id, data, person=project.person)])
            project.tell("advice")
        return audit(project)


def closed_result(project: Project, closing: Event) -> AuditResult:
    """The result of a check that was closed, as it was then, and what was corrected since."""
    d = closing.data
    compared = [Compared(*c) for c in d["compared"]]
    found = Judged(
        compared, d["unsure"], d["unlabelled"], d["population"], d["pictures"], d["people"]
    )
    result = worded(project, found, closing.at, cast(Agreement, d["agreement"]))
    result["label_rev"] = d["label_rev"]
    corrected = sum(m["settled"] for m in _mistakes(project, closing)["items"])
    if corrected:
        labels = "1 label" if corrected == 1 else f"{corrected:,} labels"
        result["notes"].append(f"{labels} corrected since. The number above is from before.")
    return result


def worded(
    project: Project, found: Judged, at: float, agreed: Agreement | None = None
) -> AuditResult:
    """A result with its texts."""
    from handful.metrics import wilson  # scipy: nothing else here needs it

    k, n, population = found.k, len(found.compared), found.population
    low, high = wilson(k, n, population=population) if n else (0.0, 1.0)
    text = f"{k:,} of {n:,}. A percentage needs {MIN}."
    if not n:
        text = "No labels to check yet."
    elif n >= MIN:
        text = (
            f"{_percent(k / n)} of the labels are right: {k:,} of {n:,}. The true value is between"
            f" {_percent(low)} and {_percent(high)} (95 % interval)."
        )
    when = datetime.fromtimestamp(at).astimezone()
    who = " and ".join(found.people) or "you"
    they, are = (
        (who, "is") if len(found.people) == 1 else ("they" if found.people else "you", "are")
    )
    agreed = agreement(project) if agreed is None else agreed
    return {
        "n": n, "k": k, "low": low if n >= MIN else None, "high": high if n >= MIN else None,
        "population": population, "unsure": found.unsure, "unlabelled": found.unlabelled,
        "text": text,
        "scope": (
            f"Measured on pictures drawn at random from all {found.pictures:,} readable ones,"
            f" answered by {who} without seeing a suggestion, {when.day}"
            f" {when:%b %Y, %H:%M}."
        ),
        "caution": (
            f"It says how often {they} would agree with the label, not whether {they} {are} right."
        ),
        "notes": _notes(found, agreed),
        "classes": _by_class(found.compared),
        "mistakes": n - k,
        "agreement": agreed,
        "at": at,
        "label_rev": project.rev,
    }  # fmt: skip


def _notes(found: Judged, agreed: Agreement) -> list[str]:
    k, n, notes = found.k, len(found.compared), []
    if found.unsure:
        was = "was unsure and is" if found.unsure == 1 else "were unsure and are"
        worse = _percent(k / (n + found.unsure))
        notes.append(f"{found.unsure:,} {was} left out; counted as wrong it would be {worse}.")
    if found.unlabelled:
        have = "has no label and is" if found.unlabelled == 1 else "have no label and are"
        notes.append(f"{found.unlabelled:,} {have} left out.")
    if agreed["text"]:
        notes.append(agreed["text"])
    return notes


def _by_class(compared: list[Compared]) -> list[AuditClass]:
    from handful.metrics import wilson

    asked = Counter(c.label for c in compared)
    right = Counter(c.label for c in compared if c.label == c.answer)
    rows: list[AuditClass] = []
    for id, n in sorted(asked.items()):
        if n >= PER_CLASS:
            low, high = wilson(right[id], n)
            name = None if id == NONE_OF_THESE else id
            rows.append({"class": name, "k": right[id], "n": n, "low": low, "high": high})
    return rows


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def mistakes(project: Project) -> Mistakes:
    """Where the blind answer differs from the label; only once the check is closed.

    Who has seen them may correct them: what they were compared with is kept from here on.
    """
    with project.lock:
        closing = sheet(project).closed
        if closing is None:
            refuse("audit", "The mistakes are shown when the check is closed.")
        data = {"closed": closing.seq}
        shown = Event("audit_shown", f"audit/shown/{closing.seq}", data, person=project.person)
        project.append([shown])
        return _mistakes(project, closing)


def _mistakes(project: Project, closing: Event) -> Mistakes:
    from handful.page.views import picture

    wrong = [Compared(*c) for c in closing.data["compared"]]
    wrong = [c for c in wrong if c.label != c.answer]
    rows = project.index.of([project.now(c.image) for c in wrong])
    found: Mistakes = {"items": [], "label_rev": project.rev}
    for c in wrong:
        row = rows.get(project.now(c.image))
        if row is None:
            continue
        now = label_of(project, row, audited=False)
        answer = c.answer
        if answer != NONE_OF_THESE and (live := project.classes.now(answer)) is not None:
            answer = live.id
        found["items"].append({
            "picture": picture(project, row), "label": _named(c.label),
            "label_source": cast(Any, c.source), "answer": _named(answer),
            "settled": now.source != "model" and now.judged == answer,
        })  # fmt: skip
    return found


def _named(id: int) -> int | None:
    return None if id == NONE_OF_THESE else id


# ------------------------------------------------------------------ guards against agreeing


def agreement(project: Project) -> Agreement:
    """How often answers in the queue followed the suggestion, shown and held back.

    Held back are pictures chosen by their draw, not by anybody.  The two rates differ when
    Newcombe's interval of their difference (1998, method 10, from Wilson's) leaves out 0.
    """
    from handful.metrics import wilson

    counted = {True: [0, 0], False: [0, 0]}
    for event in project.said("labelled", "state_set"):
        beside = event.data.get("suggestion")
        if beside is None or not (beside["shown"] or beside.get("held")):
            continue
        agrees = _landed(project, event) == _landed_at(project, beside["class"])
        of = counted[bool(beside["shown"])]
        of[0] += agrees
        of[1] += 1
    (shown_k, shown_n), (hidden_k, hidden_n) = counted[True], counted[False]
    text = None
    if shown_n >= PER_CLASS and hidden_n >= PER_CLASS:
        a, b = shown_k / shown_n, hidden_k / hidden_n
        (a_low, a_high), (b_low, b_high) = wilson(shown_k, shown_n), wilson(hidden_k, hidden_n)
        low = a - b - sqrt((a - a_low) ** 2 + (b_high - b) ** 2)
        high = a - b + sqrt((a_high - a) ** 2 + (b - b_low) ** 2)
        if low > 0 or high < 0:
            text = (
                f"You agreed with {_percent(a)} of the suggestions that you saw ({shown_n:,}) and"
                f" with {_percent(b)} of those held back ({hidden_n:,})."
            )
    return {
        "shown_k": shown_k, "shown_n": shown_n, "hidden_k": hidden_k, "hidden_n": hidden_n,
        "text": text,
    }  # fmt: skip


def _landed(project: Project, event: Event) -> int:
    if event.kind == "state_set":
        return NONE_OF_THESE if event.data["state"] == "none" else NO_CLASS
    return _landed_at(project, event.data["class"])


def _landed_at(project: Project, id: int | None) -> int:
    if id is None:
        return NONE_OF_THESE
    found = project.classes.now(id)
    return NO_CLASS if found is None else found.id


def minutes(n: int) -> int:
    """Minutes that so many blind answers take."""
    return max(1, round(n * _SECONDS / 60))
