"""What the page shows: the state, pages of pictures, one picture, history, problems.

Each reads the index and the book and changes nothing.  Counts are sums over cells, pages are
walks along an index: no view looks at all pictures.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from handful import __version__
from handful.errors import InputError
from handful.page import audit
from handful.page.advice import advise
from handful.page.classes import LiveClass
from handful.page.index import Cell, Order, Row, as_text
from handful.page.labels import meaning, side_of
from handful.page.learned import NO_CLASS, NONE_OF_THESE, SURE, words_of
from handful.page.project import Project
from handful.page.scan import Scanner
from handful.page.schema import (
    ClassInfo,
    Counts,
    Detail,
    Done,
    Failure,
    Filter,
    Guide,
    History,
    HistoryLine,
    Page,
    People,
    Picture,
    Problem,
    Problems,
    Seen,
    State,
    StreamLearned,
    Suggestion,
    Task,
)
from handful.page.settings import goal, person, settings
from handful.page.words import refuse, words
from handful.pool.ids import shown
from handful.types import Event

__all__ = [
    "class_info", "class_infos", "closed", "counts", "detail", "done", "history", "images",
    "learned", "line", "opened", "picture", "pictures", "problems", "state", "suggestion",
    "tasks", "tile", "version",
]  # fmt: skip


_STACK_SHOWN = 100  # near-duplicates that one picture names

# ------------------------------------------------------------------ state


def state(
    project: Project,
    scanner: Scanner,
    working: Sequence[Task] = (),
    trouble: str | None = None,
    people: People | None = None,
) -> State:
    """Everything around the work; ``working``, ``trouble``: what the worker does, or why not."""
    now, infos = counts(project, scanner), class_infos(project)
    pace = project.pace
    failure: Failure | None = None
    if scanner.error is not None:
        reason = f"This folder cannot be read: {scanner.error}."
        failure = {"id": "E2", "text": f"{reason} Check it, then run the same command again."}
    return {
        "project": {
            "folder": shown(os.path.basename(os.path.realpath(project.folder))),
            "place": project.where,
            "read_only": project.read_only,
            "version": __version__,
        },
        "person": person(project),
        "label_rev": project.rev,
        "counts": now,
        "classes": infos,
        "tasks": [*tasks(scanner), *working],
        "scan": {
            "added": scanner.result["added"],
            "missing": scanner.result["missing"],
            "moved": scanner.result["moved"],
            "changed": scanner.result["changed"],
            "back": scanner.result["back"],
        },
        "storage": {"ok": failure is None, "error": failure},
        "undo": done(project, project.done),
        "redo": done(project, project.redo),
        "first_visit": project.answered == 0,
        "scanning": scanner.busy,
        "pace_s": pace,
        "left_s": None if pace is None else pace * now["open"],
        **learned(project),
        "advice": advise(project, infos),
        "audit": audit.standing(project),
        "goal": goal(project),
        "settings": settings(project),
        "people": people,
        "trouble": trouble,
    }


def learned(project: Project) -> StreamLearned:
    """What the worker has published so far."""
    found = project.learned
    return {
        "model_rev": found.rev("model"),
        "groups_rev": found.rev("groups"),
        "map_rev": found.rev("map"),
        "features": found.source,
        "first_look": audit.first_look(project) > 0,
    }


def counts(project: Project, scanner: Scanner) -> Counts:
    """Where the pictures stand; see `Counts` for what counts where."""
    found = dict.fromkeys(Counts.__annotations__, 0)
    sure = project.learned.sure_by_cell()
    for number, cell, n in project.index.numbered():
        if cell.presence != "here":
            where = "missing" if cell.presence == "missing" else "problems"
            found[where] += n if where == "missing" or cell.state != "broken" else 0
            continue
        found["pictures"] += n
        meant, _ = meaning(project, cell)
        if meant in ("later", "unsure", "none", "broken"):
            found[meant] += n
        if meant == "open":
            guessed = sum(sure.get(number, {}).values())
            found["by_model"] += guessed
            found["open"] += n - guessed
        elif meant == "later":
            found["open"] += n
        else:
            found[side_of(cell.source)] += n
    for blind in _blind(project):
        found["by_you"] += 1
        found["open" if blind.guess is None else "by_model"] -= 1
    found["others"] = scanner.others.total()
    return cast(Counts, found)


class _Blind(NamedTuple):
    """A picture that has a blind answer and no other."""

    answer: int | None  # a class
    guess: int | None  # what it would count for by the model


def _blind(project: Project) -> list[_Blind]:
    """Pictures that were answered blind and not otherwise: they count by you."""
    with project.lock:
        sheet = audit.sheet(project)
        if not len(sheet.rows):
            return []
        cells, standing = project.index.named(), project.index.standing(sheet.rows)
        classes, p = project.learned.suggestions(sheet.rows)
        found: list[_Blind] = []
        for event, number, guess, sure in zip(
            sheet.events, standing.tolist(), classes.tolist(), (p >= SURE).tolist(), strict=True
        ):
            cell = cells.get(number)
            meant = "" if cell is None else meaning(project, cell)[0]
            if cell is None or cell.presence != "here" or meant not in ("open", "later"):
                continue
            live = None if "class" not in event.data else project.classes.now(event.data["class"])
            counts = sure and meant == "open" and guess != NO_CLASS
            found.append(_Blind(live.id if live else None, guess if counts else None))
        return found


def class_infos(project: Project) -> list[ClassInfo]:
    """All classes ever made, in the order of their ids, with what counts for them."""
    n = len(project.classes.items)
    sums = [{"by_you": 0, "in_groups": 0, "by_model": 0} for _ in range(n)]
    sure = project.learned.sure_by_cell()
    for number, cell, count in project.index.numbered():
        if cell.presence != "here":
            continue
        meant, found = meaning(project, cell)
        if found is not None:
            sums[found.id][side_of(cell.source)] += count
        elif meant == "open":
            for id, guessed in sure.get(number, {}).items():
                if 0 <= id < n:
                    sums[id]["by_model"] += guessed
    for blind in _blind(project):
        if blind.answer is not None:
            sums[blind.answer]["by_you"] += 1
        if blind.guess is not None and blind.guess >= 0:
            sums[blind.guess]["by_model"] -= 1
    return [
        {
            "id": c.id, "name": c.name, "key": c.key if c.live else None, "look": c.look,
            "archived": c.archived or not c.made, "merged_into": c.merged_into,
            "pictures": sum(of.values()), "by_you": of["by_you"], "in_groups": of["in_groups"],
            "by_model": of["by_model"], "guide": _guide(project, c),
        }
        for c, of in zip(project.classes.items, sums, strict=True)
    ]  # fmt: skip


def _guide(project: Project, of: LiveClass) -> Guide:
    if not of.guide:
        return {"text": "", "examples": [], "nots": []}
    return {
        "text": str(of.guide.get("text", "")),
        "examples": _tiles(project, of.guide.get("examples", ())),
        "nots": _tiles(project, of.guide.get("nots", ())),
    }


def _tiles(project: Project, images: Iterable[str]) -> list[Seen]:
    """Pictures by the names that the book has for them, those that are here."""
    names = [project.now(image) for image in images]
    rows = project.index.of(names)
    found = [rows[name] for name in names if name in rows]
    return [tile(r) for r in found if project.index.cell(r.cell).presence == "here"]


def tile(row: Row) -> Seen:
    """A picture and nothing that was said of it."""
    seen: Seen = {"id": row.id, "v": version(row), "w": row.w, "h": row.h}
    if (row.pages or 1) > 1:
        seen["pages"] = row.pages or 1
    return seen


def class_info(project: Project, id: int) -> ClassInfo:
    """One class."""
    return class_infos(project)[id]


def tasks(scanner: Scanner) -> list[Task]:
    """What is under way."""
    return [
        {"name": w.name, "text": w.text, "done": w.done, "total": w.total, "eta_s": w.eta}
        for w in list(scanner.work.values())
    ]


def done(project: Project, stacks: dict[str, list[str]]) -> Done | None:
    """The decision that an undo (or a redo) would take."""
    with project.lock:
        stack = stacks.get(project.person)
        event = project.book.find(stack[-1]) if stack else None
        if event is None:
            return None
        return {"id": event.id, "text": words(event, project.classes)}


# ------------------------------------------------------------------ pictures


def picture(project: Project, row: Row) -> Picture:
    """One picture as a tile needs it."""
    return pictures(project, [row])[0]


def pictures(project: Project, rows: Sequence[Row]) -> list[Picture]:
    """Pictures as tiles need them."""
    numbers = np.array([row.row for row in rows], dtype=np.int64)
    classes, p = project.learned.suggestions(numbers)
    stacks = project.learned.stack_sizes(numbers).tolist()
    found: list[Picture] = []
    for row, guess, sure, stack in zip(rows, classes.tolist(), p.tolist(), stacks, strict=True):
        cell = project.index.cell(row.cell)
        meant, live = meaning(project, cell)
        free = meant in ("open", "later")
        found.append(cast(Picture, {
            **tile(row), "name": shown(row.path),
            "presence": cell.presence, "state": meant, "class": live.id if live else None,
            "source": cell.source if meant != "open" else None, "person": cell.person,
            "at": row.at or None, "sug": suggestion(guess, sure) if free else None,
            "stack": stack,
        }))  # fmt: skip
    return found


def suggestion(id: int, p: float) -> Suggestion | None:
    """A suggestion as the page shows it."""
    if id == NO_CLASS:
        return None
    return {"class": None if id == NONE_OF_THESE else id, "p": p, "words": words_of(p)}


def version(row: Row) -> str | None:
    """What a thumbnail's address carries of its content."""
    return row.sha256[:16] if row.sha256 else None


