"""Which pictures there are, and their pixels, one after the other.

The index is another process's: read, never written.  A file is read only while it still holds
what the index says.  Decoders have faults, and a fault here ends the process: the file in hand
is noted before it is decoded, and one that was in hand twice when the process died is left out.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sqlite3
import stat
import weakref
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from math import gcd
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from handful.errors import StoreError
from handful.pool.decode import Layout, decode
from handful.store.files import write_whole
from handful.worker.kept import Keys, short

__all__ = ["Detail", "Listing", "Reader", "detail", "listed"]

Pixels = NDArray[np.uint8]
TOO_LONG = 120.0  # seconds in one decoder; then the process ends itself
TIMES = 2  # a file in hand so often when the process died is left out
GRAY = 8  # levels between the channels of a picture without colour
_HERE = """
SELECT row, path, sha256, w, h FROM picture JOIN cell USING (cell)
WHERE presence = 'here' AND sha256 IS NOT NULL AND looked > 0 AND w > 0 ORDER BY row
"""


@dataclass(frozen=True)
class Listing:
    """The readable pictures, by rising row of the index; ``made`` is the mark of that index.

    What it says of ``row`` and length is what a book asks of a pool.
    """

    made: str
    rows: NDArray[np.int64]
    paths: tuple[str, ...]
    digests: NDArray[np.uint8]  # (n, 32)
    sizes: NDArray[np.int32]  # (n, 2): width, height

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def keys(self) -> Keys:
        """What rows are kept by."""
        return short(self.digests)

    @cached_property
    def _place(self) -> dict[str, int]:
        return {path: at for at, path in enumerate(self.paths)}

    def row(self, path: str) -> int:
        """Where a picture stands; ``KeyError`` when it is not there."""
        return self._place[path]

    @property
    def broken(self) -> Mapping[int, str]:
        """None: what cannot be read is not listed."""
        return {}

    def of(self, places: NDArray[np.int64]) -> Listing:
        """Some of them, rising."""
        paths = tuple(self.paths[at] for at in places.tolist())
        return Listing(
            self.made, self.rows[places], paths, self.digests[places], self.sizes[places]
        )

    def same(self, other: Listing) -> bool:
        """Whether two list the same content under the same names."""
        return (
            self.made == other.made
            and self.paths == other.paths
            and np.array_equal(self.rows, other.rows)
            and np.array_equal(self.digests, other.digests)
        )


def listed(path: Path) -> Listing:
    """The readable pictures of the index at ``path``; `StoreError` where it cannot be read."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as index:
            made = index.execute("SELECT value FROM meta WHERE key = 'made'").fetchone()
            found = index.execute(_HERE).fetchall()
    except sqlite3.Error as error:
        raise StoreError(f"the index {path} cannot be read: {error}; open the page anew") from error
    if made is None:
        raise StoreError(f"the index {path} is of an older version: open the page anew")
    rows, paths, contents, w, h = zip(*found, strict=True) if found else ((),) * 5
    digests = np.frombuffer(bytes.fromhex("".join(contents)), dtype=np.uint8).reshape(-1, 32)
    return Listing(
        str(made[0]),
        np.array(rows, dtype=np.int64),
        tuple(p.decode("utf-8", "surrogateescape") if isinstance(p, bytes) else p for p in paths),
        digests,
        np.array([w, h], dtype=np.int32).T.reshape(-1, 2),
    )


