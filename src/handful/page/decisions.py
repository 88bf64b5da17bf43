"""What people decide: undo and redo, classes; each becomes an event or is refused.

A decision is durable before it is confirmed, done once whatever its repeats (by its id), and
refused when it was made on a view that somebody else has changed since.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from handful.page.classes import LONGEST, LiveClass, clean
from handful.page.project import Project
from handful.page.schema import (
    Archive,
    ClassChange,
    GuideChange,
    Merge,
    NewClass,
)
from handful.page.words import name_taken, refuse, stale, words
from handful.types import Event

__all__ = [
    "Took", "archive_class", "change_class", "created", "make_class", "merge_class", "named",
    "pictures_of", "turn",
]  # fmt: skip


# ------------------------------------------------------------------ undo and redo


@dataclass(frozen=True, slots=True)
class Took:
    """What an undo or redo did: the decision, and how many pictures follow it or stay."""

    event: Event | None
    affected: int
    kept: int
    text: str


def turn(project: Project, kind: str, id: str) -> Took:
    """``undone`` or ``redone``: the last decision of this person, back or forth."""
    with project.lock:
        earlier = project.book.find(id)
        if earlier is not None:  # a repeat: say what was done then
            target = project.book.find(earlier.undoes or "")
            text = words(target, project.classes) if target else "nothing"
            return Took(target, 0, 0, _said(kind, text))
        stacks = project.done if kind == "undone" else project.redo
        stack = stacks.get(project.person) or []
        if not stack:
            what = "undo" if kind == "undone" else "do again"
            return Took(None, 0, 0, f"There is nothing to {what}.")
        target = project.book.find(stack[-1])
        assert target is not None
        _check_names(project, kind, target)
        text = words(target, project.classes)
        paths = project.book.concerns(target)
        before = {path: project.book.said(path) for path in paths}
        touched = _of_class(project, target)
        project.append([Event(kind, id, {}, person=project.person, undoes=target.id)])
        if target.kind == "setting_changed":
            project.tell("advice")
        if target.kind == "audit_answered":  # beside the label: nothing else answers for it
            return Took(target, 1, 0, _said(kind, text))
        if not paths:
            return Took(target, max(touched, _of_class(project, target)), 0, _said(kind, text))
        after = {path: project.book.said(path) for path in paths}
        stays = [path for path in paths if before[path] == after[path]]
        kept = [path for path in stays if before[path].seq > target.seq]
        affected = len(paths) - len(stays)
        if kept:
            who = before[kept[0]].person or "Somebody"
            begin = "Undone" if kind == "undone" else "Done again"
            of = f"{affected:,} of {affected + len(kept):,}"
            said = f"{begin} for {of}. {who} has answered {len(kept):,} of them since;"
            return Took(target, affected, len(kept), f"{said} those answers stay.")
        return Took(target, affected, 0, _said(kind, text))


def _said(kind: str, text: str) -> str:
    return f"Undone: {text}" if kind == "undone" else f"Done again: {text}"


def _check_names(project: Project, kind: str, target: Event) -> None:
    """An undo never leaves two classes of one name."""
    only = {target.id}
    back = kind == "undone"
    clash = project.classes_if(dead=only if back else (), alive=() if back else only).clash()
    if clash is not None:
        refuse(
            "E10",
            f'This would make two classes "{clash.name}". Rename the other one first;'
            " nothing was done.",
            class_id=clash.id,
        )


def _of_class(project: Project, event: Event) -> int:
    """Pictures that count for the class of an event about a class."""
    if not event.kind.startswith("class_"):
        return 0
    return pictures_of(project, event.data["class"])


def pictures_of(project: Project, id: int) -> int:
    """How many pictures were given a class by this id, wherever that leads now."""
    return sum(
        n for cell, n in project.index.cells()
        if cell.state == "labelled" and cell.class_id == id and cell.presence == "here"
    )  # fmt: skip


# ------------------------------------------------------------------ classes


def named(name: str) -> str:
    """A name as it is kept; refused (E10) when nothing of it is left, or too much."""
    name = clean(name)
    if not 1 <= len(name) <= LONGEST:
        refuse("E10", f"A class name has 1 to {LONGEST} characters.", status=400)
    return name


def make_class(project: Project, asked: NewClass) -> tuple[LiveClass, int]:
    """Make a class; a repeat gives the one that was made."""
    with project.lock:
        if (repeated := project.book.find(asked["id"])) is not None:
            return _repeated(project, repeated), 0
        name = named(asked["name"])
        if (found := project.classes.named(name)) is not None:
            name_taken(found.name, found.id)
        key = asked.get("key")
        if key is not None and (holder := project.classes.with_key(key)) is not None:
            _key_taken(key, holder)
        made = created(project, asked["id"], name, key)
        if "split_from" in asked:  # what was answered blind as that class is asked again
            _live(project, asked["split_from"], asked["id"], asked["seen_rev"])
            made = replace(made, data={**made.data, "split_from": asked["split_from"]})
        project.append([made])
        return project.classes.items[-1], 0


def change_class(project: Project, id: int, asked: ClassChange) -> tuple[LiveClass, int]:
    """Rename, give a key, a look or a guide: one change a request."""
    with project.lock:
        if (repeated := project.book.find(asked["id"])) is not None:
            return _repeated(project, repeated), 0
        changed = _live(project, id, asked["id"], asked["seen_rev"])
        wanted = [field for field in ("name", "key", "look", "guide") if field in asked]
        if len(wanted) != 1:
            refuse("request", "Change one of name, key, look, guide at a time.", status=400)
        data: dict[str, Any] = {"class": id}
        if wanted == ["name"]:
            name = named(asked["name"])
            found = project.classes.named(name)
            if found is not None and found.id != id:
                name_taken(found.name, found.id)
            kind, data["old"], data["new"] = "class_renamed", changed.name, name
        elif wanted == ["key"]:
            kind, data["old"], data["new"] = "class_key_set", changed.key, asked["key"]
            holder = project.classes.with_key(asked["key"])
            if holder is not None and holder.id != id:
                if not asked.get("swap"):
                    _key_taken(asked["key"], holder)
                data["swap"] = holder.id
        elif wanted == ["look"]:
            kind, data["old"], data["new"] = "class_look_set", changed.look, asked["look"]
        else:
            kind, data["old"] = "class_guide_set", dict(changed.guide)
            data["new"] = _guide(project, asked["guide"])
        if data["old"] != data["new"]:
            project.append([_by(project, kind, asked, data)])
        return project.classes.items[id], 0


def _guide(project: Project, asked: GuideChange) -> dict[str, Any]:
    """A guide as the book keeps it: pictures by the names that the book knows them by."""
    lists: dict[str, list[str]] = {"examples": asked["examples"], "nots": asked["nots"]}
    rows = project.index.by_id([id for ids in lists.values() for id in ids])
    if any(id not in rows for ids in lists.values() for id in ids):
        refuse("gone", "This picture is not in the folder any more. Nothing was done.")
    paths = {name: [rows[id].path for id in dict.fromkeys(ids)] for name, ids in lists.items()}
    return {"text": " ".join(asked["text"].split()), **paths}


def merge_class(project: Project, id: int, asked: Merge) -> tuple[LiveClass, int]:
    """Merge a class into another: its pictures count for that one."""
    with project.lock:
        if (repeated := project.book.find(asked["id"])) is not None:
            return _repeated(project, repeated), 0
        _live(project, id, asked["id"], asked["seen_rev"])
        into = _live(project, asked["into"], asked["id"], asked["seen_rev"])
        if into.id == id:
            refuse("request", "A class cannot be merged into itself.", status=400)
        moved = _counted(project, id)
        project.append([_by(project, "class_merged", asked, {"class": id, "into": into.id})])
        return project.classes.items[into.id], moved


def archive_class(project: Project, id: int, asked: Archive) -> tuple[LiveClass, int]:
    """Put a class away: its pictures become open."""
    with project.lock:
        if (repeated := project.book.find(asked["id"])) is not None:
            return _repeated(project, repeated), 0
        _live(project, id, asked["id"], asked["seen_rev"])
        moved = _counted(project, id)
        project.append([_by(project, "class_archived", asked, {"class": id})])
        return project.classes.items[id], moved


def _counted(project: Project, id: int) -> int:
    """Pictures that count for a class now, those merged into it included."""
    total = 0
    for cell, n in project.index.cells():
        if cell.state == "labelled" and cell.presence == "here":
            now = project.classes.now(cell.class_id)
            total += n if now is not None and now.id == id else 0
    return total


def _live(project: Project, id: int, event_id: str, seen_rev: int) -> LiveClass:
    """A class that may be changed; E12 when another tab changed it since."""
    items = project.classes.items
    if id >= len(items) or not items[id].made:
        refuse("class", "There is no such class. Nothing was done.", status=404)
    found = items[id]
    if found.merged_into is not None:
        into = project.classes.now(id)
        stale(f'"{found.name}" is now part of "{into.name if into else "?"}"')
    if found.archived:
        stale(f'"{found.name}" is archived')
    last = project.last_change(id)
    own_tab = event_id.rpartition(".")[0]
    if last is not None and last.seq > seen_rev and last.id.rpartition(".")[0] != own_tab:
        stale(f'"{last.data.get("old", found.name)}" is now "{found.name}"')
    return found


def _repeated(project: Project, event: Event) -> LiveClass:
    items, id = project.classes.items, int(event.data.get("class", -1))
    if not 0 <= id < len(items):
        refuse("request", "This id belongs to another decision.", status=400)
    return items[id]


def _key_taken(key: str, holder: LiveClass) -> None:
    refuse(
        "E11",
        f'{key.upper()} belongs to "{holder.name}". Press another key or swap them.',
        class_id=holder.id,
    )


def created(project: Project, id: str, name: str, key: str | None = None) -> Event:
    """The event that makes a class."""
    classes = project.classes
    number = len(classes.items)
    data: dict[str, Any] = {"class": number, "name": name, "key": key or classes.free_key()}
    return Event("class_created", id, data, person=project.person)


def _by(
    project: Project, kind: str, asked: ClassChange | Merge | Archive, data: dict[str, Any]
) -> Event:
    return Event(kind, asked["id"], data, person=project.person, seen_rev=asked["seen_rev"])
