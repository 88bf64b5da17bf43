"""The page in a real browser on the real server: what a person does by keys, and what lasts."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
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


def module() -> Any:
    spec = importlib.util.spec_from_file_location("chromium", ROOT / "scripts" / "chromium.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


class Server:
    """The program as a person starts it, and its address."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.process: subprocess.Popen[str]
        self.start()

    def start(self) -> None:
        command = [sys.executable, "-m", "handful", str(self.folder), "--no-browser"]
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not (ROOT / "src" / "handful" / "page" / "static" / "index.html").is_file():
        pytest.skip("the page is not built here: no Node, or no registry")
    chromium = module()
    if chromium.found() is None:
        pytest.skip("no Chromium on the path")
    with chromium.Chromium() as opened:
        opened.size(1280, 720)
        yield opened


def digits(place: Path) -> Path:
    """Pictures under names that tell nothing, one broken, one that is no picture."""
    place.mkdir()
    for i, image in enumerate(load_digits().images[:NUMBER]):
        gray = (255 - np.clip(image * 16, 0, 255)).astype(np.uint8)
        Image.fromarray(gray).resize((64, 64), Image.Resampling.NEAREST).save(
            place / f"{i:06d}.png"
        )
    (place / "cut.png").write_bytes((place / "000000.png").read_bytes()[:90])
    (place / "notes.txt").write_text("not a picture")
    return place


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One for a test that starts from nothing, or ends it."""
    running = Server(digits(tmp_path / "digits"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def shared(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One for all that need no clean start; its first window leaves the cookie."""
    running = Server(digits(tmp_path_factory.mktemp("shared") / "digits"))
    with opened(browser, running, running.url):
        pass
    yield running
    running.stop()


@contextmanager
def opened(browser: Any, server: Server, url: str) -> Iterator[Any]:
    """The page when everything in the folder is read; it may ask nobody but its own server."""
    browser.faults.clear()
    browser.requests.clear()
    browser.go(url)
    browser.until("document.querySelector('[data-testid=problems]')", seconds=30)
    browser.until(DRAWN, seconds=30)
    yield browser
    strange = [r for r in browser.requests if not r.startswith((server.origin, "about:"))]
    browser.go("about:blank")
    assert strange == []


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    with opened(browser, server, server.url) as window:
        yield window


@pytest.fixture
def again(browser: Any, shared: Server) -> Iterator[Any]:
    with opened(browser, shared, shared.origin) as window:
        yield window


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
    unread = re.compile(r"404 \(Not Found\) http://[^/]+/api/v1/full/\w+$")
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


def test_a_sitting_by_keys_alone(page: Any) -> None:
    assert "Nothing leaves this computer" in page.run("document.body.textContent")
    page.press("Enter")  # the start strip
    for word in WORDS:
        name_class(page, word)
    page.until("document.querySelectorAll('[data-testid=class-row]').length === 10")
    answer(page, *(str(i % 10) for i in range(30)), "u", "n", "i", " ")
    until_stored(page)
    assert number(page, "count-you") == 43
    assert number(page, "count-open") == NUMBER - 43
    assert "Undo (Ctrl+Z): 1 image" in text(page, "undo-text")

    before = labels(page)
    for _ in range(5):
        page.press("Ctrl+z")
    page.until(f"{COUNTS}.by_you === 39")
    for _ in range(5):
        page.press("Ctrl+Shift+z")
    page.until(f"{COUNTS}.by_you === 43")
    assert labels(page) == before

    visit(page, "pictures", "document.querySelectorAll('[data-testid=tile]').length > 20")
    page.run("document.querySelector('[data-testid=tile]').focus()")
    for _ in range(3):
        page.press("Shift+ArrowRight")
    assert "Label 4 selected" in page.run("document.querySelector('.act').textContent")
    page.press("1")
    page.until("document.querySelector('[data-testid=undo-text]').textContent.includes('4 images')")
    until_stored(page)
    assert [c for _, _, c in labels(page)[:4]] == [0, 0, 0, 0]
    assert faults(page) == []


COUNTS = (
    "((t) => ({ by_you: Number(t.replace(/\\D/g, '')) }))"
    "(document.querySelector('[data-testid=count-you]').textContent)"
)


def test_half_a_name_takes_the_class_that_is_there(again: Any) -> None:
    before = number(again, "count-you")
    name_class(again, "Manuel")
    name_class(again, "man")
    until_stored(again)
    names = [c["name"] for c in api(again, "/state")["classes"]]
    assert "Manuel" in names
    assert "man" not in names
    again.until(f"{COUNTS}.by_you === {before + 2}")


def press_raw(page: Any, **event: Any) -> None:
    page.run(f"window.dispatchEvent(new KeyboardEvent('keydown', {json.dumps(event)}))")


