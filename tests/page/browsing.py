"""The page in a real browser on the real server: what the tests that look at it share."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

ROOT = Path(__file__).resolve().parents[2]
NUMBER = 120
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


def script(name: str) -> Any:
    """One of the scripts beside the package: the browser's driver, who sits in the chair."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def shuffled(folder: Path, n: int) -> dict[str, str]:
    """A new folder of ``n`` digits under shuffled numbers; what each is, by file."""
    folder.mkdir()
    data = load_digits()
    truth = {}
    for number, at in enumerate(np.random.default_rng(0).permutation(len(data.images))[:n], 1):
        gray = (255 - np.clip(data.images[at] * 16, 0, 255)).astype(np.uint8)
        name = f"{number:06d}.png"
        Image.fromarray(np.kron(gray, np.ones((8, 8), np.uint8))).save(folder / name)
        truth[name] = WORDS[data.target[at]]
    return truth


# the program without the process that learns: what is asked, and how it looks, stays the same
UNLEARNED = """
import functools, sys
from handful.cli import main
from handful.page import serve
serve.Site = functools.partial(lambda site, *a, **k: site(*a, **{**k, "learns": False}), serve.Site)
main()
"""


class Server:
    """The program as a person starts it, and its address; ``learns``: with suggestions."""

    def __init__(self, folder: Path, *, learns: bool = False) -> None:
        self.folder, self.learns = folder, learns
        self.process: subprocess.Popen[str]
        self.start()

    def start(self) -> None:
        program = ["-m", "handful"] if self.learns else ["-c", UNLEARNED]
        command = [sys.executable, *program, str(self.folder), "--no-browser"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), self.url
        self.origin = self.url.partition("/?")[0]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self._ended()

    def _ended(self) -> None:
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)
        self._ended()


def digits(place: Path, n: int = NUMBER) -> Path:
    """Pictures under names that tell nothing, one broken, one that is no picture."""
    place.mkdir()
    for i, image in enumerate(load_digits().images[:n]):
        gray = (255 - np.clip(image * 16, 0, 255)).astype(np.uint8)
        Image.fromarray(gray).resize((64, 64), Image.Resampling.NEAREST).save(
            place / f"{i:06d}.png"
        )
    (place / "cut.png").write_bytes((place / "000000.png").read_bytes()[:90])
    (place / "notes.txt").write_text("not a picture")
    return place


@contextmanager
def opened(browser: Any, server: Server, url: str) -> Iterator[Any]:
    """The queue when everything in the folder is read; it may ask nobody but its own server.

    Pictures come at random and are answered for good: no first look.
    """
    browser.faults.clear()
    browser.requests.clear()
    browser.go(f"{url}/{RANDOM}" if url == server.origin else url + RANDOM)
    browser.until("document.querySelector('[data-testid=problems]')", seconds=30)
    browser.until(DRAWN, seconds=30)
    yield browser
    strange = [r for r in browser.requests if not r.startswith((server.origin, "about:"))]
    browser.go("about:blank")
    assert strange == []


RANDOM = "#/queue?mode=random"


def text(page: Any, testid: str) -> str:
    script = f"document.querySelector('[data-testid={testid}]')?.textContent ?? ''"
    return str(page.run(script))


def number(page: Any, testid: str) -> int:
    return int(re.sub(r"\D", "", text(page, testid)) or 0)


def until_stored(page: Any) -> None:
    page.until("document.querySelector('[data-testid=stored]')?.textContent === 'Stored'")


def api(page: Any, path: str) -> Any:
    return page.run(f"fetch('/api/v1{path}').then((r) => r.json())")


# a broken file may be served before it was read; it leaves the queue when it did not load
DRAWN = "(document.querySelector('[data-testid=picture]')?.naturalWidth > 0)"


def faults(page: Any) -> list[str]:
    """What the console complained of, but for the broken file when it was not read yet."""
    unread = re.compile(r"404 \(Not Found\) http://[^/]+/api/v1/full/\w+(\?v=\w+)?$")
    return [fault for fault in page.faults if not unread.search(fault)]


def answer(page: Any, *keys: str) -> None:
    """Presses each key when its picture is there, as a person would."""
    for key in keys:
        now = "document.querySelector('[data-testid=picture]')"
        page.until(DRAWN)
        before = page.run(f"{now}.dataset.image")
        page.press(key)
        page.until(f"{now}?.dataset.image !== {json.dumps(before)}")


def name_class(page: Any, name: str) -> None:
    page.until(DRAWN)
    page.press("/")
    page.until("document.activeElement.dataset.testid === 'class-box'")
    page.type(name)
    page.press("Enter")


def visit(page: Any, screen: str, ready: str) -> None:
    page.run(f"location.hash = '#/{screen}'")
    page.until(ready)


def labels(page: Any) -> list[tuple[str, str, int | None]]:
    items = api(page, "/images?limit=500")["items"]
    return [(p["id"], p["state"], p["class"]) for p in items]


COUNTS = (
    "((t) => ({ by_you: Number(t.replace(/\\D/g, '')) }))"
    "(document.querySelector('[data-testid=count-you]').textContent)"
)


def drawn(page: Any) -> list[Any]:
    script = """[...document.querySelectorAll('body *')].filter((e) => {
      const r = e.getBoundingClientRect();
      return r.width && r.right > innerWidth + 1 && !e.closest('.said, .last, .lines, .top nav');
    }).map((e) => e.className || e.tagName)"""
    found: list[Any] = page.run(script)
    return found


def axe(page: Any) -> Callable[[], list[Any]]:
    """What axe finds on the page as it stands, not even minor: asked anew at each call."""
    program = ROOT / "ui" / "node_modules" / "axe-core" / "axe.min.js"
    if not program.is_file():
        pytest.skip("axe-core is not installed: no registry, or `npm ci` was not run in ui/")
    page.run(program.read_text(encoding="utf-8") + ";1")
    look = """axe.run(document, { resultTypes: ['violations'] }).then((found) =>
      found.violations.map((v) => [v.impact, v.id, v.nodes[0].html.slice(0, 120)]))"""
    return lambda: page.run(look)
