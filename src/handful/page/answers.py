"""Answers: each becomes one event, with whatever follows from it, or is refused.

An answer is durable before it is confirmed, done once whatever its repeats (by its id), and
refused when it was given on a view that somebody else has changed since.  What is said of one
of several near-duplicates is copied to the others in the same event, so that one undo takes
all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np

from handful.page import audit, groups, sharing
from handful.page.classes import LiveClass
from handful.page.decisions import created, named
from handful.page.index import Row
from handful.page.labels import meaning
from handful.page.learned import NONE_OF_THESE
from handful.page.project import Project
from handful.page.queue import held_back
from handful.page.schema import (
    Answer,
    AuditAnswered,
    Decision,
    GroupLabelled,
    Labelled,
    OverlapSettled,
    PairAnswered,
    ReviewChanged,
    ReviewKept,
    StackBroken,
    StateSet,
)
from handful.page.words import Refused, images, refuse, stale
from handful.types import Event

__all__ = ["decide"]

_BY_EYE = {"queue", "grid", "picture", "history", "find", "accept"}  # each image was looked at
_COPIED = {"none", "unsure", "later", "open"}  # states that near-duplicates share
_FEW = 1_000  # events that are looked through before pictures are
_NEVER_SHOWN = ["suggestion", "group", "counts", "name", "folder"]


def decide(project: Project, decisions: Sequence[Decision]) -> list[Answer]:
    """Take decisions in order, each or not; those taken are on disk when this returns."""
    asked = {id for decision in decisions for id in _images_of(decision)}
    rows = project.index.by_id(asked)
    contents = project.contents(list(rows.values()))
    results: list[Answer] = []
    waiting: list[Event] = []

    with project.lock:
        for decision in decisions:
            try:
                events = _events_of(_Asked(project, decision, rows, contents), waiting)
            except Refused as refused:
                results.append({"id": decision["id"], "ok": False, "error": refused.failure})
                continue
            waiting += events
            results.append({"id": decision["id"], "ok": True})
            if len(events) > 1 or decision["kind"] == "audit_answered":
                project.append(waiting)  # a class was made: what follows may name it
                waiting = []
        project.append(waiting)
        if project.people.several:
            project.people.leases.renew(project.person)
            project.people.leases.give_back(project.person, asked)
        for result in results:
            stored = project.book.find(result["id"])
            if result["ok"] and stored is not None:
                result["seq"] = stored.seq
                landed = stored.data.get("to", stored.data.get("class"))
                if landed is not None:
                    result["class_id"] = landed
    return results


def _images_of(decision: Decision) -> list[str]:
    d: Mapping[str, Any] = decision
    return [d["image"]] if "image" in d else d.get("images", [])


@dataclass(frozen=True, slots=True)
class _Asked:
    """One decision, and what was looked up for it."""

    project: Project
    decision: Any
    rows: dict[str, Row]
    contents: dict[str, str]

    @property
    def image(self) -> Row:
        return self.rows[self.decision["image"]]

    @property
    def images(self) -> list[str]:
        """Paths, each once."""
        return list(dict.fromkeys(self.rows[image].path for image in _images_of(self.decision)))

    def event(self, data: Mapping[str, Any]) -> Event:
        d = self.decision
        return Event(
            d["kind"], d["id"], data, person=self.project.person, seen_rev=d["seen_rev"],
            ms=d.get("ms", 0),
        )  # fmt: skip


def _events_of(asked: _Asked, waiting: Sequence[Event]) -> list[Event]:
    project, decision = asked.project, asked.decision
    id = decision["id"]
    if project.book.find(id) is not None or any(event.id == id for event in waiting):
        return []  # a repeat: it is done
    if any(image not in asked.rows for image in _images_of(decision)):
        refuse("gone", "This picture is not in the folder any more. Nothing was done.")
    makers: Mapping[str, Callable[[_Asked], list[Event]]] = {
        "labelled": _labelled, "group_labelled": _group_labelled, "state_set": _state_set,
        "pair_answered": _pair_answered, "audit_answered": _audit_answered,
        "review_kept": _review_kept, "review_changed": _review_changed,
        "overlap_settled": _overlap_settled, "stack_broken": _stack_broken,
    }  # fmt: skip
    return makers[decision["kind"]](asked)


def _labelled(asked: _Asked) -> list[Event]:
    d: Labelled = asked.decision
    made, class_id = _class_for(asked)
    row, path = asked.image, asked.image.path
    data: dict[str, Any] = {
        "from": d.get("from", "grid"), "class": class_id, "image": path,
        "sha256": asked.contents.get(path),
    }  # fmt: skip
    if _one_of_two(asked, row):
        return [*made, asked.event({**data, "overlap": True})]
    _check_fresh(asked, [path], "labelled", class_id)
    data |= {**_copies(asked, [row]), **_beside(asked, row)}
    return [*made, asked.event(data)]


def _group_labelled(asked: _Asked) -> list[Event]:
    d: GroupLabelled = asked.decision
    made, class_id = _class_for(asked)
    paths, where = asked.images, d.get("from", "grid")
    _check_fresh(asked, paths, "labelled", class_id)
    data: dict[str, Any] = {
        "from": where, "class": class_id, "images": paths,
        "sha256": [asked.contents.get(path) for path in paths],
        "source": "hand" if where in _BY_EYE else "group",
    }  # fmt: skip
    for field in ("taken_out", "shown"):
        if ids := cast(Mapping[str, list[str]], d).get(field):
            found = asked.project.index.by_id(ids)
            data[field] = [found[id].path for id in ids if id in found]
    data |= {
        field: cast(Any, d)[field] for field in ("group_rev", "scope", "suggestion") if field in d
    }
    return [*made, asked.event(data)]


def _state_set(asked: _Asked) -> list[Event]:
    d: StateSet = asked.decision
    paths, state = asked.images, d["state"]
    data: dict[str, Any] = {
        "from": d.get("from", "grid"), "images": paths, "state": state,
        "sha256": [asked.contents.get(path) for path in paths],
    }  # fmt: skip
    if len(paths) == 1 and _one_of_two(asked, asked.rows[d["images"][0]]):
        return [asked.event({**data, "overlap": True})]
    _check_fresh(asked, paths, state, -1)
    if state in _COPIED:
        data |= _copies(asked, [asked.rows[image] for image in d["images"]])
    if len(d["images"]) == 1 and state in ("none", "unsure"):
        data |= _beside(asked, asked.rows[d["images"][0]])
    return [asked.event(data)]


def _pair_answered(asked: _Asked) -> list[Event]:
    d: PairAnswered = asked.decision
    a, b = (groups.most_typical(asked.project, id) for id in (d["a"], d["b"]))
    if d["a"] == d["b"]:
        refuse("request", "That is one group. Nothing was done.", status=400)
    data = {"a": a, "b": b, "answer": d["answer"], "groups": [d["a"], d["b"]], "source": "hand"}
    return [asked.event(data)]


def _audit_answered(asked: _Asked) -> list[Event]:
    """A blind answer: beside the label, and only to what is drawn."""
    project = asked.project
    d: AuditAnswered = asked.decision
    if ("state" in d) == ("class" in d or "name" in d):
        refuse("request", "A blind answer is a class or a state. Nothing was done.", status=400)
    if audit.sheet(project).closed is not None:
        refuse("audit", "The check is closed. Ask more to go on; nothing was done.")
    if not audit.drawn(project, asked.image):
        refuse("audit", "This picture is not the next of the check. Nothing was done.")
    path = asked.image.path
    data: dict[str, Any] = {"image": path, "blind": True, "hidden": _NEVER_SHOWN}
    data["sha256"] = asked.contents.get(path)
    made: list[Event] = []
    if "state" in d:
        data["state"] = d["state"]
    else:
        made, data["class"] = _class_for(asked)
    return [*audit.drawing(project), *made, asked.event(data)]


def _review_kept(asked: _Asked) -> list[Event]:
    d: ReviewKept = asked.decision
    path = asked.image.path
    said = asked.project.book.said(path)
    _check_fresh(asked, [path], said.state, said.class_id)
    return [asked.event({"image": path, "class": said.class_id, **_ranked(asked, d["image"])})]


def _review_changed(asked: _Asked) -> list[Event]:
    d: ReviewChanged = asked.decision
    made, class_id = _class_for(asked)
    path = asked.image.path
    _check_fresh(asked, [path], "labelled", class_id)
    said = asked.project.book.said(path)
    data = {
        "image": path, "from": said.class_id, "to": class_id,
        "sha256": asked.contents.get(path), **_ranked(asked, d["image"]),
        **_copies(asked, [asked.image]),
    }  # fmt: skip
    return [*made, asked.event(data)]


def _overlap_settled(asked: _Asked) -> list[Event]:
    """What a picture is of which people said different things."""
    d: OverlapSettled = asked.decision
    if ("state" in d) == ("class" in d or "name" in d):
        refuse("request", "It is settled as a class or a state. Nothing was done.", status=400)
    path = asked.image.path
    twice = sharing.asked_twice(asked.project).get(path)
    if twice is None or not twice.disputed:
        said = asked.project.book.said(path)
        if said.seq > d["seen_rev"]:  # somebody else was faster
            now = asked.project.classes.now(said.class_id) if said.state == "labelled" else None
            what = said.state if now is None else f'"{now.name}"'
            stale(f"the picture is now {what}")
        refuse("settled", "Nobody disagrees about this picture. Nothing was done.")
    data: dict[str, Any] = {
        "image": path, "sha256": asked.contents.get(path),
        "answers": [[person, *said] for person, said in twice.votes.items()],
    }  # fmt: skip
    made: list[Event] = []
    if "state" in d:
        data["state"] = d["state"]
    else:
        made, data["class"] = _class_for(asked)
    return [*made, asked.event(data)]


def _stack_broken(asked: _Asked) -> list[Event]:
    d: StackBroken = asked.decision
    if len(set(d["images"])) < 2:
        refuse("request", "A stack has two pictures or more. Nothing was done.", status=400)
    return [asked.event({"images": asked.images, "keep": True})]


# ------------------------------------------------------------------ what goes along


def _one_of_two(asked: _Asked, row: Row) -> bool:
    """Whether this is a blind answer of two: nobody else's answer can make it come too late."""
    if asked.decision.get("from") != "queue" or not sharing.voted(asked.project, row):
        return False
    said = asked.project.book.said(row.path)
    return not said.seq or bool(asked.project.book.event(said.seq).data.get("overlap"))