def test_digits_go_by_position_and_an_input_method_answers_nothing(again: Any) -> None:
    name_class(again, "Manuel")  # the first class there is, whichever test came first
    until_stored(again)
    start = api(again, "/state")
    press_raw(again, key="&", code="Digit1")  # AZERTY
    press_raw(again, key="1", code="Numpad1")
    press_raw(again, key="г", code="KeyU")  # Cyrillic on the key of U
    press_raw(again, key="1", code="Digit1", isComposing=True)
    press_raw(again, key="!", code="Digit1", shiftKey=True)
    until_stored(again)
    end = api(again, "/state")
    assert end["classes"][0]["pictures"] - start["classes"][0]["pictures"] == 2
    assert end["counts"]["unsure"] - start["counts"]["unsure"] == 1
    assert end["counts"]["by_you"] - start["counts"]["by_you"] == 3


def test_answers_outlive_a_killed_server(page: Any, server: Server) -> None:
    name_class(page, "one")
    until_stored(page)
    server.kill()
    for _ in range(3):
        page.press("1")
    page.until(
        "document.querySelector('[data-testid=stored]').textContent.startsWith('Not connected')"
    )
    assert "Answers are kept here (3)" in page.run("document.body.textContent")
    server.start()
    page.go(server.url)  # the window that the program opens again
    page.until("document.querySelector('[data-testid=picture]')?.complete")
    until_stored(page)
    page.until(f"{COUNTS}.by_you === 4")
    assert sum(1 for _, state, _ in labels(page) if state == "labelled") == 4


def test_a_new_name_given_while_the_server_is_away_is_not_lost(page: Any, server: Server) -> None:
    server.kill()
    name_class(page, "late")
    page.press("1")
    server.start()
    page.go(server.url)
    until_stored(page)
    page.until(f"{COUNTS}.by_you === 2")
    assert [c["name"] for c in api(page, "/state")["classes"]] == ["late"]


def open_menu(page: Any, row: int, entry: str) -> None:
    page.run(f"document.querySelectorAll('[data-testid=class] [aria-haspopup]')[{row}].click()")
    page.until("document.querySelector('[role=menu]')")
    page.run(
        "[...document.querySelectorAll('[role=menuitem]')]"
        f".find((e) => e.textContent === {json.dumps(entry)}).click()"
    )
    page.until("document.querySelector('dialog[open]')")


def test_classes_are_renamed_merged_archived_and_undone(page: Any) -> None:
    for word in ("four", "nine", "seven"):
        name_class(page, word)
    until_stored(page)
    answer(page, *"1112223")
    until_stored(page)
    visit(page, "classes", "document.querySelectorAll('[data-testid=class]').length === 3")

    open_menu(page, 1, "Rename")
    page.run("document.querySelector('dialog input').select()")
    page.type("9")
    page.press("Enter")
    page.until("!document.querySelector('dialog')")
    assert [c["name"] for c in api(page, "/state")["classes"]] == ["four", "9", "seven"]

    before = labels(page)
    open_menu(page, 1, "Rename")  # a name that is taken asks to merge
    page.run("document.querySelector('dialog input').select()")
    page.type("Four")
    page.until("document.querySelector('dialog').textContent.includes('4 9 become four')")
    page.press("Enter")
    page.until("document.querySelectorAll('[data-testid=class]').length === 2")
    assert sum(1 for _, _, c in labels(page) if c == 0) == 8
    page.press("Ctrl+z")
    page.until("document.querySelectorAll('[data-testid=class]').length === 3")
    assert labels(page) == before

    open_menu(page, 2, "Archive")
    page.until("document.querySelector('dialog').textContent.includes('2 pictures become open')")
    page.press("Enter")
    page.until("document.querySelectorAll('[data-testid=class]').length === 2")
    page.until(f"{COUNTS}.by_you === 8")
    page.press("Ctrl+z")
    page.until("document.querySelectorAll('[data-testid=class]').length === 3")
    assert labels(page) == before

    open_menu(page, 0, "Change key")
    page.press("2")
    page.until("document.querySelector('dialog [role=alert]')?.textContent.includes('belongs to')")
    page.press("Enter")
    page.until("!document.querySelector('dialog')")
    assert [c["key"] for c in api(page, "/state")["classes"]] == ["2", "1", "3"]
    assert faults(page) == []


def test_a_key_that_was_changed_moves_and_single_keys_can_be_off(again: Any) -> None:
    visit(again, "keys", "document.querySelector('[data-command=unsure]')")
    again.run("document.querySelector('[data-command=unsure] button').click()")
    again.run("document.querySelector('[data-command=unsure] button').focus()")
    again.press("Shift+U")
    again.until("document.querySelector('[data-command=unsure] kbd').textContent === 'Shift+U'")
    visit(again, "queue", "document.querySelector('[data-testid=picture]')")
    before = api(again, "/state")["counts"]
    again.press("u")
    again.press("Shift+U")
    until_stored(again)
    assert api(again, "/state")["counts"]["unsure"] == before["unsure"] + 1
    visit(again, "keys", "document.querySelector('[role=switch]')")
    again.run("document.querySelector('[role=switch]').click()")
    visit(again, "queue", "document.querySelector('[data-testid=picture]')")
    for key in ("Shift+U", "n", " ", "i"):
        again.press(key)
    again.press("Ctrl+z")
    again.until(f"{COUNTS}.by_you === {before['by_you']}")
    again.run("localStorage.removeItem('handful.settings')")
    assert api(again, "/state")["counts"] == before


