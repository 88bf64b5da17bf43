"""Several people at one page: who they are, and which pictures each of them is asked.

::

    browser --cookie--> session --said once--> a name          never in an address
    name    --lease-->  20 pictures for 120 s                  nobody else is asked them

Names, not accounts: who gives the name of somebody else is that person.  A browser that was
let in stays so over restarts, by the hash of its secret in ``people.json``, which only the
owner may read.

A lease says nothing about a picture, so it is no event of the book: it would be most of the
book, and what the process that learns waits for.  It is kept in ``derived/leases.json``
instead, because answers that wait in a browser while the page is down must find their picture
still theirs; a lost file costs one picture asked twice.

Without ``--lan`` there is one person, and none of this.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from threading import RLock
from typing import Any

__all__ = ["HERE", "HOST", "LEASE", "SECONDS", "Lease", "Leases", "People"]

log = logging.getLogger(__name__)
LEASE = 20  # pictures that one person is asked at a time
SECONDS = 120.0  # that they stay with a person who does nothing
HERE = 120.0  # seconds since the last request in which a person counts as here
HOST = "host"  # the session of the browser on this computer
_SESSIONS = 200  # browsers that are remembered, those heard last

# the session of the request at hand; requests that run in threads carry it along
_speaking: ContextVar[str] = ContextVar("handful.speaking", default="")


@dataclass(slots=True)
class Lease:
    """A picture that a person is asked; ``twice``: somebody else is asked it too."""

    until: float
    mode: str
    twice: bool = False


class Leases:
    """Who is asked which picture, by id; one person at a time."""

    def __init__(self, path: Path | None, now: Callable[[], float] = time.time) -> None:
        self._path, self._now = path, now
        self._of: dict[str, dict[str, Lease]] = {}  # by person, in the order of being asked
        until = now() + SECONDS  # whoever waited for the page to come back has lost no time
        for person, held in (_read(path) if path else {}).items():
            if isinstance(held, dict):
                self._of[str(person)] = {
                    str(image): Lease(until, str(said[0]), said[1] is True)
                    for image, said in held.items()
                    if isinstance(said, list) and len(said) == 2
                }

    def held(self, person: str, mode: str = "") -> dict[str, Lease]:
        """What a person is asked, their time over or not, as long as nobody else took it."""
        return {
            image: lease
            for image, lease in self._of.get(person, {}).items()
            if mode in ("", lease.mode)
        }

    def others(self, person: str) -> set[str]:
        """Pictures that somebody else is asked now."""
        now = self._now()
        return {
            image
            for other, held in self._of.items() if other != person
            for image, lease in held.items() if lease.until > now
        }  # fmt: skip

    def take(self, person: str, images: Collection[str], mode: str, twice: Collection[str]) -> None:
        """Ask a person some pictures; of this mode, no others any more."""
        until = self._now() + SECONDS
        mine = self._of.setdefault(person, {})
        before = self.held(person, mode)
        if before.keys() - set(images) or set(images) - before.keys():
            for image in before.keys() - set(images):
                del mine[image]
            for other, held in self._of.items():  # those whose time is over
                for image in held.keys() & set(images) if other != person else ():
                    del held[image]
            mine |= {i: Lease(until, mode, i in twice) for i in images}
            self._write()

    def give_back(self, person: str, images: Iterable[str]) -> None:
        """Answered: nobody is asked them any more."""
        mine = self._of.get(person, {})
        for image in images:
            mine.pop(image, None)

    def renew(self, person: str) -> None:
        """A person is at work: what they are asked stays theirs."""
        now = self._now()
        for lease in self._of.get(person, {}).values():
            if lease.until > now:
                lease.until = now + SECONDS

    def twice(self, person: str, image: str) -> bool:
        """Whether a picture was given to a person as one of those asked twice."""
        lease = self._of.get(person, {}).get(image)
        return lease is not None and lease.twice

    def _write(self) -> None:
        said = {
            person: {image: [lease.mode, lease.twice] for image, lease in held.items()}
            for person, held in self._of.items() if held
        }  # fmt: skip
        if self._path is not None:
            _keep(self._path, said)


@dataclass(slots=True)
class _Session:
    name: str = ""
    number: int = 0  # of a guest without a name
    at: float = 0.0  # heard last


class People:
    """Everybody who was let in; ``several``: the page is open to the network.

    Threads may share it.
    """

    def __init__(
        self, place: Path, *, several: bool = False, now: Callable[[], float] = time.time
    ) -> None:
        self.several, self._now, self._lock = several, now, RLock()
        self._path = place / "people.json"
        self.leases = Leases(place / "derived" / "leases.json" if several else None, now)
        self._sessions: dict[str, _Session] = {HOST: _Session()}
        for key, said in (_read(self._path) if several else {}).items():
            if isinstance(said, list) and len(said) == 3 and isinstance(said[1], int):
                name, number, at = said
                self._sessions[str(key)] = _Session(str(name), number, float(at))

    # ---------------------------------------------------------------- who asks

    def enter(self) -> str:
        """Let a browser in: the secret of its cookie."""
        secret = secrets.token_urlsafe(32)
        with self._lock:
            number = 1 + max(session.number for session in self._sessions.values())
            self._sessions[_digest(secret)] = _Session(number=number, at=self._now())
            self._write()
        return secret

    def session(self, secret: str) -> str | None:
        """The session of a secret; None: it is nobody's."""
        key = _digest(secret)
        return key if key in self._sessions else None

    def speaks(self, session: str) -> None:
        """From here on, the request at hand is of this session."""
        _speaking.set(session)
        found = self._sessions.get(session)
        if found is not None:
            found.at = self._now()

    @property
    def host(self) -> bool:
        """Whether the request at hand comes from the computer of the page."""
        return _speaking.get() == HOST

    @property
    def named(self) -> bool:
        """Whether the person of the request at hand has said a name."""
        found = self._sessions.get(_speaking.get())
        return found is not None and bool(found.name)

    @property
    def speaking(self) -> str:
        """The name of whom the request at hand comes from; empty outside of one."""
        found = self._sessions.get(_speaking.get())
        return "" if found is None else _name(found)

    def call(self, name: str) -> None:
        """The person of the request at hand has this name."""
        with self._lock:
            found = self._sessions.get(_speaking.get())
            if found is not None:
                found.name = name
                self._write()

    def here(self) -> dict[str, bool]:
        """Names of all who have one, or were heard since; whether they are here now."""
        now = self._now()
        found: dict[str, bool] = {}
        with self._lock:
            for session in self._sessions.values():
                near = now - session.at < HERE
                if near or session.name:
                    found[_name(session)] = found.get(_name(session), False) or near
        return found

    def _write(self) -> None:
        last = sorted(self._sessions.items(), key=lambda item: -item[1].at)[:_SESSIONS]
        _keep(self._path, {key: [s.name, s.number, s.at] for key, s in last})


def _name(session: _Session) -> str:
    return session.name or (f"Guest {session.number}" if session.number else "Host")


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def _keep(path: Path, said: Any) -> None:
    """Write a small file that only the owner may read; a full disk costs what it says."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(said, file)
        part.replace(path)
    except OSError as error:
        log.warning("%s could not be written (%s)", path.name, error)
