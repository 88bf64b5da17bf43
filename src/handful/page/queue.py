"""What to answer next, and what may be shown beside it.

================  ======================================================  =====
mode              order                                                   shown
================  ======================================================  =====
useful            as the worker ranked them; then as ``random``           suggestion, why, likes
random            open pictures as they were drawn when the project       the same
                  began; of near-duplicates the first; those that were
                  answered blind once all others were asked
later, unsure     those put off, the oldest first                         the same
audit             every readable picture as drawn, whatever was said      nothing
first             the same, while there are no suggestions                nothing
================  ======================================================  =====

One picture in twenty, chosen by its draw, comes without its suggestion: whether people follow
what they see is measured by what they do when they see nothing.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal, TypeAlias, cast

import numpy as np

from handful.errors import InputError
from handful.page import audit
from handful.page.index import Cell, Row
from handful.page.labels import meaning
from handful.page.learned import NO_CLASS, NONE_OF_THESE
from handful.page.project import Project
from handful.page.schema import Alike, Left, Queue, Queued
from handful.page.views import closed, opened, suggestion, tile

__all__ = ["MODES", "Mode", "held_back", "queue", "served"]

Mode: TypeAlias = Literal["useful", "random", "later", "unsure", "audit", "first"]
MODES: tuple[Mode, ...] = ("useful", "random", "later", "unsure", "audit", "first")
_WHY = ("Between two classes", "Unlike anything answered", "Stands for", "Random check")
_STANDS, _RANDOM = 2, 3
_AGAIN = "You were asked before"
_USEFUL, _AFTER = "useful", "after"  # parts of the queue, in cursors
_START = (-1, 0)  # before every draw
_HELD = 20  # one in so many comes without its suggestion
_LIKES = 3
_LOOKED_AT = 20_000  # answered pictures that are looked at for those


def queue(project: Project, n: int, mode: Mode, cursor: str | None) -> Queue:
    """The next ``n`` pictures of a mode behind a cursor."""
    with project.lock:
        if mode == "first" and not audit.first_look(project):
            mode = "random"
        if mode in ("audit", "first"):
            return _blind(project, n, mode, cursor)
        piles = _piles(project)
        whys: list[str | None]
        if mode in ("later", "unsure"):
            after, _ = opened(cursor, "time")
            found = project.index.page(piles[mode], n + 1, order="time", after=after)
            rows, whys = found[:n], [_AGAIN] * len(found[:n])
            next = closed(rows[-1], "time", project.rev) if len(found) > n else None
        else:
            rows, whys, next = _open(project, n, mode, cursor, piles["open"])
        left = {name: project.index.count(cells)[0] for name, cells in piles.items()}
        return {
            "items": served(project, rows, whys),
            "mode": mode,
            "blind": False,
            "left": cast(Left, left),
            "next": next,
            "label_rev": project.rev,
            "model_rev": project.learned.rev("model"),
        }


def _piles(project: Project) -> dict[str, list[Cell]]:
    piles: dict[str, list[Cell]] = {"open": [], "later": [], "unsure": []}
    for cell, _ in project.index.cells():
        meant = meaning(project, cell)[0]
        if cell.presence == "here" and meant in piles:
            piles[meant].append(cell)
    return piles


# ------------------------------------------------------------------ blind


def _blind(project: Project, n: int, mode: Mode, cursor: str | None) -> Queue:
    """Down the order drawn, behind what was answered: id and size, nothing else."""
    sheet = audit.sheet(project)
    left = sheet.wanted - sheet.answered
    if mode == "first":
        left = min(left, audit.first_look(project))
    after, _ = opened(cursor, "draw")
    rows: list[Row] = []
    if left > 0 and sheet.closed is None:
        rows = audit.drawn_next(project, left)
        if after is not None:
            rows = [row for row in rows if (row.draw, row.row) > after]
    return {
        "items": [cast(Queued, tile(row)) for row in rows[:n]],
        "mode": mode,
        "blind": True,
        "left": None,
        "next": closed(rows[n - 1], "draw", project.rev) if len(rows) > n else None,
        "label_rev": project.rev,
        "model_rev": project.learned.rev("model"),
    }


# ------------------------------------------------------------------ open


def _open(
    project: Project, n: int, mode: Mode, cursor: str | None, cells: Sequence[Cell]
) -> tuple[list[Row], list[str | None], str | None]:
    """Useful ones as long as there are some, then those drawn."""
    rows: list[Row] = []
    whys: list[str | None] = []
    model = project.learned.model
    if mode == "useful" and model is not None:
        start = _place(cursor, model.rev)
        if start is not None:
            at, rows, whys = _useful(project, start, n, cells)
            if at is not None:
                return rows, whys, _cursor([_USEFUL, model.rev, at])
            cursor = None
    passed = _behind(cursor, _AFTER)
    if passed is None:
        after, _ = opened(cursor, "draw")
        passed, why = after or _START, _WHY[_RANDOM] if project.learned.suggests else None
        have = {row.row for row in rows}
        answered = audit.sheet(project).answers
        for row in _drawn(project, cells, n, after):
            if len(rows) == n:
                return rows, whys, _cursor([*passed, project.rev, "draw"])
            passed = _drawn_at(row)
            if row.row not in have and row.path not in answered:
                rows.append(row)
                whys.append(why)
        passed = _START
    again = [row for row in _blindly(project, cells) if _drawn_at(row) > passed]
    more, again = len(again) > n - len(rows), again[: n - len(rows)]
    if again:
        passed = _drawn_at(again[-1])
    next = _cursor([_AFTER, *passed]) if more else None
    return [*rows, *again], [*whys, *[_AGAIN] * len(again)], next


def _drawn(
    project: Project, cells: Sequence[Cell], n: int, after: tuple[Any, int] | None
) -> Iterator[Row]:
    """Open pictures as they were drawn, of near-duplicates the first."""
    while True:
        page = project.index.page(cells, n, order="draw", after=after)
        yield from _first_of_stacks(project, page, cells)
        if len(page) < n:
            return
        after = _drawn_at(page[-1])


def _blindly(project: Project, cells: Sequence[Cell]) -> list[Row]:
    """Open pictures that were answered blind, as they were drawn."""
    open_ = set(cells)
    found = project.index.by_row(audit.sheet(project).rows.tolist()).values()
    rows = [row for row in found if project.index.cell(row.cell) in open_]
    return _first_of_stacks(project, sorted(rows, key=_drawn_at), cells)


def _drawn_at(row: Row) -> tuple[int, int]:
    return row.draw, row.row


def _place(cursor: str | None, rev: int) -> int | None:
    """Where to go on in the order of a model; 0 in a newer one; None: behind all of it."""
    if cursor is None:
        return 0
    found = _behind(cursor, _USEFUL)
    if found is None:
        return None
    of, at = found
    return at if of == rev else 0


def _behind(cursor: str | None, part: str) -> tuple[int, int] | None:
    """The two numbers of a cursor of this part of the queue; None where it is of another."""
    if cursor is None:
        return None
    try:
        said = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
        if len(said) == 3 and said[0] == part:
            _, a, b = said
            if all(type(v) is int and -(2**63) <= v < 2**63 for v in (a, b)) and b >= 0:
                return a, b
            raise InputError("the cursor is none of the queue: begin without one")
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError("the cursor is none of the queue: begin without one") from error
    return None


def _cursor(said: list[Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(said).encode("ascii")).decode("ascii")


def _useful(
    project: Project, start: int, n: int, cells: Sequence[Cell]
) -> tuple[int | None, list[Row], list[str | None]]:
    """Open pictures of the worker's order from a place on; where it goes on, None at its end."""
    model = project.learned.model
    assert model is not None
    order = model["order"][start:]
    mask = project.index.numbers(cells)
    asked = mask[project.index.standing(order)] & ~np.isin(order, audit.sheet(project).rows)
    places = np.flatnonzero(asked)
    chosen = places[:n]
    by_row = project.index.by_row(order[chosen].tolist())
    rows: list[Row] = []
    whys: list[str | None] = []
    for place in chosen.tolist():
        row = by_row.get(int(order[place]))
        if row is not None:
            rows.append(row)
            whys.append(
                _why(int(model["reason"][start + place]), int(model["stands"][start + place]))
            )
    more = len(places) > n
    return (start + int(chosen[-1]) + 1 if more else None), rows, whys


