"""Running the page: a port of this machine alone, the browser opened with its token, Ctrl-C.

Only ``--lan`` makes it listen to the network too, at one address of this machine.

A second start of the same folder asks the first for a token and opens that page instead.
"""

from __future__ import annotations

import gc
import http.client
import json
import os
import socket
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from handful.errors import HandfulError, InputError, RunFolderError
from handful.page.project import Project, place_of, read_json
from handful.page.security import Door
from handful.page.server import Site, application

__all__ = ["Opened", "Options", "lan_address", "serve"]

HOST = "127.0.0.1"
_GARBAGE = 50_000  # objects between two searches for it: a group of 5,000 makes as many


@dataclass(frozen=True, slots=True)
class Options:
    """What a person may choose; all of it has a default."""

    place: Path | None = None
    port: int | None = None
    browser: bool = True
    follow: bool = False
    lan: str | None = None  # the address at which other devices may reach the page


@dataclass(frozen=True, slots=True)
class Opened:
    """The address with its token, to be said once; ``again``: it was running already."""

    url: str
    again: bool
    place: str
    read_only: bool = False
    link: str | None = None  # what other devices open


class _Server(uvicorn.Server):
    """Says good-bye on every stream before it stops listening."""

    def __init__(self, config: uvicorn.Config, site: Site, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self.site, self.ready = site, ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self.ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.site.stream.close()
        await super().shutdown(sockets)


def serve(folder: Path, options: Options, say: Callable[[Opened], None]) -> None:
    """Open a folder until Ctrl-C; ``say`` is told the address as soon as it answers.

    `InputError` when the folder or the port cannot be used, `StoreError` for the book.
    """
    try:
        project = Project(
            folder, place=options.place, follow=options.follow, several=options.lan is not None
        )
    except RunFolderError as error:
        say(_running(folder, options, error))
        return
    try:
        with _listening(project, options.port, options.lan) as (listening, port):
            door = Door(port, lan=options.lan, people=project.people)
            site = Site(project, door, learns=True)
            opened = Opened(
                _url(port, door.token()), False, project.where, project.read_only, door.link
            )
            _note(project.place, {"port": port, "pid": os.getpid(), "knock": door.knock})

            def ready() -> None:
                say(opened)
                if options.browser:
                    webbrowser.open(opened.url)

            config = uvicorn.Config(
                application(site), log_config=None, access_log=False, lifespan="on",
                timeout_graceful_shutdown=3, server_header=False, date_header=False, ws="none",
            )  # fmt: skip
            try:
                with suppress(KeyboardInterrupt), _unswept():  # that is how it ends
                    _Server(config, site, ready).run(sockets=listening)
            finally:
                _note(project.place, {"port": port})
    finally:
        project.close()


@contextmanager
def _unswept() -> Iterator[None]:
    """What was opened stays: no search for garbage goes through it, and fewer are made."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _url(port: int, token: str) -> str:
    return f"http://{HOST}:{port}/?token={token}"


@contextmanager
def _listening(
    project: Project, wanted: int | None, lan: str | None = None
) -> Iterator[tuple[list[socket.socket], int]]:
    """Sockets of this machine: the port asked for, else that of last time, else a free one.

    The same port as last time lets a page that is still open find its server again.
    """
    last = read_json(project.place / "page.json").get("port")
    tries = [wanted] if wanted is not None else [*([last] if isinstance(last, int) else []), 0]
    for port in tries:
        with ExitStack() as stack:
            try:
                sockets = [stack.enter_context(_bound(HOST, port))]
                port = sockets[0].getsockname()[1]
                if lan not in (None, HOST):
                    sockets.append(stack.enter_context(_bound(str(lan), port)))
            except (OSError, OverflowError):
                continue
            yield sockets, port
            return
    if wanted is None:
        raise InputError(f"this computer cannot be reached at {lan}: leave out --lan")
    raise InputError(f"port {wanted} is taken or not allowed: leave out --port, or name another")


def _bound(host: str, port: int) -> socket.socket:
    # asyncio switches Nagle's delay (40 ms an answer) off only where TCP is named
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except BaseException:
        listening.close()
        raise
    return listening


def lan_address() -> str:
    """The address of this machine in its network; `InputError` where it is in none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        try:
            asking.connect(("192.0.2.1", 9))  # chooses a way out; nothing is sent
            found: str = asking.getsockname()[0]
        except OSError as error:
            raise InputError("this computer is in no network: leave out --lan") from error
    if found.startswith(("127.", "0.")):
        raise InputError("this computer is in no network: leave out --lan")
    return found


def _note(place: Path, said: dict[str, object]) -> None:
    """Where the page runs, for a second start; only the owner may read it."""
    path = place / "page.json"
    with suppress(OSError):  # a full disk: a second start will not find this one
        part = place / f".page.{os.getpid()}"
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(said, file)
        part.replace(path)


def _running(folder: Path, options: Options, error: HandfulError) -> Opened:
    """The page that another process runs for this folder, with a new token."""
    place, read_only = place_of(folder, options.place)
    said = read_json(place / "page.json")
    port, knock = said.get("port"), said.get("knock")
    if not isinstance(port, int) or not isinstance(knock, str):
        raise error
    try:
        connection = http.client.HTTPConnection(HOST, port, timeout=5)
        connection.request("POST", "/knock", headers={"X-Handful-Knock": knock})
        answer = json.loads(connection.getresponse().read())
        url, link = _url(port, answer["token"]), answer.get("link")
    except (OSError, ValueError, KeyError, http.client.HTTPException) as failed:
        raise error from failed
    if options.browser:
        webbrowser.open(url)
    return Opened(url, True, str(place), read_only, link)
