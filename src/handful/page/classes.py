"""The class list as the page shows it: names, keys, looks, what was merged or archived.

A class is its id, the order of its making; a label stores the id, so that renaming moves no
label.  Names are unique among the classes in use, whatever their capitals.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from handful.types import Event

__all__ = ["KEYS", "KINDS", "LOOKS", "ClassList", "LiveClass", "clean", "fold"]

KEYS = "1234567890qwertasdfzxcvb"  # digits first, then letters of the left hand
LOOKS = 21  # seven colours by three patterns; then key and name only
LONGEST = 60
KINDS = {
    "class_created", "class_renamed", "class_merged", "class_archived", "class_key_set",
    "class_look_set", "class_guide_set",
}  # fmt: skip
_JOINERS = "\u200c\u200d"  # within words of some scripts, and within emoji


@dataclass
class LiveClass:
    """One class; ``look`` -1: none is left."""

    id: int
    name: str
    key: str | None
    look: int
    archived: bool = False
    merged_into: int | None = None
    made: bool = True  # its making was not undone
    split_from: int | None = None
    guide: Mapping[str, Any] = field(default_factory=dict)  # text, examples, nots: image ids

    @property
    def live(self) -> bool:
        return self.made and not self.archived and self.merged_into is None


@dataclass
class ClassList:
    """Classes by id."""

    items: list[LiveClass] = field(default_factory=list)

    def now(self, id: int) -> LiveClass | None:
        """The class that a label of this class counts for; None: such pictures are open."""
        seen: set[int] = set()
        while 0 <= id < len(self.items) and id not in seen:
            found = self.items[id]
            if not found.made or found.archived:
                return None
            if found.merged_into is None:
                return found
            seen.add(id)
            id = found.merged_into
        return None

    def named(self, name: str) -> LiveClass | None:
        """The class in use of this name, whatever its capitals."""
        wanted = name.casefold()
        for found in self.items:
            if found.live and found.name.casefold() == wanted:
                return found
        return None

    def with_key(self, key: str) -> LiveClass | None:
        """The class in use that a key belongs to."""
        return next((c for c in self.items if c.live and c.key == key), None)

    def free_key(self) -> str | None:
        """The next key that no class has."""
        taken = {c.key for c in self.items if c.live}
        return next((key for key in KEYS if key not in taken), None)

    def clash(self) -> LiveClass | None:
        """A class whose name another one in use has, too; None: all is well."""
        seen: dict[str, LiveClass] = {}
        for found in self.items:
            if found.live and seen.setdefault(found.name.casefold(), found) is not found:
                return found
        return None


def clean(name: str) -> str:
    """A name as it is kept: NFC, single spaces, nothing that cannot be seen."""
    name = unicodedata.normalize("NFC", name)
    name = "".join(" " if c.isspace() else c for c in name)
    name = "".join(c for c in name if c in _JOINERS or unicodedata.category(c) not in _UNSEEN)
    return " ".join(name.split())[: LONGEST + 1]


_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn"}


def fold(events: Iterable[tuple[Event, bool]]) -> ClassList:
    """The list after some events, each with whether it counts."""
    made = ClassList()
    for event, counts in events:
        d = event.data
        if event.kind == "class_created":
            key = d.get("key", made.free_key() if counts else None)
            look = d.get("look", d["class"] if d["class"] < LOOKS else -1)
            part_of = d.get("split_from")
            made.items.append(
                LiveClass(d["class"], d["name"], key, look, made=counts, split_from=part_of)
            )
        elif counts:
            _change(made, event)
    _settle_keys(made)
    return made


def _change(made: ClassList, event: Event) -> None:
    d = event.data
    changed = made.items[d["class"]]
    if event.kind == "class_renamed":
        changed.name = d["new"]
    elif event.kind == "class_merged":
        changed.merged_into = d["into"]
    elif event.kind == "class_archived":
        changed.archived = True
    elif event.kind == "class_look_set":
        changed.look = d["new"]
    elif event.kind == "class_guide_set":
        changed.guide = d["new"]
    elif event.kind == "class_key_set":
        if d.get("swap") is not None:
            made.items[d["swap"]].key = changed.key
        changed.key = d["new"]


def _settle_keys(made: ClassList) -> None:
    """One class a key: what an undo brought back takes the next free one."""
    taken: set[str | None] = set()
    for found in made.items:
        if found.live and found.key in taken:
            found.key = None
        if found.live:
            taken.add(found.key)
    for found in made.items:
        if found.live and found.key is None:
            found.key = made.free_key()
