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
    "Accept", "AcceptAsked", "AcceptCheck", "AcceptChecked", "AcceptPreview", "Accepted", "Advice",
    "Agreed", "Agreement", "Alike", "AlikeAsked", "Alikes", "Answer", "Answered", "Archive",
    "Aside", "Audit", "AuditAnswered", "AuditClass", "AuditClosed", "AuditResult", "AuditStanding",
    "BoundTo", "ClassChange", "ClassInfo", "ClassMade", "Colleague", "Confusion", "ConfusionCell",
    "Counts", "Decision", "Detail", "Disagreement", "Disagreements", "Done", "ExportByClass",
    "ExportChoices", "ExportDone", "ExportFormat", "ExportModel", "ExportOptions", "ExportPlace",
    "ExportShow", "ExportShown", "Failed", "Failure", "Features", "Filter", "Format", "Group",
    "GroupAct", "GroupLabelled", "GroupMerge", "Groups", "GroupsChanged", "Guide", "GuideChange",
    "History", "HistoryLine", "ImportAsked", "ImportChange", "ImportClass", "ImportDone",
    "ImportFault", "ImportPart", "ImportPartDone", "ImportPreview", "ImportWanted", "Labelled",
    "Left", "Likely", "MapIds", "Merge", "Mistake", "Mistakes", "NewClass", "OverlapSettled",
    "Page", "PairAnswered", "People", "Picture", "Problem", "Problems", "Project", "Queue",
    "Queued", "Regroup", "RegroupStarted", "Rescan", "RescanStarted", "Review", "ReviewChanged",
    "ReviewKept", "Reviewed", "ScanResult", "Seen", "Settings", "SettingsChange",
    "SettingsChanged", "Shown", "StackBroken", "State", "StateSet", "Storage", "StreamCounts",
    "StreamLearned", "StreamPeople", "StreamTasks", "Suggestion", "Task", "Undo", "Undone",
    "Values", "Vote",
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
ImageIds: TypeAlias = Annotated[list[ImageId], BoundTo(0, 10_000)]
Text: TypeAlias = Annotated[str, BoundTo(0, 1_000)]

Standing: TypeAlias = Literal["open", "labelled", "later", "unsure", "none", "broken"]
Presence: TypeAlias = Literal["here", "missing", "unreadable"]
Source: TypeAlias = Literal[
    "initial", "oracle", "hand", "group", "accepted", "imported", "copied", "audit", "weak"
]
LabelSource: TypeAlias = Literal[
    "initial", "oracle", "hand", "group", "accepted", "imported", "copied", "audit", "weak",
    "model",
]  # fmt: skip
Where: TypeAlias = Literal[
    "queue", "grid", "gallery", "picture", "history", "map", "review", "find", "border", "accept"
]
Sure: TypeAlias = Literal["very sure", "fairly sure", "guess"]  # from .95, from .8, below
Rate: TypeAlias = Annotated[float, BoundTo(0, 1)]
GroupId: TypeAlias = Annotated[str, BoundTo(3, 60, r"[0-9]{1,9}(\.m?[0-9]{1,9})+")]  # "rev.k"
SetHash: TypeAlias = Annotated[str, BoundTo(64, 64, r"[0-9a-f]+")]


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
    """``by_you + in_groups + by_model + open`` is ``pictures``, all that can be read.

    A picture that nobody answered counts ``by_model`` while its suggestion is at least 0.8 sure,
    as does one whose suggestion was accepted; else it is ``open``, as are those put off until
    later.  A blind answer counts ``by_you``.
    """

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


class Seen(TypedDict):
    """A tile, and nothing that could lead an answer."""

    id: str
    v: str | None
    w: int | None
    h: int | None
    pages: NotRequired[int]  # where there are several


class Guide(TypedDict):
    """What a class means: a text, pictures that are it, pictures that are not.

    While a picture is asked blind, the page leaves that picture out of every guide.
    """

    text: str
    examples: list[Seen]
    nots: list[Seen]


