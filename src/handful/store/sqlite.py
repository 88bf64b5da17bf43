"""The book on disk: one SQLite file, one row an event, written before it counts."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from shutil import disk_usage
from threading import RLock
from typing import Any, Self

from handful.book import LabelBook
from handful.errors import InputError, StoreError
from handful.store.files import full_disk, write_whole
from handful.store.migrations import migrate
from handful.types import Event

__all__ = ["FollowedBook", "SqliteBook", "read_events"]

_COLUMNS = "seq, id, kind, at, person, seen_rev, ms, undoes, data"
_SECONDS_TO_WAIT = 30.0
_LITTLE_ROOM = 2**16  # bytes


class SqliteBook(LabelBook):
    """A `LabelBook` whose events live in ``path`` (write-ahead log, made when it is missing).

    ``append`` is one transaction that begins with the write lock, so that several threads,
    and processes too, may append: each sees the events of the others first.  A kill at any
    time leaves either all events of an append or none.  Raises `StoreError` when the file is
    no book, was written by a newer version, is locked for long, or the disk is full.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._lock = RLock()
        super().__init__()
        with self._reported():
            self._connection = sqlite3.connect(
                self.path,
                timeout=_SECONDS_TO_WAIT,
                isolation_level=None,  # transactions begin where this file says so
                check_same_thread=False,
            )
        try:
            with self._reported():
                self._connection.execute("PRAGMA journal_mode = WAL")
                self._connection.execute("PRAGMA synchronous = FULL")
                migrate(self._connection, self.path)
            self.refresh()
        except BaseException:
            self.close()
            raise

    def append(self, events: Iterable[Event]) -> None:
        """Check, number and store events, all or none; ids already in the book are left out."""
        events = tuple(events)
        if not events:
            return
        with self._lock:
            with self._reported(), self._writing():
                self.refresh()
                fresh = self._checked(events)
                self._keep(fresh)
            for event in fresh:
                self._fold(event)

    def _keep(self, events: Sequence[Event]) -> None:
        for event in events:
            try:
                f"{event.id}{event.person}{event.undoes}".encode()
            except UnicodeEncodeError as error:
                raise InputError(
                    f"the event id {event.id!r} is no UTF-8: count, or encode"
                ) from error
        self._connection.executemany(
            f"INSERT INTO event ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (e.seq, e.id, e.kind, e.at, e.person, e.seen_rev, e.ms, e.undoes, _json(e.data))
                for e in events
            ],
        )

    def refresh(self) -> int:
        """Read what others have appended meanwhile; returns how many events that were."""
        with self._lock, self._reported():
            fresh = list(_select(self._connection, after=len(self)))
            for event in fresh:
                self._fold(event)
            return len(fresh)

    def export(self, path: Path | str) -> None:
        """Write all events as JSON lines."""
        write_whole(Path(path), map(_line, self.events))

    def close(self) -> None:
        """Close the file; the book can still be read."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction that has the write lock from its start."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _reported(self) -> Iterator[None]:
        """Errors of SQLite in our words."""
        try:
            yield
        except sqlite3.Error as error:
            raise _reported(self.path, error) from error


class FollowedBook(LabelBook):
    """The book of another process, followed while it grows: ``refresh`` reads what is new.

    Nothing is ever written; an append is refused with `StoreError`, as is a file that is
    no book.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        super().__init__()
        try:
            self._connection = sqlite3.connect(
                f"{self.path.absolute().as_uri()}?mode=ro",
                uri=True,
                timeout=_SECONDS_TO_WAIT,
                isolation_level=None,
            )
        except sqlite3.Error as error:
            raise _reported(self.path, error) from error
        try:
            self.refresh()
        except BaseException:
            self.close()
            raise

    def _keep(self, events: Sequence[Event]) -> None:
        raise StoreError(f"{self.path} is only followed here: its own process writes it")

    def refresh(self) -> int:
        """Read what was appended since; returns how many events that were."""
        try:
            fresh = list(_select(self._connection, after=len(self)))
        except sqlite3.Error as error:
            raise _reported(self.path, error) from error
        for event in fresh:
            self._fold(event)
        return len(fresh)

    def close(self) -> None:
        """Close the file; the book can still be read."""
        self._connection.close()


def read_events(path: Path | str) -> tuple[Event, ...]:
    """The events of a book that is only read, on a read-only disk too; nothing is left beside it.

    Without a log (``-wal``) the file itself is whole, and SQLite is told that nobody writes:
    otherwise a reader makes a log and an index that it cannot take away again.
    """
    path = Path(path)
    if not path.is_file():
        raise StoreError(f"there is no book at {path}: give the folder of a run")
    address = path.absolute().as_uri()
    log = path.with_name(f"{path.name}-wal")
    try:
        if not log.exists():
            return _read(f"{address}?immutable=1")
        try:
            return _read(f"{address}?mode=ro")
        except sqlite3.OperationalError as error:
            # where nothing may be written, even an empty log cannot be opened
            refused = _code(error) in (None, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
            if not refused or (log.exists() and log.stat().st_size):
                raise
            return _read(f"{address}?immutable=1")
    except sqlite3.Error as error:
        raise _reported(path, error) from error


def _read(address: str) -> tuple[Event, ...]:
    with closing(sqlite3.connect(address, uri=True)) as connection:
        return tuple(_select(connection))


def _select(connection: sqlite3.Connection, *, after: int = 0) -> Iterator[Event]:
    rows = connection.execute(f"SELECT {_COLUMNS} FROM event WHERE seq > ? ORDER BY seq", (after,))
    for seq, id, kind, at, person, seen_rev, ms, undoes, data in rows:
        yield Event(kind, id, json.loads(data), seq, at, person, seen_rev, ms, undoes)


def _reported(path: Path, error: sqlite3.Error) -> StoreError:
    code = _code(error)
    if code == sqlite3.SQLITE_FULL:
        return full_disk(path)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return StoreError(f"{path} is in use by another process: end that one first")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return StoreError(f"{path} is damaged or no book: restore it from a copy")
    if code == sqlite3.SQLITE_IOERR and disk_usage(path.parent).free < _LITTLE_ROOM:
        return full_disk(path)  # the index of the log could not grow
    return StoreError(f"the book {path} cannot be used: {error}; check the disk and its rights")


def _code(error: sqlite3.Error) -> int | None:
    """The primary code; None where the error came from Python and not from SQLite."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _json(data: object) -> str:
    return json.dumps(data, separators=(",", ":"))


def _line(event: Event) -> bytes:
    record: dict[str, Any] = {
        "seq": event.seq,
        "id": event.id,
        "at": event.at,
        "person": event.person,
        "kind": event.kind,
        "seen_rev": event.seen_rev,
        "ms": event.ms,
        **({"undoes": event.undoes} if event.undoes else {}),
        "data": event.data,
    }
    return json.dumps(record).encode("ascii") + b"\n"
