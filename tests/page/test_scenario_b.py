"""A folder with every fault that there is: what can be labelled is, the rest is said by name.

One folder, one program, one window, from the first minute to the export; the order counts.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from browsing import (
    RANDOM,
    Server,
    api,
    drawn,
    faults,
    name_class,
    text,
    until_stored,
    visit,
)
from PIL import Image
from sklearn.datasets import load_digits
from test_security import ask

from handful.store import read_events

pytestmark = pytest.mark.slow
GOOD = 200
PICTURE = "document.querySelector('[data-testid=picture]')"
SHOWN = f"({PICTURE}?.complete && {PICTURE}.naturalWidth > 0)"
HEIC = "This kind of picture (HEIC) cannot be read here. Save it as JPEG or PNG."
TURNS = {
    1: None, 2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
}  # fmt: skip
NAMES = (
    "line\nbreak.png", 'quote".png', "<img src=x onerror=alert(1)>.png", "=cmd.png",
    "smile \N{GRINNING FACE}.png", "turned \N{RIGHT-TO-LEFT OVERRIDE}gnp.png",
    f"{'n' * 251}.png",
)  # fmt: skip
DEEP = "/".join("abcdefghijkl")


def photo(seed: int, size: tuple[int, int] = (96, 64)) -> Image.Image:
    """Something smooth that no other seed has."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    return coarse.resize(size, Image.Resampling.BICUBIC)


def digits(folder: Path) -> list[bytes]:
    """Enlarged digits as PNG files under numbers; what they hold."""
    made = []
    for n, image in enumerate(load_digits().images[: GOOD + 20]):
        gray = (255 - np.clip(image * 16, 0, 255)).astype(np.uint8)
        out = BytesIO()
        Image.fromarray(np.kron(gray, np.ones((8, 8), np.uint8))).save(out, "PNG")
        made.append(out.getvalue())
        if n < GOOD:
            (folder / f"{n:03d}.png").write_bytes(made[-1])
    return made


def warn_of(what: str) -> None:
    """A fault that this machine cannot have, said in the output."""
    sys.stderr.write(f"left out: {what}\n")