class ClassInfo(TypedDict):
    """``look`` is a slot of the colours and patterns, -1: key and name only."""

    id: int
    name: str
    key: str | None
    look: int
    archived: bool
    merged_into: int | None
    pictures: int  # by_you + in_groups + by_model
    by_you: int
    in_groups: int
    by_model: int
    guide: Guide


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
    """Event ``task`` of the stream: all that is under way; empty when nothing is.

    ``trouble``: why there are no new suggestions, in one sentence for the status line.
    """

    tasks: list[Task]
    scanning: bool
    trouble: str | None


class Colleague(TypedDict):
    """Somebody who answers, too; ``here``: heard within the last two minutes."""

    name: str
    answers: int
    here: bool


class People(TypedDict):
    """Only with ``--lan``.  ``named``: ``you`` is a name that was given, not made up.

    ``link``: what other devices open, on the computer of the page alone.
    """

    you: str
    named: bool
    answers: int
    others: list[Colleague]
    link: str | None


class StreamPeople(TypedDict):
    """Event ``people`` of the stream: all, oneself included."""

    people: list[Colleague]


class Features(TypedDict):
    """What pictures are compared by, in words, and how many were."""

    source: str
    images: int


class StreamLearned(TypedDict):
    """Events ``model``, ``groups``, ``map`` and ``features`` of the stream; 0: none yet."""

    model_rev: int
    groups_rev: int
    map_rev: int
    features: Features | None
    first_look: bool


class Advice(TypedDict):
    """Whether to stop: one sentence and what it rests on.  It never stops anything itself.

    ``class_id``: the class with few examples; ``low``, ``high``: of the audit that was closed.
    """

    case: Literal["early", "thin", "steady", "goal_met", "goal_not_met", "cannot"]
    text: str
    goal: float
    screen: Literal["gallery", "queue", "audit", "review", "find", "export"]
    class_id: int | None
    changed: float | None  # share of the suggestions that the last answers changed
    answers: int  # how many answers these were
    low: float | None
    high: float | None


class AuditStanding(TypedDict):
    """How far the blind check is; no running score.  ``min``: answers that a percentage needs."""

    answered: int
    wanted: int
    closed: bool
    min: int


class Settings(TypedDict):
    """``goal`` of the stop advice, a share; ``features`` as chosen; the person's name."""

    goal: float
    features: str
    features_choices: list[str]
    person: str


class SettingsChange(TypedDict):
    """What is left out stays; one change a request, each can be undone."""

    id: EventId
    goal: NotRequired[Annotated[float, BoundTo(0, 1)]]  # 0.5 to 0.999
    features: NotRequired[Annotated[str, BoundTo(1, 40, r"[a-z0-9-]+")]]
    person: NotRequired[Annotated[str, BoundTo(0, 60)]]


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
    model_rev: int  # 0: no suggestions yet
    groups_rev: int
    map_rev: int
    features: Features | None
    advice: Advice
    audit: AuditStanding
    first_look: bool  # no suggestions yet: mode ``first`` serves blind
    goal: float
    settings: Settings
    people: People | None  # null: one person
    trouble: str | None  # why there are no new suggestions, in one sentence


# ------------------------------------------------------------------ pictures

