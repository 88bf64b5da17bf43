"""A project with pictures, and the worker beside it: what the tests of the worker share."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

from handful import revisions
from handful.events import class_events
from handful.page.index import Cell, Found, Index
from handful.store import SqliteBook
from handful.types import Event

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digits(n: int = 1797) -> tuple[np.ndarray, np.ndarray]:
    """Digits enlarged to 64 x 64 by repetition, shuffled, and what they are."""
    data = load_digits()
    order = np.random.default_rng(7).permutation(len(data.target))[:n]
    small = np.rint(data.images[order] * 255 / 16).astype(np.uint8)
    return np.kron(small, np.ones((8, 8), np.uint8)), data.target[order]


def png(pixels: np.ndarray) -> bytes:
    out = BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


class Project:
    """A folder of pictures, its index and its book, without a page."""

    def __init__(self, place: Path, folder: Path, files: dict[str, bytes]) -> None:
        self.place, self.folder = place, folder
        folder.mkdir(parents=True, exist_ok=True)
        (place / "derived").mkdir(parents=True, exist_ok=True)
        self.book = SqliteBook(place / "book.sqlite")
        self.index = Index(place / "derived" / "index.sqlite", "seed")
        self.made = str(self.index.meta("made"))
        self.number = 0
        if not len(self.book):
            self.book.append(class_events(WORDS))
        self.add(files)

    def add(self, files: dict[str, bytes]) -> None:
        """Files that are new, read by the page already."""
        for name, data in files.items():
            (self.folder / name).write_bytes(data)
        found = [Found(name, len(data), 1) for name, data in files.items()]
        with self.index.writing() as connection:
            self.index.add(found)
            for name, data in files.items():
                with Image.open(BytesIO(data)) as image:
                    w, h = image.size
                connection.execute(
                    "UPDATE picture SET sha256 = ?, w = ?, h = ?, looked = 2 WHERE path = ?",
                    (hashlib.sha256(data).hexdigest(), w, h, name.encode()),
                )

    def hide(self, name: str, presence: str = "missing") -> None:
        row = self.index.at(name)
        assert row is not None
        self.index.place([(row, Cell(presence), 0.0)])

    def rows(self) -> dict[str, int]:
        """Row of each picture by its name."""
        place = self.place / "derived" / "index.sqlite"
        with sqlite3.connect(place) as connection:
            found = connection.execute("SELECT path, row FROM picture").fetchall()
        return {bytes(path).decode(): row for path, row in found}

    def say(self, kind: str, **data: Any) -> Event:
        self.number += 1
        event = Event(kind, f"test/{len(self.book)}/{self.number}", data, person="P1")
        self.book.append([event])
        return event

    def answer(self, names: Sequence[str], classes: Sequence[int], source: str = "hand") -> None:
        self.book.append(
            Event(
                "labelled",
                f"a/{len(self.book)}/{i}",
                {"image": n, "class": int(c), "source": source},
            )
            for i, (n, c) in enumerate(zip(names, classes, strict=True))
        )

    def newest(self, kind: str) -> revisions.Revision | None:
        return revisions.newest(self.place / "derived" / "revisions", kind, made=self.made)

    def wait_for(self, kind: str, rev: int = 1, seconds: float = 90) -> revisions.Revision:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = self.newest(kind)
            if found is not None and found.rev >= rev:
                return found
            time.sleep(0.02)
        raise AssertionError(f"no revision {rev} of {kind} in {seconds} s")

    def close(self) -> None:
        self.index.close()
        self.book.close()


class Process:
    """The worker in a process of its own, and what it says."""

    def __init__(self, project: Project, *more: str) -> None:
        self.project = project
        self.process = subprocess.Popen(
            [sys.executable, "-m", "handful.worker", "--place", str(project.place),
             "--folder", str(project.folder), *more],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ,
        )  # fmt: skip
        self.lines: list[dict[str, Any]] = []
        self._queue: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._queue.put(json.loads(line))
        self._queue.put(None)

    def tell(self, **said: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(said) + "\n")
        self.process.stdin.flush()

    def hear(self, wanted: str, seconds: float = 90, **values: Any) -> dict[str, Any]:
        """The next line with such a key and such values."""
        until = time.monotonic() + seconds
        while True:
            line = self._queue.get(timeout=max(0.01, until - time.monotonic()))
            assert line is not None, "the worker ended"
            self.lines.append(line)
            if wanted in line and all(line.get(k) == v for k, v in values.items()):
                return line

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def end(self, seconds: float = 20) -> int:
        """Let what comes in end; the exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(seconds)


@contextmanager
def running(project: Project, *more: str) -> Iterator[Process]:
    worker = Process(project, *more)
    try:
        yield worker
    finally:
        if worker.process.poll() is None:
            worker.kill()
        for pipe in (worker.process.stdin, worker.process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
