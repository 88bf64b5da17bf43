"""The gallery and the queue's suggestions in a real browser, by keys, on revisions by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import ROOT, api, axe, drawn, number, text, until_stored, visit
from page_learned import rows_of, teach_features, teach_groups, teach_model
from page_serving import Served, serving
from PIL import Image
from sklearn.datasets import load_digits

STATIC = ROOT / "src" / "handful" / "page" / "static"
N = 260
DIGITS = load_digits()
TRUTH = DIGITS.target[:N]
WRONG = 7  # place of the tile that does not belong, in every group


def paint(folder: Path) -> Path:
    folder.mkdir()
    for i, image in enumerate(DIGITS.images[:N]):
        gray = (255 - np.clip(image * 16, 0, 255)).astype(np.uint8)
        big = Image.fromarray(gray).resize((64, 64), Image.Resampling.NEAREST)
        big.save(folder / f"{i:06d}.png")
    return folder


def gathered(rows: dict[str, int]) -> list[list[int]]:
    """A group of each of the first four digits, with one picture of another in it."""
    by_name = [rows[f"{i:06d}.png"] for i in range(N)]
    groups = [[by_name[i] for i in np.flatnonzero(c == TRUTH)] for c in range(4)]
    strangers = [by_name[i] for i in np.flatnonzero(TRUTH == 8)[:4]]
    for group, stranger in zip(groups, strangers, strict=True):
        group.insert(WRONG, stranger)
    return groups


@contextmanager
def learned(folder: Path, *, suggests: bool = True) -> Iterator[Served]:
    """The page of digits, with groups and, but for a first look, with suggestions."""
    with serving(paint(folder), static=STATIC) as page:
        page.settled()
        project = page.project
        rows = rows_of(project)
        vectors = {
            rows[f"{i:06d}.png"]: (image.ravel() + 1).tolist()
            for i, image in enumerate(DIGITS.images[:N])
        }
        teach_features(project, vectors)
        if suggests:
            client = page.client()
            for word in ("zero", "one", "two"):
                assert client.make(word).status == 200
            guesses = {rows[f"{i:06d}.png"]: (int(c) % 3, 0.9) for i, c in enumerate(TRUTH)}
            teach_model(project, guesses, order=sorted(guesses), second=1, stands=[140] * N,
                        reasons=[2] * N)  # fmt: skip
            teach_groups(project, gathered(rows), likely=[(0, 0.99), (1, 0.9), (2, 0.6), (-1, 0)],
                         near=[(0, 2)])  # fmt: skip
        yield page


@contextmanager
def window(browser: Any, page: Served, screen: str = "gallery") -> Iterator[Any]:
    browser.faults.clear()
    browser.size(1280, 720)
    browser.go(f"http://127.0.0.1:{page.port}/?token={page.site.door.token()}#/{screen}")
    browser.until("document.querySelector('[data-testid=stored]')")
    try:
        yield browser
        assert browser.faults == []
    finally:
        browser.go("about:blank")


@pytest.fixture
def page(browser: Any, tmp_path: Path) -> Iterator[Served]:
    with learned(tmp_path / "digits") as served:
        yield served


GROUP = "document.querySelector('main[data-testid=group]')"
TILES = "document.querySelectorAll('main[data-testid=group] [data-testid=tile]')"


TILE = "[data-testid=tile]"


def at(window: Any) -> str:
    window.until(f"{GROUP} && {TILES}.length > 0")
    return str(window.run(f"{GROUP}.dataset.group"))


def scope(window: Any) -> int:
    said = text(window, "btn-label-group")
    return int("".join(c for c in said.partition("in this group")[0] if c.isdigit()))


def answer(window: Any, *keys: str) -> None:
    """Presses keys, the last of which settles the group, and waits for the next."""
    before = at(window)
    for key in keys:
        window.press(key)
    window.until(f"{GROUP}?.dataset.group !== {json.dumps(before)}")


def labels(window: Any) -> dict[str, Any]:
    items = api(window, "/images?limit=500")["items"]
    return {p["name"]: (p["state"], p["class"], p["source"]) for p in items}


def test_groups_are_labelled_by_keys_alone(browser: Any, page: Served) -> None:
    """Space takes out, a key labels the rest: as many as the button says, each as it says."""
    with window(browser, page, "") as w:  # no screen in the address: the gallery
        assert at(w).endswith(".0")
        assert "Group 1 of 4" in w.run("document.querySelector('h1').textContent")
        assert "zero (fairly sure)" in text(w, "suggestion")
        assert w.run(f"{TILES}.length") >= 24
        for _ in range(WRONG):
            w.press("ArrowRight")
        w.until(f"document.activeElement.dataset.index === '{WRONG}'")
        wrong = w.run("document.activeElement.dataset.image")
        out = f"document.querySelector('[data-image=\"{wrong}\"]').dataset.out"
        w.press(" ")
        w.until(f"{out} === 'true'")
        n = scope(w)
        assert n == int((TRUTH == 0).sum())
        answer(w, "Enter")
        until_stored(w)
        assert number(w, "count-group") == n
        named = [v for v in labels(w).values() if v[0] == "labelled"]
        assert named == [("labelled", 0, "group")] * n
        assert text(w, "undo-text") == f'Undo (Ctrl+Z): {n} images labelled "zero"'

        answer(w, "2")
        n += int((TRUTH == 1).sum()) + 1
        w.press("/")
        w.type("deux")
        answer(w, "Enter")
        n += int((TRUTH == 2).sum()) + 1
        until_stored(w)
        assert number(w, "count-group") == n
        before = labels(w)
        for _ in range(3):
            w.press("Ctrl+z")
        w.until("document.querySelector('[data-testid=count-group]').textContent.startsWith('0')")
        assert at(w).endswith(".0")
        assert w.run(out) == "true"
        for _ in range(3):
            w.press("Ctrl+Shift+z")
        w.until(f"{GROUP}.dataset.group.endsWith('.3')")
        until_stored(w)
        assert labels(w) == before


def test_halve_mix_merge_and_the_way_back(browser: Any, page: Served) -> None:
    with window(browser, page) as w:
        whole = int(w.run(f"{GROUP}.dataset.open")) if at(w) else 0
        w.press("h")
        w.until(f"Number({GROUP}.dataset.open) < {whole}")
        halves = int(w.run(f"{GROUP}.dataset.open"))
        w.press("Ctrl+z")
        w.until(f"Number({GROUP}.dataset.open) === {whole}")
        assert 0 < halves < whole

        answer(w, "o")  # not one class: out of the list, its pictures stay open
        w.press("Ctrl+z")
        w.until(f"{GROUP}.dataset.group.endsWith('.0')")

        w.press("m")  # same as: the group that looks alike comes first
        w.until("document.querySelector('.card-cell')")
        assert w.run("document.querySelector('.card-cell').dataset.group").endswith(".2")
        w.press("Enter")
        both = int((TRUTH == 0).sum() + (TRUTH == 2).sum()) + 2
        w.until(f"Number({GROUP}?.dataset.open) === {both}")
        answer(w, "1")
        until_stored(w)
        assert number(w, "count-group") == both


def test_same_class_cards_and_the_overview(browser: Any, page: Served) -> None:
    with window(browser, page, "gallery?part=cards") as w:
        w.until("document.querySelector('.pair .side')")
        assert "Are these the same class?" in w.run("document.body.textContent")
        w.press("Backspace")
        w.until("!document.querySelector('.pair')")
        w.press("Enter")
        at(w)
        w.press("Escape")
        w.until("document.querySelectorAll('.card-cell').length === 4")
        w.press(" ")
        w.press("ArrowRight")
        w.press(" ")
        assert "Label 2 groups" in text(w, "btn-label-group")
        w.press("3")
        w.until("document.querySelectorAll('.card-cell').length === 2")
        until_stored(w)
        expected = int((TRUTH == 0).sum() + (TRUTH == 1).sum()) + 2
        assert number(w, "count-group") == expected
        w.press("Ctrl+z")
        w.until("document.querySelectorAll('.card-cell').length === 4")


def test_the_border_of_a_class_is_found_in_a_few_pages(browser: Any, page: Served) -> None:
    """Pages by likeness: all of the class belong until the first that does not."""
    client = page.client("other")
    zero = {f"{i:06d}.png" for i in np.flatnonzero(TRUTH == 0)}
    pictures = client.get("/images", limit=500).json["items"]
    known = [p["id"] for p in pictures if p["name"] in zero]
    client.label(known[0], 0)
    with window(browser, page, "gallery?part=border&class=0") as w:
        w.until(f"document.querySelectorAll('[data-testid=border] {TILE}').length === 24")
        assert "Do all of these belong to zero?" in w.run(
            "document.querySelector('h1').textContent"
        )
        for _ in range(14):
            heading = w.run("document.querySelector('.group-head').textContent")
            seen = w.run(f"[...document.querySelectorAll('{TILE}')].map((t) => t.title)")
            w.press("Enter" if set(seen) <= zero else "Backspace")
            w.until(f"document.querySelector('.group-head').textContent !== {json.dumps(heading)}")
            if w.run("document.querySelector('[data-testid=border-found]') !== null"):
                break
        assert "Border found:" in text(w, "border-found")
        until_stored(w)
        got = {n for n, v in labels(w).items() if v[1] == 0}
        assert got <= zero
        assert len(got) >= 1


def test_what_others_said_since_a_group_was_served_is_not_overwritten(
    browser: Any, page: Served
) -> None:
    """The page knows the newest labels by the stream, the person only those in view: E12."""
    with window(browser, page) as w:
        first, n = at(w), scope(w)
        taken = page.client("other")
        group = next(g for g in taken.get("/groups").json["items"] if g["id"] == first)
        for image in group["ids"][-3:]:  # not on the screen, or at its end
            taken.label(image, 1)
        assert taken.state()["counts"]["by_you"] == 3
        w.until("document.querySelector('[data-testid=count-you]').textContent.startsWith('3 ')")
        rev = page.project.rev
        w.press("3")
        w.until(f"Number({GROUP}?.dataset.open) === {n - 3}")
        assert page.project.rev == rev  # nothing was done
        assert at(w) == first  # shown again, as it is now
        w.press("3")
        until_stored(w)
        w.until(f"{GROUP}?.dataset.group !== {json.dumps(first)}")
        found = {i["id"]: i["class"] for i in taken.get("/images", limit=500).json["items"]}
        assert [found[i] for i in group["ids"]] == [2] * (n - 3) + [1] * 3
        shown = page.project.book.event(page.project.rev).data["suggestion"]
        assert (shown["class"], shown["shown"]) == (0, True)  # likely a zero, as the page said


def test_new_suggestions_move_nothing_in_view(browser: Any, page: Served) -> None:
    with window(browser, page) as w:
        first = at(w)
        tiles = w.run(f"[...{TILES}].map((t) => t.dataset.image)")
        w.press("ArrowRight")
        w.until("document.activeElement.dataset.index === '1'")
        rows = rows_of(page.project)
        teach_groups(page.project, gathered(rows)[::-1])
        page.site.tell("groups")
        w.until("document.querySelector('[data-testid=newer]')")
        assert at(w) == first
        assert w.run(f"[...{TILES}].map((t) => t.dataset.image)") == tiles
        assert w.run("document.activeElement.dataset.image") == tiles[1]
        w.run("document.querySelector('[data-testid=newer] button').click()")
        w.until(f"{GROUP}.dataset.group === '2.0'")


def test_the_queue_suggests_and_says_why(browser: Any, page: Served) -> None:
    with window(browser, page, "queue") as w:
        w.until("document.querySelector('[data-testid=suggestion]')")
        beside = w.run("document.querySelector('.beside').textContent")
        assert "fairly sure" in beside
        assert "Stands for 140 others" in beside
        picture = w.run("document.querySelector('[data-testid=picture]').dataset.image")
        suggested = int(w.run("document.querySelector('[data-testid=suggestion]').dataset.class"))
        w.press("y")
        w.until("!document.querySelector('[data-testid=suggestion]')")
        w.press("Enter")  # what is hidden cannot be agreed with
        w.press("y")
        w.until("document.querySelector('[data-testid=suggestion]')")
        w.press("Enter")
        w.until(f"document.querySelector('[data-testid=picture]').dataset.image !== '{picture}'")
        until_stored(w)
        assert api(w, f"/images/{picture}")["picture"]["class"] == suggested
        (event,) = [e for e in page.project.book.events if e.kind == "labelled"]
        assert event.data["suggestion"]["shown"] is True
        assert event.data["suggestion"]["class"] == suggested


def test_a_first_look_is_blind_until_there_are_suggestions(browser: Any, tmp_path: Path) -> None:
    with learned(tmp_path / "digits", suggests=False) as page, window(browser, page, "") as w:
        w.until("document.querySelector('[data-testid=picture]')")
        assert "count for your audit" in text(w, "first-look")
        w.press("Enter")
        w.press("/")
        w.type("some")
        w.press("Enter")
        until_stored(w)
        w.press("1")
        until_stored(w)
        kinds = [e.kind for e in page.project.book.events]
        assert kinds.count("audit_answered") == 2
        assert "labelled" not in kinds
        assert number(w, "count-you") == 2
        blind = w.run("document.querySelector('[data-testid=picture]').dataset.image")

        rows = rows_of(page.project)
        teach_model(page.project, dict.fromkeys(rows.values(), (0, 0.9)), order=[])
        page.site.tell("model")
        w.until("document.querySelector('[data-testid=newer]')")
        assert w.run("document.querySelector('[data-testid=picture]').dataset.image") == blind
        assert w.run("document.querySelector('[data-testid=suggestion]') === null")
        suggests = "document.querySelector('.beside h2').textContent === 'Suggestion'"
        for _ in range(5):  # a key may be quicker than the news: the picture after it is not
            w.press("1")
            until_stored(w)
            if w.run(suggests):
                break
        assert w.run(suggests)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_gallery_fits_and_shuts_nobody_out(browser: Any, tmp_path: Path, theme: str) -> None:
    """No scrolling for a group at 1280 x 720, 60 tiles at 1920, 44 px by thumb, axe content."""
    with learned(tmp_path / "digits") as page, window(browser, page) as w:
        w.until(f"{TILES}.length > 0")  # or the page begins with the list that is to be newer
        w.run("new Promise((done) => setTimeout(done, 500))")  # and hears the news
        large = [row for group in gathered(rows_of(page.project)) for row in group]
        teach_groups(page.project, [large], near=[])
        page.site.tell("groups")
        w.until("document.querySelector('[data-testid=newer] button')")
        w.run("document.querySelector('[data-testid=newer] button').click()")
        w.until(f"Number({GROUP}?.dataset.open) === {len(large)}")
        w.media(prefers_color_scheme=theme, prefers_reduced_motion="reduce")
        look = axe(w)
        try:
            for width, height, least in ((1280, 720, 36), (1920, 1080, 60), (768, 1024, 36)):
                w.size(width, height, touch=width == 768)
                w.run("new Promise((done) => setTimeout(done, 300))")
                assert w.run(f"{TILES}.length") >= least
                ground = "document.querySelector('.ground')"
                assert w.run(f"{ground}.scrollHeight <= {ground}.clientHeight"), width
                assert w.run("document.documentElement.scrollWidth") <= width
                assert drawn(w) == []
                assert look() == [], width
                if width == 768:
                    small = "(e) => e.getBoundingClientRect().height < 43.5 && e.offsetParent"
                    buttons = "[...document.querySelectorAll('.acts button, .class-row')]"
                    assert w.run(f"{buttons}.filter({small}).map((e) => e.textContent)") == []
            w.size(1280, 720)
            for screen in ("gallery?part=all", "gallery?part=same", "gallery?part=cards", "queue"):
                visit(w, screen, "document.querySelector('.work *')")
                w.run("new Promise((done) => setTimeout(done, 150))")
                assert look() == [], screen
                assert drawn(w) == [], screen
        finally:
            w.size(1280, 720)
            w.media(prefers_color_scheme="light")


def test_news_moves_nothing_on_a_tablet(browser: Any, tmp_path: Path) -> None:
    """What is said at the bottom takes no second line: the tiles would be laid out anew."""
    with learned(tmp_path / "digits") as page, window(browser, page) as w:
        w.size(768, 1024, touch=True)
        try:
            answer(w, "1")
            until_stored(w)
            w.run("new Promise((done) => setTimeout(done, 200))")
            places = (
                "JSON.stringify([...document.querySelectorAll('[data-testid=tile]')]"
                ".map((t) => { const r = t.getBoundingClientRect(); return [r.x, r.y, r.width]; }))"
            )
            before = w.run(places)
            teach_groups(page.project, gathered(rows_of(page.project))[1:], near=[])
            page.site.tell("groups")
            w.until("document.querySelector('[data-testid=newer]')")
            w.run("new Promise((done) => setTimeout(done, 200))")
            assert w.run(places) == before
        finally:
            w.size(1280, 720)
