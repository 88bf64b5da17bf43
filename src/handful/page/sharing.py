"""One queue for several people: each picture asked once, a few of them twice, and blind.

::

    lease      20 pictures that one person is asked; nobody else is asked them meanwhile
    twice      5 % of the pictures, at least 30: two people are asked, each shown nothing
    label      what both said; where they differ the picture is open until it is settled
    agreement  of each two people: k of n, Wilson's interval, Cohen's kappa

A picture is asked twice from the end of the order drawn when the project began, the blind
check goes down from its beginning: whoever answered for one is seldom asked for the other.
Near-duplicates are not among them.  Three in ten of what a person is asked are such pictures
until 30 were answered twice, then one in ten: half of these are somebody's second.

Cost: O(pictures asked twice) an answer, a page of the queue, and nothing for one person.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any, cast

import numpy as np

from handful.errors import InputError
from handful.events import STATES
from handful.page import audit, queue
from handful.page.index import FRESH, Cell, Row
from handful.page.labels import meaning
from handful.page.people import LEASE
from handful.page.project import Project
from handful.page.schema import (
    Agreed,
    Colleague,
    Disagreement,
    Disagreements,
    People,
    Queue,
    Queued,
)
from handful.page.views import pictures, tile

__all__ = [
    "MIN",
    "SHARE",
    "asked_twice",
    "colleagues",
    "disagreements",
    "people",
    "shared",
    "voted",
]

SHARE = 0.05  # of the pictures, asked twice
MIN = 30
_FIRST, _LATER = 6, 2  # of the pictures of a lease, while fewer than `MIN` are done, and then
_PAGE = 60
_MORE = "more"  # the cursor of a shared queue: it always begins with what the person is asked
_OPEN = {"useful", "random"}
_BLIND = {"audit", "first"}


# ------------------------------------------------------------------ what was asked twice


@dataclass(frozen=True, slots=True)
class Asked:
    """A picture that several people were asked: what each said, a class or a state."""

    votes: Mapping[str, tuple[str, int]]  # by person: state, class as it is now or -1
    seq: int  # of the first answer
    decided: bool

    @property
    def definite(self) -> dict[str, tuple[str, int]]:
        """Answers that say what the picture is: unsure says nothing."""
        return {person: said for person, said in self.votes.items() if said[0] != "unsure"}

    @property
    def disputed(self) -> bool:
        """No answer has more than half, and nobody has settled it."""
        said = list(self.definite.values())
        most = max((said.count(one) for one in said), default=1)
        return not self.decided and 2 * most <= len(said)


@dataclass(slots=True)
class _Kept:
    rev: int = -1
    asked: dict[str, Asked] = field(default_factory=dict)


def asked_twice(project: Project) -> dict[str, Asked]:
    """Pictures of which somebody gave one of two answers, by name, the first ones first."""
    with project.lock:
        kept: _Kept = project.kept.setdefault("sharing", _Kept())
        if kept.rev != project.rev:
            found = {image: _asked(project, image) for image in project.book.voted}
            pairs = [(image, one) for image, one in found.items() if one is not None and one.votes]
            kept.asked = dict(sorted(pairs, key=lambda pair: pair[1].seq))
            kept.rev = project.rev
        return kept.asked


def _asked(project: Project, image: str) -> Asked | None:
    poll = project.book.poll(image)
    votes: dict[str, tuple[str, int]] = {}
    first = 0
    for person, touch in poll.votes.items():
        state, id = STATES[touch.state], -1
        if state == "labelled":
            now = project.classes.now(touch.class_id)
            if now is None:
                continue  # the class was archived: as if it was not answered
            id = now.id
        votes[person] = (state, id)
        first = first or touch.event + 1
    return Asked(votes, first, poll.decided)


def voted(project: Project, row: Row) -> bool:
    """Whether the answer of the person at hand to a picture is one of two.

    It is while the picture was given to them as such, a restart of the page or not.
    """
    if not project.people.several or project.learned.stack(row.row)[1:]:
        return False
    if project.people.leases.twice(project.person, row.id):
        return True
    known = asked_twice(project).get(row.path)
    return known is not None and project.person in known.votes and not known.decided


# ------------------------------------------------------------------ the queue


def shared(project: Project, n: int, mode: queue.Mode, cursor: str | None) -> Queue:
    """What a person is asked: what they have, filled up to `LEASE`; alone: as it always was."""
    people = project.people
    if not people.several:
        return queue.queue(project, n, mode, cursor)
    if cursor not in (None, _MORE):
        raise InputError("the cursor is none of the queue: begin without one")
    with project.lock:
        me = project.person
        first = queue.queue(project, _PAGE, mode, None)
        mode = first["mode"]
        held, taken = people.leases.held(me, mode), people.leases.others(me)
        twice = _twice(project, me, mode, set(held), taken)
        mine, fresh, more = _free(project, first, held.keys() - twice.keys(), taken | twice.keys())
        room = max(0, LEASE - len(mine) - len(twice))
        chosen = {item["id"] for item in (*mine, *fresh[:room])}
        served = _mixed([*mine, *fresh[:room]], [cast(Queued, tile(row)) for row in twice.values()])
        people.leases.take(me, chosen | twice.keys(), mode, twice.keys())
        return {**first, "items": served, "next": _MORE if more or fresh[room:] else None}


def _free(
    project: Project, first: Queue, held: set[str], taken: set[str]
) -> tuple[list[Queued], list[Queued], bool]:
    """Of the queue as it is for all: what this person has, what nobody has, whether more is."""
    mode, page = first["mode"], first
    asked = asked_twice(project) if mode in _OPEN else {}
    known = {row.id for row in project.index.of(list(asked)).values()}
    mine: list[Queued] = []
    fresh: list[Queued] = []
    skipped = False
    while True:
        for item in page["items"]:
            if item["id"] in taken | known:
                skipped = skipped or item["id"] in taken
            elif item["id"] in held:
                mine.append(item)
            else:
                fresh.append(item)
        if len(fresh) >= LEASE or page["next"] is None:
            break
        page = queue.queue(project, _PAGE, mode, page["next"])
    behind = held - {item["id"] for item in mine}
    if behind:  # still theirs, though the order has moved on
        rows = [row for row in project.index.by_id(behind).values() if _due(project, row, mode)]
        if mode in _BLIND:
            mine += [cast(Queued, tile(row)) for row in rows]
        else:
            mine += queue.served(project, rows, [None] * len(rows))
    return mine, fresh, skipped or page["next"] is not None


def _due(project: Project, row: Row, mode: str) -> bool:
    """Whether a picture still waits for an answer of this mode."""
    cell = project.index.cell(row.cell)
    if mode in _BLIND:
        return cell.presence == FRESH.presence and row.path not in audit.sheet(project).answers
    return cell.presence == FRESH.presence and meaning(project, cell)[0] == (
        "open" if mode in _OPEN else mode
    )


def _mixed(items: list[Queued], twice: list[Queued]) -> list[Queued]:
    """Those asked twice at even distances among the others."""
    found = list(items)
    for at, item in enumerate(twice):
        found.insert((at + 1) * (len(items) + len(twice)) // (len(twice) + 1), item)
    return found


def _twice(project: Project, me: str, mode: str, held: set[str], taken: set[str]) -> dict[str, Row]:
    """Pictures that this person is asked blind, as others are: theirs, then second answers."""
    if mode not in _OPEN:
        return {}
    asked = asked_twice(project)
    rows = project.index.of(list(asked))
    done = sum(len(one.definite) > 1 for one in asked.values())
    most = _FIRST if done < MIN else _LATER
    found: dict[str, Row] = {}
    for row in project.index.by_id(held).values():
        if project.people.leases.twice(me, row.id) and _asks(project, row, asked.get(row.path), me):
            found[row.id] = row
    for image, one in asked.items():
        if len(found) >= most:
            return found
        known = rows.get(image)
        if known is not None and known.id not in taken and _asks(project, known, one, me):
            found[known.id] = known
    wanted = max(MIN, -(-_pictures(project) // round(1 / SHARE))) - len(asked)
    begun = {row.id for row in found.values() if row.path not in asked}
    for row in _unasked(project, taken | held | found.keys(), _FIRST):
        if len(found) >= most or len(begun) >= wanted:
            break
        found[row.id] = row
        begun.add(row.id)
    return found


def _asks(project: Project, row: Row, one: Asked | None, me: str) -> bool:
    """Whether a picture still waits for this person's answer."""
    if project.index.cell(row.cell).presence != FRESH.presence:
        return False
    if one is None:
        return _due(project, row, "random")
    return me not in one.votes and not one.decided and len(one.votes) < 2


