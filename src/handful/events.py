"""What may stand in the book: the kinds of events, what they say, and which are refused.

::

    kind ──> KINDS    the fields that its data must hold
         ──> Draft    whether it fits the events before it
         ──> touches  what it says about which image, by rank (`RANK`)

A kind is never changed once released; what is new gets a kind of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import numpy as np

from handful.errors import InputError
from handful.types import SOURCES, UNKNOWN, Array, Classes, Event, Source

__all__ = [
    "CLASS_KINDS", "DECISIONS", "FOR_GOOD", "FREE", "KINDS", "RANK", "SAME", "STATES", "Draft",
    "Standings", "Touch", "class_events", "plain", "touches",
]  # fmt: skip

Standings: TypeAlias = Literal["open", "labelled", "later", "unsure", "none", "broken"]
STATES: tuple[Standings, ...] = ("open", "labelled", "later", "unsure", "none", "broken")
OPEN, LABELLED, LATER, UNSURE, NONE, BROKEN = range(len(STATES))

# A lower rank never overwrites a higher one; within a rank the later event wins.
RANK: Mapping[str, int] = {
    "weak": 0, "accepted": 1, "copied": 2, "imported": 3, "group": 4,
    "initial": 5, "oracle": 5, "hand": 5, "audit": 5,
}  # fmt: skip

# Every kind of event, with the fields that its data must hold.
KINDS: Mapping[str, tuple[str, ...]] = {
    "asked": ("round", "question", "ids", "pairs", "tags", "memo", "draw", "rule"),
    "round_closed": ("round",),
    "folder_opened": (), "images_added": (), "images_missing": (), "image_moved": ("image", "to"),
    "image_changed": ("image",), "image_unreadable": ("image",),
    "class_created": ("class", "name"), "class_renamed": ("class", "new"),
    "class_merged": ("class", "into"), "class_archived": ("class",),
    "class_key_set": ("class",), "class_look_set": ("class",), "class_guide_set": ("class",),
    "labelled": ("image", "class"), "group_labelled": ("class", "images"),
    "state_set": ("images", "state"), "pair_answered": ("a", "b", "answer"),
    "accepted_above": ("images", "classes"), "import_applied": (),
    "audit_drawn": (), "audit_answered": ("image",), "audit_closed": (), "audit_more": ("n",),
    "audit_shown": (),
    "review_kept": ("image",), "review_changed": ("image", "to"),
    "stack_broken": ("images",), "group_halved": ("group",),
    "group_set_aside": ("group", "why"), "groups_merged": ("groups",),
    "lease_taken": (), "lease_returned": (), "overlap_settled": ("image",),
    "undone": (), "redone": (),
    "export_made": (), "model_saved": (), "report_made": (), "setting_changed": ("key", "new"),
}  # fmt: skip
FOR_GOOD = {"asked", "round_closed", "image_moved"}  # what happened cannot be undone
CLASS_KINDS = {"class_created", "class_renamed", "class_merged", "class_archived"}
DECISIONS = {
    "labelled", "group_labelled", "state_set", "pair_answered", "accepted_above",
    "audit_answered", "review_kept", "review_changed", "overlap_settled",
}  # fmt: skip
FREE: set[Source] = {"imported", "copied", "weak"}  # nobody answered anything
SAME: dict[bool | None, str] = {True: "same", False: "different", None: "unsure"}


class Touch(NamedTuple):
    """What one event says about an image; images that it says the same of share it."""

    event: int  # position in the book
    state: int
    class_id: int = UNKNOWN
    source: Source = "hand"
    drops: bool = False  # takes the copied label away instead of giving one
    vote: bool = False  # one of several blind answers: the majority of them counts


def class_events(names: Iterable[str], *, start: int = 0) -> list[Event]:
    """Events that create classes, ids counting from ``start``."""
    return [
        Event("class_created", f"class/{id}", {"class": id, "name": name})
        for id, name in enumerate(names, start)
    ]


class Draft:
    """Checks events one by one against the book as it will be after the ones before.

    ``kind_of`` gives the kind of an event that is in the book already, None for any other id.
    """

    def __init__(
        self,
        classes: Classes,
        *,
        asked: int,
        closed: int,
        kind_of: Callable[[str], str | None],
    ) -> None:
        self.kinds: dict[str, str] = {}  # of the events checked so far, by id
        self.names: dict[int, str] = dict(enumerate(classes.names))
        self.live = {i for i in self.names if i not in classes.archived}
        self.rounds_asked, self.rounds_closed = asked, closed
        self.kind_of = kind_of

    def check(self, event: Event) -> None:
        """Raise `InputError` when the event does not fit; else take it as said."""
        if event.kind not in KINDS:
            raise InputError(f"an event of unknown kind {event.kind!r}: one of {sorted(KINDS)}")
        missing = [f for f in KINDS[event.kind] if f not in event.data]
        if missing or not event.id:
            lacks = missing[0] if missing else "id"
            raise InputError(f"the event {event.kind} {event.id!r} lacks {lacks!r}")
        self._fields(event)
        if event.kind in CLASS_KINDS:
            self._class(event)
        elif event.kind in ("undone", "redone"):
            self._undo(event)
        elif event.kind == "asked":
            self._round(event, self.rounds_asked, free=self.rounds_asked == self.rounds_closed)
            self.rounds_asked += 1
        elif event.kind == "round_closed":
            self._round(event, self.rounds_closed, free=self.rounds_asked > self.rounds_closed)
            self.rounds_closed += 1
        self.kinds[event.id] = event.kind

    def _fields(self, event: Event) -> None:
        """Classes exist, states and sources have a known name, lists go together."""
        d, what = event.data, f"the event {event.kind} {event.id!r}"
        ids = [d.get("class"), d.get("into"), *(d.get("classes") or ())]
        if event.kind == "review_changed":
            ids.append(d["to"])
        if d.get("key") == "none_class":
            ids.append(d["new"])
        for id in ids if event.kind != "class_created" else ():
            if id is not None and id not in self.names:
                raise InputError(f"{what} names class {id!r}, which was never created")
        if event.kind == "labelled" and d["class"] is None:
            raise InputError(f"{what} names no class")
        if "state" in d and d["state"] not in STATES:
            raise InputError(f"{what} has the state {d['state']!r}: one of {STATES}")
        if event.kind == "state_set" and d["state"] == "labelled":
            raise InputError(f"{what} sets 'labelled' without a class: use a labelled event")
        if d.get("source", "hand") not in SOURCES:
            raise InputError(f"{what} has the source {d['source']!r}: one of {SOURCES}")
        if "answer" in d and d["answer"] not in SAME.values():
            raise InputError(f"{what} answers {d['answer']!r}: same, different or unsure")
        if strange := [s for s in d.get("states", ()) if s not in STATES]:
            raise InputError(f"{what} has the state {strange[0]!r}: one of {STATES}")
        if "classes" in d and len(d["classes"]) != len(d.get("images", ())):
            raise InputError(f"{what} has {len(d['classes'])} classes for its images")

    def _class(self, event: Event) -> None:
        id, name = event.data["class"], event.data.get("name", event.data.get("new"))
        if event.kind == "class_created" and id != len(self.names):
            raise InputError(f"class {name!r} must get the next id {len(self.names)}, not {id!r}")
        if event.kind in ("class_created", "class_renamed"):
            if not isinstance(name, str) or not name.strip():
                raise InputError(f"a class needs a name, not {name!r}")
            if any(self.names[i] == name for i in self.live if i != id):
                raise InputError(f"there is already a class {name!r}: use it or another name")
            self.names[id] = name
        if event.kind == "class_created":
            self.live.add(id)
        if event.kind == "class_merged" and (
            event.data["into"] == id or event.data["into"] not in self.live
        ):
            raise InputError(f"class {id} cannot be merged into {event.data['into']!r}")
        if event.kind in ("class_merged", "class_archived"):
            self.live.discard(id)

    def _undo(self, event: Event) -> None:
        target = event.undoes or ""
        kind = self.kind_of(target) or self.kinds.get(target)
        if kind is None:
            raise InputError(
                f"{event.kind} {event.id!r} names {target!r}, which is not in the book"
            )
        if kind in FOR_GOOD:
            raise InputError(f"{kind} {target!r} cannot be undone")

    def _round(self, event: Event, due: int, *, free: bool) -> None:
        if event.data["round"] != due or not free:
            raise InputError(
                f"{event.kind} of round {event.data['round']!r} does not fit the book,"
                f" where {self.rounds_asked} were asked and {self.rounds_closed} closed"
            )


def touches(event: Event, position: int) -> Iterator[tuple[str, Touch]]:
    """What an event at a position of the book says about images: pairs of image id and touch."""
    d, kind = event.data, event.kind
    source: Source = d.get("source", "hand")
    if d.get("overlap") and kind in ("labelled", "state_set"):
        yield from _votes(event, position)
    elif kind == "labelled":
        yield d["image"], Touch(position, LABELLED, d["class"], source)
        yield from _copied(d, Touch(position, LABELLED, d["class"], "copied"))
    elif kind == "state_set":
        one = Touch(position, STATES.index(d["state"]), source=source)
        yield from ((image, one) for image in d["images"])
        yield from _copied(d, Touch(position, one.state, source="copied"))
    elif kind == "group_labelled":
        # a choice of images looked at one by one may say ``hand``
        one = Touch(position, LABELLED, d["class"], d.get("source", "group"))
        yield from ((image, one) for image in d["images"])
    elif kind in ("accepted_above", "import_applied"):
        source = "accepted" if kind == "accepted_above" else d.get("source", "imported")
        classes = d.get("classes", ())
        over, states = set(d.get("over", ())), d.get("states", ())
        shared = {id: Touch(position, LABELLED, id, source) for id in set(classes)}
        for place, (image, id) in enumerate(zip(d.get("images", ()), classes, strict=True)):
            if image in over:  # somebody wanted it to count whatever was said before
                yield image, Touch(position, OPEN)
            if id is not None:
                yield image, shared[id]
            elif place < len(states) and states[place] != "labelled":
                yield image, Touch(position, STATES.index(states[place]), source=source)
    elif kind == "review_changed":
        yield d["image"], Touch(position, LABELLED, d["to"])
        yield from _copied(d, Touch(position, LABELLED, d["to"], "copied"))
    elif kind in ("overlap_settled", "audit_answered"):
        source = "audit" if kind == "audit_answered" else source
        state = STATES.index(d.get("state", "labelled"))
        id = d.get("class", UNKNOWN) if state == LABELLED else UNKNOWN
        if state != LABELLED or id != UNKNOWN:
            yield d["image"], Touch(position, state, id, source)
    elif kind == "image_changed":  # whatever was said of it was said of another picture
        yield d["image"], Touch(position, OPEN)
    elif kind == "stack_broken" and not d.get("keep"):  # the copied labels go with it
        one = Touch(position, OPEN, source="copied", drops=True)
        yield from ((image, one) for image in d["images"])


def _votes(event: Event, position: int) -> Iterator[tuple[str, Touch]]:
    """What one of several people says of an image that each is asked on their own."""
    d = event.data
    if event.kind == "labelled":
        yield d["image"], Touch(position, LABELLED, d["class"], vote=True)
    else:  # later is no answer, as is open: what this person said before is taken back
        state = OPEN if d["state"] == "later" else STATES.index(d["state"])
        one = Touch(position, state, vote=True)
        yield from ((image, one) for image in d["images"])


def _copied(data: Mapping[str, Any], touch: Touch) -> Iterator[tuple[str, Touch]]:
    """Near-duplicates that an answer was copied to: one decision, one undo."""
    yield from ((image, touch) for image in data.get("copies", ()))


def plain(event: Event) -> Mapping[str, Any]:
    """The data as JSON would give it back, so that a book on disk equals one in memory."""
    try:
        text = json.dumps(event.data, default=_listed, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"the event {event.kind} {event.id!r} is no JSON: {error}") from error
    data: Mapping[str, Any] = json.loads(text)
    return data


def _listed(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        return cast(Array, value).tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