def _copies(asked: _Asked, rows: Sequence[Row]) -> dict[str, Any]:
    """Near-duplicates that nobody answered on their own, for an answer to be copied to."""
    project = asked.project
    near = {n for row in rows for n in project.learned.stack(row.row)} - {r.row for r in rows}
    if not near:
        return {}
    found = []
    for row in project.index.by_row(near).values():
        cell = project.index.cell(row.cell)
        free = meaning(project, cell)[0] in ("open", "later") or cell.source == "copied"
        if cell.presence == "here" and free:
            found.append(row)
    found.sort(key=lambda row: row.row)
    paths = [row.path for row in found]
    return {"copies": paths, "copies_sha256": [row.sha256 for row in found]} if found else {}


def _beside(asked: _Asked, row: Row) -> dict[str, Any]:
    """The suggestion that was shown, or the one that was held back."""
    d = asked.decision
    guess = asked.project.learned.suggestion(row.row)
    if d.get("from") == "queue" and held_back(row) and guess is not None:
        id = None if guess[0] == NONE_OF_THESE else guess[0]
        rev = asked.project.learned.rev("model")
        said = {"class": id, "p": guess[1], "model_rev": rev, "shown": False, "held": True}
        return {"suggestion": said}
    return {"suggestion": d["suggestion"]} if "suggestion" in d else {}