def _unasked(project: Project, without: set[str], n: int) -> list[Row]:
    """The next pictures to be asked twice: open, no near-duplicates, from the end of the draw."""
    cells: list[Cell] = [
        cell for cell, _ in project.index.cells()
        if cell.presence == FRESH.presence and meaning(project, cell)[0] == "open"
    ]  # fmt: skip
    asked = asked_twice(project)
    found: list[Row] = []
    after: tuple[Any, int] | None = None
    while len(found) < n:
        rows = project.index.page(cells, _PAGE, order="draw", down=True, after=after)
        sizes = project.learned.stack_sizes(np.array([r.row for r in rows], dtype=np.int64))
        for row, size in zip(rows, sizes.tolist(), strict=True):
            if size < 2 and row.id not in without and row.path not in asked:
                found.append(row)
        if len(rows) < _PAGE:
            break
        after = (rows[-1].draw, rows[-1].row)
    return found[:n]


def _pictures(project: Project) -> int:
    """How many pictures can be read."""
    return sum(n for cell, n in project.index.cells() if cell.presence == FRESH.presence)


# ------------------------------------------------------------------ who is here


def people(project: Project, link: str | None) -> People | None:
    """The person of the request at hand, and the others; None where there is one person."""
    known = project.people
    if not known.several:
        return None
    me = project.person
    return {
        "you": me,
        "named": known.named,
        "answers": project.given[me],
        "others": [one for one in colleagues(project) if one["name"] != me],
        "link": link if known.host else None,
    }


