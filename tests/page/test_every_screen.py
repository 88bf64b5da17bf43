"""Every screen of the page with everything on it, in both themes: it shuts nobody out, and fits.

The list is held against the page's own: a screen that is added there is looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import ROOT, axe, drawn, visit
from page_learned import teach_groups
from page_serving import invited, serving
from test_checking import LABELLED, STATIC, Work, paint, window
from test_people import HERE, two_answers

PICTURE = "document.querySelector('[data-testid=picture]')?.naturalWidth > 0"
TILES = "document.querySelectorAll('[data-testid=tile] img').length > 3"
SCREENS = {
    "gallery": TILES,
    "gallery?part=all": "document.querySelector('.card-cell img')",
    "gallery?part=same": "document.querySelector('.card-cell img')",
    "gallery?part=cards": "document.querySelector('.group-head h1')",
    "gallery?part=border&class=1": TILES,
    "queue": f"{PICTURE} && document.querySelector('[data-testid=suggestion]')",
    "queue?mode=later": f"{PICTURE} && document.querySelector('.beside button')",
    "audit": PICTURE,
    "review": "document.querySelectorAll('.nearest img').length === 8",
    "review?part=confusion": "document.querySelector('[data-testid=confusion]')",
    "review?part=cell:1:0": TILES.replace("> 3", "> 0"),
    "review?part=accept": "document.querySelector('[data-testid=accept-do]')",
    "map": "document.querySelector('canvas')?.width > 0",
    "pictures": TILES,
    "find?class=1": TILES,
    "classes": "document.querySelector('.guide-cell')",
    "export": "document.querySelector('.carry-form button.main')",
    "problems": "document.querySelector('[data-problem]')",
    "history": "document.querySelector('.history-list li')",
    "keys": "document.querySelector('[aria-label^=\"Goal\"]')",
}
OPENED = {  # what a key or a click puts over a screen
    "queue": ("Shift+L", "document.querySelector('[data-testid=contrast-low]')"),
    "audit": ("g", "document.querySelector('aside')"),
    "pictures": ("p", "document.querySelector('.large img')?.naturalWidth > 0"),
    "classes": ("", "document.querySelector('dialog[open]')"),
}


def screens_of_the_page() -> set[str]:
    source = (ROOT / "ui" / "src" / "logic" / "address.ts").read_text(encoding="utf-8")
    found = re.search(r"export const SCREENS = \[(.*?)\]", source, re.DOTALL)
    assert found is not None
    return set(re.findall(r'"(\w+)"', found[1]))


def test_no_screen_is_left_out() -> None:
    assert {screen.partition("?")[0] for screen in SCREENS} == screens_of_the_page()


@pytest.fixture(scope="module")
def full(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Work]:
    """Groups, suggestions, mistakes, a map, a problem, a guide, something put off."""
    folder = paint(tmp_path_factory.mktemp("full") / "digits")
    (folder / "cut.png").write_bytes((folder / "000000.png").read_bytes()[:90])
    with pytest.MonkeyPatch.context() as patch, serving(folder, static=STATIC) as page:
        patch.setattr("handful.page.queue.held_back", lambda row: False)  # any of 20 comes bare
        page.settled()
        work = Work(page)
        teach_groups(
            page.project, [work.row[LABELLED:170], work.row[170:]],
            likely=[(0, 0.97), (1, 0.7)], near=[(0, 1)],
        )  # fmt: skip
        guide = {"text": "round", "examples": [work.id[0]], "nots": [work.id[1]]}
        assert work.client.change(0, guide=guide).status == 200
        later = {"kind": "state_set", "images": [work.id[LABELLED + 3]], "state": "later"}
        work.client.decide(later)
        yield work


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_screen_shuts_anybody_out(browser: Any, full: Work, theme: str) -> None:
    browser.media(prefers_color_scheme=theme, prefers_reduced_motion="reduce")  # no fade
    try:
        with window(browser, full, "history") as w:
            look = axe(w)
            for screen, ready in SCREENS.items():
                visit(w, screen, f"location.hash === '#/{screen}' && {ready}")
                w.run("new Promise((done) => setTimeout(done, 60))")
                assert look() == [], screen
                assert drawn(w) == [], screen
                if screen in OPENED:
                    over(w, *OPENED[screen])
                    assert look() == [], (screen, "opened")
                    w.press("Escape" if screen != "queue" else "Shift+L")
    finally:
        browser.media(prefers_color_scheme="light")


def over(w: Any, key: str, ready: str) -> None:
    """Puts over a screen what a key opens; without one, the dialog of the first class's menu."""
    if key:
        w.press(key)
    else:
        w.run("document.querySelector('[data-testid=class] [aria-haspopup]').click()")
        w.until("document.querySelector('[role=menu]')")
        w.run(
            "[...document.querySelectorAll('[role=menuitem]')]"
            ".find((e) => e.textContent === 'Merge into...').click()"
        )
    w.until(ready)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_neither_does_what_several_people_see(browser: Any, tmp_path: Path, theme: str) -> None:
    """The question for a name, the line of colleagues, what they disagree about."""
    folder = paint(tmp_path / "digits")
    with serving(folder, static=STATIC, lan=HERE) as page:
        page.settled()
        invited(page, "P0")
        two_answers(page)
        browser.faults.clear()
        browser.media(prefers_color_scheme=theme, prefers_reduced_motion="reduce")  # no fade
        browser.size(1280, 720)
        try:
            browser.go(f"{page.site.door.link}#/queue?mode=random")
            browser.until("document.activeElement?.dataset.testid === 'name-field'")
            look = axe(browser)
            assert look() == []
            browser.type(f"P{theme}")
            browser.press("Enter")
            browser.until("!document.querySelector('dialog')")
            browser.run("document.querySelector('[data-testid=people]').open = true")
            assert look() == []
            visit(browser, "review?part=disagreements", PICTURE)
            assert look() == []
            assert browser.faults == []
        finally:
            browser.media(prefers_color_scheme="light")
            browser.go("about:blank")