def _why(reason: int, stands: int) -> str | None:
    if reason == _STANDS:
        others = "1 other" if stands == 1 else f"{stands:,} others"
        return f"{_WHY[reason]} {others}" if stands > 0 else None
    return _WHY[reason] if reason < len(_WHY) else None


def _first_of_stacks(project: Project, page: list[Row], cells: Sequence[Cell]) -> list[Row]:
    """Of near-duplicates that are open, the one that was drawn first."""
    of = project.learned.stack_of(np.array([row.row for row in page], dtype=np.int64))
    members = {
        row.row: project.learned.stack(row.row)
        for row, stack in zip(page, of.tolist(), strict=True)
        if stack >= 0
    }
    if not members:
        return page
    rows = project.index.by_row({row for stack in members.values() for row in stack})
    allowed = set(cells)
    draws = {n: (r.draw, r.row) for n, r in rows.items() if project.index.cell(r.cell) in allowed}
    return [
        row
        for row in page
        if row.row not in members
        or (row.draw, row.row) <= min(draws[m] for m in members[row.row] if m in draws)
    ]


# ------------------------------------------------------------------ what is shown


def held_back(row: Row) -> bool:
    """Whether a picture comes without its suggestion: chosen by its draw."""
    return (row.draw >> 7) % _HELD == 0


