"""The page in a real browser on the real server: what a person does by keys, and what lasts."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import (
    COUNTS,
    NUMBER,
    RANDOM,
    WORDS,
    Server,
    answer,
    api,
    digits,
    drawn,
    faults,
    labels,
    name_class,
    number,
    opened,
    text,
    until_stored,
    visit,
)  # fmt: skip


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


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    with opened(browser, server, server.url) as window:
        yield window


@pytest.fixture
def again(browser: Any, shared: Server) -> Iterator[Any]:
    with opened(browser, shared, shared.origin) as window:
        yield window


SCREENS = ("queue", "gallery", "pictures", "classes", "export", "problems", "history", "keys")


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
    page.go(server.url + RANDOM)  # the window that the program opens again
    page.until("document.querySelector('[data-testid=picture]')?.complete")
    until_stored(page)
    page.until(f"{COUNTS}.by_you === 4")
    assert sum(1 for _, state, _ in labels(page) if state == "labelled") == 4


def test_a_new_name_given_while_the_server_is_away_is_not_lost(page: Any, server: Server) -> None:
    server.kill()
    name_class(page, "late")
    page.press("1")
    server.start()
    page.go(server.url + RANDOM)
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
    visit(again, "queue?mode=random", "document.querySelector('[data-testid=picture]')")
    before = api(again, "/state")["counts"]
    again.press("u")
    again.press("Shift+U")
    until_stored(again)
    assert api(again, "/state")["counts"]["unsure"] == before["unsure"] + 1
    visit(again, "keys", "document.querySelector('[role=switch]')")
    again.run("document.querySelector('[role=switch]').click()")
    visit(again, "queue?mode=random", "document.querySelector('[data-testid=picture]')")
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
    visit(again, "export", "document.querySelector('.carry-form')")
    again.run("document.querySelector('.carry-form button.main').click()")
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


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(768, 1024), (1280, 720), (1920, 1080)])
def test_nothing_is_wider_than_the_window(again: Any, theme: str, width: int, height: int) -> None:
    again.media(prefers_color_scheme=theme)
    again.size(width, height, touch=width == 768)
    try:
        for screen in SCREENS:
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
