"""Twenty minutes in the chair: somebody who slips, on 5,000 photos, in real time.

A decision takes 1.6 s after the last key, a key that only moves and a letter of a name 0.28 s
(keystroke-level model: Card, Moran and Newell, 1980); 2 % of the class keys are those of another
class, and nobody notices.  Three orders:

==========  =====================================================================
groups      blind answers until there are groups, then those, a wrong tile taken
            out, more than six refused; after three refused in a row, or when
            none is left, the queue
queue       one by one: drawn at random until there are suggestions, then the
            most useful first
random      one by one, drawn at random all the time
==========  =====================================================================

Every minute the labels that an export would give are held against the truth, which lies outside
the folder: what was answered, and the suggestion where nothing was.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chromium
import numpy as np
from browsing import RANDOM, Server
from person import DRAWN_TILES, END, GROUP, SHOWN, Person

from page_kills import at_our_pace

ORDERS = {
    "groups": "groups first",
    "queue": "one by one, most useful first",
    "random": "one by one at random",
}
PACE, REACH, SLIP = 1.6, 0.28, 0.02  # seconds, seconds, share
MINUTES = 20
REFUSED = 3  # groups in a row, and the groups are left
MEANWHILE = 10  # answers in the queue while groups are made
Minute = tuple[int, dict[str, float]]


def photos(folder: Path, seed: int) -> dict[str, str]:
    """The 5,000 photos of STL-10's training part as JPEG files; what each shows, by name."""
    from pyarrow import parquet

    table = parquet.read_table(Path(os.environ["HANDFUL_DATA"]) / "stl10.parquet")
    words = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]["label"]["names"]
    table = table.filter([part == 0 for part in table["split"].to_pylist()])
    files = [image["bytes"] for image in table["image"].to_pylist()]
    labels = table["label"].to_pylist()
    folder.mkdir(parents=True)
    truth = {}
    for number, at in enumerate(np.random.default_rng(seed).permutation(len(files)), 1):
        name = f"{number:06d}.jpg"
        (folder / name).write_bytes(files[at])
        truth[name] = words[labels[at]]
    return truth


@dataclass
class Sitting:
    """One person and the clock; what stands is noted each minute."""

    person: Person
    labels: Callable[[Person], dict[str, tuple[str | None, str]]]
    minutes: int = MINUTES
    begun: float = field(default_factory=time.monotonic)
    noted: list[Minute] = field(default_factory=list)

    @property
    def passed(self) -> float:
        return time.monotonic() - self.begun

    @property
    def over(self) -> bool:
        """Whether the time is up; notes the minutes that are full."""
        while len(self.noted) < min(self.minutes, int(self.passed // 60)):
            self.noted.append((len(self.noted) + 1, self.standing()))
            print(f"    {self.noted[-1]}", flush=True)
        return self.passed >= 60 * self.minutes

    def standing(self) -> dict[str, float]:
        truth, found = self.person.truth, self.labels(self.person)
        right = {file: word == truth[file] for file, (word, _) in found.items()}
        said = [file for file, (_, source) in found.items() if source not in ("model", "")]
        return {
            "accuracy_export": sum(right.values()) / len(truth),
            "accuracy_answered": sum(right[file] for file in said) / len(truth),
            "answered": len(said),
            "wrong among the answered": sum(not right[file] for file in said),
            "actions": self.person.actions,
        }

    # ------------------------------------------------------------ three orders

    def groups(self) -> None:
        person = self.person
        while not self.over and not person.api("/state")["groups_rev"]:
            if not person.answer():
                time.sleep(1)
        gallery = ("Shift+G", f"{GROUP} || {END}")
        person.go(*gallery)
        in_a_row = 0
        while not self.over and in_a_row < REFUSED:
            person.wait(f"{DRAWN_TILES} || {END}")
            if person.page.run(f"Boolean({DRAWN_TILES})"):
                before = person.refused
                person.group()
                in_a_row = in_a_row + 1 if person.refused > before else 0
            elif person.groups_are_made():
                self.one_by_one(MEANWHILE)
                person.go(*gallery)
            else:
                break
        print(f"    left the groups after {self.passed:.0f} s", flush=True)
        self.queue()

    def one_by_one(self, most: int) -> None:
        """Some answers in the queue, while there is something in it."""
        self.person.go("Shift+Q", f"{SHOWN} || document.querySelector('main .empty')")
        while most > 0 and not self.over and self.person.answer():
            most -= 1

    def queue(self) -> None:
        """Random until something is suggested, then by use."""
        person = self.person
        if not person.api("/state")["model_rev"]:
            self.random(until=lambda: bool(person.api("/state")["model_rev"]))
        self.one_by_one(len(person.truth))

    def random(self, until: Callable[[], bool] = lambda: False) -> None:
        person = self.person
        while not self.over and not until() and person.answer():
            pass


def sat(
    folder: Path, truth: dict[str, str], order: str, *, minutes: int, look: float, seed: int,
    labels: Any,
) -> Iterator[Minute]:  # fmt: skip
    """Every minute of one sitting with what stood then."""
    with chromium.Chromium(patience=60) as browser:
        browser.size(1280, 720)
        server = Server(folder, learns=True)
        try:
            person = Person(browser, truth, pace=PACE, reach=REACH, look=look, slip=SLIP, seed=seed)
            sitting = Sitting(person, labels, minutes)
            # not blind: what is answered here teaches and counts from the first picture on
            person.come(server.url + ("" if order == "groups" else RANDOM))
            at_our_pace(server.process.pid)
            try:
                getattr(sitting, order)()
            except RuntimeError as error:  # what was noted until then stands
                print(f"    ended after {sitting.passed:.0f} s: {error}", flush=True)
                yield from sitting.noted
                return
            while not sitting.over:  # every picture is answered: the clock goes on
                time.sleep(1)
            print(f"    {person.slipped} slips, {person.moves} moves, console: {browser.faults}")
            yield from sitting.noted
        finally:
            server.stop()