def served(project: Project, rows: Sequence[Row], whys: Sequence[str | None]) -> list[Queued]:
    """Pictures as the queue shows them, with what led to each."""
    numbers = np.array([row.row for row in rows], dtype=np.int64)
    classes, p = project.learned.top(numbers)
    sizes = project.learned.stack_sizes(numbers).tolist()
    likes = _likes(project, numbers)
    answered = audit.sheet(project).answers
    items: list[Queued] = []
    for at, row in enumerate(rows):
        item = cast(Queued, tile(row))
        if project.learned.suggests:
            first, second = classes[at].tolist()
            hidden = held_back(row)
            item["sug"] = None if hidden else suggestion(first, float(p[at, 0]))
            if not hidden and second != NO_CLASS:
                item["next"] = NO_CLASS if second == NONE_OF_THESE else second
            item["likes"] = [] if hidden else likes[at]
        why = _AGAIN if row.path in answered else whys[at]
        if why is not None:
            item["why"] = why
        if sizes[at] > 1:
            item["stack"] = sizes[at]
        items.append(item)
    return items


def _likes(project: Project, rows: Any) -> list[list[Alike]]:
    """The three answered pictures that are most like each row."""
    features = project.learned.features
    if features is None or not len(rows):
        return [[] for _ in rows]
    cells = {c for c, _ in project.index.cells() if meaning(project, c)[0] == "labelled"}
    mask = project.index.numbers(c for c in cells if c.presence == "here")
    known = features.rows[mask[project.index.standing(features.rows)]]
    known = known[:: max(1, -(-len(known) // _LOOKED_AT))]
    if not len(known):
        return [[] for _ in rows]
    likeness = project.learned.likeness(rows, known)
    likeness[rows[:, None] == known[None, :]] = -1
    k = min(_LIKES, len(known))
    best = np.argpartition(-likeness, k - 1, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(likeness, best, axis=1), axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    by_row = project.index.by_row(set(known[best].ravel().tolist()))
    found: list[list[Alike]] = []
    for at in range(len(rows)):
        near = [by_row[int(r)] for r in known[best[at]] if int(r) in by_row]
        found.append([_alike(project, row) for row in near])
    return found


def _alike(project: Project, row: Row) -> Alike:
    _, live = meaning(project, project.index.cell(row.cell))
    return cast(Alike, {**tile(row), "class": None if live is None else live.id})