Suggestion = TypedDict(
    "Suggestion",
    {
        "class": int | None,  # null: none of these
        "p": float,
        "words": Sure,
    },
)
Shown = TypedDict(
    "Shown",  # what the page showed beside the picture
    {
        "class": ClassId | None,
        "p": Rate,
        "model_rev": Revision,
        "shown": bool,
    },
)
Picture = TypedDict(
    "Picture",
    {
        "id": str,
        "v": str | None,  # of the content, for ?v=; null until the file was read
        "w": int | None,
        "h": int | None,
        "pages": NotRequired[int],  # where there are several
        "name": str,  # relative, control characters made visible
        "presence": Presence,
        "state": Standing,
        "class": int | None,
        "source": Source | None,
        "person": str,
        "at": float | None,  # seconds since 1970
        "sug": Suggestion | None,  # of pictures that nobody answered
        "stack": int,  # near-duplicates, itself included; 1: alone
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
        "ids": NotRequired[Annotated[list[str], BoundTo(0, 200)]],  # these, in this order
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
    """One picture in full; ``stack``: its near-duplicates, itself included, where it has some."""

    picture: Picture
    stack: list[Seen]
    sha256: str | None
    bytes: int | None
    kind: str | None
    pages: int | None
    problem: Failure | None
    history: list[HistoryLine]
    label_rev: int


class Values(TypedDict):
    """One page of a picture as it is stored; ``low``, ``high``: percentiles 0.5 and 99.5."""

    page: int
    pages: int
    channels: int
    w: int
    h: int
    bits: int
    least: float
    most: float
    low: float
    high: float


Alike = TypedDict(
    "Alike",  # a picture that was answered
    {
        "id": str,
        "v": str | None,
        "w": int | None,
        "h": int | None,
        "class": int | None,
    },
)


class Queued(TypedDict):
    """A picture to be answered; in ``first`` and ``audit`` nothing but id, v, w, h.

    In ``useful`` and ``random`` with a suggestion where there is one and it is not held back
    (1 in 20 is, to see whether suggestions lead).
    """

    id: str
    v: str | None
    w: int | None
    h: int | None
    pages: NotRequired[int]  # where there are several
    sug: NotRequired[Suggestion | None]
    next: NotRequired[int | None]  # the class that is second, -1: none of these
    why: NotRequired[str]
    likes: NotRequired[list[Alike]]
    stack: NotRequired[int]  # near-duplicates that the answer is copied to, itself included


class Left(TypedDict):
    """What the queue could still serve, by mode."""

    open: int  # later ones not included
    later: int
    unsure: int


class Queue(TypedDict):
    """``next`` asks for those behind; null: the end of this pass.

    ``blind``: answers to these are sent as ``audit_answered``.  ``left`` is null in ``first``
    and ``audit``: no counts there.
    """

    items: list[Queued]
    mode: Literal["useful", "random", "later", "unsure", "audit", "first"]
    blind: bool
    left: Left | None
    next: str | None
    label_rev: int
    model_rev: int


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
        "suggestion": NotRequired[Shown],
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
        "images": Images,  # those to be labelled: what was taken out is not in it
        "class": NotRequired[ClassId],
        "name": NotRequired[Name],
        "taken_out": NotRequired[ImageIds],
        "shown": NotRequired[ImageIds],  # the rest was never on screen
        "group_rev": NotRequired[Revision],
        "scope": NotRequired[Text],  # what the button said
        "suggestion": NotRequired[Shown],  # what the group was likely to be
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
        "suggestion": NotRequired[Shown],
    },
)


class PairAnswered(TypedDict):
    """Whether two groups are the same class; the same: they are one group from now on."""

    kind: Literal["pair_answered"]
    id: EventId
    seen_rev: Revision
    ms: NotRequired[Milliseconds]
    a: GroupId
    b: GroupId
    answer: Literal["same", "different", "unsure"]


AuditAnswered = TypedDict(
    "AuditAnswered",  # a blind answer, to a picture that modes ``first`` and ``audit`` serve
    {
        "kind": Literal["audit_answered"],
        "id": EventId,
        "seen_rev": Revision,
        "ms": NotRequired[Milliseconds],
        "image": ImageId,
        "class": NotRequired[ClassId],  # a class, a name or a state
        "name": NotRequired[Name],
        "state": NotRequired[Literal["unsure", "none", "broken"]],
    },
)


class ReviewKept(TypedDict):
    """The label is right: it does not come up again."""

    kind: Literal["review_kept"]
    id: EventId
    seen_rev: Revision
    ms: NotRequired[Milliseconds]
    image: ImageId