def images(project: Project, wanted: Filter, sort: str, cursor: str | None, limit: int) -> Page:
    """A page of pictures; sorted by ``name`` or ``time``, a minus before it turns it round."""
    if "ids" in wanted:
        return _these(project, wanted)
    down, order = sort.startswith("-"), cast(Order, sort.removeprefix("-"))
    folder = wanted.get("folder", "").strip("/")
    if folder and order != "name":
        refuse("request", "Pictures of one folder are sorted by name.", status=400)
    after, rev = opened(cursor, order)
    with project.lock:
        cells = [c for c, _ in project.index.cells() if _fits(project, c, wanted)]
        rows = project.index.page(
            cells, limit + 1, order=order, down=down, after=after, folder=folder
        )
        total, exact = project.index.count(cells, folder)
        return {
            "items": pictures(project, rows[:limit]),
            "next": closed(rows[limit - 1], order, project.rev) if len(rows) > limit else None,
            "total": total,
            "total_exact": exact,
            "stale": rev is not None and rev < project.rev,
            "label_rev": project.rev,
        }


def _these(project: Project, wanted: Filter) -> Page:
    """Pictures by their ids, in the order given, as far as they fit the rest."""
    with project.lock:
        found = project.index.by_id(set(wanted["ids"]))
        rows = [found[id] for id in wanted["ids"] if id in found]
        rows = [row for row in rows if _fits(project, project.index.cell(row.cell), wanted)]
        return {
            "items": pictures(project, rows), "next": None, "total": len(rows),
            "total_exact": True, "stale": False, "label_rev": project.rev,
        }  # fmt: skip


