"""Events and refusals in words: what the status line, the history and every refusal say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

from handful.page.classes import ClassList
from handful.page.schema import Failure
from handful.types import Event

__all__ = ["DISK_FULL", "WRONG_DOOR", "Refused", "images", "name_taken", "refuse", "stale", "words"]

WRONG_DOOR = "Open handful from its own window. (Token missing or old.)"
DISK_FULL = "The disk is full. Your last answer was not stored. Free some space; answers wait here."
_STATES = {
    "later": "put off until later", "unsure": "marked unsure", "none": 'marked "none of these"',
    "broken": "marked broken", "open": "cleared",
}  # fmt: skip
_PAIRS = {"same": "the same class", "different": "different classes"}


class Refused(Exception):
    """A request that is understood and not done; nothing was changed."""

    def __init__(self, failure: Failure, status: int = 409) -> None:
        super().__init__(failure["text"])
        self.failure, self.status = failure, status


def refuse(id: str, text: str, *, status: int = 409, class_id: int | None = None) -> NoReturn:
    """Raise `Refused`."""
    failure: Failure = {"id": id, "text": text}
    if class_id is not None:
        failure["class_id"] = class_id
    raise Refused(failure, status)


def stale(what: str) -> NoReturn:
    """Refuse what was decided on an old view."""
    refuse("E12", f"This changed elsewhere: {what}. Nothing was done. Shown again.")


def name_taken(name: str, class_id: int) -> NoReturn:
    """Refuse a name that a class has."""
    refuse(
        "E10",
        f'There is already a class "{name}". Use it (Enter) or choose another name.',
        class_id=class_id,
    )


def images(n: int) -> str:
    """``1 image``, ``5,000 images``."""
    return f"{n:,} image" + ("" if n == 1 else "s")


def words(event: Event, classes: ClassList) -> str:
    """What an event did; classes by their present name."""
    d, kind = event.data, event.kind

    def name(id: int) -> str:
        return classes.items[id].name if 0 <= id < len(classes.items) else "?"

    if kind == "labelled":
        return f'1 image labelled "{name(d["class"])}"'
    if kind == "group_labelled":
        return f'{images(len(d["images"]))} labelled "{name(d["class"])}"'
    if kind == "state_set":
        return f"{images(len(d['images']))} {_STATES.get(d['state'], d['state'])}"
    if kind == "import_applied":
        n = len(d.get("images", ()))
        return f"{n:,} label{'' if n == 1 else 's'} imported"
    if kind.startswith("class_"):
        return _of_class(event, name)
    if kind in ("audit_answered", "review_changed", "accepted_above", "setting_changed"):
        return _learned(event, name)
    if kind in ("images_added", "images_missing"):
        what = "found" if kind == "images_added" else "no longer there"
        return f"{images(d.get('count', 0))} {what}"
    return {
        "folder_opened": "folder opened",
        "image_moved": "1 image has another name",
        "image_changed": "1 image has another content and is open again",
        "export_made": "labels exported",
        "pair_answered": f"2 groups answered: {_PAIRS.get(d.get('answer', ''), 'not sure')}",
        "group_halved": "1 group halved",
        "group_set_aside": (
            "1 group put off until later"
            if d.get("why") == "later"
            else "1 group put aside: not one class"
        ),
        "groups_merged": f"{len(d.get('groups', ()))} groups merged",
        "audit_drawn": "pictures drawn for the blind check",
        "audit_closed": f"blind check closed after {d.get('n', 0):,} answers",
        "audit_more": f"{d.get('n', 0):,} more asked for in the blind check",
        "audit_shown": "mistakes of the blind check shown",
        "review_kept": "1 label kept",
        "overlap_settled": "1 disagreement settled",
        "stack_broken": f"{images(len(d.get('images', ())))} parted: no near-duplicates",
    }.get(kind, kind.replace("_", " "))


def _learned(event: Event, name: Callable[[int], str]) -> str:
    d, kind = event.data, event.kind
    if kind == "audit_answered":
        said = f'"{name(d["class"])}"' if "class" in d else _STATES.get(d.get("state", ""), "?")
        return f"1 blind answer: {said}"
    if kind == "review_changed":
        return f'1 label changed from "{name(d.get("from", -1))}" to "{name(d["to"])}"'
    if kind == "accepted_above":
        return f"{images(len(d['images']))} accepted at {100 * d.get('p', 0):g} % or more"
    new: Any = d["new"]
    said = f"{100 * new:g} %" if d["key"] == "goal" else f'"{new}"'
    what = {"goal": "goal", "features": "what pictures are compared by", "person": "name"}
    return f"{what.get(d['key'], d['key'])} set to {said}"


def _of_class(event: Event, name: Callable[[int], str]) -> str:
    d, kind = event.data, event.kind
    own = name(d["class"])
    return {
        "class_created": f'class "{d.get("name")}" made',
        "class_renamed": f'class "{d.get("old", own)}" renamed "{d.get("new")}"',
        "class_merged": f'class "{own}" merged into "{name(d.get("into", -1))}"',
        "class_archived": f'class "{own}" archived',
        "class_key_set": f'key of class "{own}" set to {str(d.get("new")).upper()}',
        "class_look_set": f'look of class "{own}" changed',
        "class_guide_set": f'guide of class "{own}" changed',
    }.get(kind, f'class "{own}" changed')