def colleagues(project: Project) -> list[Colleague]:
    """Everybody who was let in or has answered, by name."""
    here = project.people.here()
    names = here.keys() | {name for name, n in project.given.items() if name and n}
    return [
        {"name": name, "answers": project.given[name], "here": here.get(name, False)}
        for name in sorted(names) if here.get(name) or project.given[name]
    ]  # fmt: skip


# ------------------------------------------------------------------ agreement


def disagreements(project: Project, cursor: str | None, limit: int) -> Disagreements:
    """Pictures of which two people said different things, and how often any two agree."""
    with project.lock:
        asked = asked_twice(project)
        start = _opened(cursor)
        disputed = [(one.seq, image) for image, one in asked.items() if one.disputed]
        rows = project.index.of([image for _, image in disputed])
        here = [(seq, rows[image]) for seq, image in disputed if image in rows]
        page = [(seq, row) for seq, row in here if seq > start][: limit + 1]
        shown = pictures(project, [row for _, row in page[:limit]])
        items: list[Disagreement] = [
            {"picture": picture, "answers": [
                {"person": person, "state": cast(Any, state), "class": None if id < 0 else id}
                for person, (state, id) in asked[row.path].votes.items()
            ]}
            for picture, (_, row) in zip(shown, page, strict=False)
        ]  # fmt: skip
        return {
            "items": items,
            "next": str(page[limit - 1][0]) if len(page) > limit else None,
            "total": len(here),
            "asked": len(asked),
            "twice": sum(len(one.definite) > 1 for one in asked.values()),
            "agreement": _agreement(asked),
            "label_rev": project.rev,
        }


def _opened(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not cursor.isdecimal() or len(cursor) > 15:
        raise InputError("the cursor is none of the disagreements: begin without one")
    return int(cursor)


def _agreement(asked: Mapping[str, Asked]) -> list[Agreed]:
    """Of each two people who were asked the same, those with most in common first."""
    both: dict[tuple[str, str], list[tuple[tuple[str, int], tuple[str, int]]]] = {}
    for one in asked.values():
        said = one.definite
        for a, b in combinations(sorted(said), 2):
            both.setdefault((a, b), []).append((said[a], said[b]))
    found = [_agreed(a, b, pairs) for (a, b), pairs in both.items()]
    return sorted(found, key=lambda of: (-of["n"], of["a"], of["b"]))


def _agreed(a: str, b: str, pairs: list[tuple[tuple[str, int], tuple[str, int]]]) -> Agreed:
    from handful.metrics import kappa, wilson  # scipy: nothing else here needs it

    n, k = len(pairs), sum(x == y for x, y in pairs)
    low, high = wilson(k, n)
    names = [[f"{state}/{id}" for state, id in said] for said in zip(*pairs, strict=True)]
    chance = kappa(*names)
    text = f"{a} and {b} agree on {k:,} of {n:,}."
    if n >= MIN:
        text = (
            f"{a} and {b} agree on {k:,} of {n:,}: {100 * k / n:.1f} %, between {100 * low:.1f} and"
            f" {100 * high:.1f} % (95 % interval)."
        )
        text += (
            " Kappa cannot be said: all answers are the same."
            if chance is None
            else f" Kappa, which leaves out agreement by chance: {chance:.2f}."
        )
    else:
        text += f" A percentage needs {MIN}."
    enough = n >= MIN
    return {
        "a": a, "b": b, "n": n, "k": k, "low": low if enough else None,
        "high": high if enough else None, "kappa": chance if enough else None, "text": text,
    }  # fmt: skip
