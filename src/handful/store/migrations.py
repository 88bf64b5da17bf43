"""How the book's file came to look as it does: named steps, in order, each in one transaction.

A step is never changed once released; a new form of the file is a new step at the end.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from handful.errors import StoreError

__all__ = ["MIGRATIONS", "migrate"]

Step: TypeAlias = tuple[str, Callable[[sqlite3.Connection], None]]


def events(connection: sqlite3.Connection) -> None:
    """One row an event; ``data`` is JSON in ASCII, so that any file name fits in."""
    connection.execute(
        "CREATE TABLE event (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,"
        " kind TEXT NOT NULL, at REAL NOT NULL, person TEXT NOT NULL, seen_rev INTEGER NOT NULL,"
        " ms INTEGER NOT NULL, undoes TEXT, data TEXT NOT NULL)"
    )


MIGRATIONS: tuple[Step, ...] = (("0001-events", events),)


def migrate(
    connection: sqlite3.Connection, path: Path, migrations: Sequence[Step] = MIGRATIONS
) -> None:
    """Bring a book's file up to date; a file that holds something is copied aside first.

    ``connection`` is in autocommit mode.  The copy is ``NAME.before-STEP``.  A file made by
    a newer version is refused.
    """
    connection.execute("CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY, at REAL)")
    done = {name for (name,) in connection.execute("SELECT name FROM migration")}
    if newer := sorted(done - {name for name, _ in migrations}):
        raise StoreError(
            f"{path} was written by a newer handful (step {newer[0]}): update handful to open it"
        )
    for name, step in migrations:
        if name in done:
            continue
        if done:
            _copy_aside(connection, path.with_name(f"{path.name}.before-{name}"))
        connection.execute("BEGIN IMMEDIATE")
        try:
            if not _is_done(connection, name):  # another process may have been faster
                step(connection)
                connection.execute("INSERT INTO migration VALUES (?, ?)", (name, time.time()))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        done.add(name)


def _is_done(connection: sqlite3.Connection, name: str) -> bool:
    found = connection.execute("SELECT 1 FROM migration WHERE name = ?", (name,)).fetchone()
    return found is not None


def _copy_aside(connection: sqlite3.Connection, path: Path) -> None:
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(part)) as copy:
        connection.backup(copy)
    part.replace(path)
