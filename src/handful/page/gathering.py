"""What is known of every picture, for whoever carries it away: rows of label files.

::

    Live   an open project: the page goes on meanwhile, block by block
    Still  its files, read only: while the page has them open as well, or nobody has

What a person said counts first (audits once closed), then the model's suggestion: such a row
keeps the state *open* (or *later*), since nobody answered, with the source ``model`` and how sure
it was; only where the model says none of these, it says so in the state.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from handful import revisions
from handful.book import LabelBook, Standing
from handful.errors import InputError
from handful.exports import About, LabelRow
from handful.page.classes import KINDS, ClassList, fold
from handful.page.learned import NONE_OF_THESE
from handful.page.project import Project, other_place
from handful.revisions import Revision
from handful.store import read_events
from handful.types import Array

__all__ = [
    "Choice",
    "Facts",
    "Live",
    "Source",
    "Still",
    "about",
    "existing_place",
    "is_project",
    "label_rows",
]

_BLOCK = 1_000  # rows looked up at a time: answers go on in between
Guess: TypeAlias = tuple[int, float]  # class id or `NONE_OF_THESE`, how sure


class Facts(NamedTuple):
    """One picture of the index."""

    path: str
    sha256: str | None
    presence: str  # here, missing, unreadable
    row: int
    w: int | None
    h: int | None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rows: states without a class, what nobody answered, and the model's word for it."""

    states: bool = True
    open: bool = False
    model: bool = True


class Source(Protocol):
    """A project to be read."""

    folder: Path
    follow: bool

    @property
    def book(self) -> LabelBook: ...
    @property
    def classes(self) -> ClassList: ...
    @property
    def derived(self) -> Path: ...
    @property
    def made(self) -> str: ...
    @property
    def problems(self) -> int:
        """Files that cannot be read."""
        ...

    def blocks(self) -> Iterator[list[tuple[Facts, Standing]]]:
        """All pictures by name, so many at a time."""
        ...


