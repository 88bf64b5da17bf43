"""kill -9 of the server and of the process that learns, at random moments while a client labels.

Nothing that was confirmed may be lost, nothing stored twice; the book replays to the state that
the page shows.
"""

from __future__ import annotations

import http.client
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import Any

from page_serving import Client
from test_killed import NAMES, Running, check

from handful.store import read_events

Figure = tuple[str, float, str]
DEATHS = 4  # of the process that learns, before the page is started anew
LATER = 30  # answers after the last kill
NICE = 10  # that the server gives the process that learns


def servers(folder: Path, kills: int) -> Iterator[Figure]:
    """The server dies; what was not confirmed is sent again, as the page does."""
    chance = random.Random(0)
    sent: dict[str, dict[str, Any]] = {}
    stored: set[str] = set()
    made = 0
    for turn in range(kills):
        running = Running(folder)
        client = running.client(f"tab{turn}")
        ids = client.ids()
        client.rev = client.state()["label_rev"]
        timer = Timer(chance.uniform(0.02, 1.5), running.process.kill)
        timer.start()
        try:
            for id in [id for id in sent if id not in stored]:
                assert client.send("/events", [sent[id]]).json["results"][0]["ok"]
                stored.add(id)
            while True:
                decision = {
                    "kind": "labelled", "id": client.id(), "seen_rev": client.rev,
                    "image": chance.choice(ids), "name": chance.choice(NAMES),
                }  # fmt: skip
                sent[decision["id"]] = decision
                result = client.send("/events", [decision]).json["results"][0]
                assert result["ok"], result
                stored.add(decision["id"])
        except (OSError, http.client.HTTPException, ValueError):
            made += 1  # it was killed
        finally:
            timer.cancel()
            client.connection.close()
            running.end()
    events = read_events(folder / ".handful" / "book.sqlite")
    labelled = [event.id for event in events if event.kind == "labelled"]
    yield "kills of the server", made, ""
    yield "answers confirmed", len(stored), ""
    yield "confirmed answers lost", len(stored - set(labelled)), ""
    yield "answers stored twice", len(labelled) - len(set(labelled)), ""
    check(folder, sent, stored)
    yield "book replays to the state shown", 1.0, ""


def workers(folder: Path, kills: int) -> Iterator[Figure]:
    """The process that learns dies; answers go on, and it is begun again and goes on.

    It is begun again later and later, and no more after six deaths in a row: so the page is
    started anew after every fourth.
    """
    chance = random.Random(1)
    made = sent = 0
    slowest = 0.0
    end = time.monotonic() + 30 * kills
    while made < kills and time.monotonic() < end:
        running = Running(folder)
        client = running.client(f"tab{made}")
        while client.state()["scanning"]:
            time.sleep(0.1)
        ids, deaths = client.ids(), set[int]()
        client.rev = client.state()["label_rev"]
        while len(deaths) < DEATHS and made < kills and time.monotonic() < end:
            until = time.monotonic() + chance.uniform(0.05, 2.5)
            while time.monotonic() < until:
                begun = time.perf_counter()
                to = NAMES[sent] if sent < len(NAMES) else chance.randrange(len(NAMES))
                said = client.label(chance.choice(ids), to)
                slowest = max(slowest, time.perf_counter() - begun)
                assert said["results"][0]["ok"], said
                sent += 1
                time.sleep(0.03)
            worker = child(running.process.pid)
            if worker is not None and worker not in deaths:
                os.kill(worker, signal.SIGKILL)
                deaths.add(worker)
                made += 1
                print(f"    killed {made} times, {sent} answers", flush=True)
        if made < kills and time.monotonic() < end:
            client.connection.close()
            running.end(signal.SIGINT)
    alive = published(client)
    shown = {i["name"]: i["class"] for i in every(client) if i["state"] == "labelled"}
    client.connection.close()
    running.end()
    events = read_events(folder / ".handful" / "book.sqlite")
    last = {e.data["image"]: e.data["class"] for e in events if e.kind == "labelled"}
    labelled = [e.id for e in events if e.kind == "labelled"]
    yield "kills of the worker", made, ""
    yield "answers meanwhile", sent, ""
    yield "answers lost", sent + LATER - len(set(labelled)), ""
    yield "answers stored twice", len(labelled) - len(set(labelled)), ""
    yield "book replays to the state shown", float(shown == last), ""
    yield "slowest answer", 1000 * slowest, "ms"
    yield "learns again after the last kill", float(alive), ""


def every(client: Client) -> Iterator[Any]:
    cursor: str | None = None
    while True:
        page = client.get("/images", limit=500, **({"cursor": cursor} if cursor else {})).json
        yield from page["items"]
        cursor = page["next"]
        if cursor is None:
            return


def child(server: int) -> int | None:
    """The process that learns, as the system knows it."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text().rpartition(") ")[2].split()
                if (
                    int(status[1]) == server
                    and b"handful.worker\0" in (entry / "cmdline").read_bytes()
                ):
                    return int(entry.name)
            except (OSError, IndexError):
                continue
    return None


def at_our_pace(server: int, *, seconds: float = 60) -> None:
    """Lets the process that learns run at this one's priority: others load this machine."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = child(server)
        if found is not None and os.getpriority(os.PRIO_PROCESS, found) == NICE:
            with suppress(PermissionError):  # in a namespace of one's own nobody may hurry
                os.setpriority(os.PRIO_PROCESS, found, os.getpriority(os.PRIO_PROCESS, 0))
            return
        time.sleep(0.05)


def published(client: Client, *, seconds: float = 240) -> bool:
    """Whether suggestions come that know the last answer."""
    before = client.state()["model_rev"]
    for image in client.ids(LATER):
        client.label(image, 0)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if client.state()["model_rev"] > before:
            return True
        time.sleep(0.5)
    return False