ReviewChanged = TypedDict(
    "ReviewChanged",
    {
        "kind": Literal["review_changed"],
        "id": EventId,
        "seen_rev": Revision,
        "ms": NotRequired[Milliseconds],
        "image": ImageId,
        "class": NotRequired[ClassId],
        "name": NotRequired[Name],
    },
)


OverlapSettled = TypedDict(
    "OverlapSettled",  # what a picture is of which two people said different things
    {
        "kind": Literal["overlap_settled"],
        "id": EventId,
        "seen_rev": Revision,
        "ms": NotRequired[Milliseconds],
        "image": ImageId,
        "class": NotRequired[ClassId],  # a class, a name or a state
        "name": NotRequired[Name],
        "state": NotRequired[Literal["unsure", "none", "broken"]],
    },
)


class StackBroken(TypedDict):
    """These are no near-duplicates: each is asked alone.  Labels stay."""

    kind: Literal["stack_broken"]
    id: EventId
    seen_rev: Revision
    ms: NotRequired[Milliseconds]
    images: Images


Decision: TypeAlias = (
    Labelled
    | GroupLabelled
    | StateSet
    | PairAnswered
    | AuditAnswered
    | ReviewKept
    | ReviewChanged
    | OverlapSettled
    | StackBroken
)


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
    """A class by its name; the key is the next free one unless given.

    ``split_from``: it takes a part of that class, whose blind answers are asked again.
    """

    id: EventId
    name: Name
    key: NotRequired[Key]
    split_from: NotRequired[ClassId]
    seen_rev: Revision


class SettingsChanged(TypedDict):
    """Settings and the advice that follows from them."""

    settings: Settings
    advice: Advice
    label_rev: int
    undo: Done | None
    redo: Done | None


class GuideChange(TypedDict):
    """A guide as a whole."""

    text: Annotated[str, BoundTo(0, 500)]
    examples: Annotated[list[ImageId], BoundTo(0, 8)]
    nots: Annotated[list[ImageId], BoundTo(0, 8)]


class ClassChange(TypedDict):
    """What is left out stays.  ``swap``: a key that is taken changes hands."""

    id: EventId
    seen_rev: Revision
    name: NotRequired[Name]
    key: NotRequired[Key]
    swap: NotRequired[bool]
    look: NotRequired[Annotated[int, BoundTo(0, 20)]]
    guide: NotRequired[GuideChange]


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


# ------------------------------------------------------------------ groups

Likely = TypedDict(
    "Likely",
    {
        "class": int | None,  # null: none of these
        "p": float,
        "words": Sure,
    },
)


class Group(TypedDict):
    """Pictures that are alike; ``ids`` are those still open, of a done group all: typical first.

    ``typical`` are the first 24 of them and ``edge`` up to 12 behind these, from the least
    typical end.
    """

    id: str
    n: int
    open: int
    rev: int
    likely: Likely | None
    ids: list[str]
    typical: list[Picture]
    edge: list[Picture]
    aside: Literal["mixed", "later"] | None


class Groups(TypedDict):
    """Those whose answer settles most first.  ``near``: groups that may be one class, to be asked.

    ``stale``: of an older revision than the newest, which ``newest`` numbers.
    """

    items: list[Group]
    next: str | None
    total: int  # not done, not put aside as mixed
    done: int
    near: list[Annotated[list[str], BoundTo(2, 2)]]
    rev: int
    newest: int
    stale: bool
    label_rev: int


class GroupAct(TypedDict):
    """Halve a group: two take its place."""

    id: EventId


class Aside(TypedDict):
    """Put a group aside: of more than one class until the next grouping, or to the end."""

    id: EventId
    why: Literal["mixed", "later"]


class GroupMerge(TypedDict):
    """One group in place of several, at the place of the first."""

    id: EventId
    groups: Annotated[list[GroupId], BoundTo(2, 50)]