def _ranked(asked: _Asked, image: str) -> dict[str, Any]:
    """Where a picture stood among the likely mistakes."""
    model = asked.project.learned.model
    if model is None:
        return {}
    places = np.flatnonzero(model["errors_row"] == asked.rows[image].row)
    if not len(places):
        return {}
    at = int(places[0])
    return {"rank": at + 1, "score": float(model["errors_score"][at]), "model_rev": model.rev}


def _class_for(asked: _Asked) -> tuple[list[Event], int]:
    """The class an answer lands on, and the events that make it where it is new."""
    project, decision = asked.project, asked.decision
    classes = project.classes
    if "class" in decision:
        id = decision["class"]
        if id >= len(classes.items):
            refuse("class", "There is no such class. Nothing was done.", status=404)
        now: LiveClass | None = classes.now(id)
        if now is None:
            stale(f'"{classes.items[id].name}" is archived')
        return [], now.id
    if "name" not in decision:
        refuse("request", "A label needs a class or a name. Nothing was done.", status=400)
    name = named(decision["name"])
    found = classes.named(name)
    if found is not None:
        return [], found.id
    event = created(project, f"{decision['id']}/class", name)
    # one key press, one undo: that of the label
    data = {**event.data, "with": decision["id"]}
    return [replace(event, data=data)], len(classes.items)


def _check_fresh(asked: _Asked, paths: Sequence[str], state: str, class_id: int) -> None:
    """Refuse (E12) when another tab or person has said something else of an image since."""
    project, decision = asked.project, asked.decision
    tab = decision["id"].rpartition(".")[0]
    since = range(decision["seen_rev"] + 1, project.rev + 1)
    if len(since) < _FEW and all(
        project.book.event(seq).id.rpartition(".")[0] == tab for seq in since
    ):
        return  # nobody else has said anything since
    for path in paths:
        said = project.book.said(path)
        if said.seq <= decision["seen_rev"]:
            continue
        if project.book.event(said.seq).id.rpartition(".")[0] == tab:
            continue
        now = project.classes.now(said.class_id) if said.state == "labelled" else None
        same = now is not None and now.id == class_id
        if not (same if state == "labelled" else said.state == state):
            what = f'"{now.name}"' if now is not None else said.state
            many = "the picture is" if len(paths) == 1 else f"one of {images(len(paths))} is"
            stale(f"{many} now {what}")
