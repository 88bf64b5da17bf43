"""Accepting suggestions in one go, and what that would be worth, measured first.

The set is frozen when it is asked for: pictures that nobody answered whose suggestion is at
least so sure, and that suggestion.  A random sample of it is answered blind, in the order it
was drawn in and without leaving any out; those are ordinary answers by hand.  Only what was
sampled can be accepted, and only after `MIN` answers: the book then holds the whole set as one
decision, below every answer of a person, in that sample or since.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.page.index import FRESH, Row, Rows
from handful.page.labels import meaning
from handful.page.learned import NO_CLASS, NONE_OF_THESE
from handful.page.project import Project
from handful.page.schema import (
    Accept,
    AcceptAsked,
    AcceptCheck,
    AcceptChecked,
    AcceptPreview,
)
from handful.page.views import tile
from handful.page.words import refuse, stale
from handful.rng import as_rng
from handful.types import Event

__all__ = ["MIN", "SAMPLE", "accept", "check", "preview"]

SAMPLE = 60
MIN = 30  # answers before anything is accepted
_KEPT = 8  # sets that may be asked about at a time


@dataclass(frozen=True, slots=True)
class _Set:
    """A set as it was when it was asked for."""

    p: float
    rows: Rows
    classes: NDArray[np.int32]
    sure: NDArray[np.float32]
    sample: list[int]  # rows, in the order in which they are to be answered
    seq: int  # of the book, before the first answer to it
    model_rev: int
    wanted: list[int] | None
    mark: str


@dataclass(slots=True)
class _Sets:
    held: dict[str, _Set] = field(default_factory=dict)


def preview(project: Project, asked: AcceptAsked) -> AcceptPreview:
    """Freeze the set, draw its sample."""
    with project.lock:
        found = _frozen(project, asked["p"], asked.get("classes"))
        sets: _Sets = project.kept.setdefault("accept", _Sets())
        held = sets.held.setdefault(found.mark, found)
        while len(sets.held) > _KEPT:
            del sets.held[next(iter(sets.held))]
        by_row = project.index.by_row(held.sample)
        return {
            "n": len(held.rows),
            "set_hash": held.mark,
            "sample": [tile(by_row[row]) for row in held.sample if row in by_row],
            "min": MIN,
            "p": held.p,
            "model_rev": held.model_rev,
            "label_rev": project.rev,
        }


def _frozen(project: Project, p: float, wanted: Sequence[int] | None) -> _Set:
    model = project.learned.model
    rows = np.zeros(0, dtype=np.int64)
    if model is not None:
        free = [
            c for c, _ in project.index.cells()
            if c.presence == FRESH.presence and meaning(project, c)[0] == "open"
        ]  # fmt: skip
        mask = project.index.numbers(free)
        rows = np.asarray(model.rows[mask[project.index.standing(model.rows)]])
    classes, sure = project.learned.suggestions(rows)
    # "none of these" is a state, and is not given in bulk
    chosen = (sure >= p) & (classes != NO_CLASS) & (classes != NONE_OF_THESE)
    if wanted is not None:
        chosen &= np.isin(classes, list(wanted))
    rows, classes, sure = rows[chosen], classes[chosen], sure[chosen]
    rev = project.learned.rev("model")
    mark = hashlib.sha256()
    for part in (rows.astype("<i8"), classes.astype("<i4")):
        mark.update(part.tobytes())
    mark.update(f"{p!r}/{rev}".encode())
    digest = mark.hexdigest()
    rng = as_rng(int(digest[:16], 16))
    order = rng.permutation(len(rows))[:SAMPLE]
    return _Set(
        p, rows, classes, sure, rows[order].tolist(), project.rev, rev,
        None if wanted is None else sorted(wanted), digest,
    )  # fmt: skip


def check(project: Project, asked: AcceptCheck) -> AcceptChecked:
    """What the sample says so far: how many of its suggestions were right."""
    with project.lock:
        held = _held(project, asked["set_hash"])
        k, n, unsure = _judged(project, held, asked["sample_events"])
        return _checked(held, k, n, unsure)


def accept(project: Project, asked: Accept) -> int:
    """Accept a set that was sampled; its size.  A repeat does nothing."""
    with project.lock:
        done = project.book.find(asked["id"])
        if done is not None:
            return len(done.data.get("images", ()))
        held = _held(project, asked["set_hash"])
        if asked["p"] != held.p:
            refuse("accept", "This is another set than the one that was checked.")
        k, n, unsure = _judged(project, held, asked["sample_events"])
        if n < min(MIN, len(held.rows)):
            refuse("accept", f"Check {MIN} of them first: {n} were answered.")
        classes = project.learned.now(held.classes)
        if (classes != held.classes).any():
            stale("a class of this set is another one now")
        by_row = project.index.by_row(held.rows.tolist())
        there = [at for at, row in enumerate(held.rows.tolist()) if row in by_row]
        rows: list[Row] = [by_row[int(held.rows[at])] for at in there]
        said = _checked(held, k, n, unsure)
        data: dict[str, Any] = {
            "p": held.p, "only": held.wanted, "model_rev": held.model_rev,
            "set_hash": held.mark, "n": len(held.rows), "sample_events": asked["sample_events"],
            "sample_k": k, "sample_n": n, "low": said["low"], "high": said["high"],
            "images": [row.path for row in rows], "classes": classes[there].tolist(),
            "ps": [round(float(p), 4) for p in held.sure[there]],
            "sha256": [row.sha256 for row in rows],
        }  # fmt: skip
        project.append([Event("accepted_above", asked["id"], data, person=project.person)])
        return len(rows)


def _held(project: Project, mark: str) -> _Set:
    sets: _Sets = project.kept.setdefault("accept", _Sets())
    held = sets.held.get(mark)
    if held is None:
        refuse("accept", "This set is not the one that was asked for. Check it again.")
    return held


def _judged(project: Project, held: _Set, events: Sequence[str]) -> tuple[int, int, int]:
    """Right, answered, unsure; refused when the sample was not answered from its start."""
    k = n = unsure = 0
    by_row = project.index.by_row(held.sample)
    suggested = dict(zip(held.rows.tolist(), held.classes.tolist(), strict=True))
    for row, id in zip(held.sample, events, strict=False):
        event = project.book.find(id)
        if event is None or not project.book.alive(event) or event.seq <= held.seq:
            refuse("accept", "An answer of the sample was taken back. Check it again.")
        d = event.data
        images = {project.now(i) for i in (d.get("images") or [d.get("image", "")])}
        if event.kind not in ("labelled", "state_set") or images != {_path(by_row, row)}:
            refuse("accept", "The sample is answered in its order, none left out.")
        if event.kind == "state_set" and d["state"] in ("unsure", "later", "open"):
            unsure += 1
            continue
        n += 1
        if event.kind == "labelled":
            now = project.classes.now(d["class"])
            then = project.learned.now(np.array([suggested[row]], dtype=np.int32))
            k += now is not None and now.id == int(then[0])
    if len(set(events)) < len(events) or len(events) > len(held.sample):
        refuse("accept", "The sample is answered in its order, none left out.")
    return k, n, unsure


def _path(by_row: dict[int, Row], row: int) -> str:
    return by_row[row].path if row in by_row else ""


def _checked(held: _Set, k: int, n: int, unsure: int) -> AcceptChecked:
    from handful.metrics import wilson  # scipy: nothing else here needs it

    if n < min(MIN, max(1, len(held.rows))):
        return {"k": None, "n": n, "unsure": unsure, "low": None, "high": None, "text": None}
    low, high = wilson(k, n, population=len(held.rows))
    text = f"{k:,} of {n:,} were right: at least {100 * low:.1f} %, at most {100 * high:.1f} %."
    return {"k": k, "n": n, "unsure": unsure, "low": low, "high": high, "text": text}
