"""How the worker speaks: JSON lines in, JSON lines out.

::

    in    {"seq": n}  {"images": n, "complete": bool}  {"regroup": true}  {"set": {...}}
    out   {"task": {"name", "text", "done", "total", "eta_s"}}  {"published": kind, "rev": n}
          {"failed": "sentence"}

The end of what comes in is the end of the worker: whoever started it has gone.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import IO, Any

from handful.progress import Array

__all__ = ["Ear", "Ended", "Voice"]

GRACE = 2.0  # seconds from the end of what comes in to the end of the process
PAUSE = 0.25  # seconds between two lines about one task


class Ended(Exception):
    """Nobody is there any more."""


class Ear:
    """Hears lines in a thread of its own; ``leave()`` is called a while after the last."""

    def __init__(self, stream: IO[str], leave: Callable[[], None] | None = None) -> None:
        self._lines: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._stream, self._leave = stream, leave or (lambda: os._exit(0))
        threading.Thread(target=self._hear, name="ear", daemon=True).start()

    def _hear(self) -> None:
        for line in self._stream:
            try:
                said = json.loads(line)
            except ValueError:
                continue  # half a line of somebody who was killed
            if isinstance(said, dict):
                self._lines.put(said)
        self._lines.put(None)
        # what is under way may be one long product of matrices: nothing is lost by ending it
        time.sleep(GRACE)
        self._leave()

    def said(self, wait: float = 0.0) -> Iterator[dict[str, Any]]:
        """What was said since, the first after so many seconds at most; `Ended` at the end."""
        try:
            line = self._lines.get(timeout=wait) if wait > 0 else self._lines.get_nowait()
            while True:
                if line is None:
                    self._lines.put(None)
                    raise Ended
                yield line
                line = self._lines.get_nowait()
        except Empty:
            return


@dataclass
class Voice:
    """Says what was done, and how far the work is; a `Progress` for what works longer.

    ``breathe`` is called whenever long work advances: there the worker hears and learns.
    """

    stream: IO[str]
    breathe: Callable[[], None] = lambda: None
    _spoke: float = field(default=0.0, init=False)

    def say(self, **line: Any) -> None:
        """One line out; `Ended` when nobody reads."""
        try:
            self.stream.write(json.dumps(line) + "\n")
            self.stream.flush()
        except (OSError, ValueError) as error:
            raise Ended from error

    @contextmanager
    def work(self, name: str, text: str, total: int | None) -> Iterator[Work]:
        """A task of the status line; over when it ends, however it ends."""
        work = Work(self, name, text, max(1, total or 1))
        self.tell(work)
        try:
            yield work
        finally:
            work.done = work.total
            self.tell(work)

    @contextmanager
    def task(self, name: str, total: int | None, unit: str = "images") -> Iterator[Work]:
        """See `Progress`: the pre-training of an auto-encoder."""
        with self.work("features", "Learning what the pictures look like", total) as work:
            yield work

    def log(
        self, stage: str, step: int, *, assignment: Array | None = None, **figures: float
    ) -> None:
        """See `Progress`: nobody reads figures here."""

    def tell(self, work: Work) -> None:
        """Say how far a task is."""
        left = work.eta
        task: Mapping[str, Any] = {
            "name": work.name, "text": work.text, "done": work.done, "total": work.total,
            "eta_s": None if left is None else round(left, 1),
        }  # fmt: skip
        self._spoke = time.monotonic()
        self.say(task=task)

    def heard(self, work: Work) -> None:
        """A task went on a little."""
        if time.monotonic() - self._spoke > PAUSE and work.done < work.total:
            self.tell(work)
        self.breathe()


@dataclass
class Work:
    """Something under way; see `Task`."""

    voice: Voice
    name: str
    text: str
    total: int
    done: int = 0
    began: float = field(default_factory=time.monotonic)

    def advance(self, n: int = 1, **figures: float) -> None:
        """So much more is done."""
        self.done = min(self.total, self.done + n)
        self.voice.heard(self)

    @property
    def eta(self) -> float | None:
        """Seconds left at the pace so far."""
        passed = time.monotonic() - self.began
        if not self.done or passed < 1:
            return None
        return (self.total - self.done) * passed / self.done
