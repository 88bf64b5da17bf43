"""A project: the book of a folder, its index, its thumbnails, and one process that writes them.

::

    FOLDER/.handful/     or, where the folder is read-only, in the user's data folder
        book.sqlite      precious: every answer; append-only
        lock             held while the page runs
        page.json        where the page runs, for a second start
        derived/         index.sqlite, thumbs/, revisions/: made again when they are gone

The book decides; the index follows it, event by event, and catches up when it fell behind
(a full disk, a kill).  Pictures are only ever read.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import sqlite3
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from statistics import median
from threading import RLock
from typing import Any

from handful.errors import InputError
from handful.events import Touch
from handful.page.classes import KINDS as CLASS_KINDS
from handful.page.classes import ClassList, fold
from handful.page.decoders import NOW, SOON, Decoders, Reading
from handful.page.index import Cell, Found, Index, Row, Spot
from handful.page.learned import Learned
from handful.page.people import People
from handful.page.thumbs import Thumbs
from handful.store import SqliteBook
from handful.store.lock import FolderLock
from handful.types import Event

__all__ = ["UNDOABLE", "Project", "other_place", "place_of"]

log = logging.getLogger(__name__)
UNDOABLE = {
    "labelled", "group_labelled", "state_set", "pair_answered", "audit_answered",
    "accepted_above", "review_kept", "review_changed", "stack_broken", "group_halved",
    "group_set_aside", "groups_merged", "overlap_settled", "setting_changed", "import_applied",
    *CLASS_KINDS,
}  # fmt: skip
_ANSWERS = {
    "labelled", "group_labelled", "state_set", "audit_answered", "review_kept", "review_changed",
    "overlap_settled",
}  # fmt: skip
_BREAK = 60.0  # seconds between two answers that are a pause, no pace


def place_of(folder: Path, chosen: Path | None = None) -> tuple[Path, bool]:
    """Where the work of a folder is kept, and whether the folder itself is read-only.

    `InputError` when the folder cannot be listed, or the place not be written.
    """
    try:
        os.listdir(folder)
    except OSError as error:
        raise InputError(
            f"this folder cannot be read: {folder} ({error.strerror}); check the name, then run"
            " the same command again"
        ) from error
    if chosen is not None:
        if not _writable(chosen):
            raise InputError(f"{chosen} cannot be written: choose another --project")
        return chosen, False
    if _writable(folder / ".handful"):
        return folder / ".handful", False
    place = other_place(folder)
    if not _writable(place):
        raise InputError(f"neither {folder} nor {place} can be written: give --project FOLDER")
    return place, True


def other_place(folder: Path) -> Path:
    """Where the work of a read-only folder is kept, in the user's data folder."""
    real = os.path.realpath(folder)
    mark = hashlib.sha256(os.fsencode(real)).hexdigest()[:12]
    return _data_folder() / "projects" / f"{os.path.basename(real) or 'pictures'}-{mark}"


def _data_folder() -> Path:
    home = Path.home()
    if sys.platform == "darwin":
        return home / "Library" / "Application Support" / "handful"
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local") / "handful"
    return Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "handful"


def _writable(place: Path) -> bool:
    probe = place / f".probe-{os.getpid()}"
    try:
        place.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError:
        return False
    return True


