"""The index of the folder's pictures: what is shown, counted and paged, without the book.

One SQLite file that can be thrown away: the folder and the book give it again.  A row is a
file; its *cell* is where it stands: ``(presence, state, class, source, person)``, the class
as it was named then, merged or not.  There are few cells and many rows, so that counts are
sums over cells, and a page of any filter is a merge of one sorted walk a cell.

A row is never used for another file, so that what was worked out from pictures may name them
by row; ``made`` in the index's meta is a mark of its own, another one in an index made anew.

Cost: an answer O(log n) an image; a page O(cells + its length); counts O(cells).  Nothing
but the opening, and the first use of `Index.standing`, looks at all rows.
"""

from __future__ import annotations

import heapq
import json
import secrets
import sqlite3
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from threading import RLock
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful.errors import StoreError

__all__ = ["FRESH", "Cell", "Found", "Index", "Order", "Row", "Rows", "Spot", "as_text"]

FORMAT = 2
CACHE_KB = 64 * 1024
FOLDER_LIMIT = 10_000  # pictures below a folder are counted up to here
Order: TypeAlias = Literal["name", "time", "draw"]
_KEYS: Mapping[str, str] = {"name": "path", "time": "at", "draw": "draw"}
_AT_ONCE = 500  # values in one question
_MANY = 50  # pictures of one answer
Rows: TypeAlias = NDArray[np.int64]
_FIELDS = (
    "row, id, path, size, mtime, sha256, w, h, kind, pages, problem, reason, cell, at, draw,"
    " looked, was"
)
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE cell (cell INTEGER PRIMARY KEY, presence TEXT, state TEXT, class INTEGER,
  source TEXT, person TEXT, UNIQUE (presence, state, class, source, person));
CREATE TABLE picture (row INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE,
  path BLOB NOT NULL UNIQUE, size INTEGER, mtime INTEGER, sha256 TEXT, w INTEGER, h INTEGER,
  kind TEXT, pages INTEGER, problem TEXT, reason TEXT, cell INTEGER NOT NULL,
  at REAL NOT NULL DEFAULT 0, draw INTEGER NOT NULL, looked INTEGER NOT NULL DEFAULT 0, was TEXT);
