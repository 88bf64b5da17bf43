"""Two people and one folder: two browsers that know nothing of each other, by keys, in real time.

One program, one folder, from the first name to the last undo; the order counts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browsing import WORDS, Server, api, name_class, shuffled, text, until_stored, visit
from sklearn.metrics import cohen_kappa_score

from handful.metrics import wilson
from handful.store import read_events

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
N, EACH, OVERLAP = 400, 100, 30
SLIP = 10  # one answer in so many of P2 is wrong, one in so many of those asked twice as well
PICTURE = "document.querySelector('[data-testid=picture]')"
SHOWN = f"({PICTURE}?.complete && {PICTURE}.naturalWidth > 0)"
RANDOM = "#/queue?mode=random"
# what the page is served, noted before anything of it runs
NOTE = """window.served = []; window.took = [];
const own = window.fetch;
window.fetch = async (...asked) => {
  const begun = performance.now(), answer = await own(...asked);
  const path = String(asked[0]);
  if (path.includes('/queue')) served.push(...(await answer.clone().json()).items ?? []);
  if (path.endsWith('/events')) took.push(performance.now() - begun);
  return answer;
};"""
# the program as --lan starts it, at an address that every machine has
SHARED = """
import sys
from pathlib import Path
from handful.page.serve import Options, serve

def say(opened):
    print(opened.url, opened.link, flush=True)

