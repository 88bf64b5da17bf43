"""How soon the page answers: 20,000 JPEG files, while the process beside it learns.

``filled`` makes the pictures: smooth patterns of ten kinds, every one different, about 10 kB.
Requests are timed at a client on this machine, keys in the browser: from the key's own time
stamp to the end of the frame that holds the next picture.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import chromium
import numpy as np
from page_serving import Client
from person import SHOWN, Person
from PIL import Image
from test_killed import Running

BILINEAR = Image.Resampling.BILINEAR
KINDS, SIDE = 10, 192
PICTURES = "[...document.querySelectorAll('[data-testid=tile] img')]"
GROUP, TIMES = 5_000, 100
Figure = tuple[str, float, str]


def filled(folder: Path, files: int) -> dict[str, str]:
    """JPEG files under numbers; what each shows, by name."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 256, (KINDS, 6, 6, 3))
    noise = rng.normal(0, 10, (4 * SIDE, 4 * SIDE, 1))
    truth = {}
    for i in range(files):
        kind = int(rng.integers(KINDS))
        own = 0.7 * kinds[kind] + 0.3 * rng.integers(0, 256, (6, 6, 3))
        smooth = Image.fromarray(own.astype(np.uint8)).resize(
            (SIDE, SIDE), Image.Resampling.BILINEAR
        )
        y, x = rng.integers(0, 3 * SIDE, 2)
        pixels = np.asarray(smooth) + noise[y : y + SIDE, x : x + SIDE]
        out = BytesIO()
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=85)
        name = f"{i:06d}.jpg"
        (folder / name).write_bytes(out.getvalue())
        truth[name] = f"kind {kind}"
    return truth


def spread(name: str, seconds: list[float]) -> Iterator[Figure]:
    for q in (50, 95):
        yield f"{name}, p{q}", 1000 * float(np.percentile(seconds, q)), "ms"


def first_picture(folder: Path) -> float:
    """Seconds from the command to the first picture in the window."""
    with chromium.Chromium(patience=60) as browser:
        browser.size(1280, 720)
        begun = time.monotonic()
        running = Running(folder)
        browser.go(running.url)
        browser.until(SHOWN, seconds=60)
        took = time.monotonic() - begun
        browser.go("about:blank")
    running.end()
    return took


def address(folder: Path) -> str:
    """A new address of the page that runs, as a second start prints it: each is good for once."""
    command = [sys.executable, "-m", "handful", str(folder), "--no-browser"]
    env = os.environ | {"HANDFUL_CACHE": str(folder / ".cache")}
    said = subprocess.run(command, capture_output=True, text=True, env=env, check=True).stdout
    return next(line for line in said.splitlines() if line.startswith("http://"))


def starts(folder: Path, times: int) -> Iterator[Figure]:
    """A first start, several times, and a restart with a label on every picture."""
    cold = []
    for _ in range(times):
        shutil.rmtree(folder / ".handful", ignore_errors=True)
        cold.append(first_picture(folder))
        print(f"    first picture after {cold[-1]:.2f} s", flush=True)
    yield "command to the first picture, median", float(np.median(cold)), "s"
    yield "command to the first picture, slowest", max(cold), "s"
    yield "cold starts", len(cold), ""


