"""From a project to its report and its model file: what both say of the folder."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from handful import revisions
from handful.errors import InputError
from handful.exports.model import write_model
from handful.exports.report import Audit, ClassLine, ProjectReport, write_report
from handful.page.classes import ClassList
from handful.page.gathering import Choice, Source, label_rows
from handful.page.learned import NONE_OF_THESE, SURE
from handful.page.thumbs import Thumbs
from handful.types import Event

__all__ = ["closed_audit", "model_file", "model_of", "report_file", "report_of"]

_EXAMPLES = 6
_LIKED = ("hand", "audit", "group", "imported")
_ANSWERS = {
    "labelled", "group_labelled", "state_set", "audit_answered", "review_changed",
    "accepted_above", "import_applied",
}  # fmt: skip


def closed_audit(source: Source) -> Event | None:
    """The last blind check that was closed."""
    book = source.book
    closed = (e for e in reversed(book.events) if e.kind == "audit_closed")
    return next((e for e in closed if book.alive(e)), None)


def model_of(source: Source) -> revisions.Revision | None:
    """The newest revision of the model, None before the first."""
    return revisions.newest(source.derived / "revisions", "model", made=source.made)


def model_file(source: Source, path: Path, folder: str) -> int:
    """Write the model as one file; its size.  `InputError` where there is none yet."""
    revision = model_of(source)
    if revision is None:
        raise InputError("there is no model to write yet: it is made after a few more answers")
    classes, closed = source.classes, closed_audit(source)

    def names(id: int) -> tuple[int, str] | None:
        found = classes.now(id)
        return None if found is None else (found.id, found.name)

    audit = None
    if closed is not None:
        kept = ("n", "k", "low", "high", "population", "pictures", "label_rev")
        audit = {name: closed.data.get(name) for name in kept} | {"at": closed.at}
    return write_model(path, revision, folder=folder, names=names, audit=audit)


def report_file(source: Source, path: Path, folder: str, *, pictures: bool = False) -> None:
    """Write the report; ``pictures``: with examples of each class."""
    write_report(path, report_of(source, folder, pictures=pictures))


def report_of(source: Source, folder: str, *, pictures: bool = False) -> ProjectReport:
    """What the report says, counted from the rows that an export has."""
    from handful.metrics import wilson

    lines = {c.id: ClassLine(c.id, c.name, guide=_guide(c)) for c in source.classes.items if c.live}
    pinned, liked = _Pinned.of(source), dict[int, list[str]]()
    states, open_, guessed = Counter[str](), 0, 0
    presence = Counter[str]()
    for row in label_rows(source, Choice(open=True)):
        where = row["presence"]
        presence[where] += 1
        if where != "here":
            continue
        pinned.meet(row["path"], row["sha256"])
        unsure = row["source"] == "model" and (row["confidence"] < SURE or row["state"] == "later")
        if row["class"] is not None:
            of = lines[row["class_id"]]
            of.sources[row["source"]] = of.sources.get(row["source"], 0) + 1
            guessed, open_ = guessed + unsure, open_ + unsure
            if row["source"] in _LIKED and row["sha256"]:
                some = liked.setdefault(of.id, [])
                some += [row["sha256"]] if len(some) < _EXAMPLES else []
        elif row["state"] in ("open", "later"):
            open_ += 1
        else:
            states[_STATE_WORDS[row["state"]]] += 1
    for line in lines.values() if pictures else ():
        examples, nots = pinned.content(line.id)
        some = list(dict.fromkeys([*examples, *liked.get(line.id, [])]))
        line.pictures += _thumbs(source, some[: max(_EXAMPLES, len(examples))])
        line.nots += _thumbs(source, nots)
    answers = [e for e in source.book.events if e.kind in _ANSWERS and source.book.alive(e)]
    model = model_of(source)
    return ProjectReport(
        folder=folder,
        pictures=presence["here"],
        missing=presence["missing"],
        problems=source.problems,
        classes=list(lines.values()),
        states=dict(states),
        open=open_,
        guessed=guessed,
        audit=_audit(source),
        persons=sorted({e.person for e in answers}),
        began=answers[0].at if answers else None,
        ended=answers[-1].at if answers else None,
        answers=len(answers),
        model=str(_card(model).get("features", {}).get("words", "")),
        trained_on=int(_card(model).get("answers", 0)),
        agreement=str(_agreement(source)),
        interval=wilson,
    )


_MOVED = "image_moved"
_STATE_WORDS = {"unsure": "unsure", "none": "none of these", "broken": "broken"}


def _guide(found: Any) -> str:
    return str(found.guide.get("text", ""))


class _Pinned:
    """Pictures that the guides name, by what they are called now, and what they hold."""

    def __init__(self, names: dict[int, tuple[list[str], list[str]]]) -> None:
        self.names = names
        self.held: dict[str, str | None] = {n: None for of in names.values() for s in of for n in s}

    @classmethod
    def of(cls, source: Source) -> _Pinned:
        """The examples and the counter-examples of every class that is there."""
        moved = {e.data["image"]: e.data["to"] for e in source.book.events if e.kind == _MOVED}

        def now(name: str) -> str:
            seen = {name}
            while (name := moved.get(name, name)) not in seen:
                seen.add(name)
            return name

        live = [c for c in source.classes.items if c.live]
        return cls({
            c.id: ([now(n) for n in c.guide.get("examples", ())],
                   [now(n) for n in c.guide.get("nots", ())])
            for c in live
        })  # fmt: skip

    def meet(self, name: str, sha256: str | None) -> None:
        """A picture that is there."""
        if name in self.held:
            self.held[name] = sha256

    def content(self, id: int) -> tuple[list[str], list[str]]:
        """What the pinned pictures of a class hold, those that are there."""
        examples, nots = (
            [sha256 for name in names if (sha256 := self.held[name])] for names in self.names[id]
        )
        return examples, nots


def _thumbs(source: Source, contents: Iterable[str]) -> list[tuple[str, bytes]]:
    thumbs = Thumbs(source.derived / "thumbs")
    bodies = [thumbs.get(sha256, 192) for sha256 in contents]
    return [("image/webp", body) for body in bodies if body is not None]


def _card(model: revisions.Revision | None) -> dict[str, Any]:
    if model is None:
        return {}
    try:
        found = json.loads((model.folder / "card.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _agreement(source: Source) -> str:
    closed = closed_audit(source)
    said = closed.data.get("agreement") if closed is not None else None
    return str((said or {}).get("text") or "")


def _audit(source: Source) -> Audit | None:
    closed = closed_audit(source)
    if closed is None:
        return None
    d = closed.data
    since = sum(
        len(source.book.concerns(e)) for e in source.book.events[closed.seq :]
        if e.kind in _ANSWERS - {"audit_answered"} and source.book.alive(e)
    )  # fmt: skip
    return Audit(
        n=d["n"], k=d["k"], low=d["low"], high=d["high"], population=d["population"],
        pictures=d.get("pictures", d["population"]), unsure=d["unsure"],
        unlabelled=d.get("unlabelled", 0), at=closed.at, person=closed.person,
        by_class=_by_class(d.get("compared", ()), source.classes), since=since,
    )  # fmt: skip


def _by_class(compared: Any, classes: ClassList) -> dict[int, tuple[int, int]]:
    """Of each class how many of the compared labels were right."""
    found: dict[int, tuple[int, int]] = {}
    for _, label, _, answer in compared:
        if label != NONE_OF_THESE and (now := classes.now(label)) is not None:
            k, n = found.get(now.id, (0, 0))
            found[now.id] = (k + (label == answer), n + 1)
    return found
