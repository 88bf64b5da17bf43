"""What the page shows: the state, pages of pictures, the queue, one picture, history, problems.

Each reads the index and the book and changes nothing.  Counts are sums over cells, pages are
walks along an index: no view looks at all pictures.
"""

from __future__ import annotations

import base64
import json
import os
from typing import Any, Literal, TypeAlias, cast

from handful import __version__
from handful.errors import InputError
from handful.page.classes import LiveClass
from handful.page.index import Cell, Order, Row, as_text
from handful.page.project import Project
from handful.page.scan import Scanner
from handful.page.schema import (
    ClassInfo,
    Counts,
    Detail,
    Done,
    Failure,
    Filter,
    History,
    HistoryLine,
    Left,
    Page,
    Picture,
    Problem,
    Problems,
    Queue,
    Queued,
    State,
    Task,
)
from handful.page.words import refuse, words
from handful.pool.ids import shown
from handful.types import Event

__all__ = [
    "Mode",
    "class_info", "class_infos", "counts", "detail", "done", "history", "images", "line",
    "meaning", "picture", "problems", "queue", "state", "tasks",
]  # fmt: skip

_BY_YOU = {"hand", "initial", "oracle", "imported", "audit"}
_IN_GROUPS = {"group", "copied"}
Mode: TypeAlias = Literal["random", "later", "unsure"]
_QUEUES: dict[str, tuple[Order, str]] = {
    "random": ("draw", "open"), "later": ("time", "later"), "unsure": ("time", "unsure"),
}  # fmt: skip


# ------------------------------------------------------------------ state


def state(project: Project, scanner: Scanner) -> State:
    """Everything around the work."""
    now = counts(project, scanner)
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
        "person": project.person,
        "label_rev": project.rev,
        "counts": now,
        "classes": class_infos(project),
        "tasks": tasks(scanner),
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
    }


def counts(project: Project, scanner: Scanner) -> Counts:
    """Where the pictures stand."""
    found = dict.fromkeys(Counts.__annotations__, 0)
    for cell, n in project.index.cells():
        if cell.presence != "here":
            found["missing" if cell.presence == "missing" else "problems"] += n
            continue
        found["pictures"] += n
        meant, _ = meaning(project, cell)
        if meant in ("later", "unsure", "none", "broken"):
            found[meant] += n
        if meant in ("open", "later"):
            found["open"] += n
        elif cell.source in _IN_GROUPS:
            found["in_groups"] += n
        else:
            found["by_you" if cell.source in _BY_YOU else "by_model"] += n
    found["others"] = scanner.others.total()
    return cast(Counts, found)


def meaning(project: Project, cell: Cell) -> tuple[str, LiveClass | None]:
    """State and class of a cell now, merges and archives applied."""
    if cell.state != "labelled":
        return cell.state, None
    found = project.classes.now(cell.class_id)
    return ("open", None) if found is None else ("labelled", found)


def class_infos(project: Project) -> list[ClassInfo]:
    """All classes ever made, in the order of their ids, with what counts for them."""
    sums: dict[int, dict[str, int]] = {}
    for cell, n in project.index.cells():
        _, found = meaning(project, cell)
        if cell.presence == "here" and found is not None:
            of = sums.setdefault(found.id, {"by_you": 0, "in_groups": 0, "by_model": 0})
            by = "by_you" if cell.source in _BY_YOU else "by_model"
            of["in_groups" if cell.source in _IN_GROUPS else by] += n
    infos: list[ClassInfo] = []
    for c in project.classes.items:
        of = sums.get(c.id, {"by_you": 0, "in_groups": 0, "by_model": 0})
        infos.append({
            "id": c.id, "name": c.name, "key": c.key if c.live else None, "look": c.look,
            "archived": c.archived or not c.made, "merged_into": c.merged_into,
            "pictures": sum(of.values()), "by_you": of["by_you"], "in_groups": of["in_groups"],
            "by_model": of["by_model"],
        })  # fmt: skip
    return infos


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
    cell = project.index.cell(row.cell)
    meant, found = meaning(project, cell)
    return cast(Picture, {
        "id": row.id, "v": _version(row), "w": row.w, "h": row.h, "name": shown(row.path),
        "presence": cell.presence, "state": meant, "class": found.id if found else None,
        "source": cell.source if meant != "open" else None, "person": cell.person,
        "at": row.at or None,
    })  # fmt: skip