def _fits(project: Project, cell: Cell, wanted: Filter) -> bool:
    meant, found = meaning(project, cell)
    tests: list[tuple[str, Any]] = [
        ("class", found.id if found else None), ("state", meant),
        ("source", cell.source if meant != "open" else None), ("person", cell.person),
    ]  # fmt: skip
    if cell.presence not in wanted.get("presence", ["here"]):
        return False
    return all(value in cast(Any, wanted)[name] for name, value in tests if name in wanted)


def opened(cursor: str | None, order: Order) -> tuple[tuple[Any, int] | None, int | None]:
    """Where a page begins, and the revision its cursor comes from."""
    if cursor is None:
        return None, None
    try:
        said = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
        key, row, rev, of = said
        fits = isinstance(key, str if order == "name" else int | float)
        if not fits or of != order or type(row) is not int or type(rev) is not int:
            raise ValueError("of another view")
        if abs(row) >= 2**63 or (order != "name" and abs(key) >= 2**63):
            raise ValueError("out of bounds")
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError("the cursor is none of this view: begin without one") from error
    return (key.encode("utf-8", "surrogatepass") if order == "name" else key, row), rev


def closed(row: Row, order: Order, rev: int) -> str:
    """The cursor behind a picture."""
    key = {"name": row.path, "time": row.at, "draw": row.draw}[order]
    said = json.dumps([as_text(key), row.row, rev, order])
    return base64.urlsafe_b64encode(said.encode("ascii")).decode("ascii")