class GroupsChanged(TypedDict):
    """The groups that took the place of what was asked for; empty: none did."""

    items: list[Group]
    total: int
    label_rev: int
    undo: Done | None
    redo: Done | None


class Regroup(TypedDict):
    """Group what is open anew."""


class RegroupStarted(TypedDict):
    """False: nothing runs that could."""

    started: bool


# ------------------------------------------------------------------ audit


AuditClass = TypedDict(
    "AuditClass",
    {
        "class": int | None,  # null: none of these
        "k": int,
        "n": int,
        "low": float,
        "high": float,
    },
)


class Agreement(TypedDict):
    """How often answers followed the suggestion: where it was shown, where it was held back."""

    shown_k: int
    shown_n: int
    hidden_k: int
    hidden_n: int
    text: str | None  # said when the rates differ by more than their interval


class AuditResult(TypedDict):
    """``k`` of ``n`` blind answers agree with the label that the picture would have without them.

    ``low`` to ``high``: Wilson's 95 % interval, drawn without replacement from ``population``.
    Null below 30 answers.  Texts are ready to be shown.
    """

    n: int
    k: int
    low: float | None
    high: float | None
    population: int
    unsure: int
    unlabelled: int  # left out: they have no label that could be right
    text: str
    scope: str
    caution: str
    notes: list[str]
    classes: list[AuditClass]  # by label, where n is at least 10
    mistakes: int
    agreement: Agreement
    at: float
    label_rev: int


class Audit(TypedDict):
    """The blind check.  ``result`` only at 60, 150 and 300 answers, or when it was closed."""

    answered: int
    wanted: int
    min: int
    closed: bool
    result: AuditResult | None


class AuditClosed(TypedDict):
    """Close the check, or ask 150 more."""

    id: EventId


class Mistake(TypedDict):
    """A blind answer that differs from the label; ``label`` as it was at closing."""

    picture: Picture
    label: int | None
    label_source: LabelSource
    answer: int | None  # null: none of these
    settled: bool  # the label says now what the answer said


class Mistakes(TypedDict):
    """Only after closing."""

    items: list[Mistake]
    label_rev: int


# ------------------------------------------------------------------ review


class Reviewed(TypedDict):
    """A label that may be wrong, beside what is suggested, with the nearest of both classes."""

    picture: Picture
    label: int | None
    to: int | None  # null: none of these
    score: float
    near_label: list[Seen]
    near_to: list[Seen]


class Review(TypedDict):
    """``looked`` at so far, of which ``wrong`` were changed."""

    items: list[Reviewed]
    next: str | None
    total: int
    looked: int
    wrong: int
    labels: int  # that were looked through
    stale: bool
    model_rev: int
    label_rev: int


Vote = TypedDict(
    "Vote",  # what one person said
    {
        "person": str,
        "state": Standing,
        "class": int | None,
    },
)


class Disagreement(TypedDict):
    """A picture of which people said different things; open until somebody settles it."""

    picture: Picture
    answers: list[Vote]


class Agreed(TypedDict):
    """Two people who were asked ``n`` pictures both and said the same of ``k``.

    The interval is Wilson's, kappa Cohen's; null below 30, kappa also where it has none.
    """

    a: str
    b: str
    n: int
    k: int
    low: float | None
    high: float | None
    kappa: float | None
    text: str


class Disagreements(TypedDict):
    """``asked``: pictures that somebody was asked as one of two; ``twice``: both answered."""

    items: list[Disagreement]
    next: str | None
    total: int
    asked: int
    twice: int
    agreement: list[Agreed]
    label_rev: int


class ConfusionCell(TypedDict):
    """Labels of one class that look like another, or the same; null: none of these."""

    label: int | None
    to: int | None
    n: int