def faulty(folder: Path, outside: Path) -> dict[str, str]:
    """Plants one file of each fault; the reason that each has to be given."""
    photo(0).save(folder / "whole.jpg")
    whole = (folder / "whole.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "zero.jpg").write_bytes(b"")
    (folder / "text.png").write_text("hello")
    wrong = bytearray((folder / "000.png").read_bytes())
    wrong[len(wrong) // 2] ^= 0xFF
    (folder / "wrong.png").write_bytes(wrong)
    Image.new("1", (12_000, 12_000)).save(folder / "bomb.png")
    photo(1).save(outside)
    (folder / "outside.png").symlink_to(outside)
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 40)
    reasons = {
        "cut.jpg": f"The file is cut off after {len(whole) // 2:,} bytes.",
        "zero.jpg": "The file is empty (0 bytes).",
        "text.png": "This is not a picture, whatever its name says.",
        "wrong.png": "The file is damaged (",
        "bomb.png": "Picture is too large (144 megapixels; limit 100).",
        "outside.png": "This is a link to a place outside the folder. It is not followed.",
        "loop.png": "This is no regular file (a pipe, a device or a link to itself).",
        "phone.heic": HEIC,
    }
    if os.geteuid() == 0:
        warn_of("no file without the right to read it: root has every right")
    else:
        photo(2).save(folder / "secret.png")
        (folder / "secret.png").chmod(0)
        reasons["secret.png"] = "There is no right to read this file."
    return reasons


def odd(folder: Path, digit: list[bytes]) -> int:
    """Files that are unusual and can be read; how many."""
    before = sum(1 for _ in folder.rglob("*"))
    ramp = np.linspace(0, 65_535, 64 * 64).astype(np.uint16).reshape(64, 64)
    tifffile.imwrite(folder / "ramp.tif", ramp)
    pages = np.stack([np.full((40, 40), 20 + 40 * n, np.uint8) for n in range(5)])
    tifffile.imwrite(folder / "pages.tif", pages)
    photo(3).convert("CMYK").save(folder / "inks.jpg")
    palette = photo(4).quantize(32)
    palette.save(folder / "palette.png", transparency=0)
    frames = [photo(5 + n).quantize(64) for n in range(3)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    Image.new("L", (1, 1), 90).save(folder / "dot.png")
    for n, turn in TURNS.items():
        exif = Image.Exif()
        exif[274] = n
        image = photo(20) if turn is None else photo(20).transpose(turn)
        image.save(folder / f"turned {n}.png", exif=exif)
    for n in range(10):
        image = photo(30 + n)
        image.save(folder / f"again {n} a.png")
        image.save(folder / f"again {n} b.jpg", quality=95)
        image.save(folder / f"again {n} c.jpg", quality=85)
        image.save(folder / f"again {n} d.webp", quality=90)
    for n, name in enumerate(NAMES):
        (folder / name).write_bytes(digit[GOOD + n])
    (folder / DEEP).mkdir(parents=True)
    (folder / DEEP / "deep.png").write_bytes(digit[GOOD + len(NAMES)])
    (folder / ".hidden.png").write_bytes(b"x")
    (folder / "notes.txt").write_text("left alone")
    added = sum(1 for _ in folder.rglob("*")) - before
    return added - len(DEEP.split("/")) - 2


class Desk:
    """The folder, the program, the window, and what stands so far."""

    def __init__(self, page: Any, place: Path) -> None:
        self.page, self.folder = page, place / "pictures"
        self.folder.mkdir()
        self.digit = digits(self.folder)
        self.reasons = faulty(self.folder, place / "secret.txt.png")
        self.readable = GOOD + 1 + odd(self.folder, self.digit)
        page.faults.clear()
        page.requests.clear()
        self.server, self.took = self._started()

    def _started(self) -> tuple[Server, float]:
        """From the command to a picture that can be answered; the best of three."""
        took = []
        for _ in range(3):
            shutil.rmtree(self.folder / ".handful", ignore_errors=True)
            begun = time.monotonic()
            server = Server(self.folder, learns=True)
            self.page.go(server.url)
            self.page.until(SHOWN, seconds=30)
            took.append(time.monotonic() - begun)
            if took[-1] <= 3:
                break
            self.page.go("about:blank")
            server.stop()
        else:
            pytest.fail(f"usable after {took} s")
        return server, took[-1]

    # ------------------------------------------------------------ what the page knows

    def pictures(self, **query: Any) -> list[dict[str, Any]]:
        asked = "".join(f"&{k}={v}" for k, v in query.items())
        found: list[dict[str, Any]] = api(self.page, f"/images?limit=500{asked}")["items"]
        return found

    @property
    def ids(self) -> dict[str, str]:
        """Id of each readable picture by its name as the page shows it."""
        return {item["name"]: item["id"] for item in self.pictures()}

    def labels(self) -> dict[str, tuple[str, int | None, str | None]]:
        return {i["name"]: (i["state"], i["class"], i["source"]) for i in self.pictures()}

    def settled(self) -> None:
        """Until the folder was looked at, and pictures by the process that learns."""
        until = time.monotonic() + 120
        while True:
            state = api(self.page, "/state")
            if not state["scanning"] and not state["tasks"] and state["features"]:
                return
            assert time.monotonic() < until, state["tasks"]
            time.sleep(0.3)

    def go_to(self, *ids: str) -> str:
        """Steps through the queue until one of these is in view."""
        visit(self.page, "queue?mode=random", SHOWN)
        wanted = json.dumps(list(ids))
        for _ in range(self.readable + 20):
            self.page.until(SHOWN)
            if self.page.run(f"{wanted}.includes({PICTURE}.dataset.image)"):
                return str(self.page.run(f"{PICTURE}.dataset.image"))
            before = self.page.run(f"{PICTURE}.dataset.image")
            self.page.press("j")
            self.page.until(f"{PICTURE}?.dataset.image !== {json.dumps(before)}")
        raise AssertionError("the queue does not come to it")


@pytest.fixture(scope="module")
def desk(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    made = Desk(browser, tmp_path_factory.mktemp("b"))
    yield made
    browser.go("about:blank")
    made.server.stop()


def bytes_of(desk: Desk, path: str) -> bytes:
    """What the browser is given for an address."""
    listed = desk.page.run(
        f"fetch('/api/v1{path}').then((r) => r.ok ? r.arrayBuffer() : Promise.reject(r.status))"
        ".then((b) => [...new Uint8Array(b)])"
    )
    return bytes(listed)


def test_1_every_fault_by_its_reason_and_nothing_else_lost(desk: Desk) -> None:
    assert desk.took <= 3
    desk.settled()
    visit(desk.page, "problems", "document.querySelectorAll('[data-problem]').length")
    rows = desk.page.run(
        "[...document.querySelectorAll('[data-problem]')].map((r) =>"
        " [...r.querySelectorAll('td')].slice(0, 2).map((d) => d.textContent))"
    )
    found = dict(rows)
    assert found.keys() == desk.reasons.keys()
    for name, reason in desk.reasons.items():
        assert found[name].startswith(reason), name
    said = desk.page.run("document.querySelector('a[data-testid=problems]').textContent")
    assert said.startswith(f"{len(desk.reasons)} files")
    counts = api(desk.page, "/state")["counts"]
    assert (counts["pictures"], counts["others"]) == (desk.readable, 1)
    assert len(desk.pictures()) == desk.readable


def test_2_names_are_data(desk: Desk) -> None:
    shown = {
        "line\\nbreak.png", 'quote".png', "<img src=x onerror=alert(1)>.png", "=cmd.png",
        "smile \N{GRINNING FACE}.png", "turned \\u202egnp.png",
    }  # fmt: skip
    visit(desk.page, "queue?mode=random", SHOWN)
    name_class(desk.page, "<img src=x onerror=alert(1)>")
    name_class(desk.page, "=cmd \N{GRINNING FACE}")
    until_stored(desk.page)
    seen = set()
    sizes = ((768, 1024), (1280, 720))
    for width, height in sizes:
        desk.page.size(width, height)
        visit(desk.page, "pictures", "document.querySelector('[data-testid=tile] img')")
        assert desk.page.run("document.documentElement.scrollWidth") <= width
        assert drawn(desk.page) == []
    for name, id in desk.ids.items():
        if not name[0].isdigit():
            desk.page.run(f"location.hash = '#/pictures?folder={'a' if '/' in name else ''}'")
            detail = api(desk.page, f"/images/{id}")["picture"]["name"]
            assert detail == name
    visit(desk.page, "pictures?sort=-name", "document.querySelector('[data-testid=tile] img')")
    for _ in range(40):
        seen |= set(
            desk.page.run(
                "[...document.querySelectorAll('[data-testid=tile]')].map((t) =>"
                " t.getAttribute('aria-label') + t.title)"
            )
        )
        desk.page.run("document.querySelector('.grid').scrollBy(0, 400)")
        desk.page.run("new Promise((d) => setTimeout(d, 40))")
    labels = "\n".join(seen)
    assert all(name in labels for name in shown), [n for n in shown if n not in labels]
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in labels
    assert not desk.page.run("Boolean(document.querySelector('img[src=x]'))")
    assert "onerror" in text(desk.page, "undo-text") or "=cmd" in text(desk.page, "undo-text")
    assert faults(desk.page) == []  # a dialog would be one


def test_3_stacks_are_asked_once(desk: Desk) -> None:
    desk.page.go("about:blank")  # nothing blind is left in the line of the window
    desk.page.go(f"{desk.server.origin}/{RANDOM}")
    desk.page.until(SHOWN)
    ids = desk.ids
    turned = [ids[f"turned {n}.png"] for n in TURNS]
    hashes = {sha256(bytes_of(desk, f"/t/{id}/192")).hexdigest() for id in turned}
    assert len(hashes) == 1
    stacks = {id: {s["id"] for s in api(desk.page, f"/images/{id}")["stack"]} for id in turned}
    assert all(stack == set(turned) for stack in stacks.values())
    again = [[id for name, id in ids.items() if name.startswith(f"again {n} ")] for n in range(10)]
    for members in again:
        for id in members:
            assert {s["id"] for s in api(desk.page, f"/images/{id}")["stack"]} == set(members)

    in_view = desk.go_to(*again[0])
    desk.page.press("1")
    until_stored(desk.page)
    now = {i["id"]: (i["state"], i["source"]) for i in desk.pictures()}
    assert now[in_view] == ("labelled", "hand")
    assert [now[id] for id in again[0] if id != in_view] == [("labelled", "copied")] * 3

    broken = desk.go_to(*again[1])
    button = "[...document.querySelectorAll('aside button')].find((b) => b.textContent.trim() === "
    desk.page.press("2")
    desk.page.until(f"{PICTURE}?.dataset.image !== '{broken}'")
    until_stored(desk.page)
    before = desk.labels()
    desk.page.press("k")
    desk.page.until(f"{PICTURE}?.dataset.image === '{broken}'")
    for words in ("Show the 4", "They differ: ask each"):
        desk.page.until(f"{button}'{words}')")
        desk.page.run(f"{button}'{words}').click()")
    until_stored(desk.page)
    assert desk.labels() == before
    desk.page.until(
        f"fetch('/api/v1/images/{broken}').then((r) => r.json()).then((d) => d.stack.length < 2)"
    )


def seen_values(desk: Desk) -> np.ndarray[Any, Any]:
    """Gray values of the picture in view."""
    source = desk.page.run(f"{PICTURE}.src")
    path = source.partition("/api/v1")[2]
    return np.asarray(Image.open(BytesIO(bytes_of(desk, path))).convert("L")).astype(int)


def derived(desk: Desk) -> dict[str, str]:
    """Hashes of what is learned of pictures."""
    kept = desk.folder / ".handful" / "derived"
    files = [p for p in kept.rglob("*") if p.is_file() and "kept" in p.parts]
    return {str(p.relative_to(kept)): sha256(p.read_bytes()).hexdigest() for p in files}


def test_4_contrast_and_pages_are_for_the_eye_alone(desk: Desk) -> None:
    ids = desk.ids
    thumb = np.asarray(
        Image.open(BytesIO(bytes_of(desk, f"/t/{ids['ramp.tif']}/192"))).convert("L")
    )
    assert len(np.unique(thumb)) > 200
    desk.settled()
    features = derived(desk)
    assert features
    file = (desk.folder / "ramp.tif").read_bytes()

    desk.go_to(ids["ramp.tif"])
    before = seen_values(desk)
    desk.page.press("Shift+L")
    desk.page.until("document.querySelector('[data-testid=contrast-high]')")
    assert "Only what you see changes" in desk.page.run("document.body.textContent")
    slider = "document.querySelector('[data-testid=contrast-high]')"
    desk.page.run(f"{slider}.focus()")
    source = desk.page.run(f"{PICTURE}.src")
    for _ in range(300):
        desk.page.press("ArrowLeft")
    desk.page.until(f"{PICTURE}.src !== {json.dumps(source)} && {SHOWN}")
    after = seen_values(desk)
    assert (after == 255).mean() > (before == 255).mean() + 0.2
    assert "Contrast: changed" in text(desk.page, "contrast")
    desk.page.run(
        "[...document.querySelectorAll('.contrast button')]"
        ".find((b) => b.textContent.trim() === 'Set back').click()"
    )
    desk.page.until(f"{PICTURE}.src === {json.dumps(source)}")
    desk.page.press("Shift+L")
    desk.page.until("!document.querySelector('.contrast')")

    desk.go_to(ids["pages.tif"])
    for page in (2, 3):
        desk.page.press("Shift+ArrowRight")
        desk.page.until(f"document.body.textContent.includes('page {page} of 5')")
    desk.page.until(SHOWN)
    assert np.abs(seen_values(desk) - 100).max() <= 1
    desk.settled()
    assert derived(desk) == features
    assert (desk.folder / "ramp.tif").read_bytes() == file


def test_5_nothing_outside_is_served(desk: Desk) -> None:
    port = int(desk.server.origin.rpartition(":")[2])
    (problem,) = [p for p in api(desk.page, "/problems")["items"] if p["name"] == "outside.png"]
    status = "fetch('/api/v1{}').then((r) => r.status)"
    for path in (f"/full/{problem['id']}", f"/t/{problem['id']}/192"):
        assert desk.page.run(status.format(path)) == 404
    cookies = desk.page._call("Network.getCookies", urls=[desk.server.origin])["cookies"]
    cookie = "; ".join(f"{c['name']}={c['value']}" for c in cookies)
    prefix = "/api/v1"
    for path in ("/t/../../secret.txt", "/t/..%2f..%2fsecret.txt/192", "/full/%2e%2e%2fsecret.txt"):
        assert ask(port, prefix + path, Cookie=cookie)[0] == 404
    thumb = f"{prefix}/t/{desk.ids['000.png']}/192"
    assert ask(port, thumb, Cookie=cookie)[0] == 200
    assert ask(port, thumb)[0] == 403
    assert ask(port, thumb, Host="evil.example", Cookie=cookie)[0] == 403
    writes = {"Cookie": cookie, "X_Handful": "1", "Content_Type": "application/json"}
    assert (
        ask(port, f"{prefix}/rescan", "POST", b"{}", Origin="http://evil.example", **writes)[0]
        == 403
    )
    desk.page.faults.clear()  # two addresses that were not found


def test_6_what_was_repaired_came_and_went(desk: Desk) -> None:
    visit(desk.page, "queue?mode=random", SHOWN)
    before = desk.labels()
    whole = (desk.folder / "again 5 b.jpg").read_bytes()
    (desk.folder / "cut.jpg").write_bytes(whole)
    visit(desk.page, "problems", "document.querySelectorAll('[data-problem]').length")
    desk.page.run(
        "[...document.querySelectorAll('[data-problem]')].find((r) =>"
        " r.textContent.includes('cut.jpg')).querySelector('button').click()"
    )
    left = len(desk.reasons) - 1
    desk.page.until(f"document.querySelectorAll('[data-problem]').length === {left}", seconds=60)
    assert desk.labels()["cut.jpg"][0] == "open"

    marked = [f"{n:03d}.png" for n in range(20)]
    ids = desk.ids
    answers = [
        {"id": f"b.{n}", "kind": "labelled", "seen_rev": 10**6, "image": ids[name], "class": n % 2}
        for n, name in enumerate(marked)
    ]
    posted = desk.page.run(
        "fetch('/api/v1/events', {method: 'POST', headers: {'Content-Type': 'application/json',"
        f" 'X-Handful': '1'}}, body: {json.dumps(json.dumps(answers))}}}).then((r) => r.json())"
    )
    assert all(result["ok"] for result in posted["results"]), posted
    before = desk.labels()
    for name in marked[:5]:
        (desk.folder / name).unlink()
    for name in marked[5:10]:
        (desk.folder / name).rename(desk.folder / f"new {name}")
    for n in range(5):
        (desk.folder / f"added {n}.png").write_bytes(desk.digit[GOOD + 10 + n])
    visit(desk.page, "problems", "document.querySelector('.sheet button')")
    desk.page.run(
        "[...document.querySelectorAll('.sheet button')]"
        ".find((b) => b.textContent === 'Look at the folder again').click()"
    )
    said = (
        "In the folder since last time: 5 new; 5 missing, their labels are kept;"
        " 5 moved or renamed, their labels went along."
    )
    desk.page.until(f"document.body.textContent.includes({json.dumps(said)})", seconds=60)
    desk.settled()
    after = desk.labels()
    assert {after[f"new {name}"] for name in marked[5:10]} == {before[n] for n in marked[5:10]}
    assert all(after[f"new {name}"] == before[name] for name in marked[5:10])
    assert all(after[f"added {n}.png"][0] == "open" for n in range(5))
    asked = "%7B%22presence%22:%5B%22missing%22%5D%7D"
    missing = {
        i["name"]: (i["state"], i["class"], i["source"]) for i in desk.pictures(filter=asked)
    }
    assert missing == {name: before[name] for name in marked[:5]}
    assert faults(desk.page) == []


# ------------------------------------------------------------------ disks


def apart(script: str) -> bool:
    """Whether a namespace of its own may mount here."""
    try:
        return not subprocess.run(
            ["unshare", "-rm", "sh", "-c", script], check=False, capture_output=True
        ).returncode
    except OSError:
        return False


class Mounted(Server):
    """The program in a namespace of its own, behind a mount."""

    def __init__(self, folder: Path, mount: str, *more: str, **environment: str) -> None:
        self.mount, self.more, self.environment = mount, more, environment
        super().__init__(folder, learns=True)

    def start(self) -> None:
        run = '"$@"'
        command = [
            "unshare", "-rm", "sh", "-c", f"{self.mount} && exec {run}", "sh", sys.executable,
            "-m", "handful", str(self.folder), "--no-browser", *self.more,
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", **self.environment},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        self.origin = self.url.partition("/?")[0]


@pytest.fixture
def window(browser: Any) -> Iterator[Any]:
    """Somebody else's, so that the desk's stays as it is."""
    made = browser.another(apart=True)
    made.size(1280, 720)
    yield made
    made.shut()


@pytest.fixture
def few(tmp_path: Path) -> Path:
    folder = tmp_path / "few"
    folder.mkdir()
    for n in range(300):
        Image.fromarray(np.random.default_rng(n).integers(0, 255, (8, 8), dtype=np.uint8)).save(
            folder / f"{n:03d}.png"
        )
    return folder


def test_7a_a_full_disk_loses_nothing(window: Any, few: Path, tmp_path: Path) -> None:
    place = tmp_path / "work"
    place.mkdir()
    mount = f"mount -t tmpfs -o size=12m tmpfs '{place}'"
    # namespaces of users may be switched off, and nothing else fills a disk safely
    if not apart(mount):
        pytest.skip("a small disk to fill: this machine lets nobody mount one (unshare -rm)")
    server = Mounted(few, mount, "--project", str(place))
    inside = Path(f"/proc/{server.process.pid}/root{place}")
    try:
        window.faults.clear()
        window.go(server.url + "#/queue?mode=random")
        window.until(SHOWN, seconds=30)
        name_class(window, "one")
        until_stored(window)
        window.until("!document.querySelector('[data-task]')", seconds=120)
        filler = inside / "filler"
        handle = os.open(filler, os.O_WRONLY | os.O_CREAT)
        with suppress(OSError):
            while True:
                os.write(handle, b"\0" * 4096)
        os.close(handle)
        full = "document.body.textContent.includes('The disk is full.')"
        given = 1
        while not window.run(full) and given < 250:
            window.until(SHOWN)
            window.press("1")
            given += 1
            time.sleep(0.05)
        window.until(full)
        words = window.run("document.body.textContent")
        assert "Your last answer was not stored. Free some space; answers wait here" in words
        for _ in range(3):
            window.until(SHOWN)
            window.press("1")
            given += 1
        filler.unlink()
        window.until(
            "document.querySelector('[data-testid=stored]').textContent === 'Stored'", seconds=60
        )
        window.until(f"!{full}", seconds=30)
        labelled = [
            i for i in api(window, "/images?limit=500")["items"] if i["state"] == "labelled"
        ]
        assert len(labelled) == given
        for path in inside.glob("book.sqlite*"):
            shutil.copy(path, tmp_path / path.name)
        events = read_events(tmp_path / "book.sqlite")
        assert sum(e.kind == "labelled" for e in events) == given  # once each
    finally:
        window.go("about:blank")
        server.stop()


def test_7b_a_folder_that_cannot_be_written(window: Any, few: Path, tmp_path: Path) -> None:
    mount = f"mount --bind '{few}' '{few}' && mount -o remount,bind,ro '{few}'"
    # the rights of a file do not stop root, a read-only mount does
    if not apart(mount):
        pytest.skip("a read-only folder: this machine lets nobody mount one (unshare -rm)")
    home = tmp_path / "home"
    server = Mounted(few, mount, XDG_DATA_HOME=str(home))
    try:
        window.faults.clear()
        window.go(server.url)
        window.until(SHOWN, seconds=30)
        window.until("document.body.textContent.includes('This folder is read-only.')")
        words = window.run("document.body.textContent")
        assert "The pictures are never changed anyway." in words
        window.press("Enter")
        name_class(window, "one")
        until_stored(window)
        visit(window, "export", "document.querySelector('.carry-form button.main')")
        window.run("document.querySelector('.carry-form button.main').click()")
        window.until("document.querySelector('[data-testid=export-done]')", seconds=60)
        assert list(home.rglob("labels.csv"))
        assert not [p for p in few.iterdir() if p.suffix != ".png"]
        assert faults(window) == []
    finally:
        window.go("about:blank")
        server.stop()


# ------------------------------------------------------------------ away and back


def by_name(desk: Desk) -> dict[str, tuple[str, str | None]]:
    """State and class of everything a person answered."""
    names = {c["id"]: c["name"] for c in api(desk.page, "/state")["classes"]}
    items = [*desk.pictures(), *desk.pictures(filter="%7B%22presence%22:%5B%22missing%22%5D%7D")]
    return {i["name"]: (i["state"], names.get(i["class"])) for i in items if i["state"] != "open"}


def test_8_the_export_says_everything_and_comes_back(desk: Desk, tmp_path: Path) -> None:
    visit(desk.page, "export", "document.querySelector('.carry-form button.main')")
    desk.page.run("document.querySelector('.carry-form button.main').click()")
    desk.page.until("document.querySelector('[data-testid=export-done]')", seconds=60)
    (table,) = desk.folder.glob("handful-export/*/labels.csv")
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
    there = {p.relative_to(desk.folder).as_posix() for p in desk.folder.rglob("*") if p.is_file()}
    named = {row["path"].removeprefix("'") for row in rows}
    assert set(NAMES) <= named
    assert f"{DEEP}/deep.png" in named
    gone = {f"{n:03d}.png" for n in range(5)}
    assert named - gone <= there
    cells = [cell for row in rows for cell in row.values()]
    assert not [cell for cell in cells if cell and cell[0] in "=+-@\t"]
    assert "'=cmd.png" in [row["path"] for row in rows]

    said = by_name(desk)
    command = [sys.executable, "-m", "handful", "import", str(desk.folder), str(table)]
    other = tmp_path / "other"
    done = subprocess.run(
        [*command, "--project", str(other)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    desk.page.go("about:blank")
    desk.server.stop()
    shutil.rmtree(desk.folder / ".handful")
    shutil.move(other, desk.folder / ".handful")
    desk.server.start()
    desk.page.go(desk.server.url)
    desk.page.until("document.querySelector('[data-testid=problems]')", seconds=60)
    back = by_name(desk)
    assert {name: of for name, of in back.items() if name in said} == {
        name: of for name, of in said.items() if name not in gone
    }
