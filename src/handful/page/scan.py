"""Looking at the folder: what is there, what came, went, moved or changed.

::

    walk      names, sizes, times           new files are shown at once
    read      hash and header of what is new or changed; a picture on screen goes first
    compare   with what was known: a name that went and a name that came with the same
              content are one picture that moved, and its labels go along; content that
              changed under its name is a new picture, and open again
    draw      thumbnails of the rest, whenever there is time

All of it in one thread behind the page, again on request.  A kill at any point loses no
label: what was not compared is compared by the next look.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice

from handful.page.decoders import BEHIND, SOON, Reading
from handful.page.index import Found, Row
from handful.page.project import Project
from handful.page.reasons import FOREIGN
from handful.pool.folder import SUFFIXES
from handful.types import Event

__all__ = ["Scanner", "Work", "walk"]

SKIPPED = frozenset({"handful-export", "__MACOSX"})
BATCH = 500  # files taken in at a time, while the page waits at most for these
_AHEAD = 64  # files that wait for a child at a time


@dataclass
class Work:
    """Something under way, for the status line."""

    name: str
    text: str
    total: int = 0
    done: int = 0
    began: float = field(default_factory=time.monotonic)

    @property
    def eta(self) -> float | None:
        """Seconds left at the pace so far."""
        passed = time.monotonic() - self.began
        if not self.done or passed < 1 or not self.total:
            return None
        return max(0.0, (self.total - self.done) * passed / self.done)


def walk(root: str, *, follow: bool, others: Counter[str]) -> Iterator[Found]:
    """Files that look like pictures, folder by folder, names in order; ``others`` counts the rest.

    Hidden names are left out.  Links to folders are followed only with ``follow``, each real
    folder once.  `OSError` when the root itself cannot be listed.
    """
    seen: set[tuple[int, int]] = set()
    os.listdir(root)
    stack = [""]
    while stack:
        prefix = stack.pop()
        folders = []
        try:
            status = os.stat(os.path.join(root, prefix))
            if (status.st_dev, status.st_ino) in seen:
                continue
            seen.add((status.st_dev, status.st_ino))
            with os.scandir(os.path.join(root, prefix)) as entries:
                here = sorted(entries, key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in here:
            if entry.name.startswith(".") or entry.name in SKIPPED:
                continue
            suffix = os.path.splitext(entry.name)[1].lower()
            if _is_folder(entry, follow):
                folders.append(f"{prefix}{entry.name}/")
            elif suffix in SUFFIXES or suffix in FOREIGN:
                yield _found(prefix + entry.name, entry)
            elif not (entry.is_symlink() and os.path.isdir(entry.path)):
                others[suffix or "no suffix"] += 1
        stack += reversed(folders)


def _is_folder(entry: os.DirEntry[str], follow: bool) -> bool:
    with suppress(OSError):  # a link that leads to itself is a file that cannot be read
        return entry.is_dir(follow_symlinks=follow)
    return False


def _found(path: str, entry: os.DirEntry[str]) -> Found:
    try:
        status = entry.stat()
    except OSError:
        return Found(path, -1, 0)
    return Found(path, status.st_size, status.st_mtime_ns)


class Scanner:
    """Looks at the folder of a project in a thread; `start` once, `again` on request."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.work: dict[str, Work] = {}
        self.result = Counter[str]()  # added, missing, moved, changed, back
        self.error: str | None = None
        kept = project.index.meta("others")
        self.others: Counter[str] = Counter(json.loads(kept) if kept else {})
        self.busy = False
        self._wanted = threading.Event()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scan", daemon=True)

    def start(self) -> None:
        """Begin with a first look."""
        self._wanted.set()
        self.busy = True
        self._thread.start()

    def again(self, rows: Sequence[Row] = ()) -> bool:
        """Look again, at these files in any case.  False: a look is under way, one more follows."""
        with self.project.lock:
            for row in rows:
                self.project.index.again(row.row)
        was, self.busy = self.busy, True
        self._wanted.set()
        return not was

    def close(self) -> None:
        """Stop soon."""
        self._closed.set()
        self._wanted.set()
        if self._thread.is_alive():
            self._thread.join(10)

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            if self._closed.is_set():
                break
            self._wanted.clear()
            self.busy = True
            with suppress(CancelledError):  # the page is closing
                self.look()
            self.busy = self._wanted.is_set()
            self.project.tell("task")

    def look(self, *, draw: bool = True) -> None:
        """One look at the folder, from the walk to the last thumbnail (``draw``)."""
        index = self.project.index
        if index.meta("follow", int(self.project.follow)) != int(self.project.follow):
            index.all_again()  # a link that was followed is none to be shown now
        index.keep("follow", int(self.project.follow))
        try:
            added, missing, back = self._walk()
        except OSError as error:
            self.error = error.strerror or str(error)
            return
        self.error = None
        self._read()
        found = _Comparison(self.project).settle()
        first = not self.project.index.meta("looked", 0)
        self.result = Counter(
            added=0 if first else max(0, added - found["moved"]),
            missing=max(0, missing - found["moved"]),
            moved=found["moved"],
            changed=found["changed"],
            back=0 if first else back,
        )
        self._write_down(added, first)
        self.project.index.keep("looked", 1)
        for what in ("scan", "counts", "problems"):
            self.project.tell(what)
        if draw:
            self._draw()

    # ---------------------------------------------------------------- the steps

    def _walk(self) -> tuple[int, int, int]:
        """Take in what is there now; counts of what came, went and came back."""
        project, others = self.project, Counter[str]()
        files = walk(os.fspath(project.folder), follow=project.follow, others=others)
        seen: set[int] = set()
        added = back = 0
        with self._working("walk", "Looking for pictures") as work:
            while batch := list(islice(files, BATCH)):
                with project.lock, project.index.writing():
                    known = project.index.of([f.path for f in batch])
                    fresh = [f for f in batch if f.path not in known]
                    project.index.add(fresh)
                    seen |= {row.row for row in project.index.of([f.path for f in fresh]).values()}
                    for file in batch:
                        row = known.get(file.path)
                        if row is not None:
                            seen.add(row.row)
                            back += self._seen_again(row, file)
                added += len(fresh)
                work.done += len(batch)
                self._tell("counts", "task")
            missing = self._gone(seen)
        self.others = others
        project.index.keep("others", json.dumps(others))
        return added, missing, back

    def _seen_again(self, row: Row, file: Found) -> bool:
        project = self.project
        if (row.size, row.mtime) != (file.size, file.mtime):
            project.index.again(row.row, file.size, file.mtime)
        if project.index.cell(row.cell).presence != "missing":
            return False
        project.set_presence(row, "here")
        return True

    def _gone(self, seen: set[int]) -> int:
        """Mark what the walk did not meet."""
        project, last, gone = self.project, 0, 0
        while True:
            with project.lock, project.index.writing():  # what is read here must not move
                rows = project.index.walk(BATCH, last)
                for row in rows:
                    if row.row not in seen and project.index.cell(row.cell).presence != "missing":
                        project.set_presence(row, "missing")
                        gone += 1
            if not rows:
                break
            last = rows[-1].row
        return gone

    def _read(self) -> None:
        """Hash and header of what nobody has read."""
        with self._working("read", "Reading pictures") as work:
            counts = self.project.index.cells()
            work.total = sum(n for cell, n in counts if cell.presence != "missing")
            work.done = work.total - self.project.index.waiting()
            after = ""
            waiting: deque[tuple[Row, Future[Reading]]] = deque()
            while rows := self.project.index.unread(0, BATCH, after):
                after = rows[-1].path
                for row in rows:
                    foreign = FOREIGN.get(os.path.splitext(row.path)[1].lower())
                    if foreign is not None:
                        self.project.took(row, _unreadable(foreign))
                        continue
                    waiting.append((row, self.project.decoders.read(row.path, rank=SOON)))
                    if len(waiting) >= _AHEAD:
                        self._take(waiting, work)
            while waiting:
                self._take(waiting, work)

    def _draw(self) -> None:
        """Thumbnails of all that have none: whatever cannot be decoded is found here."""
        project, last = self.project, 0
        waiting: deque[tuple[Row, Future[Reading]]] = deque()
        with self._working("draw", "Preparing pictures") as work:
            work.total = sum(n for cell, n in project.index.cells() if cell.presence == "here")
            while rows := project.index.walk(BATCH, last):
                last = rows[-1].row
                for row in rows:
                    if project.index.cell(row.cell).presence != "here" or not row.sha256:
                        continue
                    if project.thumbs.has(row.sha256, 192):
                        work.done += 1
                        continue
                    future = project.decoders.read(row.path, side=192, rank=BEHIND)
                    waiting.append((row, future))
                    if len(waiting) >= _AHEAD:
                        self._take(waiting, work)
            while waiting:
                self._take(waiting, work)
        self._tell("counts", "problems")

    def _take(self, waiting: deque[tuple[Row, Future[Reading]]], work: Work) -> None:
        row, future = waiting.popleft()
        reading = future.result()
        if self._closed.is_set():
            raise CancelledError
        self.project.took(row, reading)
        if reading.body:
            self.project.thumbs.put(reading.sha256, 192, reading.body)
        work.done += 1
        if work.done % 100 == 0:
            self._tell("task")

    def _write_down(self, found: int, first: bool) -> None:
        """What came and went, for the history."""
        with self.project.lock:
            if first:
                events = [Event("images_added", "scan/first", {"count": found})]
            else:
                events = [
                    Event(kind, f"scan/{self.project.rev}/{kind}", {"count": n})
                    for kind, n in (
                        ("images_added", self.result["added"]),
                        ("images_missing", self.result["missing"]),
                    )
                    if n
                ]
            self.project.append(events)

    @contextmanager
    def _working(self, name: str, text: str) -> Iterator[Work]:
        work = self.work[name] = Work(name, text)
        self._tell("task")
        try:
            yield work
        finally:
            del self.work[name]
            self._tell("task")

    def _tell(self, *what: str) -> None:
        if self._closed.is_set():
            raise CancelledError
        for one in what:
            self.project.tell(one)