class Confusion(TypedDict):
    """Label against what a model says that was not taught it; cells that hold something.

    ``audit``: label against blind answer, once the audit is closed.
    """

    held: list[ConfusionCell]
    audit: list[ConfusionCell] | None
    model_rev: int
    label_rev: int


# ------------------------------------------------------------------ accepting suggestions


class AcceptAsked(TypedDict):
    """All open pictures whose suggestion is at least ``p`` sure, of some classes or of all."""

    p: Rate
    classes: NotRequired[Annotated[list[ClassId], BoundTo(1, 1_000)]]


class AcceptPreview(TypedDict):
    """The set, frozen; ``sample``: in the order in which they are to be answered, blind."""

    n: int
    set_hash: str
    sample: list[Seen]
    min: int
    p: float
    model_rev: int
    label_rev: int


class AcceptCheck(TypedDict):
    """``sample_events``: the ``labelled`` and ``state_set`` that answered the sample, from its
    start."""

    set_hash: SetHash
    sample_events: Annotated[list[EventId], BoundTo(0, 100)]


class AcceptChecked(TypedDict):
    """``k`` of ``n`` suggestions were right; null below 30 answers."""

    k: int | None
    n: int
    unsure: int
    low: float | None
    high: float | None
    text: str | None


class Accept(TypedDict):
    """Accept the set that was sampled."""

    id: EventId
    p: Rate
    set_hash: SetHash
    sample_events: Annotated[list[EventId], BoundTo(0, 100)]


class Accepted(TypedDict):
    """One decision, one undo."""

    n: int
    seq: int
    label_rev: int
    counts: Counts
    undo: Done | None
    redo: Done | None


# ------------------------------------------------------------------ likeness and the map


class AlikeAsked(TypedDict):
    """Pictures like ``ids`` and unlike ``not_ids``, the likest first.

    ``all``: answered ones as well.  ``for_class``: the class that is looked for.
    """

    ids: Annotated[list[ImageId], BoundTo(1, 1_000)]
    not_ids: NotRequired[ImageIds]
    n: NotRequired[Annotated[int, BoundTo(1, 500)]]  # 60
    cursor: NotRequired[Text]
    all: NotRequired[bool]
    for_class: NotRequired[ClassId]


class Alikes(TypedDict):
    """``bound``: what random answers say of how many there are; never the answers here."""

    items: list[Picture]
    scores: list[float]
    next: str | None
    total: int
    bound: str | None
    label_rev: int


class MapIds(TypedDict):
    """Ids in the order of the points of ``GET /map``, ``start`` the first."""

    ids: list[str]
    start: int
    total: int
    rev: int


# ------------------------------------------------------------------ the rest


class Rescan(TypedDict):
    """Look at the folder again; at the problems, too, or only at some of them."""

    ids: NotRequired[Annotated[list[ImageId], BoundTo(0, 10_000)]]


class RescanStarted(TypedDict):
    """False: it was under way already, and another follows."""

    started: bool


Format: TypeAlias = Literal["csv", "jsonl", "parquet", "coco", "label_studio", "npz"]


class ExportOptions(TypedDict):
    """``where``: next to the pictures, or in the project's own folder.

    Folders by class never go among the pictures: ``folders_where`` is the id of a place of
    `ExportChoices`.  At least one of formats, folders, model, report.
    """

    formats: Annotated[list[Format], BoundTo(0, 10)]
    where: NotRequired[Literal["pictures", "project"]]
    states: NotRequired[bool]  # unsure, none, broken, later as rows [true]
    open: NotRequired[bool]  # open pictures as rows without a class [false]
    model_labels: NotRequired[bool]  # what the model says of open ones; its source says so [true]
    pictures: NotRequired[bool]  # parquet holds the pictures, too [true]
    folders: NotRequired[Literal["copies", "links"]]
    folders_where: NotRequired[Annotated[str, BoundTo(1, 40, r"[a-z]+")]]
    model: NotRequired[bool]  # the model as one file
    report: NotRequired[bool]
    report_pictures: NotRequired[bool]  # the report shows examples [false]