def detail(project: Project, id: str) -> Detail:
    """One picture in full, with what was said of it."""
    with project.lock:
        row = project.index.find(id)
        if row is None:
            refuse("gone", "There is no such picture.", status=404)
        said = project.book.about(row.path)
        problem: Failure | None = None
        if row.problem is not None:
            problem = {"id": row.problem, "text": row.reason or ""}
        return {
            "picture": picture(project, row),
            "stack": _stack(project, row),
            "sha256": row.sha256,
            "bytes": row.size if row.size is not None and row.size >= 0 else None,
            "kind": row.kind,
            "pages": row.pages,
            "problem": problem,
            "history": [line(project, event) for event in reversed(said[-50:])],
            "label_rev": project.rev,
        }


def _stack(project: Project, row: Row) -> list[Seen]:
    members = project.learned.stack(row.row)[:_STACK_SHOWN]
    return [tile(one) for one in project.index.by_row(members).values()] if len(members) > 1 else []


# ------------------------------------------------------------------ history and problems


def history(project: Project, cursor: str | None, limit: int) -> History:
    """Events in words, the newest first."""
    with project.lock:
        top = project.rev
        if cursor is not None:
            if not cursor.isdecimal() or len(cursor) > 15:
                raise InputError("the cursor is none of the history: begin without one")
            top = min(top, int(cursor))
        low = max(0, top - limit)
        items = [line(project, project.book.event(seq)) for seq in range(top, low, -1)]
        return {"items": items, "next": str(low) if low else None, "label_rev": project.rev}


def line(project: Project, event: Event) -> HistoryLine:
    """One event in words."""
    text = words(event, project.classes)
    if event.kind in ("undone", "redone"):
        target = project.book.find(event.undoes or "")
        of = words(target, project.classes) if target is not None else ""
        text = f"{'Undone' if event.kind == 'undone' else 'Done again'}: {of}"
    return {
        "id": event.id,
        "seq": event.seq,
        "at": event.at,
        "person": event.person,
        "kind": event.kind,
        "text": text,
        "undone": not project.book.alive(event),
    }


def problems(project: Project, scanner: Scanner, cursor: str | None, limit: int) -> Problems:
    """Files that cannot be used, by name, with the reason."""
    after, _ = opened(cursor, "name")
    with project.lock:
        cells = [
            c for c, _ in project.index.cells()
            if c.presence == "unreadable" and c.state != "broken"  # that one was left out
        ]  # fmt: skip
        rows = project.index.page(cells, limit + 1, after=after)
        items: list[Problem] = [
            {
                "id": row.id,
                "name": shown(row.path),
                "problem": {"id": row.problem or "", "text": row.reason or ""},
            }
            for row in rows[:limit]
        ]
        return {
            "items": items,
            "total": project.index.count(cells)[0],
            "next": closed(rows[limit - 1], "name", project.rev) if len(rows) > limit else None,
            "others": {shown(kind): n for kind, n in scanner.others.most_common(100)},
        }