class Project:
    """An open project; see above.  Threads may share it: whoever writes holds ``lock``.

    ``tell(what)`` is called after something changed: counts, classes, task, problems.
    Raises `RunFolderError` while another process has it open, `StoreError` when the book
    cannot be used, `InputError` when the folder cannot.
    """

    def __init__(
        self,
        folder: Path,
        *,
        place: Path | None = None,
        follow: bool = False,
        person: str = "",
        children: int | None = None,
        several: bool = False,
    ) -> None:
        self.folder, self.follow, self._person = folder, follow, person
        self.place, self.read_only = place_of(folder, place)
        self.lock = RLock()
        self.tell: Callable[[str], None] = _nobody
        self._held = FolderLock(self.place)
        derived = self.place / "derived"
        try:
            derived.mkdir(exist_ok=True)
            self.book = SqliteBook(self.place / "book.sqlite")
            self.index = Index(derived / "index.sqlite", self._seed())
        except BaseException:
            self._held.release()
            raise
        self.people = People(self.place, several=several)
        self.thumbs = Thumbs(derived / "thumbs")
        self.decoders = Decoders(folder, follow=follow, n=children)
        self.done: dict[str, list[str]] = {}  # decisions of each person that can be undone
        self.redo: dict[str, list[str]] = {}
        self.answered = 0
        self.given = Counter[str]()  # answers of each person that count
        self._class_log: list[int] = []
        self._class_last: dict[int, Event] = {}
        self._classes: ClassList | None = None
        self._times: deque[float] = deque(maxlen=51)
        self._came: dict[str, str] = {}  # new name of a moved picture -> the one before
        self._went: dict[str, str] = {}  # and the other way
        self._log: dict[str, list[int]] = {}  # events by kind
        self.changes = Counter[str]()  # how often a kind came, was undone or done again
        self.kept: dict[str, Any] = {}  # what views work out once and keep while it holds
        self._noted = 0
        self._follow()
        self._seed_index()
        self.catch_up()
        self.learned = Learned(derived / "revisions", self.index, lambda: self.classes)
        self._parted = -1
        self.part_stacks()

    def close(self) -> None:
        """End the children, close the files, let others open the project."""
        self.decoders.close()
        with self.lock:
            self.index.close()
            self.book.close()
        self._held.release()

    @property
    def person(self) -> str:
        """Who the request at hand comes from; of one person, no name is asked."""
        return self.people.speaking if self.people.several else self._person

    @person.setter
    def person(self, name: str) -> None:
        self._person = name

    @property
    def where(self) -> str:
        """The place of the work in words: no path of this machine but that below home."""
        if not self.read_only and self.place.parent == self.folder:
            return f"{self.folder.resolve().name}/.handful"
        with suppress(ValueError, RuntimeError):
            return f"~/{self.place.resolve().relative_to(Path.home()).as_posix()}"
        return self.place.name

    # ---------------------------------------------------------------- the book

    def append(self, events: Sequence[Event]) -> None:
        """Write events down, then bring the index after them.  `StoreError`: nothing was kept."""
        with self.lock:
            self.book.append(events)
            self.catch_up()
            self.part_stacks()

    def catch_up(self) -> None:
        """Bring what is derived up to the end of the book."""
        with self.lock:
            self._follow()
            behind = range(int(self.index.meta("seq", 0)) + 1, len(self.book) + 1)
            if behind:
                images: set[str] = set()
                for seq in behind:
                    images |= self.book.concerns(self.book.event(seq))
                    if self._meant(self.book.event(seq)).kind in CLASS_KINDS:
                        images |= self.book.voted  # two answers may be one class now
                try:
                    with self.index.writing():
                        self.place_rows(images)
                        self.index.keep("seq", len(self.book))
                except sqlite3.Error as error:  # the answer is safe; the index follows later
                    log.warning("the index could not follow the book (%s)", error)

    def _follow(self) -> None:
        for seq in range(self._noted + 1, len(self.book) + 1):
            self._note(self.book.event(seq))

    def _meant(self, event: Event) -> Event:
        """What an undo, or an undo of an undo, is about; any other event itself."""
        while event.kind in ("undone", "redone"):
            target = self.book.find(event.undoes or "")
            if target is None:
                break
            event = target
        return event

    def place_rows(self, images: Iterable[str]) -> None:
        """Put pictures into the cells that the book says."""
        known: dict[tuple[int, Touch | None], tuple[Cell, float]] = {}  # thousands of one answer

        def placed() -> Iterator[tuple[Spot, Cell, float]]:
            for path, spot in self.index.spots(tuple(images)):
                key = (spot.cell, self.book.touch(path))
                if key not in known:
                    known[key] = self._cell_of(path, self.index.cell(spot.cell).presence)
                yield (spot, *known[key])

        self.index.place(placed())

    def set_presence(self, row: Row, presence: str) -> None:
        """A file came, went, or cannot be read."""
        self.index.place([(row, *self._cell_of(row.path, presence))])

    def _cell_of(self, path: str, presence: str) -> tuple[Cell, float]:
        said = self.book.said(path)
        if said.state == "open":
            return Cell(presence), 0.0
        return Cell(presence, said.state, said.class_id, said.source, said.person), said.at

    def _note(self, event: Event) -> None:
        """Follow one event: the stacks of undo, the class list, the pace."""
        self._noted = event.seq
        kind, person = event.kind, event.person
        self._log.setdefault(kind, []).append(event.seq)
        self.changes[kind] += 1
        done, redo = self.done.setdefault(person, []), self.redo.setdefault(person, [])
        if kind in CLASS_KINDS:
            self._class_log.append(event.seq)
            self._class_last[event.data["class"]] = event
        if kind in CLASS_KINDS or kind in ("undone", "redone"):
            self._classes = None
        if kind == "image_moved":
            self._came[event.data["to"]] = event.data["image"]
            self._went[event.data["image"]] = event.data["to"]
        if kind in _ANSWERS:
            self.answered += 1
            self.given[person] += 1
            self._times.append(event.at)
        if kind == "audit_closed":  # the number is known now: what it rests on stays
            self._keep_audit()
        if kind in UNDOABLE and "with" not in event.data:
            done.append(event.id)
            redo.clear()
        elif kind in ("undone", "redone") and event.undoes is not None:
            target = self.book.find(event.undoes)
            if target is not None:
                self.changes[target.kind] += 1
                if target.kind in _ANSWERS:
                    self.given[target.person] += -1 if kind == "undone" else 1
                if target.kind in CLASS_KINDS:
                    self._class_last[target.data["class"]] = event
            take, give = (done, redo) if kind == "undone" else (redo, done)
            if event.undoes in take:
                take.remove(event.undoes)
                give.append(event.undoes)

    def _keep_audit(self) -> None:
        """Blind answers that were counted can no longer be taken back."""
        for stacks in (self.done, self.redo):
            for ids in stacks.values():
                ids[:] = [i for i in ids if (e := self.book.find(i)) and e.kind != "audit_answered"]

    def said(self, kind: str, *more: str) -> Iterator[Event]:
        """Events of some kinds that count, in order."""
        seqs = (seq for one in (kind, *more) for seq in self._log.get(one, ()))
        for seq in sorted(seqs) if more else list(seqs):
            event = self.book.event(seq)
            if self.book.alive(event):
                yield event

    def now(self, image: str) -> str:
        """The name that a picture has now, by one that it had."""
        seen: set[str] = set()
        while image in self._went and image not in seen:
            seen.add(image)
            image = self._went[image]
        return image

    def part_stacks(self) -> None:
        """Near-duplicates are those that nobody has parted."""
        with self.lock:
            if self._parted != self.changes["stack_broken"]:
                self._parted = self.changes["stack_broken"]
                images = {self.now(i) for e in self.said("stack_broken") for i in e.data["images"]}
                self.learned.part(row.row for row in self.index.of(images).values())

    @property
    def rev(self) -> int:
        """The revision of the labels: the number of the last event."""
        return len(self.book)

    @property
    def classes(self) -> ClassList:
        """The class list now."""
        with self.lock:
            if self._classes is None:
                self._classes = self.classes_if()
            return self._classes

    def classes_if(self, dead: Collection[str] = (), alive: Collection[str] = ()) -> ClassList:
        """The class list if some events did not count, or did again."""
        events = map(self.book.event, self._class_log)
        return fold((e, e.id in alive or (e.id not in dead and self.book.alive(e))) for e in events)

    def last_change(self, class_id: int) -> Event | None:
        """The last event that changed a class, an undo included."""
        return self._class_last.get(class_id)

    @property
    def pace(self) -> float | None:
        """Median seconds between the last 50 answers, pauses left out; None before the tenth."""
        gaps = [b - a for a, b in pairwise(self._times) if 0 <= b - a < _BREAK]
        return median(gaps) if len(gaps) >= 9 else None

    # ---------------------------------------------------------------- files

    def read(self, row: Row, *, side: int = 0, page: int = 0, rank: int = NOW) -> Reading:
        """Read a file and keep what was learnt of it.  Waits for the child: at most 20 s each."""
        reading = self.decoders.read(row.path, side=side, page=page, rank=rank).result()
        self.took(row, reading)
        return reading

    def took(self, row: Row, reading: Reading) -> None:
        """Keep what was read of a file; one that failed becomes a problem."""
        with self.lock, self.index.writing():
            now = self.index.at(row.path)
            if now is None:
                return
            presence = self.index.cell(now.cell).presence
            if reading.problem is not None:
                id, text = reading.problem
                self.index.read(now.row, {"problem": id, "reason": text} | _hash(reading))
                presence = "missing" if id == "gone" else "unreadable"
            else:
                if now.sha256 not in (None, reading.sha256) and now.looked:
                    self.index.again(now.row)  # it changed since: compared at the next look
                facts = {"w": reading.w, "h": reading.h, "kind": reading.kind}
                more = {"pages": reading.pages, "problem": None, "reason": None}
                self.index.read(now.row, facts | more | _hash(reading))
                presence = "here"
            if presence != self.index.cell(now.cell).presence:
                self.set_presence(now, presence)

    def contents(self, rows: Sequence[Row], patience: float = 0.3) -> dict[str, str]:
        """SHA-256 of files by path, read now where nobody has; those not read in time lack."""
        waiting = [(row, self.decoders.read(row.path, rank=SOON)) for row in rows if not row.sha256]
        until = time.monotonic() + patience
        found = {row.path: row.sha256 for row in rows if row.sha256}
        for row, future in waiting:
            if time.monotonic() > until and future.cancel():
                continue
            with suppress(TimeoutError):
                reading = future.result(max(0.0, until - time.monotonic()))
                self.took(row, reading)
                found[row.path] = reading.sha256
        return {path: sha256 for path, sha256 in found.items() if sha256}

    def content_in_book(self, image: str) -> str | None:
        """What a picture held when it was last answered."""
        for event in reversed(self.book.about(image)):
            d = event.data
            held, names = d.get("sha256"), {image, *self._former(image)}
            if isinstance(held, str) and names.isdisjoint(d.get("copies", ())):
                return held
            held = held if isinstance(held, list) else ()
            pairs = [
                *zip(d.get("images", ()), held, strict=False),
                *zip(d.get("copies", ()), d.get("copies_sha256", ()), strict=False),
            ]
            found = next((sha256 for name, sha256 in pairs if name in names and sha256), None)
            if found:
                return str(found)
        return None

    def _former(self, image: str) -> set[str]:
        """Names that a picture had before."""
        found: set[str] = set()
        while (image := self._came.get(image, "")) and image not in found:
            found.add(image)
        return found

    # ---------------------------------------------------------------- beginning

    def _seed(self) -> str:
        """What makes ids and random draws of this project; drawn once, kept in the book."""
        if not len(self.book):
            data = {"seed": secrets.token_hex(16), "folder": self.folder.resolve().name}
            self.book.append([Event("folder_opened", "folder/0", data)])
        opened = self.book.find("folder/0")
        if opened is None:
            raise InputError(
                f"{self.place} holds a run, no labelling project: choose another --project"
            )
        return str(opened.data["seed"])

    def _seed_index(self) -> None:
        """An index made anew knows first what the book speaks of; the walk finds what is there."""
        if int(self.index.meta("seq", 0)) > len(self.book):
            self.index.keep("seq", 0)  # the book was put back to an earlier copy
        if self.index.meta("seq", 0):
            return
        images = self.book.images()
        with self.index.writing():
            known = self.index.of(images)
            self.index.add((Found(i, -1, -1) for i in images if i not in known), Cell("missing"))
            for image in images:
                row, held = self.index.at(image), self.content_in_book(image)
                if row is not None and held and row.sha256 is None:
                    self.index.read(row.row, {"sha256": held})
            self.place_rows(images)


def _hash(reading: Reading) -> dict[str, Any]:
    return {"sha256": reading.sha256} if reading.sha256 else {}


def _nobody(_: str) -> None:
    """Nobody listens."""


def read_json(path: Path) -> dict[str, Any]:
    """A small file of JSON; empty when it is not there or no such thing."""
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}
