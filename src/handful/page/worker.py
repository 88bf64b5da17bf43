"""The process that learns: begun, fed and watched from here; the server never loads torch.

::

    server --stdin-->  {"seq": 812}  {"images": 20000, "complete": true}  {"regroup": true}
    worker --stdout--> {"task": {...}}  {"published": "groups", "rev": 7}  {"failed": "..."}

One process of low priority.  It only reads the book and the index, and writes below
``derived/``.  When it dies it is begun again, later each time; the page says so in one sentence
and everything else goes on.  It ends when its input ends: with the server, however that ends.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from handful.page.project import Project
from handful.page.scan import Scanner
from handful.page.schema import Task
from handful.page.settings import features
from handful.revisions import KINDS

__all__ = ["PAUSED", "STOPPED", "Worker"]

log = logging.getLogger(__name__)
PAUSED = "New suggestions pause: the program that makes them ended and begins again. Go on."
STOPPED = (
    "No new suggestions for now: the program that makes them keeps ending. Answers are stored;"
    " start handful again to try once more."
)
_WAITS = (1.0, 2.0, 5.0, 15.0, 60.0)  # seconds before it is begun again
_WELL = 120.0  # seconds after which it counts as running well
_PAUSE = 0.1  # seconds between two messages
_PATIENCE = 0.3  # seconds that it has for ending: whatever it publishes is whole or not there
_NICE = 10
_LONGEST = 1 << 16  # bytes of a line


class Worker:
    """``start``, ``wake`` after whatever changed, ``close``.  ``tell(what)`` says what is new."""

    def __init__(
        self,
        project: Project,
        scanner: Scanner,
        tell: Callable[[str], None],
        *,
        command: list[str] | None = None,
        waits: tuple[float, ...] = _WAITS,
    ) -> None:
        self.project, self.scanner, self.tell = project, scanner, tell
        self.trouble: str | None = None
        self._waits = waits
        self._command = command or _command(project)
        self._tasks: dict[str, Task] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._said: dict[str, Any] = {}
        self._wishes: deque[dict[str, Any]] = deque()
        self._due = threading.Event()
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin the process, and the threads that speak with it."""
        for run, name in ((self._run, "worker"), (self._feed, "worker feed")):
            thread = threading.Thread(target=run, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        process = self._process
        return process is not None and process.poll() is None

    @property
    def tasks(self) -> list[Task]:
        """What it is doing."""
        return list(self._tasks.values())

    def wake(self) -> None:
        """The book or the index has changed."""
        self._due.set()

    def regroup(self) -> bool:
        """Group what is open anew; False when nothing runs that could."""
        self._wishes.append({"regroup": True})
        self._due.set()
        return self.alive

    def close(self) -> None:
        """End it."""
        self._closed.set()
        self._due.set()
        process = self._process
        if process is not None:
            _end(process)
        for thread in self._threads:
            thread.join(_PATIENCE)

    # ---------------------------------------------------------------- watching

    def _run(self) -> None:
        failures = 0
        while not self._closed.is_set():
            begun = time.monotonic()
            self._live()
            if self._closed.is_set():
                break
            failures = 1 if time.monotonic() - begun > _WELL else failures + 1
            stopped = failures > len(self._waits)
            self._tasks.clear()
            self._says(STOPPED if stopped else PAUSED)
            if stopped or self._closed.wait(self._waits[failures - 1]):
                break

    def _live(self) -> None:
        """One life of the process, from its begin to its end."""
        try:
            process = _begun(self._command)
        except OSError as error:
            log.warning("the worker cannot be begun: %s", error)
            return
        self._process = process
        if self._closed.is_set():
            _end(process)
        self._said = {}
        self._due.set()
        assert process.stdout is not None
        assert process.stderr is not None
        last: deque[bytes] = deque(maxlen=20)
        errors = threading.Thread(target=last.extend, args=(process.stderr,), daemon=True)
        errors.start()
        with process.stdout as lines:
            while line := lines.readline(_LONGEST):
                with suppress(ValueError, KeyError, TypeError, AttributeError):
                    self._heard(json.loads(line))
        code = process.wait()
        errors.join(_PATIENCE)
        with suppress(OSError, ValueError):
            process.stderr.close()
            assert process.stdin is not None
            process.stdin.close()
        if not self._closed.is_set():
            told = b"".join(last).decode("utf-8", "replace")[-4_000:]
            log.warning("the worker ended with %s\n%s", code, told)

    def _heard(self, said: dict[str, Any]) -> None:
        if "task" in said:
            self._take(said["task"])
        elif "published" in said and said["published"] in KINDS:
            kind = str(said["published"])
            if self.project.learned.refresh(kind):
                if self.trouble is not None:
                    self._says(None)
                self.tell(kind)
                self.tell("counts")
                if kind == "model":
                    self.tell("classes")
                    self.tell("advice")
        elif "failed" in said:
            self._says(str(said["failed"])[:300])

    def _take(self, task: dict[str, Any]) -> None:
        name, done, total = str(task["name"])[:40], int(task["done"]), int(task["total"])
        if done >= total:
            self._tasks.pop(name, None)
        else:
            eta = task.get("eta_s")
            self._tasks[name] = {
                "name": name, "text": str(task["text"])[:120], "done": done, "total": total,
                "eta_s": float(eta) if isinstance(eta, int | float) else None,
            }  # fmt: skip
        self.tell("task")

    def _says(self, trouble: str | None) -> None:
        self.trouble = trouble
        self.tell("task")

    # ---------------------------------------------------------------- feeding

    def _feed(self) -> None:
        while self._due.wait() and not self._closed.is_set():
            self._due.clear()
            process = self._process
            if process is not None and process.poll() is None and process.stdin is not None:
                try:
                    for message in self._news():
                        process.stdin.write(json.dumps(message).encode() + b"\n")
                    process.stdin.flush()
                except (OSError, ValueError):
                    pass  # it died: whoever watches it sees that
            self._closed.wait(_PAUSE)

    def _news(self) -> list[dict[str, Any]]:
        """What it has not been told, and what was wished for."""
        index = self.project.index
        images = sum(n for cell, n in index.cells() if cell.presence == "here")
        complete = bool(index.meta("looked", 0)) and not {"walk", "read"} & set(self.scanner.work)
        now: dict[str, Any] = {
            "set": {"features": features(self.project)},
            "images": {"images": images, "complete": complete},
            "seq": {"seq": self.project.rev},
        }
        fresh = {kind: what for kind, what in now.items() if self._said.get(kind) != what}
        self._said |= fresh
        messages = [{"set": w} if kind == "set" else w for kind, w in fresh.items()]
        while self._wishes:
            messages.append(self._wishes.popleft())
        return messages


def _command(project: Project) -> list[str]:
    # -P: nothing in the folder at hand can be imported
    command = [sys.executable, "-P", "-m", "handful.worker"]
    command += ["--place", os.fspath(project.place), "--folder", os.fspath(project.folder)]
    return [*command, "--follow"] if project.follow else command


def _begun(command: list[str]) -> subprocess.Popen[bytes]:
    threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    flags: Literal[0] | int = getattr(subprocess, "BELOW_NORMAL_PRIORITY_CLASS", 0)
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, **threads}, creationflags=flags,
    )  # fmt: skip
    if hasattr(os, "setpriority"):
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, process.pid, _NICE)
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its input ends, then it does; one that does not is ended."""
    with suppress(OSError, ValueError):
        if process.stdin is not None:
            process.stdin.close()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