def restarts(folder: Path, times: int) -> Iterator[Figure]:
    """Restarts with a label on every picture."""
    running = Running(folder)
    client = running.client("all")
    read(client)
    client.rev = client.state()["label_rev"]
    items: list[str] = []
    cursor: str | None = None
    while True:
        page = client.get("/images", limit=500, **({"cursor": cursor} if cursor else {})).json
        items += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    for start in range(0, len(items), GROUP):
        some = items[start : start + GROUP]
        name = f"kind {start // GROUP}"
        assert client.decide(
            {"kind": "group_labelled", "images": some, "name": name, "from": "grid"}
        )["results"][0]["ok"]
    counts = client.state()["counts"]
    client.connection.close()
    running.end()
    warm, usable = [], []
    for _ in range(times):
        begun = time.monotonic()
        running = Running(folder)
        client = running.client("again")
        assert client.state()["counts"]["by_you"] + client.state()["counts"]["in_groups"] == (
            counts["by_you"] + counts["in_groups"]
        )
        usable.append(time.monotonic() - begun)
        client.connection.close()
        running.end()
        with chromium.Chromium(patience=60) as browser:
            browser.size(1280, 720)
            begun = time.monotonic()
            running = Running(folder)
            browser.go(f"{running.url}#/pictures")
            browser.until(
                f"{PICTURES}.some((i) => i.naturalWidth)",
                seconds=60,
            )
            warm.append(time.monotonic() - begun)
            browser.go("about:blank")
        running.end()
        print(f"    again after {usable[-1]:.2f} s, pictures after {warm[-1]:.2f} s", flush=True)
    yield "restart with 20,000 labels to usable, median", float(np.median(usable)), "s"
    yield "restart with 20,000 labels to pictures, median", float(np.median(warm)), "s"
    yield "restart with 20,000 labels to pictures, slowest", max(warm), "s"


def read(client: Client, *, seconds: float = 900) -> None:
    """Waits until every picture was read."""
    end = time.monotonic() + seconds
    while client.state()["scanning"]:
        assert time.monotonic() < end, "the folder is not read in time"
        time.sleep(1)


def learned(client: Client, kinds: tuple[str, ...], *, seconds: float = 900) -> None:
    """Waits until these were published."""
    end = time.monotonic() + seconds
    while not all(client.state()[f"{kind}_rev"] for kind in kinds):
        assert time.monotonic() < end, f"{kinds} are not there in time"
        time.sleep(1)


def keys(folder: Path, truth: dict[str, str], answers: int) -> Iterator[Figure]:
    """Keys in the browser and requests beside it, while suggestions are learned anew."""
    running = Running(folder)
    client = running.client(f"beside{os.getpid()}")  # ids of its own: a repeat is no answer
    read(client)
    begun = time.monotonic()
    learned(client, ("groups",))
    print(f"    groups after {time.monotonic() - begun:.0f} s more", flush=True)
    with chromium.Chromium(patience=60) as browser:
        browser.size(1280, 720)
        person = Person(browser, truth, pace=0.15)
        person.come(address(folder))
        person.learn_files()
        person.gallery(until=12)
        person.until_stored()
        learned(client, ("model",))
        person.queue(until=person.actions + answers)
        person.until_stored()
        times = person.keep_times()
        for name, kind in (("key to visible answer", "answer"), ("key to next picture", "next")):
            for training in (True, False):
                found = [c["ms"] / 1000 for c in times[kind] if c["training"] == training]
                words = f"{name}{', training' if training else ', idle'}"
                if len(found) >= 20:
                    yield from spread(words, found)
                    yield f"{words}, keys", len(found), ""
        yield "longest task of the page", browser.run("clock.long"), "ms"
        yield from grid(browser)
        learned(client, ("map",))
        yield from first_drawn(browser)
        yield (
            "memory of the page",
            browser.run("performance.memory?.usedJSHeapSize ?? 0") / 1e6,
            "MB",
        )
        browser.go("about:blank")
    yield from requests(client)
    client.connection.close()
    running.end()


def grid(browser: Any) -> Iterator[Figure]:
    """A wall of 60 tiles, seen before."""
    browser.size(1920, 1080)
    whole = """((t) => t.length >= 60 && t.every((i) => i.complete && i.naturalWidth))(
      [...document.querySelectorAll('[data-testid=tile] img')].slice(0, 60))"""
    times = [appears(browser, "pictures", whole) for _ in range(11)]
    yield from spread("60 tiles, warm", times[1:])


def appears(browser: Any, screen: str, there: str) -> float:
    """Seconds from the address of a screen, after the list of classes, until it is all there."""
    browser.run("location.hash = '#/classes'")
    browser.until("document.querySelector('[data-testid=class]')")
    took: float = browser.run(f"""new Promise((done) => {{
      const from = performance.now();
      location.hash = '#/{screen}';
      const look = () => {there} ? done(performance.now() - from) : requestAnimationFrame(look);
      look();
    }})""")
    return took / 1000


