"""The labelling page with a person in the chair, by keys alone in a real browser.

::

    python benchmarks/page.py story digits [--seeds 0,1,2] [--pace S]   300 actions, see `play`
    python benchmarks/page.py story usps
    python benchmarks/page.py alone                 the story with the loopback device alone
    python benchmarks/page.py keys --times 150      keys and requests over 20,000 JPEG files
    python benchmarks/page.py start                 command to first picture, 20,000 JPEG files
    python benchmarks/page.py restart               the same with 20,000 labels
    python benchmarks/page.py steps --files 2000    what stands before the first stored label
    python benchmarks/page.py server --times 50     kill -9 of the server while a client labels
    python benchmarks/page.py worker --times 50     and of the process that learns
    python benchmarks/page.py million               1,000,000 rows
    python benchmarks/page.py person --order groups     20 minutes on 5,000 photos, see page_person

Rows go to ``results/page.csv``, those of the last one to ``results/page_person.csv``.  The truth
lies outside the folder; names of files tell nothing.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import beside  # noqa: F401
from record import record

# isort: split
import chromium
from browsing import Server
from person import Person

import page_budgets
import page_kills
import page_million
import page_person
from page_kills import at_our_pace

Say = Callable[..., None]
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SLOW = 100  # ms
ACTIONS = {"look": 20, "gallery": 120, "queue": 190, "audit": 100, "review": 10, "all": 300}


def digits() -> tuple[list[NDArray[np.uint8]], list[str]]:
    """1,797 pictures of 8 x 8, enlarged to 64 x 64; dark ink on white."""
    from sklearn.datasets import load_digits

    data = load_digits()
    gray = (255 - np.clip(data.images * 16, 0, 255)).astype(np.uint8)
    return [np.kron(g, np.ones((8, 8), np.uint8)) for g in gray], [WORDS[t] for t in data.target]


def usps() -> tuple[list[NDArray[np.uint8]], list[str]]:
    """All 9,298 pictures of 16 x 16."""
    from handful.pool import open_data

    data = open_data("usps")
    assert data.labels is not None
    images = data.pool.read(np.arange(len(data.pool)))
    return [i[0] for i in images], [WORDS[int(t)] for t in data.labels]


def written(
    folder: Path, images: list[NDArray[np.uint8]], words: list[str], seed: int
) -> dict[str, str]:
    """PNG files under shuffled numbers; the truth by file name."""
    folder.mkdir()
    order = np.random.default_rng(seed).permutation(len(images))
    for number, at in enumerate(order, 1):
        Image.fromarray(images[at]).save(folder / f"{number:06d}.png")
    return {f"{number:06d}.png": words[at] for number, at in enumerate(order, 1)}


@dataclass
class Story:
    """What one sitting gave."""

    figures: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)

    def mark(self, stage: str, person: Person, truth: Mapping[str, str]) -> None:
        """How many labels are right at this moment, by everything the page would export."""
        took = f"{time.monotonic() - self.begun:.0f} s"
        self.notes.append(f"{stage}: {took}, {person.actions} actions, {standing(person, truth)}")
        print("   ", self.notes[-1], flush=True)


def labels_now(person: Person) -> dict[str, tuple[str | None, str]]:
    """The label of each file as an export would have it, without blind answers; its source."""
    names = {c["id"]: c["name"] for c in person.api("/state")["classes"]}
    back = {name: word for word, name in person.called.items()}
    found = {}
    for item in person.pictures():
        id, source = item["class"], item["source"]
        if item["state"] == "open" and item["sug"]:
            id, source = item["sug"]["class"], "model"
        found[item["name"]] = (back.get(names.get(id, "")), source or "")
    return found


def standing(person: Person, truth: Mapping[str, str]) -> str:
    found = labels_now(person)
    right = {f: word == truth[f] for f, (word, _) in found.items()}
    by: dict[str, list[bool]] = {}
    for file, (word, source) in found.items():
        by.setdefault(source if word else "none", []).append(right[file])
    parts = ", ".join(f"{s} {sum(r)}/{len(r)}" for s, r in sorted(by.items()))
    return f"accuracy {np.mean(list(right.values())):.4f} ({parts})"


def tell(story: Story, name: str, value: float) -> None:
    story.figures[name] = float(value)


def sitting(
    folder: Path, truth: Mapping[str, str], *, pace: float, shots: Path | None = None,
    plan: Mapping[str, int] = ACTIONS,
) -> Story:  # fmt: skip
    """Scenario A: 300 actions on a folder; see the module."""
    story = Story()
    with chromium.Chromium(patience=60) as browser:
        browser.size(1280, 720)
        begun = time.monotonic()
        server = Server(folder, learns=True)
        try:
            person = Person(browser, truth, pace=pace)
            person.come(server.url)
            tell(story, "first picture", time.monotonic() - begun)
            at_our_pace(server.process.pid)
            play(person, server, story, plan, shots)
        finally:
            server.stop()
    return story


def play(
    person: Person, server: Server, story: Story, plan: Mapping[str, int], shots: Path | None
) -> None:
    truth, page = person.truth, person.page
    begun = time.monotonic()

    def shot(name: str) -> None:
        if shots is not None:
            (shots / f"{name}.png").write_bytes(page.shot())

    person.first_look(plan["look"])
    tell(story, "by you after the first look", person.number("count-you"))
    tell(story, "stored after the last key", person.until_stored())
    page.until("!document.querySelector('[data-task=scan]')", seconds=120)
    person.learn_files()
    start = person.actions
    groups = person.gallery(until=plan["gallery"])
    person.until_stored()
    tell(story, "seconds to the end of the gallery", time.monotonic() - begun)
    by_group = person.number("count-group") + person.number("count-you")
    tell(story, "groups", groups)
    tell(story, "pictures an action in the gallery", by_group / max(1, person.actions - start))
    story.mark("gallery", person, truth)
    shot("gallery")
    undone(person, story)
    person.queue(until=person.actions + 5)
    killed(person, server, story)
    person.queue(until=plan["queue"])
    story.mark("queue", person, truth)
    person.audit(answers=plan["audit"])
    shot("audit")
    found = labels_now(person)
    result = person.close_audit()
    share = float(np.mean([word == truth[f] for f, (word, _) in found.items()]))
    tell(story, "accuracy when the audit closed", share)
    tell(story, "audit low", result["low"])
    tell(story, "audit high", result["high"])
    tell(story, "audit right", result["k"] / result["n"])
    tell(story, "interval contains the truth", result["low"] <= share <= result["high"])
    shot("result")
    tell(story, "review", person.review(plan["review"]))
    person.queue(until=plan["all"])
    person.settled()
    story.mark("end", person, truth)
    tell(story, "actions", person.actions)
    tell(story, "moves", person.moves)
    tell(story, "keys that nobody heard", person.ignored)
    tell(story, "seconds", time.monotonic() - begun)
    timed(person, story)
    exported(person, server.folder, story)
    shot("export")
    person.hear_advice()
    story.notes.append("advice: " + ", ".join(person.advice))
    strange = [r for r in page.requests if not r.startswith((server.origin, "about:", "blob:"))]
    tell(story, "requests elsewhere", len(strange))
    tell(story, "faults in the console", len(page.faults))
    story.notes += [f"fault: {fault}" for fault in page.faults]


def undone(person: Person, story: Story) -> None:
    """Five decisions back and again, a class renamed and merged and parted: nothing is lost."""
    before = person.labels()
    told = person.undo(5)
    between = person.labels()
    person.redo(5)
    tell(story, "undo and redo restore", person.labels() == before and between != before)
    story.notes.append("undone: " + " | ".join(told))
    person.rename("nine", "9")
    same = person.labels() == before
    person.merge("9", "four")
    merged = person.labels() != before
    person.undo(1)
    tell(story, "rename and merge restore", same and merged and person.labels() == before)


def killed(person: Person, server: Server, story: Story) -> None:
    """The program dies; up to three keys wait; it starts again and has them once."""
    person.until_stored()
    before = sum(item["source"] == "hand" for item in person.pictures())
    time.sleep(3)  # the next pictures are at hand by now, as they are for anybody who looks
    faults = list(person.page.faults)
    server.kill()
    waiting = sum(person.answer() for _ in range(3))
    person.wait(f"document.body.textContent.includes('Answers are kept here ({waiting})')")
    begun = time.monotonic()
    server.start()
    at_our_pace(server.process.pid)
    person.come(server.url)  # the window that the program opens again
    person.until_stored()
    # nobody answered, then the window of before was refused: rightly
    person.page.faults[:] = faults
    tell(story, "seconds to reconnect and store", time.monotonic() - begun)
    after = sum(item["source"] == "hand" for item in person.pictures())
    tell(story, "answers waiting over a kill", waiting)
    tell(story, "of them stored, once", after - before)


def timed(person: Person, story: Story) -> None:
    clock = person.keep_times()
    slow = [f"{c['ms']:.0f} ms ({c['where']})" for c in clock["next"] if c["ms"] > SLOW]
    story.notes.append(f"keys slower than {SLOW} ms: {', '.join(slow) or 'none'}")
    for kind, name in (("next", "key to next picture"), ("answer", "key to visible answer")):
        for training in (False, True):
            times = [c["ms"] for c in clock[kind] if c["training"] == training]
            if times:
                words = f"{name}, training" if training else name
                tell(story, f"{words}, p50", float(np.percentile(times, 50)))
                tell(story, f"{words}, p95", float(np.percentile(times, 95)))
                tell(story, f"{words}, keys", len(times))


def exported(person: Person, folder: Path, story: Story) -> None:
    """The file that leaves: every picture in it, and how many are right."""
    story.notes.append(person.export())
    (path,) = folder.glob("handful-export/*/labels.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    back = {name: word for word, name in person.called.items()}
    empty = sum(1 for row in rows if not row["class"])
    right = sum(back.get(row["class"]) == person.truth[row["path"]] for row in rows)
    tell(story, "rows", len(rows))
    tell(story, "rows without a label", empty)
    tell(story, "accuracy of the export", right / len(person.truth))


def unit_of(name: str) -> str:
    if name.startswith("key to") and not name.endswith("keys"):
        return "ms"
    return "s" if name.startswith(("first picture", "seconds", "stored after")) else ""


def alone(pace: float) -> None:
    """The story where no network is: a namespace of its own with the loopback device alone."""
    command = [sys.executable, *sys.argv[:1], "story", "digits", "--pace", f"{pace:g}"]
    words = " ".join(map(shlex.quote, [*command, "--variant", "loopback only"]))
    inside = f"ip link set lo up && test $(grep -c : /proc/net/dev) = 1 && exec {words}"
    sys.exit(subprocess.run(["unshare", "-rn", "sh", "-c", inside], check=False).returncode)


def stories(given: argparse.Namespace, say: Say) -> None:
    """Sittings on a set, one a seed."""
    data, pace, groups = given.data, given.pace, given.groups
    plan = ACTIONS | {"gallery": groups, "queue": max(ACTIONS["queue"], groups + 20)}
    variant = given.variant
    if groups != ACTIONS["gallery"]:
        variant += f", groups to {groups} actions"
    images, words = {"digits": digits, "usps": usps}[data]()
    for seed in [int(s) for s in given.seeds.split(",")]:
        with place() as folder:
            truth = written(folder, images, words, seed)
            begun = time.monotonic()
            made = sitting(folder, truth, pace=pace, shots=given.shots, plan=plan)
            seconds = time.monotonic() - begun
        print(f"{data}, seed {seed}", *made.notes, sep="\n    ", flush=True)
        for name, value in made.figures.items():
            say(data, variant, seed, ACTIONS["all"], name, value, unit_of(name), seconds)


@contextmanager
def place() -> Iterator[Path]:
    """A folder that does not exist yet."""
    made = Path(tempfile.mkdtemp(prefix="handful-page-"))
    try:
        yield made / "pictures"
    finally:
        shutil.rmtree(made, ignore_errors=True)


def budgets(what: str, files: int, times: int, say: Say) -> None:
    with place() as folder:
        begun = time.monotonic()
        truth = page_budgets.filled(folder, files)
        print(f"    {files:,} pictures made in {time.monotonic() - begun:.0f} s", flush=True)
        figures = {
            "start": lambda: page_budgets.starts(folder, times),
            "restart": lambda: page_budgets.restarts(folder, times),
            "keys": lambda: page_budgets.keys(folder, truth, times),
            "steps": lambda: page_budgets.steps(folder),
        }[what]
        for name, value, unit in figures():
            say(f"{files:,} jpeg", what, 0, "", name, value, unit, None)


def kills(who: str, times: int, say: Say) -> None:
    images, words = digits()
    with place() as folder:
        written(folder, images[:300], words[:300], 0)
        kill = {"server": page_kills.servers, "worker": page_kills.workers}[who]
        for name, value, unit in kill(folder, times):
            say("digits 300", f"{who} killed", 0, "", name, value, unit, None)


def million(say: Say) -> None:
    with place() as folder:
        for name, value, unit in page_million.measured(folder):
            say("1,000,000 rows", "requests", 0, "", name, value, unit, None)


def persons(given: argparse.Namespace) -> None:
    """One sitting of 20 minutes: a row a minute and figure."""
    seed, order = int(given.seeds.split(",")[0]), page_person.ORDERS[given.order]
    look = f", {given.look:g} s a tile" if given.look else ""
    with place() as folder:
        truth = page_person.photos(folder, seed)
        found = page_person.sat(
            folder, truth, given.order, minutes=given.minutes, look=given.look, seed=seed,
            labels=labels_now,
        )  # fmt: skip
        for minute, figures in found:
            for name, value in figures.items():
                last = minute == given.minutes or name.startswith("accuracy")
                if last and not given.dry:
                    record("page_person", "stl10", order + look, "", seed, minute, name, value)


def saying(*, keep: bool) -> Say:
    """Prints a figure, and keeps it."""

    def say(
        data: str, variant: str, seed: int, labels: int | str, metric: str, value: float,
        unit: str, seconds: float | None,
    ) -> None:  # fmt: skip
        print(f"{data:16} {variant:22} {seed} {metric:52} {value:12.4f} {unit}", flush=True)
        if keep:
            record("page", data, "page", variant, seed, labels, metric, value, unit, seconds)

    return say


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("what", choices=(
        "story", "alone", "start", "restart", "keys", "steps", "server", "worker", "million",
        "person",
    ))  # fmt: skip
    asked.add_argument("data", nargs="?", default="digits", choices=("digits", "usps"))
    asked.add_argument("--seeds", default="0")
    asked.add_argument("--pace", type=float, default=0.3, help="seconds an action")
    asked.add_argument("--files", type=int, default=20_000)
    asked.add_argument("--times", type=int, default=5, help="starts, answers, kills")
    asked.add_argument("--shots", type=Path, help="where pictures of the page go")
    asked.add_argument("--groups", type=int, default=ACTIONS["gallery"], help="actions in groups")
    asked.add_argument("--variant", default="story", help="what the rows of a story are called")
    asked.add_argument("--order", choices=tuple(page_person.ORDERS), default="groups")
    asked.add_argument("--minutes", type=int, default=page_person.MINUTES)
    asked.add_argument("--look", type=float, default=0.0, help="seconds for each tile of a group")
    asked.add_argument("--dry", action="store_true", help="print, append no row")
    given = asked.parse_args()
    say = saying(keep=not given.dry)
    if given.what == "story":
        stories(given, say)
    elif given.what == "alone":
        alone(given.pace)
    elif given.what in ("server", "worker"):
        kills(given.what, given.times, say)
    elif given.what == "person":
        persons(given)
    elif given.what == "million":
        million(say)
    else:
        budgets(given.what, given.files, given.times, say)


if __name__ == "__main__":
    main()
