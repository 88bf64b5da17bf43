"""Labels from a file into a project: first what would change, then all of it or nothing.

::

    file --read_any--> Incoming --Plan--> new, change, same, not found, new classes
                                  └─apply─> one ``import_applied`` event, undone by one key

A row finds its picture by its path, else by its content, else by the end of its path when that
fits one picture alone.  Nothing is done before somebody has seen the numbers, and nothing when
they would be others by then.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple

from handful.book import Standing
from handful.exports import Fault, Incoming, Said
from handful.page.classes import KEYS, LONGEST, ClassList, clean
from handful.page.index import Row
from handful.page.project import Project
from handful.page.words import refuse, stale
from handful.paths import from_text
from handful.pool.ids import counted, shown
from handful.types import Event

__all__ = ["Change", "Plan", "apply", "check_fresh", "plan"]

_MOST_CLASSES = 2_000
_LISTED = 100  # names that are shown; all are counted
_BLOCK = 500


class Change(NamedTuple):
    """What a row would do: ``label`` None: a state; ``class_id`` None: the class is new."""

    row: Row
    label: str | None
    class_id: int | None
    state: str
    before: Standing


@dataclass
class Plan:
    """See above; ``missing`` are names that no picture has, each list complete."""

    form: str
    rows: int = 0
    new: list[Change] = field(default_factory=list)
    change: list[Change] = field(default_factory=list)
    same: int = 0
    missing: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    faulty: int = 0
    empty: int = 0
    guesses: int = 0
    by_content: int = 0
    by_end: int = 0
    classes: list[tuple[str, int]] = field(default_factory=list)  # to be made, with their pictures

    @cached_property
    def hash(self) -> str:
        """The same for the same changes to the same pictures as they stand."""
        said = sha256()
        for kind, changes in (("new", self.new), ("change", self.change)):
            for c in changes:
                line = [kind, c.row.path, c.label, c.state, c.class_id, c.before.seq]
                said.update(json.dumps(line).encode() + b"\n")
        return said.hexdigest()

    @property
    def text(self) -> str:
        """``1,180 new labels, 14 would change, 3 files not found.``"""
        parts = [counted(len(self.new), "new label"), f"{len(self.change):,} would change"]
        if self.missing:
            parts.append(f"{counted(len(self.missing), 'file')} not found")
        return ", ".join(parts) + "."

    @property
    def left_out(self) -> str | None:
        """E14: what names files that are not here; None when all are."""
        if not self.missing:
            return None
        of = f"{len(self.missing):,} of {counted(self.rows, 'row')}"
        names = "names a file that is" if len(self.missing) == 1 else "name files that are"
        return f"{of} {names} not here. They are listed below and left out."


def plan(project: Project, incoming: Incoming, *, guesses: bool = False) -> Plan:
    """What the rows would do to the project as it is now; nothing is changed.

    ``guesses``: what a model said counts as well.  Refused when there are too many classes.
    """
    said = [*incoming.said, *(incoming.guessed if guesses else ())]
    made = Plan(
        incoming.form, rows=incoming.rows, faults=list(incoming.faults), faulty=incoming.faulty,
        empty=incoming.empty, guesses=0 if guesses else len(incoming.guessed),
    )  # fmt: skip
    with project.lock:
        finder = _Finder(project, said)
        names = _Names(project.classes, project)
        taken: dict[int, tuple[Said, Row]] = {}
        conflicts: dict[int, str] = {}
        for one in said:
            row = finder.row(one)
            if row is None:
                made.missing.append(one.path or (one.sha256 or "")[:16])
                continue
            earlier = taken.setdefault(row.row, (one, row))[0]
            if names.key(earlier) != names.key(one):
                conflicts[row.row] = row.path
        made.conflicts = list(conflicts.values())
        made.by_content, made.by_end = finder.by_content, finder.by_end
        for number, (one, row) in taken.items():
            if number not in conflicts:
                _compare(project, made, names, one, row)
    made.classes = names.fresh([*made.new, *made.change])
    return made


def _compare(project: Project, made: Plan, names: _Names, one: Said, row: Row) -> None:
    """Put one row where it belongs: new, a change, the same, or a fault."""
    label, class_id = None, None
    if one.state == "labelled":
        label = names.clean(one.label or "")
        if not 1 <= len(label) <= LONGEST:
            made.faulty += 1
            if len(made.faults) < _LISTED:
                text = f"{shown(row.path)}: a class name has 1 to {LONGEST} characters"
                made.faults.append(Fault(0, text))
            return
        class_id = names.id(label)
    before = project.book.standing(row.path, audited=True)
    change = Change(row, label, class_id, one.state, before)
    if before.state == "labelled" and project.classes.now(before.class_id) is None:
        before = Standing()
    now = project.classes.now(before.class_id) if before.state == "labelled" else None
    if before.state in ("open", "later") and one.state != before.state:
        made.new.append(change)
    elif before.state == one.state and (now.id if now else None) == class_id:
        made.same += 1
    else:
        made.change.append(change)


class _Names:
    """Which class a name stands for."""

    def __init__(self, classes: ClassList, project: Project) -> None:
        self.classes, self.book = classes, project.book
        self._clean: dict[str, str] = {}
        self._ids: dict[str, int | None] = {}
        self._order: dict[str, tuple[float, int]] = {}
        self._spelt: dict[str, str] = {}

    def clean(self, name: str) -> str:
        if name not in self._clean:
            self._clean[name] = clean(name)
        return self._clean[name]

    def key(self, said: Said) -> tuple[str, str]:
        """Two rows of one key say the same."""
        fold = self.clean(said.label or "").casefold()
        if said.label and fold not in self._order:
            order = float("inf") if said.class_id is None else said.class_id
            self._order[fold] = (order, len(self._order))
            self._spelt[fold] = self.clean(said.label)
            if len(self._order) > _MOST_CLASSES:
                refuse(
                    "import", f"More than {_MOST_CLASSES:,} classes: is this the column of classes?"
                    " Nothing was done.", status=400,
                )  # fmt: skip
        return said.state, fold

    def id(self, name: str) -> int | None:
        """Id of the class in use: of this name, or that one of this name was merged into."""
        fold = name.casefold()
        if fold not in self._ids:
            found = self.classes.named(name)
            if found is None:
                merged = [c for c in self.classes.items if c.made and c.merged_into is not None]
                leads = [self.classes.now(c.id) for c in merged if c.name.casefold() == fold]
                found = next((c for c in reversed(leads) if c is not None), None)
            self._ids[fold] = None if found is None else found.id
        return self._ids[fold]

    def fresh(self, changes: Sequence[Change]) -> list[tuple[str, int]]:
        """Classes that must be made, in the order in which they were made where they come from."""
        n = Counter(c.label.casefold() for c in changes if c.label and c.class_id is None)
        return [(self._spelt[fold], n[fold]) for fold in sorted(n, key=self._order.__getitem__)]


class _Finder:
    """Finds the picture of a row; the folder is gone through only when names and contents fail."""

    def __init__(self, project: Project, said: Sequence[Said]) -> None:
        self.index = project.index
        self.by_content = self.by_end = 0
        paths = {name for one in said for name in _written(one.path)}
        self._by_path = self.index.of(list(paths))
        self._ends: dict[str, list[Row]] | None = None

    def row(self, said: Said) -> Row | None:
        for name in _written(said.path):
            found = self._by_path.get(name)
            if found is not None and self._here(found):
                return found
        if said.sha256:
            alike = [row for row in self.index.like(said.sha256.lower()) if self._here(row)]
            if len(alike) == 1:
                self.by_content += 1
                return alike[0]
        found = self._by_its_end(said.path)
        self.by_end += found is not None
        return found

    def _here(self, row: Row) -> bool:
        return self.index.cell(row.cell).presence != "missing"

    def _by_its_end(self, path: str) -> Row | None:
        """The one picture whose path ends as this one does, or the other way round."""
        if self._ends is None:
            self._ends = {}
            for row in self._all():
                if self._here(row):
                    self._ends.setdefault(row.path.rpartition("/")[2], []).append(row)
        for name in _written(path.replace("\\", "/")):
            found = [
                row for row in self._ends.get(name.rpartition("/")[2], ())
                if f"/{name}".endswith(f"/{row.path}") or f"/{row.path}".endswith(f"/{name}")
            ]  # fmt: skip
            longest = max((len(row.path) for row in found), default=0)
            whole = [r for r in found if len(r.path) == longest and len(r.path) <= len(name)]
            if len(found) == 1 or len(whole) == 1:
                return whole[0] if whole else found[0]
        return None

    def _all(self) -> Iterator[Row]:
        after = 0
        while rows := self.index.walk(_BLOCK, after):
            yield from rows
            after = rows[-1].row


def _written(path: str) -> tuple[str, ...]:
    """The names that a text may mean: bytes written %XX, or these very characters."""
    name = path.removeprefix("./")
    return tuple(dict.fromkeys((from_text(name), name))) if name else ()


def apply(project: Project, made: Plan, id: str, *, over: bool, file: str = "") -> int:
    """Write the plan down as one event; ``over``: what would change, changes.  Gives how many.

    The plan is one of this moment: whoever calls holds the lock since it was made.
    """
    changes = [*made.new, *(made.change if over else ())]
    if not changes:
        refuse("import", "There is nothing to import: every label is here already.", status=409)
    events, ids = _classes_for(project, made, changes, id)

    def class_of(change: Change) -> int | None:
        if change.label is None or change.class_id is not None:
            return change.class_id
        return ids[change.label.casefold()]

    data = {
        "images": [c.row.path for c in changes],
        "classes": [class_of(c) for c in changes],
        "states": [c.state for c in changes],
        "sha256": [c.row.sha256 for c in changes],
        "over": [c.row.path for c in made.change] if over else [],
        "format": made.form, "rows": made.rows, "file": file,
    }  # fmt: skip
    if all(c.state == "labelled" for c in changes):
        del data["states"]
    events.append(Event("import_applied", id, data, person=project.person))
    project.append(events)
    return len(changes)


def _classes_for(
    project: Project, made: Plan, changes: Sequence[Change], id: str
) -> tuple[list[Event], dict[str, int]]:
    """Events that make the classes which these changes need, and the ids by folded name."""
    needed = {c.label.casefold() for c in changes if c.label and c.class_id is None}
    used = {c.key for c in project.classes.items if c.live}
    keys = iter([key for key in KEYS if key not in used])
    events: list[Event] = []
    ids: dict[str, int] = {}
    for name, _ in made.classes:
        if name.casefold() in needed:
            number = len(project.classes.items) + len(events)
            ids[name.casefold()] = number
            # one key press, one undo: that of the import
            data = {"class": number, "name": name, "key": next(keys, None), "with": id}
            events.append(
                Event("class_created", f"{id}/class/{number}", data, person=project.person)
            )
    return events, ids


def check_fresh(made: Plan, seen: str) -> None:
    """Refuse (E12) what would do something else than what was shown."""
    if made.hash != seen:
        stale("labels were given since this was shown")
