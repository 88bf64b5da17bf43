"""Child processes that read files, and the line in front of them.

A picture that somebody looks at jumps the line, the newest first: those scrolled away come
late.  A child that dies, or takes more than 20 s for one file, is ended and another begun;
the file gets a reason, nothing else is lost.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from queue import PriorityQueue
from typing import IO, Any

from handful.page.reasons import TOO_SLOW

__all__ = ["BEHIND", "NOW", "SOON", "Decoders", "Reading"]

SECONDS = 20.0  # a file may take
NOW, SOON, BEHIND = 0, 1, 2  # somebody looks at it; an index needs it; whenever there is time
_END = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read of a file; ``problem`` is the id and the text of a message."""

    sha256: str = ""
    w: int = 0
    h: int = 0
    kind: str = ""
    pages: int = 1
    channels: int = 1
    size: int = 0
    bits: int = 8  # and what its values are like, where that was asked
    least: float = 0.0
    most: float = 255.0
    low: float = 0.0
    high: float = 255.0
    problem: tuple[str, str] | None = None
    body: bytes = b""


@dataclass(order=True)
class _Job:
    rank: int
    order: int
    line: bytes = field(compare=False)
    result: Future[Reading] = field(compare=False)


class Decoders:
    """``n`` children for the files below ``root``; begun at once, ended by ``close``.

    ``follow``: links that lead out of the folder are followed.
    """

    def __init__(
        self, root: Path, *, follow: bool = False, n: int | None = None, seconds: float = SECONDS
    ) -> None:
        self._root, self._follow, self._seconds = os.path.realpath(root), follow, seconds
        self._line: PriorityQueue[_Job] = PriorityQueue()
        self._order = count()
        self._closed = threading.Event()
        self._children = [
            _Child(self) for _ in range(min(4, os.cpu_count() or 1) if n is None else n)
        ]
        threading.Thread(target=self._watch, name="decoder watch", daemon=True).start()

    def read(
        self, path: str, *, side: int = 0, page: int = 0, rank: int = SOON, **more: Any
    ) -> Future[Reading]:
        """Read a file of the folder; ``side`` 0: hash and header only.  May be cancelled.

        ``more``: channel, contrast, measure, see `handful.page.decoder`.
        """
        place = os.path.join(self._root, path)
        asked = {"path": place, "side": side, "page": page, **more}
        line = json.dumps(asked).encode("ascii") + b"\n"
        order = next(self._order)
        result: Future[Reading] = Future()
        self._line.put(_Job(rank, -order if rank == NOW else order, line, result))
        if self._closed.is_set():
            result.cancel()
        return result

    def close(self) -> None:
        """End the children; what still waits is cancelled."""
        self._closed.set()
        for _ in self._children:
            self._line.put(_Job(_END, next(self._order), b"", Future()))
        for child in self._children:
            child.end()

    def _watch(self) -> None:
        """End any child that has been at one file for too long."""
        while not self._closed.wait(min(0.5, self._seconds / 4)):
            for child in self._children:
                if child.since and time.monotonic() - child.since > self._seconds:
                    child.end()

    def _begin(self) -> subprocess.Popen[bytes]:
        # -P: nothing in the folder at hand can be imported
        links = "follow" if self._follow else "stay"
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "handful.page.decoder", self._root, links],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )


class _Child:
    """One process, and the thread that speaks with it."""

    def __init__(self, pool: Decoders) -> None:
        self.since = 0.0
        self._pool = pool
        self._process = pool._begin()
        threading.Thread(target=self._serve, name="decoder", daemon=True).start()

    def end(self) -> None:
        with suppress(OSError):
            self._process.kill()

    def _serve(self) -> None:
        while True:
            job = self._pool._line.get()
            if job.rank == _END or self._pool._closed.is_set():
                job.result.cancel()
                if self._pool._line.empty():
                    break
                continue
            if not job.result.set_running_or_notify_cancel():
                continue
            self.since = time.monotonic()
            try:
                reading = self._ask(job.line)
            except (OSError, ValueError, EOFError):
                reading = Reading(problem=TOO_SLOW)
                self._again()
            self.since = 0.0
            job.result.set_result(reading)
        self._shut()

    def _ask(self, line: bytes) -> Reading:
        into, out = self._pipes()
        into.write(line)
        into.flush()
        said = json.loads(out.readline(1 << 16))
        body = out.read(said["body"])
        if len(body) != said.pop("body"):
            raise EOFError
        problem = said.pop("problem", None)
        return Reading(**said, problem=None if problem is None else tuple(problem), body=body)

    def _again(self) -> None:
        self._shut()
        if not self._pool._closed.is_set():
            self._process = self._pool._begin()

    def _shut(self) -> None:
        self.end()
        self._process.wait()
        for pipe in self._pipes():
            with suppress(OSError):
                pipe.close()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        into, out = self._process.stdin, self._process.stdout
        if into is None or out is None:
            raise EOFError
        return into, out