def test_problems_and_export(again: Any, shared: Server) -> None:
    name_class(again, "=danger, with a comma")
    until_stored(again)
    again.until("document.querySelector('[data-testid=problems]')")
    visit(again, "problems", "document.querySelector('table[data-testid=problems] tr')")
    assert "cut.png" in again.run("document.querySelector('table').textContent")
    visit(again, "export", "document.querySelector('.export-form')")
    again.run("document.querySelector('.export-form button.main').click()")
    again.until("document.querySelector('[data-testid=export-done]')")
    (written,) = shared.folder.glob("handful-export/*/labels.csv")
    with written.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert "'=danger, with a comma" in [r["class"] for r in rows]
    assert faults(again) == []


def test_the_next_picture_is_there_at_once(again: Any) -> None:
    """Key press to the next picture decoded and in the page; ux asks p95 under 100 ms."""
    name_class(again, "x")
    until_stored(again)
    again.run(
        """window.spans = []; window.addEventListener('keydown', () => {
          const start = performance.now();
          const old = document.querySelector('[data-testid=picture]')?.dataset.image;
          const look = () => {
            const now = document.querySelector('[data-testid=picture]');
            const there = now && now.dataset.image !== old && now.complete;
            if (there) spans.push(performance.now() - start);
            else requestAnimationFrame(look);
          };
          requestAnimationFrame(look);
        }, { capture: true });"""
    )
    tails = []
    for _ in range(3):  # what else the machine does only makes it slower: the best round counts
        again.run("spans.length = 0")
        for _ in range(20):
            again.press("1")
            time.sleep(0.1)
        again.until("spans.length === 20")
        tails.append(sorted(again.run("spans"))[18])
        if tails[-1] < 100:
            return
    pytest.fail(f"95 % of the pictures come within {min(tails):.0f} ms")


def drawn(page: Any) -> list[Any]:
    script = """[...document.querySelectorAll('body *')].filter((e) => {
      const r = e.getBoundingClientRect();
      return r.width && r.right > innerWidth + 1 && !e.closest('.said, .last, .lines, .top nav');
    }).map((e) => e.className || e.tagName)"""
    found: list[Any] = page.run(script)
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(768, 1024), (1280, 720), (1920, 1080)])
def test_nothing_is_wider_than_the_window(again: Any, theme: str, width: int, height: int) -> None:
    again.media(prefers_color_scheme=theme)
    again.size(width, height, touch=width == 768)
    try:
        for screen in ("queue", "pictures", "classes", "export", "problems", "history", "keys"):
            visit(
                again,
                screen,
                f"location.hash === '#/{screen}' && document.querySelector('.work *')",
            )
            again.run(
                "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
            )
            assert again.run("document.documentElement.scrollWidth") <= width, screen
            assert drawn(again) == [], screen
        if width > 768:
            visit(again, "pictures", "document.querySelector('[data-testid=tile]')")
            seen = again.run(SEEN)
            assert seen >= (24 if width == 1280 else 60)
    finally:
        again.size(1280, 720)
        again.media(prefers_color_scheme="light")


SEEN = """(() => { const box = document.querySelector('.grid').getBoundingClientRect();
  return [...document.querySelectorAll('[data-testid=tile]')].filter((t) => {
    const r = t.getBoundingClientRect();
    return r.top >= box.top - 1 && r.top + r.height / 2 <= box.bottom;
  }).length; })()"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_screen_shuts_anybody_out(again: Any, theme: str) -> None:
    """axe finds nothing, not even minor, on any screen, a menu or a dialog."""
    axe = ROOT / "ui" / "node_modules" / "axe-core" / "axe.min.js"
    if not axe.is_file():
        pytest.skip("axe-core is not installed: no registry, or `npm ci` was not run in ui/")
    name_class(again, "Manuel")
    name_class(again, "Nora")
    until_stored(again)
    again.media(prefers_color_scheme=theme)
    again.run(axe.read_text(encoding="utf-8") + ";1")
    look = """axe.run(document, { resultTypes: ['violations'] }).then((found) =>
      found.violations.map((v) => [v.impact, v.id, v.nodes[0].html.slice(0, 120)]))"""
    try:
        for screen in ("queue", "pictures", "classes", "export", "problems", "history", "keys"):
            visit(again, screen, "document.querySelector('.work *')")
            again.run("new Promise((done) => setTimeout(done, 100))")
            assert again.run(look) == [], screen
        visit(again, "classes", "document.querySelector('[data-testid=class]')")
        open_menu(again, 0, "Merge into...")
        assert again.run(look) == []
    finally:
        again.media(prefers_color_scheme="light")