def first_drawn(browser: Any) -> Iterator[Figure]:
    """From the address of the map to its points on the screen, in a page that had none of it."""
    times = []
    for _ in range(10):
        browser.run("location.hash = '#/classes'")
        browser.run("location.reload()")
        times.append(appears(browser, "map", "performance.getEntriesByName('map').length > 0"))
    yield from spread("map, first drawn", times)


def requests(client: Client) -> Iterator[Figure]:
    """Each request of the table, while answers keep the other process busy."""
    client.rev = client.state()["label_rev"]
    ids = client.ids(500)
    some = client.get("/images", limit=500, sort="-name").json["items"]
    fresh = iter([item["id"] for item in some])
    pages = client.get("/images", limit=500).json
    tiles = [(i["id"], i["v"]) for i in pages["items"]]

    def timed(act: Callable[[], Any], times: int = TIMES) -> list[float]:
        found = []
        for _ in range(times):
            begun = time.perf_counter()
            act()
            found.append(time.perf_counter() - begun)
        return found

    def good(path: str, **query: Any) -> None:
        assert client.get(path, **query).status == 200

    def good_answer(said: Any) -> None:
        assert said["results"][0]["ok"], said

    yield from spread("POST /events, 1 answer", timed(
        lambda: good_answer(client.label(next(fresh), 0))
    ))  # fmt: skip
    groups, undone = [], []
    cursor = None
    everything: list[str] = []
    while len(everything) < GROUP:
        page = client.get("/images", limit=500, **({"cursor": cursor} if cursor else {})).json
        everything += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    body = {"kind": "group_labelled", "images": everything[:GROUP], "class": 1, "from": "grid"}
    for _ in range(10):
        groups += timed(lambda: good_answer(client.decide(body)), 1)
        undone += timed(client.undo, 1)
    yield "pictures in the group", len(everything[:GROUP]), ""
    yield from spread("POST /events, a group of 5,000", groups)
    yield from spread("undo of 5,000", undone)
    yield from spread("GET /groups, 20", timed(lambda: good("/groups", limit=20)))
    yield from spread("GET /images, 200", timed(lambda: good("/images", limit=200)))
    turn = iter([*tiles, *tiles])

    def thumbnail() -> None:
        id, v = next(turn)
        answer = client.raw("GET", f"/api/v1/t/{id}/384?v={v}", headers={"Cookie": client.cookie})
        assert answer.status == 200

    first = timed(thumbnail, len(tiles))
    yield from spread("thumbnail, first time", first)
    yield from spread("thumbnail, kept", timed(thumbnail, len(tiles)))
    yield from spread("more like this over 20,000", timed(
        lambda: client.send("/like", {"ids": ids[:3], "not_ids": [], "n": 60}), 50
    ))  # fmt: skip
    if client.state()["map_rev"]:
        yield from spread("map data", timed(lambda: client.raw(
            "GET", "/api/v1/map", headers={"Cookie": client.cookie}
        ), 50))  # fmt: skip


def steps(folder: Path) -> Iterator[Figure]:
    """What stands between a new user and the first stored label, counted."""
    commands = keys = fields = 0
    with chromium.Chromium(patience=60) as browser:
        browser.size(1280, 720)
        begun = time.monotonic()
        running = Running(folder)
        commands += 1
        browser.go(running.url)
        browser.until(SHOWN, seconds=60)
        # whatever the page wants filled in or closed before a picture can be answered
        fields += browser.run("document.querySelectorAll('dialog[open], main input, form').length")
        browser.press("/")
        browser.until("document.activeElement.dataset.testid === 'class-box'")
        browser.type("leaf")
        browser.press("Enter")
        keys += 2
        browser.until("document.querySelector('[data-testid=stored]').textContent === 'Stored'")
        took = time.monotonic() - begun
        browser.go("about:blank")
    running.url = address(folder)
    client = running.client("count")
    stored = client.state()["counts"]["by_you"]  # blind or not
    client.connection.close()
    running.end()
    assert stored == 1, stored
    yield "commands to the first stored label", commands, ""
    yield "fields to fill before it", fields, ""
    yield "names typed for it", 1, ""
    yield "keys beside the name", keys, ""
    yield "seconds to the first stored label", took, "s"
