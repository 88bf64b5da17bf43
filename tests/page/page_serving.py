"""The page over a real socket, and a tab of it: what the tests of the page share."""

from __future__ import annotations

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import pytest
import uvicorn
from PIL import Image

from handful.page.decoder import answer
from handful.page.decoders import Reading
from handful.page.project import Project
from handful.page.security import Door
from handful.page.server import Site, application

API = "/api/v1"


class Reply(NamedTuple):
    """An answer of the server."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """One tab: it has the cookie, numbers its decisions, keeps the revision it saw."""

    def __init__(self, port: int, cookie: str, tab: str = "tab") -> None:
        self.port, self.cookie, self.tab = port, cookie, tab
        self.number, self.rev = 0, 0
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def id(self) -> str:
        self.number += 1
        return f"{self.tab}.{self.number}"

    def raw(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        for attempt in (0, 1):
            try:
                self.connection.request(method, path, body, headers or {})
                answer = self.connection.getresponse()
                read = answer.read()
                break
            except (http.client.RemoteDisconnected, BrokenPipeError):
                self.connection.close()
                if attempt:
                    raise
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, read)

    def get(self, path: str, **query: Any) -> Reply:
        text = "&".join(f"{name}={quote(str(value))}" for name, value in query.items())
        path = f"{path}?{text}" if text else path
        return self.raw("GET", API + path, headers={"Cookie": self.cookie})

    def send(self, path: str, body: Any, method: str = "POST", **more: str) -> Reply:
        headers = {
            "Cookie": self.cookie, "Origin": self.origin, "X-Handful": "1",
            "Content-Type": "application/json", **more,
        }  # fmt: skip
        reply = self.raw(method, API + path, json.dumps(body).encode(), headers)
        if reply.status == 200 and "label_rev" in reply.json:
            self.rev = reply.json["label_rev"]
        return reply

    # ------------------------------------------------------------ what a person does

    def state(self) -> Any:
        return self.get("/state").json

    def ids(self, n: int = 500, **query: Any) -> list[str]:
        return [item["id"] for item in self.get("/images", limit=n, **query).json["items"]]

    def decide(self, *decisions: dict[str, Any]) -> Any:
        body = [{"id": self.id(), "seen_rev": self.rev, **d} for d in decisions]
        reply = self.send("/events", body)
        assert reply.status == 200, reply.body
        return reply.json

    def label(self, image: str, to: int | str) -> Any:
        key = "name" if isinstance(to, str) else "class"
        return self.decide({"kind": "labelled", "image": image, key: to})

    def undo(self) -> Any:
        return self.send("/undo", {"id": self.id()}).json

    def redo(self) -> Any:
        return self.send("/redo", {"id": self.id()}).json

    def make(self, name: str, **more: Any) -> Reply:
        return self.send("/classes", {"id": self.id(), "name": name, "seen_rev": self.rev, **more})

    def change(self, id: int, **what: Any) -> Reply:
        body = {"id": self.id(), "seen_rev": self.rev, **what}
        return self.send(f"/classes/{id}", body, method="PATCH")

    def merge(self, id: int, into: int) -> Reply:
        body = {"id": self.id(), "seen_rev": self.rev, "into": into}
        return self.send(f"/classes/{id}/merge", body)

    def archive(self, id: int) -> Reply:
        return self.send(f"/classes/{id}/archive", {"id": self.id(), "seen_rev": self.rev})


class InThisProcess:
    """Reads files as the children do, without one: a child takes a while to begin."""

    def __init__(self, root: Path, *, follow: bool = False, n: int | None = None) -> None:
        self.root, self.follow = os.path.realpath(root), follow
        self.threads = ThreadPoolExecutor(1)

    def read(
        self, path: str, *, side: int = 0, page: int = 0, rank: int = 0, **more: Any
    ) -> Future[Reading]:
        asked = {"path": os.path.join(self.root, path), "side": side, "page": page, **more}
        return self.threads.submit(self.answer, asked)

    def answer(self, asked: dict[str, Any]) -> Reading:
        said, body = answer(asked, self.root, follow=self.follow)
        return Reading(**said, body=body)

    def close(self) -> None:
        self.threads.shutdown(cancel_futures=True)


class Served:
    """A page that runs."""

    def __init__(self, site: Site, port: int) -> None:
        self.site, self.port = site, port
        self.project = site.project
        self.clients: list[Client] = []

    def client(self, tab: str = "tab") -> Client:
        cookie = f"{self.site.door.cookie}={self.site.door.session}"
        self.clients.append(Client(self.port, cookie, tab))
        return self.clients[-1]

    def settled(self) -> None:
        """Wait until the folder has been looked at."""
        until = time.monotonic() + 60
        while self.site.scanner.busy:
            assert time.monotonic() < until, "the scan does not end"
            time.sleep(0.01)


def invited(page: Served, name: str = "", tab: str = "") -> Client:
    """Another device: it opens the link of the invitation; with a name, says it."""
    link = page.site.door.link
    assert link is not None
    client = page.client(tab or name or "guest")
    client.cookie = ""
    answer = client.raw("GET", link.partition(str(page.port))[2])
    assert answer.status == 303
    client.cookie = answer.headers["set-cookie"].partition(";")[0]
    if name:
        assert client.send("/settings", {"id": client.id(), "person": name}, "PATCH").status == 200
    return client


def opened(folder: Path, **options: Any) -> Project:
    """A project; unless ``children`` are asked for, files are read in this process."""
    with pytest.MonkeyPatch.context() as patch:
        if "children" not in options:
            patch.setattr("handful.page.project.Decoders", InThisProcess)
        return Project(folder, **options)


@contextmanager
def serving(folder: Path, *, static: Path | None = None, **options: Any) -> Iterator[Served]:
    """Serve a folder on a free port until the block ends; ``children``: real ones."""
    lan = options.pop("lan", None)
    project = opened(folder, several=lan is not None, **options)
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    listening.listen(128)
    port = listening.getsockname()[1]
    door = Door(port, lan=lan, people=project.people)
    site = Site(project, door, static or folder / "no page here")
    config = uvicorn.Config(
        application(site), log_config=None, access_log=False, lifespan="on", ws="none",
        timeout_graceful_shutdown=2,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    page = Served(site, port)
    thread.start()
    try:
        until = time.monotonic() + 20
        while not server.started:
            assert thread.is_alive()
            assert time.monotonic() < until
            time.sleep(0.005)
        yield page
    finally:
        for client in page.clients:
            client.connection.close()
        site.stream.close()
        server.should_exit = True
        thread.join(60)  # a busy machine
        listening.close()
        project.close()
        assert not thread.is_alive()


def paint(path: Path, number: int, size: tuple[int, int] = (24, 16)) -> None:
    """A picture that no other number has."""
    rng = np.random.default_rng(number)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)).save(path)