def _version(row: Row) -> str | None:
    return row.sha256[:16] if row.sha256 else None


def images(project: Project, wanted: Filter, sort: str, cursor: str | None, limit: int) -> Page:
    """A page of pictures; sorted by ``name`` or ``time``, a minus before it turns it round."""
    down, order = sort.startswith("-"), cast(Order, sort.removeprefix("-"))
    folder = wanted.get("folder", "").strip("/")
    if folder and order != "name":
        refuse("request", "Pictures of one folder are sorted by name.", status=400)
    after, rev = _opened(cursor, order)
    with project.lock:
        cells = [c for c, _ in project.index.cells() if _fits(project, c, wanted)]
        rows = project.index.page(
            cells, limit + 1, order=order, down=down, after=after, folder=folder
        )
        total, exact = project.index.count(cells, folder)
        return {
            "items": [picture(project, row) for row in rows[:limit]],
            "next": _closed(rows[limit - 1], order, project.rev) if len(rows) > limit else None,
            "total": total,
            "total_exact": exact,
            "stale": rev is not None and rev < project.rev,
            "label_rev": project.rev,
        }


def _fits(project: Project, cell: Cell, wanted: Filter) -> bool:
    meant, found = meaning(project, cell)
    tests: list[tuple[str, Any]] = [
        ("class", found.id if found else None), ("state", meant),
        ("source", cell.source if meant != "open" else None), ("person", cell.person),
    ]  # fmt: skip
    if cell.presence not in wanted.get("presence", ["here"]):
        return False
    return all(value in cast(Any, wanted)[name] for name, value in tests if name in wanted)


def _opened(cursor: str | None, order: Order) -> tuple[tuple[Any, int] | None, int | None]:
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


def _closed(row: Row, order: Order, rev: int) -> str:
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
            "sha256": row.sha256,
            "bytes": row.size if row.size is not None and row.size >= 0 else None,
            "kind": row.kind,
            "pages": row.pages,
            "problem": problem,
            "history": [line(project, event) for event in reversed(said[-50:])],
            "label_rev": project.rev,
        }


# ------------------------------------------------------------------ the queue


def queue(project: Project, n: int, mode: Mode, cursor: str | None) -> Queue:
    """What to answer next: open pictures in an order drawn once, or those put off, oldest first.

    Blind by construction: what is served leads to no answer.
    """
    order, state = _QUEUES[mode]
    after, _ = _opened(cursor, order)
    with project.lock:
        piles: dict[str, list[Cell]] = {"open": [], "later": [], "unsure": []}
        for cell, _n in project.index.cells():
            meant = meaning(project, cell)[0]
            if cell.presence == "here" and meant in piles:
                piles[meant].append(cell)
        rows = project.index.page(piles[state], n + 1, order=order, after=after)
        left = {name: project.index.count(cells)[0] for name, cells in piles.items()}
        items: list[Queued] = [{"id": r.id, "v": _version(r), "w": r.w, "h": r.h} for r in rows[:n]]
        return {
            "items": items,
            "mode": mode,
            "left": cast(Left, left),
            "next": _closed(rows[n - 1], order, project.rev) if len(rows) > n else None,
            "label_rev": project.rev,
        }


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
    after, _ = _opened(cursor, "name")
    with project.lock:
        cells = [c for c, _ in project.index.cells() if c.presence == "unreadable"]
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
            "next": _closed(rows[limit - 1], "name", project.rev) if len(rows) > limit else None,
            "others": {shown(kind): n for kind, n in scanner.others.most_common(100)},
        }
