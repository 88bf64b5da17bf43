"""Pictures of the labelling page as it is: the real server, the real browser, every screen.

    .venv/bin/python scripts/screenshots.py OUT [FOLDER]

Labels some pictures of FOLDER (a copy of scikit-learn's digits when it is left out) by keys,
then photographs each screen at 768, 1280 and 1920 pixels in both themes.  Says why and ends
with 0 where there is no browser or the page is not built.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import chromium

ROOT = Path(__file__).resolve().parent.parent
SIZES = ((768, 1024), (1280, 720), (1920, 1080))
THEMES = ("light", "dark")
SCREENS = ("queue", "pictures", "classes", "export", "problems", "history", "keys")
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


def sitting(browser: chromium.Chromium, out: Path) -> None:
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
    for key in ["1", "2", "3", "4", "5", "6", "7", "8", "9", "0"] * 4 + ["u", "n", " "]:
        browser.until(f"{picture}?.complete")
        browser.press(key)
    browser.until("document.querySelector('[data-testid=stored]').textContent === 'Stored'")


def shoot(browser: chromium.Chromium, path: Path) -> None:
    """One picture, when everything in view is drawn."""
    browser.until("[...document.images].every((image) => image.complete)")
    browser.run("new Promise((done) => setTimeout(done, 300))")
    path.write_bytes(browser.shot())


def photograph(browser: chromium.Chromium, out: Path) -> None:
    """Every screen in every size and theme."""
    for theme in THEMES:
        browser.media(prefers_color_scheme=theme)
        for width, height in SIZES:
            browser.size(width, height, touch=width == min(SIZES)[0])
            for screen in SCREENS:
                browser.run(f"location.hash = '#/{screen}'")
                browser.until("document.querySelector('.work *')")
                if screen == "pictures":
                    browser.until("document.querySelector('[data-testid=tile] img')")
                    browser.run("document.querySelector('[data-testid=tile]').focus()")
                    for _ in range(2):
                        browser.press("Shift+ArrowRight")
                shoot(browser, out / f"{screen}-{width}-{theme}.png")
                if screen == "pictures":
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
            sitting(browser, out)
            photograph(browser, out)
            for fault in browser.faults:
                sys.stderr.write(f"{fault}\n")
            return 1 if browser.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