def _unreadable(kind: str) -> Reading:
    text = f"This kind of picture ({kind}) cannot be read here. Save it as JPEG or PNG."
    return Reading(problem=("E8", text))


class _Comparison:
    """What was read, against what was known: moves and changes become events."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.moves: list[tuple[str, str]] = []
        self.changed: list[Row] = []
        self.differing: set[str] = set()

    def settle(self) -> Counter[str]:
        """Compare all that was read since the last time."""
        project, rows, after = self.project, [], ""
        while batch := project.index.unread(1, BATCH, after):
            after = batch[-1].path
            rows += batch
        if not rows:
            return Counter()
        with project.lock:
            self._match(rows)
            events = self._events()
            if events:
                project.append(events)
            with project.index.writing():
                self._drop_old_names()
                for row in rows:
                    project.index.settled(row.row)
        return Counter(moved=len(self.moves), changed=len(self.changed))

    def _match(self, rows: Sequence[Row]) -> None:
        """Which file is which picture, by content."""
        differing = [r for r in rows if r.was and r.sha256 and r.was != r.sha256]
        self.differing = {row.path for row in differing}
        left: dict[str, list[str]] = {}  # content -> names that no longer hold it
        for row in differing:
            left.setdefault(row.was or "", []).append(row.path)
        taken: set[str] = set()
        for row in rows:
            if not row.sha256 or row.was == row.sha256:
                continue
            missing = [
                r.path
                for r in self.project.index.like(row.sha256)
                if self.project.index.cell(r.cell).presence == "missing"
            ]
            names = [n for n in left.get(row.sha256, []) + missing if n not in taken | {row.path}]
            if names:
                # two copies that moved: the one of the same name first
                base = os.path.basename(row.path)
                name = min(names, key=lambda n: (os.path.basename(n) != base, n))
                taken.add(name)
                self.moves.append((name, row.path))
        self.changed = [row for row in differing if row.path not in taken]

    def _events(self) -> list[Event]:
        """Moves in an order that mixes up nobody: whatever stands in the way goes aside first."""
        book = self.project.book
        events: list[Event] = []
        sources = {old for old, _ in self.moves}
        targets = {new for _, new in self.moves}
        aside: dict[str, str] = {}

        def event(kind: str, data: dict[str, str]) -> None:
            events.append(Event(kind, f"scan/{len(book)}/{len(events)}", data))

        for new in sorted(targets & self.differing):
            if book.about(new):  # said of what it held before
                aside[new] = f".aside/{len(book)}/{new}"
                event("image_moved", {"image": new, "to": aside[new]})
        pinned = self._pinned() if self.moves else set()
        for old, new in self.moves:
            if book.about(old) or old in pinned:
                event("image_moved", {"image": aside.get(old, old), "to": new})
        for row in self.changed:
            if row.path not in targets and book.about(row.path):
                event("image_changed", {"image": row.path, "sha256": row.sha256 or ""})
        for new, place in aside.items():
            if new not in sources:  # its content is nowhere now: kept as a missing picture
                self.project.index.add([Found(place, -1, -1)])
                kept = self.project.index.at(place)
                held = self.project.index.at(new)
                if kept is not None and held is not None:
                    self.project.index.read(kept.row, {"sha256": held.was, "looked": 2})
                    self.project.set_presence(kept, "missing")
        return events

    def _pinned(self) -> set[str]:
        """Pictures that a class guide names, by their present names."""
        guides = [c.guide for c in self.project.classes.items if c.guide]
        names = [n for g in guides for kind in ("examples", "nots") for n in g.get(kind, ())]
        return {self.project.now(name) for name in names}

    def _drop_old_names(self) -> None:
        index = self.project.index
        for old, new in self.moves:
            row = index.at(old)
            if row is not None and index.cell(row.cell).presence == "missing":
                index.forget(row, now=new)
