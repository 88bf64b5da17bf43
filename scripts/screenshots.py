"""Pictures of the labelling page as it is: the real server, the real browser, every screen.

    .venv/bin/python scripts/screenshots.py OUT [FOLDER]

Labels some pictures of FOLDER (a copy of scikit-learn's digits when it is left out) by keys,
lets the page learn from 300 more, then photographs each screen at 768, 1280 and 1920 pixels in
both themes, and the result of an audit last.  Says why and ends with 0 where there is no browser
or the page is not built.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import chromium

ROOT = Path(__file__).resolve().parent.parent
SIZES = ((768, 1024), (1280, 720), (1920, 1080))
THEMES = ("light", "dark")
# Each screen: its address, and what must be there before it is photographed.
PICTURE = "document.querySelector('[data-testid=picture]')?.naturalWidth > 0"
TILES = "document.querySelectorAll('[data-testid=tile] img').length > 3"
SCREENS = {
    "gallery": ("gallery", TILES),
    "overview": ("gallery?part=all", "document.querySelector('.card-cell img')"),
    "cards": ("gallery?part=cards", "document.querySelector('.group-head h1')"),
    "border": ("gallery?part=border&class=8", TILES),
    "queue": ("queue", PICTURE),
    "audit": ("audit", PICTURE),
    "review": ("review", PICTURE),
    "confusion": ("review?part=confusion", "document.querySelector('[data-testid=confusion]')"),
    "accept": ("review?part=accept", "document.querySelector('[data-testid=accept-do]')"),
    "map": ("map", "performance.getEntriesByName('map').length > 0"),
    "find": ("find?class=8", TILES),
    "pictures": ("pictures", TILES),
    "classes": ("classes", "document.querySelector('[data-testid=class]')"),
    "export": ("export", "document.querySelector('.work h1')"),
    "problems": ("problems", "document.querySelector('.work h1')"),
    "history": ("history", "document.querySelector('.history-list li')"),
    "keys": ("keys", "document.querySelector('.settings')"),
}  # fmt: skip
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def digits(place: Path) -> Path:
    """scikit-learn's 1,797 digits as PNG files, and two files that show the list of problems."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    place.mkdir(parents=True)
    for i, image in enumerate(load_digits().images):
        gray = (255 - np.clip(image * 16, 0, 255)).astype(np.uint8)
        big = Image.fromarray(gray).resize((64, 64), Image.Resampling.NEAREST)
        big.save(place / f"{i + 1:06d}.png")
    (place / "cut.png").write_bytes((place / "000001.png").read_bytes()[:90])
    (place / "notes.png").write_text("not a picture")
    return place


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of the page for a folder."""
    with tempfile.TemporaryDirectory() as project:
        command = [sys.executable, "-m", "handful", str(folder), "--no-browser"]
        process = subprocess.Popen(
            [*command, "--project", project], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            process.wait(20)


def sitting(browser: chromium.Chromium, out: Path, key_of: Callable[[str], str]) -> None:
    """The first minute, with its own pictures on the way."""
    picture = "document.querySelector('[data-testid=picture]')"
    browser.until(f"{picture}?.complete", seconds=30)
    browser.until("document.querySelector('[data-testid=problems]')", seconds=60)
    shoot(browser, out / "start-1280-light.png")
    browser.press("Enter")
    for word in WORDS:
        browser.press("/")
        browser.type(word)
        if word == "three":
            shoot(browser, out / "typing-1280-light.png")
        browser.press("Enter")
    browser.run("location.hash = '#/queue'")
    for _ in range(30):
        browser.until(PICTURE)
        image = browser.run(f"{picture}.dataset.image")
        browser.press(key_of(image))
        browser.until(f"{picture}?.dataset.image !== '{image}'")
    browser.until("document.querySelector('[data-testid=stored]').textContent === 'Stored'")


# What a person would do in an hour, sent from the page as its own answers are.
SEND = """
const send = async (path, body) => (await fetch('/api/v1' + path, {
  method: 'POST', body: JSON.stringify(body),
  headers: { 'Content-Type': 'application/json', 'X-Handful': '1' },
})).json();
const ask = async (path) => (await fetch('/api/v1' + path)).json();
let number = 0;
const id = () => `shots${Date.now()}.${number++}`;
"""
ANSWER = """(async () => { %s
  const keys = %s, wrong = %d;
  const seen_rev = (await ask('/state')).label_rev;
  const events = Object.entries(keys).map(([image, key], i) => ({
    kind: 'labelled', id: id(), seen_rev, image, from: 'queue',
    class: i %% wrong === wrong - 1 ? (key + 1) %% 10 : key,
  }));
  for (let i = 0; i < events.length; i += 100) await send('/events', events.slice(i, i + 100));
})()"""
AUDIT = """(async () => { %s
  const keys = %s;
  for (let given = 0; given < 150;) {
    const queue = await ask('/queue?mode=audit&n=50');
    if (!queue.items.length) break;
    const events = queue.items.map(({ id: image }) => ({
      kind: 'audit_answered', id: id(), seen_rev: queue.label_rev, image, class: keys[image],
    }));
    await send('/events', events.slice(0, 150 - given));
    given += events.length;
  }
  await send('/audit/close', { id: id() });
})()"""


def truth(browser: chromium.Chromium) -> dict[str, int]:
    """Class of each picture by its id: the digit, where the folder is that of the digits."""
    from sklearn.datasets import load_digits

    target = load_digits().target
    found: dict[str, int] = {}
    cursor = ""
    while True:
        page = browser.run(
            f"fetch('/api/v1/images?limit=500{cursor}').then((reply) => reply.json())"
        )
        for picture in page["items"]:
            stem = Path(picture["name"]).stem
            number = int(stem) if stem.isdecimal() else len(found) + 1
            found[picture["id"]] = int(target[(number - 1) % len(target)])
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


def learned(browser: chromium.Chromium, keys: dict[str, int]) -> None:
    """Give 300 answers, one in twenty wrong, and wait for what is learned from them."""
    some = {image: key for i, (image, key) in enumerate(sorted(keys.items())) if i % 6 == 0}
    browser.run(ANSWER % (SEND, json.dumps(some), 20))
    ready = """fetch('/api/v1/state').then((reply) => reply.json()).then((state) =>
      state.map_rev && state.groups_rev && state.model_rev
      && fetch('/api/v1/review?kind=errors').then((r) => r.json()).then((r) => r.total > 5))"""
    until = time.monotonic() + 180
    while not browser.run(ready):
        assert time.monotonic() < until, "nothing is learned in three minutes"
        time.sleep(1)
    browser.run("location.reload()")
    browser.until("document.querySelector('[data-testid=stored]')")


def shoot(browser: chromium.Chromium, path: Path) -> None:
    """One picture, when everything in view is drawn."""
    before = -1
    while before != (before := browser.run("document.images.length")):  # a few come at a time
        browser.until("[...document.images].every((image) => image.complete)")
        browser.run("new Promise((done) => setTimeout(done, 300))")
    path.write_bytes(browser.shot())


def photograph(
    browser: chromium.Chromium, out: Path, screens: Mapping[str, tuple[str, str]]
) -> None:
    """Screens in every size and theme."""
    for theme in THEMES:
        browser.media(prefers_color_scheme=theme)
        for width, height in SIZES:
            browser.size(width, height, touch=width == min(SIZES)[0])
            for name, (address, ready) in screens.items():
                browser.run(f"location.hash = '#/{address}'")
                browser.until(f"location.hash === '#/{address}' && {ready}")
                if name == "pictures":
                    browser.run("document.querySelector('[data-testid=tile]').focus()")
                    for _ in range(2):
                        browser.press("Shift+ArrowRight")
                shoot(browser, out / f"{name}-{width}-{theme}.png")
                if name == "pictures":
                    browser.press("Escape")


def main(arguments: list[str]) -> int:
    if not arguments:
        sys.stderr.write("usage: screenshots.py OUT [FOLDER]\n")
        return 2
    if chromium.found() is None:
        sys.stderr.write("no pictures are taken: no Chromium on the path\n")
        return 0
    if not (ROOT / "src" / "handful" / "page" / "static" / "index.html").is_file():
        sys.stderr.write("no pictures are taken: the page is not built (make page)\n")
        return 0
    out = Path(arguments[0])
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "pictures"
        if len(arguments) > 1:
            shutil.copytree(arguments[1], folder)
        else:
            digits(folder)
        with served(folder) as address, chromium.Chromium() as browser:
            browser.size(1280, 720)
            browser.media(prefers_color_scheme="light")
            browser.go(address)
            keys: dict[str, int] = {}

            def key_of(image: str) -> str:
                if not keys:
                    keys.update(truth(browser))
                return str((keys[image] + 1) % 10)

            sitting(browser, out, key_of)
            learned(browser, keys)
            photograph(browser, out, SCREENS)
            browser.run(AUDIT % (SEND, json.dumps(keys)))
            result = "document.querySelector('[data-testid=audit-result]')"
            photograph(browser, out, {"result": ("audit", result)})
            for fault in browser.faults:
                sys.stderr.write(f"{fault}\n")
            return 1 if browser.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