CREATE TABLE former (id TEXT PRIMARY KEY, path BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX by_name ON picture (cell, path);
CREATE INDEX by_draw ON picture (cell, draw);
CREATE INDEX by_time ON picture (cell, at, row);
CREATE INDEX by_content ON picture (sha256);
CREATE INDEX unread ON picture (looked, path) WHERE looked < 2;
"""


class Cell(NamedTuple):
    """Where pictures stand; ``class_id`` -1: none."""

    presence: str = "here"  # here, missing, unreadable
    state: str = "open"
    class_id: int = -1
    source: str = ""
    person: str = ""


FRESH = Cell()


class Row(NamedTuple):
    """One file; ``path`` is the id that the book knows it by."""

    row: int
    id: str
    path: str
    size: int | None
    mtime: int | None
    sha256: str | None
    w: int | None
    h: int | None
    kind: str | None
    pages: int | None
    problem: str | None
    reason: str | None
    cell: int
    at: float
    draw: int
    looked: int  # 0: not read, 1: read, 2: compared with what was known before
    was: str | None  # the content before it was read again


class Spot(NamedTuple):
    """Where a file stands now, for `Index.place`."""

    row: int
    cell: int
    at: float


class Found(NamedTuple):
    """A file as a walk found it."""

    path: str
    size: int
    mtime: int


class Index:
    """See above.  ``seed`` makes ids and the order of random draws; threads may share it.

    A file that is damaged, of another form or of another ``seed`` is made anew.
    """

    def __init__(self, path: Path, seed: str) -> None:
        self.path, self.seed = path, seed
        self._lock = RLock()
        self._connection = self._opened()
        self._cells: dict[Cell, int] = {}
        self._named: dict[int, Cell] = {}
        self.counts: dict[int, int] = {}
        self.version = 0  # of where pictures stand
        self.upset = 0  # how often a transaction went back: sums kept elsewhere are to be redone
        self.watch: Callable[[Rows, Rows, Rows], None] = _nobody  # rows, cells before, cells now
        self._standing: NDArray[np.int32] | None = None  # by row
        self._top = 0  # the last row that it knows
        self._names: NDArray[np.bytes_] = np.zeros(0, dtype="S20")
        self._learn_cells()
        for number, n in self._connection.execute(
            "SELECT cell, COUNT(*) FROM picture GROUP BY cell"
        ):
            self.counts[number] = n

    # ---------------------------------------------------------------- opening

    def _opened(self) -> sqlite3.Connection:
        with suppress(sqlite3.Error):
            connection = self._connected()
            said = dict(connection.execute("SELECT key, value FROM meta"))
            if said.get("format") == FORMAT and said.get("seed") == self.seed:
                return connection
            connection.close()
        for end in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + end).unlink(missing_ok=True)
        try:
            connection = self._connected()
            connection.executescript(_SCHEMA)
            meta = [
                ("format", FORMAT), ("seed", self.seed), ("seq", 0),
                ("made", secrets.token_hex(8)),
            ]  # fmt: skip
            connection.executemany("INSERT INTO meta VALUES (?, ?)", meta)
        except sqlite3.Error as error:
            raise StoreError(
                f"the index {self.path} cannot be made: {error}; check the disk and its rights"
            ) from error
        return connection

    def _connected(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA journal_mode = WAL")
        # nothing here is precious: what a power cut takes is made again
        connection.execute("PRAGMA synchronous = OFF")
        # what thousands of pictures touch in 1,000,000 rows, of four trees
        connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        return connection

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; the counts of cells go back with it."""
        with self._lock:
            if self._connection.in_transaction:
                yield self._connection
                return
            before = dict(self.counts)
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                self.counts = before
                self._standing = None
                self.version += 1
                self.upset += 1
                self._learn_cells()
                raise

    @contextmanager
    def held(self) -> Iterator[None]:
        """Nothing moves meanwhile."""
        with self._lock:
            yield

    def meta(self, key: str, default: Any = None) -> Any:
        """A value kept with the index."""
        found = self._one("SELECT value FROM meta WHERE key = ?", (key,))
        return default if found is None else found[0]

    def keep(self, key: str, value: int | str) -> None:
        """Keep a value with the index."""
        with self.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    # ---------------------------------------------------------------- rows

    def add(self, files: Iterable[Found], cell: Cell = FRESH) -> None:
        """Take in files that are new."""
        with self.writing() as connection:
            number = self._number(cell)
            rows = [self._fresh(f, number) for f in files]
            connection.executemany(
                "INSERT INTO picture (id, path, size, mtime, cell, draw) VALUES (?, ?, ?, ?, ?, ?)",
                rows,
            )
            self._count(number, len(rows))
            self.version += 1
            if self._standing is not None:
                self._extend()

    def _fresh(self, file: Found, cell: int) -> tuple[Any, ...]:
        id, path = self._id(file.path), _bytes(file.path)
        draw = int.from_bytes(self._hash("draw", path, 8), "big") >> 1
        return id, path, file.size, file.mtime, cell, draw

    def _id(self, path: str) -> str:
        """Opaque, and the same for the same path, also when the index was made anew."""
        for attempt in range(1_000):  # a moved picture may have taken its id along
            id = self._hash(f"id{attempt}", _bytes(path), 10).hex()
            if self._one("SELECT 1 FROM picture WHERE id = ?", (id,)) is None:
                return id
        raise StoreError(f"the index {self.path} is damaged: delete it, it is made again")

    def _hash(self, what: str, path: bytes, size: int) -> bytes:
        return blake2b(path, key=f"{self.seed}/{what}".encode()[:64], digest_size=size).digest()

    def find(self, id: str) -> Row | None:
        """A picture by its opaque id, by a former one as well."""
        found = self._row("id = ?", (id,))
        if found is None:
            former = self._one("SELECT path FROM former WHERE id = ?", (id,))
            found = None if former is None else self._row("path = ?", former)
        return found

    def at(self, path: str) -> Row | None:
        """A picture by its path."""
        return self._row("path = ?", (_bytes(path),))

    def of(self, paths: Collection[str]) -> dict[str, Row]:
        """Pictures by their paths."""
        return {row.path: row for row in self._several("path", [_bytes(p) for p in paths])}

    def spots(self, paths: Collection[str]) -> Iterator[tuple[str, Spot]]:
        """Where pictures stand, by their paths: cheaper than `of` for thousands."""
        names = list(paths)
        for start in range(0, len(names), _AT_ONCE):
            part = [_bytes(path) for path in names[start : start + _AT_ONCE]]
            with self._lock:
                found = self._connection.execute(
                    "SELECT path, row, cell, at FROM picture WHERE path IN"
                    f" ({', '.join('?' * len(part))})",
                    part,
                ).fetchall()
            for path, row, cell, at in found:
                yield path.decode("utf-8", "surrogatepass"), Spot(row, cell, at)

    def by_id(self, ids: Collection[str]) -> dict[str, Row]:
        """Pictures by their opaque ids, former ones as well."""
        found = {row.id: row for row in self._several("id", list(ids))}
        for id in ids:
            if id not in found and (row := self.find(id)) is not None:
                found[id] = row
        return found

    def _several(self, column: str, values: Sequence[Any]) -> Iterator[Row]:
        for start in range(0, len(values), _AT_ONCE):
            part = tuple(values[start : start + _AT_ONCE])
            yield from self._rows(f"{column} IN ({', '.join('?' * len(part))})", part)

    def like(self, sha256: str) -> list[Row]:
        """Pictures of the same content."""
        return self._rows("sha256 = ? LIMIT 1000", (sha256,))

    def cell(self, number: int) -> Cell:
        """What a number of a cell stands for."""
        return self._named[number]

    def read(self, row: int, facts: Mapping[str, Any]) -> None:
        """Keep what was read of a file: columns by name."""
        names = ", ".join(f"{name} = ?" for name in facts)
        with self.writing() as connection:
            connection.execute(
                f"UPDATE picture SET {names}, looked = MAX(looked, 1) WHERE row = ?",
                (*facts.values(), row),
            )

    def settled(self, row: int) -> None:
        """A file was compared with what was known of it."""
        with self.writing() as connection:
            connection.execute("UPDATE picture SET looked = 2, was = NULL WHERE row = ?", (row,))

    def place(self, rows: Iterable[tuple[Row | Spot, Cell, float]]) -> None:
        """Put pictures, as they are in the index now, into the cells where they stand."""
        with self.writing() as connection:
            now: dict[tuple[int, float], list[int]] = {}  # those of one answer stand together
            changed: list[tuple[int, int, int]] = []
            for row, cell, at in rows:
                number = self._number(cell)
                if (row.cell, row.at) != (number, at):
                    now.setdefault((number, at), []).append(row.row)
                    changed.append((row.row, row.cell, number))
            many = {where: some for where, some in now.items() if len(some) >= _MANY}
            for where, some in many.items():  # one statement is faster than thousands
                connection.execute(
                    "UPDATE picture SET cell = ?, at = ? WHERE row IN"
                    " (SELECT value FROM json_each(?))",
                    (*where, json.dumps(some)),
                )
            few = ((*where, row) for where in now.keys() - many for row in now[where])
            connection.executemany("UPDATE picture SET cell = ?, at = ? WHERE row = ?", few)
            for (old, new), n in Counter((old, new) for _, old, new in changed).items():
                self._count(old, -n)
                self._count(new, n)
            if changed:
                self._moved(*np.array(changed, dtype=np.int64).T)

    def again(self, row: int, size: int | None = None, mtime: int | None = None) -> None:
        """A file that is to be read again; what it held is remembered until it is compared."""
        with self.writing() as connection:
            connection.execute(
                "UPDATE picture SET size = COALESCE(?, size), mtime = COALESCE(?, mtime),"
                " looked = 0, was = COALESCE(was, sha256) WHERE row = ?",
                (size, mtime, row),
            )

    def all_again(self) -> None:
        """Every file is to be read again."""
        with self.writing() as connection:
            connection.execute("UPDATE picture SET looked = 0, was = COALESCE(was, sha256)")

    def forget(self, row: Row, *, now: str) -> None:
        """Drop a file that has another name now; its id goes on to lead there."""
        with self.writing() as connection:
            connection.execute("DELETE FROM picture WHERE row = ?", (row.row,))
            path = _bytes(now)
            connection.execute(
                "UPDATE former SET path = ? WHERE path = ?", (path, _bytes(row.path))
            )
            connection.execute("INSERT OR REPLACE INTO former VALUES (?, ?)", (row.id, path))
            self._count(row.cell, -1)
            self._moved(*np.array([[row.row], [row.cell], [0]], dtype=np.int64))

    def unread(self, looked: int, n: int, after: str = "") -> list[Row]:
        """Files that are not read (0) or not compared (1), in the order of their paths."""
        return self._rows(
            "looked = ? AND looked < 2 AND path > ? ORDER BY path LIMIT ?",
            (looked, _bytes(after), n),
        )

    def waiting(self) -> int:
        """How many files nobody has read."""
        return int(self._one("SELECT COUNT(*) FROM picture WHERE looked = 0", ())[0])

    def walk(self, n: int, after: int) -> list[Row]:
        """All rows, ``n`` at a time, for work in the background."""
        return self._rows("row > ? ORDER BY row LIMIT ?", (after, n))

    # ---------------------------------------------------------------- rows by number

    def standing(self, rows: Rows) -> NDArray[np.int32]:
        """Number of the cell of each row, 0 where a row is gone."""
        with self._lock:
            if self._standing is None:
                self._standing = np.zeros(1024, dtype=np.int32)
                self._extend(first=0)
            known = self._standing
            inside = (rows >= 0) & (rows < len(known))
            return np.where(inside, known[np.where(inside, rows, 0)], 0).astype(np.int32)

    def numbers(self, cells: Iterable[Cell]) -> NDArray[np.bool_]:
        """Which numbers of cells are among some cells: ``mask[standing]`` selects rows."""
        with self._lock:
            mask = np.zeros(max(self._named, default=0) + 1, dtype=np.bool_)
            mask[[self._cells[cell] for cell in cells if cell in self._cells]] = True
            return mask

    def named(self) -> dict[int, Cell]:
        """Every cell by its number."""
        with self._lock:
            return dict(self._named)

    def by_row(self, rows: Collection[int]) -> dict[int, Row]:
        """Pictures by their rows."""
        with self._lock:
            return {row.row: row for row in self._several("row", [int(row) for row in rows])}

    def ids(self, rows: Rows) -> list[str]:
        """Opaque ids by row; of rows that are gone, too.  O(1) each after the first use."""
        with self._lock:
            have = len(self._names)
            if int(rows.max(initial=0)) >= have:
                text = "SELECT row, id FROM picture WHERE row >= ?"
                found = self._connection.execute(text, (have,)).fetchall()
                grown = np.zeros(
                    max([int(rows.max()), *(row for row, _ in found)]) + 1, dtype="S20"
                )
                grown[:have] = self._names
                for row, id in found:
                    grown[row] = id
                self._names = grown
            return [id.decode("ascii") for id in self._names[rows].tolist()]

    def _extend(self, first: int | None = None) -> None:
        """Take up rows that came since."""
        assert self._standing is not None
        if first is None:
            first = self._top
        found = self._connection.execute("SELECT row, cell FROM picture WHERE row > ?", (first,))
        fresh = np.array(found.fetchall(), dtype=np.int64).reshape(-1, 2)
        self._top = max(first, int(fresh[:, 0].max(initial=0)))
        if self._top >= len(self._standing):
            grown = np.zeros(2 * self._top, dtype=np.int32)
            grown[: len(self._standing)] = self._standing
            self._standing = grown
        self._standing[fresh[:, 0]] = fresh[:, 1]

    def _moved(self, rows: Rows, old: Rows, new: Rows) -> None:
        self.version += 1
        if self._standing is not None:
            self._standing[rows] = new
        self.watch(rows, old, new)

    # ---------------------------------------------------------------- cells

    def cells(self) -> list[tuple[Cell, int]]:
        """Every cell that holds something, and how much."""
        with self._lock:
            return [(self._named[number], n) for number, n in self.counts.items() if n]

    def numbered(self) -> list[tuple[int, Cell, int]]:
        """The same, with the number of each cell."""
        with self._lock:
            return [(number, self._named[number], n) for number, n in self.counts.items() if n]

    def _learn_cells(self) -> None:
        self._named = {
            number: Cell(*cell) for number, *cell in self._connection.execute("SELECT * FROM cell")
        }
        self._cells = {cell: number for number, cell in self._named.items()}

    def _number(self, cell: Cell) -> int:
        if cell not in self._cells:
            number = max(self._named, default=0) + 1
            self._connection.execute("INSERT INTO cell VALUES (?, ?, ?, ?, ?, ?)", (number, *cell))
            self._cells[cell], self._named[number] = number, cell
        return self._cells[cell]

    def _count(self, cell: int, n: int) -> None:
        self.counts[cell] = self.counts.get(cell, 0) + n

    # ---------------------------------------------------------------- pages

    def page(
        self,
        cells: Collection[Cell],
        n: int,
        *,
        order: Order = "name",
        down: bool = False,
        after: tuple[Any, int] | None = None,
        folder: str = "",
    ) -> list[Row]:
        """The next ``n`` pictures of some cells behind ``after``, a sort key and a row number."""
        with self._lock:
            numbers = [self._cells[c] for c in cells if self.counts.get(self._cells.get(c, -1))]
            walks = [self._walk(number, n, order, down, after, folder) for number in numbers]
            key = _KEYS[order]
            merged = heapq.merge(
                *walks, key=lambda found: (_sortable(found, key), found.row), reverse=down
            )
            return [row for row, _ in zip(merged, range(n), strict=False)]

    def _walk(
        self,
        cell: int,
        n: int,
        order: Order,
        down: bool,
        after: tuple[Any, int] | None,
        folder: str,
    ) -> Iterator[Row]:
        key, sign, way = _KEYS[order], "<" if down else ">", "DESC" if down else "ASC"
        where: list[str] = ["cell = ?"]
        values: list[Any] = [cell]
        if after is not None:
            where.append(f"({key}, row) {sign} (?, ?)")
            values += after
        if folder:
            low, high = _below(folder)
            where.append("path >= ? AND path < ?")
            values += [low, high]
        text = f"{' AND '.join(where)} ORDER BY {key} {way}, row {way} LIMIT ?"
        return map(_row, self._select(text, (*values, n)))

    def count(self, cells: Collection[Cell], folder: str = "") -> tuple[int, bool]:
        """How many pictures some cells hold; below a folder exact up to `FOLDER_LIMIT`."""
        with self._lock:
            numbers = [self._cells[c] for c in cells if c in self._cells]
            if not folder:
                return sum(self.counts.get(number, 0) for number in numbers), True
            total = 0
            for number in numbers:
                found = self._one(
                    "SELECT COUNT(*) FROM (SELECT 1 FROM picture WHERE cell = ? AND path >= ?"
                    " AND path < ? LIMIT ?)",
                    (number, *_below(folder), FOLDER_LIMIT - total),
                )
                total += found[0] if found else 0
            return total, total < FOLDER_LIMIT

    # ---------------------------------------------------------------- reading

    def _one(self, text: str, values: tuple[Any, ...]) -> Any:
        with self._lock:
            return self._connection.execute(text, values).fetchone()

    def _row(self, where: str, values: tuple[Any, ...]) -> Row | None:
        found = self._one(f"SELECT {_FIELDS} FROM picture WHERE {where}", values)
        return None if found is None else _row(found)

    def _rows(self, where: str, values: tuple[Any, ...]) -> list[Row]:
        with self._lock:
            return [_row(found) for found in self._select(where, values)]

    def _select(self, where: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        return self._connection.execute(f"SELECT {_FIELDS} FROM picture WHERE {where}", values)


def _nobody(rows: Rows, old: Rows, new: Rows) -> None:
    """Nobody watches."""


def as_text(key: Any) -> Any:
    """A sort key as JSON can hold it."""
    return key.decode("utf-8", "surrogatepass") if isinstance(key, bytes) else key


def _row(found: tuple[Any, ...]) -> Row:
    path = found[2].decode("utf-8", "surrogatepass")
    return Row._make((found[0], found[1], path, *found[3:]))  # twice as fast as Row(...)


def _sortable(row: Row, key: str) -> Any:
    return _bytes(row.path) if key == "path" else getattr(row, key)


def _bytes(path: str) -> bytes:
    """Paths in the order of their code points, names that are no UTF-8 included."""
    return path.encode("utf-8", "surrogatepass")


def _below(folder: str) -> tuple[bytes, bytes]:
    prefix = _bytes(folder.rstrip("/"))
    return prefix + b"/", prefix + b"0"  # "0" follows "/"
