"""More like this: pictures by their likeness to some and unlikeness to others.

::

    score(x) = max over wanted of x.w  -  1/2 max over unwanted of x.u

with features of length 1.  Cost: n (wanted + unwanted) d; of many examples the newest count,
fewer where there are many pictures.
"""

from __future__ import annotations

import base64
import json

import numpy as np
from numpy.typing import NDArray

from handful.errors import InputError
from handful.page import audit
from handful.page.index import FRESH, Rows
from handful.page.labels import meaning
from handful.page.project import Project
from handful.page.schema import AlikeAsked, Alikes
from handful.page.views import pictures
from handful.page.words import refuse

__all__ = ["alike", "bound", "scores"]

AGAINST = 0.5  # weight of what it is not
_PRODUCTS = 1_500_000  # inner products at a time, at most
_BLOCK = 65_536  # pictures
_N = 60


def alike(project: Project, asked: AlikeAsked) -> Alikes:
    """A page of pictures, the likest first; open ones, and none of those that were named."""
    with project.lock:
        ids, nots = asked["ids"], asked.get("not_ids", [])
        rows = project.index.by_id([*ids, *nots])
        if not any(id in rows for id in ids):
            refuse("gone", "There is no such picture.", status=404)
        features = project.learned.features
        if features is None:
            refuse("early", "Pictures are not compared yet; this works in about a minute.")
        wanted = _numbers([rows[id].row for id in ids if id in rows])
        unwanted = _numbers([rows[id].row for id in nots if id in rows])
        states = None if asked.get("all") else {"open"}
        cells = [
            c for c, _ in project.index.cells()
            if c.presence == FRESH.presence and (states is None or meaning(project, c)[0] in states)
        ]  # fmt: skip
        mask = project.index.numbers(cells)
        among = mask[project.index.standing(features.rows)]
        among[features.at(wanted)[features.at(wanted) >= 0]] = False
        among[features.at(unwanted)[features.at(unwanted) >= 0]] = False
        candidates = np.asarray(features.rows[among])
        label_rev = project.rev
        random = bound(project, asked["for_class"]) if "for_class" in asked else None
    found = scores(project, candidates, wanted, unwanted)  # nobody waits for this
    order = np.lexsort((candidates, -found))
    after = _opened(asked.get("cursor"))
    if after is not None:
        order = order[(found[order] < after[0])
                      | ((found[order] == after[0]) & (candidates[order] > after[1]))]  # fmt: skip
    n = asked.get("n", _N)
    page = order[:n]
    with project.lock:
        by_row = project.index.by_row(candidates[page].tolist())
        page = np.array([at for at in page if int(candidates[at]) in by_row], dtype=np.int64)
        shown = pictures(project, [by_row[int(row)] for row in candidates[page]])
    last = order[n - 1] if len(order) > n else None
    return {
        "items": shown,
        "scores": [float(found[at]) for at in page],
        "next": None if last is None else _closed(float(found[last]), int(candidates[last])),
        "total": len(candidates),
        "bound": random,
        "label_rev": label_rev,
    }


def scores(project: Project, rows: Rows, wanted: Rows, unwanted: Rows) -> NDArray[np.float32]:
    """The score of each row, see above; -2 where a row has no features."""
    most = max(1, _PRODUCTS // max(1, len(rows)))
    wanted, unwanted = wanted[-most:], unwanted[-most:]
    out = np.full(len(rows), -2.0, dtype=np.float32)
    for start in range(0, len(rows), _BLOCK):
        part = rows[start : start + _BLOCK]
        score = project.learned.likeness(part, wanted).max(axis=1, initial=-2)
        if len(unwanted):
            score -= AGAINST * project.learned.likeness(part, unwanted).max(axis=1)
        out[start : start + _BLOCK] = score
    return out


def bound(project: Project, class_id: int) -> str | None:
    """How many of a class there can be, by blind answers to pictures drawn at random alone."""
    from handful.metrics import wilson

    now = project.classes.now(class_id)
    answers = list(audit.sheet(project).answers.values())
    n = len(answers)
    if not n or now is None:
        return None
    k = 0
    for event in answers:
        if "class" in event.data:
            of = project.classes.now(event.data["class"])
            k += of is not None and of.id == now.id
    if not k:
        return f"None in {n:,} random pictures: at most {300 / n:.2g} % of the folder."
    low, high = wilson(k, n)
    share = f"between {100 * low:.1f} % and {100 * high:.1f} %"
    return f"{k:,} in {n:,} random pictures: {share} of the folder."


def _numbers(rows: list[int]) -> Rows:
    return np.array(list(dict.fromkeys(rows)), dtype=np.int64)


def _opened(cursor: str | None) -> tuple[float, int] | None:
    if cursor is None:
        return None
    try:
        of, score, row = json.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
        if of == "like" and type(score) is float and type(row) is int and abs(row) < 2**62:
            return score, row
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError("the cursor is none of this list: begin without one") from error
    raise InputError("the cursor is none of this list: begin without one")


def _closed(score: float, row: int) -> str:
    said = json.dumps(["like", score, row])
    return base64.urlsafe_b64encode(said.encode("ascii")).decode("ascii")