class ExportFormat(TypedDict):
    """A form of label file: its name and the file that it becomes."""

    id: Format
    text: str
    file: str


class ExportPlace(TypedDict):
    """Where folders by class may go, in words for a person."""

    id: str
    text: str


class ExportModel(TypedDict):
    """The model that would be written; ``trained_on`` answers."""

    bytes: int
    classes: int
    trained_on: int


class ExportChoices(TypedDict):
    """What can be written now; ``rows``: how many rows of each kind there would be."""

    formats: list[ExportFormat]
    places: list[ExportPlace]
    labelled: int
    by_model: int
    states: int
    open: int
    model: ExportModel | None
    audited: bool


class ExportByClass(TypedDict):
    """The folder with a folder a class; left out are pictures without a class or gone."""

    folder: str
    pictures: int
    left_out: int


class ExportDone(TypedDict):
    """File names are relative to ``folder``, which is relative to the place chosen.

    ``command`` labels a new folder with the model that was written.
    """

    folder: str
    files: dict[str, int]  # name -> rows
    others: list[str]  # files that hold no rows
    by_class: ExportByClass | None
    text: str
    command: str | None
    label_rev: int


class ExportShow(TypedDict):
    """Open the folder of the last export in the files of this computer."""


class ExportShown(TypedDict):
    """False: this computer has no window for it."""

    shown: bool


UploadId: TypeAlias = Annotated[str, BoundTo(8, 40, r"[a-z0-9]+")]


class ImportPart(TypedDict):
    """A piece of a file; ``upload`` is made by the page, ``data`` is base64."""

    upload: UploadId
    name: Annotated[str, BoundTo(1, 300)]
    part: Annotated[int, BoundTo(0, 63)]
    parts: Annotated[int, BoundTo(1, 64)]
    data: Annotated[str, BoundTo(0, 3_000_000)]


class ImportPartDone(TypedDict):
    """How many pieces are here."""

    upload: str
    received: int


class ImportWanted(TypedDict):
    """What a file that was uploaded would do; without one, the folders the pictures lie in.

    ``guesses``: rows that a model wrote count as well.
    """

    upload: NotRequired[UploadId]
    guesses: NotRequired[bool]


class ImportChange(TypedDict):
    """A label that would change: what counts now, what would."""

    id: str
    name: str
    now: str
    then: str


class ImportFault(TypedDict):
    """A row that cannot be used; ``row`` 0: no single one."""

    row: int
    text: str


class ImportClass(TypedDict):
    """A class that would be made."""

    name: str
    pictures: int


class ImportPreview(TypedDict):
    """What an import would do.  Counts are whole, lists end after 100.

    ``text`` is ``1,180 new labels, 14 would change, 3 files not found.``; ``left_out`` is E14.
    """

    file: str
    form: str
    rows: int
    text: str
    left_out: str | None
    new: int
    change: int
    same: int
    missing: int
    conflicts: int  # pictures that are given two classes
    faulty: int
    empty: int
    guesses: int  # rows of a model that are left out
    by_content: int
    by_end: int
    missing_names: list[str]
    conflict_names: list[str]
    faults: list[ImportFault]
    new_classes: list[ImportClass]
    changes: list[ImportChange]
    set_hash: str
    label_rev: int


class ImportAsked(TypedDict):
    """Do what was shown: ``set_hash`` of the preview; ``only_new`` leaves changes out."""

    id: EventId
    seen_rev: Revision
    upload: NotRequired[UploadId]
    guesses: NotRequired[bool]
    only_new: NotRequired[bool]
    set_hash: Annotated[str, BoundTo(64, 64, r"[0-9a-f]+")]


class ImportDone(TypedDict):
    """How many labels came in, all by one event."""

    imported: int
    classes: list[ClassInfo]
    label_rev: int
    counts: Counts
    undo: Done | None
    redo: Done | None
