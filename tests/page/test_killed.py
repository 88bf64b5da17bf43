"""The server is killed while a person labels: nothing confirmed is lost, nothing is doubled."""

from __future__ import annotations

import http.client
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from threading import Timer
from typing import Any
from urllib.parse import urlsplit

import pytest
from page_serving import Client, paint

from handful.store import read_events

NAMES = ("a", "b", "c")


class Running:
    """``handful FOLDER`` as a process of its own."""

    def __init__(self, folder: Path, *more: str) -> None:
        command = [sys.executable, "-m", "handful", str(folder), "--no-browser", *more]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"HANDFUL_CACHE": str(folder / ".cache")},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), self.end()
        self.port = urlsplit(self.url).port or 0

    def client(self, tab: str) -> Client:
        """What a browser does with the address that was printed."""
        url = urlsplit(self.url)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request("GET", f"{url.path}?{url.query}")
        answer = connection.getresponse()
        answer.read()
        connection.close()
        cookie = (answer.getheader("set-cookie") or "").partition(";")[0]
        return Client(self.port, cookie, tab)

    def end(self, how: signal.Signals = signal.SIGKILL) -> tuple[str, str]:
        self.process.send_signal(how)
        return self.process.communicate(timeout=30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "pictures"
    for number in range(30):
        paint(made / f"{number:02d}.png", number, (8, 8))
    return made


def kill_while_labelling(folder: Path, rounds: int) -> None:
    chance = random.Random(0)
    sent: dict[str, dict[str, Any]] = {}  # every decision, as the page keeps it
    stored: set[str] = set()  # those that were confirmed
    port = None
    for turn in range(rounds):
        running = Running(folder)
        if port is not None:
            assert running.port == port  # a page that is still open finds its server again
        port = running.port
        client = running.client(f"tab{turn}")
        ids = client.ids()
        timer = Timer(chance.uniform(0.02, 0.5), running.process.kill)
        timer.start()
        try:
            # what was not confirmed is sent again, as it was
            for id in [id for id in sent if id not in stored]:
                assert client.send("/events", [sent[id]]).json["results"][0]["ok"]
                stored.add(id)
            while True:
                rev = client.state()["label_rev"]
                decision = {
                    "kind": "labelled", "id": client.id(), "seen_rev": rev,
                    "image": chance.choice(ids), "name": chance.choice(NAMES),
                }  # fmt: skip
                sent[decision["id"]] = decision
                result = client.send("/events", [decision]).json["results"][0]
                assert result["ok"], result
                stored.add(decision["id"])
        except (OSError, http.client.HTTPException, ValueError):
            pass  # it was killed
        finally:
            timer.cancel()
            client.connection.close()
            running.end()
    check(folder, sent, stored)


def check(folder: Path, sent: dict[str, dict[str, Any]], stored: set[str]) -> None:
    events = read_events(folder / ".handful" / "book.sqlite")
    labelled = [event.id for event in events if event.kind == "labelled"]
    assert len(labelled) == len(set(labelled))
    assert stored <= set(labelled) <= set(sent)
    made = [event.data["name"] for event in events if event.kind == "class_created"]
    assert sorted(made) == sorted(set(made))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    running = Running(folder)
    client = running.client("last")
    shown = {
        item["name"]: item["class"]
        for item in client.get("/images", limit=500, filter='{"state": ["labelled"]}').json["items"]
    }
    answers = [event.data for event in events if event.kind == "labelled"]
    # painted pictures may be near-duplicates: an answer then names those beside it as well
    beside = {path: data["class"] for data in answers for path in data.get("copies", ())}
    last = {data["image"]: data["class"] for data in answers}
    assert shown == beside | last
    assert client.state()["counts"]["by_you"] == len(last)
    client.connection.close()
    running.end()


def test_killed_a_few_times(folder: Path) -> None:
    kill_while_labelling(folder, 4)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_fifty_times(folder: Path) -> None:
    kill_while_labelling(folder, 50)


def test_ctrl_c_ends_it_and_a_second_start_opens_the_first(folder: Path) -> None:
    running = Running(folder)
    client = running.client("one")
    assert client.state()["counts"]["pictures"] >= 0
    second = Running(folder)
    _, err = second.process.communicate(timeout=30)
    assert second.process.returncode == 0
    assert "This folder is already open in handful. Opened that page." in err
    assert second.port == running.port
    other = second.client("two")
    assert other.get("/state").status == 200
    for one in (client, other):
        one.connection.close()
    began = time.monotonic()
    _out, err = running.end(signal.SIGINT)
    assert running.process.returncode == 0, err
    assert time.monotonic() - began < 15
    assert "Traceback" not in err
    assert not (folder / ".handful" / "lock").exists()
    knock = (folder / ".handful" / "page.json").read_text()
    assert "knock" not in knock
    assert (folder / ".handful" / "page.json").stat().st_mode & 0o077 == 0


def test_a_port_that_is_taken(folder: Path) -> None:
    running = Running(folder)
    other = folder.parent / "other"
    paint(other / "a.png", 0)
    command = [sys.executable, "-m", "handful", str(other), "--no-browser", "--port"]
    done = subprocess.run(
        [*command, str(running.port)], capture_output=True, text=True, check=False, timeout=60
    )
    running.end()
    assert done.returncode == 2
    assert f"port {running.port} is taken" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