serve(Path(sys.argv[1]), Options(browser=False, lan="127.0.0.1"), say)
"""


class SharedServer(Server):
    """Open to others; ``link``: the invitation."""

    link: str

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SHARED, str(self.folder)], stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url, self.link = self.process.stdout.readline().split()
        self.origin = self.url.partition("/?")[0]


class Sitter:
    """Somebody at a browser of their own."""

    def __init__(self, scene: Scene, name: str, slip: int = 0) -> None:
        self.scene, self.name, self.slip = scene, name, slip
        self.page = scene.browser.another(apart=True)
        self.page.size(1280, 720)
        self.page._call("Page.addScriptToEvaluateOnNewDocument", source=NOTE)
        self.said: dict[str, str] = {}  # image -> word, as pressed in the queue
        self.shown: list[str] = []
        self.served: list[dict[str, Any]] = []

    def come(self) -> None:
        self.page.go(f"{self.scene.server.link}{RANDOM}")
        self.page.until("document.activeElement?.dataset.testid === 'name-field'", seconds=30)
        assert self.page.run("document.querySelectorAll('dialog input').length") == 1
        self.page.type(self.name)
        self.page.press("Enter")
        self.page.until("!document.querySelector('dialog')")
        self.page.until(SHOWN)

    def again(self, where: str = RANDOM) -> None:
        """The page anew: the browser remembers who it is."""
        self.note_served()
        self.page.go("about:blank")
        self.page.go(f"{self.scene.server.origin}/{where}")
        self.page.until("document.querySelector('[data-testid=stored]')")
        assert not self.page.run("Boolean(document.querySelector('dialog'))")

    def note_served(self) -> None:
        self.served += self.page.run("window.served?.splice(0) ?? []")

    @property
    def keys(self) -> dict[str, str]:
        state = api(self.page, "/state")
        return {c["name"]: c["key"] for c in state["classes"] if not c["archived"]}

    @property
    def colleagues(self) -> dict[str, int]:
        return {o["name"]: o["answers"] for o in api(self.page, "/state")["people"]["others"]}

    def answer(self, *, drawn: bool = True, keys: dict[str, str] | None = None) -> str:
        """The picture in view, by its class; by a slip by another."""
        if drawn:
            self.page.until(SHOWN, seconds=30)
        image = str(self.page.run(f"{PICTURE}.dataset.image"))
        word = self.scene.word(image)
        second = image in self.scene.p1.said  # one of those that two people are asked
        alike = [one for one in self.said if (one in self.scene.p1.said) == second]
        if self.slip and len(alike) % self.slip == self.slip // 2:
            word = WORDS[(WORDS.index(word) + 1) % 10]
        self.shown.append(image)
        self.said[image] = word
        self.page.press((keys or self.scene.keys)[word])
        self.page.until(f"{PICTURE}?.dataset.image !== {json.dumps(image)}")
        return image


class Scene:
    """The folder, the program, and what every picture shows."""

    def __init__(self, browser: Any, folder: Path) -> None:
        self.browser, self.folder = browser, folder
        self.truth = shuffled(folder, N)
        self.server = SharedServer(folder)
        self.names: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.votes: dict[str, dict[str, str]] = {}  # of those asked twice, by person
        self.p1, self.p2 = Sitter(self, "P1"), Sitter(self, "P2", SLIP)

    def word(self, image: str) -> str:
        if image not in self.names:
            items = api(self.p1.page, "/images?limit=500")["items"]
            self.names = {item["id"]: item["name"] for item in items}
        return self.truth[self.names[image]]

    @property
    def events(self) -> list[Any]:
        return list(read_events(self.folder / ".handful" / "book.sqlite"))

    def standing(self, image: str) -> tuple[str, int | None, str]:
        picture = api(self.p1.page, f"/images/{image}")["picture"]
        return picture["state"], picture["class"], picture["person"]


@pytest.fixture(scope="module")
def scene(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(browser, tmp_path_factory.mktemp("c") / "pictures")
    yield made
    for sitter in (made.p1, made.p2):
        sitter.page.shut()
    made.server.stop()


def test_01_each_says_a_name_and_sees_the_other(scene: Scene) -> None:
    scene.p1.come()
    scene.p2.come()
    until = time.monotonic() + 20
    while scene.p1.colleagues.get("P2") is None or scene.p2.colleagues.get("P1") is None:
        assert time.monotonic() < until
    for word in WORDS:
        image = str(scene.p1.page.run(f"{PICTURE}.dataset.image"))
        scene.p1.said[image] = word
        scene.p1.shown.append(image)
        name_class(scene.p1.page, word)
        scene.p1.page.until(f"{PICTURE}?.dataset.image !== {json.dumps(image)}")
    until_stored(scene.p1.page)
    scene.keys = scene.p1.keys
    scene.p2.page.until(
        "[...document.querySelectorAll('[data-testid=colleague]')]"
        ".some((e) => e.textContent.includes('P1') && e.textContent.includes('10'))"
    )
    for sitter in (scene.p1, scene.p2):
        sitter.again()  # remembered
        sitter.page.until(SHOWN)


def test_02_nobody_is_asked_what_another_is_asked(scene: Scene) -> None:
    p1, p2 = scene.p1, scene.p2
    begun, before = time.monotonic(), len(scene.events)
    for n in range(EACH):
        for at, sitter in enumerate((p1, p2)):
            time.sleep(max(0.0, begun + (n + at / 2) / 2 - time.monotonic()))
            sitter.answer()
    for sitter in (p1, p2):
        until_stored(sitter.page)
        sitter.note_served()
    events = [e for e in scene.events[before:] if e.kind == "labelled"]
    assert Counter(e.person for e in events) == {"P1": EACH, "P2": EACH}
    events = [e for e in scene.events if e.kind == "labelled"]
    twice = {e.data["image"] for e in events if e.data.get("overlap")}
    by = {name: {e.data["image"] for e in events if e.person == name} for name in ("P1", "P2")}
    assert by["P1"] & by["P2"] <= twice
    shared = {item["id"] for item in p1.served} & {item["id"] for item in p2.served}
    assert {scene.names[id] for id in shared if id in scene.names} <= twice
    assert set(p1.shown) & set(p2.shown) <= shared


def test_03_a_second_answer_is_blind_and_agreement_is_shown(scene: Scene) -> None:
    p1, p2 = scene.p1, scene.p2
    for _ in range(2 * EACH):
        if api(p1.page, "/disagreements")["twice"] >= OVERLAP:
            break
        p1.answer()
        p2.answer()
    until_stored(p1.page)
    until_stored(p2.page)
    votes = scene.votes
    for sitter in (p1, p2):
        sitter.note_served()
    overlap = {e.data["image"] for e in scene.events if e.data.get("overlap")}
    both = [i for i in p1.said.keys() & p2.said.keys() if scene.names[i] in overlap]
    for image in both:
        votes[image] = {s.name: s.said[image] for s in (p1, p2)}
        for sitter in (p1, p2):
            payloads = [item for item in sitter.served if item["id"] == image]
            assert payloads
            assert all(set(item) <= {"id", "v", "w", "h"} for item in payloads)
    n, k = len(votes), sum(v["P1"] == v["P2"] for v in votes.values())
    assert n >= OVERLAP
    assert 0 < k < n
    (agreed,) = api(p1.page, "/disagreements")["agreement"]
    assert (agreed["k"], agreed["n"]) == (k, n)
    one, other = ([v[p] for v in votes.values()] for p in ("P1", "P2"))
    assert agreed["kappa"] == pytest.approx(cohen_kappa_score(one, other))
    assert (agreed["low"], agreed["high"]) == pytest.approx(wilson(k, n))
    p1.page.run("location.hash = '#/review?part=disagreements'")
    p1.page.until("document.querySelector('[data-testid=agreement]')")
    said = text(p1.page, "agreement")
    assert f"agree on {k} of {n}" in said
    assert f"{100 * wilson(k, n)[0]:.1f}" in said


def test_04_what_somebody_left_comes_to_the_other(scene: Scene) -> None:
    gone = Sitter(scene, "P3")
    gone.come()
    gone.note_served()
    left = {item["id"] for item in gone.served}
    assert len(left) >= 15
    gone.page.shut()
    begun = time.monotonic()
    while time.monotonic() - begun < 130:
        scene.p1.again()
        scene.p1.page.until(SHOWN)
        served = {i["id"] for i in scene.p1.page.run("window.served")}
        if left & served:
            break
        for sitter in (scene.p1, scene.p1, scene.p1, scene.p2):  # two who work
            sitter.answer()
        time.sleep(4)
    else:
        pytest.fail("after two minutes nobody was asked them")
    assert time.monotonic() - begun <= 130


def rename(page: Any, old: str) -> None:
    """Opens the dialog; what is typed replaces the name."""
    visit(page, "classes", "document.querySelector('[data-testid=class]')")
    page.run(
        "[...document.querySelectorAll('[data-testid=class]')]"
        f".find((r) => r.textContent.includes({json.dumps(old)}))"
        ".querySelector('[aria-haspopup]').click()"
    )
    page.until("document.querySelector('[role=menu]')")
    page.run(
        "[...document.querySelectorAll('[role=menuitem]')]"
        ".find((e) => e.textContent === 'Rename').click()"
    )
    page.until("document.querySelector('dialog input')")
    page.run("document.querySelector('dialog input').select()")


def test_05_one_class_however_many_type_it_and_one_rename_wins(scene: Scene) -> None:
    p1, p2 = scene.p1, scene.p2
    for sitter in (p1, p2):
        sitter.again()
        sitter.page.until(SHOWN)
    p2.page.press("/")
    p2.page.until("document.activeElement.dataset.testid === 'class-box'")
    p2.page.type("Eleven")
    name_class(p1.page, "eleven")
    until_stored(p1.page)
    p2.page.until(
        "[...document.querySelectorAll('.lines li')].some((l) => l.textContent.includes('eleven'))"
    )
    p2.page.press("Enter")
    until_stored(p2.page)
    names = [c["name"] for c in api(p1.page, "/state")["classes"]]
    assert [n for n in names if n.lower() == "eleven"] == ["eleven"]
    assert len(set(names)) == len(names)

    rename(p1.page, "eleven")
    rename(p2.page, "eleven")
    p1.page.type("first")
    p2.page.type("second")
    p1.page.press("Enter")
    p2.page.press("Enter")
    # both were on their way at once: whichever came first has won, and the other is told
    refused = "document.body.textContent.includes('This changed elsewhere')"
    deadline = time.monotonic() + 20
    while not any(told := [sitter.page.run(refused) for sitter in (p1, p2)]):
        assert time.monotonic() < deadline, "nobody was told"
        time.sleep(0.05)
    assert told.count(True) == 1
    names = {c["name"] for c in api(p1.page, "/state")["classes"]}
    assert names & {"first", "second"} == {"second" if told[0] else "first"}
    (p1 if told[0] else p2).page.press("Escape")


def grid(sitter: Sitter, where: str, n: int, first: int = 0) -> list[str]:
    """Selects so many tiles of a grid by keys; their ids."""
    sitter.page.run(f"location.hash = '#/{where}'")
    sitter.page.until("document.querySelectorAll('[data-testid=tile] img').length > 5")
    sitter.page.run("document.querySelector('[data-testid=tile]').focus()")
    for _ in range(first):
        sitter.page.press("ArrowRight")
    for _ in range(n - 1):
        sitter.page.press("Shift+ArrowRight")
    if n == 1:
        sitter.page.press(" ")
    sitter.page.until(f"document.querySelector('.act')?.textContent.includes('Label {n} ')")
    return [str(id) for id in sitter.page.run(
        "[...document.querySelectorAll('[data-testid=tile][aria-selected=true],"
        " [aria-selected=true] [data-testid=tile]')].map((t) => t.dataset.image)"
    )]  # fmt: skip


def test_06_undo_is_ones_own(scene: Scene) -> None:
    p1, p2 = scene.p1, scene.p2
    before = {i["id"]: (i["state"], i["class"]) for i in
              api(p1.page, "/images?limit=500")["items"]}  # fmt: skip
    grid(p1, "pictures?state=open", 40)
    p1.page.press(scene.keys["one"])
    until_stored(p1.page)
    now = {i["id"]: i for i in api(p1.page, "/images?limit=500")["items"]}
    forty = [id for id, i in now.items() if (i["state"], i["class"]) != before[id]]
    assert len(forty) == 40
    one = now[forty[0]]["class"]
    three = []
    for n in range(3):
        grid(p2, f"pictures?class={one}&sort=-time", 1, n)
        p2.page.press(scene.keys["two"])
        until_stored(p2.page)
    after = {i["id"]: i for i in api(p1.page, "/images?limit=500")["items"]}
    three = [id for id in forty if after[id]["class"] != one]
    assert len(three) == 3
    p1.page.press("Ctrl+z")
    p1.page.until("document.body.textContent.includes('Undone for 37 of 40.')")
    said = p1.page.run("document.querySelector('.status').textContent")
    assert "P2 has answered 3 of them since; those answers stay." in said
    states = {id: scene.standing(id)[0] for id in forty}
    assert Counter(states.values()) == {"open": 37, "labelled": 3}
    assert {id for id, state in states.items() if state == "labelled"} == set(three)
    mine = {i["id"] for i in api(p1.page, "/images?limit=500")["items"]
            if i["person"] == "P1" and i["state"] == "labelled"}  # fmt: skip
    for _ in range(3):
        p2.page.press("Ctrl+z")
        until_stored(p2.page)
    still = {i["id"]: i for i in api(p1.page, "/images?limit=500")["items"]}
    assert all(still[id]["state"] == "labelled" and still[id]["person"] == "P1" for id in mine)


def test_07_a_key_of_a_merged_class_lands_on_no_third(scene: Scene) -> None:
    p1, p2 = scene.p1, scene.p2
    p2.again()
    p2.page.until(SHOWN)
    state = api(p1.page, "/state")
    ids = {c["name"]: c["id"] for c in state["classes"]}
    body = {"id": "merge.1", "seen_rev": state["label_rev"], "into": ids["six"]}
    image = p2.page.run(f"{PICTURE}.dataset.image")
    status = p1.page.run(
        f"fetch('/api/v1/classes/{ids['nine']}/merge', {{method: 'POST', headers: "
        "{'Content-Type': 'application/json', 'X-Handful': '1'},"
        f" body: {json.dumps(json.dumps(body))}}}).then((r) => r.status)"
    )
    assert status == 200
    p2.page.press(scene.keys["nine"])
    until_stored(p2.page)
    refused = p2.page.run("document.body.textContent.includes('This changed elsewhere')")
    voted = [e for e in scene.events if e.kind == "labelled" and e.person == "P2"][-1]
    gave = voted.data["image"] == scene.names[image]
    if gave:
        assert voted.data["class"] in (ids["nine"], ids["six"])
        standing = scene.standing(image)
        assert standing[0] == "open" or standing[1] == ids["six"]
    else:
        assert refused
        assert p2.page.run(f"{PICTURE}.dataset.image") == image  # asked again
    p1.again()
    p1.page.until(SHOWN)
    p1.page.press("Ctrl+z")
    until_stored(p1.page)
    assert {c["name"] for c in api(p1.page, "/state")["classes"] if c["merged_into"] is None} >= {
        "six", "nine",
    }  # fmt: skip


def test_08_disagreements_are_settled(scene: Scene) -> None:
    p1 = scene.p1
    votes = scene.votes
    p1.again("#/review?part=disagreements")
    p1.page.until(SHOWN)
    listed = api(p1.page, "/disagreements?limit=100")
    conflicts = {i for i, v in votes.items() if v["P1"] != v["P2"]}
    found = {item["picture"]["id"] for item in listed["items"]}
    assert conflicts <= found
    for image in found - conflicts:  # answered twice since
        assert len({vote["class"] for vote in listed_votes(listed, image)}) > 1
    left = listed["total"]
    keys = p1.keys
    while left:
        p1.page.until(SHOWN)
        assert text(p1.page, "disagreements") == f"Disagreements: {left}"
        image = p1.page.run(f"{PICTURE}.dataset.image")
        p1.page.press(keys[scene.word(image)])
        p1.page.until(f"{PICTURE}?.dataset.image !== {json.dumps(image)}")
        until_stored(p1.page)
        state = api(p1.page, "/state")
        name = next(c["name"] for c in state["classes"] if c["id"] == scene.standing(image)[1])
        assert name == scene.word(image)
        left -= 1
    assert api(p1.page, "/disagreements")["total"] == 0


def listed_votes(listed: Any, image: str) -> list[Any]:
    (item,) = [item for item in listed["items"] if item["picture"]["id"] == image]
    answers: list[Any] = item["answers"]
    return answers


def test_09_forty_answers_wait_for_the_program(scene: Scene) -> None:
    sitters = (scene.p1, scene.p2)
    keys = scene.p1.keys
    for sitter in sitters:
        sitter.again()
        sitter.page.until(SHOWN)
    time.sleep(4)  # the next pictures are fetched meanwhile
    before = len(scene.events)
    scene.server.stop()
    begun = time.monotonic()
    given: dict[str, list[str]] = {"P1": [], "P2": []}
    for _ in range(20):
        for sitter in sitters:
            given[sitter.name].append(sitter.answer(keys=keys))
            time.sleep(0.3)
    for sitter in sitters:
        sitter.page.until("document.body.textContent.includes('Answers are kept here (20)')")
    time.sleep(max(0.0, begun + 30 - time.monotonic()))
    scene.server.start()
    for sitter in sitters:
        sitter.page.until(
            "document.querySelector('[data-testid=stored]').textContent === 'Stored'", seconds=60
        )
    events = [e for e in scene.events[before:] if e.kind == "labelled"]
    assert len(events) == 40
    for name, images in given.items():
        mine = [e.data["image"] for e in events if e.person == name]
        assert mine == [scene.names[image] for image in images]
    for sitter in sitters:
        sitter.page.faults.clear()  # nobody answered


def test_10_eight_tabs_of_one_person(scene: Scene) -> None:
    p1 = scene.p1
    tabs = [p1.page.beside() for _ in range(7)]
    for tab in tabs:
        tab.size(1280, 720)
        tab.go(f"{scene.server.origin}/#/pictures")
    for tab in tabs:
        tab.until("document.querySelectorAll('[data-testid=tile] img').length > 20", seconds=60)
        tab.until(
            "[...document.querySelectorAll('[data-testid=tile] img')]"
            ".slice(0, 20).every((i) => i.complete && i.naturalWidth)", seconds=60,
        )  # fmt: skip
    p1.again("#/pictures")
    p1.page.until("document.querySelectorAll('[data-testid=tile] img').length > 20")
    p1.page.run("document.querySelector('[data-testid=tile]').focus()")
    best = float("inf")
    keys = p1.keys
    for turn in range(6):  # what else the machine does only makes it slower
        p1.page.run("took.length = 0")
        for n in range(20):
            p1.page.press(keys[WORDS[(turn + n) % 10]])
            p1.page.press("ArrowRight")
            time.sleep(0.2)
        until_stored(p1.page)
        took = p1.page.run("took")
        assert took
        best = min(best, float(np.percentile(took, 95)))
        if best <= 150:
            break
    assert best <= 150
    counted = api(p1.page, "/state")["counts"]["by_you"]
    until = time.monotonic() + 20
    while {text(tab, "count-you") for tab in (p1.page, *tabs)} != {f"{counted} by hand"}:
        shown = [text(tab, "count-you") for tab in (p1.page, *tabs)]
        assert time.monotonic() < until, (counted, shown)
        time.sleep(0.2)
    streams = [t.requests for t in (p1.page, *tabs)]
    held = sum(any(r.endswith("/api/v1/stream") for r in asked[-300:]) for asked in streams[1:])
    assert held <= 1
    for tab in tabs:
        assert tab.faults == []
        tab.shut()


def test_11_nobody_else(scene: Scene) -> None:
    stranger = scene.browser.another(apart=True)
    stranger.go(scene.server.origin)
    stranger.until("document.body?.textContent.includes('Open handful from its own window.')")
    assert "(Token missing or old.)" in stranger.run("document.body.textContent")
    assert stranger.run("fetch('/api/v1/state').then((r) => r.status)") == 403
    html = stranger.run("document.documentElement.outerHTML")
    assert not [n for n in (*WORDS, "P1", "P2", "pictures") if n in html]
    stranger.shut()
    for sitter in (scene.p1, scene.p2):
        assert sitter.page.faults == []
        strange = [r for r in sitter.page.requests
                   if not r.startswith((scene.server.origin, "about:", "blob:"))]  # fmt: skip
        assert strange == []