class Reader:
    """Reads the files below ``folder``; notes and what is left out stand in ``place``.

    ``news`` are names left out from now on, to be said once.
    """

    def __init__(self, folder: Path, place: Path, *, follow: bool = False) -> None:
        self._root, self._follow = os.path.realpath(folder), follow
        place.mkdir(parents=True, exist_ok=True)
        self._suspects_at = place / "suspects.json"
        self.suspects: dict[str, int] = {}
        self.unread: set[str] = set()  # contents that could not be read this time
        self.news: list[str] = []
        self._note = os.open(place / "in-hand", os.O_RDWR | os.O_CREAT, 0o644)
        self.close = weakref.finalize(self, os.close, self._note)
        self._recall()

    def _recall(self) -> None:
        with suppress(OSError, ValueError, AttributeError):
            said = json.loads(self._suspects_at.read_text(encoding="utf-8"))
            self.suspects = {bytes.fromhex(name).hex(): int(n) for name, n in said.items()}
        with suppress(ValueError):
            content, _, path = os.read(self._note, 1 << 16).decode("ascii").partition(" ")
            if len(bytes.fromhex(content)) == 32:
                self.suspects[content] = self.suspects.get(content, 0) + 1
                self._remember()
                if self.suspects[content] == TIMES:
                    self.news.append(json.loads(path))
        self._noted(b"")

    def _remember(self) -> None:
        with suppress(StoreError):  # a full disk: it will be tried once more often
            write_whole(self._suspects_at, json.dumps(self.suspects).encode())

    def _noted(self, text: bytes) -> None:
        os.truncate(self._note, 0)
        os.lseek(self._note, 0, os.SEEK_SET)
        os.write(self._note, text)

    def out(self, content: str) -> bool:
        """Whether a content is left out."""
        return content in self.unread or self.suspects.get(content, 0) >= TIMES

    def left_out(self, digests: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of these contents ``(n, 32)`` are left out."""
        bad = [*self.unread, *(name for name, n in self.suspects.items() if n >= TIMES)]
        if not bad:
            return np.zeros(len(digests), dtype=bool)
        names = np.frombuffer(bytes.fromhex("".join(bad)), dtype=np.uint8).reshape(-1, 32)
        return np.isin(short(digests), short(names))

    def read(self, path: str, content: str, *layouts: Layout) -> list[Pixels] | None:
        """One file in some layouts; None where it is not what the index says, or damaged."""
        with self._in_hand(path, content):
            try:
                data = self._bytes(path)
                if data is not None and sha256(data).hexdigest() == content:
                    return [decode(data, layout) for layout in layouts]
            except Exception:  # noqa: BLE001 - a decoder may raise anything at all
                pass
        self.unread.add(content)
        return None

    @contextmanager
    def _in_hand(self, path: str, content: str) -> Iterator[None]:
        self._noted(f"{content} {json.dumps(path)}".encode("ascii"))
        faulthandler.dump_traceback_later(TOO_LONG, exit=True)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
            self._noted(b"")
            if self.suspects.pop(content, None) is not None:
                self._remember()

    def _bytes(self, path: str) -> bytes | None:
        place = os.path.join(self._root, path)
        real = os.path.realpath(place)
        if not self._follow and not real.startswith(self._root.rstrip(os.sep) + os.sep):
            return None
        # a pipe without a writer would hold a plain open for ever
        handle = os.open(place, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(handle, "rb") as file:
            return file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None


class Detail(NamedTuple):
    """What a picture shows: whether it is gray, and its size without any enlargement."""

    gray: bool
    height: int
    width: int


def detail(pixels: Pixels) -> Detail | None:
    """The `Detail` of uint8 ``(C, H, W)``; None where all pixels are alike.

    An enlargement by repetition leaves edges at multiples of its factor alone, in both
    directions; the largest such factor is undone.
    """
    _, height, width = pixels.shape
    gray = bool(np.ptp(pixels.astype(np.int16), axis=0).max() <= GRAY)
    factors = []
    for axis, n in ((1, height), (2, width)):
        moved = np.diff(pixels.astype(np.int16), axis=axis) != 0
        at = np.flatnonzero(moved.any(axis=tuple({0, 1, 2} - {axis}))) + 1
        factors.append(gcd(n, *at.tolist()) if len(at) else 0)
    if not any(factors):
        return None
    down, across = (f or max(factors) for f in factors)
    if height % down or width % across:
        down = across = 1
    return Detail(gray, height // down, width // across)
