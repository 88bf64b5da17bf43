"""The worker's day: hear, look, learn, group, draw; the most urgent first.

::

    a new answer      suggestions again after 10 answers or 5 s, whichever is later; the last few
                      wait 20 s at most
    new pictures      looked at a second at a time; groups of the first 300, of three times as
                      many each time, and of all
    another encoder   takes over once half of the pictures went through it
    regroup           when asked, and after new suggestions once over half of the groups are done
    the map           when nothing else is to be done; answers are learned in between

Whatever is published was published whole (`handful.revisions`): ending at any moment is safe,
and the next start goes on from what is there.  Nothing is published twice.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from handful import revisions
from handful.errors import StoreError
from handful.events import OPEN
from handful.revisions import Revision
from handful.store import FollowedBook
from handful.types import Event
from handful.worker.copies import stacks
from handful.worker.encoders import SOURCES
from handful.worker.groups import Opinion, grouped, turns
from handful.worker.kept import Kept
from handful.worker.looking import Looking
from handful.worker.map import drawn
from handful.worker.model import NONE, Answered, Learned, answered, learn, mistakes
from handful.worker.modelfile import Names, written
from handful.worker.order import useful
from handful.worker.pictures import Listing, listed
from handful.worker.space import Space, space_of
from handful.worker.voice import Ear, Ended, Voice, Work

__all__ = ["Worker"]

Ints: TypeAlias = NDArray[np.int64]
FIRST = 300  # pictures that are published before all are looked at
ANSWERS, SECONDS, LATEST = 10, 5.0, 20.0
SOON = 6.0  # seconds within which all may be looked at: nothing is published before
QUIET = 3.0  # seconds without a new picture: these are all, for now
PATIENCE = 10.0  # seconds after a disk refused
DONE = 0.1  # share of open pictures at which a group is done
HALF = 0.5
GROWN = 3
THIN = 10  # examples
STEADY = 40  # answers over which suggestions are compared
ANSWERING = {"labelled", "group_labelled", "state_set", "review_changed", "accepted_above"}
log = logging.getLogger(__name__)


@dataclass(eq=False)
class _Answers:
    """What is known of the answers at one moment of the book."""

    seq: int = -1
    named: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    classes: Any = None


@dataclass(frozen=True, eq=False)
class _Before:
    """What a model suggested, and the moment of the book that it knew."""

    rev: int
    rows: Ints
    top: NDArray[np.int32]

    def at(self, rows: Ints) -> Ints:
        """Where rows stand in it, -1 where they do not."""
        place = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        return np.where(self.rows[place] == rows, place, -1)


class Worker:
    """One project: ``place`` holds its book, ``folder`` its pictures; see above."""

    def __init__(self, place: Path, folder: Path, ear: Ear, voice: Voice, *, follow: bool) -> None:
        self.ear, self.voice = ear, voice
        self.index = place / "derived" / "index.sqlite"
        self.out = place / "derived" / "revisions"
        self.book = FollowedBook(place / "book.sqlite")
        self.looking = Looking(folder, place / "derived" / "worker", follow=follow)
        self.listing = listed(self.index)
        self.space: Space | None = None
        self.kept: Kept | None = None  # the vectors of the space
        self.mark = ""  # of the space
        self.groups: list[Ints] = []  # places in the space
        self._groups_rev = 0
        self._purity = np.empty(0)  # of the groups
        self.opinion: Opinion | None = None
        self._complete = False
        self._index_behind = False
        self._list_at = 0.0
        self._grew = self._looking_since = time.monotonic()
        self._regroup = False
        self._grouped = self._drawn = self._modelled = ""  # marks of the space they are about
        self._learned = _Answers()
        self._models: list[_Before] = []  # the last ones, the oldest first
        self._learned_at = self._answered_at = 0.0
        self._said: Answered | None = None
        self._said_seq = -1
        self._special: list[int] = []  # events about stacks and kept labels
        self._noted = 0
        self._busy = False
        self._tasks: dict[str, Work] = {}
        self._failed = ""

    # ---------------------------------------------------------------- the day

    def run(self) -> None:
        """Work until nobody is there any more."""
        self.voice.breathe = self.breathe
        try:
            for name in self.looking.reader.news:
                self.voice.say(
                    failed=f"{name} stopped the program that looks at pictures twice. It is left"
                    " out of groups and suggestions; everything else goes on."
                )
            self._follow()
            while True:
                worked = self._step_safely()
                self.hear(0.0 if worked else self._leisure())
        except Ended:
            self.looking.reader.close()

    def _step_safely(self) -> bool:
        try:
            worked = self.step()
        except (StoreError, OSError) as error:
            log.warning("%s", error)
            sentence = (
                "Groups and suggestions cannot be stored: is the disk full? Your answers are not"
                " affected."
            )
            if self._failed != sentence:
                self._failed = sentence
                self.voice.say(failed=sentence)
            self.hear(PATIENCE)
            return True
        self._failed = "" if worked else self._failed
        return worked

    def step(self) -> bool:
        """The most urgent piece of work; False when there is none."""
        if self._learn_due():
            self.learn()
        elif self._regroup_due():
            self.group()
        else:
            return self._look() or self._settle() or self._draw()
        return True

    def breathe(self) -> None:
        """Hear, and learn where that is due, in the middle of longer work."""
        self.hear(0.0)
        if self._busy:
            return
        if self._learn_due():
            self.learn()
        elif self._regroup_due():
            self.group()

    def hear(self, wait: float) -> None:
        """Take in what was said, then what the book and the index have to say."""
        for said in self.ear.said(wait):
            if "images" in said:
                self._index_behind = True
                self._complete = bool(said.get("complete"))
            if said.get("regroup"):
                self._regroup = True
            wanted = said.get("set")
            if isinstance(wanted, dict) and wanted.get("features") in SOURCES:
                self.looking.set_source(wanted["features"])
        self._follow()

    def _leisure(self) -> float:
        """Seconds until something may be due without anybody speaking."""
        return 0.5 if self._fresh() or not self._whole else 5.0

    def _follow(self) -> None:
        if self.book.refresh() or not self._noted:
            for seq in range(self._noted + 1, len(self.book) + 1):
                self._note(self.book.event(seq))
            self._noted = len(self.book)
            self._answered_at = time.monotonic()
        begun = time.monotonic()
        if self._index_behind and (self._complete or begun >= self._list_at):
            self._index_behind = False
            found = listed(self.index)
            # while a large folder is read: a tenth of the time for the list of its files
            self._list_at = begun + 10 * (time.monotonic() - begun)
            if not found.same(self.listing):
                self.listing, self._grew = found, time.monotonic()

    def _note(self, event: Event) -> None:
        if event.kind in ("stack_broken", "review_kept"):
            self._special.append(event.seq)
        if event.kind == "setting_changed" and event.data.get("key") == "features":
            wanted = event.data.get("new")
            self.looking.set_source(wanted if wanted in SOURCES else "auto")

    @property
    def _whole(self) -> bool:
        """Whether the pictures known are all there are, for now."""
        return self._complete or time.monotonic() - self._grew > QUIET

    # ---------------------------------------------------------------- pictures

    def _look(self) -> bool:
        """Look at pictures for a second; False when all were looked at."""
        looking, listing = self.looking, self.listing
        looking.plan(listing, whole=self._whole)
        missing = looking.missing(listing)
        left = int(missing.sum())
        if left and self._settle(partly=True):
            return True
        self._tell("pictures", "Looking at the pictures", len(listing), left)
        if left:
            looking.look(listing, missing)
        return left > 0

    def _tell(self, name: str, text: str, total: int, left: int) -> None:
        """How far a piece of work is that is done a second at a time."""
        work = self._tasks.get(name)
        if work is None and not left:
            return
        if work is None:
            if not self._tasks:
                self._looking_since = time.monotonic()
            work = self._tasks[name] = Work(self.voice, name, text, left)
        work.total = max(work.total, left)
        work.done = work.total - left
        if not left:
            del self._tasks[name]
        self.voice.tell(work)

    def _settle(self, *, partly: bool = False) -> bool:
        """Make the space anew where there are pictures enough for a better one."""
        listing, looking = self.listing, self.looking
        if looking.files is None or (partly and time.monotonic() - self._looking_since < SOON):
            return False
        whole = not partly and self._whole
        wanted = looking.wanted(listing)
        ready = wanted & looking.glanced(listing) & looking.encoded(listing)
        if not ready.any() or not self._worth(int(ready.sum()), int(wanted.sum()), whole=whole):
            return False
        return self._make(listing.of(np.flatnonzero(ready)))

    def _worth(self, ready: int, wanted: int, *, whole: bool) -> bool:
        """Whether a space of the pictures looked at is worth its making."""
        now, looking = self.space, self.looking
        if whole:
            return True  # `_make` sees whether it is another one
        if looking.untrained or looking.encoder is None:
            return False
        if now is None or now.listing.made != self.listing.made:
            return ready >= FIRST
        if dict(now.encoder.about) != dict(looking.encoder.about):
            return ready >= max(FIRST, HALF * wanted)
        return ready >= GROWN * len(now)

    def _make(self, listing: Listing) -> bool:
        """Make the space of these pictures and publish it; False when it is the one at hand."""
        looking = self.looking
        if looking.untrained:
            looking.train(listing, self.voice)
        looking.reduce(listing, self.breathe)
        encoder, kept = looking.encoder, looking.seen
        if encoder is None or kept is None:
            return False
        alone = self._alone(listing)
        mark = _mark(listing, encoder.about, alone)
        if mark == self.mark:
            return False
        begun = time.monotonic()
        with self.voice.work("features", "Comparing the pictures", None):
            glances = looking.glances.rows(looking.glances.places(listing.keys))

            def compared() -> Space:
                space = space_of(listing, kept, stacks(listing, glances, alone), encoder)
                _ = space.near
                return space

            space = self._meanwhile(compared)
        self.space, self.kept = space, kept
        self.mark, self.opinion, self._said_seq = mark, None, -1
        self._publish_features(time.monotonic() - begun)
        self._take_up()
        return True

    def _meanwhile(self, act: Callable[[], Space]) -> Space:
        """Do what takes seconds in a thread of its own; hear and learn in between."""
        with ThreadPoolExecutor(1) as thread:
            made = thread.submit(act)
            while not wait([made], 0.1).done:
                self.breathe()
            return made.result()

    def _alone(self, listing: Listing) -> NDArray[np.bool_]:
        """Pictures whose stack a person broke."""
        alone = np.zeros(len(listing), dtype=bool)
        for event in map(self.book.event, self._special):
            if event.kind == "stack_broken" and self.book.alive(event):
                places = [listing._place.get(image, -1) for image in event.data["images"]]
                alone[[at for at in places if at >= 0]] = True
        return alone

    def _publish_features(self, seconds: float) -> None:
        space = self._at_hand
        vectors = space.vectors
        meta = {
            "source": space.encoder.words,
            "kind": space.encoder.kind,
            "dim": vectors.shape[1],
            "images": len(space),
            "seconds": round(seconds, 3),
        }
        arrays = {"rows": space.listing.rows, "vectors": vectors, "stack": space.stack}
        self._publish("features", arrays, meta)

    @property
    def _at_hand(self) -> Space:
        if self.space is None:
            raise LookupError("no picture was looked at yet")
        return self.space

    def _take_up(self) -> None:
        """Groups and map of this very space, published by an earlier process, stay."""
        found = self._published("groups")
        self._grouped = "" if found is None else self.mark
        self._groups_rev, self.groups, self._purity = 0, [], np.empty(0)
        if found is not None:
            self._hold(found.rev, found.arrays)
        self._drawn = "" if self._published("map") is None else self.mark

    def _published(self, kind: str) -> Revision | None:
        """The newest revision of a kind, where it is about the space at hand."""
        found = revisions.newest(self.out, kind, made=self._at_hand.listing.made)
        return found if found is not None and found.meta.get("mark") == self.mark else None

    def _publish(
        self,
        kind: str,
        arrays: Mapping[str, Any],
        meta: Mapping[str, Any],
        files: Mapping[str, bytes] | None = None,
    ) -> int:
        """Publish a revision, unless it is the one that is there; its number."""
        before = self._published(kind)
        if (
            before is not None
            and before.meta.get("label_rev") == meta.get("label_rev")
            and all(np.array_equal(before[name], array) for name, array in arrays.items())
        ):
            return before.rev
        made = self._at_hand.listing.made
        said = {**meta, "mark": self.mark}
        rev = revisions.publish(self.out, kind, arrays, made=made, meta=said, files=files)
        self.voice.say(published=kind, rev=rev)
        return rev

    # ---------------------------------------------------------------- groups and map

    def _free(self) -> NDArray[np.bool_]:
        listing: Any = self._at_hand.listing
        return np.asarray(self.book.states(listing) == OPEN)

    def _regroup_due(self) -> bool:
        if self.space is None:
            return False
        return self._regroup or self._grouped != self.mark

    def group(self) -> None:
        """Make groups of the open pictures."""
        space = self._at_hand
        with self.voice.work("groups", "Making groups", None):
            found = grouped(space, self._free(), self.opinion)
        self._regroup, self._grouped = False, self.mark
        self._hold(self._publish("groups", found, {"label_rev": len(self.book)}), found)

    def _hold(self, rev: int, found: Mapping[str, Any]) -> None:
        """These are the groups that people are asked about."""
        places = np.searchsorted(self._at_hand.listing.rows, found["rows"])
        self.groups = np.split(places, found["starts"][1:-1]) if len(found["likely"]) else []
        self._groups_rev, self._purity = rev, np.array(found["purity"])

    def _mostly_done(self) -> bool:
        """Whether over half of the groups have hardly an open picture."""
        free = self._free()
        done = [float(free[members].mean()) <= DONE for members in self.groups]
        return bool(done) and sum(done) > HALF * len(done)

    def _draw(self) -> bool:
        space = self.space
        if space is None or self._drawn == self.mark or not self._whole:
            return False
        mark = self.mark
        with self.voice.work("map", "Drawing the map", 350) as work:
            places, xy = drawn(space.x, work.advance)
        if mark != self.mark:
            return True  # the pictures are others by now
        self._drawn = mark
        rows = space.listing.rows[places]
        meta = {"images": len(space), "shown": len(rows), "sampled": len(rows) < len(space)}
        self._publish("map", {"rows": rows, "xy": xy}, meta)
        return True

    # ---------------------------------------------------------------- learning

    def _answers(self) -> Answered:
        """What the book says of the space at hand."""
        if self._said is None or self._said_seq != len(self.book):
            self._said = answered(self.book, self._at_hand)
            self._said_seq = len(self.book)
        return self._said

    def _fresh(self) -> int:
        """Pictures whose answer is another than at the last learning; a changed class counts 10."""
        if self.space is None:
            return 0
        if self._learned.seq == len(self.book) and self._modelled == self.mark:
            return 0
        named = self._answers().named()
        if self._modelled != self.mark or len(named) != len(self._learned.named):
            return ANSWERS
        fresh = int((named != self._learned.named).sum())
        return fresh + (ANSWERS if self.book.classes != self._learned.classes else 0)

    def _learn_due(self) -> bool:
        fresh = self._fresh()
        if not fresh:
            return False
        if not self._answers().enough:
            return self.opinion is not None or (
                self._modelled != self.mark and self._published_any("model")
            )
        if self._modelled != self.mark:
            return True
        now = time.monotonic()
        waited = now - self._learned_at
        return (fresh >= ANSWERS and waited >= SECONDS) or (
            waited >= LATEST and now - self._answered_at >= SECONDS
        )

    def _published_any(self, kind: str) -> bool:
        return revisions.newest(self.out, kind, made=self._at_hand.listing.made) is not None

    def learn(self) -> None:
        """Learn from the answers, and publish suggestions, order and likely mistakes."""
        self._busy = True
        try:
            with self.voice.work("model", "Learning from your answers", None):
                self._learn()
        finally:
            self._busy = False
        self._learned_at = time.monotonic()
        if self._mostly_done():
            self._regroup = True

    def _learn(self) -> None:
        begun, space, said, seq = time.monotonic(), self._at_hand, self._answers(), len(self.book)
        learned = learn(space, said) if said.enough else None
        listing: Any = space.listing
        order, reason, stands, covered = useful(space, said.known, self.book.open(listing), learned)
        arrays = _suggestions(space, learned) | {
            "order": listing.rows[order], "reason": reason, "stands": stands,
        }  # fmt: skip
        arrays |= _doubts(space, said, learned, self._kept_labels(listing))
        self.opinion = None if learned is None else Opinion(learned.proba, learned.ids)
        arrays["groups"] = turns(self.groups, self._purity, self._free(), self.opinion)
        card: dict[str, Any] = {}
        weights = b""
        if learned is not None and self.kept is not None:
            names = Names(self.book.classes.names)
            card, weights = written(space, self.kept, said, learned, names)
        classes = self.book.classes
        changed, since = self._changed(seq, arrays["top"][:, 0])
        meta = {
            "label_rev": seq,
            "trained_on": len(said.rows) if learned is not None else 0,
            "changed": changed,
            "answers_since": since,
            "learner": learned.learner if learned is not None else None,
            "loss": learned.loss if learned is not None else {},
            "thin": _thin(said, classes.names, classes.archived),
            "coverage": round(covered, 4),
            "groups": self._groups_rev,
            "none": NONE if NONE in said.ids.tolist() else None,
            "seconds": round(time.monotonic() - begun, 3),
        }
        files = {"card.json": _json({**card, "label_rev": seq})} if card else {}
        files |= {"model.safetensors": weights} if card else {}
        self._publish("model", arrays, meta, files)
        if learned is not None:
            self._models.append(_Before(seq, arrays["rows"], arrays["top"][:, 0]))
        self._learned = _Answers(seq, said.named(), classes)
        self._modelled = self.mark

    def _changed(self, seq: int, top: NDArray[np.int32]) -> tuple[float | None, int]:
        """Share of the open pictures whose suggestion the last 40 answers changed; and how many.

        Fewer where there are no models so old; None before a second model.
        """
        while len(self._models) > 1 and self._given(self._models[1].rev, seq) >= STEADY:
            del self._models[0]
        if not self._models:
            return None, self._given(0, seq)
        before = self._models[0]
        at, free = before.at(self._at_hand.listing.rows), self._free()
        both = free & (at >= 0)
        apart = before.top[at[both]] != top[both]
        return round(float(apart.mean()), 6) if both.any() else 0.0, self._given(before.rev, seq)

    def _given(self, after: int, seq: int) -> int:
        """Answers between two moments of the book."""
        return sum(self.book.event(s).kind in ANSWERING for s in range(after + 1, seq + 1))

    def _kept_labels(self, listing: Listing) -> NDArray[np.bool_]:
        """Pictures whose label a person has looked at and kept, and which has stayed since."""
        kept = np.zeros(len(listing), dtype=bool)
        for event in map(self.book.event, self._special):
            if event.kind == "review_kept" and self.book.alive(event):
                image = event.data["image"]
                at = listing._place.get(image, -1)
                if at >= 0 and self.book.said(image).seq < event.seq:
                    kept[at] = True
        return kept


def _suggestions(space: Space, learned: Learned | None) -> dict[str, Any]:
    """Rows, the two likeliest classes of each, and their probabilities."""
    n = len(space)
    top, p = np.full((n, 2), -1, dtype=np.int32), np.zeros((n, 2), dtype=np.float32)
    if learned is not None:
        first = np.argsort(-learned.proba, axis=1, kind="stable")[:, :2]
        top[:] = learned.ids[first]
        p[:] = np.take_along_axis(learned.proba, first, axis=1)
    return {"rows": space.listing.rows, "top": top, "p": p}


def _doubts(
    space: Space, said: Answered, learned: Learned | None, kept: NDArray[np.bool_]
) -> dict[str, Any]:
    """Likely mistakes, and what a model without an answer says of it."""
    if learned is None:
        empty, none = np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int32)
        return {
            "errors_row": empty, "errors_label": none, "errors_to": none,
            "errors_score": np.empty(0, dtype=np.float32),
            "held_row": empty, "held_label": none, "held_to": none,
        }  # fmt: skip
    rows, ids = space.listing.rows, said.ids
    at, label, to, score = mistakes(learned, said, kept)
    return {
        "errors_row": rows[at], "errors_label": ids[label], "errors_to": ids[to],
        "errors_score": score, "held_row": rows[learned.rows],
        "held_label": ids[said.known[learned.rows]], "held_to": ids[learned.held.argmax(axis=1)],
    }  # fmt: skip


def _thin(said: Answered, names: tuple[str, ...], archived: frozenset[int]) -> list[int]:
    """Classes with fewer than 10 examples."""
    named = said.named()
    counts = np.bincount(named[named >= 0], minlength=len(names))
    return [id for id in range(len(names)) if id not in archived and counts[id] < THIN]


def _mark(listing: Listing, about: Mapping[str, Any], alone: NDArray[np.bool_]) -> str:
    """What a space is made of, in short."""
    digest = sha256(_json(dict(about)) + listing.made.encode())
    for array in (listing.rows, listing.digests, listing.sizes, np.flatnonzero(alone)):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def _json(said: Mapping[str, Any]) -> bytes:
    return json.dumps(said, sort_keys=True).encode()
