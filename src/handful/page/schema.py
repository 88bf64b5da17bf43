"""What goes over the wire: every request and every answer of the page's API, as types.

The document of the API (`handful.page.openapi`) is made from these, and the types of the
front end from that document.  What comes in is checked against the same types
(`handful.page.check`), limits included.  Ids of images are opaque; ids of classes count
from 0 in the order of their making; an id of an event is ``TAB.NUMBER``, made by the page,
so that a repeat does no harm and one tab knows its own answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, NotRequired, TypeAlias, TypedDict

__all__ = [
    "Answer", "Answered", "Archive", "BoundTo", "ClassChange", "ClassInfo", "ClassMade",
    "Counts", "Decision", "Detail", "Done", "ExportDone", "ExportOptions", "Failed", "Failure",
    "Filter", "GroupLabelled", "History", "HistoryLine", "Labelled", "Left", "Merge",
    "NewClass", "Page", "Picture", "Problem", "Problems", "Project", "Queue", "Queued",
    "Rescan", "RescanStarted", "ScanResult", "State", "StateSet", "Storage", "StreamCounts",
    "StreamTasks", "Task", "Undo", "Undone",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class BoundTo:
    """Limits of a value: length of a text or list, size of a number, form of a text."""

    low: int = 0
    high: int = 2**53 - 1
    form: str = ""


EventId: TypeAlias = Annotated[str, BoundTo(3, 80, r"[A-Za-z0-9_-]{1,64}\.[0-9]{1,12}")]
ImageId: TypeAlias = Annotated[str, BoundTo(1, 40, r"[a-z0-9]+")]
ClassId: TypeAlias = Annotated[int, BoundTo(0, 1_000_000)]
Revision: TypeAlias = Annotated[int, BoundTo()]
Milliseconds: TypeAlias = Annotated[int, BoundTo()]
Name: TypeAlias = Annotated[str, BoundTo(1, 200)]  # cut and refused by the rules of class names
Key: TypeAlias = Annotated[str, BoundTo(1, 1, r"[0-9qwertasdfzxcvb]")]
Images: TypeAlias = Annotated[list[ImageId], BoundTo(1, 10_000)]
Text: TypeAlias = Annotated[str, BoundTo(0, 1_000)]

Standing: TypeAlias = Literal["open", "labelled", "later", "unsure", "none", "broken"]
Presence: TypeAlias = Literal["here", "missing", "unreadable"]
Source: TypeAlias = Literal[
    "initial", "oracle", "hand", "group", "accepted", "imported", "copied", "audit", "weak"
]
Where: TypeAlias = Literal["queue", "grid", "gallery", "picture", "history"]


class Failure(TypedDict):
    """Why something was refused; ``id`` names the message, ``text`` is ready to be shown."""

    id: str
    text: str
    class_id: NotRequired[int]  # the class that has the name or the key already


# ------------------------------------------------------------------ the state of the page


class Failed(TypedDict):
    """The body of every answer that is not 200."""

    error: Failure


class Counts(TypedDict):
    """``by_you + in_groups + by_model + open`` is ``pictures``, all that can be read."""

    pictures: int
    by_you: int
    in_groups: int
    by_model: int
    open: int  # later ones included
    later: int
    unsure: int
    none: int
    broken: int
    missing: int
    problems: int
    others: int  # files that are no pictures, left alone


class ClassInfo(TypedDict):
    """``look`` is a slot of the colours and patterns, -1: key and name only."""

    id: int
    name: str
    key: str | None
    look: int
    archived: bool
    merged_into: int | None
    pictures: int
    by_you: int
    in_groups: int
    by_model: int


class Task(TypedDict):
    """Work in the background, in words: ``Reading pictures``."""

    name: str
    text: str
    done: int
    total: int
    eta_s: float | None


class ScanResult(TypedDict):
    """What the last look at the folder found to be different; all 0: nothing."""

    added: int
    missing: int
    moved: int
    changed: int
    back: int


class Project(TypedDict):
    """``place``: where the work is kept, in words for a person."""

    folder: str
    place: str
    read_only: bool
    version: str


class Storage(TypedDict):
    """Whether answers can be written; ``error`` says why not."""

    ok: bool
    error: Failure | None


class Done(TypedDict):
    """A decision that Ctrl+Z or Ctrl+Shift+Z would take: what it was, in words."""

    id: str
    text: str


class StreamCounts(TypedDict):
    """Event ``counts`` of the stream."""

    label_rev: int
    counts: Counts


class StreamTasks(TypedDict):
    """Event ``task`` of the stream: all that is under way; empty when nothing is."""

    tasks: list[Task]
    scanning: bool


class State(TypedDict):
    """Everything around the work: read once, then kept up to date by the stream."""

    project: Project
    person: str
    label_rev: int
    counts: Counts
    classes: list[ClassInfo]
    tasks: list[Task]
    scan: ScanResult
    storage: Storage
    undo: Done | None
    redo: Done | None
    first_visit: bool  # nobody has answered anything yet
    scanning: bool
    pace_s: float | None  # seconds an answer, median of the last 50
    left_s: float | None  # at this pace, for what is open


# ------------------------------------------------------------------ pictures

Picture = TypedDict(
    "Picture",
    {
        "id": str,
        "v": str | None,  # of the content, for ?v=; null until the file was read
        "w": int | None,
        "h": int | None,
        "name": str,  # relative, control characters made visible
        "presence": Presence,
        "state": Standing,
        "class": int | None,
        "source": Source | None,
        "person": str,
        "at": float | None,  # seconds since 1970
    },
)


class Page(TypedDict):
    """``stale``: the cursor came from an older revision; it goes on where it was."""

    items: list[Picture]
    next: str | None
    total: int
    total_exact: bool  # false: at least ``total``
    stale: bool
    label_rev: int


Filter = TypedDict(
    "Filter",
    {
        "class": NotRequired[Annotated[list[ClassId], BoundTo(0, 1_000)]],
        "state": NotRequired[Annotated[list[Standing], BoundTo(0, 10)]],
        "source": NotRequired[Annotated[list[Source], BoundTo(0, 10)]],
        "person": NotRequired[Annotated[list[Text], BoundTo(0, 100)]],
        "presence": NotRequired[Annotated[list[Presence], BoundTo(0, 3)]],
        "folder": NotRequired[Annotated[str, BoundTo(0, 4_096)]],  # "" or a relative folder
    },
)


class HistoryLine(TypedDict):
    """One event in words."""

    id: str
    seq: int
    at: float
    person: str
    kind: str
    text: str
    undone: bool


class History(TypedDict):
    """Newest first."""

    items: list[HistoryLine]
    next: str | None
    label_rev: int


class Detail(TypedDict):
    """One picture in full."""

    picture: Picture
    sha256: str | None
    bytes: int | None
    kind: str | None
    pages: int | None
    problem: Failure | None
    history: list[HistoryLine]
    label_rev: int


class Queued(TypedDict):
    """A picture to be answered; nothing that could lead the answer."""

    id: str
    v: str | None
    w: int | None
    h: int | None


class Left(TypedDict):
    """What the queue could still serve, by mode."""

    open: int  # later ones not included
    later: int
    unsure: int


class Queue(TypedDict):
    """``next`` asks for those behind; null: the end of this pass."""

    items: list[Queued]
    mode: Literal["random", "later", "unsure"]
    left: Left
    next: str | None
    label_rev: int


class Problem(TypedDict):
    """A file that cannot be used, and why."""

    id: str
    name: str
    problem: Failure


class Problems(TypedDict):
    """``others``: how many files of which suffix were left alone."""

    items: list[Problem]
    total: int
    next: str | None
    others: dict[str, int]


# ------------------------------------------------------------------ decisions

Labelled = TypedDict(
    "Labelled",
    {
        "kind": Literal["labelled"],
        "id": EventId,
        "seen_rev": Revision,
        "ms": NotRequired[Milliseconds],
        "from": NotRequired[Where],
        "image": ImageId,
        "class": NotRequired[ClassId],  # either a class
        "name": NotRequired[Name],  # or a name, which makes the class where there is none
    },
)
GroupLabelled = TypedDict(
    "GroupLabelled",
    {
        "kind": Literal["group_labelled"],
        "id": EventId,
        "seen_rev": Revision,
        "ms": NotRequired[Milliseconds],
        "from": NotRequired[Where],
        "images": Images,
        "class": NotRequired[ClassId],
        "name": NotRequired[Name],
    },
)
StateSet = TypedDict(
    "StateSet",
    {
        "kind": Literal["state_set"],
        "id": EventId,
        "seen_rev": Revision,
        "ms": NotRequired[Milliseconds],
        "from": NotRequired[Where],
        "images": Images,
        "state": Literal["open", "later", "unsure", "none", "broken"],
    },
)
Decision: TypeAlias = Labelled | GroupLabelled | StateSet


class Answer(TypedDict):
    """What became of one decision: ``seq`` when it is stored, else ``error``."""

    id: str
    ok: bool
    seq: NotRequired[int]
    class_id: NotRequired[int]  # the class it landed on
    error: NotRequired[Failure]


class Answered(TypedDict):
    """Stored before it is said; counts and undo as they are now."""

    results: list[Answer]
    label_rev: int
    counts: Counts
    undo: Done | None
    redo: Done | None


class Undo(TypedDict):
    """Take back, or do again, the last decision of this person."""

    id: EventId


class Undone(TypedDict):
    """``kept``: pictures that stay as they are, since somebody answered them later."""

    event: HistoryLine | None  # null: there was nothing left
    text: str
    affected: int
    kept: int
    label_rev: int
    counts: Counts
    undo: Done | None
    redo: Done | None


# ------------------------------------------------------------------ classes


class NewClass(TypedDict):
    """A class by its name; the key is the next free one unless given."""

    id: EventId
    name: Name
    key: NotRequired[Key]
    seen_rev: Revision


class ClassChange(TypedDict):
    """What is left out stays.  ``swap``: a key that is taken changes hands."""

    id: EventId
    seen_rev: Revision
    name: NotRequired[Name]
    key: NotRequired[Key]
    swap: NotRequired[bool]
    look: NotRequired[Annotated[int, BoundTo(0, 20)]]


class Merge(TypedDict):
    """Merge into another class: its pictures change hands, undo brings them back."""

    id: EventId
    seen_rev: Revision
    into: ClassId


class Archive(TypedDict):
    """Put a class away: its pictures become open."""

    id: EventId
    seen_rev: Revision


ClassMade = TypedDict(
    "ClassMade",
    {
        "class": ClassInfo,
        "classes": list[ClassInfo],
        "moved": int,  # pictures that changed their class, or became open
        "label_rev": int,
        "undo": Done | None,
        "redo": Done | None,
    },
)


# ------------------------------------------------------------------ the rest


class Rescan(TypedDict):
    """Look at the folder again; at the problems, too, or only at some of them."""

    ids: NotRequired[Annotated[list[ImageId], BoundTo(0, 10_000)]]


class RescanStarted(TypedDict):
    """False: it was under way already, and another follows."""

    started: bool


class ExportOptions(TypedDict):
    """``where``: next to the pictures, or in the project's own folder."""

    formats: Annotated[list[Literal["csv", "jsonl"]], BoundTo(1, 2)]
    where: NotRequired[Literal["pictures", "project"]]
    states: NotRequired[bool]  # unsure, none, broken, later as rows [true]
    open: NotRequired[bool]  # open pictures as rows without a class [false]


class ExportDone(TypedDict):
    """File names are relative to ``folder``, which is relative to the place chosen."""

    folder: str
    files: dict[str, int]  # name -> rows
    label_rev: int
