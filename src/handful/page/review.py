"""Labels that may be wrong: ranked by the worker, looked at by a person, changed by nobody else.

``errors``     where a model that was not taught a label says something else, the likeliest
               mistakes first; what was kept does not come back, what was changed is done
``cell:A:B``   labels of class A that such a model takes for B: a cell of the confusion table
``audit:A:B``  labels of class A that a blind answer called B, once the check is closed

A count in the table is the number of pictures in the grid that it opens: both are asked here,
of the labels as they are now.  Cost: one step in numpy for each label that was held out.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handful.errors import InputError
from handful.page import audit
from handful.page.index import FRESH, Rows
from handful.page.labels import meaning
from handful.page.learned import NO_CLASS, NONE_OF_THESE
from handful.page.project import Project
from handful.page.schema import Confusion, ConfusionCell, Review, Reviewed, Seen
from handful.page.views import pictures, tile

__all__ = ["confusion", "review"]

_NEAR = 4  # examples of each class
_LOOKED_AT = 20_000  # labelled pictures that are looked at for those
_CELL = re.compile(r"(cell|audit):(none|[0-9]{1,7}):(none|[0-9]{1,7})")


def review(project: Project, kind: str, cursor: str | None, limit: int) -> Review:
    """A page of one kind; `InputError` for a kind or cursor that is none."""
    with project.lock:
        model = project.learned.model
        start, rev = _opened(cursor)
        rows, labels, to, scores = _ranked(project, kind)
        if rev is not None and (model is None or rev != model.rev):
            start = 0
        # what was looked at has left the list: a page goes on at a place in the worker's
        ranks = _places(project, kind, rows)
        behind = ranks >= start
        rows, labels, to, scores, ranks = (x[behind] for x in (rows, labels, to, scores, ranks))
        looked, wrong = _looked(project)
        return {
            "items": _items(project, rows[:limit], labels[:limit], to[:limit], scores[:limit]),
            "next": _closed(int(ranks[limit]), project) if len(rows) > limit else None,
            "total": len(rows) + int((~behind).sum()),
            "looked": looked,
            "wrong": wrong,
            "labels": 0 if model is None else len(model["held_row"]),
            "stale": rev is not None and model is not None and rev != model.rev,
            "model_rev": project.learned.rev("model"),
            "label_rev": project.rev,
        }


def confusion(project: Project) -> Confusion:
    """How many labels of each class look like which."""
    with project.lock:
        _, labels, to = _held(project)
        closing = audit.sheet(project).closed
        found: Counter[tuple[int, int]] | None = None
        if closing is not None:
            _, labelled, answered = _audited(project)
            found = Counter(zip(labelled.tolist(), answered.tolist(), strict=True))
        return {
            "held": _cells(Counter(zip(labels.tolist(), to.tolist(), strict=True))),
            "audit": None if found is None else _cells(found),
            "model_rev": project.learned.rev("model"),
            "label_rev": project.rev,
        }


def _cells(counted: Counter[tuple[int, int]]) -> list[ConfusionCell]:
    return [
        {"label": _named(label), "to": _named(to), "n": n}
        for (label, to), n in sorted(counted.items())
    ]


def _named(id: int) -> int | None:
    return None if id == NONE_OF_THESE else id


# ------------------------------------------------------------------ what is ranked


def _ranked(project: Project, kind: str) -> tuple[Rows, Any, Any, Any]:
    """Rows, labels now, what they look like, scores."""
    if kind == "errors":
        return _errors(project)
    said = _CELL.fullmatch(kind)
    if said is None:
        raise InputError("kind is errors, cell:LABEL:TO or audit:LABEL:TO, each an id or none")
    a, b = (NONE_OF_THESE if part == "none" else int(part) for part in said.groups()[1:])
    rows, labels, to = _held(project) if said[1] == "cell" else _audited(project)
    here = (labels == a) & (to == b)
    return rows[here], labels[here], to[here], np.zeros(int(here.sum()), dtype=np.float32)


def _errors(project: Project) -> tuple[Rows, Any, Any, Any]:
    """Likely mistakes whose label is still the one that looked wrong."""
    model = project.learned.model
    if model is None:
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty, empty, empty.astype(np.float32)
    rows = np.asarray(model["errors_row"])
    labels = _labels_now(project, rows)
    to = project.learned.now(model["errors_to"])
    fits = (labels == project.learned.now(model["errors_label"])) & (labels != to)
    fits &= (labels != NO_CLASS) & (to != NO_CLASS) & ~np.isin(rows, _kept(project))
    return rows[fits], labels[fits], to[fits], np.asarray(model["errors_score"])[fits]


def _places(project: Project, kind: str, rows: Rows) -> NDArray[np.int64]:
    """Where some rows are in the list that does not change while they are looked at."""
    model = project.learned.model
    if model is None or kind.startswith("audit"):
        return np.arange(len(rows))
    listed = model["errors_row" if kind == "errors" else "held_row"]
    return np.flatnonzero(np.isin(listed, rows))


def _held(project: Project) -> tuple[Rows, Any, Any]:
    """Labelled pictures, their label now, and what a model says that was not taught it."""
    model = project.learned.model
    if model is None:
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty, empty
    rows = np.asarray(model["held_row"])
    labels, to = _labels_now(project, rows), project.learned.now(model["held_to"])
    fits = (labels != NO_CLASS) & (to != NO_CLASS)
    return rows[fits], labels[fits], to[fits]


def _audited(project: Project) -> tuple[Rows, Any, Any]:
    """Pictures of a closed check: the label that they had, and the blind answer."""
    closing = audit.sheet(project).closed
    compared = [] if closing is None else closing.data["compared"]
    names = [project.now(c[0]) for c in compared]
    rows = project.index.of(names)
    here = [(rows[name].row, c[1], c[3]) for name, c in zip(names, compared, strict=True)
            if name in rows]  # fmt: skip
    found = np.array(here, dtype=np.int64).reshape(-1, 3)
    labels, answers = project.learned.now(found[:, 1]), project.learned.now(found[:, 2])
    fits = (labels != NO_CLASS) & (answers != NO_CLASS)
    return found[fits, 0], labels[fits], answers[fits]


def _labels_now(project: Project, rows: Rows) -> NDArray[np.int32]:
    """Class of each row as it is labelled now, merges applied; `NO_CLASS` where it is not."""
    named = project.index.named()
    table = np.full(max(named, default=0) + 1, NO_CLASS, dtype=np.int32)
    for number, cell in named.items():
        state, found = meaning(project, cell)
        if cell.presence == FRESH.presence:
            if found is not None:
                table[number] = found.id
            elif state == "none":
                table[number] = NONE_OF_THESE
    return table[project.index.standing(rows)]


def _kept(project: Project) -> Rows:
    """Rows whose label a person has confirmed since it was given."""
    kept = {project.now(e.data["image"]): e for e in project.said("review_kept")}
    rows = project.index.of(list(kept))
    found = [
        row.row for name, row in rows.items()
        if project.book.said(name).class_id == kept[name].data.get("class", NO_CLASS)
    ]  # fmt: skip
    return np.array(found, dtype=np.int64)


def _looked(project: Project) -> tuple[int, int]:
    """How many were looked at, and how many of them were changed."""
    last: dict[str, bool] = {}
    for event in project.said("review_kept", "review_changed"):
        last[project.now(event.data["image"])] = event.kind == "review_changed"
    return len(last), sum(last.values())


# ------------------------------------------------------------------ what is shown


def _items(project: Project, rows: Rows, labels: Any, to: Any, scores: Any) -> list[Reviewed]:
    by_row = project.index.by_row(rows.tolist())
    here = [at for at, row in enumerate(rows.tolist()) if row in by_row]
    shown = pictures(project, [by_row[int(rows[at])] for at in here])
    near = _Nearest(project)
    return [
        {
            "picture": picture, "label": _named(int(labels[at])), "to": _named(int(to[at])),
            "score": float(scores[at]), "near_label": near(int(rows[at]), int(labels[at])),
            "near_to": near(int(rows[at]), int(to[at])),
        }
        for at, picture in zip(here, shown, strict=True)
    ]  # fmt: skip


class _Nearest:
    """The labelled pictures of a class that are most like a picture."""

    def __init__(self, project: Project) -> None:
        self.project = project
        features = project.learned.features
        self.rows: Rows = np.zeros(0, dtype=np.int64)
        if features is not None:
            rows = features.rows
            labels = _labels_now(project, rows)
            self.rows, self.labels = rows[labels != NO_CLASS], labels[labels != NO_CLASS]

    def __call__(self, row: int, class_id: int) -> list[Seen]:
        if not len(self.rows):
            return []
        known = self.rows[(self.labels == class_id) & (self.rows != row)]
        known = known[:: max(1, -(-len(known) // _LOOKED_AT))]
        if not len(known):
            return []
        one = np.array([row], dtype=np.int64)
        likeness = self.project.learned.likeness(one, known)[0]
        best = known[np.argsort(-likeness, kind="stable")[:_NEAR]].tolist()
        by_row = self.project.index.by_row(best)
        return [tile(by_row[number]) for number in best if number in by_row]


def _opened(cursor: str | None) -> tuple[int, int | None]:
    if cursor is None:
        return 0, None
    try:
        of, rev, start = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
        if of == "review" and all(type(v) is int and 0 <= v < 2**31 for v in (rev, start)):
            return start, rev
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError("the cursor is none of the review: begin without one") from error
    raise InputError("the cursor is none of the review: begin without one")


def _closed(rank: int, project: Project) -> str:
    said = json.dumps(["review", project.learned.rev("model"), rank])
    return base64.urlsafe_b64encode(said.encode("ascii")).decode("ascii")
