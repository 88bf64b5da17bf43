"""Server-sent events: what changed, pushed to the page.

Threads `tell` that something changed; a page hears of it at most five times a second, with
the newest value only.  A page that comes back names the last event it had: what it missed is
repeated, or, when that is too long ago, ``resync`` tells it to read the state again.
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

__all__ = ["Stream"]

_KEPT = 256  # events that a page that comes back may ask for
_EVERY = 0.2  # seconds between two events of one kind
_HEARTBEAT = 15.0


class Stream:
    """``payload(what)`` makes the data of an event when it is due; None: nothing to say."""

    def __init__(self, payload: Callable[[str], dict[str, Any] | None]) -> None:
        self._payload = payload
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due: set[str] = set()
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=_KEPT)
        self._last = 0
        self._news = asyncio.Event()
        self._closed = False
        self._sender: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin; called on the loop of the server."""
        self._loop = asyncio.get_running_loop()
        self._sender = self._loop.create_task(self._send())

    def close(self) -> None:
        """Say ``bye`` and end every stream; on the loop."""
        if not self._closed:
            self._closed = True
            self._keep("bye", {})
            if self._sender is not None:
                self._sender.cancel()

    def tell(self, what: str) -> None:
        """Something changed; from any thread."""
        if self._loop is not None and not self._closed:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._due.add, what)

    async def _send(self) -> None:
        while True:
            await asyncio.sleep(_EVERY)
            due, self._due = sorted(self._due), set()
            for what in due:
                data = await asyncio.to_thread(self._payload, what)
                if data is not None:
                    self._keep(what, data)

    def _keep(self, what: str, data: dict[str, Any]) -> None:
        self._last += 1
        text = f"id: {self._last}\nevent: {what}\ndata: {json.dumps(data)}\n\n"
        self._kept.append((self._last, text.encode("ascii")))
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def events(self, last: str | None) -> AsyncIterator[bytes]:
        """Events behind ``last``, the id that a page names; all that come, without one."""
        at = self._last
        yield b"retry: 1000\n\n"
        if last is not None:
            oldest = self._kept[0][0] if self._kept else self._last + 1
            known = last.isdecimal() and len(last) < 16 and oldest - 1 <= int(last) <= self._last
            if known:
                at = int(last)
            else:
                yield f"id: {self._last}\nevent: resync\ndata: {{}}\n\n".encode("ascii")
        while True:
            news = self._news
            for number, text in list(self._kept):
                if number > at:
                    at = number
                    yield text
            if self._closed:
                return
            try:
                await asyncio.wait_for(news.wait(), _HEARTBEAT)
            except TimeoutError:
                yield b": still here\n\n"