class Live:
    """A project that is open here."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.folder, self.follow = project.folder, project.follow
        self.derived = project.place / "derived"

    @property
    def book(self) -> LabelBook:
        return self.project.book

    @property
    def classes(self) -> ClassList:
        return self.project.classes

    @property
    def made(self) -> str:
        return str(self.project.index.meta("made", ""))

    @property
    def problems(self) -> int:
        cells = self.project.index.cells()
        return sum(n for cell, n in cells if cell.presence == "unreadable")

    def blocks(self) -> Iterator[list[tuple[Facts, Standing]]]:
        index, after = self.project.index, None
        while True:
            with self.project.lock:
                cells = [cell for cell, _ in index.cells()]
                rows = index.page(cells, _BLOCK, after=after)
                block = []
                for r in rows:
                    presence = index.cell(r.cell).presence
                    facts = Facts(r.path, r.sha256, presence, r.row, r.w, r.h)
                    block.append((facts, _said(self.book, r.path)))
            yield block
            if len(rows) < _BLOCK:
                return
            after = (rows[-1].path.encode("utf-8", "surrogatepass"), rows[-1].row)


class Still:
    """The files of a project, which stay as they are; `StoreError` where there is no book."""

    def __init__(self, folder: Path, *, place: Path | None = None, follow: bool = False) -> None:
        self.place = existing_place(folder, place)
        own = self.place == folder and folder.name == ".handful"
        self.folder, self.follow = folder.parent if own else folder, follow
        self.derived = self.place / "derived"
        self.book = LabelBook(read_events(self.place / "book.sqlite"))
        if self.book.find("folder/0") is None:
            raise InputError(f"{self.place} holds a run, no labelling project: name its folder")

    @cached_property
    def classes(self) -> ClassList:
        return fold((e, self.book.alive(e)) for e in self.book.events if e.kind in KINDS)

    @cached_property
    def made(self) -> str:
        found = self._asked("SELECT value FROM meta WHERE key = 'made'")
        return str(found[0][0]) if found else ""

    @property
    def problems(self) -> int:
        found = self._asked(
            "SELECT COUNT(*) FROM picture JOIN cell USING (cell) WHERE presence = 'unreadable'"
        )
        return int(found[0][0]) if found else 0

    def blocks(self) -> Iterator[list[tuple[Facts, Standing]]]:
        rows = self._asked(
            "SELECT path, sha256, presence, row, w, h FROM picture JOIN cell USING (cell)"
            " ORDER BY path"
        )
        facts = [Facts(path.decode("utf-8", "surrogatepass"), *rest) for path, *rest in rows]
        if not rows:  # what is derived was thrown away: the book still knows what was answered
            facts = [Facts(i, None, "here", -1, None, None) for i in self.book.images()]
        for start in range(0, len(facts), _BLOCK):
            some = facts[start : start + _BLOCK]
            yield [(f, _said(self.book, f.path)) for f in some]

    def _asked(self, question: str) -> list[tuple[Any, ...]]:
        path = self.derived / "index.sqlite"
        with suppress(sqlite3.Error):
            mode = "mode=ro" if path.with_name("index.sqlite-wal").exists() else "immutable=1"
            with closing(sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)) as file:
                return file.execute(question).fetchall()
        return []


def _said(book: LabelBook, path: str) -> Standing:
    """What a person says of a picture; a blind answer that settles nothing leaves the label.

    Nothing is settled by a class that was put away since, either.
    """
    said = book.standing(path, audited=True)
    return book.standing(path) if said.state in ("unsure", "later", "open") else said


def is_project(folder: Path) -> bool:
    """Whether a folder was labelled on the page, or is where such work is kept."""
    try:
        place = existing_place(folder)
    except InputError:
        return False
    return place != folder or any(e.id == "folder/0" for e in read_events(place / "book.sqlite"))


def existing_place(folder: Path, chosen: Path | None = None) -> Path:
    """Where the work of a folder is, of a project that exists; its own place will do as well.

    `InputError` when nobody has labelled anything there.
    """
    if chosen is None and (folder / "book.sqlite").is_file():
        return folder
    place = chosen or folder / ".handful"
    if chosen is None and not (place / "book.sqlite").is_file():
        place = other_place(folder)
    if not (place / "book.sqlite").is_file():
        raise InputError(f"nobody has labelled {folder} yet: `handful {folder}` opens it")
    return place


def label_rows(source: Source, choice: Choice) -> Iterator[LabelRow]:
    """One row an image, by name; missing pictures keep their labels, problems have none."""
    names = {c.id: c.name for c in source.classes.items if c.live}
    guesses = _Guesses(source) if choice.model else None
    for block in source.blocks():
        asked = [facts.row for facts, _ in block]
        guessed = guesses.of(asked) if guesses is not None else [None] * len(block)
        for (facts, said), guess in zip(block, guessed, strict=True):
            row = _row(facts, said, guess, choice, names)
            if row is not None:
                yield row


def _row(
    facts: Facts, said: Standing, guess: Guess | None, choice: Choice, names: dict[int, str]
) -> LabelRow | None:
    waits = said.state in ("open", "later")
    if waits and (guess is None or facts.presence != "here"):
        guess = None
        if facts.presence != "here" and said.state == "open":
            return None
        if not (choice.open if said.state == "open" else choice.states):
            return None
    elif not waits:
        guess = None
        if said.state != "labelled" and not choice.states:
            return None
    answered = said.state != "open"
    id = guess[0] if guess is not None else said.class_id
    source = "model" if guess is not None else said.source if answered else None
    at = datetime.fromtimestamp(said.at, UTC).isoformat(timespec="milliseconds")
    return {
        "path": facts.path,
        "sha256": facts.sha256,
        "class_id": id if id in names else None,
        "class": names.get(id),
        "state": "none" if id == NONE_OF_THESE else said.state,
        "source": source,
        "confidence": None if guess is None else round(guess[1], 6),
        "round": said.round,
        "tag": None,
        "person": (said.person or None) if answered else None,
        "time": at if answered else None,
        "row": facts.row,
        "presence": facts.presence,
        "w": facts.w,
        "h": facts.h,
    }


class _Guesses:
    """The model's word for rows of the index, classes as they are now."""

    def __init__(self, source: Source) -> None:
        made = source.made
        self.model = revisions.newest(source.derived / "revisions", "model", made=made)
        self.now = _classes_now(source.classes, self.model)

    def of(self, rows: Sequence[int]) -> list[Guess | None]:
        if self.model is None or not rows:
            return [None] * len(rows)
        places = self.model.at(np.array(rows, dtype=np.int64))
        top, p = self.model["top"][places, 0].tolist(), self.model["p"][places, 0].tolist()
        found: list[Guess | None] = []
        for place, id, share in zip(places.tolist(), top, p, strict=True):
            now = self.now.get(id)
            found.append(None if place < 0 or now is None else (now, share))
        return found


def _classes_now(classes: ClassList, model: Revision | None) -> dict[int, int]:
    """The class that each one of the model leads to; those put away lead nowhere."""
    if model is None:
        return {}
    ids = np.unique(np.asarray(model["top"])).tolist()
    now = {id: classes.now(id) for id in ids if id >= 0}
    return {NONE_OF_THESE: NONE_OF_THESE} | {id: c.id for id, c in now.items() if c is not None}


def about(source: Source) -> About:
    """What writers of label files are told."""
    live = sorted((c.id, c.name) for c in source.classes.items if c.live)
    return About(source.folder, tuple(live), source.follow, _features(source))


def _features(source: Source) -> Callable[[Sequence[int]], Array | None]:
    def features(rows: Sequence[int]) -> Array | None:
        found = revisions.newest(source.derived / "revisions", "features", made=source.made)
        if found is None:
            return None
        places = found.at(np.array(rows, dtype=np.int64))
        vectors = np.asarray(found["vectors"])[places].astype(np.float32)
        vectors[places < 0] = np.nan
        return vectors

    return features
